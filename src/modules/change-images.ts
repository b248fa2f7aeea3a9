/** The images that a change leads from and to: found in the cache, read, and made a part of a server's plan. */
import { readFile } from "node:fs/promises";
import { SteadfastError } from "../foundation/errors.js";
import { readCpio } from "../image/cpio-reader.js";
import type { GuestTree } from "../image/cpio.js";
import { cachePaths } from "../image/paths.js";
import { readSource } from "../image/source.js";
import { readImages, type ImageRecord, type MeasuredImage } from "../image/store.js";
import type { Manifest } from "../certification/manifest.js";
import { packageFile, readChangeRecords } from "./change-records.js";
import type { ServerPaths } from "./management-paths.js";
import type { PlannedImage, ServerPlan } from "./management-plan.js";
import { readPackageFacts } from "./package-reader.js";

/**
 * The manifest of a change that somebody asks for: its package is here, it is for the image that runs, and makes the one that is named.
 *
 * @throws SteadfastError
 */
export async function askedChange(
  paths: ServerPaths,
  running: string,
  { image, change }: { readonly image: string; readonly change: string },
): Promise<Manifest> {
  const { manifest, digest } = await readPackageFacts(packageFile(paths, change));
  if (digest !== change) throw new SteadfastError("CHANGE_NOT_THAT", { wanted: change, found: digest });
  if (manifest.base.sha256 !== running) throw new SteadfastError("CHANGE_NOT_FOR_SERVER", { base: manifest.base.sha256, running });
  const { provenance } = imageOf(image);
  if (provenance?.base !== running || provenance.change !== change)
    throw new SteadfastError("CHANGE_NOT_THAT", { wanted: change, found: provenance?.change ?? "none" });
  return manifest;
}

/** @throws SteadfastError CHANGE_IMAGE_UNKNOWN */
export function imageOf(digest: string): ImageRecord {
  const found = readImages(cachePaths()).find((image) => image.digest === digest);
  if (found === undefined) throw new SteadfastError("CHANGE_IMAGE_UNKNOWN", { image: digest });
  return found;
}

export async function treeOf(image: ImageRecord): Promise<GuestTree> {
  const archive = await readFile(image.initrdPath);
  return readCpio(archive);
}

/** What the plan has of an image that takes the place of its own. Words that the server file adds to the command line stay. */
export function plannedImage({ image, firstImage }: ServerPlan, target: ImageRecord, { files }: MeasuredImage): PlannedImage {
  if (firstImage?.digest === target.digest) return firstImage;
  const { name, digest, kernelKind, kernelRelease, kernelPath, initrdPath, directory } = target;
  const services =
    readSource(directory)?.recipe.services.map((service) => ({ name: service.name, ports: service.ports })) ?? image.services;
  const { addedWords } = image;
  const commandLine = addedWords === undefined ? target.commandLine : `${target.commandLine} ${addedWords}`;
  const facts = { name, digest, kernelKind, kernelRelease, kernelPath, initrdPath, services, files, commandLine };
  return { ...facts, ...(addedWords !== undefined && { addedWords }) };
}

/** The image that a server starts with that is to start with this one: changes were installed on it. */
export function installedOver(paths: ServerPaths, digest: string): ImageRecord | null {
  const { boots } = readChangeRecords(paths);
  if (boots === null || boots.over !== digest) return null;
  return imageOf(boots.image);
}
