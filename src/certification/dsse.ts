/** Envelopes by the DSSE specification, version 1.0: what is signed is the pre-authentication encoding of type and payload. */
import { sign, verify, type KeyObject } from "node:crypto";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { ENVELOPE_BYTES_LIMIT, SIGNATURES_LIMIT } from "./limits.js";
import { keyId } from "./keys.js";
import { encodeStatement, parseJson, type Statement } from "./statement.js";

export const PAYLOAD_TYPE = "application/vnd.in-toto+json";
const ED25519_SIGNATURE_BYTES = 64;

export interface Signature {
  /** A hint which key it is; nothing follows from it alone. */
  readonly keyid: string;
  readonly sig: Uint8Array;
}

export interface Envelope {
  readonly payloadType: string;
  readonly payload: Uint8Array;
  readonly signatures: readonly Signature[];
}

/** Not strict: readers of envelopes have to ignore fields that they do not know, and no signature covers those. */
const envelopeSchema = z.object({
  payloadType: z.literal(PAYLOAD_TYPE),
  payload: z.string().max(ENVELOPE_BYTES_LIMIT),
  signatures: z.array(z.object({ keyid: z.string().max(256), sig: z.string().max(256) })).max(SIGNATURES_LIMIT),
});

/** "DSSEv1" SP LEN(type) SP type SP LEN(body) SP body, with lengths in bytes. */
export function preAuthenticationEncoding(payloadType: string, payload: Uint8Array): Uint8Array {
  const type = Buffer.from(payloadType);
  return Buffer.concat([Buffer.from(`DSSEv1 ${type.length} `), type, Buffer.from(` ${payload.length} `), payload]);
}

/** Without any signature yet. */
export function envelopeOf(statement: Statement): Envelope {
  return { payloadType: PAYLOAD_TYPE, payload: encodeStatement(statement), signatures: [] };
}

/** With the signature of one more key; one of the same key is replaced. */
export function addSignature(envelope: Envelope, privateKey: KeyObject): Envelope {
  const keyid = keyId(privateKey);
  const others = envelope.signatures.filter((signature) => signature.keyid !== keyid);
  if (others.length >= SIGNATURES_LIMIT)
    throw new SteadfastError("CERTIFICATE_WRONG", { problem: `it has ${others.length} signatures already, the most there can be` });
  const sig = sign(null, preAuthenticationEncoding(envelope.payloadType, envelope.payload), privateKey);
  return { ...envelope, signatures: [...others, { keyid, sig }] };
}

export function isSignedBy(envelope: Envelope, signature: Signature, publicKey: KeyObject): boolean {
  if (signature.sig.length !== ED25519_SIGNATURE_BYTES) return false;
  return verify(null, preAuthenticationEncoding(envelope.payloadType, envelope.payload), publicKey, signature.sig);
}

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  const signatures = envelope.signatures.map(({ keyid, sig }) => ({ keyid, sig: base64(sig) }));
  return Buffer.from(`${JSON.stringify({ payloadType: envelope.payloadType, payload: base64(envelope.payload), signatures })}\n`);
}

export function decodeEnvelope(bytes: Uint8Array): Envelope {
  if (bytes.length > ENVELOPE_BYTES_LIMIT)
    throw new SteadfastError("CERTIFICATE_WRONG", { problem: `it is larger than ${ENVELOPE_BYTES_LIMIT} bytes` });
  const parsed = envelopeSchema.safeParse(parseJson(bytes, "it"));
  if (!parsed.success) {
    const field = (parsed.error.issues[0]?.path ?? []).map(String).join(".");
    throw new SteadfastError("CERTIFICATE_WRONG", { problem: `it is no DSSE envelope with an in-toto statement (field ${field})` });
  }
  const { payloadType, payload, signatures } = parsed.data;
  return {
    payloadType,
    payload: fromBase64(payload, "payload"),
    signatures: signatures.map(({ keyid, sig }) => ({ keyid, sig: fromBase64(sig, "sig") })),
  };
}

/** Standard base64 or the one for URLs, as the specification wants; one text for the same bytes in either. */
function fromBase64(text: string, field: string): Uint8Array {
  const bytes = Buffer.from(text, "base64");
  const isStandard = bytes.toString("base64") === text;
  const isForUrls = bytes.toString("base64url") === text.replace(/=+$/, "");
  if (!isStandard && !isForUrls) throw new SteadfastError("CERTIFICATE_WRONG", { problem: `its field ${field} is no base64` });
  return bytes;
}
