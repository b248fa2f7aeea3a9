/** A measured figure beside its target, and the table of them. Pure. */
import { table } from "./plot.js";

export type Verdict = "met" | "missed" | "info";

export interface Figure {
  readonly name: string;
  /** In words; "-" for a figure that is only for orientation. */
  readonly target: string;
  /** With unit, for people. */
  readonly measured: string;
  readonly value: number;
  readonly verdict: Verdict;
  /** The command that prints this figure alone. */
  readonly command: string;
  readonly note?: string;
}

interface Bound {
  readonly atLeast?: number;
  readonly atMost?: number;
}

/** A figure that cannot be measured (NaN) is missed, never met. */
export function judge(value: number, bound: Bound): Verdict {
  if (Number.isNaN(value)) return "missed";
  if (bound.atLeast !== undefined && value < bound.atLeast) return "missed";
  if (bound.atMost !== undefined && value > bound.atMost) return "missed";
  return "met";
}

export function figureTable(figures: readonly Figure[]): string {
  const mark: Readonly<Record<Verdict, string>> = { met: "met", missed: "MISSED", info: "" };
  const rows = figures.map((figure) => [figure.name, figure.target, figure.measured, mark[figure.verdict], figure.command]);
  const text = table([["figure", "target", "measured", "verdict", "command"], ...rows]);
  const notes = figures.filter((figure) => figure.note !== undefined).map((figure) => `${figure.name}: ${figure.note}`);
  return [text, ...(notes.length > 0 ? ["", ...notes] : [])].join("\n");
}
