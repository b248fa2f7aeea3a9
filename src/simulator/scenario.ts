/** What a seed stands for: the shape of the server, the load that its clients put on it, and the faults that befall it. */
import { utf8Encode } from "../foundation/bytes.js";
import { SeededRandom } from "../foundation/random.js";
import { IO_RESTART_MS, World } from "./world.js";

export interface Scenario {
  readonly seed: number;
  readonly cpus: readonly string[];
  readonly release: "compared" | "logged";
  readonly ramPages: number;
  /** Faults and load end here; from then on the server must come back to full redundancy. */
  readonly faultsUntilMs: number;
  /** Which kinds of fault may happen; drawn with equal chances. */
  readonly faults: readonly FaultKind[];
}

export type FaultKind = "kill" | "stop" | "slow" | "restartIo" | "arbiterOutage" | "arbiterSlow" | "flip" | "killAll";

const LOSSES: readonly FaultKind[] = ["kill", "kill", "kill", "stop", "slow", "restartIo", "arbiterOutage", "arbiterSlow"];
/**
 * Wrong computing, in a triplex server only: of two nobody can tell yet who was hit. And not mixed with losses: a flip that still sleeps
 * in a module's RAM when another module is lost may be copied to its replacement, which is a double fault and beyond any promise.
 */
const ERRORS: readonly FaultKind[] = ["flip", "flip", "restartIo", "arbiterOutage", "arbiterSlow"];
const PAGE_BYTES = 4096;
/** Pages of a small machine (cloned in a blink) and of one whose reintegration takes long enough to be interrupted. */
const SMALL_PAGES = 16;
const LARGE_PAGES = 1200;

/** Everything about a run follows from its seed, so that one number replays it. */
export function scenarioOf(seed: number, faultsUntilMs: number): Scenario {
  const random = new SeededRandom(seed * 7919);
  const isTriplex = random.chance(0.4);
  const isWrong = isTriplex && random.chance(0.35);
  const faults = isWrong ? [...ERRORS] : [...LOSSES];
  if (!isWrong && random.chance(0.15)) faults.push("killAll");
  return {
    seed,
    cpus: isTriplex ? ["cpu0", "cpu1", "cpu2"] : ["cpu0", "cpu1"],
    release: random.chance(0.5) ? "compared" : "logged",
    ramPages: random.chance(0.5) ? SMALL_PAGES : LARGE_PAGES,
    faultsUntilMs,
    faults,
  };
}

export function worldOf(scenario: Scenario): World {
  return new World({
    seed: scenario.seed,
    cpus: scenario.cpus,
    release: scenario.release,
    ramBytes: scenario.ramPages * PAGE_BYTES,
  });
}

/** Clients: frames that are echoed, some that burn the processor, console lines; now and then the guest reboots or panics. */
export function putLoad(world: World, untilMs: number, rebootChance = 0): void {
  let number = 0;
  const frame = (bytes: Uint8Array): void => world.input({ kind: "frames", port: 0, frames: [bytes] });
  const next = (): void => {
    if (world.nowMs > untilMs) return;
    number += 1;
    if (world.random.chance(rebootChance)) frame(utf8Encode(world.random.chance(0.5) ? "R" : "P"));
    else if (world.random.chance(0.2)) {
      const burn = new Uint8Array(9);
      const view = new DataView(burn.buffer);
      burn[0] = 0x42;
      view.setUint32(1, world.random.below(400_000), true);
      view.setUint32(5, number, true);
      frame(burn);
    } else if (world.random.chance(0.5)) frame(utf8Encode(`frame ${number}`));
    else world.input({ kind: "console", bytes: utf8Encode(`line ${number}\n`) });
    world.after(0.5 + world.random.below(6), next);
  };
  next();
}

/** Lets faults befall the world; `log` says when and what. */
export function putFaults(world: World, scenario: Scenario, mark: (name: string) => void): string[] {
  const random = new SeededRandom(scenario.seed * 104_729);
  const log: string[] = [];
  const strike = (): void => {
    const kind = random.pick(scenario.faults);
    const victim = random.pick(scenario.cpus);
    log.push(`${world.nowMs.toFixed(1)} ${kind} ${victim}`);
    noteCircumstances(world, kind, mark);
    befall(world, kind, victim, random);
    // A takeover is over in two milliseconds: by chance alone it would hardly ever be hit.
    if (kind === "restartIo" && random.chance(0.5)) world.after(IO_RESTART_MS + random.below(30), strike);
  };
  const next = (): void => {
    if (world.nowMs > scenario.faultsUntilMs) return;
    strike();
    // Sometimes in quick succession: into a reintegration, a claim, a takeover, or onto all at once.
    world.after(random.chance(0.3) ? random.below(20) : random.chance(0.5) ? random.below(200) : random.below(900), next);
  };
  world.after(random.below(300), next);
  return log;
}

/** The rare moments that a protocol must be hit in. */
function noteCircumstances(world: World, kind: FaultKind, mark: (name: string) => void): void {
  if (world.isIoDown) mark(`${kind} while the sequencer is down`);
  else if (world.server.phase === "resuming") mark(`${kind} during a takeover`);
  else if (world.server.phase === "outage") mark(`${kind} during an outage`);
  else if (world.server.membership.claiming !== null) mark(`${kind} during a claim`);
  else if (world.server.reintegration.isActive) mark(`${kind} during a reintegration`);
  else if (world.server.voter.issued > world.server.voter.released) mark(`${kind} with ticks in flight`);
  else mark(`${kind} at rest`);
}

function befall(world: World, kind: FaultKind, victim: string, random: SeededRandom): void {
  switch (kind) {
    case "kill":
    case "stop":
      return world[kind](victim);
    case "killAll":
      for (const name of world.cpuNames) world.kill(name);
      return;
    case "slow":
      world.slow(victim, 2 + random.below(60));
      return world.after(random.below(400), () => world.slow(victim, 1));
    case "restartIo":
      if (!world.isIoDown) world.restartIo();
      return;
    case "arbiterOutage":
      world.arbiterIsDown = true;
      return world.after(random.below(300), () => {
        world.arbiterIsDown = false;
      });
    case "arbiterSlow":
      world.arbiterDelayMs = 10 + random.below(40);
      return world.after(random.below(500), () => {
        world.arbiterDelayMs = 1;
      });
    case "flip":
      // One wrong module at a time is what a majority masks; a second one before the first was replaced is beyond any promise.
      if (world.redundancy === "TRIPLEX" && !world.mayHideFlip) world.flip(victim, random.below(0x10_0000), random.below(8));
      return;
  }
}
