/** Whole disks: made, imported from and exported to raw files, compared. Of mirrors that no server uses at the time, but for comparing. */
import { open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { checksumBlock, CHECKSUM_BYTES, viewOf, wordsOf } from "../storage/block-checksum.js";
import { BLOCK_BYTES, MAX_DISK_BYTES, MAX_TRANSFER_BYTES, REGION_BYTES } from "../storage/limits.js";
import { HeaderFile } from "../storage/mirror-header.js";
import type { MirrorHeader, StoreOperation, StoreReply } from "../storage/types.js";
import { MIRROR_FILES, openMirrorFiles } from "./block-files.js";
import { BlockStore } from "./block-store.js";

const NO_BYTES = new Uint8Array(0);

/** Drives one store by hand, under the configuration that it has seen last. */
class Hand {
  readonly store: BlockStore;
  readonly #waiting = new Map<number, (reply: StoreReply) => void>();
  #tickets = 0;

  constructor(store: BlockStore) {
    this.store = store;
    store.onReply((reply) => {
      this.#waiting.get(reply.ticket)?.(reply);
      this.#waiting.delete(reply.ticket);
    });
  }

  async ask(operation: StoreOperation, bytes: Uint8Array = NO_BYTES): Promise<StoreReply> {
    const ticket = ++this.#tickets;
    const reply = await new Promise<StoreReply>((resolve) => {
      this.#waiting.set(ticket, resolve);
      this.store.submit({ ticket, configuration: this.store.header.highest, operation, bytes });
    });
    if (reply.outcome === "ok") return reply;
    throw new SteadfastError("MIRROR_UNUSABLE", { directory: this.store.directory, why: reply.why });
  }
}

async function withMirror<T>(directory: string, act: (hand: Hand) => Promise<T>): Promise<T> {
  const store = await BlockStore.open(directory);
  try {
    return await act(new Hand(store));
  } finally {
    await store.close();
  }
}

async function withFile<T>(path: string, flags: string, act: (file: FileHandle) => Promise<T>): Promise<T> {
  let file: FileHandle | null = null;
  try {
    file = await open(path, flags, 0o600);
    return await act(file);
  } catch (error) {
    throw error instanceof SteadfastError ? error : new SteadfastError("DISK_FILE", { path, why: (error as Error).message });
  } finally {
    await file?.close();
  }
}

async function makeDisk(hand: Hand, diskId: string, sizeBytes: number): Promise<void> {
  const { diskId: present } = hand.store.header;
  if (present !== "") throw new SteadfastError("MIRROR_EXISTS", { directory: hand.store.directory, disk: present });
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % BLOCK_BYTES !== 0 || sizeBytes > MAX_DISK_BYTES) {
    throw new SteadfastError("DISK_SIZE", { size: sizeBytes, most: MAX_DISK_BYTES });
  }
  await hand.ask({ kind: "recreate", diskId, sizeBytes });
}

/** A new disk of zeros, sparse: the first mirror of it. The others are filled from it. */
export async function createDisk(directory: string, diskId: string, sizeBytes: number): Promise<void> {
  await withMirror(directory, (hand) => makeDisk(hand, diskId, sizeBytes));
}

/** A new disk with the contents of a raw file (a formatted one, for instance); its size is rounded up to whole blocks. */
export async function importDisk(directory: string, diskId: string, path: string): Promise<void> {
  await withFile(path, "r", (file) =>
    withMirror(directory, async (hand) => {
      const fileBytes = (await file.stat()).size;
      await makeDisk(hand, diskId, Math.ceil(fileBytes / BLOCK_BYTES) * BLOCK_BYTES);
      const buffer = Buffer.alloc(MAX_TRANSFER_BYTES);
      for (let offset = 0; offset < fileBytes; offset += MAX_TRANSFER_BYTES) {
        buffer.fill(0);
        await file.read(buffer, 0, Math.min(MAX_TRANSFER_BYTES, fileBytes - offset), offset);
        const lengthBytes = Math.min(MAX_TRANSFER_BYTES, hand.store.header.sizeBytes - offset);
        const bytes = buffer.subarray(0, lengthBytes);
        if (!isZero(bytes)) await hand.ask({ kind: "write", offset, lengthBytes }, bytes);
      }
      await hand.ask({ kind: "flush" });
      // Nothing of it is in doubt.
      await hand.ask({ kind: "clear", except: [] });
    }),
  );
}

function isZero(bytes: Uint8Array): boolean {
  return bytes.every((byte) => byte === 0);
}

/** The contents of a mirror as a raw, sparse file. Errors: DISK_DAMAGED, when a block of it does not have its checksum. */
export async function exportDisk(directory: string, path: string): Promise<void> {
  await withMirror(directory, async (hand) => {
    const { sizeBytes, diskId } = hand.store.header;
    if (diskId === "") throw new SteadfastError("MIRROR_BLANK", { directory });
    await withFile(path, "w", async (file) => {
      await file.truncate(sizeBytes);
      for (let offset = 0; offset < sizeBytes; offset += MAX_TRANSFER_BYTES) {
        const lengthBytes = Math.min(MAX_TRANSFER_BYTES, sizeBytes - offset);
        const { bytes, bad } = await hand.ask({ kind: "read", offset, lengthBytes });
        const [block] = bad;
        if (block !== undefined) throw new SteadfastError("DISK_DAMAGED", { directory, count: bad.length, block });
        if (!isZero(bytes)) await file.write(bytes, 0, lengthBytes, offset);
      }
      await file.sync();
    });
  });
}

/**
 * After the arbiter's records were lost and configurations are counted anew: the mirror takes commands again. `isTheDisk`: this is the
 * one that counts, any other is filled from it.
 */
export async function forgetConfigurations(directory: string, isTheDisk: boolean): Promise<void> {
  const { files, close } = await openMirrorFiles(directory);
  const header = new HeaderFile(files.header);
  const failure = await new Promise<string | null>((resolve) =>
    header.load((loadFailure, former) => {
      if (loadFailure !== null) return resolve(loadFailure);
      header.save({ ...former, highest: 0, syncedAt: isTheDisk ? 1 : 0, clearedAt: isTheDisk ? 1 : 0 }, resolve);
    }),
  );
  await new Promise<void>((resolve) => close(resolve));
  if (failure !== null) throw new SteadfastError("MIRROR_UNUSABLE", { directory, why: failure });
}

export interface Comparison {
  readonly blocks: number;
  /** Blocks that the two have differently. */
  readonly differing: readonly number[];
  /** Blocks that do not have their checksum, of the first and of the second mirror. */
  readonly bad: readonly [readonly number[], readonly number[]];
}

/** Every block of two mirrors, as they are on their disks. Of mirrors in use: only while nothing is written. */
export async function compareMirrors(left: string, right: string): Promise<Comparison> {
  const sides = await Promise.all([readHeader(left), readHeader(right)]);
  const sizeBytes = Math.max(sides[0].sizeBytes, sides[1].sizeBytes);
  const differing: number[] = [];
  const bad: [number[], number[]] = [[], []];
  await withFile(join(left, MIRROR_FILES.data), "r", (leftFile) =>
    withFile(join(right, MIRROR_FILES.data), "r", async (rightFile) => {
      const tables = await Promise.all([left, right].map((directory) => readTable(directory, sizeBytes)));
      for (let offset = 0; offset < sizeBytes; offset += REGION_BYTES) {
        const lengthBytes = Math.min(REGION_BYTES, sizeBytes - offset);
        const pieces = await Promise.all([leftFile, rightFile].map((file) => readPiece(file, offset, lengthBytes)));
        const [one, other] = pieces as [Buffer, Buffer];
        const first = offset / BLOCK_BYTES;
        pieces.forEach((piece, side) => bad[side as 0 | 1].push(...badBlocksOf(piece, first, tables[side] as Uint32Array)));
        for (let at = 0; at < lengthBytes; at += BLOCK_BYTES)
          if (one.compare(other, at, at + BLOCK_BYTES, at, at + BLOCK_BYTES) !== 0) differing.push(first + at / BLOCK_BYTES);
      }
    }),
  );
  return { blocks: sizeBytes / BLOCK_BYTES, differing, bad };
}

/** What a mirror says of itself; a blank one has size 0. */
export async function readHeader(directory: string): Promise<MirrorHeader> {
  const { files, close } = await openMirrorFiles(directory);
  const [failure, header] = await new Promise<[string | null, MirrorHeader]>((resolve) =>
    new HeaderFile(files.header).load((why, found) => resolve([why, found])),
  );
  await new Promise<void>((resolve) => close(resolve));
  if (failure !== null) throw new SteadfastError("MIRROR_UNUSABLE", { directory, why: failure });
  return header;
}

async function readTable(directory: string, sizeBytes: number): Promise<Uint32Array> {
  return withFile(join(directory, MIRROR_FILES.checksums), "r", async (file) => {
    return wordsOf(await readPiece(file, 0, (sizeBytes / BLOCK_BYTES) * CHECKSUM_BYTES));
  });
}

/** Zeros after the end of the file. */
async function readPiece(file: FileHandle, offset: number, lengthBytes: number): Promise<Buffer> {
  const buffer = Buffer.alloc(lengthBytes);
  for (let at = 0; at < lengthBytes;) {
    const { bytesRead } = await file.read(buffer, at, lengthBytes - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return buffer;
}

function badBlocksOf(piece: Uint8Array, first: number, table: Uint32Array): number[] {
  const view = viewOf(piece);
  const out = new Uint32Array(2);
  const bad: number[] = [];
  for (let index = 0; index < piece.length / BLOCK_BYTES; index += 1) {
    checksumBlock(view, index * BLOCK_BYTES, first + index, out, 0);
    if (out[0] !== table[(first + index) * 2] || out[1] !== table[(first + index) * 2 + 1]) bad.push(first + index);
  }
  return bad;
}
