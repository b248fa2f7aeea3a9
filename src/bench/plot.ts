/** Text figures for the terminal: latency-over-time plots, throughput strips, tables. Pure. */
import asciichart from "asciichart";
import type { LatencySummary } from "./latency.js";
import type { Timeline } from "./timeline.js";

const PLOT_COLUMNS = 80;
const PLOT_ROWS = 8;
const STRIP_LEVELS = " ▁▂▃▄▅▆▇█";

/** Three significant digits for small numbers, none after the point for large ones. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return value.toFixed(2);
}

export const formatMs = (value: number): string => `${formatNumber(value)} ms`;

export function formatLatency(summary: LatencySummary): string {
  return `p50 ${formatMs(summary.p50Ms)}, p90 ${formatMs(summary.p90Ms)}, p99 ${formatMs(summary.p99Ms)}, p99.9 ${formatMs(summary.p999Ms)}, max ${formatMs(summary.maxMs)}`;
}

/** One line of block characters, scaled to the largest value. */
export function strip(values: readonly number[]): string {
  const top = values.reduce((most, value) => Math.max(most, value), 0);
  return values.map((value) => STRIP_LEVELS[top === 0 ? 0 : Math.ceil((value / top) * (STRIP_LEVELS.length - 1))] ?? " ").join("");
}

/** Puts the marks below an axis at their columns; later ones that would overlap are left out. */
function axis(marks: readonly { readonly column: number; readonly text: string }[], columns: number): string {
  let line = "";
  for (const mark of [...marks].sort((a, b) => a.column - b.column)) {
    if (mark.column < line.length || mark.column > columns) continue;
    line = line.padEnd(mark.column) + mark.text + " ";
  }
  return line.trimEnd();
}

export interface PlotMoment {
  readonly atMs: number;
  readonly text: string;
}

/**
 * The slowest request in flight over time around `centreMs`, and under it the throughput, with marks. Linear scale from 0.
 * A request of 250 ms shows as a plateau 250 ms wide: that is how long its client waited.
 */
export function latencyPlot(timeline: Timeline, fromMs: number, toMs: number, zeroMs: number, moments: readonly PlotMoment[]): string {
  const slice = timeline.slice(fromMs, toMs, PLOT_COLUMNS);
  const top = Math.max(1, ...slice.worstLatencyMs);
  const chart = asciichart.plot(slice.worstLatencyMs, {
    height: PLOT_ROWS,
    min: 0,
    max: top,
    offset: 2,
    format: (value) => `${value.toFixed(value >= 10 ? 0 : 1).padStart(7)} ms `,
  });
  const column = (atMs: number): number => Math.round((atMs - fromMs) / slice.binMs);
  const margin = " ".repeat(12);
  const marks = [
    { atMs: fromMs, text: `${Math.round(fromMs - zeroMs)} ms` },
    ...moments.filter((moment) => moment.atMs >= fromMs && moment.atMs <= toMs),
  ];
  const lines = [
    ...chart.split("\n").map((line) => line.trimEnd()),
    `${margin}${axis(
      marks.map((mark) => ({ column: column(mark.atMs), text: mark.atMs === fromMs ? mark.text : `^${mark.text}` })),
      PLOT_COLUMNS,
    )}`,
    `${"replies".padStart(11)} ${strip(slice.completions)}`,
  ];
  return lines.join("\n");
}

/** Columns padded to their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows) row.forEach((cell, index) => (widths[index] = Math.max(widths[index] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
