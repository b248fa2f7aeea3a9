/** Debian packages on disk: a cache of verified .deb files, and their contents. */

import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import type { AptPackage, PrivateApt } from "./apt.js";
import { runCommand, stepError } from "./command.js";
import { explaining, hashFile, makeDirectory, makeTemporaryDirectory } from "./files.js";
import type { CachePaths } from "./paths.js";
import { TarError, TarReader, type TarMember } from "./tar.js";

export function packagePath(paths: CachePaths, entry: AptPackage): string {
  if (entry.isLocal === true) return join(paths.packages, `local-${entry.sha256}.deb`);
  // A colon (of an epoch) is legal in a file name, but not everywhere.
  return join(paths.packages, `${entry.name}_${entry.version}_${entry.architecture}.deb`.replaceAll(":", "%3a"));
}

/** Fetches what is not in the cache, and checks what is: a damaged .deb is fetched again, a wrong one ends the build. */
export async function fetchPackages(apt: Pick<PrivateApt, "download">, paths: CachePaths, packages: readonly AptPackage[]): Promise<void> {
  makeDirectory(paths.packages);
  const missing: AptPackage[] = [];
  for (const entry of packages) {
    const path = packagePath(paths, entry);
    if (existsSync(path) && (await hashFile(path)) === entry.sha256) continue;
    if (entry.isLocal === true) throw new SteadfastError("PACKAGE_DAMAGED", { package: `${entry.name} ${entry.version}` });
    missing.push(entry);
  }
  if (missing.length === 0) return;
  const temporary = makeTemporaryDirectory(paths.temporary);
  try {
    await apt.download(missing, temporary);
    for (const entry of missing) {
      const arrived = join(temporary, downloadedName(entry));
      if (!existsSync(arrived) || (await hashFile(arrived)) !== entry.sha256) {
        throw new SteadfastError("PACKAGE_DAMAGED", { package: `${entry.name} ${entry.version}` });
      }
      explaining(paths.packages, () => renameSync(arrived, packagePath(paths, entry)));
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** apt's own way to name a .deb. */
function downloadedName(entry: AptPackage): string {
  return `${entry.name}_${entry.version.replaceAll(":", "%3a")}_${entry.architecture}.deb`;
}

/** Reads the members of a .deb that the caller wants. */
export async function readPackage(
  deb: string,
  wanted: (path: string) => boolean,
  onMember: (member: TarMember) => void,
  signal?: AbortSignal,
): Promise<void> {
  const reader = new TarReader(wanted, onMember);
  let broken: TarError | undefined;
  const onOutput = (chunk: Buffer) => {
    try {
      if (broken === undefined) reader.push(chunk);
    } catch (error) {
      if (!(error instanceof TarError)) throw error;
      broken = error;
    }
  };
  const result = await runCommand("dpkg-deb", ["--fsys-tarfile", deb], { onOutput, signal });
  if (result.exitCode !== 0) throw stepError(`unpacking ${deb}`, result);
  try {
    if (broken === undefined) reader.end();
  } catch (error) {
    broken = error as TarError;
  }
  if (broken !== undefined) throw new SteadfastError("IMAGE_STEP_FAILED", { step: `unpacking ${deb}`, detail: broken.message });
}
