/**
 * Which modules were made to compute wrongly, so that the checker knows whom an accusation may name. One at a time: a second one before
 * the first was found is a double fault and beyond any promise, and so is a flipped bit that is copied, or left alone, while it sleeps.
 */
import { TOY_PAGE_BYTES, TOY_SCRUB_PAGES } from "../machine/toy.js";
import type { SimulatedCpu } from "./simulated-cpu.js";

/** A module may be lost and replaced so often before the verdict on what it said. */
const RESTARTS_UNTIL_VERDICT = 5;
/** Ticks between the issue of one and its vote, generously. */
const MOST_UNDER_WAY_TICKS = 100;

export class InjectedErrors {
  readonly #tainted = new Set<SimulatedCpu>();
  #hidden: { readonly cpu: SimulatedCpu; readonly untilSeq: number } | null = null;
  /** Verdicts, said to be proven, against modules that computed rightly. */
  readonly falseVerdicts: string[] = [];
  /** Why the truth may be lost from here on, although nobody broke a promise; null: it is not. */
  lostBy: string | null = null;

  inject(cpu: SimulatedCpu, issuedSeq: number): void {
    const pages = cpu.machine.description.ramBytes / TOY_PAGE_BYTES;
    this.#tainted.add(cpu);
    this.#hidden = { cpu, untilSeq: issuedSeq + pages / TOY_SCRUB_PAGES + MOST_UNDER_WAY_TICKS };
  }

  /** The rotating window of the digest has not been over all RAM since: a flip may still sleep somewhere. */
  mayHide(issuedSeq: number): boolean {
    if (this.#hidden !== null && (!this.#hidden.cpu.alive || issuedSeq >= this.#hidden.untilSeq)) this.#hidden = null;
    return this.#hidden !== null;
  }

  /** `names` compute for the guest and nobody else does. */
  onlyThese(cpus: readonly SimulatedCpu[], issuedSeq: number): void {
    if (cpus.length === 0 || !this.mayHide(issuedSeq)) return;
    if (cpus.every((cpu) => cpu === this.#hidden?.cpu)) this.lostBy ??= `${this.#hidden?.cpu.id} was left alone with a sleeping error`;
  }

  copied(donor: SimulatedCpu, issuedSeq: number): void {
    if (this.mayHide(issuedSeq) && this.#hidden?.cpu === donor) this.lostBy ??= `a sleeping error was copied from ${donor.id}`;
  }

  /** An event accuses a module. `present`: its process of now, which may be a successor already. */
  verdict(code: string, module: string, present: SimulatedCpu | undefined): void {
    const isRight = [...this.#tainted].some(
      (cpu) => cpu.name === module && present !== undefined && present.incarnation - cpu.incarnation < RESTARTS_UNTIL_VERDICT,
    );
    if (isRight || this.lostBy !== null) return;
    if (code === "MISCOMPARE_UNADJUDICATED") this.lostBy ??= `without a checkpoint the record decided against ${module}, which was right`;
    else this.falseVerdicts.push(`${code} names ${module}, which computed rightly`);
  }
}
