/**
 * An image from another one and an edit of it. First the base is made again from its record and compared byte by byte, so that what is
 * changed is what its digest names; then the same is done with the edit. Everything that was chosen on the way is in the lock: with it the
 * same base and edit give the same image again, whatever the mirror has by then.
 */

import { readFileSync, rmSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import { PrivateApt, type AptPackage } from "./apt.js";
import { imageFacts, makeKernel, withLock } from "./build.js";
import { composeImageTree, MODULE_LISTS, Unpacker } from "./compose.js";
import { mergedPath } from "./contents.js";
import { readCpio } from "./cpio-reader.js";
import { writeCpio, type GuestTree } from "./cpio.js";
import { makeTemporaryDirectory } from "./files.js";
import { hardenedConfiguration, withLines } from "./kernel-hardened.js";
import type { Kernel, KernelContext, KernelModule } from "./kernels.js";
import { inOrder, keepLocalPackages, nameOf, planPackages, type PackageEdit } from "./package-edit.js";
import { fetchPackages } from "./packages.js";
import { cachePaths, type CachePaths } from "./paths.js";
import type { OnProgress } from "./progress.js";
import type { Recipe, RecipeService } from "./recipe.js";
import { readSource, type ImageSource, type SourceFile } from "./source.js";
import { readConfiguration, readImages, sha256, storeImage, type ImageProvenance, type ImageRecord } from "./store.js";

export interface ImageEdit {
  /** Of the change; errors name it, too. */
  readonly name: string;
  readonly provenance: ImageProvenance;
  readonly packages: PackageEdit;
  readonly files: readonly SourceFile[];
  readonly removedFiles: readonly string[];
  /** Added, or put in the place of those of the same name. */
  readonly services: readonly RecipeService[];
  readonly removedServices: readonly string[];
  readonly users: Recipe["users"];
  readonly kernel: KernelEdit;
  readonly commandLine?: string | undefined;
  readonly memoryMiB?: number | undefined;
  readonly diskMiB?: number | undefined;
}

export interface KernelEdit {
  readonly kind?: "stock" | "hardened" | undefined;
  /** Lines of a kernel configuration. */
  readonly config?: string | undefined;
  /** The whole list, of a stock kernel. */
  readonly modules?: readonly string[] | undefined;
  readonly diskModules?: readonly string[] | undefined;
}

/** The packages of a changed image, as they were chosen once. */
export interface ImageLock {
  readonly packages: readonly AptPackage[];
  readonly kernelPackages: readonly AptPackage[];
}

export interface RebuildOptions {
  readonly paths?: CachePaths | undefined;
  readonly lock?: ImageLock | undefined;
  /** Choose versions anew even if an image of this base and change is here, and ask the mirror for its index. */
  readonly refresh?: boolean | undefined;
  readonly onProgress?: OnProgress | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** The lock of an image; undefined of one that was imported. */
export function lockOf(image: ImageRecord): ImageLock | undefined {
  const source = readSource(image.directory);
  return source === undefined ? undefined : { packages: source.packages, kernelPackages: source.kernelPackages };
}

/** Builds the changed image for real, every time; the versions of packages are those of the lock, or of the image that is here already. */
export async function rebuildImage(base: ImageRecord, edit: ImageEdit, options: RebuildOptions = {}): Promise<ImageRecord> {
  const paths = options.paths ?? cachePaths();
  const source = readSource(base.directory);
  if (source === undefined) throw new SteadfastError("CHANGE_BASE_OPAQUE", { base: base.digest });
  const onProgress = options.onProgress ?? (() => undefined);
  const lock = options.lock ?? (options.refresh === true ? undefined : knownLock(paths, edit.provenance));
  return withLock(paths, onProgress, options.signal, () => new Rebuild(paths, base, source, edit, { ...options, onProgress, lock }).run());
}

function knownLock(paths: CachePaths, provenance: ImageProvenance): ImageLock | undefined {
  const same = ({ provenance: other }: ImageRecord): boolean => other?.base === provenance.base && other.change === provenance.change;
  const image = readImages(paths).find(same);
  return image === undefined ? undefined : lockOf(image);
}

class Rebuild {
  private opened: Promise<PrivateApt> | undefined;
  private readonly unpacker: Unpacker;

  constructor(
    private readonly paths: CachePaths,
    private readonly base: ImageRecord,
    private readonly source: ImageSource,
    private readonly edit: ImageEdit,
    private readonly options: RebuildOptions & { readonly onProgress: OnProgress },
  ) {
    this.unpacker = new Unpacker(paths, options.onProgress, options.signal);
  }

  async run(): Promise<ImageRecord> {
    const { base, source, edit, paths, options } = this;
    await this.fetch(source.packages);
    const initrd = new Uint8Array(readFileSync(base.initrdPath));
    const baseTree = readCpio(initrd);
    const modules = modulesIn(baseTree);
    const baseContents = await this.unpacker.contentsOf(source.packages);
    options.onProgress({ step: "making the base again, to compare" });
    if (Buffer.compare(writeCpio(composeImageTree(baseContents, source, modules, base.name)), initrd) !== 0)
      throw new SteadfastError("CHANGE_BASE_DIFFERENT", { base: base.digest });

    const packages = await this.packages();
    await this.fetch(packages);
    const contents = await this.unpacker.contentsOf(packages);
    const recipe = this.recipe((path) => contents.under(path).length > 0 || baseContents.under(path).length === 0);
    const kernel = await this.kernel(recipe, modules);
    const files = [...source.files.filter(({ path }) => !this.isReplaced(path)), ...edit.files];
    const had = new Set(source.packages.map((entry) => entry.name));
    const taken = [
      ...edit.packages.add.map(nameOf),
      ...packages.filter((entry) => !had.has(entry.name) || isBrought(entry, edit)).map((entry) => entry.name),
    ];
    const present = new Set(packages.map((entry) => entry.name));
    const whole = [...new Set([...source.whole, ...taken])].filter((name) => present.has(name)).sort();
    const changed: ImageSource = {
      ...{ recipe, files, whole, guest: source.guest, packages, kernelPackages: kernel.packages, askedConfiguration: kernel.asked },
    };
    options.onProgress({ step: "composing the image" });
    this.checkRemovedFiles(baseTree);
    const tree = composeImageTree(contents, changed, kernel.modules, edit.name);
    this.checkTree(tree);
    this.checkServices(tree, recipe.services);
    const { provenance, diskMiB = base.diskMiB } = edit;
    const name = `${source.recipe.name}+${edit.name}`;
    const key = sha256(JSON.stringify({ provenance, packages, kernelPackages: kernel.packages }));
    return storeImage(paths, {
      ...imageFacts(changed, kernel),
      ...{ name, provenance, diskMiB, recipeKey: key, inputsKey: key, source: changed, initrd: writeCpio(tree) },
    });
  }

  private apt(): Promise<PrivateApt> {
    const { onProgress, signal, refresh = false } = this.options;
    this.opened ??= PrivateApt.open({ directory: this.paths.apt, onProgress, signal }, refresh);
    return this.opened;
  }

  /** From the mirror only what is not in the cache. */
  private async fetch(packages: readonly AptPackage[]): Promise<void> {
    await keepLocalPackages(this.paths, this.edit.packages.debs, this.edit.name);
    const download = async (...wanted: Parameters<PrivateApt["download"]>): Promise<void> => (await this.apt()).download(...wanted);
    await fetchPackages({ download }, this.paths, packages);
  }

  private async packages(): Promise<readonly AptPackage[]> {
    const { edit, source, paths, options } = this;
    const { add, remove, debs } = edit.packages;
    if (add.length + remove.length + debs.length === 0) return source.packages;
    if (options.lock !== undefined) return inOrder(options.lock.packages);
    options.onProgress({ step: "choosing package versions" });
    const directory = makeTemporaryDirectory(paths.temporary);
    try {
      const wanted = [...source.recipe.packages, ...source.whole];
      const planning = { paths, base: source.packages, wanted, edit: edit.packages, change: edit.name, directory };
      return await planPackages({ apt: await this.apt(), ...planning });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  /** The base's recipe with the edit in it; `isKept` says which included paths are left. */
  private recipe(isKept: (path: string) => boolean): Recipe {
    const { edit, source } = this;
    const { recipe } = source;
    const removed = new Set(edit.packages.remove.map(nameOf));
    const added = [...edit.packages.add.map(nameOf)].filter((name) => !recipe.packages.includes(name));
    return {
      ...recipe,
      packages: [...recipe.packages.filter((name) => !removed.has(name)), ...added.sort()],
      ...(recipe.include === undefined ? {} : { include: recipe.include.filter(isKept) }),
      exclude: [...recipe.exclude, ...edit.removedFiles],
      kernel: edit.kernel.kind ?? recipe.kernel,
      modules: [...(edit.kernel.modules ?? recipe.modules)],
      diskModules: [...(edit.kernel.diskModules ?? recipe.diskModules)],
      commandLine: edit.commandLine ?? recipe.commandLine,
      memoryMiB: edit.memoryMiB ?? recipe.memoryMiB,
      users: merged(recipe.users, edit.users, []),
      services: merged(recipe.services, edit.services, this.removedServices()),
    };
  }

  private removedServices(): readonly string[] {
    const { edit, source } = this;
    for (const name of edit.removedServices) {
      const isThere = source.recipe.services.some((service) => service.name === name);
      if (!isThere) throw new SteadfastError("CHANGE_ABSENT", { change: edit.name, what: `the service ${name}` });
    }
    return edit.removedServices;
  }

  private isReplaced(path: string): boolean {
    return (
      this.edit.files.some((file) => file.path === path) || this.edit.removedFiles.some((removed) => isUnder(path, mergedPath(removed)))
    );
  }

  private checkRemovedFiles(baseTree: GuestTree): void {
    for (const path of this.edit.removedFiles)
      if (!baseTree.has(mergedPath(path))) throw new SteadfastError("CHANGE_ABSENT", { change: this.edit.name, what: path });
  }

  /** What was removed is gone, and every path leads through directories. */
  private checkTree(tree: GuestTree): void {
    const { name, removedFiles, files } = this.edit;
    for (const path of removedFiles) if (tree.has(mergedPath(path))) throw new SteadfastError("CHANGE_FILE_NEEDED", { change: name, path });
    const brought = new Set(files.map(({ path }) => path));
    for (const path of tree.keys()) {
      for (let end = path.lastIndexOf("/"); end > 0; end = path.lastIndexOf("/", end - 1)) {
        const above = path.slice(0, end);
        const kind = tree.get(above)?.kind;
        if (kind === undefined || kind === "directory") continue;
        const problem = brought.has(above)
          ? `would take the place of a directory that holds ${path}`
          : `leads through the ${kind} ${above}`;
        throw new SteadfastError("CHANGE_PATH", { file: name, path: brought.has(above) ? above : path, problem });
      }
    }
  }

  /** A service whose program went with its package would only be noticed when it is started. */
  private checkServices(tree: GuestTree, services: readonly RecipeService[]): void {
    for (const service of services) {
      const program = /^\s*['"]?(\/[^\s'"$]+)/.exec(service.command)?.[1];
      if (program === undefined || tree.has(mergedPath(program))) continue;
      throw new SteadfastError("CHANGE_SERVICE_PROGRAM", { change: this.edit.name, service: service.name, program });
    }
  }

  /** The base's own kernel, bit for bit, unless the edit is about it. */
  private async kernel(recipe: Recipe, modules: readonly KernelModule[]): Promise<Kernel> {
    const { base, source, edit, paths, options } = this;
    const { config, kind } = edit.kernel;
    const wrong = (problem: string): SteadfastError => new SteadfastError("CHANGE_KERNEL", { change: edit.name, problem });
    const isSameKind = kind === undefined || kind === base.kernelKind;
    const modulesChange = edit.kernel.modules !== undefined || edit.kernel.diskModules !== undefined;
    if (config !== undefined && recipe.kernel !== "hardened") throw wrong("only the hardened one is configured here; add `kind: hardened`");
    if (modulesChange && recipe.kernel !== "stock") throw wrong("only the stock one has modules; configure the hardened one instead");
    if (isSameKind && config === undefined && !modulesChange) {
      const image = new Uint8Array(readFileSync(base.kernelPath));
      const { kernelPackages: packages, askedConfiguration: asked } = source;
      return {
        kind: base.kernelKind,
        release: base.kernelRelease,
        image,
        modules,
        packages,
        asked,
        configuration: readConfiguration(base),
      };
    }
    const { onProgress, signal } = options;
    const context: KernelContext = { apt: await this.apt(), paths, onProgress, signal };
    const pinned = options.lock?.kernelPackages[0] ?? (isSameKind ? source.kernelPackages[0] : undefined);
    if (config === undefined) return makeKernel(context, recipe, { pinned });
    return makeKernel(context, recipe, { pinned, asked: withLines(source.askedConfiguration ?? hardenedConfiguration(), config) });
  }
}

const isBrought = (entry: AptPackage, edit: ImageEdit): boolean => edit.packages.debs.some((deb) => deb.sha256 === entry.sha256);

const isUnder = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`);

/** By name: those of `added` take the place of what is there, or come last. */
function merged<T extends { readonly name: string }>(present: readonly T[], added: readonly T[], removed: readonly string[]): T[] {
  const kept = present.filter(({ name }) => !removed.includes(name));
  const replacement = new Map(added.map((entry) => [entry.name, entry]));
  const names = new Set(kept.map(({ name }) => name));
  return [...kept.map((entry) => replacement.get(entry.name) ?? entry), ...added.filter(({ name }) => !names.has(name))];
}

/** The modules of a finished image, in the order in which it loads them. */
export function modulesIn(tree: GuestTree): KernelModule[] {
  const modules: KernelModule[] = [];
  for (const { path, forDisk } of MODULE_LISTS) {
    const list = tree.get(path);
    if (list?.kind !== "file") continue;
    for (const line of new TextDecoder().decode(list.data).split("\n")) {
      const module = tree.get(line);
      if (module?.kind === "file") modules.push({ path: line, forDisk, data: module.data });
    }
  }
  return modules;
}
