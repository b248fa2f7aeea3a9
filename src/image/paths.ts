/** Where the image builder keeps what it makes and what ships with the package. */

import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the installed package: this file is dist/image/paths.js in it. */
const PACKAGE_ROOT = fileURLToPath(new URL("../../", import.meta.url));

export const RECIPES_DIRECTORY = join(PACKAGE_ROOT, "recipes");
export const DEFAULT_RECIPE_PATH = join(PACKAGE_ROOT, "recipes", "default.yaml");
export const HARDENED_CONFIG_PATH = join(PACKAGE_ROOT, "recipes", "kernel", "hardened.config");
export const DEFAULT_POLICY_PATH = join(PACKAGE_ROOT, "recipes", "policy", "default.yaml");
/** What an installation runs in the guest. */
export const CHANGE_STEPS_PATH = join(PACKAGE_ROOT, "recipes", "change", "steps");
export const GUEST_DIRECTORY = join(PACKAGE_ROOT, "recipes", "guest");

export interface CachePaths {
  readonly root: string;
  /** Private state of apt: configuration, package indexes. */
  readonly apt: string;
  /** Verified .deb files by name, version and architecture. */
  readonly packages: string;
  /** Kernels by key of what they were made from. */
  readonly kernels: string;
  /** Finished images by digest. */
  readonly images: string;
  /** Certificates by the digest of the image that they are for. */
  readonly certificates: string;
  /** Unfinished work; whoever holds the lock may empty it. */
  readonly temporary: string;
  readonly logs: string;
  readonly lock: string;
}

/** STEADFAST_CACHE, else /var/cache/steadfast for root, else the user's cache directory. */
export function cacheRoot(environment: NodeJS.ProcessEnv = process.env, isRoot: boolean = process.getuid?.() === 0): string {
  const chosen = environment["STEADFAST_CACHE"];
  if (chosen !== undefined && chosen !== "") return chosen;
  const userCache = environment["XDG_CACHE_HOME"];
  if (userCache !== undefined && userCache !== "" && !isRoot) return join(userCache, "steadfast");
  return isRoot ? "/var/cache/steadfast" : join(homedir(), ".cache", "steadfast");
}

export function cachePaths(root: string = cacheRoot()): CachePaths {
  return {
    root,
    apt: join(root, "apt"),
    packages: join(root, "packages"),
    kernels: join(root, "kernels"),
    images: join(root, "images"),
    certificates: join(root, "certificates"),
    temporary: join(root, "tmp"),
    logs: join(root, "logs"),
    lock: join(root, "lock"),
  };
}
