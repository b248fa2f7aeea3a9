/**
 * Where a server keeps its files. Run directory: sockets, configurations and the list of what was made; gone at the end. State
 * directory: arbiter, events, logs; stays. Root uses the system's places, everyone else their own, and two variables override both.
 */
import { mkdirSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";

/** The kernel's limit for socket addresses, less the terminating zero and the longest file name of ours in there. */
const RUN_DIRECTORY_LENGTH_MAX = 107 - "/control.sock".length;
const PRIVATE_DIRECTORY_MODE = 0o700;

export interface ServerPaths {
  readonly runDirectory: string;
  readonly stateDirectory: string;
  /** What `up` decided: read by management. */
  readonly planFile: string;
  /** What management made: read by whoever cleans up after it. */
  readonly madeFile: string;
  readonly controlSocket: string;
  readonly arbiterDirectory: string;
  readonly eventsFile: string;
  /** How the server stands as to certificates. */
  readonly certificationFile: string;
  readonly logDirectory: string;
  /** Miscompare reports. */
  readonly reportDirectory: string;
  readonly supportPlanFile: string;
  /** Who changed what. */
  readonly auditFile: string;
  /** Who may ask over TLS: digests of tokens. */
  readonly tokensFile: string;
  /** The self-signed certificate and its key. */
  readonly tlsDirectory: string;
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

function runBase(): string {
  const override = process.env["STEADFAST_RUN"];
  if (override) return override;
  if (isRoot()) return "/run/steadfast";
  return join(process.env["XDG_RUNTIME_DIR"] || join(homedir(), ".cache"), "steadfast");
}

function stateBase(): string {
  const override = process.env["STEADFAST_STATE"];
  if (override) return override;
  if (isRoot()) return "/var/lib/steadfast";
  return join(process.env["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "steadfast");
}

/** The keys that sign and verify certificates, of all servers of this user; no server can have that name. */
export function keysDirectory(): string {
  return join(stateBase(), "_keys");
}

/** The keys of this host itself, which vouch for the images that it built from this release's own recipes. */
export function hostKeysDirectory(): string {
  return join(keysDirectory(), "host");
}

/** Of a certification programme that is not told another one; no server can have that name. */
export function programmeDirectory(): string {
  return join(stateBase(), "_programme");
}

export function serverPaths(server: string): ServerPaths {
  const runDirectory = join(runBase(), server);
  const stateDirectory = join(stateBase(), server);
  return {
    runDirectory,
    stateDirectory,
    planFile: join(runDirectory, "server.json"),
    madeFile: join(runDirectory, "made.json"),
    controlSocket: join(runDirectory, "control.sock"),
    arbiterDirectory: join(stateDirectory, "arbiter"),
    eventsFile: join(stateDirectory, "events.jsonl"),
    certificationFile: join(stateDirectory, "certification.json"),
    logDirectory: join(stateDirectory, "logs"),
    reportDirectory: join(stateDirectory, "reports"),
    supportPlanFile: join(stateDirectory, "support-plan.json"),
    auditFile: join(stateDirectory, "audit.jsonl"),
    tokensFile: join(stateDirectory, "tokens.json"),
    tlsDirectory: join(stateDirectory, "tls"),
  };
}

/** Names of the servers that have a run directory: running ones, and ones that a crash left. */
export function knownServers(): string[] {
  try {
    return readdirSync(runBase(), { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => entry.name)
      .sort();
  } catch {
    return [];
  }
}

export function makeServerDirectories(paths: ServerPaths): void {
  if (Buffer.byteLength(paths.runDirectory) > RUN_DIRECTORY_LENGTH_MAX) {
    throw new SteadfastError("RUN_DIRECTORY_LONG", { path: paths.runDirectory, limit: RUN_DIRECTORY_LENGTH_MAX });
  }
  for (const path of [paths.runDirectory, paths.stateDirectory, paths.logDirectory]) {
    try {
      mkdirSync(path, { recursive: true, mode: PRIVATE_DIRECTORY_MODE });
    } catch (error) {
      throw new SteadfastError("DIRECTORY_FAILED", { path, why: (error as Error).message });
    }
  }
}
