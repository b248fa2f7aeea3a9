/**
 * What a process did in its last moments, by the kernel's own counters: whether one that was late computed, waited for a core that others
 * had, for the disk, or was stopped. For the diagnosis of modules that are taken for hung.
 */
import { readFileSync } from "node:fs";
import { processStateOf } from "./management-process.js";

const NANOSECONDS_PER_MS = 1e6;
/** Of /proc/stat: USER_HZ, which is 100 on every architecture that Node runs on (proc(5)). */
const MS_PER_TICK = 10;

/** Sums at one moment. */
interface ActivitySample {
  readonly atMs: number;
  readonly computedMs: number;
  readonly queuedMs: number;
  readonly stolenMs: number;
}

/** Between two samples, of the main thread: the one that computes and answers. */
export interface RecentActivity {
  readonly overMs: number;
  readonly computedMs: number;
  /** It could have run, and others had the cores. The kernel counts a wait when it is over: one that still lasts is not in here. */
  readonly queuedMs: number;
  /** Time of this host's cores, all together, that its hypervisor gave to others. */
  readonly stolenMs: number;
  /** As in proc(5): R, S, D, T, … */
  readonly state: string;
}

const STATES: Readonly<Record<string, string>> = {
  R: "running, or in a wait for a core that is counted when it is over",
  S: "waiting for something to do",
  D: "waiting for the disk",
  T: "stopped",
  t: "stopped by a debugger",
};

/** Remembers two samples, so that what it tells reaches back for at least one interval between them. */
export class ActivityWatch {
  #older: ActivitySample | null = null;
  #newer: ActivitySample | null = null;

  started(): void {
    this.#older = null;
    this.#newer = null;
  }

  /** Called about once a second. */
  sample(pid: number): void {
    this.#older = this.#newer;
    this.#newer = sampleOf(pid);
  }

  /** Up to now. Null: it was not sampled, or is gone. */
  recent(pid: number): RecentActivity | null {
    const since = this.#older ?? this.#newer;
    const now = sampleOf(pid);
    const state = processStateOf(pid);
    if (since === null || now === null || state === null) return null;
    return {
      overMs: Math.round(now.atMs - since.atMs),
      computedMs: Math.round(now.computedMs - since.computedMs),
      queuedMs: Math.round(now.queuedMs - since.queuedMs),
      stolenMs: Math.round(now.stolenMs - since.stolenMs),
      state,
    };
  }
}

/** "in its last 1500 ms it computed for …": a part of a sentence. */
export function describeActivity({ overMs, computedMs, queuedMs, stolenMs, state }: RecentActivity): string {
  const stolen = stolenMs === 0 ? "" : `; the hypervisor kept the host's cores from it for ${stolenMs} ms of them in sum`;
  return `in its last ${overMs} ms it computed for ${computedMs} ms and waited for a core for ${queuedMs} ms; it was ${STATES[state] ?? `in state ${state}`}${stolen}`;
}

/** Null: no such process, or a kernel that does not count. */
function sampleOf(pid: number): ActivitySample | null {
  try {
    const [computed, queued] = readFileSync(`/proc/${pid}/schedstat`, "latin1").split(" ").map(Number);
    const stolenTicks = Number(/^cpu +(?:\d+ ){7}(\d+)/.exec(readFileSync("/proc/stat", "latin1"))?.[1] ?? 0);
    if (computed === undefined || queued === undefined) return null;
    return {
      atMs: performance.now(),
      computedMs: computed / NANOSECONDS_PER_MS,
      queuedMs: queued / NANOSECONDS_PER_MS,
      stolenMs: stolenTicks * MS_PER_TICK,
    };
  } catch {
    return null;
  }
}
