/** What a qualification found: rows of the checks, and what follows from them. */
import type { Level } from "./checks.js";

/** ERROR: the check could not be carried out, which is no pass. */
export type Verdict = "PASSED" | "FAILED" | "ERROR";

export interface CheckFigure {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What it must keep to, in words; absent: for information. */
  readonly limit?: string;
}

export type Plot =
  /** Values of one or several series by round. */
  | {
      readonly kind: "rounds";
      readonly title: string;
      readonly unit: string;
      readonly series: readonly { readonly name: string; readonly values: readonly number[] }[];
    }
  | {
      readonly kind: "bars";
      readonly title: string;
      readonly unit: string;
      readonly bars: readonly { readonly name: string; readonly value: number }[];
    };

/** What the grading of a check's facts says. */
export interface Grade {
  readonly verdict: Verdict;
  /** Of a pass: what was looked at. Otherwise what is wrong, where. */
  readonly detail: string;
  readonly figures: readonly CheckFigure[];
  readonly plots: readonly Plot[];
}

export interface Row extends Grade {
  readonly id: string;
  readonly name: string;
  readonly proves: string;
  readonly level: Level;
  readonly seed: number;
  readonly seconds: number;
  /** The command that runs just this check again, the same way. */
  readonly reproduce: string;
}

export interface QualificationReport {
  readonly level: Level;
  readonly seed: number;
  readonly verdict: "PASSED" | "FAILED";
  /** False: only some checks were asked for, which certifies nothing. */
  readonly isComplete: boolean;
  readonly name: string;
  readonly imageDigest: string;
  readonly baseDigest: string;
  readonly changeDigest: string;
  readonly policyDigest: string;
  readonly engine: string;
  readonly suite: string;
  /** Versions of Node that machines ran on. */
  readonly nodes: readonly string[];
  readonly host: string;
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly seconds: number;
  readonly rows: readonly Row[];
}

export function grade(
  problems: readonly string[],
  detail: string,
  figures: readonly CheckFigure[] = [],
  plots: readonly Plot[] = [],
): Grade {
  return {
    verdict: problems.length === 0 ? "PASSED" : "FAILED",
    detail: problems.length === 0 ? detail : problems.join("; "),
    figures,
    plots,
  };
}

export function overallVerdict(rows: readonly Pick<Row, "verdict">[]): "PASSED" | "FAILED" {
  return rows.length > 0 && rows.every((row) => row.verdict === "PASSED") ? "PASSED" : "FAILED";
}

/** A seed from the digest of what is qualified: the same change is put to the same test everywhere. */
export function seedOf(digest: string): number {
  return parseInt(digest.slice(0, 8), 16) & 0x7fff_ffff;
}

const words = (text: string): string => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** `subject`: the parameters that name what is qualified. */
export function reproducingCommand(subject: readonly string[], level: Level, id: string, seed: number): string {
  const parameters = [...subject, "--level", level, "--check", id, "--seed", String(seed)];
  return `steadfast change certify ${parameters.map(words).join(" ")}`;
}
