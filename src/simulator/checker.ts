/**
 * What must hold of a simulated server, whatever befell it. The truth is a reference machine that runs the whole issued history alone
 * and without faults: what it puts out is what clients must have seen.
 */
import type { MachineOutput } from "../machine/machine.js";
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

function demand(condition: boolean, message: string): void {
  if (!condition) throw new Violation("safety", message);
}

/** The first output of every life of the guest. */
function isFirst(text: string): boolean {
  return text === "console toy: ready\n";
}

/**
 * Released outputs are the reference's, in its order, none skipped. Two exceptions, both told to the operator: after a takeover some
 * may come twice (as a network does), and an outage ends a life of the guest, of which the rest never comes.
 */
export function checkReleases(world: World, isComplete: boolean): void {
  const reference = world.reference().map(outputText);
  let next = 0;
  let mayRepeat = false;
  let mayEnd = false;
  world.releases.forEach((release, index) => {
    if (release.kind === "resumed") mayRepeat = true;
    else if (release.kind === "outage") mayEnd = true;
    else {
      next = placeOf(release.output, reference, { next, mayRepeat, mayEnd }, index) + 1;
      if (isFirst(outputText(release.output))) mayEnd = false;
    }
  });
  if (!isComplete) return;
  while (mayEnd && next < reference.length && !isFirst(reference[next] as string)) next += 1;
  demand(next === reference.length, `output ${next} of ${reference.length} was computed and never released: ${String(reference[next])}`);
}

interface Progress {
  readonly next: number;
  readonly mayRepeat: boolean;
  readonly mayEnd: boolean;
}

function placeOf(output: MachineOutput, reference: readonly string[], progress: Progress, index: number): number {
  const text = outputText(output);
  const { next, mayRepeat, mayEnd } = progress;
  if (reference[next] === text) return next;
  if (mayEnd && isFirst(text)) {
    const life = reference.indexOf(text, next);
    if (life >= 0) return life;
  }
  const earlier = mayRepeat ? reference.lastIndexOf(text, next) : -1;
  demand(earlier >= 0, `release ${index} is ${JSON.stringify(text)}, the voted history says ${JSON.stringify(reference[next])}`);
  return earlier;
}

/** Guest time in the issued history never goes back, and no sequence number is missing. */
export function checkHistory(world: World): void {
  for (const history of [...world.pastHistories, world.history]) {
    let lastNs = -1n;
    for (let seq = 1; seq <= history.size; seq += 1) {
      const tick = history.get(seq);
      demand(tick !== undefined, `tick ${seq} is missing from the history`);
      demand((tick?.nowNs ?? -1n) >= lastNs, `guest time goes back at tick ${seq}`);
      lastNs = tick?.nowNs ?? lastNs;
    }
  }
}

/** All machines, asked at one tick, are in one state. */
export function checkMachines(world: World, limitMs: number): void {
  const before = world.verified.length;
  world.input({ kind: "verify" });
  if (!world.run(world.nowMs + limitMs, () => world.verified.length > before)) throw new Violation("liveness", "no answer to verify");
  const digests = world.verified[before] ?? {};
  demand(Object.keys(digests).length === world.cpuNames.length, `only ${Object.keys(digests).join(", ")} answered verify`);
  demand(new Set(Object.values(digests)).size === 1, `machines differ: ${JSON.stringify(digests)}`);
}
