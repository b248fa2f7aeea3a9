/** Finds passt processes, so that a test can say that none is left. */
import { readdirSync, readFileSync } from "node:fs";
import { findProgram } from "../../dist/image/command.js";

export function whyNoPasst(): string | false {
  return findProgram("passt") === undefined ? "needs the Debian package passt" : false;
}

/** Living ones (not those that only wait for their parent to look) whose parameters contain the word. */
export function passtProcesses(word: string): number[] {
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        const parameters = readFileSync(`/proc/${pid}/cmdline`, "latin1").split("\0");
        return parameters[0]?.endsWith("passt") === true && parameters.some((each) => each.includes(word));
      } catch {
        return false;
      }
    });
}

export async function until(what: string, condition: () => boolean | Promise<boolean>, limitMs = 20_000): Promise<void> {
  const giveUpAt = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > giveUpAt) throw new Error(`it did not happen within ${limitMs} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
