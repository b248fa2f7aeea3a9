/** Recognises a RISC-V Linux kernel: the flat `Image` that the machine loads, also when it comes gzip-compressed. */

import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { SteadfastError } from "../foundation/errors.js";

const MAGIC = [0x52, 0x53, 0x43, 0x05];
const MAGIC_OFFSET = 0x38;
const HEADER_BYTES = 0x40;
const IMAGE_SIZE_OFFSET = 0x10;
/** No kernel is this large; a compressed file that unpacks to more is not one. */
const KERNEL_BYTES_LIMIT = 256 * 1024 * 1024;
/** Bytes of the version sentence that we look at. */
const VERSION_BYTES_LIMIT = 96;

/** The flat kernel inside a file; a clear error if there is none. */
export function readKernelFile(path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const detail = code === "ENOENT" ? "there is no such file" : String((error as Error).message);
    throw new SteadfastError("KERNEL_UNREADABLE", { what: "kernel", path, detail });
  }
  return flatKernel(bytes, path);
}

export function flatKernel(bytes: Uint8Array, path: string): Uint8Array {
  const wrong = (detail: string) => new SteadfastError("NOT_A_KERNEL", { path, detail });
  let flat = bytes;
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) {
    try {
      flat = gunzipSync(bytes, { maxOutputLength: KERNEL_BYTES_LIMIT });
    } catch {
      throw wrong("its gzip data is damaged or unpacks to too much");
    }
  }
  if (flat.length < HEADER_BYTES) throw wrong(`it has only ${flat.length} bytes`);
  if (flat.length > KERNEL_BYTES_LIMIT) throw wrong(`it has ${flat.length} bytes, more than any kernel`);
  if (!MAGIC.every((byte, index) => flat[MAGIC_OFFSET + index] === byte)) {
    throw wrong(isElf(flat) ? "it is an ELF file, such as vmlinux" : "the RISC-V mark is missing in its header");
  }
  const view = new DataView(flat.buffer, flat.byteOffset, flat.byteLength);
  const imageBytes = view.getUint32(IMAGE_SIZE_OFFSET, true) + view.getUint32(IMAGE_SIZE_OFFSET + 4, true) * 0x100000000;
  if (imageBytes === 0 || imageBytes > KERNEL_BYTES_LIMIT * 4) throw wrong(`its header tells of ${imageBytes} bytes in memory`);
  return flat;
}

/** The release that the kernel will call itself (`uname -r`), or "unknown". */
export function kernelRelease(kernel: Uint8Array): string {
  const marker = Buffer.from("Linux version ");
  const buffer = Buffer.from(kernel.buffer, kernel.byteOffset, kernel.byteLength);
  for (let at = buffer.indexOf(marker); at >= 0; at = buffer.indexOf(marker, at + 1)) {
    const match = /^Linux version (\d[^\s%]*) /.exec(buffer.toString("latin1", at, at + VERSION_BYTES_LIMIT));
    if (match?.[1] !== undefined) return match[1];
  }
  return "unknown";
}

function isElf(bytes: Uint8Array): boolean {
  return bytes[0] === 0x7f && bytes[1] === 0x45 && bytes[2] === 0x4c && bytes[3] === 0x46;
}
