/** The last minutes as series for the charts: rates from the differences of counters, and the gauges of each CPU module. */
import type { ReportView } from "./report.js";

export const SAMPLE_INTERVAL_MS = 500;
/** Two minutes. */
export const SAMPLES_MAX = 240;

/** Null: not known then, and the line has a gap. */
export type Value = number | null;

export interface Sample {
  readonly atMs: number;
  readonly committedPerSecond: Value;
  /** Ticks issued whose outputs have not taken effect. */
  readonly inFlightTicks: Value;
  readonly framesInPerSecond: Value;
  readonly framesOutPerSecond: Value;
  /** That the guest answered, as the network shows them. */
  readonly requestsPerSecond: Value;
  /** Until their answers began, of those since the last sample. */
  readonly meanAnswerMs: Value;
  /** By CPU module. */
  readonly lagTicks: Readonly<Record<string, number>>;
  readonly mips: Readonly<Record<string, number>>;
}

export interface History {
  readonly samples: readonly Sample[];
  readonly last: { readonly atMs: number; readonly report: ReportView } | null;
}

export const EMPTY_HISTORY: History = { samples: [], last: null };

/** A counter that went back began anew: no rate is known. */
function rate(now: number, before: number, elapsedMs: number): Value {
  return now < before || elapsedMs <= 0 ? null : ((now - before) * 1000) / elapsedMs;
}

/** Null: nothing was answered meanwhile, or the counters began anew. */
function meanAnswerMs({ counters: now }: ReportView, { counters: before }: ReportView): Value {
  const requests = now.requests - before.requests;
  const answerMs = now.answerMs - before.answerMs;
  return requests > 0 && answerMs >= 0 ? answerMs / requests : null;
}

function gauges(report: ReportView, read: (module: ReportView["modules"][number]) => number | undefined): Record<string, number> {
  const found: Record<string, number> = {};
  for (const module of report.modules) {
    const value = module.kind === "cpu" && module.pid > 0 ? read(module) : undefined;
    if (value !== undefined) found[module.name] = value;
  }
  return found;
}

/** @param report null: nothing was heard since the last sample, as the connection is lost. */
export function addSample(history: History, atMs: number, report: ReportView | null): History {
  const sample = sampleOf(history, atMs, report);
  return { samples: [...history.samples, sample].slice(-SAMPLES_MAX), last: report === null ? null : { atMs, report } };
}

function sampleOf({ last }: History, atMs: number, report: ReportView | null): Sample {
  if (report === null)
    return {
      ...{ atMs, committedPerSecond: null, inFlightTicks: null, framesInPerSecond: null, framesOutPerSecond: null },
      ...{ requestsPerSecond: null, meanAnswerMs: null, lagTicks: {}, mips: {} },
    };
  const per = (read: (of: ReportView) => number): Value => (last === null ? null : rate(read(report), read(last.report), atMs - last.atMs));
  return {
    atMs,
    committedPerSecond: per((of) => of.committed),
    inFlightTicks: Math.max(0, report.seq - report.committed),
    framesInPerSecond: per((of) => of.counters.framesIn),
    framesOutPerSecond: per((of) => of.counters.framesOut),
    requestsPerSecond: per((of) => of.counters.requests),
    meanAnswerMs: last === null ? null : meanAnswerMs(report, last.report),
    lagTicks: gauges(report, (module) => module.lagTicks),
    mips: gauges(report, (module) => module.mips),
  };
}

export interface Chart {
  readonly id: string;
  readonly title: string;
  readonly unit: string;
  readonly series: readonly { readonly label: string; readonly values: readonly Value[] }[];
}

function perModule(samples: readonly Sample[], read: (sample: Sample) => Readonly<Record<string, number>>): Chart["series"] {
  const names = [...new Set(samples.flatMap((sample) => Object.keys(read(sample))))].sort();
  return names.map((label) => ({ label, values: samples.map((sample) => read(sample)[label] ?? null) }));
}

export function chartsOf({ samples }: History): Chart[] {
  const one = (label: string, read: (sample: Sample) => Value): Chart["series"][number] => ({ label, values: samples.map(read) });
  return [
    { id: "requests", title: "Requests answered", unit: "per second", series: [one("answered", (each) => each.requestsPerSecond)] },
    { id: "latency", title: "Latency of answers", unit: "ms, mean", series: [one("until they begin", (each) => each.meanAnswerMs)] },
    { id: "ticks", title: "Committed ticks", unit: "per second", series: [one("committed", (each) => each.committedPerSecond)] },
    {
      id: "lag",
      title: "Lag of the modules",
      unit: "ticks",
      series: [...perModule(samples, (each) => each.lagTicks), one("not committed", (each) => each.inFlightTicks)],
    },
    { id: "mips", title: "Speed of the modules", unit: "MIPS", series: perModule(samples, (each) => each.mips) },
    {
      id: "frames",
      title: "Network frames",
      unit: "per second",
      series: [one("in", (each) => each.framesInPerSecond), one("out", (each) => each.framesOutPerSecond)],
    },
  ];
}

/** The newest known value of a line in words, so that a chart says something to those who do not see it. */
export function latestText(chart: Chart): string {
  const parts = chart.series.map(({ label, values }) => {
    const value = values.at(-1) ?? null;
    return `${label} ${value === null ? "unknown" : formatNumber(value)}`;
  });
  return parts.length === 0 ? "no data yet" : parts.join(", ");
}

export function formatNumber(value: number): string {
  const digits = Math.abs(value) < 10 && !Number.isInteger(value) ? 1 : 0;
  const [whole = "", rest] = value.toFixed(digits).split(".");
  const grouped = whole.replaceAll(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
  return rest === undefined ? grouped : `${grouped}.${rest}`;
}
