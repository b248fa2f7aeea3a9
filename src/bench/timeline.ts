/**
 * What a load's clients saw over time, in bins of a few milliseconds: completions, the slowest request in flight, and the longest
 * gap (time in which no reply at all completed). Pure: the caller says when things happened, in ms on any monotonic clock.
 */
import { assert } from "../foundation/assert.js";

export const BIN_MS = 5;
/** Longest run that a timeline holds: 6 hours. */
export const TIMELINE_LIMIT_MS = 6 * 3_600_000;
/** A slow request marks the bins that it was in flight, at most this many. */
const IN_FLIGHT_BINS_LIMIT = 12_000;

export interface Gap {
  readonly startMs: number;
  readonly lengthMs: number;
}

export interface TimelineSlice {
  readonly binMs: number;
  /** By column: the latency of the slowest request in flight; 0 when nothing was in flight for longer than a bin. */
  readonly worstLatencyMs: number[];
  readonly completions: number[];
}

export class Timeline {
  private completions = new Uint32Array(4096);
  private worst = new Float32Array(4096);
  /** Longest gap that ended in this bin. */
  private gap = new Float32Array(4096);
  private lastCompletionMs: number;
  private finishedAtMs = Number.NaN;

  constructor(readonly startMs: number) {
    this.lastCompletionMs = startMs;
  }

  get endMs(): number {
    return Number.isNaN(this.finishedAtMs) ? this.lastCompletionMs : this.finishedAtMs;
  }

  /** A reply came in at `atMs` for a request that had taken `latencyMs`. Times never run backwards. */
  complete(atMs: number, latencyMs: number): void {
    const bin = this.binOf(atMs);
    this.completions[bin] = (this.completions[bin] ?? 0) + 1;
    const first = Math.max(0, bin - IN_FLIGHT_BINS_LIMIT, latencyMs > BIN_MS ? this.binOf(atMs - latencyMs) : bin);
    for (let index = first; index <= bin; index++) {
      if (latencyMs > (this.worst[index] ?? 0)) this.worst[index] = latencyMs;
    }
    this.endGap(bin, atMs);
  }

  /** The load ended: time since the last reply counts as a gap too. */
  finish(atMs: number): void {
    this.endGap(this.binOf(atMs), atMs);
    this.finishedAtMs = atMs;
  }

  /** The longest gap that touches the time between the two moments (default: the whole run), however far it reaches beyond. */
  worstGap(fromMs = this.startMs, toMs = this.endMs): Gap {
    let longest: Gap = { startMs: fromMs, lengthMs: 0 };
    const last = this.binOf(toMs);
    const end = this.binOf(this.endMs);
    for (let bin = this.binOf(fromMs); bin <= end; bin++) {
      const lengthMs = this.gap[bin] ?? 0;
      const startMs = this.startMs + bin * BIN_MS - lengthMs;
      if (lengthMs > longest.lengthMs && startMs <= toMs) longest = { startMs, lengthMs };
      // The first gap that ends after the stretch is the last that can have begun inside.
      if (bin > last && lengthMs > 0) break;
    }
    return longest;
  }

  /** Completed replies a second between two moments. */
  rate(fromMs: number, toMs: number): number {
    const first = this.binOf(fromMs);
    const last = this.binOf(toMs);
    let sum = 0;
    for (let bin = first; bin < last; bin++) sum += this.completions[bin] ?? 0;
    return last > first ? (sum * 1000) / ((last - first) * BIN_MS) : Number.NaN;
  }

  /** The run between two moments in `columns` equal columns, for a plot. */
  slice(fromMs: number, toMs: number, columns: number): TimelineSlice {
    const binMs = (toMs - fromMs) / columns;
    const worstLatencyMs = new Array<number>(columns).fill(0);
    const completions = new Array<number>(columns).fill(0);
    for (let column = 0; column < columns; column++) {
      if (fromMs + column * binMs < this.startMs) continue;
      const first = this.binOf(fromMs + column * binMs);
      const last = Math.max(first + 1, this.binOf(fromMs + (column + 1) * binMs));
      for (let bin = first; bin < last; bin++) {
        worstLatencyMs[column] = Math.max(worstLatencyMs[column] ?? 0, this.worst[bin] ?? 0);
        completions[column] = (completions[column] ?? 0) + (this.completions[bin] ?? 0);
      }
    }
    return { binMs, worstLatencyMs, completions };
  }

  private endGap(bin: number, atMs: number): void {
    const length = atMs - this.lastCompletionMs;
    if (length > (this.gap[bin] ?? 0)) this.gap[bin] = length;
    this.lastCompletionMs = atMs;
  }

  private binOf(atMs: number): number {
    const bin = Math.max(0, Math.floor((atMs - this.startMs) / BIN_MS));
    assert(bin * BIN_MS <= TIMELINE_LIMIT_MS, "a timeline holds at most six hours");
    if (bin >= this.completions.length) this.grow(bin);
    return bin;
  }

  private grow(bin: number): void {
    const size = Math.max(bin + 1, this.completions.length * 2);
    const completions = new Uint32Array(size);
    const worst = new Float32Array(size);
    const gap = new Float32Array(size);
    completions.set(this.completions);
    worst.set(this.worst);
    gap.set(this.gap);
    this.completions = completions;
    this.worst = worst;
    this.gap = gap;
  }
}
