/**
 * A file in memory for the simulator and tests: what was not synced may be lost with the power, block by block, and a block that was
 * being written may be torn. Faults are injected above it (faulty-file.ts).
 */
import type { SeededRandom } from "../foundation/random.js";
import type { Failure, StoreFile } from "./store-file.js";

const SECTOR_BYTES = 512;

export class MemoryFile implements StoreFile {
  /** What programs see. */
  #bytes = new Uint8Array(0);
  #sizeBytes = 0;
  /** What is on the disk for certain; sectors written since the last sync are in `#volatile`. */
  #durable = new Uint8Array(0);
  readonly #volatile = new Set<number>();

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** As it is, for checkers and for damage. */
  get contents(): Uint8Array {
    return this.#bytes.subarray(0, this.#sizeBytes);
  }

  read(offset: number, lengthBytes: number, done: (failure: Failure, bytes: Uint8Array) => void): void {
    const bytes = new Uint8Array(lengthBytes);
    bytes.set(this.contents.subarray(Math.min(offset, this.#sizeBytes), offset + lengthBytes));
    done(null, bytes);
  }

  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    this.#grow(offset + bytes.length);
    this.#bytes.set(bytes, offset);
    for (let sector = Math.floor(offset / SECTOR_BYTES); sector * SECTOR_BYTES < offset + bytes.length; sector += 1)
      this.#volatile.add(sector);
    done(null);
  }

  sync(done: (failure: Failure) => void): void {
    this.#settle(() => true);
    done(null);
  }

  /** Counts as durable at once. */
  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    if (sizeBytes < this.#sizeBytes) {
      this.#bytes.fill(0, sizeBytes);
      this.#durable.fill(0, sizeBytes);
    }
    this.#grow(sizeBytes);
    this.#sizeBytes = sizeBytes;
    done(null);
  }

  /** The power fails: of what was not synced some sectors are on the disk, and some are not. */
  losePower(random: SeededRandom): void {
    const share = random.pick([0, 0.2, 0.5, 0.8, 1]);
    this.#settle(() => random.chance(share));
  }

  #settle(isKept: () => boolean): void {
    for (const sector of this.#volatile) {
      const [from, to] = [sector * SECTOR_BYTES, (sector + 1) * SECTOR_BYTES];
      if (isKept()) this.#durable.set(this.#bytes.subarray(from, to), from);
      else this.#bytes.set(this.#durable.subarray(from, to), from);
    }
    this.#volatile.clear();
  }

  #grow(sizeBytes: number): void {
    this.#sizeBytes = Math.max(this.#sizeBytes, sizeBytes);
    if (sizeBytes <= this.#bytes.length) return;
    const room = Math.ceil(Math.max(sizeBytes, this.#bytes.length * 2) / SECTOR_BYTES) * SECTOR_BYTES;
    const enlarge = (old: Uint8Array): Uint8Array<ArrayBuffer> => {
      const larger = new Uint8Array(room);
      larger.set(old);
      return larger;
    };
    this.#bytes = enlarge(this.#bytes);
    this.#durable = enlarge(this.#durable);
  }
}
