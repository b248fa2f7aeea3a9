/** Token buckets: how often somebody may ask. One bucket for each key; times come from the caller. */

export interface BucketRule {
  readonly perSecond: number;
  /** So many at once, after a pause. */
  readonly burst: number;
}

interface Bucket {
  left: number;
  atMs: number;
}

const MS_PER_SECOND = 1000;
/** Sums of shares that come to one token are not always exactly one. */
const ROUNDING = 1e-6;

export class TokenBuckets {
  readonly #rule: BucketRule;
  readonly #keysMax: number;
  /** In the order of their last use, so that the longest unused one makes room. */
  readonly #buckets = new Map<string, Bucket>();

  /** `keysMax`: beyond it the key that was not used for longest is forgotten, which fills its bucket. */
  constructor(rule: BucketRule, keysMax: number) {
    this.#rule = rule;
    this.#keysMax = keysMax;
  }

  /** @returns 0: granted; else how many ms to wait before the next attempt can be */
  take(key: string, nowMs: number): number {
    const left = this.#leftOf(key, nowMs);
    const isGranted = left >= 1 - ROUNDING;
    this.#buckets.delete(key);
    this.#buckets.set(key, { left: isGranted ? Math.max(0, left - 1) : left, atMs: nowMs });
    if (this.#buckets.size > this.#keysMax) {
      const oldest = this.#buckets.keys().next();
      if (oldest.done !== true) this.#buckets.delete(oldest.value);
    }
    return isGranted ? 0 : Math.ceil(((1 - left - ROUNDING) / this.#rule.perSecond) * MS_PER_SECOND);
  }

  get size(): number {
    return this.#buckets.size;
  }

  #leftOf(key: string, nowMs: number): number {
    const bucket = this.#buckets.get(key);
    if (bucket === undefined) return this.#rule.burst;
    // A clock that was set back refills nothing.
    const gained = (Math.max(0, nowMs - bucket.atMs) / MS_PER_SECOND) * this.#rule.perSecond;
    return Math.min(this.#rule.burst, bucket.left + gained);
  }
}
