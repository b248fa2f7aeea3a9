/**
 * Checkpoints of a CPU module in files: `pages` holds pages in slots, `index` says which page of the verified checkpoint is in which
 * slot. Slots of the verified checkpoint are never written to; the index is replaced in one step. So a module that dies at any moment
 * leaves a checkpoint that another process can read. In the run directory, which is memory on most hosts: none of it outlives the server.
 */
import { closeSync, mkdirSync, openSync, readFileSync, readSync, renameSync, writeFileSync, writevSync } from "node:fs";
import { readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "../foundation/assert.js";
import type { CheckpointStore, StoredCheckpoint } from "../lockstep/checkpoint-store.js";
import type { ImagePiece } from "../machine/machine.js";
import { SlotPool } from "./slot-pool.js";

const PAGE_BYTES = 4096;
/** "SFC1". */
const MAGIC = 0x31434653;
/** magic u32, pages u32, seq f64, configuration u32, length of the state record u32; then a slot (i32) for each page, then the record. */
const HEADER_BYTES = 24;
/** Instead of a slot: the page is all zero. */
const ZERO = -1;
const NONE = -2;
const READ_SLOTS = 1024;
/** Below what a system takes in one call (IOV_MAX, 1024 on Linux). */
const WRITTEN_AT_ONCE = 512;

/** Pages that go to slots that follow one another. */
interface SlotRun {
  readonly first: number;
  readonly pages: Uint8Array[];
}

/** In one call: most of what a small write costs is the call. */
function writeRun(file: number, { first, pages }: SlotRun): void {
  if (pages.length === 0) return;
  const written = writevSync(file, pages, first * PAGE_BYTES);
  if (written !== pages.length * PAGE_BYTES) throw new Error(`only ${written} of ${pages.length * PAGE_BYTES} bytes were written`);
}

/** Stores of all CPU modules of a server; the I/O module and management read there too. */
export function checkpointDirectory(config: { readonly runDirectory: string }): string {
  return `${config.runDirectory}/checkpoints`;
}

/** Whatever modules that are gone, or checkpoints that were overtaken, have left. */
export async function removeOtherCheckpoints(directory: string, kept: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (name !== kept) await rm(join(directory, name), { recursive: true, force: true });
  }
}

export class FileCheckpointStore implements CheckpointStore {
  readonly #directory: string;
  readonly #prefix: string;
  readonly #pages: number;
  #opened = 0;
  #path = "";
  #file: number | null = null;
  /** Slot of each page of the verified checkpoint, and of those put since; NONE: as in the verified one. */
  readonly #slots: Int32Array;
  readonly #pending: Int32Array;
  #pool = new SlotPool(0);
  #state: Uint8Array | null = null;
  #sealed: StoredCheckpoint | null = null;

  /** `prefix`: unique among all that write into `directory`. */
  constructor(directory: string, prefix: string, ramBytes: number) {
    this.#directory = directory;
    this.#prefix = prefix;
    this.#pages = ramBytes / PAGE_BYTES;
    this.#slots = new Int32Array(this.#pages);
    this.#pending = new Int32Array(this.#pages);
  }

  open(): string {
    assert(this.#file === null, "one checkpoint at a time");
    this.#opened += 1;
    const name = `${this.#prefix}-${this.#opened}`;
    this.#path = `${this.#directory}/${name}`;
    mkdirSync(this.#path, { recursive: true, mode: 0o700 });
    this.#file = openSync(`${this.#path}/pages`, "w+", 0o600);
    this.#slots.fill(ZERO);
    this.#pending.fill(NONE);
    this.#pool = new SlotPool(2 * this.#pages);
    this.#state = null;
    this.#sealed = null;
    return name;
  }

  put(pieces: readonly ImagePiece[]): void {
    assert(this.#file !== null, "the store is open");
    let run: SlotRun = { first: 0, pages: [] };
    for (const { page, bytes } of pieces) {
      if (page < 0) this.#state = bytes.slice();
      else if (bytes.length === 0) this.#place(page, ZERO);
      else {
        const earlier = this.#pending[page] as number;
        const slot = earlier >= 0 ? earlier : this.#pool.take();
        if (slot !== run.first + run.pages.length || run.pages.length === WRITTEN_AT_ONCE) {
          writeRun(this.#file, run);
          run = { first: slot, pages: [] };
        }
        run.pages.push(bytes);
        this.#place(page, slot);
      }
    }
    writeRun(this.#file, run);
  }

  #place(page: number, slot: number): void {
    const earlier = this.#pending[page] as number;
    if (earlier >= 0 && earlier !== slot) this.#pool.release(earlier);
    this.#pending[page] = slot;
  }

  seal(checkpoint: StoredCheckpoint): void {
    assert(this.#state !== null, "a checkpoint has a state record");
    this.#sealed = checkpoint;
  }

  verified(): void {
    if (this.#sealed === null || this.#state === null) return;
    for (let page = 0; page < this.#pages; page += 1) {
      const slot = this.#pending[page] as number;
      if (slot === NONE) continue;
      const former = this.#slots[page] as number;
      if (former >= 0) this.#pool.release(former);
      this.#slots[page] = slot;
      this.#pending[page] = NONE;
    }
    this.#writeIndex(this.#sealed, this.#state);
    this.#sealed = null;
  }

  #writeIndex({ seq, configuration }: StoredCheckpoint, state: Uint8Array): void {
    const index = Buffer.alloc(HEADER_BYTES + this.#pages * 4 + state.length);
    index.writeUInt32LE(MAGIC, 0);
    index.writeUInt32LE(this.#pages, 4);
    index.writeDoubleLE(seq, 8);
    index.writeUInt32LE(configuration, 16);
    index.writeUInt32LE(state.length, 20);
    index.set(new Uint8Array(this.#slots.buffer), HEADER_BYTES);
    index.set(state, HEADER_BYTES + this.#pages * 4);
    writeFileSync(`${this.#path}/index.new`, index, { mode: 0o600 });
    renameSync(`${this.#path}/index.new`, `${this.#path}/index`);
  }

  close(retire: boolean): void {
    if (this.#file === null) return;
    closeSync(this.#file);
    this.#file = null;
    if (retire) return;
    // A file as large as the guest's memory: to remove it takes longer than a tick, and nothing waits for that.
    rm(this.#path, { recursive: true, force: true }).catch((error: Error) => {
      process.stderr.write(`a checkpoint cannot be removed: ${error.message}\n`);
    });
  }

  load(name: string, restore: (piece: ImagePiece) => void): StoredCheckpoint {
    const { checkpoint, pieces } = readCheckpoint(`${this.#directory}/${name}`);
    for (const piece of pieces) restore(piece);
    return checkpoint;
  }
}

/** Tick of the verified checkpoint in a store's directory; null: its keeper has not written one yet. */
export async function checkpointSeq(path: string): Promise<number | null> {
  try {
    const index = await readFile(`${path}/index`);
    return index.length >= HEADER_BYTES && index.readUInt32LE(0) === MAGIC ? index.readDoubleLE(8) : null;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return null;
    throw error;
  }
}

/** The verified checkpoint in a store's directory, its state record last. The bytes of a piece are good until the next is asked for. */
export function readCheckpoint(path: string): { checkpoint: StoredCheckpoint; pieces: Iterable<ImagePiece> } {
  const index = readFileSync(`${path}/index`);
  const isIndex = index.length >= HEADER_BYTES && index.readUInt32LE(0) === MAGIC;
  const pages = isIndex ? index.readUInt32LE(4) : 0;
  const stateBytes = isIndex ? index.readUInt32LE(20) : 0;
  if (!isIndex || index.length !== HEADER_BYTES + pages * 4 + stateBytes) throw new Error(`${path}/index is not the index of a checkpoint`);
  const checkpoint = { seq: index.readDoubleLE(8), configuration: index.readUInt32LE(16) };
  return { checkpoint, pieces: piecesOf(path, index, pages) };
}

function* piecesOf(path: string, index: Buffer, pages: number): Generator<ImagePiece> {
  const pageAt = new Map<number, number>();
  for (let page = 0; page < pages; page += 1) {
    const slot = index.readInt32LE(HEADER_BYTES + page * 4);
    if (slot < 0) yield { page, bytes: new Uint8Array(0) };
    else pageAt.set(slot, page);
  }
  yield* slotsOf(`${path}/pages`, pageAt);
  yield { page: -1, bytes: index.subarray(HEADER_BYTES + pages * 4) };
}

/** Reads the file of slots from front to back. */
function* slotsOf(path: string, pageAt: ReadonlyMap<number, number>): Generator<ImagePiece> {
  const file = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(READ_SLOTS * PAGE_BYTES);
    for (let first = 0; ; first += READ_SLOTS) {
      const slots = Math.floor(readSync(file, buffer, 0, buffer.length, first * PAGE_BYTES) / PAGE_BYTES);
      for (let slot = 0; slot < slots; slot += 1) {
        const page = pageAt.get(first + slot);
        if (page !== undefined) yield { page, bytes: buffer.subarray(slot * PAGE_BYTES, (slot + 1) * PAGE_BYTES) };
      }
      if (slots < READ_SLOTS) return;
    }
  } finally {
    closeSync(file);
  }
}
