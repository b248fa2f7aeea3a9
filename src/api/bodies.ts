/** Bodies of requests as schemas, and the check of one. What only a running server can know (names, sizes) its own checks say. */
import { z } from "zod";
import { DIGEST_PATTERN } from "../certification/digest.js";
import { REASON_LENGTH_LIMIT } from "../certification/limits.js";
import { SteadfastError } from "../foundation/errors.js";
import { FAULT_KINDS } from "../modules/management-faults.js";
import { REDUNDANCIES } from "../modules/redundancy.js";

const BIT_MAX = 7;

export const emptySchema = z.strictObject({});
export const pullSchema = z.strictObject({
  force: z.boolean().optional().describe("Also when no other module could carry on without it."),
});
export const faultSchema = z.strictObject({
  kind: z.enum(FAULT_KINDS),
  module: z.string(),
  address: z.int().min(0).optional().describe("Of a flip: guest-physical, below the guest's memory in bytes."),
  bit: z.int().min(0).max(BIT_MAX).optional(),
  random: z.boolean().optional().describe("Of a flip: instead of a place."),
});
export const redundancyBodySchema = z.strictObject({ redundancy: z.enum([...REDUNDANCIES, "1", "2", "3"]) });
export const powerSchema = z.strictObject({ action: z.enum(["off", "reset"]) });
export const diskBodySchema = z.strictObject({
  action: z.enum(["grow", "scrub"]),
  sizeBytes: z.int().min(0).optional().describe("What the disk grows to."),
});
export const agentBodySchema = z.strictObject({
  id: z.string().optional().describe("Of a request whose answer was lost: it is not carried out again. Absent: a new one."),
  request: z.discriminatedUnion("verb", [
    z.strictObject({ verb: z.literal("ping") }),
    z.strictObject({ verb: z.literal("health") }),
    z.strictObject({ verb: z.literal("run"), command: z.string(), limitSeconds: z.int().min(1) }),
    z.strictObject({
      verb: z.literal("put"),
      path: z.string(),
      mode: z.int().min(0),
      totalBytes: z.int().min(0),
      offset: z.int().min(0),
      base64: z.base64().describe("The chunk at this offset. The last one gives the file its name."),
    }),
  ]),
});
const digest = z.string().regex(DIGEST_PATTERN, "must have 64 hexadecimal digits");
const reason = z
  .string()
  .min(1)
  .max(REASON_LENGTH_LIMIT)
  .regex(/^[^\p{Cc}]*\S[^\p{Cc}]*$/u, "must be one line")
  .optional()
  .describe("Why the image may run without a certificate.");
export const changeInstallSchema = z.strictObject({
  image: digest.describe("Of the image that the change makes, which is on this host."),
  change: digest.describe("Of the package, which is in the server's state directory."),
  uncertified: reason,
});
export const changeRollbackSchema = z.strictObject({ uncertified: reason });
export const recordingBodySchema = z.strictObject({ action: z.enum(["start", "stop"]) });
export const downSchema = z.strictObject({
  graceMs: z.number().min(0).optional().describe("The power button first, and this long for the guest to go off; 0: at once."),
});

export type Body = Readonly<Record<string, unknown>>;

/** Fields whose wrong values have an error of their own. */
type Refusals = Readonly<Record<string, (value: string) => SteadfastError>>;

/** @throws SteadfastError API_FIELD, or what `refusals` has for the first field that is wrong. */
export function checkBody<Schema extends z.ZodType>(schema: Schema, body: Body, path: string, refusals: Refusals = {}): z.output<Schema> {
  const checked = schema.safeParse(body);
  if (checked.success) return checked.data;
  const issue = checked.error.issues[0];
  const field = String(issue?.path[0] ?? (issue?.code === "unrecognized_keys" ? issue.keys[0] : ""));
  const value = Object.hasOwn(body, field) ? body[field] : undefined;
  const refuse = Object.hasOwn(refusals, field) ? refusals[field] : undefined;
  if (refuse !== undefined) throw refuse(typeof value === "string" ? value : (JSON.stringify(value) ?? "(none)"));
  const why = issue?.code === "unrecognized_keys" ? "does not belong there" : (issue?.message ?? "is wrong").replace(/^Invalid \w+: /, "");
  throw new SteadfastError("API_FIELD", { path, field, why });
}
