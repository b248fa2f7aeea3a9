/** `steadfast top`: what `up` shows, of a server that runs already, until the viewer has seen enough. */
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { followServer } from "./live-view.js";
import { printLines } from "./output.js";
import { reportLines } from "./report-view.js";
import { chosenServer } from "./server-choice.js";

/** Events from before, so that one sees how it came to be as it is. */
const EARLIER_EVENTS = 8;
const CONTROL_C = "\x03";

interface TopFlags {
  readonly server?: string;
  readonly once?: boolean;
}

/** Aborts at q, Ctrl-C, or a signal; the terminal is given back by `end`. */
function untilQuit(): { readonly signal: AbortSignal; readonly end: () => void } {
  const stop = new AbortController();
  const quit = (): void => stop.abort();
  const typed = (bytes: Buffer): void => {
    const text = bytes.toString();
    if (text.includes("q") || text.includes("Q") || text.includes(CONTROL_C)) quit();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, quit);
  process.stdin.setRawMode(true);
  process.stdin.on("data", typed);
  const end = (): void => {
    process.stdin.off("data", typed);
    process.stdin.setRawMode(false);
    process.stdin.pause();
  };
  return { signal: stop.signal, end };
}

async function top(flags: TopFlags): Promise<void> {
  const client = chosenServer(flags);
  if (flags.once === true) return printLines(reportLines(await client.status()));
  if (!process.stdin.isTTY || !process.stdout.isTTY) throw new SteadfastError("NO_TERMINAL");
  const { lastEventId } = await client.status();
  const { signal, end } = untilQuit();
  try {
    const hint = "q ends the view, not the server.";
    const endedWell = await followServer(client, Math.max(0, lastEventId - EARLIER_EVENTS), hint, signal);
    if (!endedWell && !signal.aborted) throw new SteadfastError("MANAGEMENT_LOST", { server: client.server });
  } finally {
    end();
  }
}

export function addTopCommand(program: Command): void {
  program
    .command("top")
    .description("watch how a running server stands, until q or Ctrl-C")
    .option("--server <name>", "which server, if several run")
    .option("--once", "show it once and end; needs no terminal")
    .action(top);
}
