/** Plots of a report as SVG that takes its colours from the page around it, so that it is read in dark and in light. */
import { maximum } from "../../foundation/statistics.js";
import { short } from "./regression.js";
import type { Plot } from "./report.js";

const WIDTH = 420;
const HEIGHT = 150;
const LEFT = 48;
const RIGHT = 12;
const TOP = 26;
const BOTTOM = 22;
const BAR_HEIGHT = 18;
const BAR_LABEL = 150;
const BAR_VALUE = 60;

export function escapeHtml(text: string): string {
  const names: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return text.replace(/[&<>"']/g, (character) => names[character] ?? character);
}

const text = (x: number, y: number, content: string, attributes = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" ${attributes}>${escapeHtml(content)}</text>`;

function head(title: string, unit: string, height: number): string {
  const label = `${title}${unit === "" ? "" : ` (${unit})`}`;
  return `<svg viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${escapeHtml(label)}">${text(0, 13, label, 'class="title"')}`;
}

/** One dot for each round, joined by a line; the axis begins at zero, so that a difference is seen as large as it is. */
function roundsPlot({ title, unit, series }: Extract<Plot, { kind: "rounds" }>): string {
  const finite = series.flatMap((each) => each.values).filter(Number.isFinite);
  const top = Math.max(maximum(finite), Number.MIN_VALUE) * 1.1;
  const rounds = Math.max(...series.map((each) => each.values.length));
  const x = (round: number): number => LEFT + ((WIDTH - LEFT - RIGHT) * (round + 0.5)) / Math.max(1, rounds);
  const y = (value: number): number => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * value) / top;
  const axis = [0, top / 2.2, top / 1.1].map(
    (value) =>
      `<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${y(value).toFixed(1)}" y2="${y(value).toFixed(1)}"/>` +
      text(LEFT - 6, y(value) + 4, short(value), 'text-anchor="end"'),
  );
  const lines = series.map(({ name, values }, index) => {
    const points = values.flatMap((value, round) => (Number.isFinite(value) ? [[x(round), y(value)] as const] : []));
    const path = points.map(([px, py]) => `${px.toFixed(1)},${py.toFixed(1)}`).join(" ");
    const dots = points.map(([px, py]) => `<circle class="dot${index}" cx="${px.toFixed(1)}" cy="${py.toFixed(1)}" r="3.5"/>`).join("");
    const legend = `<circle class="dot${index}" cx="${LEFT + index * 90}" cy="${HEIGHT - 6}" r="4"/>${text(LEFT + 8 + index * 90, HEIGHT - 2, name)}`;
    return `<polyline class="line${index}" points="${path}"/>${dots}${legend}`;
  });
  return `${head(title, unit, HEIGHT)}${axis.join("")}${lines.join("")}</svg>`;
}

function barsPlot({ title, unit, bars }: Extract<Plot, { kind: "bars" }>): string {
  const top = Math.max(maximum(bars.map((bar) => bar.value).filter(Number.isFinite)), Number.MIN_VALUE);
  const span = WIDTH - BAR_LABEL - BAR_VALUE;
  const rows = bars.map(({ name, value }, index) => {
    const y = TOP + index * BAR_HEIGHT;
    const width = Number.isFinite(value) ? Math.max(1, (span * value) / top) : span;
    const end = Number.isFinite(value) ? short(value) : "never";
    return (
      text(BAR_LABEL - 6, y + 11, name, 'text-anchor="end"') +
      `<rect class="bar" x="${BAR_LABEL}" y="${y}" width="${width.toFixed(1)}" height="${BAR_HEIGHT - 5}" rx="2"/>` +
      text(BAR_LABEL + width + 6, y + 11, end)
    );
  });
  return `${head(title, unit, TOP + bars.length * BAR_HEIGHT + 4)}${rows.join("")}</svg>`;
}

export function plotSvg(plot: Plot): string {
  return plot.kind === "rounds" ? roundsPlot(plot) : barsPlot(plot);
}
