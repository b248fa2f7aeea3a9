/** The file boundary below a mirror. Callbacks instead of promises, so that the same store runs on real files and under a seed. */

/** Null: it went well; else why not, in a few words. */
export type Failure = string | null;

export interface StoreFile {
  /** As many bytes as asked for; zeros after the end of the file. */
  read(offset: number, lengthBytes: number, done: (failure: Failure, bytes: Uint8Array) => void): void;
  /** The bytes may be changed after `done` only. */
  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void;
  /** What was written before survives a loss of power once this is done. */
  sync(done: (failure: Failure) => void): void;
  resize(sizeBytes: number, done: (failure: Failure) => void): void;
}

/** The files of one mirror. `data` is the disk as it is, the others describe it. */
export interface MirrorFiles {
  readonly data: StoreFile;
  readonly checksums: StoreFile;
  readonly log: StoreFile;
  readonly header: StoreFile;
}

/** A callback for each of `count` steps that go on side by side; `done` after the last, with the first failure. */
export function joined(count: number, done: (failure: Failure) => void): (failure: Failure) => void {
  let left = count;
  let first: Failure = null;
  return (failure) => {
    first ??= failure;
    left -= 1;
    if (left === 0) done(first);
  };
}

/** Steps one after the other; the first failure ends it. */
export function inSequence(steps: readonly ((next: (failure: Failure) => void) => void)[], done: (failure: Failure) => void): void {
  const run = (index: number): void => {
    const step = steps[index];
    if (step === undefined) return done(null);
    step((failure) => (failure === null ? run(index + 1) : done(failure)));
  };
  run(0);
}
