/** `steadfast down`: stops a server and removes all it made, also when its management is gone or does not answer. */
import { existsSync, rmSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { auditCommand } from "../modules/management-audit.js";
import { cleanUpServer, isAlive, livingManagement, type ProcessRecord } from "../modules/management-process.js";
import type { ServerClient } from "./client.js";
import { printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const GRACE_SECONDS_DEFAULT = 5;
const GRACE_SECONDS_MAX = 600;
/** Beyond the guest's own time: to end modules and remove interfaces. */
const STOP_LIMIT_MS = 15_000;
const POLL_MS = 20;

interface DownFlags extends ServerFlags {
  readonly now?: boolean;
  readonly grace: number;
}

export function addDownCommand(program: Command): void {
  withServerOptions(program.command("down"))
    .description("stop a server: shut the guest down, end its modules, remove its interfaces")
    .option("--grace <seconds>", "how long the guest may take to shut down by itself", graceSeconds, GRACE_SECONDS_DEFAULT)
    .option("--now", "do not ask the guest")
    .action(async (flags: DownFlags) => {
      const client = chosenServer(flags);
      await stopServer(client, flags.now === true ? 0 : flags.grace * 1000);
      if (flags.json === true) printJson({ server: client.server, stopped: true });
      else printLines([`Server ${client.server} is stopped.`]);
    });
}

function graceSeconds(text: string): number {
  const value = Number(text);
  if (!(value >= 0 && value <= GRACE_SECONDS_MAX)) throw new InvalidArgumentError(`It must be a number from 0 to ${GRACE_SECONDS_MAX}.`);
  return value;
}

/** Whichever management module does it, it removes the run directory and ends. */
async function stopped({ paths }: ServerClient, first: readonly ProcessRecord[], limitMs: number): Promise<boolean> {
  const giveUpAt = Date.now() + limitMs;
  for (let managers = first; ; managers = [...managers, ...livingManagement(paths)].filter(isAlive)) {
    if (managers.length === 0) return !existsSync(paths.runDirectory);
    if (Date.now() > giveUpAt) return false;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export async function stopServer(client: ServerClient, graceMs: number): Promise<void> {
  const { paths, server } = client;
  const managers = livingManagement(paths);
  let isAccepted = false;
  try {
    await client.down(graceMs);
    isAccepted = true;
    if (await stopped(client, managers, graceMs + STOP_LIMIT_MS)) return;
  } catch (error) {
    if (!(error instanceof SteadfastError) || (error.code !== "SERVER_NOT_RUNNING" && error.code !== "SERVER_UNMANAGED")) throw error;
  }
  // Management is gone or hangs: do its work from what it noted.
  const left = await cleanUpServer(server, paths);
  const directory = existsSync(paths.runDirectory);
  rmSync(paths.runDirectory, { recursive: true, force: true });
  if (!isAccepted && !left && !directory) throw new SteadfastError("SERVER_NOT_RUNNING", { server });
  if (existsSync(paths.stateDirectory)) auditCommand(paths.auditFile, "down", { withoutManagement: true }, "done");
}
