/** What every load of the workloads has in common: clients that count, a timeline, latencies, and the load generator's own stalls. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { LatencyRecorder, type LatencySummary } from "./latency.js";
import { Timeline } from "./timeline.js";

/** A request with no answer for this long has failed. */
export const REQUEST_LIMIT_MS = 30_000;
const ERRORS_LISTED = 10;

export interface LoadSummary {
  readonly requests: number;
  /** Requests that failed, whatever the reason. */
  readonly failures: number;
  /** Connections that were reset or closed under a client. */
  readonly lostConnections: number;
  readonly perSecond: number;
  readonly latency: LatencySummary;
  readonly worstGapMs: number;
  /** Longest stall of the load generator itself: client-visible times up to this may be its own doing. */
  readonly ownStallMs: number;
  readonly errors: readonly string[];
}

/** Collects what the clients of one load see. */
export class LoadRecorder {
  readonly timeline = new Timeline(performance.now());
  readonly latency = new LatencyRecorder();
  requests = 0;
  failures = 0;
  lostConnections = 0;
  readonly errors: string[] = [];
  private readonly loopDelay = monitorEventLoopDelay({ resolution: 1 });

  constructor() {
    this.loopDelay.enable();
  }

  /** A reply came for a request sent at `sentMs` (performance clock). */
  answered(sentMs: number): void {
    const now = performance.now();
    this.requests++;
    this.latency.record(now - sentMs);
    this.timeline.complete(now, now - sentMs);
  }

  failed(why: string): void {
    this.failures++;
    this.tell(why);
  }

  lost(why: string): void {
    this.lostConnections++;
    this.tell(why);
  }

  finish(): LoadSummary {
    const now = performance.now();
    this.timeline.finish(now);
    this.loopDelay.disable();
    return {
      requests: this.requests,
      failures: this.failures,
      lostConnections: this.lostConnections,
      perSecond: (this.requests * 1000) / (now - this.timeline.startMs),
      latency: this.latency.summary(),
      worstGapMs: this.timeline.worstGap().lengthMs,
      ownStallMs: this.loopDelay.max / 1e6,
      errors: this.errors,
    };
  }

  private tell(why: string): void {
    if (this.errors.length < ERRORS_LISTED) this.errors.push(why);
  }
}
