/** Whether a process that should be heard of hangs, for whoever looks after processes. Pure. */

/** In looks, which come at equal distances. */
export interface SilenceLimits {
  readonly silentLooks: number;
  /** Until it is heard for the first time: a busy host may take its time to start it. */
  readonly startingLooks: number;
}

/** Counts looks, not time, so that a suspended host does not make everyone look silent. */
export class SilenceWatch {
  readonly #limits: SilenceLimits;
  #looks = 0;
  #isStarting = false;

  constructor(limits: SilenceLimits) {
    this.#limits = limits;
  }

  started(): void {
    this.#looks = 0;
    this.#isStarting = true;
  }

  /** True: for the first time since it started. */
  heard(): boolean {
    const isFirst = this.#isStarting;
    this.#looks = 0;
    this.#isStarting = false;
    return isFirst;
  }

  /** True: it was silent for too long. */
  look(): boolean {
    this.#looks += 1;
    return this.#looks > (this.#isStarting ? this.#limits.startingLooks : this.#limits.silentLooks);
  }
}
