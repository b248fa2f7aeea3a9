/**
 * Which guest time it should be, by the clock of this I/O module. A wall clock that was set back while no I/O module ran must not make
 * the guest's time stand still until it has come forward again: then guest time goes ahead of the wall clock from there on.
 */
import { MOST_LEAD_NS } from "./limits.js";

export class GuestClock {
  /** Guest time at `atMs` 0. */
  #anchorNs: bigint;
  /** The last answer: within one event everybody asks for the same moment. */
  #lastMs = NaN;
  #lastNs = 0n;

  constructor(anchorNs: bigint) {
    this.#anchorNs = anchorNs;
  }

  at(atMs: number): bigint {
    if (atMs !== this.#lastMs) {
      this.#lastMs = atMs;
      this.#lastNs = this.#anchorNs + BigInt(Math.round(atMs * 1e6));
    }
    return this.#lastNs;
  }

  /** When that guest time should come, on the I/O module's clock. */
  toMs(guestNs: bigint): number {
    return Number(guestNs - this.#anchorNs) / 1e6;
  }

  /** The guest has seen this time already. */
  notBefore(guestNs: bigint, atMs: number): void {
    const behindNs = guestNs - this.at(atMs);
    if (behindNs <= MOST_LEAD_NS) return;
    this.#anchorNs += behindNs;
    this.#lastMs = NaN;
  }
}
