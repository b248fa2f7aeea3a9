/** Kernels in the cache: made once per set of inputs (the key), then shared by all images. */

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { AptPackage, PrivateApt } from "./apt.js";
import { publishDirectory, replaceDurably, writeDurably } from "./files.js";
import { kernelRelease } from "./kernel-image.js";
import type { CachePaths } from "./paths.js";
import type { OnProgress } from "./progress.js";

export interface KernelModule {
  /** Path inside the guest. */
  readonly path: string;
  /** Loaded only on a machine with a disk. */
  readonly forDisk: boolean;
  readonly data: Uint8Array;
}

export interface Kernel {
  readonly kind: "stock" | "hardened" | "own";
  readonly release: string;
  readonly image: Uint8Array;
  /** In the order in which they must be loaded. */
  readonly modules: readonly KernelModule[];
  readonly packages: readonly AptPackage[];
  /** The lines that a hardened kernel was asked to have. */
  readonly asked?: string | undefined;
  /** All lines that it has; unknown of a user's own kernel. */
  readonly configuration?: string | undefined;
}

/** What a kernel shall be, where that is not this version's own choice. */
export interface KernelWish {
  /** The Debian package that it is made of, as a lock names it. */
  readonly pinned?: AptPackage | undefined;
  /** Of the hardened kernel. */
  readonly asked?: string | undefined;
}

export interface KernelContext {
  readonly apt: PrivateApt;
  readonly paths: CachePaths;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

interface KernelRecord {
  readonly kind: "stock" | "hardened";
  readonly release: string;
  readonly modules: readonly { readonly path: string; readonly forDisk: boolean; readonly file: string }[];
  readonly packages: readonly AptPackage[];
}

const CONFIGURATION_FILE = "config";

export function kernelKey(kind: string, inputs: unknown): string {
  return `${kind}-${createHash("sha256").update(JSON.stringify(inputs)).digest("hex").slice(0, 24)}`;
}

export function loadKernel(paths: CachePaths, key: string): Kernel | undefined {
  const directory = join(paths.kernels, key);
  if (!existsSync(join(directory, "kernel.json"))) return undefined;
  const record = JSON.parse(readFileSync(join(directory, "kernel.json"), "utf8")) as KernelRecord;
  const modules = record.modules.map(({ path, forDisk, file }) => ({ path, forDisk, data: readFileSync(join(directory, file)) }));
  const configurationPath = join(directory, CONFIGURATION_FILE);
  const configuration = existsSync(configurationPath) ? readFileSync(configurationPath, "utf8") : undefined;
  return { ...record, modules, image: readFileSync(join(directory, "kernel")), configuration };
}

export function storeKernel(paths: CachePaths, key: string, kernel: Omit<Kernel, "release">): Kernel {
  const release = kernelRelease(kernel.image);
  publishDirectory(paths.temporary, join(paths.kernels, key), (temporary) => {
    writeDurably(join(temporary, "kernel"), kernel.image);
    const modules = kernel.modules.map((module, index) => {
      const file = `module-${index}.ko`;
      writeDurably(join(temporary, file), module.data);
      return { path: module.path, forDisk: module.forDisk, file };
    });
    if (kernel.configuration !== undefined) writeDurably(join(temporary, CONFIGURATION_FILE), kernel.configuration);
    const record = { kind: kernel.kind, release, modules, packages: kernel.packages };
    writeDurably(join(temporary, "kernel.json"), JSON.stringify(record, null, 2) + "\n");
  });
  return { ...kernel, release };
}

/** Adds the configuration to a kernel that an earlier version made, which did not keep it. */
export function keepConfiguration(paths: CachePaths, key: string, configuration: string): void {
  replaceDurably(join(paths.kernels, key, CONFIGURATION_FILE), configuration);
}

/** Whether a kernel of this kind was ever made here, without asking any mirror. */
export function hasKernelOfKind(paths: CachePaths, kind: "stock" | "hardened"): boolean {
  return existsSync(paths.kernels) && readdirSync(paths.kernels).some((name) => name.startsWith(`${kind}-`));
}
