/** Data and checksums of one mirror: every block is read with its checksum, and written with it. */
import { assert } from "../foundation/assert.js";
import { equalBytes } from "../foundation/bytes.js";
import { BAD_HALF, CHECKSUM_BYTES, checksumBlock, checksumBlocks, viewOf } from "./block-checksum.js";
import { BLOCK_BYTES, MAX_FORMER_CHECKSUMS, MAX_UNCERTAIN_BLOCKS } from "./limits.js";
import { inSequence, joined, type Failure, type StoreFile } from "./store-file.js";

/** Reading of the table at the start, a piece at a time. */
const TABLE_PIECE_BYTES = 1024 * 1024;

export class MirrorBlocks {
  readonly #data: StoreFile;
  readonly #checksums: StoreFile;
  /** Two words a block. */
  #table = new Uint32Array(0);
  readonly #scratch = new Uint32Array(2);
  /**
   * By block: checksums from before writes that failed, two words each. Such a block holds what it held before, or what was to be written,
   * as on any disk; which of them, its next reading tells.
   */
  readonly #former = new Map<number, Uint32Array[]>();

  constructor(data: StoreFile, checksums: StoreFile) {
    this.#data = data;
    this.#checksums = checksums;
  }

  get #blocks(): number {
    return this.#table.length / 2;
  }

  load(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#table = new Uint32Array((sizeBytes / BLOCK_BYTES) * 2);
    const bytes = new Uint8Array(this.#table.buffer);
    const read = (offset: number): void => {
      if (offset >= bytes.length) return done(null);
      const lengthBytes = Math.min(TABLE_PIECE_BYTES, bytes.length - offset);
      this.#checksums.read(offset, lengthBytes, (failure, piece) => {
        // Blocks without a readable checksum are as good as unreadable, and are repaired like those.
        if (failure === null) bytes.set(piece, offset);
        else bytes.fill(0xff, offset, offset + lengthBytes);
        read(offset + lengthBytes);
      });
    };
    read(0);
  }

  /** Everything zero, of this size. */
  reset(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#table = new Uint32Array(0);
    this.#former.clear();
    inSequence(
      [
        (next) => this.#data.resize(0, next),
        (next) => this.#checksums.resize(0, next),
        (next) => this.resize(sizeBytes, next),
        (next) => this.flush(next),
      ],
      done,
    );
  }

  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    const table = new Uint32Array((sizeBytes / BLOCK_BYTES) * 2);
    table.set(this.#table.subarray(0, table.length));
    inSequence([(next) => this.#data.resize(sizeBytes, next), (next) => this.#checksums.resize(table.byteLength, next)], (failure) => {
      if (failure === null) this.#table = table;
      done(failure);
    });
  }

  flush(done: (failure: Failure) => void): void {
    const one = joined(2, done);
    this.#data.sync(one);
    this.#checksums.sync(one);
  }

  /** The bytes as far as they are good, zeros instead of bad blocks, whose numbers are given. */
  read(offset: number, lengthBytes: number, done: (bytes: Uint8Array, bad: readonly number[]) => void): void {
    this.#data.read(offset, lengthBytes, (failure, bytes) => {
      const first = offset / BLOCK_BYTES;
      if (failure !== null) return this.#readSingly(first, lengthBytes / BLOCK_BYTES, done);
      const bad = this.#badOf(first, bytes);
      for (const block of bad) bytes.fill(0, (block - first) * BLOCK_BYTES, (block - first + 1) * BLOCK_BYTES);
      done(bytes, bad);
    });
  }

  /** Something in there cannot be read: what of it? */
  #readSingly(first: number, count: number, done: (bytes: Uint8Array, bad: readonly number[]) => void): void {
    const whole = new Uint8Array(count * BLOCK_BYTES);
    const bad: number[] = [];
    const read = (index: number): void => {
      if (index === count) return done(whole, bad);
      this.#data.read((first + index) * BLOCK_BYTES, BLOCK_BYTES, (failure, bytes) => {
        if (failure !== null || this.#badOf(first + index, bytes).length > 0) bad.push(first + index);
        else whole.set(bytes, index * BLOCK_BYTES);
        read(index + 1);
      });
    };
    read(0);
  }

  #badOf(first: number, bytes: Uint8Array): number[] {
    const view = viewOf(bytes);
    const bad: number[] = [];
    for (let index = 0; index < bytes.length / BLOCK_BYTES; index += 1) {
      checksumBlock(view, index * BLOCK_BYTES, first + index, this.#scratch, 0);
      const at = (first + index) * 2;
      const isGood = this.#scratch[0] === this.#table[at] && this.#scratch[1] === this.#table[at + 1];
      if (!isGood && !this.#tookFormer(first + index, this.#scratch)) bad.push(first + index);
    }
    return bad;
  }

  /** Whether a write that failed has left the block as it was; then that counts from now on. */
  #tookFormer(block: number, checksum: Uint32Array): boolean {
    const isThis = this.#former.get(block)?.some((each) => each[0] === checksum[0] && each[1] === checksum[1]) === true;
    if (!isThis) return false;
    this.#former.delete(block);
    this.#table.set(checksum, block * 2);
    // Should this fail, the region is doubted all the same when the mirror is opened the next time.
    this.#writeTable(block, 1, () => undefined);
    return true;
  }

  #failedAt(first: number, before: Uint32Array): void {
    for (let index = 0; index < before.length / 2; index += 1) {
      const former = this.#former.get(first + index) ?? [];
      if (former.length === MAX_FORMER_CHECKSUMS || this.#former.size >= MAX_UNCERTAIN_BLOCKS) continue;
      this.#former.set(first + index, [...former, before.slice(index * 2, index * 2 + 2)]);
    }
  }

  #succeededAt(first: number, count: number): void {
    if (this.#former.size > 0) for (let block = first; block < first + count; block += 1) this.#former.delete(block);
  }

  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    const first = offset / BLOCK_BYTES;
    const count = bytes.length / BLOCK_BYTES;
    for (let block = first; block < first + count; block += 1) if (this.#isPoisoned(block)) return this.#writePoisoned(first, bytes, done);
    const before = this.#table.slice(first * 2, (first + count) * 2);
    this.#table.set(checksumBlocks(bytes, first), first * 2);
    const one = joined(2, (failure) => {
      if (failure === null) this.#succeededAt(first, count);
      else this.#failedAt(first, before);
      done(failure);
    });
    this.#data.write(offset, bytes, one);
    this.#writeTable(first, count, one);
  }

  /** What was there must not be taken for good if this is cut off: it stays poisoned until the new data are on the disk. */
  #writePoisoned(first: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    inSequence([(next) => this.#data.write(first * BLOCK_BYTES, bytes, next), (next) => this.#data.sync(next)], (failure) => {
      if (failure !== null) return done(failure);
      this.#table.set(checksumBlocks(bytes, first), first * 2);
      this.#writeTable(first, bytes.length / BLOCK_BYTES, done);
    });
  }

  #writeTable(first: number, count: number, done: (failure: Failure) => void): void {
    const piece = new Uint8Array(this.#table.buffer, first * CHECKSUM_BYTES, count * CHECKSUM_BYTES);
    this.#checksums.write(first * CHECKSUM_BYTES, piece, done);
  }

  /** What the table says, 8 bytes a block. */
  tableOf(offset: number, lengthBytes: number): Uint8Array {
    const first = offset / BLOCK_BYTES;
    const end = Math.min(first + lengthBytes / BLOCK_BYTES, this.#blocks);
    return new Uint8Array(this.#table.buffer, first * CHECKSUM_BYTES, (end - first) * CHECKSUM_BYTES).slice();
  }

  /** Mends the stored table where it differs from what is known here; else that would show at the next start only. */
  verifyTable(offset: number, lengthBytes: number, done: (failure: Failure, mended: readonly number[]) => void): void {
    const first = offset / BLOCK_BYTES;
    const known = this.tableOf(offset, lengthBytes);
    this.#checksums.read(first * CHECKSUM_BYTES, known.length, (readFailure, stored) => {
      const mended: number[] = [];
      for (let at = 0; at < known.length; at += CHECKSUM_BYTES) {
        const isEqual =
          readFailure === null && equalBytes(stored.subarray(at, at + CHECKSUM_BYTES), known.subarray(at, at + CHECKSUM_BYTES));
        if (!isEqual) mended.push(first + at / CHECKSUM_BYTES);
      }
      if (mended.length === 0) return done(null, mended);
      this.#writeTable(first, known.length / CHECKSUM_BYTES, (failure) => done(failure, mended));
    });
  }

  poison(blocks: readonly number[], done: (failure: Failure) => void): void {
    if (blocks.length === 0) return done(null);
    const one = joined(blocks.length, done);
    for (const block of blocks) {
      assert(block < this.#blocks, "a block of this disk");
      this.#former.delete(block);
      this.#table.fill(BAD_HALF, block * 2, block * 2 + 2);
      this.#writeTable(block, 1, one);
    }
  }

  #isPoisoned(block: number): boolean {
    return this.#table[block * 2] === BAD_HALF && this.#table[block * 2 + 1] === BAD_HALF;
  }

  /** Whatever is there counts from now on; what cannot be read stays bad, and so does what is known to be older than the disk. */
  adopt(blocks: readonly number[], done: (failure: Failure) => void): void {
    if (blocks.length === 0) return done(null);
    const one = joined(blocks.length, done);
    for (const block of blocks) {
      assert(block < this.#blocks, "a block of this disk");
      if (this.#isPoisoned(block)) {
        one(null);
        continue;
      }
      this.#data.read(block * BLOCK_BYTES, BLOCK_BYTES, (failure, bytes) => {
        if (failure !== null) return this.poison([block], one);
        checksumBlock(viewOf(bytes), 0, block, this.#table, block);
        this.#writeTable(block, 1, one);
      });
    }
  }
}
