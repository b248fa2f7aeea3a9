/**
 * Who goes first on the host's processors: the active I/O module, then CPU modules, then management and whatever else the host does. A CPU
 * module that starts compiles its engine on every processor that it can get, just when those that serve on have one less: for that time it
 * yields to all. Linux weighs sessions (sched(7), autogroup), and every module is one. Only a privileged user may ask for it; without it
 * everything works, but on a host that is busy with other things a module is sooner late.
 */
import { writeFileSync } from "node:fs";
import { setPriority } from "node:os";

/** Like nice values. */
const YIELDING = "10";
const YIELDING_FOR_GOOD = "10";
const COMPUTING = "-5";
/**
 * On a host whose cores are all busy with CPU modules the sequencer must not wait for their time slices to end: each millisecond that it
 * waits, all of them wait.
 */
const SEQUENCER_NICE = -15;
/** Start, compilation and connection together, measured on two busy processors: 0.3 to 0.6 s. */
const START_MS = 700;

/** Without autogroups, or without the right to raise the weight again, it starts like any other process. */
export function yieldWhileStarting(pid: number): void {
  if (process.getuid?.() !== 0 || !setWeight(pid, YIELDING)) return;
  setTimeout(() => computeFirst(pid), START_MS).unref();
}

/** Also for a module whose starter was lost while it yielded. */
export function computeFirst(pid: number): void {
  if (process.getuid?.() === 0) setWeight(pid, COMPUTING);
}

/** For this process, the active I/O module: nice where sessions are not weighed, its session where they are. */
export function sequenceFirst(): void {
  try {
    setPriority(SEQUENCER_NICE);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SYSTEM_ERROR") throw error;
    return;
  }
  setWeight(process.pid, String(SEQUENCER_NICE));
}

/** For a process, of a session of its own, that always lets the modules go first. */
export function yieldForGood(pid: number): void {
  setWeight(pid, YIELDING_FOR_GOOD);
}

function setWeight(pid: number, nice: string): boolean {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, nice);
    return true;
  } catch {
    // No such kernel feature, a container that hides it, or the process has ended: then there is nothing to weigh.
    return false;
  }
}
