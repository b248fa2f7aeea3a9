/** Guest images: build, find, list, import. */

export {
  buildImage,
  findImage,
  importKernel,
  listImages,
  releaseRecipe,
  type BuildOptions,
  type FindOptions,
  type KernelChoice,
  type OwnKernel,
} from "./build.js";
export { lockOf, rebuildImage, type ImageEdit, type ImageLock, type RebuildOptions } from "./rebuild.js";
export { missingBuildPackages } from "./kernel-hardened.js";
export { readKernelFile } from "./kernel-image.js";
export { DEFAULT_RECIPE_PATH } from "./paths.js";
export type { BuildProgress, OnProgress } from "./progress.js";
export { loadRecipe, MEMORY_MAX_MIB, MEMORY_MIN_MIB } from "./recipe.js";
export type { ImagePackage, ImageRecord } from "./store.js";
