/** From a recipe to a finished image: resolve, fetch, unpack, compose, pack, publish. */

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { PrivateApt } from "./apt.js";
import { composeImageTree, fullCommandLine, Unpacker } from "./compose.js";
import { recipeFiles } from "./contents.js";
import { writeCpio } from "./cpio.js";
import { clearDirectory, explainFileError, makeDirectory } from "./files.js";
import { BASE_PACKAGE, readGuestParts } from "./guest.js";
import { kernelRelease, readKernelFile } from "./kernel-image.js";
import { hardenedKernel } from "./kernel-hardened.js";
import { stockKernel } from "./kernel-stock.js";
import type { Kernel, KernelContext, KernelWish } from "./kernels.js";
import { takeLock } from "./lock.js";
import { cachePaths, DEFAULT_RECIPE_PATH, GUEST_DIRECTORY, HARDENED_CONFIG_PATH, type CachePaths } from "./paths.js";
import { fetchPackages } from "./packages.js";
import type { OnProgress } from "./progress.js";
import { loadRecipe, type Recipe } from "./recipe.js";
import { isReleaseRecipe } from "./release.js";
import { readSource, type ImageSource } from "./source.js";
import { isIntact, readImages, sha256, storeImage, type ImageContent, type ImageRecord } from "./store.js";

/** Raise when the same recipe and packages would give another image. */
const BUILDER_VERSION = 2;

export type KernelChoice = Recipe["kernel"];

export interface BuildOptions {
  readonly recipePath?: string | undefined;
  /** Overrides the recipe's own choice. */
  readonly kernel?: KernelChoice | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** Ask the mirror for its index even if ours is recent. */
  readonly refresh?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  /** Whether an image that is there already will do; else it is composed anew from its packages. Absent: it does. */
  readonly accept?: ((present: ImageRecord) => boolean) | undefined;
}

export interface FindOptions {
  readonly recipePath?: string | undefined;
  readonly kernel?: KernelChoice | undefined;
  /** Instead of a recipe: a digest or the beginning of one. */
  readonly digest?: string | undefined;
}

export interface OwnKernel {
  readonly kernelPath: string;
  /** Without one the default recipe's file system is built around the kernel. */
  readonly initrdPath?: string | undefined;
  readonly commandLine?: string | undefined;
  readonly memoryMiB?: number | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Builds the image of a recipe, or returns it at once if nothing that goes into it has changed. */
export async function buildImage(options: BuildOptions = {}): Promise<ImageRecord> {
  const recipePath = options.recipePath ?? DEFAULT_RECIPE_PATH;
  const recipe = chosenRecipe(options);
  const paths = cachePaths();
  const onProgress = options.onProgress ?? (() => undefined);
  return withLock(paths, onProgress, options.signal, async () => {
    const apt = await PrivateApt.open({ directory: paths.apt, onProgress, signal: options.signal }, options.refresh ?? false);
    const context: KernelContext = { apt, paths, onProgress, signal: options.signal };
    return buildLocked(context, recipe, recipePath, options.accept ?? (() => true));
  });
}

/** Work on the cache: alone, from a clean start, and leaving nothing half-made. */
export async function withLock<T>(
  paths: CachePaths,
  onProgress: OnProgress,
  signal: AbortSignal | undefined,
  work: () => Promise<T>,
): Promise<T> {
  makeDirectory(paths.root);
  const lock = await takeLock(paths.lock, (holder) => onProgress({ step: `waiting for the build of process ${holder}` }), signal);
  try {
    // Whoever left something there has died: the lock is ours.
    clearDirectory(paths.temporary);
    return await work();
  } catch (error) {
    throw explainFileError(paths.root, error);
  } finally {
    try {
      clearDirectory(paths.temporary);
    } finally {
      lock.release();
    }
  }
}

async function buildLocked(
  context: KernelContext,
  recipe: Recipe,
  recipePath: string,
  accept: (present: ImageRecord) => boolean,
): Promise<ImageRecord> {
  const { apt, paths, onProgress } = context;
  onProgress({ step: "choosing package versions" });
  const own = recipe.packages.length === 0 ? [] : await apt.resolve(recipe.packages, recipePath);
  const base = await apt.describe([BASE_PACKAGE]);
  const packages = [...own.filter((entry) => entry.name !== BASE_PACKAGE), ...base];
  const kernel = await makeKernel(context, recipe);
  const key = recipeKey(recipe);
  const inputs = {
    key,
    packages: packages.map((entry) => entry.sha256),
    kernel: sha256(kernel.image),
    modules: kernel.modules.map(({ forDisk, data }) => [forDisk, sha256(data)]),
  };
  const inputsKey = sha256(JSON.stringify(inputs));
  const present = readImages(paths).find((image) => image.inputsKey === inputsKey);
  // An image of an earlier version has no source: it is made again, and only that is added. One that was altered is mended.
  const isWhole = present !== undefined && readSource(present.directory) !== undefined && isIntact(present);
  if (isWhole && accept(present)) return present;

  await fetchPackages(apt, paths, packages);
  const contents = await new Unpacker(paths, onProgress, context.signal).contentsOf(packages);
  onProgress({ step: "composing the image" });
  const source: ImageSource = {
    ...{ recipe: { ...recipe, files: [] }, files: recipeFiles(recipe, recipePath), whole: [], guest: readGuestParts() },
    ...{ packages, kernelPackages: kernel.packages, askedConfiguration: kernel.asked },
  };
  const initrd = writeCpio(composeImageTree(contents, source, kernel.modules, recipePath));
  return storeImage(paths, { ...imageFacts(source, kernel), name: recipe.name, recipeKey: key, inputsKey, source, initrd });
}

/** What of an image follows from its source and its kernel. */
export function imageFacts(source: ImageSource, kernel: Kernel) {
  const { recipe, packages, kernelPackages } = source;
  return {
    ...{ memoryMiB: recipe.memoryMiB, commandLine: fullCommandLine(recipe.commandLine, kernel.kind) },
    packages: [...packages, ...kernelPackages].map(({ name, version, sha256 }) => ({ name, version, sha256 })),
    ...{ kernelKind: kernel.kind, kernelRelease: kernel.release, kernel: kernel.image, configuration: kernel.configuration },
  };
}

/** The kernel that a recipe asks for; `choice` where it shall be a certain version or differently configured. */
export async function makeKernel(context: KernelContext, recipe: Recipe, choice: KernelWish = {}): Promise<Kernel> {
  if (recipe.kernel === "stock") return stockKernel(context, recipe, choice.pinned);
  if (recipe.kernel === "hardened") return hardenedKernel(context, choice);
  const image = readKernelFile(recipe.kernel.path);
  return { kind: "own", release: kernelRelease(image), image, modules: [], packages: [] };
}

/** The image that `buildImage` with the same options made last, without asking any mirror; undefined if there is none. */
export function findImage(options: FindOptions = {}): ImageRecord | undefined {
  const images = readImages(cachePaths());
  const { digest } = options;
  if (digest !== undefined) return images.find((image) => image.digest.startsWith(digest));
  const key = recipeKey(chosenRecipe(options));
  return images.find((image) => image.recipeKey === key);
}

export function listImages(): ImageRecord[] {
  return readImages(cachePaths());
}

/** Makes an image of a user's own kernel and initrd, after a look whether they can be that. */
export async function importKernel(options: OwnKernel): Promise<ImageRecord> {
  const { kernelPath, initrdPath, onProgress, signal } = options;
  const kernel = readKernelFile(kernelPath);
  if (initrdPath === undefined) return buildImage({ kernel: { path: kernelPath }, onProgress, signal });
  const initrd = readInitrd(initrdPath);
  const paths = cachePaths();
  const recipe = loadRecipe(DEFAULT_RECIPE_PATH);
  const commandLine = options.commandLine ?? recipe.commandLine;
  const memoryMiB = options.memoryMiB ?? recipe.memoryMiB;
  const key = sha256(JSON.stringify({ kernel: sha256(kernel), initrd: sha256(initrd), commandLine, memoryMiB }));
  const present = readImages(paths).find((image) => image.inputsKey === key);
  if (present !== undefined) return present;
  const content: ImageContent = {
    ...{ name: basename(kernelPath), kernelKind: "own", kernelRelease: kernelRelease(kernel), packages: [], kernel, initrd },
    ...{ commandLine, memoryMiB, recipeKey: key, inputsKey: key },
  };
  return withLock(paths, onProgress ?? (() => undefined), signal, () => Promise.resolve(storeImage(paths, content)));
}

function readInitrd(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const detail = code === "ENOENT" ? "there is no such file" : String((error as Error).message);
    throw new SteadfastError("KERNEL_UNREADABLE", { what: "initrd", path, detail });
  }
}

function chosenRecipe(options: Pick<BuildOptions, "recipePath" | "kernel">): Recipe {
  const recipe = loadRecipe(options.recipePath ?? DEFAULT_RECIPE_PATH);
  return options.kernel === undefined ? recipe : { ...recipe, kernel: options.kernel };
}

/** What names the recipe of an image and all that it brings in; undefined: it is not one that this release ships, unaltered. */
export function releaseRecipe(options: Pick<BuildOptions, "recipePath" | "kernel"> = {}): { name: string; digest: string } | undefined {
  if (!isReleaseRecipe(options.recipePath ?? DEFAULT_RECIPE_PATH)) return undefined;
  const recipe = chosenRecipe(options);
  return typeof recipe.kernel === "string" ? { name: recipe.name, digest: recipeKey(recipe) } : undefined;
}

/** What an image is asked to be: the recipe, the files that it names, and our own part of every guest. */
function recipeKey(recipe: Recipe): string {
  const parts: string[] = [String(BUILDER_VERSION), JSON.stringify(recipe)];
  for (const name of readdirSync(GUEST_DIRECTORY).sort()) parts.push(name, sha256(readFileSync(join(GUEST_DIRECTORY, name))));
  const named = recipe.files.flatMap((entry) => (entry.source === undefined ? [] : [entry.source]));
  if (typeof recipe.kernel !== "string") named.push(recipe.kernel.path);
  if (recipe.kernel === "hardened") named.push(HARDENED_CONFIG_PATH);
  for (const path of named) parts.push(existsSync(path) ? sha256(readFileSync(path)) : "absent");
  return sha256(JSON.stringify(parts));
}
