/** Whether a server may run an image, decided from facts alone: no clock, no file. */
import type { KeyObject } from "node:crypto";
import { assert } from "../foundation/assert.js";
import { SteadfastError } from "../foundation/errors.js";
import { sha256 } from "../image/store.js";
import { decodeBaseStatement } from "./base.js";
import type { Envelope } from "./dsse.js";
import { PARTIAL_LEVEL } from "./statement.js";
import { countedSigners, verifyCertificate, type Accepted } from "./verify.js";

export interface GateFacts {
  readonly image: {
    /** What it is called by. */
    readonly digest: string;
    /** What its files give; null: one cannot be read. */
    readonly measured: string | null;
    /** Words that the server adds to the kernel command line. */
    readonly extraCommandLine: string;
    /** What it says it was made of; absent: it says nothing. */
    readonly base?: string | undefined;
    readonly change?: string | undefined;
  };
  /** All that lie here for this image; an error: one that is damaged. */
  readonly certificates: readonly (Envelope | SteadfastError)[];
  /** Keys by key id: of this host, for base certificates only; and those whose signatures count. */
  readonly hostKeys: ReadonlyMap<string, KeyObject>;
  readonly trustedKeys: ReadonlyMap<string, KeyObject>;
  readonly revocations: ReadonlySet<string>;
  readonly demands: GateDemands;
  /** Why the server may run uncertified; null: it may not. */
  readonly uncertified: string | null;
  readonly nowMs: number;
}

/** What a server demands of certificates. */
export interface GateDemands {
  readonly threshold: number;
  /** Key ids of the trusted keys that count for this server; null: all. */
  readonly keys: readonly string[] | null;
  /** Digests of the bases and policies that it accepts; null: what the signers accepted. */
  readonly bases: readonly string[] | null;
  readonly policies: readonly string[] | null;
}

export interface Certified {
  readonly level: "base" | "quick" | "full";
  /** Digest of what was signed. */
  readonly certificate: string;
  /** Of a base certificate: it does not. */
  readonly expiresAt?: string;
  readonly signers: readonly string[];
}

export type Decision =
  | ({ readonly allowed: true; readonly state: "certified" | "base" } & Certified)
  /** By the operator's word, in spite of `refusal`. */
  | { readonly allowed: true; readonly state: "uncertified"; readonly reason: string; readonly refusal: SteadfastError }
  | { readonly allowed: false; readonly refusal: SteadfastError };

/** What was altered is never run, whatever the operator says: it is not the image that it is called. */
export function gate(facts: GateFacts): Decision {
  const { image, uncertified } = facts;
  if (image.measured !== image.digest) return refuse(new SteadfastError("IMAGE_ALTERED", { image: image.digest }));
  const found = image.extraCommandLine === "" ? bestCertificate(facts) : commandLineRefusal(image.extraCommandLine);
  if (!(found instanceof SteadfastError)) return { allowed: true, state: found.level === "base" ? "base" : "certified", ...found };
  return uncertified === null ? refuse(found) : { allowed: true, state: "uncertified", reason: uncertified, refusal: found };
}

function refuse(refusal: SteadfastError): Decision {
  return { allowed: false, refusal };
}

function commandLineRefusal(words: string): SteadfastError {
  return new SteadfastError("IMAGE_COMMAND_LINE", { words });
}

/** The one that holds longest; if none holds, why the first one does not. */
function bestCertificate(facts: GateFacts): Certified | SteadfastError {
  const outcomes = facts.certificates.map((each) => (each instanceof SteadfastError ? each : judge(each, facts)));
  const holding = outcomes.filter((each): each is Certified => !(each instanceof SteadfastError));
  const qualified = holding.filter(({ level }) => level !== "base").sort((left, right) => untilMs(right) - untilMs(left));
  return qualified[0] ?? holding[0] ?? outcomes[0] ?? new SteadfastError("CERTIFICATE_MISSING", { image: facts.image.digest });
}

function untilMs({ expiresAt }: Certified): number {
  return expiresAt === undefined ? Infinity : Date.parse(expiresAt);
}

function judge(envelope: Envelope, facts: GateFacts): Certified | SteadfastError {
  const isOfHost = envelope.signatures.some(({ keyid }) => facts.hostKeys.has(keyid));
  return isOfHost ? judgeBase(envelope, facts) : judgeQualified(envelope, facts);
}

function judgeBase(envelope: Envelope, { image, hostKeys, revocations }: GateFacts): Certified | SteadfastError {
  try {
    const signers = countedSigners({ envelope, trustedKeys: hostKeys, threshold: 1, revocations });
    const [subject] = decodeBaseStatement(envelope.payload).subject;
    const certified = subject.digest.sha256;
    if (certified !== image.digest) return new SteadfastError("CERTIFICATE_OTHER_IMAGE", { certified, wanted: image.digest });
    return { level: "base", certificate: sha256(envelope.payload), signers };
  } catch (error) {
    if (error instanceof SteadfastError) return error;
    throw error;
  }
}

function judgeQualified(envelope: Envelope, facts: GateFacts): Certified | SteadfastError {
  const { image, demands, trustedKeys, revocations, nowMs } = facts;
  const counting = [...trustedKeys].filter(([id]) => demands.keys === null || demands.keys.includes(id));
  const expected = { imageDigest: image.digest, changeDigest: image.change ?? null, base: basesOf(facts), policyDigest: demands.policies };
  const outcome = verifyCertificate({
    ...{ envelope, trustedKeys: new Map(counting), threshold: demands.threshold, revocations, nowMs, expected },
  });
  if (!outcome.ok) return outcome.reason;
  const { level, expiresAt } = outcome.statement.predicate;
  assert(level !== PARTIAL_LEVEL, "no verification here accepts a partial certificate");
  return { level, expiresAt, certificate: sha256(envelope.payload), signers: outcome.signers };
}

/** What the image says of its base has to be what was certified, and what the server accepts. */
function basesOf({ image, demands }: GateFacts): Accepted {
  if (image.base === undefined) return demands.bases;
  return demands.bases === null || demands.bases.includes(image.base) ? image.base : [];
}
