/** A shell at the guest's console, for measurements of what only the guest itself can do. */
import type { Duplex } from "node:stream";
import { SteadfastError } from "../foundation/errors.js";

const OUTPUT_LIMIT_CHARACTERS = 1024 * 1024;

let commands = 0;

/** Runs a command line in the guest; what it printed. Errors: BENCH_FAILED, if it fails or does not end in time. */
export async function guestShell(open: () => Promise<Duplex>, command: string, limitMs: number): Promise<string> {
  const console_ = await open();
  const mark = `=${process.pid}-${(commands += 1)}`;
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise((resolve, reject) => {
      const failed = (why: string): void => reject(new SteadfastError("BENCH_FAILED", { what: `\`${command}\` in the guest`, why }));
      timer = setTimeout(() => failed(`it did not end within ${limitMs} ms`), limitMs);
      let said = "";
      console_.setEncoding("utf8");
      console_.on("data", (text: string) => {
        said = (said + text).slice(-OUTPUT_LIMIT_CHARACTERS);
        const [before, after] = said.split(`${mark}=begin=`).at(-1)?.split(`${mark}=end=`) ?? [];
        if (after === undefined || !/^\d+=/.test(after)) return;
        if (after.startsWith("0=")) resolve(before ?? "");
        else failed(`it ended with exit code ${parseInt(after, 10)}: ${before?.trim().slice(-300)}`);
      });
      console_.on("error", (error) => failed(error.message));
      // Marks are put together by the shell, so that the echo of the line is not taken for them.
      console_.write(`echo "${mark}""=begin="; { ${command}; } 2>&1; echo "${mark}""=end=$?="\n`);
    });
  } finally {
    clearTimeout(timer);
    console_.destroy();
  }
}
