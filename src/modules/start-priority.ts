/**
 * A CPU module that starts compiles its engine on every processor that it can get, just when those that serve on have one less: for that
 * time its session yields to theirs. Linux weighs sessions (sched(7), autogroup), and every module is one.
 */
import { writeFileSync } from "node:fs";

/** Like nice values. */
const YIELDING = "10";
const YIELDING_FOR_GOOD = "5";
const ORDINARY = "0";
/** Start, compilation and connection together, measured on two busy processors: 0.3 to 0.6 s. */
const START_MS = 700;

/** Without autogroups, or without the right to raise the weight again, it starts like any other process. */
export function yieldWhileStarting(pid: number): void {
  if (process.getuid?.() !== 0 || !setWeight(pid, YIELDING)) return;
  setTimeout(() => endYielding(pid), START_MS).unref();
}

/** Also for a module whose starter was lost within that time. */
export function endYielding(pid: number): void {
  if (process.getuid?.() === 0) setWeight(pid, ORDINARY);
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
