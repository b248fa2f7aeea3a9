/** Whether a certificate counts, decided from what it is given alone: no clock, no file. */
import type { KeyObject } from "node:crypto";
import { SteadfastError } from "../foundation/errors.js";
import { isSignedBy, type Envelope } from "./dsse.js";
import { CLOCK_DIFFERENCE_LIMIT_MS } from "./limits.js";
import { decodeStatement, PARTIAL_LEVEL, type Statement } from "./statement.js";

/** A digest, or several that will do; null: whatever the signers certified. */
export type Accepted = string | readonly string[] | null;

export interface Expected {
  readonly imageDigest: Accepted;
  readonly changeDigest: Accepted;
  readonly base: Accepted;
  readonly policyDigest: Accepted;
}

export interface Verification {
  readonly envelope: Envelope;
  /** By key id. */
  readonly trustedKeys: ReadonlyMap<string, KeyObject>;
  /** How many different trusted keys must have signed, at least 1. */
  readonly threshold: number;
  /** Key ids. */
  readonly revocations: ReadonlySet<string>;
  readonly nowMs: number;
  readonly expected: Expected;
  /** A certificate of some checks only will do. */
  readonly acceptsPartial?: boolean;
}

export type Outcome =
  | { readonly ok: true; readonly statement: Statement; readonly signers: readonly string[] }
  /** Its code says why. */
  | { readonly ok: false; readonly reason: SteadfastError };

/** Signatures first: what nobody vouches for is not even read. */
export function verifyCertificate(verification: Verification): Outcome {
  try {
    const signers = countedSigners(verification);
    const statement = decodeStatement(verification.envelope.payload);
    checkSubject(statement, verification.expected);
    checkTime(statement, verification.nowMs);
    if (statement.predicate.verificationResult !== "PASSED") {
      const failed = statement.predicate.results.filter((result) => result.verdict === "FAILED").map((result) => result.check);
      throw new SteadfastError("CERTIFICATE_FAILED_VERDICT", { checks: failed.join(", ") });
    }
    if (statement.predicate.level === PARTIAL_LEVEL && verification.acceptsPartial !== true) {
      throw new SteadfastError("CERTIFICATE_PARTIAL", { checks: statement.predicate.results.map((result) => result.check).join(", ") });
    }
    return { ok: true, statement, signers };
  } catch (error) {
    if (error instanceof SteadfastError) return { ok: false, reason: error };
    throw error;
  }
}

/**
 * Key ids of the trusted keys that signed, enough of them.
 *
 * @throws SteadfastError if too few did, or one of them is wrong
 */
export function countedSigners({
  envelope,
  trustedKeys,
  threshold,
  revocations,
}: Pick<Verification, "envelope" | "trustedKeys" | "threshold" | "revocations">): string[] {
  if (!Number.isSafeInteger(threshold) || threshold < 1) throw new SteadfastError("CERTIFICATE_THRESHOLD", { threshold });
  const signers = new Set<string>();
  const revoked = new Set<string>();
  for (const signature of envelope.signatures) {
    const key = trustedKeys.get(signature.keyid);
    if (key !== undefined && !isSignedBy(envelope, signature, key))
      throw new SteadfastError("CERTIFICATE_FORGED", { key: signature.keyid });
    if (revocations.has(signature.keyid)) revoked.add(signature.keyid);
    else if (key !== undefined) signers.add(signature.keyid);
  }
  if (signers.size >= threshold) return [...signers].sort();
  const [first] = revoked;
  if (first !== undefined) throw new SteadfastError("CERTIFICATE_REVOKED", { key: first });
  throw new SteadfastError("CERTIFICATE_BELOW_THRESHOLD", { count: signers.size, threshold });
}

function checkSubject({ subject, predicate }: Statement, expected: Expected): void {
  const [image, change] = subject;
  const pairs = [
    ["CERTIFICATE_OTHER_IMAGE", image.digest.sha256, expected.imageDigest],
    ["CERTIFICATE_OTHER_CHANGE", change.digest.sha256, expected.changeDigest],
    ["CERTIFICATE_OTHER_BASE", predicate.base.digest.sha256, expected.base],
    ["CERTIFICATE_OTHER_POLICY", predicate.policy.digest.sha256, expected.policyDigest],
  ] as const;
  for (const [code, certified, wanted] of pairs) {
    if (wanted === null || certified === wanted || (typeof wanted !== "string" && wanted.includes(certified))) continue;
    const list = typeof wanted === "string" ? [wanted] : wanted;
    throw new SteadfastError(code, { certified, wanted: list.length === 0 ? "any that is accepted here" : list.join(" or ") });
  }
}

function checkTime({ predicate }: Statement, nowMs: number): void {
  if (nowMs >= Date.parse(predicate.expiresAt)) throw new SteadfastError("CERTIFICATE_EXPIRED", { time: predicate.expiresAt });
  if (nowMs < Date.parse(predicate.issuedAt) - CLOCK_DIFFERENCE_LIMIT_MS)
    throw new SteadfastError("CERTIFICATE_EARLY", { time: predicate.issuedAt });
}
