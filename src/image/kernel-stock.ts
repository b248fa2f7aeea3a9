/** Debian's own riscv64 kernel, unmodified, with the few modules that the board needs. */

import { rmSync } from "node:fs";
import { basename, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import type { AptPackage, PrivateApt } from "./apt.js";
import { runStep } from "./command.js";
import { makeTemporaryDirectory, writeDurably } from "./files.js";
import { flatKernel } from "./kernel-image.js";
import { keepConfiguration, kernelKey, loadKernel, storeKernel, type Kernel, type KernelContext, type KernelModule } from "./kernels.js";
import { fetchPackages, packagePath, readPackage } from "./packages.js";
import type { Recipe } from "./recipe.js";

const METAPACKAGE = "linux-image-riscv64";
const STEP = "unpacking Debian's kernel";
/** apt's own tool reads every compression that Debian uses, and is on every Debian host. */
const APT_HELPER = "/usr/lib/apt/apt-helper";
/**
 * Two things that Debian's kernel does at every start say nothing on this machine and cost more than half of the way to user space: it
 * tests its own ciphers, and it measures the jitter of a processor that has none. Entropy comes from the host, as an input.
 */
export const STOCK_COMMAND_LINE = "cryptomgr.notests initcall_blacklist=jent_mod_init";
/** Raise when the way a kernel is taken apart changes. */
const RECIPE_VERSION = 2;

/** Modules by name: those that every machine loads, and those that only one with a disk does. */
export type ModuleChoice = Pick<Recipe, "modules" | "diskModules">;

/** Of Debian's current package, or of a certain one. */
export async function stockKernel(context: KernelContext, choice: ModuleChoice, pinned?: AptPackage): Promise<Kernel> {
  const { apt, paths } = context;
  const kernelPackage = pinned ?? (await currentPackage(apt));
  const packages = [kernelPackage];
  const key = kernelKey("stock", {
    version: RECIPE_VERSION,
    sha256: kernelPackage.sha256,
    modules: choice.modules,
    diskModules: choice.diskModules,
  });
  const cached = loadKernel(paths, key);
  if (cached?.configuration !== undefined) return cached;

  await fetchPackages(apt, paths, packages);
  context.onProgress({ step: STEP });
  const deb = packagePath(paths, kernelPackage);
  if (cached !== undefined) {
    const configuration = await configurationOf(deb, context);
    keepConfiguration(paths, key, configuration);
    return { ...cached, configuration };
  }
  const files = new Map<string, Uint8Array>();
  const isKernel = (path: string) => /^\/boot\/vmlinu[xz]-/.test(path);
  // Which modules are needed shows only when their own needs are known: keep them all, compressed, until then.
  const wanted = (path: string) =>
    isKernel(path) ||
    isConfiguration(path) ||
    /\/kernel\/(drivers\/(virtio|net|char|block|watchdog)|net\/core|lib|crypto|fs)\/.*\.ko(\.xz)?$/.test(path);
  await readPackage(deb, wanted, (member) => files.set(member.path, member.data), context.signal);
  const imagePath = [...files.keys()].find(isKernel);
  const image = imagePath === undefined ? undefined : files.get(imagePath);
  if (imagePath === undefined || image === undefined) throw new SteadfastError("NOT_A_KERNEL", { path: deb, detail: "it holds no kernel" });
  const modules = await loadOrder(files, choice, context);
  const configuration = configurationIn(files, deb);
  return storeKernel(paths, key, { kind: "stock", image: flatKernel(image, imagePath), modules, packages, configuration });
}

const isConfiguration = (path: string): boolean => path.startsWith("/boot/config-");

async function configurationOf(deb: string, context: KernelContext): Promise<string> {
  const files = new Map<string, Uint8Array>();
  await readPackage(deb, isConfiguration, (member) => files.set(member.path, member.data), context.signal);
  return configurationIn(files, deb);
}

function configurationIn(files: ReadonlyMap<string, Uint8Array>, deb: string): string {
  const data = [...files].find(([path]) => isConfiguration(path))?.[1];
  if (data === undefined) throw new SteadfastError("NOT_A_KERNEL", { path: deb, detail: "it does not say how its kernel was configured" });
  return new TextDecoder().decode(data);
}

async function currentPackage(apt: PrivateApt): Promise<AptPackage> {
  const name = (await apt.dependencyOf(METAPACKAGE, /^linux-image-\d/)) ?? METAPACKAGE;
  const found = (await apt.describe([name])).find((entry) => entry.name === name);
  if (found === undefined) throw new SteadfastError("PACKAGE_UNKNOWN", { package: name, recipe: "of the stock kernel" });
  return found;
}

/** The named modules, each after those that it depends on; those for the disk last. */
async function loadOrder(files: ReadonlyMap<string, Uint8Array>, choice: ModuleChoice, context: KernelContext): Promise<KernelModule[]> {
  const byName = new Map([...files.keys()].filter((path) => path.includes("/kernel/")).map((path) => [moduleName(path), path]));
  const ordered: KernelModule[] = [];
  const visited = new Set<string>();
  const visit = async (name: string, forDisk: boolean): Promise<void> => {
    const wanted = name.replaceAll("-", "_");
    if (visited.has(wanted)) return;
    visited.add(wanted);
    const path = byName.get(wanted);
    if (path === undefined) throw new SteadfastError("KERNEL_MODULE_UNKNOWN", { module: name });
    const data = await decompress(path, files.get(path) ?? new Uint8Array(0), context);
    for (const dependency of moduleDependencies(data)) await visit(dependency, forDisk);
    ordered.push({ path: mergedModulePath(path), forDisk, data });
  };
  for (const name of choice.modules) await visit(name, false);
  for (const name of choice.diskModules) await visit(name, true);
  return ordered;
}

function moduleName(path: string): string {
  return basename(path)
    .replace(/\.ko(\.xz)?$/, "")
    .replaceAll("-", "_");
}

function mergedModulePath(path: string): string {
  return path.replace(/\.xz$/, "").replace(/^\/lib\//, "/usr/lib/");
}

/** The kernel build writes `depends=a,b` among a module's facts. */
export function moduleDependencies(module: Uint8Array): string[] {
  const buffer = Buffer.from(module.buffer, module.byteOffset, module.byteLength);
  const marker = Buffer.from("\0depends=");
  const at = buffer.indexOf(marker);
  if (at < 0) return [];
  const start = at + marker.length;
  const end = buffer.indexOf(0, start);
  return buffer
    .toString("latin1", start, end < 0 ? start : end)
    .split(",")
    .filter((name) => name !== "");
}

async function decompress(path: string, data: Uint8Array, context: KernelContext): Promise<Uint8Array> {
  if (!path.endsWith(".xz")) return data;
  const temporary = makeTemporaryDirectory(context.paths.temporary);
  try {
    const file = join(temporary, basename(path));
    writeDurably(file, data);
    const chunks: Buffer[] = [];
    const onOutput = (chunk: Buffer) => void chunks.push(chunk);
    await runStep(STEP, APT_HELPER, ["cat-file", file], { onOutput, signal: context.signal });
    return Buffer.concat(chunks);
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}
