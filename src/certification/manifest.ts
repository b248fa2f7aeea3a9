/** What a change says: `manifest.json` of its package. There is one text for one meaning, so that equal changes have equal digests. */
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import {
  absolutePath,
  commandLine,
  describeProblem,
  fieldOf,
  firstDuplicate,
  memoryMiB,
  moduleName,
  oneWord,
  serviceSchema,
  userId,
  userSchema,
} from "../image/recipe.js";
import { DIGEST_PATTERN } from "./digest.js";
import { CHECKS_LIMIT, FILES_LIMIT, MANIFEST_BYTES_LIMIT, MEMBER_BYTES_LIMIT, PACKAGES_LIMIT, PATH_BYTES_LIMIT } from "./limits.js";

export const FORMAT = 1;

const digest = z.string().regex(DIGEST_PATTERN, "must be a SHA-256 digest of 64 hexadecimal digits");
const debianPackage = z
  .string()
  .max(256)
  .regex(/^[a-z0-9][a-z0-9+.-]+(=[A-Za-z0-9.+:~-]+)?$/, "must be the name of a Debian package, with =VERSION or without");
const size = z.number().int().min(0).max(MEMBER_BYTES_LIMIT);
const mode = z.number().int().min(0).max(0o7777);
const kernelConfig = z
  .string()
  .max(65536)
  .regex(/^((CONFIG_[A-Z0-9_]+=.*|# CONFIG_[A-Z0-9_]+ is not set)?\n)*$/, "must be lines such as CONFIG_X=y or # CONFIG_X is not set");

/** What `change.yaml` and the manifest have in common. */
export const commonFields = {
  name: oneWord.max(64),
  description: z.string().max(4096).default(""),
  packages: z
    .strictObject({
      add: z.array(debianPackage).max(PACKAGES_LIMIT).default([]),
      remove: z.array(debianPackage).max(PACKAGES_LIMIT).default([]),
    })
    .default({ add: [], remove: [] }),
  services: z.array(serviceSchema).max(PACKAGES_LIMIT).default([]),
  users: z.array(userSchema).max(PACKAGES_LIMIT).default([]),
  /** What of the base goes: paths with all under them, services by name. */
  removals: z
    .strictObject({
      files: z.array(absolutePath).max(PACKAGES_LIMIT).default([]),
      services: z.array(oneWord).max(PACKAGES_LIMIT).default([]),
    })
    .default({ files: [], services: [] }),
  kernel: z
    .strictObject({
      kind: z.enum(["stock", "hardened"]).optional(),
      config: kernelConfig.optional(),
      /** The whole lists, in the place of the base's; of a stock kernel. */
      modules: z.array(moduleName).max(PACKAGES_LIMIT).optional(),
      diskModules: z.array(moduleName).max(PACKAGES_LIMIT).optional(),
    })
    .refine((kernel) => Object.values(kernel).some((value) => value !== undefined), "needs kind, config, modules or diskModules")
    .optional(),
  commandLine: commandLine.optional(),
  memoryMiB: memoryMiB.optional(),
  /** The guest's mirrored disk. */
  diskMiB: z.number().int().min(16).max(65536).optional(),
  /** Shell commands run in the guest; one that fails fails the qualification. */
  checks: z
    .array(z.strictObject({ name: oneWord, command: z.string().min(1).max(4096), timeoutSeconds: z.number().int().min(1).max(600) }))
    .max(CHECKS_LIMIT)
    .default([]),
};

const fileEntry = z.discriminatedUnion("kind", [
  z.strictObject({ path: z.string(), kind: z.literal("file"), mode, owner: userId, size, sha256: digest }),
  z.strictObject({ path: z.string(), kind: z.literal("directory"), mode, owner: userId }),
  z.strictObject({ path: z.string(), kind: z.literal("link"), target: z.string() }),
]);

const manifestSchema = z.strictObject({
  format: z.literal(FORMAT),
  base: z.strictObject({ sha256: digest }),
  ...commonFields,
  debs: z
    .array(z.strictObject({ file: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9.+:~_%-]{0,250}\.deb$/), size, sha256: digest }))
    .max(PACKAGES_LIMIT),
  files: z.array(fileEntry).max(FILES_LIMIT),
});

export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestFile = Manifest["files"][number];

/** A refusal names the change by its directory or file. */
export function encodeManifest(manifest: Manifest, source: string): Uint8Array {
  const checked = checkManifest(manifest, source);
  const bytes = Buffer.from(`${JSON.stringify(checked, null, 1)}\n`);
  if (bytes.length > MANIFEST_BYTES_LIMIT)
    throw new SteadfastError("CHANGE_TOO_LARGE", { what: `The manifest of ${source}`, limit: MANIFEST_BYTES_LIMIT });
  return bytes;
}

export function decodeManifest(bytes: Uint8Array, source: string): Manifest {
  if (bytes.length > MANIFEST_BYTES_LIMIT)
    throw new SteadfastError("CHANGE_TOO_LARGE", { what: `The manifest of ${source}`, limit: MANIFEST_BYTES_LIMIT });
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw new SteadfastError("CHANGE_DAMAGED", { file: source, problem: "its manifest is no JSON" });
  }
  return checkManifest(value, source);
}

function checkManifest(value: unknown, source: string): Manifest {
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new SteadfastError("CHANGE_WRONG", { file: source, where: `field ${fieldOf(issue)}`, problem: describeProblem(issue) });
  }
  const manifest = sorted(parsed.data);
  if (isEmpty(manifest)) throw new SteadfastError("CHANGE_EMPTY", { file: source });
  checkNames(manifest, source);
  checkFiles(manifest.files, source);
  return manifest;
}

const byText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

/** What has no order of its own is sorted. Services start and checks run in the order given. */
function sorted(manifest: Manifest): Manifest {
  return {
    ...manifest,
    packages: { add: [...manifest.packages.add].sort(byText), remove: [...manifest.packages.remove].sort(byText) },
    removals: { files: [...manifest.removals.files].sort(byText), services: [...manifest.removals.services].sort(byText) },
    debs: [...manifest.debs].sort((left, right) => byText(left.file, right.file)),
    files: [...manifest.files].sort((left, right) => byText(left.path, right.path)),
  };
}

/** A change that brings nothing but its own checks changes nothing. */
function isEmpty(manifest: Manifest): boolean {
  const lists: (readonly unknown[])[] = [manifest.packages.add, manifest.packages.remove, manifest.debs, manifest.files, manifest.services];
  lists.push(manifest.users, manifest.removals.files, manifest.removals.services);
  const settings = [manifest.kernel, manifest.commandLine, manifest.memoryMiB, manifest.diskMiB];
  return lists.every((list) => list.length === 0) && settings.every((setting) => setting === undefined);
}

function checkNames(manifest: Manifest, source: string): void {
  const packages = [...manifest.packages.add, ...manifest.packages.remove].map((text) => text.split("=")[0] ?? text);
  const fields = {
    packages,
    services: [...manifest.services.map((service) => service.name), ...manifest.removals.services],
    users: manifest.users.map((user) => user.name),
    checks: manifest.checks.map((check) => check.name),
    debs: manifest.debs.map((deb) => deb.file),
    files: [...manifest.files.map((file) => file.path), ...manifest.removals.files],
  };
  for (const [field, names] of Object.entries(fields)) {
    const twice = firstDuplicate(names);
    if (twice === undefined) continue;
    throw new SteadfastError("CHANGE_WRONG", { file: source, where: `field ${field}`, problem: `names ${twice} twice; keep one of them` });
  }
}

function checkFiles(files: readonly ManifestFile[], source: string): void {
  const kinds = new Map(files.map((file) => [file.path, file.kind]));
  for (const file of files) {
    checkPath(file.path, source);
    if (file.kind === "link") checkLink(file.path, file.target, source);
    for (let end = file.path.lastIndexOf("/"); end > 0; end = file.path.lastIndexOf("/", end - 1)) {
      const above = kinds.get(file.path.slice(0, end));
      if (above !== undefined && above !== "directory")
        throw new SteadfastError("CHANGE_PATH", { file: source, path: printable(file.path), problem: `leads through a ${above}` });
    }
  }
}

/** A path in the guest: absolute and normal. Anything else could leave the root that it is written under. */
export function checkPath(path: string, source: string): void {
  const problem = pathProblem(path);
  if (problem !== undefined) throw new SteadfastError("CHANGE_PATH", { file: source, path: printable(path), problem });
}

function pathProblem(path: string): string | undefined {
  if (Buffer.byteLength(path) > PATH_BYTES_LIMIT) return `is longer than ${PATH_BYTES_LIMIT} bytes`;
  if (/[\x00-\x1f\x7f\ufffd]/.test(path)) return "has characters that no path should have";
  const parts = path.split("/").slice(1);
  if (parts.includes("..")) return "leaves the guest's root";
  if (!path.startsWith("/") || parts.includes("") || parts.includes(".")) return "is not absolute and normal, such as /etc/motd";
  return undefined;
}

/** A link may lead anywhere in the guest, and nowhere else: an absolute target has no "..", a relative one does not climb past the root. */
function checkLink(path: string, target: string, source: string): void {
  const wrong = (problem: string): SteadfastError =>
    new SteadfastError("CHANGE_PATH", {
      file: source,
      path: printable(path),
      problem: `is a link to ${printable(target)}, which ${problem}`,
    });
  if (target.startsWith("/")) {
    const problem = pathProblem(target);
    if (problem !== undefined) throw wrong(problem);
    return;
  }
  if (target === "" || Buffer.byteLength(target) > PATH_BYTES_LIMIT || /[\x00-\x1f\x7f\ufffd]/.test(target)) throw wrong("is no path");
  let depth = path.split("/").length - 2;
  for (const part of target.split("/")) {
    if (part === "..") depth -= 1;
    else if (part !== "" && part !== ".") depth += 1;
    if (depth < 0) throw wrong("leaves the guest's root");
  }
}

/** Text of a package for a terminal: it must not move the cursor or fill the screen. */
export function printable(text: string): string {
  const short = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  return short.replace(/[\x00-\x1f\x7f-\x9f]/g, "?");
}
