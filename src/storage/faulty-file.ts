/** A file with faults below the mirror, as disks have them: for tests, the simulator and drills. */
import type { Failure, StoreFile } from "./store-file.js";

export interface DiskFaults {
  /** These byte ranges cannot be read until they are written again. */
  unreadable: { readonly offset: number; readonly lengthBytes: number }[];
  /** Nothing more can be written, as on a full file system. */
  isFull: boolean;
  readErrors: boolean;
  writeErrors: boolean;
  syncErrors: boolean;
  /** So many writes are lost, misdirected or torn from now on, without a word. */
  lostWrites: number;
  misdirectedWrites: number;
  tornWrites: number;
  /** Every operation takes this much longer. */
  slowMs: number;
}

export function noFaults(): DiskFaults {
  return {
    unreadable: [],
    isFull: false,
    readErrors: false,
    writeErrors: false,
    syncErrors: false,
    lostWrites: 0,
    misdirectedWrites: 0,
    tornWrites: 0,
    slowMs: 0,
  };
}

/** What a drill does to the disk below a mirror. `disk-heal` ends what lasts. */
export const DISK_DRILLS = [
  "bit-rot",
  "lost-write",
  "torn-write",
  "misdirected-write",
  "disk-errors",
  "disk-full",
  "disk-slow",
  "disk-heal",
] as const;
export type DiskDrill = (typeof DISK_DRILLS)[number];

/** Longer than a mirror may lag behind another one. */
const SLOW_DRILL_MS = 2000;

/** All but bit rot, which is damage to the file itself. */
export function drillDisk(faults: DiskFaults, drill: Exclude<DiskDrill, "bit-rot">): void {
  switch (drill) {
    case "lost-write":
      faults.lostWrites += 1;
      return;
    case "torn-write":
      faults.tornWrites += 1;
      return;
    case "misdirected-write":
      faults.misdirectedWrites += 1;
      return;
    case "disk-errors":
      faults.readErrors = true;
      faults.writeErrors = true;
      return;
    case "disk-full":
      faults.isFull = true;
      return;
    case "disk-slow":
      faults.slowMs = SLOW_DRILL_MS;
      return;
    case "disk-heal":
      Object.assign(faults, noFaults());
  }
}

const BLOCK_BYTES = 4096;

export class FaultyFile implements StoreFile {
  readonly faults: DiskFaults;
  readonly #file: StoreFile;
  readonly #later: (delayMs: number, run: () => void) => void;

  /** `later` runs something after a delay: a timer, or the simulator's time line. */
  constructor(file: StoreFile, faults: DiskFaults, later: (delayMs: number, run: () => void) => void) {
    this.#file = file;
    this.faults = faults;
    this.#later = later;
  }

  #delayed(run: () => void): void {
    if (this.faults.slowMs > 0) this.#later(this.faults.slowMs, run);
    else run();
  }

  read(offset: number, lengthBytes: number, done: (failure: Failure, bytes: Uint8Array) => void): void {
    const isBad = this.faults.unreadable.some((range) => range.offset < offset + lengthBytes && offset < range.offset + range.lengthBytes);
    this.#delayed(() => {
      if (isBad || this.faults.readErrors) done("EIO: input/output error, read", new Uint8Array(lengthBytes));
      else this.#file.read(offset, lengthBytes, done);
    });
  }

  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    const { faults } = this;
    this.#delayed(() => {
      if (faults.isFull) return done("ENOSPC: no space left on device, write");
      if (faults.writeErrors) return done("EIO: input/output error, write");
      faults.unreadable = faults.unreadable.filter(
        (range) => range.offset + range.lengthBytes <= offset || offset + bytes.length <= range.offset,
      );
      if (faults.lostWrites > 0) {
        faults.lostWrites -= 1;
        return done(null);
      }
      if (faults.misdirectedWrites > 0 && offset >= BLOCK_BYTES) {
        faults.misdirectedWrites -= 1;
        return this.#file.write(offset - BLOCK_BYTES, bytes, done);
      }
      if (faults.tornWrites > 0 && bytes.length >= 1024) {
        faults.tornWrites -= 1;
        return this.#file.write(offset, bytes.subarray(0, bytes.length - 512), done);
      }
      this.#file.write(offset, bytes, done);
    });
  }

  sync(done: (failure: Failure) => void): void {
    this.#delayed(() => {
      if (this.faults.syncErrors) done("EIO: input/output error, fdatasync");
      else this.#file.sync(done);
    });
  }

  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#delayed(() => this.#file.resize(sizeBytes, done));
  }
}
