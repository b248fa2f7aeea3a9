/**
 * Processes by pid and start time: a pid alone may belong to somebody else by the time that we look. Also the clean-up after a
 * server whose management died: its modules serve on without it, until somebody says otherwise.
 */
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { tearDownHostNetwork } from "../ports/network-host.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile } from "./management-plan.js";

/** Set in the environment of every module process, to the path of its configuration. */
export const MODULE_MARK_VARIABLE = "STEADFAST_MODULE";
const GONE_LIMIT_MS = 5000;
const GONE_POLL_MS = 5;

export interface ProcessRecord {
  readonly name: string;
  readonly pid: number;
  /** Clock ticks after boot at which it started (field 22 of its stat). */
  readonly startTicks: number;
}

/** What a server made on this host. Written before it is made, so that nothing is ever unknown. */
export interface MadeRecord {
  readonly server: string;
  readonly bridge: string;
  readonly devices: readonly string[];
  readonly management: ProcessRecord;
  readonly processes: readonly ProcessRecord[];
}

/** Fields of /proc/PID/stat after the command name, which may itself contain spaces and brackets. */
function statFields(pid: number): string[] | null {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, "latin1");
    return text.slice(text.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}

export function startTicksOf(pid: number): number {
  return Number(statFields(pid)?.[19] ?? -1);
}

/** One letter (R, S, D, T, Z …); null: no such process. */
export function processStateOf(pid: number): string | null {
  return statFields(pid)?.[0] ?? null;
}

export function recordProcess(name: string, pid: number): ProcessRecord {
  return { name, pid, startTicks: startTicksOf(pid) };
}

export function isAlive(record: ProcessRecord): boolean {
  const fields = statFields(record.pid);
  return fields !== null && fields[0] !== "Z" && Number(fields[19]) === record.startTicks;
}

/** Resident memory; 0 if it is gone. */
export function residentBytesOf(pid: number): number {
  try {
    const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    return Number(kibibytes ?? 0) * 1024;
  } catch {
    return 0;
  }
}

export function killIfAlive(record: ProcessRecord): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, "SIGKILL");
  } catch {
    // It ended between the look and the signal.
  }
}

export async function waitUntilGone(records: readonly ProcessRecord[], limitMs = GONE_LIMIT_MS): Promise<boolean> {
  const giveUpAt = Date.now() + limitMs;
  while (records.some(isAlive)) {
    if (Date.now() > giveUpAt) return false;
    await new Promise((resolve) => setTimeout(resolve, GONE_POLL_MS));
  }
  return true;
}

/** Module processes of this run directory, by their environment: finds one that management had started but not yet noted. */
function strayProcesses(runDirectory: string): ProcessRecord[] {
  const found: ProcessRecord[] = [];
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry) || Number(entry) === process.pid) continue;
    let environment: string[];
    try {
      environment = readFileSync(`/proc/${entry}/environ`, "utf8").split("\0");
    } catch {
      continue;
    }
    const mark = environment.find((word) => word.startsWith(`${MODULE_MARK_VARIABLE}=${runDirectory}/`));
    if (mark !== undefined) found.push(recordProcess(basename(mark, ".json"), Number(entry)));
  }
  return found;
}

/** Ends whatever is left of a server without management, and removes all it made. True if anything was left. */
export async function cleanUpServer(server: string, paths: ServerPaths): Promise<boolean> {
  const made = readJsonFile<MadeRecord>(paths.madeFile);
  const processes = [...(made === null ? [] : [made.management, ...made.processes]), ...strayProcesses(paths.runDirectory)];
  const others = processes.filter((each) => each.pid !== process.pid);
  const alive = others.filter(isAlive);
  for (const record of others) killIfAlive(record);
  await waitUntilGone(others);
  if (made !== null && made.devices.length > 0) await tearDownHostNetwork(server, made.bridge, made.devices);
  for (const entry of safeList(paths.runDirectory)) {
    if (/\.(sock|json|new)$/.test(entry)) rmSync(`${paths.runDirectory}/${entry}`, { force: true });
  }
  return made !== null || alive.length > 0;
}

function safeList(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
