/**
 * The store of one mirror: executes commands in the order in which they come, one at a time; only a flush goes on beside those after
 * it. Errors of files are replies. Commands of a configuration lower than the highest that it has seen are refused, so that an I/O
 * module that was overtaken cannot write here.
 */
import { assert } from "../foundation/assert.js";
import { NO_BYTES, concatBytes } from "../foundation/bytes.js";
import { CHECKSUM_BYTES } from "./block-checksum.js";
import { BLOCK_BYTES, MAX_DISK_BYTES, MAX_COMMAND_BYTES, MAX_QUEUED_COMMANDS } from "./limits.js";
import { MirrorBlocks } from "./mirror-blocks.js";
import { BLANK_HEADER, HeaderFile } from "./mirror-header.js";
import { RegionLog } from "./region-log.js";
import { RegionSet, regionCount, regionsOf } from "./region-set.js";
import { inSequence, type Failure, type MirrorFiles } from "./store-file.js";
import type { MirrorHeader, StoreCommand, StoreOperation, StoreReply } from "./types.js";

interface Answer {
  readonly outcome: StoreReply["outcome"];
  readonly why?: string;
  readonly bad?: readonly number[];
  readonly bytes?: Uint8Array;
}

type Done = (answer: Answer) => void;

const OK: Answer = { outcome: "ok" };

function outcomeOf(done: Done): (failure: Failure) => void {
  return (failure) => done(failure === null ? OK : { outcome: "failed", why: failure });
}

export class MirrorStore {
  readonly #files: MirrorFiles;
  readonly #blocks: MirrorBlocks;
  readonly #log: RegionLog;
  readonly #headerFile: HeaderFile;
  readonly #reply: (reply: StoreReply) => void;
  #header: MirrorHeader = BLANK_HEADER;
  /** Logged when it was opened: a write may have been cut off there, so that checksums may differ from data without any damage. */
  #doubtful = new RegionSet(0);
  readonly #queue: StoreCommand[] = [];
  #isBusy = false;
  #isOpen = false;

  constructor(files: MirrorFiles, reply: (reply: StoreReply) => void) {
    this.#files = files;
    this.#blocks = new MirrorBlocks(files.data, files.checksums);
    this.#log = new RegionLog(files.log);
    this.#headerFile = new HeaderFile(files.header);
    this.#reply = reply;
  }

  get header(): MirrorHeader {
    return this.#header;
  }

  /** Before the first command. A directory without a header is a blank mirror. */
  open(done: (failure: Failure, header: MirrorHeader) => void): void {
    const loaded = (failure: Failure): void => {
      if (failure === null) {
        this.#doubtful = new RegionSet(regionCount(this.#header.sizeBytes), this.#log.logged.bits);
        this.#isOpen = true;
      }
      done(failure, this.#header);
    };
    this.#headerFile.load((failure, header) => {
      if (failure !== null) return loaded(failure);
      this.#header = header;
      const { sizeBytes } = header;
      inSequence([(next) => this.#log.load(sizeBytes, next), (next) => this.#blocks.load(sizeBytes, next)], loaded);
    });
  }

  submit(command: StoreCommand): void {
    assert(this.#isOpen, "a store is opened before it is used");
    if (this.#queue.length >= MAX_QUEUED_COMMANDS) {
      return this.#answer(command, { outcome: "failed", why: `more than ${MAX_QUEUED_COMMANDS} commands are waiting` });
    }
    this.#queue.push(command);
    this.#next();
  }

  #next(): void {
    if (this.#isBusy) return;
    const command = this.#queue.shift();
    if (command === undefined) return;
    this.#isBusy = true;
    const { kind } = command.operation;
    this.#execute(command, (answer) => {
      this.#answer(command, answer);
      if (kind !== "flush") this.#finished();
    });
    // What came before a flush is executed already; what comes after it need not wait.
    if (kind === "flush") this.#finished();
  }

  #finished(): void {
    this.#isBusy = false;
    this.#next();
  }

  #answer(command: StoreCommand, { outcome, why = "", bad = [], bytes = NO_BYTES }: Answer): void {
    this.#reply({ ticket: command.ticket, configuration: command.configuration, outcome, why, bad, header: this.#header, bytes });
  }

  #execute(command: StoreCommand, done: Done): void {
    const { configuration, operation, bytes } = command;
    const { highest } = this.#header;
    if (configuration < highest) return done({ outcome: "refused", why: `configuration ${highest} is in force` });
    if (operation.kind !== "configure" && configuration !== highest) {
      return done({ outcome: "failed", why: `configuration ${configuration} is not known here yet` });
    }
    const wrong = this.#wrongIn(operation, bytes);
    if (wrong !== null) return done({ outcome: "failed", why: wrong });
    this.#perform(configuration, operation, bytes, done);
  }

  /** What makes no sense for this disk; null: nothing. It may come from another module, or another version of us. */
  #wrongIn(operation: StoreOperation, bytes: Uint8Array): string | null {
    const { sizeBytes } = this.#header;
    switch (operation.kind) {
      case "read":
      case "write":
      case "digest": {
        const { offset, lengthBytes } = operation;
        const isAligned = [offset, lengthBytes].every((each) => Number.isSafeInteger(each) && each >= 0 && each % BLOCK_BYTES === 0);
        if (!isAligned || lengthBytes === 0 || lengthBytes > MAX_COMMAND_BYTES || offset + lengthBytes > sizeBytes) {
          return `bytes ${offset} to ${offset + lengthBytes} are not a range of blocks of this disk`;
        }
        return operation.kind === "write" && bytes.length !== lengthBytes
          ? `${bytes.length} bytes came, ${lengthBytes} were announced`
          : null;
      }
      case "settle":
      case "poison": {
        const blocks = operation.kind === "settle" ? operation.adopt : operation.blocks;
        const isInside = blocks.every((block) => Number.isSafeInteger(block) && block >= 0 && block < sizeBytes / BLOCK_BYTES);
        return isInside ? null : "a block is not of this disk";
      }
      case "recreate":
      case "grow": {
        const wanted = operation.sizeBytes;
        const least = operation.kind === "grow" ? sizeBytes : BLOCK_BYTES;
        const isSize = Number.isSafeInteger(wanted) && wanted % BLOCK_BYTES === 0 && wanted >= least && wanted <= MAX_DISK_BYTES;
        return isSize ? null : `${wanted} bytes are not a size for this disk`;
      }
      default:
        return null;
    }
  }

  #perform(configuration: number, operation: StoreOperation, bytes: Uint8Array, done: Done): void {
    switch (operation.kind) {
      case "configure":
        return this.#configure(configuration, operation.isInSync, done);
      case "inspect":
        return done(this.#logs());
      case "read":
        return this.#blocks.read(operation.offset, operation.lengthBytes, (read, bad) => done({ ...OK, bad, bytes: read }));
      case "write":
        return this.#write(operation.offset, bytes, done);
      case "flush":
        return this.#blocks.flush((failure) => {
          // Nobody knows which of the writes since the last flush are on the disk.
          if (failure !== null) this.#doubtful.addAll(this.#log.logged);
          outcomeOf(done)(failure);
        });
      case "digest":
        return this.#digest(operation, done);
      case "settle":
        return this.#blocks.adopt(operation.adopt, (failure) => {
          if (failure === null) this.#doubtful.delete(operation.region);
          outcomeOf(done)(failure);
        });
      case "poison":
        return this.#blocks.poison(operation.blocks, outcomeOf(done));
      case "clear":
        return this.#clear(configuration, operation.except, done);
      case "adoptLog":
        return this.#adoptLog(operation.clearedAt, bytes, done);
      case "recreate":
        return this.#recreate(operation.diskId, operation.sizeBytes, done);
      case "grow":
        return this.#grow(operation.sizeBytes, done);
    }
  }

  #write(offset: number, bytes: Uint8Array, done: Done): void {
    const regions = [...regionsOf(offset, bytes.length)];
    this.#log.mark(regions, (logFailure) => {
      if (logFailure !== null) return done({ outcome: "failed", why: logFailure });
      this.#blocks.write(offset, bytes, (failure) => {
        if (failure !== null) this.#doubtful.addAll(regions);
        outcomeOf(done)(failure);
      });
    });
  }

  #logs(): Answer {
    return { ...OK, bytes: concatBytes([this.#log.logged.bits, this.#doubtful.bits]) };
  }

  #configure(configuration: number, isInSync: boolean, done: Done): void {
    const header = { ...this.#header, highest: configuration, ...(isInSync && { syncedAt: configuration }) };
    this.#save(header, (failure) => done(failure === null ? this.#logs() : { outcome: "failed", why: failure }));
  }

  #save(header: MirrorHeader, done: (failure: Failure) => void): void {
    const isSame = (Object.keys(header) as (keyof MirrorHeader)[]).every((key) => header[key] === this.#header[key]);
    if (isSame) return done(null);
    this.#headerFile.save(header, (failure) => {
      if (failure === null) this.#header = header;
      done(failure);
    });
  }

  #digest({ offset, lengthBytes, mustRead }: Extract<StoreOperation, { kind: "digest" }>, done: Done): void {
    const isDoubted = [...regionsOf(offset, lengthBytes)].some((region) => this.#doubtful.has(region));
    if (!mustRead && !isDoubted) return done({ ...OK, bytes: this.#blocks.tableOf(offset, lengthBytes) });
    const first = offset / BLOCK_BYTES;
    this.#blocks.read(offset, lengthBytes, (_, allBad) => {
      // Only now: to read a block may tell which of two contents it has.
      const table = this.#blocks.tableOf(offset, lengthBytes);
      for (const block of allBad) table.fill(0xff, (block - first) * CHECKSUM_BYTES, (block - first + 1) * CHECKSUM_BYTES);
      this.#blocks.verifyTable(offset, lengthBytes, (failure, mended) =>
        done(failure === null ? { ...OK, bad: mended, bytes: table } : { outcome: "failed", why: failure }),
      );
    });
  }

  #clear(configuration: number, except: readonly number[], done: Done): void {
    // First who may rely on the shorter log, then the shorter log.
    this.#save({ ...this.#header, clearedAt: configuration }, (failure) => {
      if (failure !== null) return done({ outcome: "failed", why: failure });
      this.#log.keepOnly([...except, ...this.#doubtful], outcomeOf(done));
    });
  }

  #adoptLog(clearedAt: number, bitmap: Uint8Array, done: Done): void {
    this.#log.mark(new RegionSet(regionCount(this.#header.sizeBytes), bitmap), (failure) => {
      if (failure === null) this.#save({ ...this.#header, clearedAt }, outcomeOf(done));
      else done({ outcome: "failed", why: failure });
    });
  }

  #recreate(diskId: string, sizeBytes: number, done: Done): void {
    // Blank until all of it is there: a process that ends half-way leaves nothing that could be taken for a mirror of this disk.
    const blank = { ...BLANK_HEADER, highest: this.#header.highest };
    inSequence(
      [
        (next) => this.#save(blank, next),
        (next) => this.#blocks.reset(sizeBytes, next),
        (next) => this.#log.reset(sizeBytes, next),
        (next) => this.#files.log.sync(next),
        (next) => this.#save({ ...blank, diskId, sizeBytes }, next),
      ],
      (failure) => {
        if (failure === null) this.#doubtful = new RegionSet(regionCount(sizeBytes));
        outcomeOf(done)(failure);
      },
    );
  }

  #grow(sizeBytes: number, done: Done): void {
    inSequence(
      [
        (next) => this.#blocks.resize(sizeBytes, next),
        (next) => this.#log.resize(sizeBytes, next),
        (next) => this.#blocks.flush(next),
        (next) => this.#save({ ...this.#header, sizeBytes }, next),
      ],
      (failure) => {
        if (failure === null) this.#doubtful = new RegionSet(regionCount(sizeBytes), this.#doubtful.bits);
        outcomeOf(done)(failure);
      },
    );
  }
}
