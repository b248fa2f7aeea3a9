/** Gaps, throughput and plots of a load over time, on made-up times. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { faultView, quietGapMs } from "../dist/bench/gap.js";
import { LatencyRecorder } from "../dist/bench/latency.js";
import { formatNumber, latencyPlot, strip, table } from "../dist/bench/plot.js";
import { median, pairedRatio, percentile } from "../dist/foundation/statistics.js";
import { Timeline } from "../dist/bench/timeline.js";

const close = (value: number, wanted: number, within: number): void =>
  assert.ok(Math.abs(value - wanted) <= within, `${value} is not ${wanted} ± ${within}`);

/** A reply every millisecond from 1000 to 11000, silent between each pair of `silences`. */
function load(silences: readonly (readonly [number, number])[]): Timeline {
  const timeline = new Timeline(1000);
  for (let at = 1001; at <= 11_000; at++) {
    const silence = silences.find(([from, to]) => at > from && at < to);
    if (silence !== undefined) continue;
    const before = silences.find(([, to]) => to === at);
    timeline.complete(at, before === undefined ? 0.5 : at - before[0]);
  }
  timeline.finish(11_000);
  return timeline;
}

test("the longest gap is found where it was", () => {
  const timeline = load([
    [3000, 3040],
    [6000, 6260],
  ]);
  const worst = timeline.worstGap();
  close(worst.lengthMs, 260, 0.01);
  close(worst.startMs, 6000, 5);
  close(timeline.worstGap(2900, 3100).lengthMs, 40, 0.01);
  close(timeline.worstGap(3500, 5900).lengthMs, 1, 0.01);
});

test("a gap counts for every stretch that it touches, also one that reaches beyond", () => {
  const timeline = load([[3000, 9000]]);
  close(timeline.worstGap(2990, 3150).lengthMs, 6000, 0.01);
  close(timeline.worstGap(5000, 5001).lengthMs, 6000, 0.01);
  close(timeline.worstGap(9100, 9500).lengthMs, 1, 0.01);
});

test("silence before the first and after the last reply is a gap too", () => {
  const timeline = new Timeline(0);
  timeline.complete(700, 1);
  timeline.complete(710, 1);
  timeline.finish(1910);
  close(timeline.worstGap().lengthMs, 1200, 0.01);
  close(timeline.worstGap(0, 705).lengthMs, 700, 0.01);
  const silent = new Timeline(0);
  silent.finish(5000);
  close(silent.worstGap().lengthMs, 5000, 0.01);
});

test("throughput is counted between two moments", () => {
  const timeline = load([[3000, 4000]]);
  close(timeline.rate(1000, 3000), 1000, 5);
  close(timeline.rate(3000, 4000), 0, 5);
});

test("a fault is told apart into takeover and reintegration", () => {
  const timeline = load([
    [5001, 5261],
    [6500, 6520],
  ]);
  const hang = faultView(timeline, { kind: "hang", module: "cpu0", atMs: 5000, duplexAtMs: 6600, holdMs: 7 });
  close(hang.takeoverGapMs, 260, 0.01);
  close(hang.reintegrationGapMs, 20, 0.01);
  close(hang.duplexAfterMs ?? 0, 1600, 0.01);
  close(hang.perSecondMeanwhile, 1000, 30);
  const kill = faultView(timeline, { kind: "kill", module: "cpu1", atMs: 6400, duplexAtMs: undefined, holdMs: undefined });
  close(kill.takeoverGapMs, 20, 0.01);
  assert.equal(kill.duplexAfterMs, null);
});

test("the worst gap away from faults leaves the faults' own gaps out", () => {
  const timeline = load([
    [2500, 2530],
    [5001, 5261],
    [9000, 9070],
  ]);
  close(quietGapMs(timeline, [{ atMs: 5000, duplexAtMs: 6000 }]), 70, 0.01);
  close(
    quietGapMs(timeline, [
      { atMs: 5000, duplexAtMs: 6000 },
      { atMs: 8990, duplexAtMs: 9500 },
    ]),
    30,
    0.01,
  );
  close(quietGapMs(timeline, [{ atMs: 5000, duplexAtMs: undefined }]), 30, 0.01);
  close(quietGapMs(timeline, []), 260, 0.01);
});

test("a slow request shows in the plot for as long as its client waited", () => {
  const timeline = load([[5000, 5260]]);
  const slice = timeline.slice(4800, 5800, 100);
  const slow = slice.worstLatencyMs.filter((value) => value > 200).length;
  assert.ok(slow >= 26 && slow <= 28, String(slow));
  const plot = latencyPlot(timeline, 4800, 5800, 5000, [{ atMs: 5000, text: "hang" }]).split("\n");
  assert.equal(plot.length, 11);
  assert.ok(plot.every((line) => line.length <= 96));
  assert.match(plot.at(-2) ?? "", /-200 ms +\^hang/);
});

test("a timeline grows with the run and refuses one that never ends", () => {
  const timeline = new Timeline(0);
  timeline.complete(3_600_000, 1);
  close(timeline.worstGap().lengthMs, 3_600_000, 0.01);
  assert.throws(() => timeline.complete(7 * 3_600_000, 1), /six hours/);
});

test("latency percentiles are right to three digits", () => {
  const recorder = new LatencyRecorder();
  for (let value = 1; value <= 10_000; value++) recorder.record(value / 100);
  recorder.record(0);
  const summary = recorder.summary();
  assert.equal(summary.count, 10_001);
  close(summary.p50Ms, 50, 0.1);
  close(summary.p99Ms, 99, 0.2);
  close(summary.maxMs, 100, 0.2);
  assert.ok(Number.isNaN(new LatencyRecorder().summary().p50Ms));
});

test("medians, percentiles and paired ratios", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  assert.equal(percentile([5, 1, 4, 2, 3], 0.8), 4);
  // The host became twice as slow after the first pair: the ratio does not notice.
  assert.equal(pairedRatio([90, 45, 45], [100, 50, 50]), 0.9);
});

test("text figures keep their shape", () => {
  assert.equal(formatNumber(0.1234), "0.12");
  assert.equal(formatNumber(1234.5), "1235");
  assert.equal(formatNumber(Number.NaN), "-");
  assert.equal(strip([0, 1, 8]), " ▁█");
  assert.equal(strip([0, 0]), "  ");
  assert.equal(
    table([
      ["a", "bb"],
      ["ccc", "d"],
    ]),
    "a    bb\nccc  d",
  );
});
