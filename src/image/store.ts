/** Finished images: one directory each, named by its digest, complete or absent. */

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { publishDirectory, replaceDurably, writeDurably } from "./files.js";
import type { CachePaths } from "./paths.js";
import { encodeSource, SOURCE_FILE, type ImageSource } from "./source.js";

const CONFIGURATION_FILE = "config";

export interface ImagePackage {
  readonly name: string;
  readonly version: string;
  readonly sha256: string;
}

/** Digests of an image and of a change package. */
export interface ImageProvenance {
  readonly base: string;
  readonly change: string;
}

export interface ImageRecord {
  readonly name: string;
  /** SHA-256 over kernel, initrd, command line, memory, package list and provenance: what the guest starts from, nothing else. */
  readonly digest: string;
  readonly kernelKind: "stock" | "hardened" | "own";
  readonly kernelRelease: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
  readonly packages: readonly ImagePackage[];
  readonly builtAt: string;
  /** The size of the guest's disk that the image asks for, where one does. */
  readonly diskMiB?: number | undefined;
  /** The image and the change that this one was made of; absent for one made from a recipe. Part of the digest. */
  readonly provenance?: ImageProvenance | undefined;
  /** What the image was asked to be, and what it was made from: to find it again without building. */
  readonly recipeKey: string;
  readonly inputsKey: string;
  readonly directory: string;
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly kernelBytes: number;
  readonly initrdBytes: number;
}

export interface ImageContent {
  readonly name: string;
  readonly kernelKind: ImageRecord["kernelKind"];
  readonly kernelRelease: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
  readonly packages: readonly ImagePackage[];
  readonly recipeKey: string;
  readonly inputsKey: string;
  readonly diskMiB?: number | undefined;
  readonly provenance?: ImageProvenance | undefined;
  /** What changes are built on; an imported image has none. */
  readonly source?: ImageSource | undefined;
  /** The kernel's whole configuration, where it is known. */
  readonly configuration?: string | undefined;
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
}

/** What image.json holds: everything that does not follow from where the image lies. */
type StoredRecord = Omit<ImageRecord, "directory" | "kernelPath" | "initrdPath" | "kernelBytes" | "initrdBytes">;

export function sha256(...parts: readonly (Uint8Array | string)[]): string {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
}

/** What the digest of an image covers, beside the digests of kernel and initrd. */
export type ImageFacts = Pick<
  ImageRecord,
  "name" | "kernelKind" | "kernelRelease" | "commandLine" | "memoryMiB" | "packages" | "diskMiB" | "provenance"
>;

export interface FileDigests {
  readonly kernel: string;
  readonly initrd: string;
}

export function imageDigest(content: ImageContent): string {
  return digestOfParts(content, { kernel: sha256(content.kernel), initrd: sha256(content.initrd) });
}

export function digestOfParts(facts: ImageFacts, { kernel, initrd }: FileDigests): string {
  const { name, kernelKind, kernelRelease, commandLine, memoryMiB, packages, diskMiB, provenance } = facts;
  // What is undefined leaves no trace in the text.
  return sha256(JSON.stringify({ name, kernelKind, kernelRelease, commandLine, memoryMiB, packages, kernel, initrd, diskMiB, provenance }));
}

export function storeImage(paths: CachePaths, content: ImageContent): ImageRecord {
  const { name, kernelKind, kernelRelease, commandLine, memoryMiB, packages, diskMiB, provenance, recipeKey, inputsKey } = content;
  const digest = imageDigest(content);
  const directory = join(paths.images, digest);
  const facts = { name, digest, kernelKind, kernelRelease, commandLine, memoryMiB, packages, diskMiB, provenance };
  const stored: StoredRecord = { ...facts, builtAt: new Date().toISOString(), recipeKey, inputsKey };
  const text = JSON.stringify(stored, null, 2) + "\n";
  const extras: [string, string][] = [];
  if (content.source !== undefined) extras.push([SOURCE_FILE, encodeSource(content.source)]);
  if (content.configuration !== undefined) extras.push([CONFIGURATION_FILE, content.configuration]);
  if (existsSync(join(directory, "image.json"))) {
    // Other inputs, the same image: remember the newer inputs, so that the next search finds it. What was altered is mended.
    mendFile(join(directory, "kernel"), content.kernel);
    mendFile(join(directory, "initrd"), content.initrd);
    for (const [file, extra] of extras) replaceDurably(join(directory, file), extra);
    replaceDurably(join(directory, "image.json"), text);
  } else {
    publishDirectory(paths.temporary, directory, (temporary) => {
      writeDurably(join(temporary, "kernel"), content.kernel);
      writeDurably(join(temporary, "initrd"), content.initrd);
      for (const [file, extra] of extras) writeDurably(join(temporary, file), extra);
      writeDurably(join(temporary, "image.json"), text);
    });
  }
  return complete(stored, directory);
}

function mendFile(path: string, content: Uint8Array): void {
  if (!existsSync(path) || sha256(readFileSync(path)) !== sha256(content)) replaceDurably(path, content);
}

/** The files of an image as they are now, and what image.json says of it. */
export interface MeasuredImage {
  /** What its digest would have to be. */
  readonly digest: string;
  readonly files: FileDigests;
  readonly commandLine: string;
  readonly provenance: ImageProvenance | undefined;
}

/**
 * What is there, by the digests of its files.
 *
 * @throws if image.json cannot be read
 */
export function measuredBy(directory: string, files: FileDigests): MeasuredImage {
  const facts = JSON.parse(readFileSync(join(directory, "image.json"), "utf8")) as StoredRecord;
  return { digest: digestOfParts(facts, files), files, commandLine: facts.commandLine, provenance: facts.provenance };
}

/** Whether the files of an image are what its digest says. */
export function isIntact({ directory, digest }: ImageRecord): boolean {
  const of = (name: string): string => sha256(readFileSync(join(directory, name)));
  return measuredBy(directory, { kernel: of("kernel"), initrd: of("initrd") }).digest === digest;
}

/** The whole configuration of the image's kernel; undefined where nobody knows it. */
export function readConfiguration(image: ImageRecord): string | undefined {
  const path = join(image.directory, CONFIGURATION_FILE);
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

/** All images, newest first. What is not a complete image is left out. */
export function readImages(paths: CachePaths): ImageRecord[] {
  if (!existsSync(paths.images)) return [];
  const images: ImageRecord[] = [];
  for (const digest of readdirSync(paths.images)) {
    const directory = join(paths.images, digest);
    try {
      images.push(complete(JSON.parse(readFileSync(join(directory, "image.json"), "utf8")) as StoredRecord, directory));
    } catch {
      // Not an image of ours, or one of a later version: nothing that this one could start.
    }
  }
  return images.sort((left, right) => (left.builtAt < right.builtAt ? 1 : -1));
}

function complete(stored: StoredRecord, directory: string): ImageRecord {
  const kernelPath = join(directory, "kernel");
  const initrdPath = join(directory, "initrd");
  const sizes = { kernelBytes: statSync(kernelPath).size, initrdBytes: statSync(initrdPath).size };
  return { ...stored, directory, kernelPath, initrdPath, ...sizes };
}
