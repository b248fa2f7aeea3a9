/** The file that says what `steadfast support watch` tells, and whom. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { firstDuplicate, parseYaml } from "../image/recipe.js";
import { SERVER_NAME_PATTERN } from "./server-choice.js";

const FILE_BYTES_MAX = 256 * 1024;
const SECRET_BYTES_MIN = 16;
const SECRET_BYTES_MAX = 4096;
const CHANNELS_MAX = 16;
const SECONDS_MAX = 86_400;

const channelName = z.string().regex(/^[a-z][a-z0-9-]{0,31}$/, "must be a name of small letters, digits and hyphens");
const path = z.string().min(1, "must be a path");
const seconds = z.number().min(0).max(SECONDS_MAX);
const address = z.string().regex(/^[^\s@]+@[^\s@]+$/, "must be an e-mail address");

/** Whether it reaches the vendor's support: then it hears what the support plan covers, and nothing without one. */
const callHome = z.boolean().default(false);

const webhook = z.strictObject({
  name: channelName.default("webhook"),
  callHome,
  url: z.url({ protocol: /^https?$/, error: "must be an http or https address" }),
  secretFile: path,
});

const mail = z.strictObject({
  name: channelName.default("mail"),
  callHome,
  host: z.string().min(1, "must be a host"),
  port: z.number().int().min(1).max(65_535),
  /** TLS from the beginning; else STARTTLS where it is offered. */
  secure: z.boolean().default(false),
  user: z.string().min(1).optional(),
  passwordFile: path.optional(),
  from: address,
  to: z.array(address).min(1).max(32),
});

const journal = z.strictObject({
  name: channelName.default("journal"),
  path,
  sizeMiB: z.number().int().min(1).max(1024).default(16),
});

const rules = z.strictObject({
  simplexForSeconds: seconds.default(60),
  unreachableForSeconds: seconds.default(30),
  diskFullPercent: z.number().min(10).max(100).default(90),
  quietMinutes: z.number().min(1).max(1440).default(60),
  certificateDays: z.number().min(1).max(365).default(30),
});

const fields = z.strictObject({
  server: z.string().regex(SERVER_NAME_PATTERN, "must be a server's name").default("main"),
  rules: rules.prefault({}),
  webhooks: z.array(webhook).max(CHANNELS_MAX).default([]),
  mail: z.array(mail).max(CHANNELS_MAX).default([]),
  journals: z.array(journal).max(CHANNELS_MAX).default([]),
});

/** An empty file is one without fields. */
const schema = z.preprocess((value) => value ?? {}, fields);

/** With the secrets themselves in place of the paths of their files. */
export interface WatchConfig {
  readonly server: string;
  readonly rules: z.infer<typeof rules>;
  readonly webhooks: readonly (z.infer<typeof webhook> & { readonly secret: string })[];
  readonly mail: readonly (z.infer<typeof mail> & { readonly password: string })[];
  readonly journals: readonly z.infer<typeof journal>[];
}

export function readWatchConfig(file: string): WatchConfig {
  const content = readText(file, file, "the file", FILE_BYTES_MAX);
  const parsed = parseYaml(content, schema, (where, problem) => wrong(file, `${where}: ${problem}`));
  const { webhooks, mail: mails, journals, ...rest } = parsed;
  const names = [...webhooks, ...mails, ...journals].map(({ name }) => name);
  const twice = firstDuplicate(names);
  if (twice !== undefined) throw wrong(file, `two channels are named ${twice}, so give each a name of its own`);
  if (names.length === 0) throw wrong(file, "it names nobody to tell, so write webhooks, mail or journals");
  const at = (place: string): string => resolve(dirname(file), place);
  return {
    ...rest,
    webhooks: webhooks.map((each) => ({ ...each, secret: readSecret(file, at(each.secretFile), SECRET_BYTES_MIN) })),
    mail: mails.map((each) => {
      if ((each.user === undefined) !== (each.passwordFile === undefined))
        throw wrong(file, `${each.name}: user and passwordFile go together`);
      return { ...each, password: each.passwordFile === undefined ? "" : readSecret(file, at(each.passwordFile), 1) };
    }),
    journals: journals.map((each) => ({ ...each, path: at(each.path) })),
  };
}

function wrong(file: string, problem: string): SteadfastError {
  return new SteadfastError("SUPPORT_CONFIG", { file, problem });
}

function readText(file: string, place: string, what: string, limit: number): string {
  try {
    const content = readFileSync(place);
    if (content.length > limit) throw wrong(file, `${what} is larger than ${limit} bytes`);
    return content.toString("utf8");
  } catch (error) {
    if (error instanceof SteadfastError) throw error;
    throw wrong(file, `${what} cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})`);
  }
}

/** Never in the file itself, which is shown around more easily. */
function readSecret(file: string, place: string, leastBytes: number): string {
  const secret = readText(file, place, `the secret in ${place}`, SECRET_BYTES_MAX).trim();
  if (Buffer.byteLength(secret) < leastBytes) throw wrong(file, `the secret in ${place} is shorter than ${leastBytes} bytes`);
  return secret;
}
