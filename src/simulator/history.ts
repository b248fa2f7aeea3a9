/** What was issued to a simulated server, and what a machine that never failed makes of it: the truth that all else is held to. */
import type { Machine, MachineOutput } from "../machine/machine.js";
import type { Voter } from "../lockstep/voter.js";
import type { TickMessage } from "../wire/messages.js";

export interface Truth {
  /** Outputs for the outside, by life of the guest. */
  readonly lives: readonly (readonly MachineOutput[])[];
  /** The complete state after the tick asked for; null: there was no such tick. */
  readonly digest: string | null;
}

function isPowerOn(tick: TickMessage): boolean {
  return tick.inputs.some((input) => input.kind === "powerOn");
}

export class History {
  /** Ticks by sequence number, and those of earlier courses: a sequencer that finds nobody alive counts from 1 again. */
  #ticks = new Map<number, TickMessage>();
  readonly #past: Map<number, TickMessage>[] = [];

  /** Power-ons of machines that were blank, and not only switched off. */
  readonly #blankAt = new Set<TickMessage>();
  #isLost = false;

  record(tick: TickMessage): void {
    this.#ticks.set(tick.seq, tick);
    if (!this.#isLost || !isPowerOn(tick)) return;
    this.#isLost = false;
    this.#blankAt.add(tick);
  }

  /** All machines are lost. */
  lose(): void {
    this.#isLost = true;
  }

  /** Nobody was left to take over: a new course. */
  begin(): void {
    if (this.#ticks.size > 0) this.#past.push(this.#ticks);
    this.#ticks = new Map();
  }

  /** A new sequencer goes on after `last`: what its predecessor issued beyond is nobody's, and what it found unsettled is its own. */
  adopt(voter: Voter, committed: number, last: number): void {
    for (const seq of [...this.#ticks.keys()]) if (seq > last) this.#ticks.delete(seq);
    for (let seq = committed + 1; seq <= last; seq += 1) {
      const ballot = voter.ballot(seq);
      if (ballot !== undefined) this.#ticks.set(seq, ballot.tick);
    }
  }

  get powerOns(): number {
    return this.courses.reduce((count, course) => count + [...course.values()].filter(isPowerOn).length, 0);
  }

  get courses(): readonly ReadonlyMap<number, TickMessage>[] {
    return [...this.#past, this.#ticks];
  }

  /** Runs everything on machines of its own; `digestSeq` in the present course. */
  replay(newMachine: () => Machine, digestSeq = 0): Truth {
    const lives: MachineOutput[][] = [];
    let digest: string | null = null;
    for (const course of this.courses) {
      let machine = newMachine();
      for (let seq = 1; course.has(seq); seq += 1) {
        const tick = course.get(seq) as TickMessage;
        if (isPowerOn(tick)) lives.push([]);
        if (this.#blankAt.has(tick)) machine = newMachine();
        const { outputs } = machine.run(tick);
        lives.at(-1)?.push(...outputs.filter(({ kind }) => kind === "frame" || kind === "console" || kind === "agent"));
        if (seq === digestSeq && course === this.#ticks) digest = machine.fullDigest();
      }
    }
    return { lives, digest };
  }
}
