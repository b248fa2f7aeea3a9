/** The first file system of an image, from unpacked packages and what is said about it. */

import { PackageContents, composeTree } from "./contents.js";
import type { GuestTree } from "./cpio.js";
import type { AptPackage } from "./apt.js";
import { STOCK_COMMAND_LINE } from "./kernel-stock.js";
import type { Kernel, KernelModule } from "./kernels.js";
import { packagePath, readPackage } from "./packages.js";
import type { CachePaths } from "./paths.js";
import type { OnProgress } from "./progress.js";
import type { Composition } from "./source.js";
import type { TarMember } from "./tar.js";

/** The lists by which a guest loads its modules: those for every machine, and those for one with a disk. */
export const MODULE_LISTS = [
  { path: "/etc/modules-load", forDisk: false },
  { path: "/etc/modules-load-disk", forDisk: true },
] as const;

/** Unpacks packages of the cache, each once. */
export class Unpacker {
  private readonly members = new Map<string, readonly TarMember[]>();

  constructor(
    private readonly paths: CachePaths,
    private readonly onProgress: OnProgress,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async contentsOf(packages: readonly AptPackage[]): Promise<PackageContents> {
    const contents = new PackageContents();
    let done = 0;
    for (const entry of packages) {
      this.onProgress({ step: "unpacking Debian packages", fraction: done++ / packages.length });
      for (const member of await this.membersOf(entry)) contents.add(member, entry.name);
    }
    return contents;
  }

  private async membersOf(entry: AptPackage): Promise<readonly TarMember[]> {
    const present = this.members.get(entry.sha256);
    if (present !== undefined) return present;
    const members: TarMember[] = [];
    await readPackage(
      packagePath(this.paths, entry),
      () => true,
      (member) => members.push(member),
      this.signal,
    );
    this.members.set(entry.sha256, members);
    return members;
  }
}

/** `file` is named in errors: the recipe, or the change. */
export function composeImageTree(
  contents: PackageContents,
  composition: Composition,
  modules: readonly KernelModule[],
  file: string,
): GuestTree {
  const tree = composeTree(contents, composition, file);
  addModules(tree, modules);
  return tree;
}

/** The modules of a stock kernel, and the lists by which the guest loads them. */
function addModules(tree: GuestTree, modules: readonly KernelModule[]): void {
  if (modules.length === 0) return;
  for (const module of modules) tree.set(module.path, { kind: "file", mode: 0o644, data: module.data });
  for (const { path, forDisk } of MODULE_LISTS) {
    const listed = modules.filter((module) => module.forDisk === forDisk);
    const data = new TextEncoder().encode(listed.map((module) => module.path + "\n").join(""));
    tree.set(path, { kind: "file", mode: 0o644, data });
  }
}

/** What the kernel is started with: the recipe's words, and those that Debian's kernel needs here. */
export function fullCommandLine(commandLine: string, kind: Kernel["kind"]): string {
  return kind === "stock" ? `${commandLine} ${STOCK_COMMAND_LINE}`.trim() : commandLine;
}
