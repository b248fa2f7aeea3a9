/** Writes a tar archive (ustar) of plain files, owner root: byte for byte the same for the same files in the same order. */
import { assert } from "./assert.js";

const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;
const FILE_MODE = 0o644;

export interface TarFile {
  /** Relative, at most 100 characters of ASCII. */
  readonly name: string;
  readonly data: Uint8Array;
}

/** What all files get. */
export interface TarOptions {
  readonly mode?: number;
  readonly modifiedAtMs?: number;
}

export function writeTar(files: readonly TarFile[], options: TarOptions = {}): Uint8Array {
  const bytes = files.reduce((sum, { data }) => sum + BLOCK_BYTES + paddedBytes(data.length), 0);
  // Two empty blocks end an archive.
  const archive = new Uint8Array(bytes + 2 * BLOCK_BYTES);
  let offset = 0;
  for (const { name, data } of files) {
    archive.set(header(name, data.length, options), offset);
    archive.set(data, offset + BLOCK_BYTES);
    offset += BLOCK_BYTES + paddedBytes(data.length);
  }
  return archive;
}

function paddedBytes(length: number): number {
  return Math.ceil(length / BLOCK_BYTES) * BLOCK_BYTES;
}

function header(name: string, length: number, { mode = FILE_MODE, modifiedAtMs = 0 }: TarOptions): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const text = (offset: number, value: string): void => {
    for (let index = 0; index < value.length; index += 1) block[offset + index] = value.charCodeAt(index);
  };
  const octal = (offset: number, width: number, value: number): void => text(offset, value.toString(8).padStart(width - 1, "0"));
  assert(/^[\x20-\x7e]+$/.test(name) && name.length <= NAME_BYTES_MAX, "a name fits into the header");
  text(0, name);
  octal(100, 8, mode);
  octal(108, 8, 0);
  octal(116, 8, 0);
  octal(124, 12, length);
  octal(136, 12, Math.floor(modifiedAtMs / 1000));
  text(156, "0");
  text(257, "ustar\0" + "00");
  // The checksum counts its own field as blanks.
  text(148, " ".repeat(8));
  octal(
    148,
    7,
    block.reduce((sum, byte) => sum + byte, 0),
  );
  block[154] = 0;
  return block;
}
