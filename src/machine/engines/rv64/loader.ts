/**
 * Puts a kernel, its RAM disk and the device tree into RAM, as a boot loader would (Documentation/arch/riscv/boot.rst of Linux):
 * the kernel 2 MiB above the start of RAM, the RAM disk as high as it goes, the device tree in the last 64 KiB.
 */
import { SteadfastError } from "../../../foundation/errors.js";
import { buildDeviceTree, type DeviceTreeOptions } from "./device-tree.js";
import type { GuestMemory } from "./guest-memory.js";
import { DRAM, MAX_RAM_BYTES, RAM } from "./layout.js";

const MIB = 1 << 20;
export const MIN_RAM_BYTES = 64 * MIB;
export const KERNEL_OFFSET = 0x200000;
const DEVICE_TREE_BYTES = 0x10000;
const PAGE_BYTES = 4096;
/** RAM that a kernel needs besides its own image and the RAM disk to come up at all. */
const WORKING_BYTES = 16 * MIB;

const HEADER_BYTES = 64;
const IMAGE_SIZE_AT = 16;
const FLAGS_AT = 24;
const FLAG_BIG_ENDIAN = 1;
const MAGIC_AT = 0x38;
const MAGIC = 0x05435352; // "RSC\x05"

export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
}

/** Checks the header of a flat Image; returns the bytes of RAM that the kernel takes, BSS included. */
export function checkKernel(kernel: Uint8Array): number {
  const refuse = (why: string): never => {
    throw new SteadfastError("KERNEL_FORMAT", { why });
  };
  if (kernel.length < HEADER_BYTES) refuse("it is shorter than a kernel's header");
  const view = new DataView(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  if (view.getUint32(MAGIC_AT, true) !== MAGIC)
    refuse(kernel[0] === 0x1f && kernel[1] === 0x8b ? "it is compressed" : "its header has no RISC-V mark");
  if ((view.getUint32(FLAGS_AT, true) & FLAG_BIG_ENDIAN) !== 0) refuse("it is big-endian");
  const imageBytes = view.getBigUint64(IMAGE_SIZE_AT, true);
  if (imageBytes > BigInt(MAX_RAM_BYTES)) refuse("its header names an impossible size");
  return Math.max(Number(imageBytes), kernel.length);
}

/** Refuses a memory size that is out of range or cannot hold these files. */
export function checkMemory(ramBytes: number, files: BootFiles): void {
  const needed = KERNEL_OFFSET + checkKernel(files.kernel) + files.initrd.length + DEVICE_TREE_BYTES + WORKING_BYTES;
  const least = Math.max(MIN_RAM_BYTES, Math.ceil(needed / MIB) * MIB);
  const refuse = (why: string): never => {
    const megabytes = (bytes: number): number => bytes / MIB;
    throw new SteadfastError("GUEST_MEMORY", {
      memoryMiB: megabytes(ramBytes),
      why,
      leastMiB: megabytes(least),
      mostMiB: megabytes(MAX_RAM_BYTES),
    });
  };
  if (!Number.isInteger(ramBytes) || ramBytes % MIB !== 0) refuse("it is not a whole number of MiB");
  if (ramBytes > MAX_RAM_BYTES) refuse("it is more than the machine can address");
  if (ramBytes < MIN_RAM_BYTES) refuse("it is too little for a server");
  if (ramBytes < least) refuse("kernel and RAM disk do not fit");
}

/** Loads everything into cleared RAM; returns the guest-physical addresses where the kernel starts and where its device tree lies. */
export function loadBootFiles(
  memory: GuestMemory,
  files: BootFiles,
  harts: number,
  randomSeed: Uint8Array,
  devices: Pick<DeviceTreeOptions, "hasDisk" | "hasAgentPort">,
): { readonly entry: number; readonly deviceTree: number } {
  const treeOffset = memory.ramBytes - DEVICE_TREE_BYTES;
  const initrdOffset = (treeOffset - files.initrd.length) & ~(PAGE_BYTES - 1);
  const initrdStart = DRAM + (initrdOffset >>> 0);
  const tree = buildDeviceTree({
    ramBytes: memory.ramBytes,
    harts,
    commandLine: files.commandLine,
    initrdStart,
    initrdEnd: initrdStart + files.initrd.length,
    randomSeed,
    ...devices,
  });
  if (tree.length > DEVICE_TREE_BYTES)
    throw new SteadfastError("USAGE", { what: "The kernel command line is too long; 32 KiB are enough for anyone." });
  memory.bytes.set(files.kernel, RAM + KERNEL_OFFSET);
  memory.bytes.set(files.initrd, RAM + (initrdOffset >>> 0));
  memory.bytes.set(tree, RAM + treeOffset);
  return { entry: DRAM + KERNEL_OFFSET, deviceTree: DRAM + treeOffset };
}
