import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import { chartsOf, latestText, type Chart, type History } from "../view/history.js";
import type { Theme } from "./theme.js";

const CHART_HEIGHT_PX = 150;
const SECOND_MS = 1000;
/** Lines differ by their dashes too, not by colour alone. */
const DASHES: readonly number[][] = [[], [7, 4], [2, 3], [9, 3, 2, 3]];
const LINES_MAX = 4;

export function Charts({ history, theme }: { readonly history: History; readonly theme: Theme }) {
  const timesS = history.samples.map((sample) => sample.atMs / SECOND_MS);
  return (
    <section class="charts" aria-labelledby="charts-title">
      <h2 id="charts-title">Live charts</h2>
      <div class="chart-grid">
        {chartsOf(history).map((chart) => (
          <Figure key={chart.id} chart={chart} timesS={timesS} theme={theme} />
        ))}
      </div>
    </section>
  );
}

interface FigureProps {
  readonly chart: Chart;
  readonly timesS: readonly number[];
  readonly theme: Theme;
}

function Figure({ chart, timesS, theme }: FigureProps) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const labels = chart.series.map((series) => series.label).join();
  const data = [timesS, ...chart.series.map((series) => series.values)] as uPlot.AlignedData;
  const newest = useRef(data);
  newest.current = data;
  useEffect(() => {
    const place = box.current;
    if (place === null) return undefined;
    const make = (): void => {
      plot.current?.destroy();
      plot.current = new uPlot(optionsOf(chart, place), newest.current, place);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: place.clientWidth, height: CHART_HEIGHT_PX }));
    resized.observe(place);
    const scheme = matchMedia("(prefers-color-scheme: dark)");
    scheme.addEventListener("change", make);
    return () => {
      scheme.removeEventListener("change", make);
      resized.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [labels, theme]);
  useEffect(() => plot.current?.setData(data));
  return (
    <figure class="plate chart" data-chart={chart.id}>
      <figcaption>
        <strong>{chart.title}</strong> <span>{chart.unit}</span>
        <small>{latestText(chart)}</small>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}

function optionsOf(chart: Chart, place: HTMLElement): uPlot.Options {
  const colour = colourReader(place);
  const axis = {
    stroke: colour("--ink-soft"),
    grid: { stroke: colour("--grid"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui",
  };
  return {
    width: Math.max(1, place.clientWidth),
    height: CHART_HEIGHT_PX,
    legend: { show: chart.series.length > 1, live: false },
    cursor: { show: false },
    scales: { y: { range: (_plot, _low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [
      { ...axis, space: 80, values: (_plot, splits) => splits.map(clockText) },
      { ...axis, size: 52, space: 30 },
    ],
    series: [
      {},
      ...chart.series.map(({ label }, index) => ({
        label,
        stroke: colour(`--line-${index % LINES_MAX}`),
        width: 1.75,
        dash: DASHES[index % DASHES.length] ?? [],
        points: { show: false },
      })),
    ],
  };
}

/** Resolves a colour of the style sheet, which may depend on the scheme, to one that a canvas understands. */
function colourReader(place: HTMLElement): (name: string) => string {
  const style = getComputedStyle(place);
  return (name) => {
    place.style.color = `var(${name})`;
    const { color } = style;
    place.style.color = "";
    return color;
  };
}

function clockText(atS: number): string {
  return new Date(atS * SECOND_MS).toTimeString().slice(0, 8);
}
