/** Makes a change of Debian package files, or of what differs between two recipes. */
import { basename } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { recipeFiles } from "../image/contents.js";
import { loadRecipe, type Recipe } from "../image/recipe.js";
import type { SourceFile } from "../image/source.js";
import { sha256 } from "../image/store.js";
import { encodePackage, readLimited } from "./change-package.js";
import { baseOf, DEB_MAGIC, type MadeChange } from "./create.js";
import { MEMBER_BYTES_LIMIT } from "./limits.js";
import { FORMAT, type Manifest, type ManifestFile } from "./manifest.js";

type Parts = Partial<Omit<Manifest, "format" | "base">> & { readonly name: string };

function encode(parts: Parts, base: string, contents: ReadonlyMap<string, Uint8Array>, source: string): MadeChange {
  const nothing = {
    ...{ description: "", packages: { add: [], remove: [] }, services: [], users: [], removals: { files: [], services: [] } },
    ...{ checks: [], debs: [], files: [] },
  };
  // The order of the fields is that of a change made of a directory; the manifest's schema gives it.
  const manifest: Manifest = { format: FORMAT, base: { sha256: baseOf(base) }, ...nothing, ...parts };
  const bytes = encodePackage(manifest, contents, source);
  return { bytes, digest: sha256(bytes) };
}

/** A change that installs these files. */
export function createFromDebs(files: readonly string[], base: string, name?: string): MadeChange {
  const contents = new Map<string, Uint8Array>();
  const debs = files.map((path) => {
    const data = readLimited(path, MEMBER_BYTES_LIMIT);
    if (!path.endsWith(".deb") || Buffer.from(data.subarray(0, DEB_MAGIC.length)).toString("latin1") !== DEB_MAGIC)
      throw new SteadfastError("CHANGE_PATH", { file: name ?? path, path, problem: "is not a Debian package" });
    const digest = sha256(data);
    contents.set(digest, data);
    return { file: basename(path), size: data.length, sha256: digest };
  });
  const [first = ""] = files.map((path) => basename(path).split("_")[0] ?? "");
  return encode({ name: name ?? first, debs }, base, contents, files.join(", "));
}

/** A change that makes of an image of the old recipe one of the new recipe. What no change can say is refused. */
export function createFromRecipes(oldPath: string, newPath: string, base: string, name?: string): MadeChange {
  const [before, after] = [loadRecipe(oldPath), loadRecipe(newPath)];
  refuseInexpressible(before, after, newPath);
  const contents = new Map<string, Uint8Array>();
  const filesBefore = new Map(recipeFiles(before, oldPath).map((file) => [file.path, file]));
  const filesAfter = recipeFiles(after, newPath);
  const differing = filesAfter.filter((file) => !isSame(filesBefore.get(file.path), file));
  const files = differing.map((file) => manifestFile(file, contents));
  const remaining = new Set(filesAfter.map(({ path }) => path));
  const parts: Parts = {
    name: name ?? after.name,
    packages: { add: without(after.packages, before.packages), remove: without(before.packages, after.packages) },
    removals: {
      files: [...[...filesBefore.keys()].filter((path) => !remaining.has(path)), ...without(after.exclude, before.exclude)],
      services: without(names(before.services), names(after.services)),
    },
    services: differingEntries(before.services, after.services),
    users: differingEntries(before.users, after.users),
    ...kernelPart(before, after),
    ...(before.commandLine === after.commandLine ? {} : { commandLine: after.commandLine }),
    ...(before.memoryMiB === after.memoryMiB ? {} : { memoryMiB: after.memoryMiB }),
    files,
  };
  return encode(parts, base, contents, newPath);
}

const names = (entries: readonly { readonly name: string }[]): string[] => entries.map(({ name }) => name);
const without = (all: readonly string[], others: readonly string[]): string[] => all.filter((entry) => !others.includes(entry));
const isEqual = (left: unknown, right: unknown): boolean => JSON.stringify(left) === JSON.stringify(right);

function differingEntries<T extends { readonly name: string }>(before: readonly T[], after: readonly T[]): T[] {
  return after.filter((entry) => !before.some((other) => isEqual(other, entry)));
}

function refuseInexpressible(before: Recipe, after: Recipe, file: string): void {
  const wrong = (problem: string): SteadfastError => new SteadfastError("CHANGE_RECIPES", { file, problem });
  if (!isEqual(before.include, after.include)) throw wrong("`include` differs; add the package or the files instead");
  const [shown] = without(before.exclude, after.exclude);
  if (shown !== undefined) throw wrong(`${shown} is excluded no more; add it under files instead`);
  const [lost] = without(names(before.users), names(after.users));
  if (lost !== undefined) throw wrong(`the user ${lost} is gone, and a change cannot remove users`);
  if (typeof after.kernel !== "string" && !isEqual(before.kernel, after.kernel)) throw wrong("it brings a kernel of its own");
}

function kernelPart(before: Recipe, after: Recipe): Pick<Manifest, "kernel"> {
  const kernel: NonNullable<Manifest["kernel"]> = {};
  if (before.kernel !== after.kernel && typeof after.kernel === "string") kernel.kind = after.kernel;
  if (after.kernel === "stock" && !isEqual(before.modules, after.modules)) kernel.modules = after.modules;
  if (after.kernel === "stock" && !isEqual(before.diskModules, after.diskModules)) kernel.diskModules = after.diskModules;
  return Object.keys(kernel).length === 0 ? {} : { kernel };
}

function isSame(before: SourceFile | undefined, after: SourceFile): boolean {
  return before !== undefined && isEqual(manifestFile(before, new Map()), manifestFile(after, new Map()));
}

function manifestFile({ path, entry }: SourceFile, contents: Map<string, Uint8Array>): ManifestFile {
  if (entry.kind === "link") return { path, kind: "link", target: entry.target };
  const { mode, owner = 0 } = entry;
  if (entry.kind === "directory") return { path, kind: "directory", mode, owner };
  const digest = sha256(entry.data);
  contents.set(digest, entry.data);
  return { path, kind: "file", mode, owner, size: entry.data.length, sha256: digest };
}
