/** A submission: a change on its way through the programme. What is kept on disk of it is exactly this. */

export const SUBMISSION_STATES = ["queued", "running", "passed", "failed", "cancelled", "error"] as const;
export type SubmissionState = (typeof SUBMISSION_STATES)[number];

/** What the programme learnt of the package when it came. */
export interface SubmittedChange {
  /** SHA-256 of the package, hex. */
  readonly changeDigest: string;
  readonly name: string;
  readonly description: string;
  /** Digest of the image that it changes. */
  readonly baseDigest: string;
  readonly bytes: number;
  /** Name of the token. */
  readonly submitter: string;
}

/** What a qualification that came to its end found. */
export interface Finding {
  readonly verdict: "PASSED" | "FAILED";
  readonly imageDigest: string;
  readonly policyDigest: string;
  /** Of the certificate: `quick` or `full`, or `partial` if the programme runs some checks only. */
  readonly level: string;
  readonly checks: readonly string[];
  readonly seed: number;
  /** Checks that did not pass. */
  readonly failedChecks: readonly string[];
  /** ISO 8601; null: there is no certificate. */
  readonly expiresAt: string | null;
}

export interface Submission extends SubmittedChange {
  /** Counts up, and names the submission. */
  readonly id: number;
  readonly state: SubmissionState;
  readonly submittedAtMs: number;
  /** Of the last attempt; null: it has not begun. */
  readonly startedAtMs: number | null;
  readonly endedAtMs: number | null;
  /** How often the qualification was begun. */
  readonly attempts: number;
  /** It runs, was cancelled, and its process has not ended yet. */
  readonly isCancelling: boolean;
  /** Why it ended without a finding: one sentence. */
  readonly why: string | null;
  readonly finding: Finding | null;
}

/** How far a qualification is; lost with the programme's process, since it then begins anew. */
export interface Progress {
  /** Of all checks: which one, from 0. */
  readonly position: number;
  readonly count: number;
  readonly name: string;
  readonly text: string;
  /** Of this check, 0 to 1. */
  readonly fraction: number;
}

export function hasEnded({ state }: Pick<Submission, "state">): boolean {
  return state !== "queued" && state !== "running";
}
