/**
 * The hardened kernel, cross-built from Debian's own kernel source without a patch. The result is kept by what it was made from (source,
 * configuration, compiler), outside any checkout, so that it is compiled once per machine.
 */

import { spawn } from "node:child_process";
import { createWriteStream, existsSync, mkdirSync, readFileSync, rmSync, statfsSync, statSync } from "node:fs";
import { cpus } from "node:os";
import { basename, dirname, join } from "node:path";
import { once } from "node:events";
import { SteadfastError } from "../foundation/errors.js";
import type { AptPackage, PrivateApt } from "./apt.js";
import { findProgram, runCommand, runStep, stepError, type CommandOptions } from "./command.js";
import { explainFileError, explaining, makeDirectory, makeTemporaryDirectory, writeDurably } from "./files.js";
import { flatKernel } from "./kernel-image.js";
import { keepConfiguration, kernelKey, loadKernel, storeKernel, type Kernel, type KernelContext, type KernelWish } from "./kernels.js";
import { fetchPackages, packagePath } from "./packages.js";
import { HARDENED_CONFIG_PATH } from "./paths.js";

const METAPACKAGE = "linux-source";
const CROSS_PREFIX = "riscv64-linux-gnu-";
const APT_HELPER = "/usr/lib/apt/apt-helper";
/** Raise when the way of building changes. */
const RECIPE_VERSION = 1;
/** Lines that the build prints, for the progress bar alone. */
const BUILD_LINES = 1410;
/** The source's archive, what is unpacked of it, and the objects. */
const SPACE_NEEDED_MIB = 1200;
const SOURCE_BYTES = 1_450_000_000;
/** Compiler runs at once, at low priority: the host has other work. */
const JOBS_LIMIT = 8;

/** The program that shows a package to be there, and the package. */
const TOOLS: readonly (readonly [program: string, packageName: string])[] = [
  [`${CROSS_PREFIX}gcc`, "gcc-riscv64-linux-gnu"],
  ["gcc", "gcc"],
  ["make", "make"],
  ["flex", "flex"],
  ["bison", "bison"],
  ["bc", "bc"],
  ["perl", "perl"],
];

/** Parts of the source that this configuration never compiles: their descriptions stay, their code is not unpacked. */
const SKIPPED_ARCHITECTURES =
  "alpha arc arm arm64 csky hexagon loongarch m68k microblaze mips nios2 openrisc parisc powerpc s390 sh sparc xtensa";
const SKIPPED_DRIVERS = "gpu hid iio infiniband input isdn media mtd net/ethernet net/wireless pinctrl scsi staging usb";
const SKIPPED = [
  "*/Documentation/*/*",
  "*/boot/dts/*.dts*",
  "*/sound/*.[chS]",
  "*/tools/perf",
  "*/tools/testing",
  ...SKIPPED_ARCHITECTURES.split(" ").map((name) => `*/arch/${name}/*.[chS]`),
  ...SKIPPED_DRIVERS.split(" ").map((name) => `*/drivers/${name}/*.[chS]`),
];

/** Names, times and places must not differ between two builds of the same input. */
const REPRODUCIBLE = {
  KBUILD_BUILD_TIMESTAMP: "2026-01-01",
  KBUILD_BUILD_USER: "steadfast",
  KBUILD_BUILD_HOST: "steadfast",
  KBUILD_BUILD_VERSION: "1",
};

/** Debian packages that the hardened kernel needs and this host lacks. */
export function missingBuildPackages(): string[] {
  const missing = TOOLS.filter(([program]) => findProgram(program) === undefined).map(([, packageName]) => packageName);
  if (!existsSync("/usr/include/stdio.h")) missing.push("libc6-dev");
  return missing;
}

/** What the hardened kernel of this version is asked to have. */
export function hardenedConfiguration(): string {
  return readFileSync(HARDENED_CONFIG_PATH, "utf8");
}

/** Without a wish: Debian's current source, configured by the file that comes with this version. */
export async function hardenedKernel(context: KernelContext, wish: KernelWish = {}): Promise<Kernel> {
  const { apt, paths } = context;
  const missing = missingBuildPackages();
  if (missing.length > 0) throw new SteadfastError("KERNEL_TOOLS_MISSING", { packages: missing.join(" ") });
  const source = wish.pinned ?? (await currentSource(apt));
  const packages = [source];
  const asked = wish.asked ?? hardenedConfiguration();
  const inputs = { version: RECIPE_VERSION, sha256: source.sha256, configuration: asked, compiler: await compilerVersion() };
  const key = kernelKey("hardened", inputs);
  const cached = loadKernel(paths, key);
  if (cached?.configuration !== undefined) return { ...cached, asked };

  requireSpace(paths.root);
  await fetchPackages(apt, paths, packages);
  const work = makeTemporaryDirectory(paths.temporary);
  try {
    const tree = await unpackSource(context, source, work);
    const objects = join(work, "objects");
    const configuration = await configure(context, tree, objects, asked);
    if (cached !== undefined) {
      keepConfiguration(paths, key, configuration);
      return { ...cached, asked, configuration };
    }
    const image = await compile(context, tree, objects);
    return { ...storeKernel(paths, key, { kind: "hardened", image, modules: [], packages, configuration }), asked };
  } finally {
    rmSync(work, { recursive: true, force: true, maxRetries: 3 });
  }
}

async function currentSource(apt: PrivateApt): Promise<AptPackage> {
  const name = (await apt.dependencyOf(METAPACKAGE, /^linux-source-\d/)) ?? METAPACKAGE;
  const source = (await apt.describe([name])).find((entry) => entry.name === name);
  if (source === undefined) throw new SteadfastError("PACKAGE_UNKNOWN", { package: name, recipe: "of the hardened kernel" });
  return source;
}

async function compilerVersion(): Promise<string> {
  const compiler = await runStep("asking the compiler for its version", `${CROSS_PREFIX}gcc`, ["--version"]);
  const linker = await runStep("asking the linker for its version", `${CROSS_PREFIX}ld`, ["--version"]);
  return [compiler, linker].map((text) => text.split("\n")[0] ?? "").join("; ");
}

/** Better said before than after minutes of compiling. */
function requireSpace(directory: string): void {
  makeDirectory(directory);
  const facts = statfsSync(directory);
  if ((facts.bavail * facts.bsize) / 1048576 < SPACE_NEEDED_MIB) throw new SteadfastError("DISK_FULL", { directory });
}

async function unpackSource(context: KernelContext, source: AptPackage, work: string): Promise<string> {
  const step = "unpacking the kernel source";
  context.onProgress({ step });
  await runStep(step, "dpkg-deb", ["-x", packagePath(context.paths, source), work], { directory: work, signal: context.signal });
  const archive = join(work, "usr", "src", `${source.name}.tar.xz`);
  const exclusions = SKIPPED.map((pattern) => `--exclude=${pattern}`);
  const unpacker = spawn("tar", ["-x", "--no-same-owner", ...exclusions], { cwd: work, stdio: ["pipe", "ignore", "pipe"] });
  let errors = "";
  unpacker.stderr.on("data", (chunk: Buffer) => (errors = (errors + chunk.toString()).slice(-8192)));
  // When tar ends early its reason is in `errors`; the broken pipe itself says nothing.
  unpacker.stdin.on("error", () => undefined);
  const ended = once(unpacker, "close");
  let bytes = 0;
  const onOutput = (chunk: Buffer) => {
    bytes += chunk.length;
    context.onProgress({ step, fraction: Math.min(1, bytes / SOURCE_BYTES) });
    return unpacker.exitCode !== null || unpacker.stdin.write(chunk) ? undefined : once(unpacker.stdin, "drain");
  };
  const reader = await runCommand(APT_HELPER, ["cat-file", archive], { directory: work, onOutput, signal: context.signal });
  unpacker.stdin.end();
  const [exitCode] = (await ended) as [number | null];
  if (reader.exitCode !== 0) throw stepError(step, reader, work);
  if (exitCode !== 0) throw stepError(step, { exitCode: exitCode ?? 128, output: "", errors }, work);
  rmSync(archive, { force: true });
  return join(work, basename(archive, ".tar.xz"));
}

const makeWords = (tree: string, objects: string): string[] => [
  ...["-C", tree, "ARCH=riscv", `CROSS_COMPILE=${CROSS_PREFIX}`, `O=${objects}`],
];

/** The whole configuration that follows from what was asked for; every line of that is in it. */
async function configure(context: KernelContext, tree: string, objects: string, asked: string): Promise<string> {
  explaining(objects, () => mkdirSync(objects));
  const step = "configuring the hardened kernel";
  context.onProgress({ step });
  const askedPath = join(objects, "asked.config");
  writeDurably(askedPath, asked);
  const environment = { ...REPRODUCIBLE, KCONFIG_ALLCONFIG: askedPath };
  await runStep(step, "make", [...makeWords(tree, objects), "allnoconfig"], { directory: tree, environment, signal: context.signal });
  const configuration = readFileSync(join(objects, ".config"), "utf8");
  verifyConfiguration(asked, configuration);
  return configuration;
}

async function compile(context: KernelContext, tree: string, objects: string): Promise<Uint8Array> {
  makeDirectory(context.paths.logs);
  const logPath = join(context.paths.logs, "kernel-build.log");
  const log = createWriteStream(logPath);
  let logError: unknown;
  log.on("error", (error) => (logError = error));
  const common: CommandOptions = { directory: tree, environment: REPRODUCIBLE, signal: context.signal };
  const make = makeWords(tree, objects);
  try {
    let lines = 0;
    const onOutput = (chunk: Buffer) => {
      log.write(chunk);
      lines += chunk.filter((byte) => byte === 0x0a).length;
      context.onProgress({ step: "compiling the hardened kernel", fraction: Math.min(0.99, lines / BUILD_LINES) });
    };
    const jobs = Math.max(1, Math.min(JOBS_LIMIT, cpus().length));
    const result = await runCommand("nice", ["make", ...make, `-j${jobs}`, "Image"], { ...common, onOutput });
    if (result.exitCode !== 0) {
      log.write(result.errors);
      throw stepError(`compiling the hardened kernel (output in ${logPath})`, result, dirname(objects));
    }
  } finally {
    log.end();
    await once(log, "close").catch(() => undefined);
  }
  if (logError !== undefined) throw explainFileError(context.paths.logs, logError);
  const image = join(objects, "arch", "riscv", "boot", "Image");
  if (statSync(image, { throwIfNoEntry: false }) === undefined) {
    throw new SteadfastError("IMAGE_STEP_FAILED", { step: "compiling the hardened kernel", detail: "it left no Image" });
  }
  return flatKernel(readFileSync(image), image);
}

/** An option that the source no longer knows is dropped without a word; a protection must not get lost that way. */
export function verifyConfiguration(asked: string, got: string): void {
  const present = new Set(got.split("\n"));
  const isSet = new Set([...got.matchAll(/^(CONFIG_\w+)=/gm)].map((match) => match[1]));
  const lost = asked.split("\n").filter((line) => {
    const off = /^(?:# )?(CONFIG_\w+)(?:=n| is not set)$/.exec(line)?.[1];
    return off === undefined ? line.startsWith("CONFIG_") && !present.has(line) : isSet.has(off);
  });
  if (lost.length > 0) throw new SteadfastError("KERNEL_CONFIG_LOST", { lines: lost.join(", ") });
}

/** `asked` with other lines: what they say of an option takes the place of what was said before. */
export function withLines(asked: string, lines: string): string {
  const optionOf = (line: string): string | undefined => /^(?:# )?(CONFIG_\w+)(?:=| is not set$)/.exec(line)?.[1];
  const added = lines.split("\n").filter((line) => optionOf(line) !== undefined);
  const replaced = new Set(added.map(optionOf));
  const kept = asked.split("\n").filter((line) => {
    const option = optionOf(line);
    return option === undefined || !replaced.has(option);
  });
  return `${[...kept.join("\n").trimEnd().split("\n"), ...added].join("\n")}\n`;
}
