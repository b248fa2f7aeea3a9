/** Which packages an image has after a change: what apt makes of the base's list, nothing removed that something needs. */

import { copyFileSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { GUEST_ARCHITECTURE, type AptPackage, type AptPlan, type InstalledSystem, type PrivateApt } from "./apt.js";
import { parseStanza } from "./apt-sources.js";
import { runCommand, stepError } from "./command.js";
import { explaining, makeDirectory, replaceDurably } from "./files.js";
import { BASE_PACKAGE } from "./guest.js";
import { packagePath } from "./packages.js";
import type { CachePaths } from "./paths.js";

export interface PackageEdit {
  /** NAME or NAME=VERSION; one that is there already is taken whole, and in that version. */
  readonly add: readonly string[];
  /** NAME or NAME=VERSION. */
  readonly remove: readonly string[];
  readonly debs: readonly LocalPackage[];
}

export interface LocalPackage {
  readonly file: string;
  readonly sha256: string;
  readonly data: Uint8Array;
}

export const nameOf = (word: string): string => word.split("=")[0] ?? word;

/** In the order in which they are unpacked: by name, and busybox last. */
export function inOrder(packages: readonly AptPackage[]): AptPackage[] {
  const rank = (entry: AptPackage): number => (entry.name === BASE_PACKAGE ? 1 : 0);
  return [...packages].sort((left, right) => rank(left) - rank(right) || (left.name < right.name ? -1 : 1));
}

/** Puts the .deb files of a change into the cache, after a look at what they say they are. */
export async function keepLocalPackages(paths: CachePaths, debs: readonly LocalPackage[], change: string): Promise<AptPackage[]> {
  const kept: AptPackage[] = [];
  makeDirectory(paths.packages);
  for (const deb of debs) {
    const wrong = (detail: string): SteadfastError => new SteadfastError("CHANGE_PACKAGE_WRONG", { package: deb.file, change, detail });
    const place = packagePath(paths, { name: "", version: "", architecture: "", sha256: deb.sha256, bytes: 0, isLocal: true });
    replaceDurably(place, deb.data);
    const result = await runCommand("dpkg-deb", ["--field", place]);
    if (result.exitCode !== 0) throw wrong("dpkg-deb cannot read it");
    const fields = parseStanza(result.output);
    const [name, version, architecture] = ["package", "version", "architecture"].map((field) => fields.get(field) ?? "");
    if (name === undefined || !/^[a-z0-9][a-z0-9+.-]+$/.test(name) || version === undefined || version === "")
      throw wrong("it does not name itself");
    if (architecture !== GUEST_ARCHITECTURE && architecture !== "all") throw wrong(`it is for ${architecture ?? "nothing"}`);
    kept.push({ name, version, architecture, sha256: deb.sha256, bytes: deb.data.length, isLocal: true });
  }
  return kept;
}

/** The control data of packages in the cache as dpkg's status file of a system that has them. */
async function statusOf(paths: CachePaths, packages: readonly AptPackage[]): Promise<string> {
  let status = "";
  for (const entry of packages) {
    const result = await runCommand("dpkg-deb", ["--field", packagePath(paths, entry)]);
    if (result.exitCode !== 0) throw stepError(`reading what ${entry.name} says of itself`, result);
    status += `${result.output.trimEnd()}\nStatus: install ok installed\n\n`;
  }
  return status;
}

interface Planning {
  readonly apt: PrivateApt;
  readonly paths: CachePaths;
  /** Of the base, all of them in the cache. */
  readonly base: readonly AptPackage[];
  /** Those that the base's recipe names; the others are there because these need them. */
  readonly wanted: readonly string[];
  readonly edit: PackageEdit;
  readonly change: string;
  /** For apt's files, empty. */
  readonly directory: string;
}

/** All packages of the changed image. */
export async function planPackages(planning: Planning): Promise<AptPackage[]> {
  const { apt, paths, base, edit, change, directory } = planning;
  await checkWords(planning);
  const local = await keepLocalPackages(paths, edit.debs, change);
  const files = local.map((entry, index) => {
    // apt takes a file for a package only by its name.
    const place = join(directory, `local-${index}.deb`);
    explaining(directory, () => copyFileSync(packagePath(paths, entry), place));
    return place;
  });
  const removals = edit.remove.map((word) => `${nameOf(word)}-`);
  const system = await systemOf(planning);
  const outcome = await apt.plan(system, [...edit.add, ...files, ...removals], directory);
  if ("refusal" in outcome) throw new SteadfastError("CHANGE_PACKAGES_CONFLICT", { change, detail: outcome.refusal });
  await checkRemovals(planning, system, outcome);
  const final =
    edit.remove.length === 0 ? outcome : await apt.plan({ ...system, dropsUnused: true }, [...edit.add, ...files, ...removals], directory);
  if ("refusal" in final) throw new SteadfastError("CHANGE_PACKAGES_CONFLICT", { change, detail: final.refusal });
  return resultOf(apt, base, final, local);
}

async function checkWords({ apt, base, edit, change }: Planning): Promise<void> {
  for (const word of edit.add) {
    const isThere = base.some((entry) => word === entry.name || word === `${entry.name}=${entry.version}`);
    if (!isThere && !(await apt.knows(word))) throw new SteadfastError("CHANGE_PACKAGE_UNKNOWN", { change, package: word });
  }
  for (const word of edit.remove) {
    const isThere = base.some((entry) => word === entry.name || word === `${entry.name}=${entry.version}`);
    if (!isThere) throw new SteadfastError("CHANGE_PACKAGE_ABSENT", { change, package: word });
    if (nameOf(word) === BASE_PACKAGE) throw new SteadfastError("CHANGE_PACKAGE_NEEDED", { change, package: word, needers: "every guest" });
  }
}

async function systemOf({ paths, base, wanted }: Planning): Promise<InstalledSystem> {
  const isWanted = new Set([...wanted, BASE_PACKAGE]);
  const automatic = base.map((entry) => entry.name).filter((name) => !isWanted.has(name));
  return { status: await statusOf(paths, base), automatic, dropsUnused: false };
}

/** Nothing goes but what was named. */
async function checkRemovals({ apt, edit, change, directory }: Planning, system: InstalledSystem, outcome: AptPlan): Promise<void> {
  const asked = new Set(edit.remove.map(nameOf));
  const others = outcome.removes.filter((name) => !asked.has(name));
  if (others.length === 0) return;
  for (const name of asked) {
    const alone = await apt.plan(system, [`${name}-`], directory);
    const needers = "refusal" in alone ? others : alone.removes.filter((other) => !asked.has(other));
    if (needers.length > 0) throw new SteadfastError("CHANGE_PACKAGE_NEEDED", { change, package: name, needers: needers.join(", ") });
  }
  throw new SteadfastError("CHANGE_PACKAGES_CONFLICT", { change, detail: `${others.join(", ")} would have to go` });
}

async function resultOf(apt: PrivateApt, base: readonly AptPackage[], plan: AptPlan, local: readonly AptPackage[]): Promise<AptPackage[]> {
  const result = new Map(base.map((entry) => [entry.name, entry]));
  for (const name of plan.removes) result.delete(name);
  const brought = new Map(local.map((entry) => [`${entry.name}=${entry.version}`, entry]));
  const words = plan.installs.map(({ name, version }) => `${name}=${version}`);
  const fromMirror = words.filter((word) => !brought.has(word));
  const described = fromMirror.length === 0 ? [] : await apt.describe(fromMirror);
  for (const entry of described) result.set(entry.name, entry);
  for (const entry of local) if (words.includes(`${entry.name}=${entry.version}`)) result.set(entry.name, entry);
  return inOrder([...result.values()]);
}
