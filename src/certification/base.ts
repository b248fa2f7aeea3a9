/**
 * Base certificates: this host says that it built an image from a recipe of this release. That is all it says: nobody qualified the image
 * here. They count only where the key of the host that made them is.
 */
import { createPublicKey, type KeyObject } from "node:crypto";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { describeProblem, fieldOf } from "../image/recipe.js";
import { addSignature, PAYLOAD_TYPE, type Envelope } from "./dsse.js";
import { keyId, type KeyStore } from "./keys.js";
import { BASE_CLAIM } from "./standing.js";
import { digestSet, parseJson, STATEMENT_TYPE, time, words } from "./statement.js";

export const BASE_PREDICATE_TYPE = "urn:steadfast:base-image:v1";
const HOST_KEY_NAME = "host";

const baseStatementSchema = z.strictObject({
  _type: z.literal(STATEMENT_TYPE),
  subject: z.tuple([z.strictObject({ name: z.literal("image"), digest: digestSet })]),
  predicateType: z.literal(BASE_PREDICATE_TYPE),
  predicate: z.strictObject({
    level: z.literal("base"),
    claim: z.literal(BASE_CLAIM),
    /** Version of Steadfast. */
    release: words,
    recipe: z.strictObject({ name: words, digest: digestSet }),
    kernel: words,
    issuedAt: time,
  }),
});

export type BaseStatement = z.infer<typeof baseStatementSchema>;

export interface BaseFacts {
  readonly imageDigest: string;
  readonly release: string;
  readonly recipe: { readonly name: string; readonly digest: string };
  readonly kernel: string;
  readonly nowMs: number;
}

export function signBase({ imageDigest, release, recipe, kernel, nowMs }: BaseFacts, hostKey: KeyObject): Envelope {
  const statement: BaseStatement = {
    _type: STATEMENT_TYPE,
    subject: [{ name: "image", digest: { sha256: imageDigest } }],
    predicateType: BASE_PREDICATE_TYPE,
    predicate: {
      ...{ level: "base", claim: BASE_CLAIM, release, kernel, issuedAt: new Date(nowMs).toISOString() },
      recipe: { name: recipe.name, digest: { sha256: recipe.digest } },
    },
  };
  const payload = Buffer.from(JSON.stringify(baseStatementSchema.parse(statement)));
  return addSignature({ payloadType: PAYLOAD_TYPE, payload, signatures: [] }, hostKey);
}

export function decodeBaseStatement(payload: Uint8Array): BaseStatement {
  const parsed = baseStatementSchema.safeParse(parseJson(payload, "its statement"));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  throw new SteadfastError("CERTIFICATE_WRONG", { problem: `its statement is wrong: field ${fieldOf(issue)} ${describeProblem(issue)}` });
}

/** The key of this host, made at first use; another one once it was revoked. */
export function hostKey(hostKeys: KeyStore, revoked: ReadonlySet<string>): KeyObject {
  const keys = hostKeys.ownNames().map((name) => hostKeys.privateKey(name));
  const usable = keys.find((key) => !revoked.has(keyId(key)));
  if (usable !== undefined) return usable;
  const name = keys.length === 0 ? HOST_KEY_NAME : `${HOST_KEY_NAME}-${keys.length + 1}`;
  try {
    hostKeys.create(name);
  } catch (error) {
    // Another command made it at the same moment.
    if (!(error instanceof SteadfastError) || error.code !== "KEY_EXISTS") throw error;
  }
  return hostKeys.privateKey(name);
}

/** Public keys that base certificates count by. */
export function hostPublicKeys(hostKeys: KeyStore): Map<string, KeyObject> {
  const keys = hostKeys.ownNames().map((name) => createPublicKey(hostKeys.privateKey(name)));
  return new Map(keys.map((key) => [keyId(key), key]));
}
