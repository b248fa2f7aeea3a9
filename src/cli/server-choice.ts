/** Which server a command means: `--server`, or the only one there is, or `main`. */
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { knownServers, TRIAL_SUFFIX } from "../modules/management-paths.js";
import { ServerClient } from "./client.js";

export const DEFAULT_SERVER_NAME = "main";
export const SERVER_NAME_PATTERN = /^[a-z][a-z0-9-]{0,31}$/;

export interface ServerFlags {
  readonly server?: string;
  readonly json?: boolean;
}

/** The options that every command about a running server has. */
export function withServerOptions(command: Command): Command {
  return command.option("--server <name>", "which server, if several run").option("--json", "print facts and errors as JSON");
}

export function checkServerName(name: string): string {
  if (!SERVER_NAME_PATTERN.test(name)) throw new SteadfastError("SERVER_NAME", { name });
  return name;
}

export function chosenServer(flags: ServerFlags): ServerClient {
  return new ServerClient(chosenName(flags));
}

export function chosenName(flags: ServerFlags): string {
  if (flags.server !== undefined) return checkServerName(flags.server);
  const known = knownServers();
  // A server on which an upgrade is tried is named by whoever means it.
  const names = known.filter((name) => !(name.endsWith(TRIAL_SUFFIX) && known.includes(name.slice(0, -TRIAL_SUFFIX.length))));
  if (names.length > 1 && !names.includes(DEFAULT_SERVER_NAME)) throw new SteadfastError("SERVER_CHOOSE", { names: names.join(", ") });
  return names.length === 1 && names[0] !== undefined ? names[0] : DEFAULT_SERVER_NAME;
}
