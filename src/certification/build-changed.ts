/** The image that a base and a change give: found by the base's digest, built by the image room, kept in the same store. */
import { SteadfastError } from "../foundation/errors.js";
import { rebuildImage, type ImageEdit, type ImageLock, type RebuildOptions } from "../image/rebuild.js";
import { cachePaths } from "../image/paths.js";
import { mergedPath } from "../image/contents.js";
import { packageList, type SourceFile } from "../image/source.js";
import { readImages, type ImageRecord } from "../image/store.js";
import { z } from "zod";
import { assert } from "../foundation/assert.js";
import type { ChangePackage } from "./change-package.js";
import { DIGEST_PATTERN } from "./digest.js";
import type { ManifestFile } from "./manifest.js";

/**
 * Builds the changed image, each time anew. The same base and change give the same digest as long as the package versions are the same:
 * those of `lock`, else those of the image of this base and change that is here already, else what Debian's mirror has now.
 * Throws `SteadfastError` for an unknown base, for packages that cannot be had together, and for a kernel that cannot be so configured.
 */
export async function buildChangedImage(change: ChangePackage, options: RebuildOptions = {}): Promise<ImageRecord> {
  const paths = options.paths ?? cachePaths();
  const { sha256: wanted } = change.manifest.base;
  const base = readImages(paths).find((image) => image.digest === wanted);
  if (base === undefined) throw new SteadfastError("CHANGE_BASE_UNKNOWN", { base: wanted });
  return rebuildImage(base, imageEdit(change), { ...options, paths });
}

function imageEdit({ manifest, contents, digest }: ChangePackage): ImageEdit {
  const dataOf = (sha256: string): Uint8Array => {
    const data = contents.get(sha256);
    assert(data !== undefined, `the contents ${sha256} of a change are missing`);
    return data;
  };
  const { name, packages, services, users, removals, commandLine, memoryMiB, diskMiB } = manifest;
  return {
    name,
    provenance: { base: manifest.base.sha256, change: digest },
    packages: { ...packages, debs: manifest.debs.map(({ file, sha256 }) => ({ file, sha256, data: dataOf(sha256) })) },
    files: manifest.files.map((file) => sourceFile(file, dataOf)),
    ...{ removedFiles: removals.files, removedServices: removals.services, services, users },
    kernel: manifest.kernel ?? {},
    ...{ commandLine, memoryMiB, diskMiB },
  };
}

function sourceFile(file: ManifestFile, dataOf: (sha256: string) => Uint8Array): SourceFile {
  const path = mergedPath(file.path);
  if (file.kind === "link") return { path, entry: { kind: "link", target: file.target } };
  const facts = { mode: file.mode, ...(file.owner === 0 ? {} : { owner: file.owner }) };
  if (file.kind === "directory") return { path, entry: { kind: "directory", ...facts } };
  return { path, entry: { kind: "file", data: dataOf(file.sha256), ...facts } };
}

const digest = z.string().regex(DIGEST_PATTERN);
const lockSchema = z.strictObject({
  format: z.literal(1),
  base: digest,
  change: digest,
  packages: packageList,
  kernelPackages: packageList,
});

/** The text of a lock file. */
export function encodeLock(image: ImageRecord, lock: ImageLock): string {
  const { base, change } = image.provenance ?? {};
  return `${JSON.stringify({ format: 1, base, change, ...lock }, null, 1)}\n`;
}

/** Refuses the lock of another change. `file` is named in errors. */
export function decodeLock(text: string, { manifest, digest: change }: ChangePackage, file: string): ImageLock {
  const wrong = (problem: string): SteadfastError => new SteadfastError("CHANGE_LOCK", { file, problem });
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw wrong("it is no JSON");
  }
  const parsed = lockSchema.safeParse(value);
  if (!parsed.success) throw wrong("its fields are not those of a lock");
  if (parsed.data.base !== manifest.base.sha256) throw wrong("it is for another base");
  if (parsed.data.change !== change) throw wrong("it is for another change");
  const { packages, kernelPackages } = parsed.data;
  return { packages, kernelPackages };
}
