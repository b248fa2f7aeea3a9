/** One seed from beginning to verdict. */
import { ABSENT_LIMIT_MS } from "../lockstep/limits.js";
import {
  checkDisk,
  checkHistory,
  checkMachines,
  checkMirrors,
  checkReleases,
  checkVerdicts,
  verifiedDigests,
  Violation,
  type ViolationKind,
} from "./checker.js";
import { putFaults } from "./faults.js";
import { putLoad, scenarioOf, worldOf } from "./scenario.js";
import type { World } from "./world.js";

export interface SeedOutcome {
  readonly seed: number;
  /** null: everything held. A crash is a failed assertion or any other exception of the protocol code. */
  readonly violation: { readonly kind: ViolationKind | "crash"; readonly text: string } | null;
  readonly simulatedMs: number;
  readonly faults: number;
  /** Rare moments that this seed reached, with how often. */
  readonly marks: ReadonlyMap<string, number>;
  /** Faults and events in order, for whoever must understand a violation. */
  readonly trace: readonly string[];
}

/** After the last fault: a module that hangs before it connects, and what else goes wrong; a stall alone takes five seconds to be called so. */
const RECOVERY_LIMIT_MS = ABSENT_LIMIT_MS + 12_000;
/** An idle guest ticks a hundred times a second, and each tick looks at two pages. */
const SCRUB_LIMIT_MS = 20_000;
const SETTLE_MS = 500;
const QUIET_MS = 100;
const VERIFY_LIMIT_MS = 1000;
const REBOOT_CHANCE = 0.004;
const TRACE_LINES_MAX = 60;

/** Runs the server of `seed` under its load and faults until `faultsUntilMs`, and judges it. Never throws. */
export function runSeed(seed: number, faultsUntilMs: number): SeedOutcome {
  const marks = new Map<string, number>();
  const mark = (name: string): void => void marks.set(name, (marks.get(name) ?? 0) + 1);
  const scenario = scenarioOf(seed, faultsUntilMs);
  const world = worldOf(scenario);
  mark(`server: ${scenario.shape}`);
  const log = putFaults(world, scenario, mark);
  let violation: SeedOutcome["violation"] = null;
  try {
    putLoad(world, faultsUntilMs, REBOOT_CHANCE);
    judge(world, faultsUntilMs);
  } catch (error) {
    const kind = error instanceof Violation ? error.kind : "crash";
    violation = { kind, text: kind === "crash" ? String((error as Error).stack) : (error as Error).message };
  }
  for (const event of world.events) mark(event.code);
  if (world.errors.lostBy !== null) mark("double fault: the truth was lost");
  const trace = [...log.map((line) => `${line}   (fault)`), ...world.events.map((event) => event.text)]
    .sort((left, right) => parseFloat(left) - parseFloat(right))
    .slice(-TRACE_LINES_MAX);
  return { seed, violation, simulatedMs: world.nowMs, faults: log.length, marks, trace };
}

/** Safety comes first: where it was violated, what does not come back any more is only a consequence. */
function demandLive(world: World, isLive: boolean, text: string): void {
  if (isLive) return;
  checkVerdicts(world);
  checkHistory(world);
  checkReleases(
    world,
    world.history.replay(() => world.newMachine()),
    false,
  );
  throw new Violation("liveness", text);
}

function judge(world: World, faultsUntilMs: number): void {
  world.run(faultsUntilMs + 100);
  const isBack = (): boolean => world.isHealthy && world.isWhole;
  const recovered = world.run(world.nowMs + RECOVERY_LIMIT_MS, isBack);
  demandLive(world, recovered, `still ${world.redundancy} ${RECOVERY_LIMIT_MS} ms after the last fault`);
  world.run(world.nowMs + SETTLE_MS);
  const scrubbed = world.run(world.nowMs + SCRUB_LIMIT_MS, () => !world.mayHideError && isBack());
  demandLive(world, scrubbed, `${world.redundancy} while a flipped bit was looked for`);
  const digests = verifiedDigests(world, VERIFY_LIMIT_MS);
  world.run(world.nowMs + SETTLE_MS);
  world.run(world.nowMs + QUIET_MS, () => world.server.voter.released === world.server.voter.issued);
  const truth = world.history.replay(() => world.newMachine(), world.verifiedSeq);
  checkVerdicts(world);
  checkMachines(world, digests, truth);
  checkHistory(world);
  checkReleases(world, truth, true);
  // A module that was wrongly held to be right may have written anything.
  if (!world.haveDisksFailed && world.errors.lostBy === null) checkDisk(world, truth);
  if (world.disks.size > 0) judgeMirrors(world);
}

/** All of the disk is looked through; then the guest is stopped, so that what it has written arrives everywhere. */
function judgeMirrors(world: World): void {
  let looked = world.events.length;
  let isDone = false;
  world.input({ kind: "diskScrub" });
  const isThrough = (): boolean => {
    for (; looked < world.events.length; looked += 1) isDone ||= world.events[looked]?.code === "SCRUB_DONE";
    return isDone;
  };
  if (!world.run(world.nowMs + SCRUB_LIMIT_MS, isThrough)) throw new Violation("liveness", "the disk is not looked through");
  // Without a good copy the bad ones differ, and are known to be bad.
  if (world.events.some(({ code }) => code === "BLOCK_LOST")) return;
  for (const name of world.cpuNames) world.stop(name);
  world.run(world.nowMs + QUIET_MS);
  checkMirrors(world);
}
