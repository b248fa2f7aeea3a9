/** Makes a change of a directory: `change.yaml` says what cannot be a file, `files/` is laid over the guest's root, `debs/` is installed. */
import { lstatSync, readdirSync, readlinkSync, type Stats } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { fileMode, parseYaml, userId } from "../image/recipe.js";
import { sha256 } from "../image/store.js";
import { encodePackage, readLimited } from "./change-package.js";
import { parseDigest } from "./digest.js";
import { CHANGE_FILE_BYTES_LIMIT, FILES_LIMIT, MEMBER_BYTES_LIMIT, PACKAGE_BYTES_LIMIT, TREE_DEPTH_LIMIT } from "./limits.js";
import { checkPath, commonFields, FORMAT, type Manifest, type ManifestFile } from "./manifest.js";

const changeSchema = z.strictObject({
  ...commonFields,
  /** Mode and owner of what is in `files/`, where they are not the usual ones. */
  files: z
    .array(z.strictObject({ path: z.string(), mode: fileMode.optional(), owner: userId.optional() }))
    .max(FILES_LIMIT)
    .default([]),
});

type Attributes = z.infer<typeof changeSchema>["files"][number];

export const DEB_MAGIC = "!<arch>\n";

/** Of the package that is made: its bytes and their digest. */
export interface MadeChange {
  readonly bytes: Uint8Array;
  readonly digest: string;
}

/** The digest of a base image as a person wrote it. */
export function baseOf(text: string): string {
  const digest = parseDigest(text);
  if (digest === undefined) throw new SteadfastError("CHANGE_BASE", { base: text });
  return digest;
}

export function createChange(directory: string, base: string): MadeChange {
  const baseDigest = baseOf(base);
  const { files: attributes, ...change } = readChangeFile(join(directory, "change.yaml"));
  const collector = new Collector(directory, attributes);
  collector.collectFiles();
  collector.collectDebs();
  const manifest = { format: FORMAT, base: { sha256: baseDigest }, ...change, debs: collector.debs, files: collector.files } as const;
  const bytes = encodePackage(manifest, collector.contents, directory);
  return { bytes, digest: sha256(bytes) };
}

function readChangeFile(path: string): z.infer<typeof changeSchema> {
  const text = Buffer.from(readLimited(path, CHANGE_FILE_BYTES_LIMIT)).toString("utf8");
  return parseYaml(text, changeSchema, (where, problem) => new SteadfastError("CHANGE_WRONG", { file: path, where, problem }));
}

class Collector {
  readonly contents = new Map<string, Uint8Array>();
  readonly files: ManifestFile[] = [];
  readonly debs: Manifest["debs"] = [];
  private readonly attributes: Map<string, Attributes>;
  private bytes = 0;

  constructor(
    private readonly directory: string,
    attributes: readonly Attributes[],
  ) {
    for (const { path } of attributes) checkPath(path, join(directory, "change.yaml"));
    this.attributes = new Map(attributes.map((entry) => [entry.path, entry]));
  }

  collectFiles(): void {
    if (lstatOrNone(join(this.directory, "files")) !== undefined) this.collectDirectory("", 0);
    const present = new Set(this.files.map((file) => file.path));
    for (const path of this.attributes.keys()) {
      if (present.has(path)) continue;
      const problem = `names ${path}, which is not in files/; add it there or remove the entry`;
      throw new SteadfastError("CHANGE_WRONG", { file: join(this.directory, "change.yaml"), where: "field files", problem });
    }
  }

  collectDebs(): void {
    const directory = join(this.directory, "debs");
    if (lstatOrNone(directory) === undefined) return;
    for (const file of entriesOf(directory)) {
      const path = join(directory, file);
      const facts = lstatSync(path);
      if (!facts.isFile()) throw this.refused(path, "is not a plain file");
      const content = this.content(path);
      if (!file.endsWith(".deb") || Buffer.from(content.data.subarray(0, DEB_MAGIC.length)).toString("latin1") !== DEB_MAGIC)
        throw this.refused(path, "is not a Debian package");
      this.debs.push({ file, size: content.data.length, sha256: content.digest });
    }
  }

  /** `path` is that of the guest, empty for its root. */
  private collectDirectory(path: string, depth: number): void {
    const directory = join(this.directory, "files", path);
    if (depth > TREE_DEPTH_LIMIT) throw this.refused(directory, `is more than ${TREE_DEPTH_LIMIT} directories deep`);
    const names = entriesOf(directory);
    // Directories on the way to a file are there in the guest, or made as usual.
    const isNamed = this.attributes.has(path) || (names.length === 0 && path !== "");
    if (isNamed) this.files.push({ path, kind: "directory", mode: this.mode(path, 0o755), owner: this.owner(path) });
    for (const name of names) {
      const child = `${path}/${name}`;
      checkPath(child, this.directory);
      const facts = lstatSync(join(directory, name));
      if (facts.isDirectory()) this.collectDirectory(child, depth + 1);
      else this.files.push(this.entry(child, facts));
      if (this.files.length > FILES_LIMIT) throw this.refused(directory, `brings more than ${FILES_LIMIT} files`);
    }
  }

  private entry(path: string, facts: Stats): ManifestFile {
    const source = join(this.directory, "files", path);
    if (facts.isSymbolicLink()) {
      if (this.attributes.has(path)) throw this.refused(path, "is a link, which has neither mode nor owner");
      return { path, kind: "link", target: readlinkSync(source) };
    }
    if (!facts.isFile()) throw this.refused(path, "is a device, pipe or socket, which a change cannot bring");
    if (facts.nlink > 1) throw this.refused(path, "has another name too (a hard link); copy it");
    const { data, digest } = this.content(source);
    // Only "executable or not" is taken from the host: its umask must not be part of the digest.
    const usual = (facts.mode & 0o111) !== 0 ? 0o755 : 0o644;
    return { path, kind: "file", mode: this.mode(path, usual), owner: this.owner(path), size: data.length, sha256: digest };
  }

  private content(path: string): { data: Uint8Array; digest: string } {
    const data = readLimited(path, MEMBER_BYTES_LIMIT);
    this.bytes += data.length;
    if (this.bytes > PACKAGE_BYTES_LIMIT)
      throw new SteadfastError("CHANGE_TOO_LARGE", { what: `The change ${this.directory}`, limit: PACKAGE_BYTES_LIMIT });
    const digest = sha256(data);
    this.contents.set(digest, data);
    return { data, digest };
  }

  private mode(path: string, usual: number): number {
    const written = this.attributes.get(path)?.mode;
    return written === undefined ? usual : Number.parseInt(written, 8);
  }

  private owner(path: string): number {
    return this.attributes.get(path)?.owner ?? 0;
  }

  private refused(path: string, problem: string): SteadfastError {
    return new SteadfastError("CHANGE_PATH", { file: this.directory, path, problem });
  }
}

function lstatOrNone(path: string): Stats | undefined {
  return lstatSync(path, { throwIfNoEntry: false });
}

function entriesOf(directory: string): string[] {
  try {
    if (lstatSync(directory).isSymbolicLink())
      throw new SteadfastError("CHANGE_UNREADABLE", { file: directory, detail: "it is a link, not a directory" });
    return readdirSync(directory).sort();
  } catch (error) {
    if (error instanceof SteadfastError) throw error;
    throw new SteadfastError("CHANGE_UNREADABLE", { file: directory, detail: (error as NodeJS.ErrnoException).code ?? String(error) });
  }
}
