/**
 * What a certificate says: an in-toto Statement v1 about an image and the change that made it, with a predicate modelled on the SLSA
 * verification summary. It is read strictly: what this version does not understand, it does not trust.
 */
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { describeProblem, fieldOf } from "../image/recipe.js";
import { DIGEST_PATTERN } from "./digest.js";
import { RESULTS_LIMIT } from "./limits.js";

export const STATEMENT_TYPE = "https://in-toto.io/Statement/v1";
export const PREDICATE_TYPE = "urn:steadfast:change-qualification:v1";

/** Of a programme that runs some checks only: whoever verifies it has to say that this will do, and a server's gate never does. */
export const PARTIAL_LEVEL = "partial";

export const digestSet = z.strictObject({ sha256: z.string().regex(DIGEST_PATTERN, "must be a SHA-256 digest of 64 hexadecimal digits") });
export const words = z.string().min(1).max(256);
export const time = z
  .string()
  .max(32)
  .refine((text) => isTime(text), "must be a time in UTC such as 2026-01-31T12:00:00.000Z");
const verdict = z.enum(["PASSED", "FAILED"]);

const predicateSchema = z
  .strictObject({
    verifier: z.strictObject({ engine: words, suite: words }),
    base: z.strictObject({ digest: digestSet }),
    policy: z.strictObject({ digest: digestSet }),
    level: z.enum(["quick", "full", PARTIAL_LEVEL]),
    seeds: z.array(z.number().int().min(0).max(Number.MAX_SAFE_INTEGER)).max(RESULTS_LIMIT),
    results: z
      .array(z.strictObject({ check: words, verdict, detail: z.string().max(4096) }))
      .min(1)
      .max(RESULTS_LIMIT),
    verificationResult: verdict,
    issuedAt: time,
    expiresAt: time,
  })
  .refine(
    (predicate) => (predicate.verificationResult === "PASSED") === predicate.results.every((result) => result.verdict === "PASSED"),
    "must have the verdict that follows from its results",
  )
  .refine((predicate) => Date.parse(predicate.issuedAt) < Date.parse(predicate.expiresAt), "must expire after it was issued");

const statementSchema = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([
    z.strictObject({ name: z.literal("image"), digest: digestSet }),
    z.strictObject({ name: z.literal("change"), digest: digestSet }),
  ]),
  predicateType: z.literal(PREDICATE_TYPE),
  predicate: predicateSchema,
});

export type Statement = z.infer<typeof statementSchema>;

function isTime(text: string): boolean {
  const milliseconds = Date.parse(text);
  return Number.isFinite(milliseconds) && new Date(milliseconds).toISOString() === text;
}

export function checkStatement(value: unknown): Statement {
  const parsed = statementSchema.safeParse(value);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new SteadfastError("CERTIFICATE_WRONG", { problem: `its statement is wrong: field ${fieldOf(issue)} ${describeProblem(issue)}` });
}

export function decodeStatement(bytes: Uint8Array): Statement {
  return checkStatement(parseJson(bytes, "its statement"));
}

export function encodeStatement(statement: Statement): Uint8Array {
  return Buffer.from(JSON.stringify(checkStatement(statement)));
}

export function parseJson(bytes: Uint8Array, what: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new SteadfastError("CERTIFICATE_WRONG", { problem: `${what} is no JSON` });
  }
}
