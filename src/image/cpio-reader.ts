/** Reads the `newc` cpio archives that `cpio.ts` writes: the file system of an image, entry by entry. */

import type { GuestEntry, GuestTree } from "./cpio.js";

const MAGIC = "070701";
const HEADER_BYTES = 110;
const FIELD_DIGITS = 8;
const TRAILER = "TRAILER!!!";
const KIND_MASK = 0o170000;
const MODE_MASK = 0o7777;

export class CpioError extends Error {}

/** Every entry by its absolute path, directories too. Throws `CpioError` at anything that is no such archive. */
export function readCpio(archive: Uint8Array): GuestTree {
  const buffer = Buffer.from(archive.buffer, archive.byteOffset, archive.byteLength);
  const tree: GuestTree = new Map();
  for (let offset = 0; ;) {
    const header = readHeader(buffer, offset);
    const nameEnd = offset + HEADER_BYTES + header.nameBytes;
    const dataStart = align(nameEnd);
    const dataEnd = dataStart + header.bytes;
    if (header.nameBytes === 0 || dataEnd > buffer.length) throw new CpioError(`it is cut at byte ${offset}`);
    const name = buffer.toString("utf8", offset + HEADER_BYTES, nameEnd - 1);
    if (name === TRAILER) return tree;
    tree.set(`/${name}`, toEntry(name, header, archive.subarray(dataStart, dataEnd)));
    offset = align(dataEnd);
  }
}

type Header = ReturnType<typeof readHeader>;

function readHeader(buffer: Buffer, offset: number) {
  if (buffer.toString("latin1", offset, offset + MAGIC.length) !== MAGIC) throw new CpioError(`there is no header at byte ${offset}`);
  const field = (index: number): number => {
    const start = offset + MAGIC.length + index * FIELD_DIGITS;
    const text = buffer.toString("latin1", start, start + FIELD_DIGITS);
    if (!/^[0-9A-Fa-f]{8}$/.test(text)) throw new CpioError(`the header at byte ${offset} is damaged`);
    return Number.parseInt(text, 16);
  };
  return { mode: field(1), owner: field(2), bytes: field(6), major: field(9), minor: field(10), nameBytes: field(11) };
}

function toEntry(name: string, { mode, owner, major, minor }: Header, data: Uint8Array): GuestEntry {
  const owned = owner === 0 ? {} : { owner };
  switch (mode & KIND_MASK) {
    case 0o100000:
      return { kind: "file", mode: mode & MODE_MASK, data, ...owned };
    case 0o040000:
      return { kind: "directory", mode: mode & MODE_MASK, ...owned };
    case 0o120000:
      return { kind: "link", target: new TextDecoder().decode(data) };
    case 0o020000:
      return { kind: "device", mode: mode & MODE_MASK, major, minor };
    default:
      throw new CpioError(`${name} is of a kind that no image has`);
  }
}

function align(value: number): number {
  return Math.ceil(value / 4) * 4;
}
