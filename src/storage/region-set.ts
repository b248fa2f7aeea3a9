/** A set of regions of a disk, as a bitmap. */
import { REGION_BYTES } from "./limits.js";

export function regionCount(sizeBytes: number): number {
  return Math.ceil(sizeBytes / REGION_BYTES);
}

/** The regions that a range of bytes touches. */
export function* regionsOf(offset: number, lengthBytes: number): Generator<number> {
  for (let region = Math.floor(offset / REGION_BYTES); region * REGION_BYTES < offset + lengthBytes; region += 1) yield region;
}

export class RegionSet {
  readonly bits: Uint8Array;
  #size = 0;

  constructor(regions: number, bits: Uint8Array = new Uint8Array(0)) {
    this.bits = new Uint8Array(Math.ceil(regions / 8));
    for (let region = 0; region < Math.min(regions, bits.length * 8); region += 1)
      if (((bits[region >> 3] as number) & (1 << (region & 7))) !== 0) this.add(region);
  }

  get size(): number {
    return this.#size;
  }

  has(region: number): boolean {
    return ((this.bits[region >> 3] ?? 0) & (1 << (region & 7))) !== 0;
  }

  /** True: it was not in there. */
  add(region: number): boolean {
    const byte = region >> 3;
    if (byte >= this.bits.length || this.has(region)) return false;
    this.bits[byte] = (this.bits[byte] as number) | (1 << (region & 7));
    this.#size += 1;
    return true;
  }

  delete(region: number): boolean {
    if (!this.has(region)) return false;
    const byte = region >> 3;
    this.bits[byte] = (this.bits[byte] as number) & ~(1 << (region & 7));
    this.#size -= 1;
    return true;
  }

  addAll(other: Iterable<number>): void {
    for (const region of other) this.add(region);
  }

  /** The first one from here on, or null. */
  next(from = 0): number | null {
    if (this.#size === 0) return null;
    for (let byte = from >> 3; byte < this.bits.length; byte += 1) {
      if (this.bits[byte] === 0) continue;
      for (let region = Math.max(from, byte * 8); region < byte * 8 + 8; region += 1) if (this.has(region)) return region;
    }
    return null;
  }

  *[Symbol.iterator](): Generator<number> {
    for (let region = this.next(); region !== null; region = this.next(region + 1)) yield region;
  }
}
