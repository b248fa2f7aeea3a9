/**
 * Processes by pid and start time: a pid alone may belong to somebody else by the time that we look. Also the clean-up after a
 * server whose management died: its modules serve on without it, until somebody says otherwise.
 */
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { basename } from "node:path";
import { tearDownHostNetwork } from "../ports/network-host.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile } from "./management-plan.js";
import type { MadeRecord } from "./management-state.js";

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

export function signalIfAlive(record: ProcessRecord, signal: NodeJS.Signals = "SIGKILL"): void {
  if (!isAlive(record)) return;
  try {
    process.kill(record.pid, signal);
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

/** Every process of a server but this one, noted or not. */
function processesOf(paths: ServerPaths): ProcessRecord[] {
  const made = readJsonFile<MadeRecord>(paths.madeFile);
  const noted = made === null ? [] : [made.management, ...made.processes];
  return [...noted, ...strayProcesses(paths.runDirectory)].filter((each) => each.pid !== process.pid);
}

export function isManagement(record: ProcessRecord): boolean {
  return record.name.startsWith("mgmt");
}

/** Fronts end with their management modules, not with the lead. */
function isFront(record: ProcessRecord): boolean {
  return record.name.startsWith("front-");
}

/** The management processes of a server that live, a stopped one too. */
export function livingManagement(paths: ServerPaths): ProcessRecord[] {
  const made = readJsonFile<MadeRecord>(paths.madeFile);
  return made === null ? [] : [made.management, ...made.processes.filter(isManagement)].filter(isAlive);
}

/** One of ours, not a program that a module runs. */
function isModule(pid: number): boolean {
  try {
    return /^steadfast |\bmodules\/main\.js\b/.test(readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " "));
  } catch {
    return false;
  }
}

/** Ends modules that the one who led before had started but not noted any more: another one will be started in their place. */
export async function endStrays(paths: ServerPaths, { management, processes }: MadeRecord): Promise<void> {
  const noted = new Set([management, ...processes].map((each) => each.pid));
  const found = strayProcesses(paths.runDirectory).filter((each) => !noted.has(each.pid) && isModule(each.pid));
  const strays = found.filter((each) => !isFront(each));
  for (const record of strays) signalIfAlive(record);
  await waitUntilGone(strays);
}

/** Ends whatever is left of a server without management, and removes all it made. True if anything was left. */
export async function cleanUpServer(server: string, paths: ServerPaths): Promise<boolean> {
  const made = readJsonFile<MadeRecord>(paths.madeFile);
  // Management first: one that takes the lead meanwhile starts modules.
  const managers = processesOf(paths).filter(isManagement);
  for (const record of managers) signalIfAlive(record);
  await waitUntilGone(managers);
  const others = processesOf(paths);
  const isLeft = made !== null || others.some(isAlive);
  for (const record of others) signalIfAlive(record);
  await waitUntilGone(others);
  if (made !== null && made.devices.length > 0) await tearDownHostNetwork(server, made.bridge, made.devices);
  for (const entry of safeList(paths.runDirectory)) {
    if (/\.(sock|json|new)$/.test(entry)) rmSync(`${paths.runDirectory}/${entry}`, { force: true });
  }
  return isLeft;
}

function safeList(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
