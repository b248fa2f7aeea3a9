/** What clients saw of each fault: the gap at the takeover, the gap while the module came back, throughput meanwhile. Pure. */
import type { Fault } from "./faults.js";
import { BIN_MS, type Timeline } from "./timeline.js";

/** A gap that touches this stretch after the fault belongs to the takeover: a hang is only found when the lag limit has passed. */
const TAKEOVER_WINDOW_MS: Readonly<Record<string, number>> = { kill: 150, hang: 600 };
/** The last hold of a reintegration may show to clients a little after the status says DUPLEX. */
const AFTER_DUPLEX_MS = 200;
/** Throughput before a fault is taken over this stretch. */
const BEFORE_MS = 1000;

export interface FaultView {
  readonly kind: string;
  readonly module: string;
  /** Since the start of the load. */
  readonly atMs: number;
  /** Longest time without any reply that touches the takeover window. */
  readonly takeoverGapMs: number;
  /** The same between the takeover window and DUPLEX: what re-protection costs. */
  readonly reintegrationGapMs: number;
  /** Null: the server did not come back. */
  readonly duplexAfterMs: number | null;
  readonly holdMs: number | null;
  readonly perSecondBefore: number;
  /** From the end of the takeover gap to DUPLEX. */
  readonly perSecondMeanwhile: number;
}

export function faultView(timeline: Timeline, fault: Pick<Fault, "kind" | "module" | "atMs" | "duplexAtMs" | "holdMs">): FaultView {
  const back = fault.duplexAtMs ?? timeline.endMs;
  const windowEnd = Math.min(timeline.endMs, fault.atMs + (TAKEOVER_WINDOW_MS[fault.kind] ?? 0));
  const takeover = timeline.worstGap(fault.atMs, windowEnd);
  const resumed = Math.max(fault.atMs, takeover.startMs + takeover.lengthMs);
  const after = Math.min(timeline.endMs, Math.max(windowEnd, resumed + 2 * BIN_MS));
  const reintegration = timeline.worstGap(after, Math.max(after, Math.min(timeline.endMs, back + AFTER_DUPLEX_MS)));
  return {
    kind: fault.kind,
    module: fault.module,
    atMs: fault.atMs - timeline.startMs,
    takeoverGapMs: takeover.lengthMs,
    reintegrationGapMs: reintegration.lengthMs,
    duplexAfterMs: fault.duplexAtMs === undefined ? null : fault.duplexAtMs - fault.atMs,
    holdMs: fault.holdMs ?? null,
    perSecondBefore: timeline.rate(Math.max(timeline.startMs, fault.atMs - BEFORE_MS), fault.atMs),
    perSecondMeanwhile: timeline.rate(resumed, back),
  };
}

export const faultViews = (timeline: Timeline, faults: readonly Fault[]): FaultView[] => faults.map((fault) => faultView(timeline, fault));

/** The longest gap away from all faults: what this host and load do by themselves, to compare the faults' gaps with. */
export function quietGapMs(timeline: Timeline, faults: readonly Pick<Fault, "atMs" | "duplexAtMs">[]): number {
  let longest = 0;
  let from = timeline.startMs;
  for (const fault of faults) {
    // A gap that reaches into the fault is the fault's.
    const gap = timeline.worstGap(from, Math.max(from, fault.atMs - BEFORE_MS));
    if (gap.startMs + gap.lengthMs < fault.atMs) longest = Math.max(longest, gap.lengthMs);
    from = (fault.duplexAtMs ?? timeline.endMs) + AFTER_DUPLEX_MS;
  }
  return from < timeline.endMs ? Math.max(longest, timeline.worstGap(from, timeline.endMs).lengthMs) : longest;
}
