/** Faults by seed: what befalls a simulated server, when, and in which rare moments it was hit. */
import { SeededRandom } from "../foundation/random.js";
import { DISK_BLOCK_BYTES } from "../machine/machine.js";
import type { Scenario } from "./scenario.js";
import type { MirrorDisk } from "./simulated-mirror.js";
import { IO_RESTART_MS, type World } from "./world.js";

export type FaultKind =
  | "kill"
  | "stop"
  | "pause"
  | "slow"
  | "restartIo"
  | "overtakeIo"
  | "hangIo"
  | "cutIo"
  | "arbiterOutage"
  | "arbiterSlow"
  | "cut"
  | "batch"
  | "clockJump"
  | "wallClock"
  | "killAll"
  | "powerLoss"
  | "pullEnclosure"
  | "resize"
  | "diskRot"
  | "diskUnreadable"
  | "diskWrites"
  | "diskErrors"
  | "diskSlow"
  | "storeFull"
  | "storeRot"
  | "flip"
  | "corruptOutput"
  | "skewClock";

/** Modules, links, clocks and the arbiter fail. */
export const LOSSES: readonly FaultKind[] = [
  ...(["kill", "kill", "kill", "kill", "stop", "pause", "slow", "restartIo", "restartIo", "overtakeIo", "hangIo", "cutIo"] as const),
  ...(["arbiterOutage", "arbiterSlow", "cut", "cut", "batch", "clockJump", "wallClock", "pullEnclosure", "resize"] as const),
  ...(["storeFull", "storeRot"] as const),
];
/** Disks below the mirrors fail: bits rot, blocks cannot be read, writes get lost, go astray or are torn, fail, or take long. */
export const DISK_FAULTS: readonly FaultKind[] = ["diskRot", "diskUnreadable", "diskWrites", "diskErrors", "diskSlow"];
/** Modules compute wrongly. */
export const ERRORS: readonly FaultKind[] = ["flip", "flip", "flip", "corruptOutput", "corruptOutput", "skewClock"];
/** Now and then instead of any other: everything of a kind at once. */
const RARE: readonly FaultKind[] = ["killAll", "powerLoss"];
const RARE_CHANCE = 0.01;
/** A takeover takes about this long, from the loss of the former sequencer on. */
const TAKEOVER_MS = 10;
/**
 * What takes CPU modules away is not done to a server in which an error still sleeps: to be left with the wrong one, or a copy of it,
 * is a double fault and beyond any promise. While it is being judged it does not sleep any more.
 */
const TAKES_MODULES: ReadonlySet<FaultKind> = new Set([
  ...(["kill", "stop", "pause", "slow", "cut", "batch", "clockJump", "killAll", "powerLoss", "pullEnclosure", "resize"] as const),
]);

/** Lets faults befall the world; returns a log that grows, saying when and what. */
export function putFaults(world: World, scenario: Scenario, mark: (name: string) => void): string[] {
  const random = new SeededRandom(scenario.seed * 104_729);
  const log: string[] = [];
  const strike = (): void => {
    const kind = random.chance(RARE_CHANCE) ? random.pick(RARE) : random.pick(scenario.faults);
    const victim = random.pick(world.cpuNames);
    const isPossible = ERRORS.includes(kind)
      ? world.isWhole && !world.mayHideError
      : !TAKES_MODULES.has(kind) || !world.mayHideError || world.server.adjudication.isPending;
    if (!isPossible) return;
    log.push(`${world.nowMs.toFixed(1)} ${kind} ${victim}`);
    noteCircumstances(world, kind, mark);
    FAULTS[kind](world, victim, random, scenario);
    // A takeover is over in two milliseconds, an adjudication in a hundred: by chance alone they would hardly ever be hit.
    if (kind === "restartIo" && random.chance(0.5)) world.after(IO_RESTART_MS + random.below(30), strike);
    // And the arbiter must fail in the middle of it, once the sequencer has read what is in force.
    const withinMs = scenario.ioCount > 1 ? TAKEOVER_MS : IO_RESTART_MS + TAKEOVER_MS;
    if (kind === "restartIo" && random.chance(0.2))
      world.after(random.below(withinMs), () => FAULTS.arbiterOutage(world, victim, random, scenario));
    if (ERRORS.includes(kind) && random.chance(0.3)) whenJudged(world, strike);
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

/** Strikes again as soon as an adjudication is under way, if one begins soon. */
function whenJudged(world: World, strike: () => void): void {
  let looks = 200;
  const look = (): void => {
    looks -= 1;
    if (world.server.adjudication.isPending) world.after(world.random.below(60), strike);
    else if (looks > 0) world.after(1, look);
  };
  look();
}

/** The rare moments that a protocol must be hit in. */
function noteCircumstances(world: World, kind: FaultKind, mark: (name: string) => void): void {
  const { server } = world;
  if (world.isIoDown) mark(`${kind} while the sequencer is down`);
  else if (server.phase === "resuming") mark(`${kind} during a takeover`);
  else if (server.phase === "outage") mark(`${kind} during an outage`);
  else if (server.adjudication.isPending) mark(`${kind} during an adjudication`);
  else if (server.membership.claiming !== null) mark(`${kind} during a claim`);
  else if (server.reintegration.isActive) mark(`${kind} during a reintegration`);
  else if (server.voter.issued > server.voter.released) mark(`${kind} with ticks in flight`);
  else mark(`${kind} at rest`);
}

type Way = readonly [from: string, to: string];

function cutFor(world: World, ways: readonly Way[], forMs: number): void {
  for (const [from, to] of ways) world.links.cut(from, to);
  world.after(forMs, () => {
    for (const [from, to] of ways) world.links.heal(from, to);
  });
}

/** Something happens to one of the mirrors' disks, if there are any. */
function withDisk(world: World, random: SeededRandom, act: (disk: MirrorDisk) => unknown): void {
  const disks = [...world.disks.values()];
  if (disks.length === 0) return;
  world.haveDisksFailed = true;
  act(random.pick(disks));
}

type Fault = (world: World, victim: string, random: SeededRandom, scenario: Scenario) => void;

const FAULTS: Readonly<Record<FaultKind, Fault>> = {
  kill: (world, victim) => world.kill(victim),
  stop: (world, victim) => world.stop(victim),
  pause: (world, victim, random) => {
    const cpu = world.cpus.get(victim);
    cpu?.stop();
    world.after(random.below(400), () => cpu?.continue());
  },
  slow: (world, victim, random) => {
    world.slow(victim, 2 + random.below(60));
    world.after(random.below(400), () => world.slow(victim, 1));
  },
  restartIo: (world, _victim, random) => world.restartIo(random.chance(0.7) ? world.io.name : random.pick([...world.ios.keys()])),
  overtakeIo: (world, _victim, random) => world.overtakeIo(random.below(300), random.below(200)),
  hangIo: (world) => world.hangIo(),
  arbiterOutage: (world, _victim, random) => {
    world.arbiter.isDown = true;
    world.after(random.below(300), () => {
      world.arbiter.isDown = false;
    });
  },
  arbiterSlow: (world, _victim, random) => {
    world.arbiter.delayMs = 10 + random.below(40);
    world.after(random.below(500), () => {
      world.arbiter.delayMs = 1;
    });
  },
  cut: (world, victim, random) => {
    const io = world.io.name;
    cutFor(
      world,
      random.pick<readonly Way[]>([
        [[io, victim]],
        [[victim, io]],
        [
          [io, victim],
          [victim, io],
        ],
      ]),
      random.below(random.chance(0.5) ? 60 : 500),
    );
  },
  cutIo: (world, _victim, random) => {
    const from = world.io.name;
    const to = random.pick([...world.ios.keys()]);
    if (from === to) return;
    cutFor(
      world,
      random.pick<readonly Way[]>([
        [[from, to]],
        [[to, from]],
        [
          [from, to],
          [to, from],
        ],
      ]),
      random.below(900),
    );
  },
  batch: (world, _victim, random) => {
    world.links.batchMs = 1 + random.below(30);
    world.after(random.below(400), () => {
      world.links.batchMs = 0;
    });
  },
  clockJump: (world, _victim, random) => world.io.jump(random.below(random.chance(0.5) ? 300 : 30_000)),
  wallClock: (world, _victim, random) => {
    world.wallOffsetNs = BigInt(random.below(7_200_000) - 3_600_000) * 1_000_000n;
  },
  killAll: (world) => {
    for (const name of world.cpuNames) world.kill(name);
  },
  powerLoss: (world, _victim, random) => world.losePower(random.chance(0.5)),
  pullEnclosure: (world, victim, _random, scenario) => {
    const pulled = scenario.enclosures[victim];
    for (const name of world.cpuNames) if (scenario.enclosures[name] === pulled) world.kill(name);
    for (const name of [...world.ios.keys()]) if (scenario.enclosures[name] === pulled) world.restartIo(name);
  },
  resize: (world) => {
    const [slot] = world.options.emptySlots ?? [];
    if (slot !== undefined) world.expect(slot, !world.cpuNames.includes(slot));
  },
  storeFull: (world, _victim, random) => {
    world.checkpoints.isFull = true;
    world.after(random.below(500), () => {
      world.checkpoints.isFull = false;
    });
  },
  diskRot: (world, _victim, random) => withDisk(world, random, (disk) => disk.rot(random)),
  diskUnreadable: (world, _victim, random) =>
    withDisk(world, random, ({ faults }) =>
      faults.unreadable.push({ offset: random.below(8) * DISK_BLOCK_BYTES, lengthBytes: DISK_BLOCK_BYTES }),
    ),
  diskWrites: (world, _victim, random) =>
    withDisk(world, random, ({ faults }) => {
      faults[random.pick(["lostWrites", "misdirectedWrites", "tornWrites"] as const)] += 1;
    }),
  diskErrors: (world, _victim, random) =>
    withDisk(world, random, ({ faults }) => {
      const kind = random.pick(["writeErrors", "readErrors", "syncErrors", "isFull"] as const);
      faults[kind] = true;
      world.after(random.below(300), () => {
        faults[kind] = false;
      });
    }),
  diskSlow: (world, _victim, random) =>
    withDisk(world, random, ({ faults }) => {
      faults.slowMs = 1 + random.below(50);
      world.after(random.below(400), () => {
        faults.slowMs = 0;
      });
    }),
  storeRot: (world) => world.checkpoints.rot(),
  flip: (world, victim, random) => world.flip(victim, random.below(0x40_0000), random.below(8)),
  corruptOutput: (world, victim) => world.corruptOutput(victim),
  skewClock: (world, victim) => world.skewClock(victim),
};
