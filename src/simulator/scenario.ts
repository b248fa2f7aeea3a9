/** What a seed stands for: the shape of the server, the faults that may befall it, and the load that its clients put on it. */
import { utf8Encode } from "../foundation/bytes.js";
import { SeededRandom } from "../foundation/random.js";
import { DISK_FAULTS, ERRORS, LOSSES, type FaultKind } from "./faults.js";
import { World } from "./world.js";

export type Shape = "duplex" | "triplex" | "pair-and-spare";

export interface Scenario {
  readonly seed: number;
  readonly shape: Shape;
  readonly cpus: readonly string[];
  readonly ioCount: number;
  /** Blocks of its disk that the guest uses; 0: it has none. */
  readonly diskBlocks: number;
  readonly emptySlots: readonly string[];
  readonly enclosures: Readonly<Record<string, string>>;
  readonly release: "compared" | "logged";
  readonly ramPages: number;
  readonly clockDrift: number;
  /** Faults and load end here; from then on the server must come back to full redundancy. */
  readonly faultsUntilMs: number;
  /** Which kinds of fault may happen; drawn with equal chances. */
  readonly faults: readonly FaultKind[];
}

const PAGE_BYTES = 4096;
/** Pages of a small machine (cloned in a blink) and of one whose reintegration takes long enough to be interrupted. */
const SMALL_PAGES = 16;
const LARGE_PAGES = 640;
const MOST_CLOCK_DRIFT = 0.2;
/** A disk access comes with each timer: few blocks, so that each is written again and again. */
const DISK_BLOCKS = 8;
const PAIRS = [
  ["cpu0", "cpu1"],
  ["cpu2", "cpu3"],
] as const;

/** Everything about a run follows from its seed, so that one number replays it. */
export function scenarioOf(seed: number, faultsUntilMs: number): Scenario {
  const random = new SeededRandom(seed * 7919);
  const shape = random.chance(0.5) ? "duplex" : random.chance(0.6) ? "triplex" : "pair-and-spare";
  const count = { duplex: 2, triplex: 3, "pair-and-spare": 4 }[shape];
  const cpus = ["cpu0", "cpu1", "cpu2", "cpu3"].slice(0, count);
  const release = random.chance(0.6) ? "compared" : "logged";
  // Released on receipt, a wrong output leaves: `logged` promises nothing against wrong computing.
  const isWrong = release === "compared" && random.chance(0.6);
  const ioCount = random.chance(0.3) ? 1 : shape === "triplex" ? 3 : 2;
  const diskBlocks = ioCount > 1 && random.chance(0.5) ? DISK_BLOCKS : 0;
  const doDisksFail = diskBlocks > 0 && random.chance(0.5);
  const faults = [...LOSSES, ...(isWrong ? [...ERRORS, ...ERRORS] : []), ...(doDisksFail ? DISK_FAULTS : [])].filter(
    (kind) => kind !== "resize" || (shape === "duplex" && !isWrong),
  );
  const enclosureCount = 1 + random.below(3);
  const names = ["io0", "io1", "io2", ...cpus, "cpu2"];
  return {
    seed,
    shape,
    cpus,
    ioCount,
    diskBlocks,
    emptySlots: shape === "duplex" ? ["cpu2"] : [],
    enclosures: Object.fromEntries(names.map((name) => [name, `enclosure${Number(name.slice(-1)) % enclosureCount}`])),
    release,
    ramPages: random.chance(0.5) ? SMALL_PAGES : LARGE_PAGES,
    clockDrift: random.chance(0.5) ? MOST_CLOCK_DRIFT : 0,
    faultsUntilMs,
    faults,
  };
}

export function worldOf(scenario: Scenario): World {
  return new World({
    seed: scenario.seed,
    cpus: scenario.cpus,
    ioCount: scenario.ioCount,
    ...(scenario.diskBlocks > 0 && { diskBlocks: scenario.diskBlocks }),
    emptySlots: scenario.emptySlots,
    ...(scenario.shape === "pair-and-spare" ? { pairs: PAIRS } : {}),
    hasJudge: true,
    enclosures: scenario.enclosures,
    release: scenario.release,
    ramBytes: scenario.ramPages * PAGE_BYTES,
    clockDrift: scenario.clockDrift,
  });
}

/** Every so many of them, a client says something to the guest's agent as well. */
const AGENT_EVERY = 7;

/** Clients: frames that are echoed, some that burn the processor, console lines, lines for the agent; now and then the guest reboots or panics. */
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
    if (number % AGENT_EVERY === 0) world.input({ kind: "agent", bytes: utf8Encode(`ping ${number}\n`) });
    world.after(0.5 + world.random.below(6), next);
  };
  next();
}
