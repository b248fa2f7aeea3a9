/** Latency percentiles of millions of samples: an HDR histogram in microseconds (3 significant digits). Pure. */
import { build } from "hdr-histogram-js";

export interface LatencySummary {
  readonly count: number;
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
}

/** Ten minutes: anything slower is recorded as this. */
const HIGHEST_MICROS = 600_000_000;

export class LatencyRecorder {
  private readonly histogram = build({
    bitBucketSize: 32,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: HIGHEST_MICROS,
    numberOfSignificantValueDigits: 3,
  });

  record(latencyMs: number): void {
    this.histogram.recordValue(Math.min(HIGHEST_MICROS, Math.max(1, Math.round(latencyMs * 1000))));
  }

  summary(): LatencySummary {
    const at = (percent: number): number =>
      this.histogram.totalCount === 0 ? Number.NaN : this.histogram.getValueAtPercentile(percent) / 1000;
    return { count: this.histogram.totalCount, p50Ms: at(50), p90Ms: at(90), p99Ms: at(99), p999Ms: at(99.9), maxMs: at(100) };
  }
}
