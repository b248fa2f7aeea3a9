/** Writes a plain ustar archive of files, byte for byte the same for the same members: owner root, time zero, in the order given. */
import { assert } from "../foundation/assert.js";

export interface TarFile {
  /** At most 100 bytes of ASCII, without a leading slash. */
  readonly name: string;
  readonly data: Uint8Array;
}

const BLOCK_BYTES = 512;
const NAME_BYTES_LIMIT = 100;
const FILE_MODE = "0000644\0";
const NUMBER_ZERO = "0000000\0";

const padded = (bytes: number): number => Math.ceil(bytes / BLOCK_BYTES) * BLOCK_BYTES;

export function writeTar(files: readonly TarFile[]): Uint8Array {
  const size = files.reduce((sum, file) => sum + BLOCK_BYTES + padded(file.data.length), 2 * BLOCK_BYTES);
  const archive = Buffer.alloc(size);
  let offset = 0;
  for (const { name, data } of files) {
    assert(/^[\x21-\x7e]+$/.test(name) && name.length <= NAME_BYTES_LIMIT, "a tar member has a short plain name");
    const header = archive.subarray(offset, offset + BLOCK_BYTES);
    header.write(name, 0, "latin1");
    header.write(FILE_MODE, 100, "latin1");
    header.write(NUMBER_ZERO, 108, "latin1");
    header.write(NUMBER_ZERO, 116, "latin1");
    header.write(`${data.length.toString(8).padStart(11, "0")}\0`, 124, "latin1");
    header.write(`${"0".repeat(11)}\0`, 136, "latin1");
    // The checksum counts its own field as eight blanks.
    header.write("        ", 148, "latin1");
    header.write("0", 156, "latin1");
    header.write("ustar\x0000", 257, "latin1");
    const sum = header.reduce((total, byte) => total + byte, 0);
    header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
    archive.set(data, offset + BLOCK_BYTES);
    offset += BLOCK_BYTES + padded(data.length);
  }
  return archive;
}
