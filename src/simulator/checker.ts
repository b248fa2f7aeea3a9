/**
 * What must hold of a simulated server, whatever befell it. The truth is a reference machine that runs the whole issued history alone
 * and without faults: what it puts out is what clients must have seen.
 */
import { equalBytes } from "../foundation/bytes.js";
import type { Truth } from "./history.js";
import { outputText } from "./releases.js";
import type { World } from "./world.js";

export type ViolationKind = "safety" | "liveness";

export class Violation extends Error {
  constructor(
    readonly kind: ViolationKind,
    message: string,
  ) {
    super(message);
  }
}

function demand(condition: boolean, message: string): asserts condition {
  if (!condition) throw new Violation("safety", message);
}

/** Where the released outputs stand in the reference. */
interface Progress {
  life: number;
  next: number;
  /** A takeover happened: what came already may come again. */
  mayRepeat: boolean;
  /** An outage happened in this life: its rest never comes. */
  isCut: boolean;
}

/**
 * Released outputs are the reference's, in its order, none skipped. Three exceptions: after a takeover some may come twice (as a network
 * does), an outage ends a life of the guest, of which the rest never comes, and what an overtaken sequencer lets go late is something
 * that was voted, wherever it stands.
 */
export function checkReleases(world: World, truth: Truth, isComplete: boolean): void {
  const lives = truth.lives.map((outputs) => outputs.map(outputText));
  const progress: Progress = { life: -1, next: 0, mayRepeat: false, isCut: false };
  const demandWhole = (): void => {
    const { life, next, isCut } = progress;
    const missing = lives[life]?.[next];
    demand(isCut || missing === undefined, `output ${next} of life ${life} was computed and never released: ${missing}`);
  };
  for (const release of world.releases) {
    if (release.kind === "truthLost") return;
    if (release.kind === "resumed") progress.mayRepeat = true;
    else if (release.kind === "outage") progress.isCut = true;
    else if (release.kind === "poweredOn") {
      demandWhole();
      Object.assign(progress, { life: progress.life + 1, next: 0, isCut: false });
    } else if (release.late) {
      const text = outputText(release.output);
      demand(
        lives.some((outputs) => outputs.includes(text)),
        `an overtaken sequencer released ${JSON.stringify(text)}, which was never voted`,
      );
    } else place(outputText(release.output), lives, progress);
  }
  if (isComplete) demandWhole();
}

function place(text: string, lives: readonly (readonly string[])[], progress: Progress): void {
  const { life, next, mayRepeat } = progress;
  const current = lives[life] ?? [];
  if (current[next] === text) {
    progress.next += 1;
    return;
  }
  // A repetition, after which what follows it comes again as well; or one of the life before, whose place does not matter any more.
  const earlier = mayRepeat ? current.slice(0, next).lastIndexOf(text) : -1;
  if (earlier >= 0) progress.next = earlier + 1;
  else {
    const isOfBefore = mayRepeat && (lives[life - 1] ?? []).includes(text);
    demand(
      isOfBefore,
      `${JSON.stringify(text)} was released in life ${life}, where the voted history says ${JSON.stringify(current[next])}`,
    );
  }
}

/** Guest time in the issued history never goes back, and no sequence number is missing. */
export function checkHistory(world: World): void {
  for (const course of world.history.courses) {
    let lastNs = -1n;
    for (let seq = 1; seq <= course.size; seq += 1) {
      const tick = course.get(seq);
      demand(tick !== undefined, `tick ${seq} is missing from the history`);
      demand(tick.nowNs >= lastNs, `guest time goes back at tick ${seq}`);
      lastNs = tick.nowNs;
    }
  }
}

/** Whoever was found to compute wrongly, by majority, by running again or by its own memory check, did. */
export function checkVerdicts(world: World): void {
  const [first] = world.errors.falseVerdicts;
  demand(first === undefined, first ?? "");
}

/** All machines, asked at one tick, are in one state: digests by module. */
export function verifiedDigests(world: World, limitMs: number): Readonly<Record<string, string>> {
  const before = world.verified.length;
  world.input({ kind: "verify" });
  if (!world.run(world.nowMs + limitMs, () => world.verified.length > before)) throw new Violation("liveness", "no answer to verify");
  const digests = world.verified[before] ?? {};
  demand(Object.keys(digests).length === world.cpuNames.length, `only ${Object.keys(digests).join(", ")} answered verify`);
  demand(new Set(Object.values(digests)).size === 1, `machines differ: ${JSON.stringify(digests)}`);
  return digests;
}

/** That state is the one of a machine that never failed. */
export function checkMachines(world: World, digests: Readonly<Record<string, string>>, truth: Truth): void {
  if (world.errors.lostBy !== null) return;
  const isTrue = Object.values(digests)[0] === truth.digest;
  demand(isTrue, `all machines agree at tick ${world.verifiedSeq} on what no fault-free machine computes`);
}

/** What the guest was told of a block of its disk. */
interface BlockPast {
  /** Said to be written, and said to be flushed after that. */
  written: number;
  flushed: number;
}

const DISK_LINE = /^disk: (?:block (\d+) (?:generation (\d+) (written)|holds generation (\d+)|is (WRONG))|(flushed)|.* (failed))/;

/**
 * Nothing that was said to be written is lost, and nothing is read that was not written. With the power everything not flushed may go.
 * Not for servers whose disks failed: there may have been no good copy, or one bad copy that had to be taken for a torn write; what is
 * right then only a model of every block can tell (test/storage-controller.test.ts).
 */
export function checkDisk(world: World, truth: Truth): void {
  const past = new Map<number, BlockPast>();
  for (const outputs of truth.lives) {
    const isSeen = new Set<number>();
    const lines = outputs.map(outputText).flatMap((text) => text.replace(/^console /, "").split("\n"));
    for (const line of lines) {
      const match = DISK_LINE.exec(line);
      if (match === null) continue;
      const [, block, generation, written, held, wrong, flushed, failed] = match;
      // A block that was being written when the power failed may be torn on all mirrors, as on any disk.
      const mayBeTorn = world.powerLosses > 0 && line.includes("garbled");
      demand(wrong === undefined || mayBeTorn, `the guest read what it never wrote: ${line}`);
      demand(failed === undefined, `the guest got an I/O error though no disk failed: ${line}`);
      if (flushed !== undefined) for (const each of past.values()) each.flushed = each.written;
      if (block === undefined) continue;
      const known = past.get(Number(block)) ?? { written: 0, flushed: 0 };
      past.set(Number(block), known);
      if (written !== undefined) known.written = Number(generation);
      if (held === undefined || isSeen.has(Number(block))) continue;
      isSeen.add(Number(block));
      const least = world.powerLosses > 0 ? known.flushed : known.written;
      demand(Number(held) >= least, `block ${block} holds generation ${held} at power-on, and ${least} was acknowledged`);
      Object.assign(known, { written: Number(held), flushed: Math.min(known.flushed, Number(held)) });
    }
  }
}

/** All mirrors are the same, byte by byte; asked for when the guest is quiet and all of the disk was looked through. */
export function checkMirrors(world: World): void {
  const [first, ...others] = [...world.disks.values()].map((disk) => disk.files.data.contents);
  if (first === undefined) return;
  for (const other of others) demand(equalBytes(other, first), "the mirrors of the disk differ");
}
