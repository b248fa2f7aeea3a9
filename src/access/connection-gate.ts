/**
 * Which new connections are worth a TLS handshake, which costs a server a hundred times what it costs whoever only begins one. Each
 * address has so many, and all together: addresses that had a right token lately apart from strangers, so that a flood from many
 * addresses does not lock out whoever is at work.
 */
import { TokenBuckets, type BucketRule } from "./token-bucket.js";

export interface GateRules {
  readonly ofAddress: BucketRule;
  /** All addresses together that had a right token lately, and all others. */
  readonly ofKnown: BucketRule;
  readonly ofStrangers: BucketRule;
  readonly addressesMax: number;
  /** Lately. */
  readonly knownForMs: number;
}

const KNOWN = "known";
const STRANGERS = "strangers";

export class ConnectionGate {
  readonly #rules: GateRules;
  readonly #ofAddresses: TokenBuckets;
  readonly #ofKnown: TokenBuckets;
  readonly #ofStrangers: TokenBuckets;
  /** When each was last known, in that order. */
  readonly #knownAtMs = new Map<string, number>();

  constructor(rules: GateRules) {
    this.#rules = rules;
    this.#ofAddresses = new TokenBuckets(rules.ofAddress, rules.addressesMax);
    this.#ofKnown = new TokenBuckets(rules.ofKnown, 1);
    this.#ofStrangers = new TokenBuckets(rules.ofStrangers, 1);
  }

  /** Whether a new connection from there may begin its handshake. */
  admits(address: string, nowMs: number): boolean {
    // The common one last: what an address may not have itself takes nothing from the others.
    if (this.#ofAddresses.take(address, nowMs) > 0) return false;
    const isKnown = nowMs - (this.#knownAtMs.get(address) ?? -Infinity) < this.#rules.knownForMs;
    return (isKnown ? this.#ofKnown.take(KNOWN, nowMs) : this.#ofStrangers.take(STRANGERS, nowMs)) === 0;
  }

  /** A right token came from there. */
  know(address: string, nowMs: number): void {
    this.#knownAtMs.delete(address);
    this.#knownAtMs.set(address, nowMs);
    if (this.#knownAtMs.size <= this.#rules.addressesMax) return;
    const oldest = this.#knownAtMs.keys().next();
    if (oldest.done !== true) this.#knownAtMs.delete(oldest.value);
  }
}
