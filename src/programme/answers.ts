/** What a programme answers, as schemas, and how it is made of submissions. */
import { z } from "zod";
import { errorSchema } from "../api/answers.js";
import type { Progress, Submission } from "./queue/submission.js";
import { SUBMISSION_STATES } from "./queue/submission.js";

const digest = z.string().describe("SHA-256, 64 hexadecimal digits.");
const time = z.string().describe("UTC, such as 2026-01-31T12:00:00.000Z.");

export const findingSchema = z.strictObject({
  verdict: z.enum(["PASSED", "FAILED"]),
  image: digest,
  policy: digest,
  level: z.string().describe("quick, full, or partial: some checks only."),
  checks: z.array(z.string()),
  failedChecks: z.array(z.string()),
  seed: z.number(),
  expiresAt: z.nullable(time).describe("Of the certificate; null: there is none."),
});
export const progressSchema = z.strictObject({
  position: z.int().describe("Which check, from 0."),
  count: z.int(),
  name: z.string(),
  text: z.string(),
  fraction: z.number().describe("Of this check, 0 to 1."),
});
export const submissionSchema = z.strictObject({
  id: z.int(),
  state: z.enum(SUBMISSION_STATES),
  change: digest,
  name: z.string(),
  description: z.string(),
  base: digest,
  bytes: z.int(),
  submitter: z.string().describe("Name of the token."),
  submittedAt: time,
  startedAt: z.nullable(time).describe("Of the last attempt."),
  endedAt: z.nullable(time),
  attempts: z.int(),
  cancelling: z.boolean(),
  position: z.nullable(z.int()).describe("In the queue; 1: the next one."),
  progress: z.nullable(progressSchema),
  why: z.nullable(z.string()).describe("Why it ended without a finding."),
  finding: z.nullable(findingSchema),
});
export const submissionsSchema = z.strictObject({ submissions: z.array(submissionSchema) });
export const certifiedSchema = z.strictObject({
  change: digest,
  name: z.string(),
  description: z.string(),
  base: digest,
  image: digest,
  policy: digest,
  level: z.string(),
  checks: z.array(z.string()),
  bytes: z.int(),
  certifiedAt: time,
  expiresAt: time,
  submission: z.int(),
});
export const catalogueSchema = z.strictObject({ changes: z.array(certifiedSchema) });
export const liveSchema = z.strictObject({ live: z.literal(true) });
export { errorSchema };

export type SubmissionAnswer = z.output<typeof submissionSchema>;
export type CatalogueAnswer = z.output<typeof catalogueSchema>;

const text = (atMs: number): string => new Date(atMs).toISOString();
const textOrNull = (atMs: number | null): string | null => (atMs === null ? null : text(atMs));

export function submissionAnswer(submission: Submission, position: number | null, progress: Progress | null): SubmissionAnswer {
  const { id, state, changeDigest, name, description, baseDigest, bytes, submitter, attempts, isCancelling, why, finding } = submission;
  return {
    ...{ id, state, change: changeDigest, name, description, base: baseDigest, bytes, submitter, attempts, cancelling: isCancelling },
    submittedAt: text(submission.submittedAtMs),
    startedAt: textOrNull(submission.startedAtMs),
    endedAt: textOrNull(submission.endedAtMs),
    ...{ position, progress, why },
    finding: finding && findingAnswer(finding),
  };
}

function findingAnswer({ imageDigest, policyDigest, ...rest }: NonNullable<Submission["finding"]>): SubmissionAnswer["finding"] {
  return { ...rest, checks: [...rest.checks], failedChecks: [...rest.failedChecks], image: imageDigest, policy: policyDigest };
}

/** Of submissions that are certified. */
export function catalogueAnswer(certified: readonly Submission[]): CatalogueAnswer {
  return { changes: certified.flatMap(certifiedAnswer) };
}

function certifiedAnswer({
  id,
  changeDigest,
  name,
  description,
  baseDigest,
  bytes,
  endedAtMs,
  finding,
}: Submission): CatalogueAnswer["changes"] {
  if (finding === null || finding.expiresAt === null || endedAtMs === null) return [];
  const { imageDigest, policyDigest, level, checks, expiresAt } = finding;
  return [
    {
      ...{
        change: changeDigest,
        name,
        description,
        base: baseDigest,
        image: imageDigest,
        policy: policyDigest,
        level,
        checks: [...checks],
      },
      ...{ bytes, certifiedAt: text(endedAtMs), expiresAt, submission: id },
    },
  ];
}
