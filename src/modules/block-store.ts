/**
 * The mirror that an I/O module holds: a directory with the data as they are, checksums, the log of regions and a header. Executes the
 * commands of whichever controller drives it (src/storage) and answers each.
 */
import { randomInt } from "node:crypto";
import { closeSync, mkdirSync, openSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { tryLock } from "../image/lock.js";
import { drillDisk, FaultyFile, noFaults, type DiskDrill, type DiskFaults } from "../storage/faulty-file.js";
import { CHECKSUM_BYTES } from "../storage/block-checksum.js";
import { BLOCK_BYTES } from "../storage/limits.js";
import { MirrorStore } from "../storage/mirror-store.js";
import type { MirrorFiles } from "../storage/store-file.js";
import type { MirrorHeader, StoreCommand, StoreReply } from "../storage/types.js";
import { openMirrorFiles, type OpenMirrorFiles } from "./block-files.js";

const LOCK_FILE = "lock";
const SLOW_LOOK_MS = 50;
const CLOSE_POLL_MS = 5;

export class BlockStore {
  readonly directory: string;
  /** Drills change these; they lie below the checksums. */
  readonly faults: DiskFaults;
  readonly #lockFile: number;
  readonly #opened: OpenMirrorFiles;
  readonly #store: MirrorStore;
  #onReply: (reply: StoreReply) => void = () => undefined;
  #underWay = 0;
  #isClosed = false;

  private constructor(directory: string, lockFile: number, opened: OpenMirrorFiles) {
    this.directory = directory;
    this.#lockFile = lockFile;
    this.faults = noFaults();
    this.#opened = opened;
    this.#store = new MirrorStore(withFaults(opened.files, this.faults), (reply) => {
      this.#underWay -= 1;
      this.#onReply(reply);
    });
  }

  /** Opens the mirror in this directory; one that is empty or missing becomes a blank mirror. Errors: MIRROR_UNUSABLE, MIRROR_BUSY. */
  static async open(directory: string): Promise<BlockStore> {
    const unusable = (why: string): SteadfastError => new SteadfastError("MIRROR_UNUSABLE", { directory, why });
    let lockFile: number;
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      lockFile = lock(directory);
    } catch (error) {
      throw error instanceof SteadfastError ? error : unusable((error as Error).message);
    }
    let opened: OpenMirrorFiles;
    try {
      opened = await openMirrorFiles(directory);
    } catch (error) {
      closeSync(lockFile);
      throw unusable((error as Error).message);
    }
    const store = new BlockStore(directory, lockFile, opened);
    const failure = await new Promise<string | null>((resolve) => store.#store.open((why) => resolve(why)));
    if (failure === null) return store;
    await store.close();
    throw unusable(failure);
  }

  get header(): MirrorHeader {
    return this.#store.header;
  }

  /** Where replies go from now on: to the controller that is active now. */
  onReply(listener: (reply: StoreReply) => void): void {
    this.#onReply = listener;
  }

  submit(command: StoreCommand): void {
    if (this.#isClosed) return;
    this.#underWay += 1;
    this.#store.submit(command);
  }

  /** Makes the disk below this mirror fail. Damage is told to nobody: that is what checksums are for. */
  drill(drill: DiskDrill): void {
    if (drill === "bit-rot") this.#rot();
    else drillDisk(this.faults, drill);
  }

  /** Turns over a bit of a block that was written, if there is one. */
  #rot(): void {
    const { data, checksums } = this.#opened.files;
    const blocks = this.#store.header.sizeBytes / BLOCK_BYTES;
    checksums.read(0, blocks * CHECKSUM_BYTES, (failure, table) => {
      if (failure !== null) return complain(failure);
      const sums = new BigUint64Array(table.buffer, table.byteOffset, blocks);
      const written = Array.from(sums.keys()).filter((block) => sums[block] !== 0n);
      const block = written[randomInt(Math.max(1, written.length))];
      if (block === undefined) return;
      const offset = block * BLOCK_BYTES + randomInt(BLOCK_BYTES);
      data.read(offset, 1, (readFailure, bytes) => {
        bytes[0] = (bytes[0] as number) ^ (1 << randomInt(8));
        if (readFailure === null) data.write(offset, bytes, (writeFailure) => writeFailure !== null && complain(writeFailure));
        else complain(readFailure);
      });
    });
  }

  /** After what is under way. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#underWay > 0) await new Promise((resolve) => setTimeout(resolve, CLOSE_POLL_MS));
    await new Promise<void>((resolve) => this.#opened.close(resolve));
    closeSync(this.#lockFile);
  }
}

function complain(why: string): void {
  process.stderr.write(`a drill failed: ${why}\n`);
}

function withFaults(files: MirrorFiles, faults: DiskFaults): MirrorFiles {
  // What a slow disk has under way is done at once when it is slow no more.
  const later = (delayMs: number, run: () => void): void => {
    if (delayMs <= 0 || faults.slowMs === 0) return run();
    const lookMs = Math.min(delayMs, SLOW_LOOK_MS);
    setTimeout(() => later(delayMs - lookMs, run), lookMs);
  };
  return { ...files, data: new FaultyFile(files.data, faults, later), checksums: new FaultyFile(files.checksums, faults, later) };
}

/** One process a mirror. The lock is the kernel's: it ends with the process that holds it, however that ends. */
function lock(directory: string): number {
  const file = openSync(join(directory, LOCK_FILE), "a+", 0o600);
  if (tryLock(file)) return file;
  closeSync(file);
  throw new SteadfastError("MIRROR_BUSY", { directory });
}
