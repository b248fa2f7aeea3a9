/** The server file: YAML, checked strictly. A wrong one gives one sentence: file, line, field, and what it must be. */
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { isMap, LineCounter, parseDocument, type Document } from "yaml";
import { z } from "zod";
import { DIGEST_PATTERN } from "../certification/digest.js";
import { SIGNATURES_LIMIT } from "../certification/limits.js";
import { GUEST_WATCHES } from "../modules/guest-health.js";
import { REDUNDANCIES } from "../modules/redundancy.js";
import { SteadfastError } from "../foundation/errors.js";
import { MAX_PUBLISHED_PORTS, parsePublished, PUBLISH_RULE } from "../ports/published-port.js";

export const MEMORY_MIB_MIN = 64;
export const MEMORY_MIB_MAX = 3072;
export const DISK_MIB_MIN = 16;
export const DISK_MIB_MAX = 65_536;
const LAG_LIMIT_MS_MIN = 20;
const LAG_LIMIT_MS_MAX = 60_000;
const DIGESTS_LIMIT = 100;
const EVENT_STREAMS_MAX = 3000;
const FILE_BYTES_MAX = 1024 * 1024;

const wholeNumber = (minimum: number, maximum: number): z.ZodNumber => z.number().int().min(minimum).max(maximum);
const text = z.string().min(1);

const digests = z.array(z.string().regex(DIGEST_PATTERN)).min(1).max(DIGESTS_LIMIT);

const serverFileSchema = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,31}$/)
    .optional(),
  redundancy: z.enum(REDUNDANCIES).optional(),
  memoryMiB: wholeNumber(MEMORY_MIB_MIN, MEMORY_MIB_MAX).optional(),
  release: z.enum(["compared", "logged"]).optional(),
  lagLimitMs: wholeNumber(LAG_LIMIT_MS_MIN, LAG_LIMIT_MS_MAX).optional(),
  checkpoints: z.boolean().optional(),
  image: z
    .strictObject({ recipe: text.optional(), kernel: text.optional(), initrd: text.optional(), commandLine: z.string().optional() })
    .optional(),
  network: z
    .strictObject({
      kind: z.enum(["tap", "user", "none"]).optional(),
      bridge: z
        .string()
        .regex(/^[A-Za-z][A-Za-z0-9_.-]{0,14}$/)
        .optional(),
      hostAddress: z
        .string()
        .regex(/^\d{1,3}(\.\d{1,3}){3}\/\d{1,2}$/)
        .optional(),
      guestAddress: z
        .string()
        .regex(/^\d{1,3}(\.\d{1,3}){3}$/)
        .optional(),
      publish: z
        .array(z.string().refine((each) => parsePublished(each) !== null))
        .max(MAX_PUBLISHED_PORTS)
        .optional(),
    })
    .optional(),
  disk: z
    .strictObject({
      sizeMiB: wholeNumber(DISK_MIB_MIN, DISK_MIB_MAX).optional(),
      format: z.enum(["ext4", "none"]).optional(),
      label: z
        .string()
        .regex(/^[A-Za-z0-9_.-]{1,16}$/)
        .optional(),
      directories: z.array(text).max(3).optional(),
    })
    .optional(),
  api: z
    .strictObject({
      listen: z
        .string()
        .regex(/^(\[[0-9a-fA-F:.]+\]|[0-9.]+):\d{1,5}$/)
        .optional(),
      tlsCertificate: text.optional(),
      tlsKey: text.optional(),
      eventStreams: wholeNumber(1, EVENT_STREAMS_MAX).optional(),
    })
    .optional(),
  faultThreshold: z.strictObject({ count: wholeNumber(1, 1000).optional(), windowHours: z.number().gt(0).max(8760).optional() }).optional(),
  guestWatch: z.enum(GUEST_WATCHES).optional(),
  certification: z
    .strictObject({
      threshold: wholeNumber(1, SIGNATURES_LIMIT).optional(),
      keys: digests.optional(),
      bases: digests.optional(),
      policies: digests.optional(),
    })
    .optional(),
  engine: z.enum(["rv64", "toy"]).optional(),
});

export type ServerFile = z.infer<typeof serverFileSchema>;

/** What each field must be: the mend in every error about it, and the reference in one. */
const FIELD_RULES: Readonly<Record<string, string>> = {
  "": "the file must be a YAML mapping such as `memoryMiB: 256`",
  name: "it must be 1 to 32 small letters, digits and hyphens, beginning with a letter",
  redundancy: "it must be simplex, duplex, triplex or pair-and-spare",
  memoryMiB: `it must be a whole number of MiB from ${MEMORY_MIB_MIN} to ${MEMORY_MIB_MAX}`,
  release: "it must be compared or logged",
  lagLimitMs: `it must be a whole number of milliseconds from ${LAG_LIMIT_MS_MIN} to ${LAG_LIMIT_MS_MAX}`,
  checkpoints: "it must be true or false",
  image: "it must be a mapping with recipe, kernel, initrd or commandLine",
  "image.recipe": "it must be the path of a recipe file",
  "image.kernel": "it must be stock, hardened or the path of a kernel",
  "image.initrd": "it must be the path of an initial RAM disk",
  "image.commandLine": "it must be a text",
  network: "it must be a mapping with kind, bridge, hostAddress, guestAddress or publish",
  "network.kind": "it must be tap, user or none",
  "network.bridge": "it must be an interface name of at most 15 characters",
  "network.hostAddress": "it must be an IPv4 address with prefix length such as 10.77.0.1/24",
  "network.guestAddress": "it must be an IPv4 address such as 10.77.0.2",
  "network.publish": `it must be a list of at most ${MAX_PUBLISHED_PORTS} texts, each such as "8080:80"`,
  "network.publish.*": PUBLISH_RULE,
  disk: "it must be a mapping with sizeMiB, format, label or directories",
  "disk.sizeMiB": `it must be a whole number of MiB from ${DISK_MIB_MIN} to ${DISK_MIB_MAX}`,
  "disk.format": "it must be ext4 or none",
  "disk.label": "it must be 1 to 16 letters, digits, dots, hyphens and underscores",
  "disk.directories": "it must be a list of at most three directories, one for each enclosure's mirror",
  api: "it must be a mapping with listen, tlsCertificate, tlsKey or eventStreams",
  "api.listen": "it must be ADDRESS:PORT, such as 0.0.0.0:8443 or [::]:8443",
  "api.tlsCertificate": "it must be the path of a PEM certificate",
  "api.tlsKey": "it must be the path of the certificate's key",
  "api.eventStreams": `it must be a whole number from 1 to ${EVENT_STREAMS_MAX}`,
  faultThreshold: "it must be a mapping with count and windowHours",
  "faultThreshold.count": "it must be a whole number from 1 to 1000",
  "faultThreshold.windowHours": "it must be a number of hours above 0, at most 8760",
  certification: "it must be a mapping with threshold, keys, bases or policies",
  "certification.threshold": `it must be a whole number of signers from 1 to ${SIGNATURES_LIMIT}`,
  "certification.keys": `it must be a list of 1 to ${DIGESTS_LIMIT} key ids as \`steadfast keys list\` shows them`,
  "certification.keys.*": "it must be a key id of 64 hexadecimal digits",
  "certification.bases": `it must be a list of 1 to ${DIGESTS_LIMIT} digests of images`,
  "certification.bases.*": "it must be a digest of 64 hexadecimal digits",
  "certification.policies": `it must be a list of 1 to ${DIGESTS_LIMIT} digests of policies`,
  "certification.policies.*": "it must be a digest of 64 hexadecimal digits",
  guestWatch: "it must be restart, report or off",
  engine: "it must be rv64, or toy for tests without a guest",
};

export function readServerFile(path: string): ServerFile {
  let content: string;
  try {
    content = readFileSync(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    throw new SteadfastError("SERVER_FILE_UNREADABLE", { file: path, why: code === "ENOENT" ? "there is no such file" : String(code) });
  }
  return withPathsResolved(parseServerFile(content, path), dirname(resolve(path)));
}

export function parseServerFile(content: string, file: string): ServerFile {
  const lines = new LineCounter();
  const wrong = (line: number, problem: string): SteadfastError => new SteadfastError("SERVER_FILE_WRONG", { file, line, problem });
  if (Buffer.byteLength(content) > FILE_BYTES_MAX)
    throw wrong(1, `the file is larger than ${FILE_BYTES_MAX} bytes; a server file is a page of text`);
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, uniqueKeys: true });
  const syntax = document.errors[0];
  if (syntax !== undefined) {
    const reason = (syntax.message.split("\n")[0] ?? "").replace(/\.$/, "");
    throw wrong(lines.linePos(syntax.pos[0]).line, `this is not YAML (${reason}); mend the syntax there`);
  }
  const value: unknown = document.toJS({ maxAliasCount: 100 }) ?? {};
  const result = serverFileSchema.safeParse(value);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = (issue?.path ?? []).map(String);
  if (issue?.code === "unrecognized_keys") {
    const full = [...path, issue.keys[0] ?? ""];
    throw wrong(lineOfField(document, lines, full), `there is no field ${full.join(".")}; ${fieldsIn(path)}`);
  }
  const field = path.join(".");
  const found = path.length === 0 ? "" : `${field} is ${describe(document.getIn(path))}; `;
  throw wrong(
    lineOfField(document, lines, path),
    `${found}${FIELD_RULES[field.replace(/\.\d+$/, ".*")] ?? "see the reference of the server file"}`,
  );
}

function fieldsIn(path: readonly string[]): string {
  const prefix = path.length === 0 ? "" : `${path.join(".")}.`;
  const names = Object.keys(FIELD_RULES).filter(
    (name) => name.startsWith(prefix) && !name.slice(prefix.length).includes(".") && name !== "",
  );
  return `remove it or write one of ${names.map((name) => name.slice(prefix.length)).join(", ")}`;
}

function describe(value: unknown): string {
  if (value === undefined || value === null) return "empty";
  if (typeof value === "object") return "a list or mapping";
  return JSON.stringify(value);
}

/** The line of the key, which is where one looks; a field that is not there has its parent's line. */
function lineOfField(document: Document, lines: LineCounter, path: readonly string[]): number {
  for (let depth = path.length; depth > 0; depth -= 1) {
    const parent: unknown = depth === 1 ? document.contents : document.getIn(path.slice(0, depth - 1), true);
    if (!isMap(parent)) continue;
    const pair = parent.items.find((item) => String((item.key as { value?: unknown }).value) === path[depth - 1]);
    const range = (pair?.key as { range?: readonly [number, number, number] } | undefined)?.range;
    if (range !== undefined) return lines.linePos(range[0]).line;
  }
  return 1;
}

/** Paths count from the file's own directory, not from where the command runs. */
function withPathsResolved(file: ServerFile, directory: string): ServerFile {
  const { disk } = file;
  const withDisk =
    disk?.directories === undefined
      ? file
      : { ...file, disk: { ...disk, directories: disk.directories.map((each) => resolve(directory, each)) } };
  const { api } = file;
  const withApi = api === undefined ? withDisk : { ...withDisk, api: withTlsPaths(api, directory) };
  if (file.image === undefined) return withApi;
  const { recipe, kernel, initrd } = file.image;
  const ownKernel = kernel !== undefined && kernel !== "stock" && kernel !== "hardened";
  const image = {
    ...file.image,
    ...(recipe !== undefined && { recipe: resolve(directory, recipe) }),
    ...(kernel !== undefined && { kernel: ownKernel ? resolve(directory, kernel) : kernel }),
    ...(initrd !== undefined && { initrd: resolve(directory, initrd) }),
  };
  return { ...withApi, image };
}

function withTlsPaths(api: NonNullable<ServerFile["api"]>, directory: string): NonNullable<ServerFile["api"]> {
  const { tlsCertificate, tlsKey } = api;
  return {
    ...api,
    ...(tlsCertificate !== undefined && { tlsCertificate: resolve(directory, tlsCertificate) }),
    ...(tlsKey !== undefined && { tlsKey: resolve(directory, tlsKey) }),
  };
}
