/**
 * The header file of a mirror: two slots, written in turn, so that a write that is torn leaves the other one. Each: magic and version,
 * generation, length, hash, then JSON.
 */
import { utf8Decode, utf8Encode } from "../foundation/bytes.js";
import { Hash } from "../foundation/hash.js";
import type { Failure, StoreFile } from "./store-file.js";
import type { MirrorHeader } from "./types.js";

export const SLOT_BYTES = 4096;
/** "SFM" and the version of the form of header, checksums and log together. */
const MAGIC = 0x4d4653;
const FORMAT_VERSION = 1;
const PREFIX_BYTES = 24;

export const BLANK_HEADER: MirrorHeader = { diskId: "", sizeBytes: 0, highest: 0, syncedAt: 0, clearedAt: 0 };

function hashOf(generation: number, text: Uint8Array): bigint {
  return new Hash().number(generation).bytes(text).value64();
}

export function encodeHeader(header: MirrorHeader, generation: number): Uint8Array {
  const text = utf8Encode(JSON.stringify(header));
  const slot = new Uint8Array(SLOT_BYTES);
  const view = new DataView(slot.buffer);
  view.setUint32(0, MAGIC | (FORMAT_VERSION << 24), true);
  view.setFloat64(4, generation, true);
  view.setUint32(12, text.length, true);
  view.setBigUint64(16, hashOf(generation, text), true);
  slot.set(text, PREFIX_BYTES);
  return slot;
}

/** The version of the form in which this slot is written, or null: it is no slot. */
function versionOf(slot: Uint8Array): number | null {
  return slot[0] === 0x53 && slot[1] === 0x46 && slot[2] === 0x4d ? (slot[3] as number) : null;
}

/** Null: it is not a header, or a damaged one. */
export function decodeHeader(slot: Uint8Array): { header: MirrorHeader; generation: number } | null {
  if (slot.length < PREFIX_BYTES) return null;
  const view = new DataView(slot.buffer, slot.byteOffset, slot.length);
  const lengthBytes = view.getUint32(12, true);
  if (versionOf(slot) !== FORMAT_VERSION || lengthBytes > slot.length - PREFIX_BYTES) return null;
  const generation = view.getFloat64(4, true);
  if (!Number.isSafeInteger(generation)) return null;
  const text = slot.subarray(PREFIX_BYTES, PREFIX_BYTES + lengthBytes);
  if (view.getBigUint64(16, true) !== hashOf(generation, text)) return null;
  try {
    const header = asHeader(JSON.parse(utf8Decode(text)));
    return header === null ? null : { header, generation };
  } catch {
    // Not JSON: not a header.
    return null;
  }
}

/** A header out of parsed JSON, or null. */
export function asHeader(value: unknown): MirrorHeader | null {
  if (typeof value !== "object" || value === null) return null;
  const { diskId, sizeBytes, highest, syncedAt, clearedAt } = value as Partial<MirrorHeader>;
  const isCount = (each: unknown): each is number => Number.isSafeInteger(each) && (each as number) >= 0;
  if (typeof diskId !== "string" || !isCount(sizeBytes) || !isCount(highest) || !isCount(syncedAt) || !isCount(clearedAt)) return null;
  return { diskId, sizeBytes, highest, syncedAt, clearedAt };
}

export class HeaderFile {
  readonly #file: StoreFile;
  #generation = 0;

  constructor(file: StoreFile) {
    this.#file = file;
  }

  load(done: (failure: Failure, header: MirrorHeader) => void): void {
    this.#file.read(0, 2 * SLOT_BYTES, (failure, bytes) => {
      if (failure !== null) return done(failure, BLANK_HEADER);
      const halves = [bytes.subarray(0, SLOT_BYTES), bytes.subarray(SLOT_BYTES)];
      // Not blank: whoever takes it for that would overwrite what a newer version has written.
      const other = halves.map(versionOf).find((version) => version !== null && version !== FORMAT_VERSION);
      if (other !== undefined) return done(`it is of format ${other}, and this version knows format ${FORMAT_VERSION}`, BLANK_HEADER);
      const slots = halves.map(decodeHeader);
      let header = BLANK_HEADER;
      for (const slot of slots) {
        if (slot === null || slot.generation <= this.#generation) continue;
        this.#generation = slot.generation;
        header = slot.header;
      }
      done(null, header);
    });
  }

  save(header: MirrorHeader, done: (failure: Failure) => void): void {
    const generation = this.#generation + 1;
    // A slot counts once it is durable: after a failure the same one is written again, never the good one.
    const saved = (failure: Failure): void => {
      if (failure === null) this.#generation = generation;
      done(failure);
    };
    this.#file.write((generation % 2) * SLOT_BYTES, encodeHeader(header, generation), (failure) => {
      if (failure === null) this.#file.sync(saved);
      else saved(failure);
    });
  }
}
