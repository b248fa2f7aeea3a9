/** Builds the small test guest (board-guest.c) with Debian's cross compiler, and makes machines that run it. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { compileCore, createRv64Machine } from "../../dist/machine/engines/rv64/index.js";
import type { Machine, MachineInput, MachineOutput, MachineResult } from "../../dist/machine/machine.js";

/** Compiled tests lie in dist-test/, sources and the compiled project beside it. */
const root = fileURLToPath(new URL("../../", import.meta.url));
export const sourceFile = (name: string): string => join(root, "test/support", name);

const COMPILER = "riscv64-linux-gnu-gcc";
const FLAGS = (
  "-O2 -nostdlib -nostartfiles -static -ffreestanding -fno-pic -fno-tree-loop-distribute-patterns -mcmodel=medany " +
  "-march=rv64gc -mabi=lp64d -msmall-data-limit=0 -Wl,--build-id=none -Wl,--no-warn-rwx-segments"
).split(" ");

/** Runs a host tool of Debian; a missing one fails the test with the package to install. */
export function hostTool(tool: string, packageName: string, args: readonly string[]): Buffer {
  try {
    return execFileSync(tool, args, { stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new Error(`This test needs ${tool}: apt-get install ${packageName}`, { cause: error });
  }
}

/** Compiles and links C or assembly files; returns the ELF file and, as a flat binary, its contents. */
export function buildProgram(script: string, sources: readonly string[], options: readonly string[] = []): { elf: Buffer; flat: Buffer } {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-board-"));
  try {
    const elf = join(directory, "program.elf");
    const flat = join(directory, "program.bin");
    hostTool(COMPILER, "gcc-riscv64-linux-gnu", [...FLAGS, ...options, `-Wl,-T,${script}`, ...sources, "-o", elf]);
    hostTool("riscv64-linux-gnu-objcopy", "binutils-riscv64-linux-gnu", ["-O", "binary", "-R", ".bss", elf, flat]);
    return { elf: readFileSync(elf), flat: readFileSync(flat) };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

let kernel: Buffer | undefined;
export function guestKernel(): Buffer {
  kernel ??= buildProgram(sourceFile("board-guest.ld"), [sourceFile("board-guest.c")]).flat;
  return kernel;
}

let core: ReturnType<typeof compileCore> | undefined;
export function guestCore(): ReturnType<typeof compileCore> {
  const path = join(root, "dist/machine/engines/rv64/core.wasm");
  if (!existsSync(path)) throw new Error("dist/machine/engines/rv64/core.wasm is missing: npm run build");
  core ??= compileCore(readFileSync(path));
  return core;
}

export interface GuestOverrides {
  readonly ramBytes?: number;
  readonly imageDigest?: string;
  readonly harts?: number;
  readonly macAddress?: string;
  readonly diskBytes?: number;
  readonly initrd?: Uint8Array;
  readonly bootFilesOf?: (image: string) => { readonly kernel: Uint8Array; readonly initrd: Uint8Array };
}

export function createGuest(overrides: GuestOverrides = {}): Machine {
  return createRv64Machine({
    ...(overrides.diskBytes === undefined ? {} : { diskBytes: overrides.diskBytes }),
    ...(overrides.macAddress === undefined ? {} : { macAddress: overrides.macAddress }),
    core: guestCore(),
    kernel: guestKernel(),
    initrd: overrides.initrd ?? new Uint8Array(5000).fill(3),
    ...(overrides.bootFilesOf === undefined ? {} : { bootFilesOf: overrides.bootFilesOf }),
    commandLine: "test",
    ramBytes: overrides.ramBytes ?? 64 << 20,
    harts: overrides.harts ?? 1,
    epochNs: 1_790_000_000_000_000_000n,
    imageDigest: overrides.imageDigest ?? "test",
  });
}

export const powerOn: MachineInput = { kind: "powerOn", entropy: new Uint8Array(64).fill(9) };
export const typed = (text: string): MachineInput => ({ kind: "console", bytes: new TextEncoder().encode(text) });

/** An Ethernet frame with addresses and a payload that depend on `number`. */
export function frame(number: number, length = 64): MachineInput {
  const bytes = new Uint8Array(length);
  for (let index = 0; index < length; index++) bytes[index] = (index * 7 + number) & 0xff;
  return { kind: "frame", port: 0, bytes };
}

export function consoleText(outputs: readonly MachineOutput[]): string {
  return outputs.map((output) => (output.kind === "console" ? new TextDecoder().decode(output.bytes) : "")).join("");
}

/** Drives one machine through numbered ticks, as a sequencer would. */
export class Driver {
  nowNs = 0n;
  readonly results: MachineResult[] = [];

  constructor(readonly machine: Machine) {}

  tick(inputs: readonly MachineInput[] = [], budget = 100_000): MachineResult {
    const result = this.machine.run({ nowNs: this.nowNs, budget, inputs });
    this.nowNs = result.timeNs + 50_000n;
    this.results.push(result);
    return result;
  }
}
