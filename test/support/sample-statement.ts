/** What a qualification would state about an image, for tests that have no time to qualify one. */
import { PREDICATE_TYPE, STATEMENT_TYPE, type Statement } from "../../dist/certification/statement.js";

type Predicate = Statement["predicate"];

export interface StatementDigests {
  readonly image: string;
  readonly change: string;
  readonly base: string;
  readonly policy: string;
}

export function sampleStatement({ image, change, base, policy }: StatementDigests, changed: Partial<Predicate> = {}): Statement {
  return {
    _type: STATEMENT_TYPE,
    subject: [
      { name: "image", digest: { sha256: image } },
      { name: "change", digest: { sha256: change } },
    ],
    predicateType: PREDICATE_TYPE,
    predicate: {
      verifier: { engine: "0.1.0", suite: "1" },
      base: { digest: { sha256: base } },
      policy: { digest: { sha256: policy } },
      level: "quick",
      seeds: [1, 2, 3],
      results: [{ check: "determinism", verdict: "PASSED", detail: "5000 ticks" }],
      verificationResult: "PASSED",
      issuedAt: "2026-01-01T00:00:00.000Z",
      expiresAt: "2027-01-01T00:00:00.000Z",
      ...changed,
    },
  };
}
