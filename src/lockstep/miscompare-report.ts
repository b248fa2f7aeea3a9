/** What is kept of a miscompare: who said what at which tick, who was right by which proof, and what it takes to run it again. */
import type { ResultMessage, TickMessage } from "../wire/messages.js";
import type { VerifiedCheckpoint } from "./checkpoints.js";
import type { Voter } from "./voter.js";

export interface Verdict {
  /** re-execution: a third machine ran it again. self-check: the wrong one found its own memory damaged. record: nothing told. */
  readonly by: "re-execution" | "majority" | "self-check" | "record";
  readonly right: readonly string[];
  readonly wrong: readonly string[];
}

/** A result as JSON. */
export interface Claim {
  readonly instructionCount: string;
  readonly timeNs: string;
  /** Null: busy. */
  readonly idleUntilNs: string | null;
  readonly hasOutputs: boolean;
  readonly outputsDigest: string;
  readonly digest: string;
  readonly stateDigest: string | null;
}

export interface MiscompareReport {
  readonly seq: number;
  /** In what they disagree: results, full digests, checkpoint digests. */
  readonly what: string;
  /** The fields of the results that differ, in this order. */
  readonly differs: readonly string[];
  readonly claims: Readonly<Record<string, Claim>>;
  readonly verdict: Verdict;
  /** Null: there was none, so that nothing can be run again. */
  readonly checkpoint: VerifiedCheckpoint | null;
}

/** One tick of the way from the checkpoint to the disagreement; `truth`: what all agreed on, null for the disputed one. */
export interface CourseStep {
  readonly tick: TickMessage;
  readonly truth: ResultMessage | null;
}

export function claimOf(result: ResultMessage): Claim {
  return {
    instructionCount: String(result.instructionCount),
    timeNs: String(result.timeNs),
    idleUntilNs: result.idleUntilNs === null ? null : String(result.idleUntilNs),
    hasOutputs: result.hasOutputs,
    outputsDigest: result.outputsDigest.toString(16),
    digest: result.digest.toString(16),
    stateDigest: result.stateDigest,
  };
}

const CLAIM_FIELDS = ["instructionCount", "timeNs", "idleUntilNs", "hasOutputs", "outputsDigest", "digest", "stateDigest"] as const;

/** Fields in which not all claims are equal. */
export function differingFields(claims: readonly Claim[]): string[] {
  return CLAIM_FIELDS.filter((field) => new Set(claims.map((claim) => claim[field])).size > 1);
}

interface Findings {
  readonly seq: number;
  readonly what: string;
  readonly claims: ReadonlyMap<string, ResultMessage>;
  readonly verdict: Verdict;
  readonly checkpoint: VerifiedCheckpoint | null;
}

export function reportOf(voter: Voter, findings: Findings): { report: MiscompareReport; course: CourseStep[] } {
  const { seq, what, verdict, checkpoint } = findings;
  const claims = Object.fromEntries([...findings.claims].map(([name, result]) => [name, claimOf(result)]));
  const course: CourseStep[] = [];
  let isComplete = checkpoint !== null;
  for (let next = (checkpoint?.seq ?? seq) + 1; next <= seq; next += 1) {
    const ballot = voter.ballot(next);
    if (ballot === undefined) isComplete = false;
    else course.push({ tick: ballot.tick, truth: next === seq ? null : ballot.truth });
  }
  const differs = differingFields(Object.values(claims));
  return {
    report: { seq, what, differs, claims, verdict, checkpoint: isComplete ? checkpoint : null },
    course: isComplete ? course : [],
  };
}
