/** Chooses what of the unpacked packages goes into an image: the asked-for files, and every library that their programs load. */

import { readFileSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import type { GuestEntry, GuestTree } from "./cpio.js";
import { readElfNeeds } from "./elf-needed.js";
import { addCommandLinks, addGuestBase, BASE_PROGRAM } from "./guest.js";
import type { Recipe, RecipeFile } from "./recipe.js";
import type { Composition, SourceFile } from "./source.js";
import type { TarMember } from "./tar.js";

/** Where the guest's loader looks, in its order. */
const LIBRARY_DIRECTORIES = ["/usr/lib/riscv64-linux-gnu", "/usr/lib", "/usr/lib/riscv64-linux-gnu/systemd"];
/** Of no use in an image without a package manager and without people who read manuals there. */
const NEVER_INCLUDED = [
  /^\/usr\/share\/(doc|man|info|locale|lintian|bash-completion|bug|doc-base|menu|zsh|fish|apport|debconf|i18n)(\/|$)/,
  /^\/(etc|usr\/lib)\/systemd\/system(\/|$)/,
  /^\/etc\/(init\.d|rc[0-9S]\.d|logrotate\.d|apt|cron\.[a-z]+|ufw|insserv.*)(\/|$)/,
  /^\/usr\/lib\/riscv64-linux-gnu\/(gconv|perl.*)(\/|$)/,
  /\.a$/,
];
/** Links to links end somewhere; a circle must not keep us busy. */
const LINK_DEPTH_LIMIT = 16;

/** Everything that the packages contain, by absolute path, with /bin, /sbin and /lib counted as their /usr counterparts. */
export class PackageContents {
  private readonly members = new Map<string, TarMember>();
  private readonly owners = new Map<string, string>();

  /** `owner` is the package that brings it. */
  add(member: TarMember, owner = ""): void {
    const path = mergedPath(member.path);
    if (member.kind === "directory" && this.members.has(path)) return;
    this.members.set(path, { ...member, path });
    this.owners.set(path, owner);
  }

  get(path: string): TarMember | undefined {
    return this.members.get(mergedPath(path));
  }

  /** A path and, when it is a directory, everything under it. */
  under(path: string): TarMember[] {
    const whole = mergedPath(path);
    const prefix = whole + "/";
    return [...this.members.values()].filter((member) => member.path === whole || member.path.startsWith(prefix));
  }

  /** The package that brought a path last. */
  ownerOf(path: string): string | undefined {
    return this.owners.get(mergedPath(path));
  }

  all(): TarMember[] {
    return [...this.members.values()];
  }

  /** The file that a path leads to through its links. */
  resolve(path: string): TarMember | undefined {
    let current = mergedPath(path);
    for (let depth = 0; depth < LINK_DEPTH_LIMIT; depth++) {
      const member = this.members.get(current);
      if (member === undefined) return undefined;
      if (member.kind === "link") current = linkTarget(member);
      else if (member.kind === "hardLink") current = mergedPath(member.target);
      else return member;
    }
    return undefined;
  }
}

/** Debian's packages are split between / and /usr by history; a Debian 13 system has them merged. */
export function mergedPath(path: string): string {
  return /^\/(bin|sbin|lib)(\/|$)/.test(path) ? `/usr${path}` : path;
}

export function linkTarget(member: TarMember): string {
  const from = member.target.startsWith("/") ? [] : member.path.split("/").slice(0, -1);
  const parts: string[] = [];
  for (const part of [...from, ...member.target.split("/")]) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return mergedPath("/" + parts.join("/"));
}

/** The whole tree of an image, from packages, recipe and our own base. */
export function composeTree(contents: PackageContents, composition: Composition, recipeFile: string): GuestTree {
  const { recipe, files, whole, guest } = composition;
  const tree: GuestTree = new Map();
  addGuestBase(tree, recipe, guest);
  takeMember(tree, contents, contents.get(BASE_PROGRAM));
  if (recipe.include === undefined) takeEverything(tree, contents, recipe, () => true);
  else {
    for (const path of recipe.include) {
      const members = contents.under(path);
      if (members.length === 0) throw new SteadfastError("RECIPE_PATH_UNKNOWN", { file: recipeFile, path });
      for (const member of members) if (!isExcluded(member.path, recipe)) takeMember(tree, contents, member);
    }
    const owners = new Set(whole);
    takeEverything(tree, contents, recipe, (path) => owners.has(contents.ownerOf(path) ?? ""));
  }
  for (const { path, entry } of files) tree.set(mergedPath(path), entry);
  addLibraries(tree, contents, recipeFile);
  addCommandLinks(tree, guest);
  return tree;
}

function takeEverything(tree: GuestTree, contents: PackageContents, recipe: Recipe, isWanted: (path: string) => boolean): void {
  for (const member of contents.all()) {
    if (!isWanted(member.path)) continue;
    if (NEVER_INCLUDED.some((pattern) => pattern.test(member.path)) || isExcluded(member.path, recipe)) continue;
    takeMember(tree, contents, member);
  }
}

function isExcluded(path: string, recipe: Recipe): boolean {
  return recipe.exclude.some((excluded) => path === mergedPath(excluded) || path.startsWith(mergedPath(excluded) + "/"));
}

/** Takes a member and, for a link, what it leads to. What our own base has set stays. */
function takeMember(tree: GuestTree, contents: PackageContents, member: TarMember | undefined): void {
  for (let depth = 0; member !== undefined && depth < LINK_DEPTH_LIMIT; depth++) {
    const present = tree.get(member.path);
    if (present !== undefined && present.kind !== "directory") return;
    const entry = toEntry(contents, member);
    if (entry !== undefined && present === undefined) tree.set(member.path, entry);
    if (member.kind !== "link") return;
    const next = contents.get(linkTarget(member));
    member = next?.kind === "directory" ? undefined : next;
  }
}

function toEntry(contents: PackageContents, member: TarMember): GuestEntry | undefined {
  switch (member.kind) {
    case "directory":
      return { kind: "directory", mode: member.mode };
    case "link":
      return { kind: "link", target: member.target };
    case "hardLink": {
      const original = contents.resolve(member.target);
      return original === undefined ? undefined : { kind: "file", mode: original.mode, data: original.data };
    }
    case "file":
      return { kind: "file", mode: member.mode, data: member.data };
  }
}

/** The files of a recipe with what is in them. */
export function recipeFiles(recipe: Recipe, recipeFile: string): SourceFile[] {
  return recipe.files.map((file) => ({ path: mergedPath(file.path), entry: recipeEntry(file, recipeFile) }));
}

function recipeEntry(file: RecipeFile, recipeFile: string): SourceFile["entry"] {
  const owner = file.owner === undefined ? {} : { owner: file.owner };
  if (file.directory === true) return { kind: "directory", mode: Number.parseInt(file.mode ?? "0755", 8), ...owner };
  if (file.link !== undefined) return { kind: "link", target: file.link };
  const data = file.source === undefined ? new TextEncoder().encode(file.content) : readFileOf(file.source, recipeFile, file.path);
  return { kind: "file", mode: Number.parseInt(file.mode ?? "0644", 8), data, ...owner };
}

function readFileOf(source: string, recipeFile: string, path: string): Uint8Array {
  try {
    return readFileSync(source);
  } catch (error) {
    const problem = `cannot be read: ${String((error as NodeJS.ErrnoException).code)} at ${source}; correct its source`;
    throw new SteadfastError("RECIPE_WRONG", { file: recipeFile, where: `files entry ${path}`, problem });
  }
}

/** Adds the loader and the libraries of every program in the tree, and of those libraries, until nothing is missing. */
function addLibraries(tree: GuestTree, contents: PackageContents, recipeFile: string): void {
  const queue = [...tree.entries()].filter(([, entry]) => entry.kind === "file");
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    const [path, entry] = next;
    if (entry.kind !== "file") continue;
    const needs = readElfNeeds(entry.data);
    if (needs === undefined) continue;
    const wanted = needs.libraries.map((library) => findLibrary(tree, contents, library) ?? missingLibrary(path, library, recipeFile));
    if (needs.interpreter !== undefined) wanted.push(mergedPath(needs.interpreter));
    for (const place of wanted) {
      if (tree.has(place)) continue;
      const member = contents.get(place) ?? missingLibrary(path, place, recipeFile);
      takeMember(tree, contents, member);
      const file = contents.resolve(place);
      const added = file === undefined ? undefined : tree.get(file.path);
      if (file !== undefined && added !== undefined) queue.push([file.path, added]);
    }
  }
}

function findLibrary(tree: GuestTree, contents: PackageContents, library: string): string | undefined {
  if (library.includes("/")) return mergedPath(library);
  return LIBRARY_DIRECTORIES.map((directory) => `${directory}/${library}`).find(
    (path) => tree.has(path) || contents.get(path) !== undefined,
  );
}

function missingLibrary(program: string, library: string, file: string): never {
  throw new SteadfastError("LIBRARY_MISSING", { program, library, file });
}
