/**
 * The checksum of a block: 64 bits from four lanes of xor, multiply and rotate, keyed by the block's number, so that a block that was
 * written to another place is found there. Each step of a lane can be undone, so a change in one lane always changes the result. It
 * finds accidents, not attackers. Some 2 GB/s; little-endian hosts.
 *
 * A block of zeros has checksum 0: the table of a sparse disk is sparse as well, and zeros are equal to what was never written.
 */
import { BLOCK_BYTES } from "./limits.js";

export const CHECKSUM_BYTES = 8;
/** Both halves of the checksum that no block has. */
export const BAD_HALF = 0xffffffff;

/** The words of bytes whose length is a multiple of four; copied if they are not aligned. */
export function wordsOf(bytes: Uint8Array): Uint32Array {
  // Not slice(): that of a Node Buffer copies nothing.
  const aligned = (bytes.byteOffset & 3) === 0 ? bytes : new Uint8Array(bytes);
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length >> 2);
}

/**
 * Checksum of the block at `at` in `view`, which is block number `block` of the disk, into `out[slot * 2]` and the next. A view reads
 * words wherever they lie: what comes off the wire is hardly ever aligned, and to copy it first costs more than the checksum.
 */
export function checksumBlock(view: DataView, at: number, block: number, out: Uint32Array, slot: number): void {
  let a = block ^ 0x243f6a88;
  let b = Math.imul(block, 0x9e3779b1) ^ 0x13198a2e;
  let c = Math.imul(block + 1, 0x85ebca77);
  let d = ~block;
  let any = 0;
  for (let next = at; next < at + BLOCK_BYTES; next += 16) {
    const first = view.getInt32(next, true);
    const second = view.getInt32(next + 4, true);
    const third = view.getInt32(next + 8, true);
    const fourth = view.getInt32(next + 12, true);
    any |= first | second | third | fourth;
    a = Math.imul(a ^ first, 0x85ebca6b);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b ^ second, 0xc2b2ae35);
    b = (b << 15) | (b >>> 17);
    c = Math.imul(c ^ third, 0x27d4eb2f);
    c = (c << 11) | (c >>> 21);
    d = Math.imul(d ^ fourth, 0x165667b1);
    d = (d << 17) | (d >>> 15);
  }
  const low = any === 0 ? 0 : (a ^ b ^ c ^ d) >>> 0;
  const high =
    any === 0 ? 0 : (Math.imul(a, 0x2c1b3c6d) + Math.imul(b, 0x297a2d39) + Math.imul(c, 0x3ad8025f) + Math.imul(d, 0x1b56c4e9)) >>> 0;
  out[slot * 2] = any !== 0 && high === 0 && low === 0 ? 1 : low;
  out[slot * 2 + 1] = high === BAD_HALF ? high - 1 : high;
}

/** For `checksumBlock`. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** Checksums of whole blocks, the first of which is block number `block`. */
export function checksumBlocks(bytes: Uint8Array, block: number): Uint32Array {
  const count = bytes.length / BLOCK_BYTES;
  const view = viewOf(bytes);
  const out = new Uint32Array(count * 2);
  for (let index = 0; index < count; index += 1) checksumBlock(view, index * BLOCK_BYTES, block + index, out, index);
  return out;
}
