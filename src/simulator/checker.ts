/**
 * What must hold of a simulated server, whatever befell it. The truth is a reference machine that runs the whole issued history alone
 * and without faults: what it puts out is what clients must have seen.
 */
import type { Truth } from "./history.js";
import { outputText, type World } from "./world.js";

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
