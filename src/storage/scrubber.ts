/** Walks through all blocks of all mirrors in sync, slowly, again and again. */
import type { DiskContext } from "./context.js";
import { REGION_BYTES, SCRUB_BYTES_PER_SECOND, SCRUB_PAUSE_MS } from "./limits.js";
import { regionCount } from "./region-set.js";

export class Scrubber {
  readonly #context: DiskContext;
  /** Null: it pauses. */
  #region: number | null = null;
  nextAtMs = Infinity;

  constructor(context: DiskContext) {
    this.#context = context;
  }

  get bytesDone(): number | null {
    return this.#region === null ? null : this.#region * REGION_BYTES;
  }

  /** The first walk begins a pause after the start. */
  begin(): void {
    this.nextAtMs = this.#context.atMs + this.#pauseMs;
  }

  now(): void {
    this.#region ??= 0;
    this.nextAtMs = this.#context.atMs;
  }

  get #pauseMs(): number {
    return this.#context.options.scrubPauseMs ?? SCRUB_PAUSE_MS;
  }

  /** The region to look through now; null: it is not time yet. */
  get dueRegion(): number | null {
    return this.#context.atMs < this.nextAtMs ? null : (this.#region ?? 0);
  }

  done(region: number, sizeBytes: number): void {
    const { options, atMs, counters } = this.#context;
    const rate = options.scrubBytesPerSecond ?? SCRUB_BYTES_PER_SECOND;
    this.nextAtMs = atMs + (REGION_BYTES / rate) * 1000;
    this.#region = region + 1;
    if (this.#region < regionCount(sizeBytes)) return;
    this.#region = null;
    this.nextAtMs = atMs + this.#pauseMs;
    this.#context.event("info", "SCRUB_DONE", `all blocks were looked through, ${counters.repairedBlocks} were repaired so far`);
  }

  /** Not now: something else has to be done first. */
  later(delayMs: number): void {
    this.nextAtMs = this.#context.atMs + delayMs;
  }
}
