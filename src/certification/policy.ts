/** A hardening policy: what an image, and the guest that runs it, must and must not have. YAML, read as strictly as a recipe. */
import { MIB } from "../foundation/bytes.js";
import { readFileSync } from "node:fs";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { DEFAULT_POLICY_PATH } from "../image/paths.js";
import { absolutePath, moduleName, oneWord, parseYaml } from "../image/recipe.js";
import { sha256 } from "../image/store.js";
import { PACKAGES_LIMIT } from "./limits.js";

const POLICY_BYTES_LIMIT = MIB;

const kernelKinds = z
  .array(z.enum(["stock", "hardened", "own"]))
  .min(1)
  .max(3);
const word = z
  .string()
  .max(256)
  .regex(/^[^\s"]+$/, "must be one word of a command line");
const words = z.array(word).max(PACKAGES_LIMIT).default([]);
const paths = z.array(absolutePath).max(PACKAGES_LIMIT).default([]);
const option = z.string().regex(/^CONFIG_[A-Za-z0-9_]+$/, "must be an option such as CONFIG_VIRTIO_NET");
const line = z.string().regex(/^CONFIG_[A-Za-z0-9_]+=\S+$/, "must be a line such as CONFIG_VIRTIO_NET=y");
const lines = z
  .array(z.strictObject({ line, kernels: kernelKinds.optional() }))
  .max(PACKAGES_LIMIT)
  .default([]);

export const policySchema = z.strictObject({
  name: oneWord.max(64),
  commandLine: z.strictObject({ required: words, forbidden: words, allowed: words }),
  kernels: kernelKinds,
  drivers: z
    .array(z.strictObject({ name: moduleName, option, kernels: kernelKinds.optional() }))
    .max(PACKAGES_LIMIT)
    .default([]),
  configuration: z.strictObject({ required: lines, forbidden: lines }),
  services: z.strictObject({ unsupervised: z.array(oneWord).max(PACKAGES_LIMIT).default([]) }),
  files: z.strictObject({ setUserId: paths, worldWritable: paths, protected: paths }),
  ports: z.array(z.number().int().min(1).max(65535)).max(65535),
  settings: z.record(z.string().regex(/^[a-z0-9_.-]+$/, "must be a setting such as kernel.panic"), z.string()).default({}),
});

export type Policy = z.infer<typeof policySchema>;

export function parsePolicy(text: string, file: string): Policy {
  const wrong = (where: string, problem: string): SteadfastError => new SteadfastError("POLICY_WRONG", { file, where, problem });
  if (Buffer.byteLength(text) > POLICY_BYTES_LIMIT) throw wrong("the whole file", `is larger than ${POLICY_BYTES_LIMIT} bytes`);
  return parseYaml(text, policySchema, wrong);
}

/** Without a path: the one that comes with this version. */
export function loadPolicy(path: string = DEFAULT_POLICY_PATH): Policy {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    throw new SteadfastError("POLICY_UNREADABLE", { file: path, detail: (error as NodeJS.ErrnoException).code ?? String(error) });
  }
  return parsePolicy(text, path);
}

/** One digest for one meaning: comments, layout and the order of lists do not count. */
export function policyDigest(policy: Policy): string {
  return sha256(canonical(policy));
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).sort().join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).filter(([, content]) => content !== undefined);
  const sorted = fields.sort(([left], [right]) => (left < right ? -1 : 1));
  return `{${sorted.map(([name, content]) => `${JSON.stringify(name)}:${canonical(content)}`).join(",")}}`;
}
