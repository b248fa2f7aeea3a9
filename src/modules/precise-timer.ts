/**
 * One timer with a finer grain than setTimeout's millisecond: the last stretch is waited for in the event loop's check phase, but
 * only while deadlines come thick and fast, so that an idle guest costs no spinning.
 */

/** A deadline set within this time of the last one that fired belongs to a busy guest. */
const BUSY_WITHIN_MS = 3;
/** The longest stretch that is spun through: a core that spins is one that the CPU modules may lack. */
const SPIN_MS = 0.3;

export class PreciseTimer {
  readonly #fire: () => void;
  #dueAtMs: number | null = null;
  #timeout: NodeJS.Timeout | null = null;
  #timeoutAtMs = 0;
  #isSpinning = false;
  #lastSetMs = 0;

  constructor(fire: () => void) {
    this.#fire = fire;
  }

  /** `dueAtMs` on performance.now()'s clock; null: none. */
  set(dueAtMs: number | null): void {
    const nowMs = performance.now();
    const isBusy = nowMs - this.#lastSetMs < BUSY_WITHIN_MS;
    this.#lastSetMs = nowMs;
    this.#dueAtMs = dueAtMs;
    if (dueAtMs === null) return;
    const leftMs = dueAtMs - nowMs;
    if (leftMs < SPIN_MS && isBusy) return this.#spin();
    // A timeout that comes early looks again; one that would come too late is replaced.
    if (this.#timeout !== null && this.#timeoutAtMs <= dueAtMs) return;
    if (this.#timeout !== null) clearTimeout(this.#timeout);
    const wholeMs = Math.max(1, Math.round(leftMs));
    this.#timeoutAtMs = nowMs + wholeMs;
    this.#timeout = setTimeout(() => {
      this.#timeout = null;
      this.#look();
    }, wholeMs);
  }

  #look(): void {
    if (this.#dueAtMs === null) return;
    if (performance.now() < this.#dueAtMs) return this.set(this.#dueAtMs);
    this.#dueAtMs = null;
    this.#fire();
  }

  #spin(): void {
    if (this.#isSpinning) return;
    this.#isSpinning = true;
    setImmediate(() => {
      this.#isSpinning = false;
      const dueAtMs = this.#dueAtMs;
      if (dueAtMs === null) return;
      const leftMs = dueAtMs - performance.now();
      if (leftMs > SPIN_MS) return this.set(dueAtMs);
      if (leftMs > 0) return this.#spin();
      this.#dueAtMs = null;
      this.#fire();
    });
  }
}
