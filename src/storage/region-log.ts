/**
 * The persistent log of regions that were written to: on the disk before the write is, and taken out lazily. In sectors of 512 bytes,
 * which disks write whole: a bitmap and its hash. A sector that does not have its hash counts as full: too much is compared then, never
 * too little.
 */
import { Hash } from "../foundation/hash.js";
import { REGIONS_AHEAD } from "./limits.js";
import { RegionSet, regionCount } from "./region-set.js";
import { inSequence, joined, type Failure, type StoreFile } from "./store-file.js";

export const SECTOR_BYTES = 512;
const BITMAP_BYTES = SECTOR_BYTES - 8;
export const REGIONS_PER_SECTOR = BITMAP_BYTES * 8;

export function logBytes(sizeBytes: number): number {
  return Math.ceil(regionCount(sizeBytes) / REGIONS_PER_SECTOR) * SECTOR_BYTES;
}

function hashOf(sector: number, bitmap: Uint8Array): bigint {
  return new Hash().number(sector).bytes(bitmap).value64();
}

function isEmpty(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

export class RegionLog {
  readonly #file: StoreFile;
  #regions = 0;
  #logged = new RegionSet(0);

  constructor(file: StoreFile) {
    this.#file = file;
  }

  get logged(): RegionSet {
    return this.#logged;
  }

  load(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#regions = regionCount(sizeBytes);
    this.#file.read(0, logBytes(sizeBytes), (failure, bytes) => {
      const bits = new Uint8Array(Math.ceil(this.#regions / 8));
      // What cannot be read is not known: everything is compared.
      if (failure !== null) bits.fill(0xff);
      else this.#readSectors(bytes, bits);
      this.#logged = new RegionSet(this.#regions, bits);
      done(null);
    });
  }

  #readSectors(bytes: Uint8Array, bits: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) {
      const sector = bytes.slice(at, at + SECTOR_BYTES);
      const bitmap = sector.subarray(0, BITMAP_BYTES);
      const stored = new DataView(sector.buffer).getBigUint64(BITMAP_BYTES, true);
      const number = at / SECTOR_BYTES;
      // A sector that was never written is empty, and so is its hash.
      if (!isEmpty(sector) && stored !== hashOf(number, bitmap)) bitmap.fill(0xff);
      bits.set(bitmap.subarray(0, Math.max(0, bits.length - number * BITMAP_BYTES)), number * BITMAP_BYTES);
    }
  }

  /** The disk is of another size now; what is logged stays. */
  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#regions = regionCount(sizeBytes);
    this.#logged = new RegionSet(this.#regions, this.#logged.bits);
    this.#file.resize(logBytes(sizeBytes), done);
  }

  /** Begins anew, empty. */
  reset(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#regions = regionCount(sizeBytes);
    this.#logged = new RegionSet(this.#regions);
    inSequence([(next) => this.#file.resize(0, next), (next) => this.#file.resize(logBytes(sizeBytes), next)], done);
  }

  /** Durable when it is done. Regions that sequential writes reach next are marked along. */
  mark(regions: Iterable<number>, done: (failure: Failure) => void): void {
    const added: number[] = [];
    for (const region of regions) {
      if (!this.#logged.add(region)) continue;
      added.push(region);
      if (region === 0 || !this.#logged.has(region - 1)) continue;
      for (let ahead = 1; ahead <= REGIONS_AHEAD; ahead += 1) if (this.#logged.add(region + ahead)) added.push(region + ahead);
    }
    if (added.length === 0) return done(null);
    this.#write(added, (failure) => {
      if (failure === null) return this.#file.sync((syncFailure) => this.#marked(added, syncFailure, done));
      this.#marked(added, failure, done);
    });
  }

  /** A region that could not be marked is not: the next write to it tries again. */
  #marked(added: readonly number[], failure: Failure, done: (failure: Failure) => void): void {
    if (failure !== null) for (const region of added) this.#logged.delete(region);
    done(failure);
  }

  /** Takes out all but these. Not synced: a region too much in the log does no harm. */
  keepOnly(except: Iterable<number>, done: (failure: Failure) => void): void {
    const kept = new RegionSet(this.#regions);
    for (const region of except) if (this.#logged.has(region)) kept.add(region);
    const removed = [...this.#logged].filter((region) => !kept.has(region));
    this.#logged = kept;
    this.#write(removed, done);
  }

  #write(changed: readonly number[], done: (failure: Failure) => void): void {
    const sectors = [...new Set(changed.map((region) => Math.floor(region / REGIONS_PER_SECTOR)))];
    if (sectors.length === 0) return done(null);
    const one = joined(sectors.length, done);
    for (const number of sectors) {
      const sector = new Uint8Array(SECTOR_BYTES);
      sector.set(this.#logged.bits.subarray(number * BITMAP_BYTES, (number + 1) * BITMAP_BYTES));
      new DataView(sector.buffer).setBigUint64(BITMAP_BYTES, hashOf(number, sector.subarray(0, BITMAP_BYTES)), true);
      this.#file.write(number * SECTOR_BYTES, sector, one);
    }
  }
}
