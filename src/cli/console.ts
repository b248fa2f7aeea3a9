/** `steadfast console`: the guest's serial terminal, raw on a terminal, plain bytes through pipes. */
import type { Command } from "commander";
import type { Duplex } from "node:stream";
import { InvalidArgumentError } from "commander";
import type { ServerClient } from "./client.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const DETACH_KEY = 0x1d;
const QUIET_MS_DEFAULT = 1000;
const QUIET_MS_MAX = 3_600_000;

interface ConsoleFlags extends ServerFlags {
  readonly quiet: number;
}

export function addConsoleCommand(program: Command): void {
  withServerOptions(program.command("console"))
    .description("attach to the guest's serial console; Ctrl-] detaches")
    .option(
      "--quiet <ms>",
      "when the input is no terminal: leave after it has ended and the guest said nothing for so long",
      quietMs,
      QUIET_MS_DEFAULT,
    )
    .action(async (flags: ConsoleFlags) => {
      const client = chosenServer(flags);
      const console = await client.console();
      if (process.stdin.isTTY) await attachTerminal(console, client);
      else await attachPipe(console, flags.quiet);
    });
}

function quietMs(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > QUIET_MS_MAX) throw new InvalidArgumentError(`It must be a whole number of ms up to ${QUIET_MS_MAX}.`);
  return value;
}

/** Why a console ended that nobody detached. */
async function whyEnded(client: ServerClient): Promise<string> {
  if ((await client.statusOrNull()) === null) return "The server ended.";
  return "The management module that carried this console was lost; the guest runs on, and `steadfast console` attaches again.";
}

function attachTerminal(console: Duplex, client: ServerClient): Promise<void> {
  process.stderr.write("Attached to the guest's console; Ctrl-] detaches.\r\n");
  process.stdin.setRawMode(true);
  return new Promise((resolve) => {
    const leave = (why: string): void => {
      console.destroy();
      process.stdin.setRawMode(false);
      process.stdin.destroy();
      process.stderr.write(`\r\n${why}\n`);
      resolve();
    };
    process.stdin.on("data", (bytes: Buffer) => {
      const at = bytes.indexOf(DETACH_KEY);
      if (at < 0) console.write(bytes);
      else {
        console.removeAllListeners("close");
        if (at > 0) console.write(bytes.subarray(0, at));
        leave("Detached; the server runs on.");
      }
    });
    console.on("data", (bytes: Buffer) => process.stdout.write(bytes));
    console.on("error", () => undefined);
    console.on("close", () => {
      whyEnded(client).then(leave, () => leave("The console ended."));
    });
  });
}

function attachPipe(console: Duplex, quiet: number): Promise<void> {
  return new Promise((resolve) => {
    let timer: NodeJS.Timeout | null = null;
    let inputEnded = false;
    const leaveWhenQuiet = (): void => {
      if (!inputEnded) return;
      if (timer !== null) clearTimeout(timer);
      timer = setTimeout(() => console.destroy(), quiet);
    };
    process.stdin.on("data", (bytes: Buffer) => {
      if (!console.write(bytes)) {
        process.stdin.pause();
        console.once("drain", () => process.stdin.resume());
      }
    });
    process.stdin.on("end", () => {
      inputEnded = true;
      leaveWhenQuiet();
    });
    console.on("data", (bytes: Buffer) => {
      process.stdout.write(bytes);
      leaveWhenQuiet();
    });
    console.on("error", () => undefined);
    console.on("close", () => {
      if (timer !== null) clearTimeout(timer);
      process.stdin.destroy();
      resolve();
    });
  });
}
