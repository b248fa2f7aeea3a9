/**
 * Takes regions out of the logs that were not written to for a while: after a flush of all mirrors they are durable and equal on all.
 * Only while every mirror that there could be is in sync: else the logs say what the others lack.
 */
import type { DiskContext } from "./context.js";
import { CLEAR_EVERY_MS } from "./limits.js";
import type { MirrorRow, MirrorRows } from "./mirror-rows.js";
import type { MirrorSet } from "./mirror-set.js";
import { regionsOf } from "./region-set.js";
import type { DiskRequest, StoreReply } from "./types.js";

export class Clearing {
  readonly #context: DiskContext;
  readonly #mirrors: MirrorRows;
  readonly #set: MirrorSet;
  readonly #failed: (row: MirrorRow, why: string) => void;
  /** Regions that were written to, and which write was the last. */
  readonly #touched = new Map<number, number>();
  #writes = 0;
  /** As of the last round: what was written since stays in the log. */
  #writesThen = 0;
  /** Regions that this controller has not written to may be logged, from before it began. */
  #isInherited = true;
  #isUnderWay = false;
  nextAtMs = 0;

  constructor(context: DiskContext, mirrors: MirrorRows, set: MirrorSet, failed: (row: MirrorRow, why: string) => void) {
    this.#context = context;
    this.#mirrors = mirrors;
    this.#set = set;
    this.#failed = failed;
  }

  /** Nothing may be copied meanwhile: it would be taken out of the log before it is durable. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  get #isDue(): boolean {
    return !this.#isUnderWay && (this.#touched.size > 0 || this.#isInherited) && this.#set.isComplete;
  }

  written({ offset, lengthBytes }: DiskRequest): void {
    this.#writes += 1;
    for (const region of regionsOf(offset, lengthBytes)) this.#touched.set(region, this.#writes);
  }

  /** Logs were filled by other means, as by a resync. */
  inherited(): void {
    this.#isInherited = true;
  }

  /** Every mirror is in sync, nothing is unsettled, nothing is copied. */
  run(): void {
    const { atMs, options } = this.#context;
    if (atMs < this.nextAtMs || !this.#isDue) return;
    this.nextAtMs = atMs + (options.clearEveryMs ?? CLEAR_EVERY_MS);
    const quiet = this.#writesThen;
    this.#writesThen = this.#writes;
    if (!this.#isInherited && ![...this.#touched.values()].some((write) => write <= quiet)) return;
    this.#isUnderWay = true;
    this.#askAll({ kind: "flush" }, () => {
      for (const [region, write] of this.#touched) if (write <= quiet) this.#touched.delete(region);
      this.#isInherited = false;
      this.#askAll({ kind: "clear", except: [...this.#touched.keys()] }, () => {
        this.#isUnderWay = false;
      });
    });
  }

  #askAll(operation: { kind: "flush" } | { kind: "clear"; except: readonly number[] }, then: () => void): void {
    const { number } = this.#mirrors;
    const rows = this.#set.ready;
    let left = rows.length;
    const answered = (row: MirrorRow, reply: StoreReply | null): void => {
      if (reply !== null && reply.outcome !== "ok") this.#failed(row, `the log cannot be cleared: ${reply.why}`);
      left -= 1;
      if (left > 0) return;
      // Another configuration, or a failure: nothing is proven. The next round asks again.
      if (number === this.#mirrors.number && this.#set.isComplete) return then();
      this.#isUnderWay = false;
      this.#isInherited = true;
    };
    for (const row of rows) this.#mirrors.send(row.name, operation, (reply) => answered(row, reply));
  }
}
