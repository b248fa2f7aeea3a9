/** From what a qualification found to the statement that a certificate signs. */
import type { Statement } from "../certification/statement.js";
import { PARTIAL_LEVEL, PREDICATE_TYPE, STATEMENT_TYPE } from "../certification/statement.js";
import { DAY_MS } from "../foundation/durations.js";
import type { QualificationReport, Row } from "./grading/report.js";

const DETAIL_CHARACTERS_MAX = 4096;

/**
 * Measured figures are in the report, not here: two qualifications of the same change by the same seed that both pass say the same, apart
 * from their times.
 */
function resultOf({ id, verdict, proves, detail }: Row): Statement["predicate"]["results"][number] {
  if (verdict === "PASSED") return { check: id, verdict, detail: proves };
  return { check: id, verdict: "FAILED", detail: detail.slice(0, DETAIL_CHARACTERS_MAX) };
}

export function statementOf(report: QualificationReport, validDays: number, nowMs: number): Statement {
  const digest = (sha256: string): { sha256: string } => ({ sha256 });
  return {
    _type: STATEMENT_TYPE,
    subject: [
      { name: "image", digest: digest(report.imageDigest) },
      { name: "change", digest: digest(report.changeDigest) },
    ],
    predicateType: PREDICATE_TYPE,
    predicate: {
      verifier: { engine: report.engine, suite: report.suite },
      base: { digest: digest(report.baseDigest) },
      policy: { digest: digest(report.policyDigest) },
      level: report.isComplete ? report.level : PARTIAL_LEVEL,
      seeds: [report.seed],
      results: report.rows.map(resultOf),
      verificationResult: report.verdict,
      issuedAt: new Date(nowMs).toISOString(),
      expiresAt: new Date(nowMs + validDays * DAY_MS).toISOString(),
    },
  };
}
