/**
 * Which guest time it should be, by the clock of this I/O module. A wall clock that was set back while no I/O module ran must not make
 * the guest's time stand still until it has come forward again: then guest time goes ahead of the wall clock from there on.
 */
import { MOST_LEAD_NS } from "./limits.js";

export class GuestClock {
  /** Guest time at `atMs` 0. */
  #anchorNs: bigint;

  constructor(anchorNs: bigint) {
    this.#anchorNs = anchorNs;
  }

  at(atMs: number): bigint {
    return this.#anchorNs + BigInt(Math.round(atMs * 1e6));
  }

  /** When that guest time should come, on the I/O module's clock. */
  toMs(guestNs: bigint): number {
    return Number(guestNs - this.#anchorNs) / 1e6;
  }

  /** The guest has seen this time already. */
  notBefore(guestNs: bigint, atMs: number): void {
    const behindNs = guestNs - this.at(atMs);
    if (behindNs > MOST_LEAD_NS) this.#anchorNs += behindNs;
  }
}
