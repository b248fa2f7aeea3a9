/** One seed of a simulated mirrored disk, and a command for many: `node dist-test/support/storage-run.js FROM TO`. */
import { SeededRandom } from "../../dist/foundation/random.js";
import { checksumBlock, viewOf, wordsOf } from "../../dist/storage/block-checksum.js";
import { BLOCK_BYTES } from "../../dist/storage/limits.js";
import { Violation } from "./storage-guest.js";
import { DISK_BYTES, StorageWorld, type SimulatedModule } from "./storage-world.js";

const BLOCKS = DISK_BYTES / BLOCK_BYTES;
const FAULTY_MS = 1500;
const QUIET_LIMIT_MS = 20_000;

export const PROFILES = ["crashes", "damage", "both"] as const;
export type Profile = (typeof PROFILES)[number];

export interface SeedOutcome {
  readonly profile: Profile;
  readonly violation: string | null;
  readonly trace: readonly string[];
  readonly events: Readonly<Record<string, number>>;
  readonly counts: Readonly<Record<string, number>>;
}

/** Blocks of a mirror that do not have their checksum. */
function badBlocks(module: SimulatedModule): number[] {
  const data = module.disks.data.contents;
  const table = wordsOf(module.disks.checksums.contents);
  const view = viewOf(data);
  const out = new Uint32Array(2);
  const bad: number[] = [];
  for (let block = 0; block < data.length / BLOCK_BYTES; block += 1) {
    checksumBlock(view, block * BLOCK_BYTES, block, out, 0);
    if (out[0] !== table[block * 2] || out[1] !== table[block * 2 + 1]) bad.push(block);
  }
  return bad;
}

class Run {
  readonly world: StorageWorld;
  readonly #random: SeededRandom;
  readonly #profile: Profile;
  #isFaulty = true;

  constructor(seed: number, profile: Profile) {
    this.#random = new SeededRandom(seed * 7 + 1);
    this.#profile = profile;
    this.world = new StorageWorld(seed, seed % 4 === 3 ? 3 : 2);
    this.world.guest.mayFail = () => profile === "both";
  }

  all(): void {
    const { world } = this;
    world.create();
    this.#use();
    world.timeline.run(200, () => world.isQuiet);
    if (this.#profile !== "damage") this.#crash();
    if (this.#profile !== "crashes") this.#damage();
    world.timeline.run(world.timeline.nowMs + FAULTY_MS, () => false);
    this.#isFaulty = false;
    this.#heal();
    const isThere = world.timeline.run(
      world.timeline.nowMs + QUIET_LIMIT_MS,
      () => world.isQuiet && world.modules.every((each) => each.isAlive),
    );
    if (!isThere) throw new Violation(`it does not come to rest: ${JSON.stringify(world.active?.controller?.status() ?? null)}`);
    // Twice: one may be under way.
    for (let walk = 0; walk < 2; walk += 1) {
      world.active?.dispatch({ kind: "scrub" });
      world.timeline.run(world.timeline.nowMs + 300, () => false);
    }
    this.#checkMirrors();
  }

  /** The guest's requests, some all the time. */
  #use(): void {
    if (!this.#isFaulty) return;
    this.world.guestStep();
    this.world.timeline.after(this.#random.below(30) / 10, () => this.#use());
  }

  #later(mostMs: number, run: () => void): void {
    this.world.timeline.after(1 + this.#random.below(mostMs), () => this.#isFaulty && run());
  }

  #crash(): void {
    const { world } = this;
    const module = this.#random.pick(world.modules);
    const kind = this.#random.below(11);
    if (!world.hasPower) {
      // Nothing to do.
    } else if (kind < 3) world.kill(module);
    else if (kind < 4 && world.active !== null) world.kill(world.active);
    else if (kind < 6) this.#hold(module);
    else if (kind < 7) world.replace();
    else if (kind < 8) world.resetGuest();
    else if (kind < 10) world.reconfigure();
    else world.losePower();
    this.#later(this.#random.pick([5, 30, 200]), () => this.#crash());
  }

  #hold(module: SimulatedModule): void {
    const { world } = this;
    world.say(`${module.name} is held`);
    module.hold();
    if (module === world.active && this.#random.chance(0.7)) world.replace();
    world.timeline.after(this.#random.below(120), () => {
      world.say(`${module.name} goes on`);
      module.continue();
    });
  }

  /** One kind of damage at a time, on one mirror, while the others are well. */
  #damage(): void {
    const { world } = this;
    const isWell = world.isQuiet || this.#profile === "both";
    const isFailing = world.modules.some(({ faults }) => faults.writeErrors || faults.isFull || faults.slowMs > 0);
    const isArmed = isFailing || world.modules.some(({ faults }) => faults.lostWrites + faults.tornWrites + faults.misdirectedWrites > 0);
    const isSound = (module: SimulatedModule): boolean => badBlocks(module).length === 0 && module.faults.unreadable.length === 0;
    if (isWell && (this.#profile === "both" || (!isArmed && world.modules.every(isSound))))
      this.#damageOne(this.#random.pick(world.modules));
    this.#later(30, () => this.#damage());
  }

  #damageOne(module: SimulatedModule): void {
    const { world } = this;
    const { faults } = module;
    const block = this.#random.pick(world.guest.hot);
    const kind = this.#random.below(this.#profile === "both" ? 6 : 9);
    world.say(`damage ${kind} on ${module.name}, block ${block}`);
    const for_ = (on: () => void, off: () => void): void => {
      on();
      this.#later(100, off);
    };
    switch (kind) {
      case 0: {
        if (this.#profile === "both") world.guest.excuse(block);
        const { contents } = module.disks.data;
        contents[block * BLOCK_BYTES + this.#random.below(BLOCK_BYTES)]! ^= 1 << this.#random.below(8);
        return;
      }
      case 1: {
        if (this.#profile === "both") world.guest.excuse(block);
        module.disks.checksums.contents[block * 8 + this.#random.below(8)]! ^= 1;
        return;
      }
      case 2:
        if (this.#profile === "both") world.guest.excuse(block);
        faults.unreadable.push({ offset: block * BLOCK_BYTES, lengthBytes: BLOCK_BYTES });
        return;
      case 3:
        return for_(
          () => (faults.writeErrors = true),
          () => (faults.writeErrors = false),
        );
      case 4:
        return for_(
          () => (faults.isFull = true),
          () => (faults.isFull = false),
        );
      case 5:
        return for_(
          () => (faults.slowMs = this.#random.pick([2, 10, 200])),
          () => (faults.slowMs = 0),
        );
      case 6:
        faults.lostWrites = 1;
        return;
      case 7:
        faults.tornWrites = 1;
        return;
      default:
        faults.misdirectedWrites = 1;
    }
  }

  #heal(): void {
    for (const module of this.world.modules) {
      Object.assign(module.faults, { isFull: false, readErrors: false, writeErrors: false, syncErrors: false, slowMs: 0, unreadable: [] });
      Object.assign(module.faults, { lostWrites: 0, misdirectedWrites: 0, tornWrites: 0 });
      module.continue();
    }
  }

  #checkMirrors(): void {
    const { world } = this;
    const [first] = world.modules as [SimulatedModule];
    const lost = new Set(badBlocks(first));
    for (const module of world.modules) {
      // What more was damaged than can be made good must be known to be bad, everywhere.
      const bad = badBlocks(module).filter((block) => this.#profile !== "both" || !lost.has(block));
      if (bad.length > 0) throw new Violation(`${module.name}: bad blocks at the end: ${bad.join()}`);
      for (let block = 0; block < BLOCKS; block += 1) {
        const range = [block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES] as const;
        const isEqual = Buffer.compare(first.disks.data.contents.subarray(...range), module.disks.data.contents.subarray(...range)) === 0;
        if (!isEqual && !lost.has(block)) throw new Violation(`${first.name} and ${module.name} differ in block ${block}`);
      }
    }
    for (const block of lost) world.guest.excuse(block);
    world.guest.checkAll(first.disks.data.contents);
  }
}

export function runStorageSeed(seed: number, profile: Profile = PROFILES[seed % PROFILES.length] as Profile): SeedOutcome {
  const run = new Run(seed, profile);
  let violation: string | null = null;
  try {
    run.all();
  } catch (error) {
    violation = error instanceof Violation ? error.message : String((error as Error).stack);
  }
  const events: Record<string, number> = {};
  for (const code of run.world.events) events[code] = (events[code] ?? 0) + 1;
  return { profile, violation, trace: run.world.trace, events, counts: { ...run.world.guest.counts } };
}

const [, script, from, to] = process.argv;
if (script?.endsWith("storage-run.js") === true && from !== undefined) {
  const totals: Record<string, number> = {};
  for (let seed = Number(from); seed <= Number(to ?? from); seed += 1) {
    const outcome = runStorageSeed(seed);
    if (outcome.violation !== null) {
      if (to === undefined) console.log(outcome.trace.join("\n"));
      console.log(`seed ${seed} (${outcome.profile}): ${outcome.violation}`);
      process.exitCode = 1;
      if (process.env["STEADFAST_KEEP_GOING"] === undefined) break;
    }
    for (const [name, count] of Object.entries({ ...outcome.events, ...outcome.counts })) totals[name] = (totals[name] ?? 0) + count;
  }
  console.log(JSON.stringify(totals));
}
