/**
 * Grades a measurement against the base's, taken by turns in the same run. The host is noisy: what counts is the median of the ratios of
 * neighbouring rounds, which a drift of the host's speed hits alike, against a margin that the noise of such a median stays well below.
 */
import { median, pairedRatio } from "../../foundation/statistics.js";
import { grade, type CheckFigure, type Grade, type Plot } from "./report.js";

export interface Margin {
  readonly name: string;
  readonly unit: string;
  readonly better: "lower" | "higher";
  /** How much worse than the base it may be, as a share of the base. */
  readonly share: number;
  /** Of what is better lower: so much above the base is no matter, whatever the share is. */
  readonly slack: number;
}

/** The margins that the suite holds a change to. */
export const MARGINS = {
  bootInstructions: { name: "instructions from power-on to ready", unit: "M", better: "lower", share: 0.15, slack: 20 },
  memory: { name: "memory that the started guest uses", unit: "MiB", better: "lower", share: 0.15, slack: 8 },
  payments: { name: "payments", unit: "/s", better: "higher", share: 0.15, slack: 0 },
  paymentInstructions: { name: "instructions for each payment", unit: "k", better: "lower", share: 0.15, slack: 0 },
  paymentMedian: { name: "median latency of payments", unit: "ms", better: "lower", share: 0.25, slack: 0.5 },
  paymentTail: { name: "99th percentile of payments", unit: "ms", better: "lower", share: 1, slack: 10 },
  pages: { name: "pages", unit: "/s", better: "higher", share: 0.15, slack: 0 },
  pageInstructions: { name: "instructions for each page", unit: "k", better: "lower", share: 0.15, slack: 0 },
  pageMedian: { name: "median latency of pages", unit: "ms", better: "lower", share: 0.25, slack: 0.5 },
  pageTail: { name: "99th percentile of pages", unit: "ms", better: "lower", share: 1, slack: 10 },
  hold: { name: "hold of a reintegration", unit: "ms", better: "lower", share: 1, slack: 10 },
} as const satisfies Readonly<Record<string, Margin>>;

/** One round of the base and one of the changed image after another. */
export interface Comparison {
  readonly margin: Margin;
  readonly base: readonly number[];
  readonly changed: readonly number[];
}

/** Of the values that both have: how the changed image stands to the base, 1 being equal. */
export function ratioOf({ base, changed }: Comparison): number {
  return pairedRatio(changed, base);
}

function limitOf({ margin, base }: Comparison): number {
  if (margin.better === "higher") return 1 - margin.share;
  const middle = median(base);
  return 1 + Math.max(margin.share, middle > 0 ? margin.slack / middle : 0);
}

function isWithin(ratio: number, comparison: Comparison): boolean {
  return comparison.margin.better === "higher" ? ratio >= limitOf(comparison) : ratio <= limitOf(comparison);
}

/** So many of the rounds must be within the margin, or more are needed. */
const CLEAR_SHARE = 0.8;

/**
 * Whether the rounds agree well enough that it is within the margin. That it is not is never clear before all rounds were measured: two
 * rounds have differed by a fifth where nothing but a program that nobody called had been added.
 */
export function isClearlyWithin(comparison: Comparison): boolean {
  const { base, changed } = comparison;
  if (!isWithin(ratioOf(comparison), comparison)) return false;
  const ratios = changed.map((value, round) => value / (base[round] ?? Number.NaN));
  return ratios.filter((ratio) => isWithin(ratio, comparison)).length >= CLEAR_SHARE * ratios.length;
}

/** A value that is missing or no number is no pass. */
export function regressionProblem(comparison: Comparison): string | undefined {
  const { margin, base, changed } = comparison;
  const ratio = ratioOf(comparison);
  if (Number.isNaN(ratio)) return `${margin.name}: not measured`;
  // A few small values that are not neighbours (holds of some milliseconds) have wild ratios: what is allowed above the base counts as it is.
  const isWithinSlack = margin.better === "lower" && median(changed) - median(base) <= margin.slack;
  if (isWithin(ratio, comparison) || isWithinSlack) return undefined;
  const percent = Math.round(Math.abs(ratio - 1) * 100);
  const allowed = Math.round(Math.abs(limitOf(comparison) - 1) * 100);
  const way = ratio > 1 ? "more" : "less";
  return `${margin.name}: ${percent} % ${way} than the base (${short(median(changed))} against ${short(median(base))} ${margin.unit}; ${allowed} % are allowed)`;
}

function figuresOf(comparison: Comparison): CheckFigure[] {
  const { margin, base, changed } = comparison;
  const sign = margin.better === "higher" ? "≥" : "≤";
  return [
    { name: margin.name, value: median(changed), unit: margin.unit },
    { name: `${margin.name}, base`, value: median(base), unit: margin.unit },
    { name: `${margin.name}, against the base`, value: ratioOf(comparison), unit: "×", limit: `${sign} ${short(limitOf(comparison))}` },
  ];
}

function plotOf({ margin, base, changed }: Comparison): Plot {
  const series = [
    { name: "base", values: base },
    { name: "changed", values: changed },
  ];
  return { kind: "rounds", title: margin.name, unit: margin.unit, series };
}

/** `problems`: what else was wrong while it was measured. */
export function gradeComparisons(comparisons: readonly Comparison[], problems: readonly string[] = []): Grade {
  const worse = comparisons.map(regressionProblem).filter((problem) => problem !== undefined);
  const rounds = Math.max(0, ...comparisons.map((comparison) => comparison.base.length));
  const detail = `within the margins over ${rounds} rounds by turns`;
  const plots = comparisons.filter((comparison) => comparison.base.length > 1).map(plotOf);
  return grade([...problems, ...worse], detail, comparisons.flatMap(figuresOf), plots);
}

export function short(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return value.toFixed(digits);
}
