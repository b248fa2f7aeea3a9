/** The files of a mirror on a real disk: the adapter below the pure store (src/storage). Operations go through Node's thread pool. */
import { close, fdatasync, fsyncSync, ftruncate, mkdirSync, open, openSync, closeSync, read, write } from "node:fs";
import { join } from "node:path";
import type { Failure, MirrorFiles, StoreFile } from "../storage/store-file.js";

/** In the directory of a mirror. */
export const MIRROR_FILES = { data: "data", checksums: "checksums", log: "log", header: "header" } as const;

export class NodeFile implements StoreFile {
  readonly #descriptor: number;

  constructor(descriptor: number) {
    this.#descriptor = descriptor;
  }

  read(offset: number, lengthBytes: number, done: (failure: Failure, bytes: Uint8Array) => void): void {
    // Not cleared first: to clear what is then read over takes as long as to read it.
    const bytes = new Uint8Array(Buffer.allocUnsafeSlow(lengthBytes).buffer);
    const next = (at: number): void => {
      read(this.#descriptor, bytes, at, lengthBytes - at, offset + at, (error, count) => {
        // After the end of the file there are zeros.
        if (error !== null || count === 0) bytes.fill(0, at);
        if (error !== null) return done(error.message, bytes);
        if (count === 0 || at + count === lengthBytes) return done(null, bytes);
        next(at + count);
      });
    };
    next(0);
  }

  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    const next = (at: number): void => {
      write(this.#descriptor, bytes, at, bytes.length - at, offset + at, (error, count) => {
        if (error !== null) return done(error.message);
        if (at + count === bytes.length) return done(null);
        next(at + count);
      });
    };
    next(0);
  }

  sync(done: (failure: Failure) => void): void {
    fdatasync(this.#descriptor, (error) => done(error?.message ?? null));
  }

  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    ftruncate(this.#descriptor, sizeBytes, (error) => done(error?.message ?? null));
  }

  /** Nothing may be under way any more. */
  close(done: () => void): void {
    close(this.#descriptor, done);
  }
}

export interface OpenMirrorFiles {
  readonly files: MirrorFiles;
  /** Nothing may be under way any more. */
  readonly close: (done: () => void) => void;
}

/** Opens, or makes, the files of a mirror; the directory is made if it is missing. Throws the error of the file system. */
export async function openMirrorFiles(directory: string): Promise<OpenMirrorFiles> {
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const opened: NodeFile[] = [];
  const closeAll = (done: () => void): void => {
    let left = opened.length;
    if (left === 0) return done();
    for (const file of opened)
      file.close(() => {
        left -= 1;
        if (left === 0) done();
      });
  };
  try {
    for (const name of Object.values(MIRROR_FILES)) opened.push(new NodeFile(await openOrMake(join(directory, name))));
  } catch (error) {
    closeAll(() => undefined);
    throw error;
  }
  syncDirectory(directory);
  const [data, checksums, log, header] = opened as [NodeFile, NodeFile, NodeFile, NodeFile];
  return { files: { data, checksums, log, header }, close: closeAll };
}

function openOrMake(path: string): Promise<number> {
  return new Promise((resolve, reject) => {
    open(path, "r+", 0o600, (error, descriptor) => {
      if (error === null) return resolve(descriptor);
      if (error.code !== "ENOENT") return reject(error);
      open(path, "wx+", 0o600, (makeError, made) => (makeError === null ? resolve(made) : reject(makeError)));
    });
  });
}

/** New names in a directory survive a loss of power after this. */
function syncDirectory(directory: string): void {
  const descriptor = openSync(directory, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
