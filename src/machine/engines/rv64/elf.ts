/** Reads 64-bit RISC-V ELF programs: loadable segments, entry and symbols. Every offset and length of the file is checked. */
import { SteadfastError } from "../../../foundation/errors.js";

const ELF_HEADER_BYTES = 64;
const PROGRAM_HEADER_BYTES = 56;
const SECTION_HEADER_BYTES = 64;
const SYMBOL_BYTES = 24;
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const MACHINE_RISCV = 243;
const SEGMENT_LOAD = 1;
const SECTION_SYMBOLS = 2;
/** A file with more sections or symbols than this is not a test program. */
const MAX_SYMBOLS = 1 << 20;

export interface ElfSegment {
  readonly physicalAddress: bigint;
  readonly bytes: Uint8Array;
  readonly memoryBytes: number;
}

export interface ElfProgram {
  readonly entry: bigint;
  readonly segments: readonly ElfSegment[];
  readonly symbols: ReadonlyMap<string, bigint>;
}

export function parseElf(file: Uint8Array, path: string): ElfProgram {
  const bad = (why: string): never => {
    throw new SteadfastError("ELF_FORMAT", { path, why });
  };
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < ELF_HEADER_BYTES || view.getUint32(0, false) !== 0x7f454c46) bad("it is no ELF file");
  if (file[4] !== CLASS_64 || file[5] !== LITTLE_ENDIAN || view.getUint16(18, true) !== MACHINE_RISCV)
    bad("it is no 64-bit RISC-V program");
  const slice = (offset: bigint, length: bigint, what: string): Uint8Array => {
    if (offset + length > BigInt(file.length)) bad(`${what} lies beyond the end of the file`);
    return file.subarray(Number(offset), Number(offset + length));
  };
  const u64 = (offset: number): bigint => view.getBigUint64(offset, true);

  const segments: ElfSegment[] = [];
  const programHeaders = u64(32);
  const programCount = view.getUint16(56, true);
  slice(programHeaders, BigInt(programCount * PROGRAM_HEADER_BYTES), "the program header table");
  for (let index = 0; index < programCount; index++) {
    const at = Number(programHeaders) + index * PROGRAM_HEADER_BYTES;
    const memoryBytes = u64(at + 40);
    if (view.getUint32(at, true) !== SEGMENT_LOAD || memoryBytes === 0n) continue;
    if (memoryBytes > 0xffff_ffffn || u64(at + 32) > memoryBytes) bad(`segment ${index} has an impossible size`);
    segments.push({
      physicalAddress: u64(at + 24),
      bytes: slice(u64(at + 8), u64(at + 32), `segment ${index}`),
      memoryBytes: Number(memoryBytes),
    });
  }
  if (segments.length === 0) bad("it has nothing to load");
  return { entry: u64(24), segments, symbols: readSymbols(view, slice) };
}

function readSymbols(view: DataView, slice: (offset: bigint, length: bigint, what: string) => Uint8Array): Map<string, bigint> {
  const symbols = new Map<string, bigint>();
  const headers = view.getBigUint64(40, true);
  const count = view.getUint16(60, true);
  slice(headers, BigInt(count * SECTION_HEADER_BYTES), "the section header table");
  const section = (index: number): { type: number; link: number; offset: bigint; size: bigint } => {
    const at = Number(headers) + index * SECTION_HEADER_BYTES;
    return {
      type: view.getUint32(at + 4, true),
      link: view.getUint32(at + 40, true),
      offset: view.getBigUint64(at + 24, true),
      size: view.getBigUint64(at + 32, true),
    };
  };
  const decoder = new TextDecoder();
  for (let index = 0; index < count; index++) {
    const table = section(index);
    if (table.type !== SECTION_SYMBOLS || table.link >= count) continue;
    const entries = slice(table.offset, table.size, "the symbol table");
    const names = slice(section(table.link).offset, section(table.link).size, "the symbol names");
    const entryView = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
    const symbolCount = Math.min(Math.floor(entries.length / SYMBOL_BYTES), MAX_SYMBOLS);
    for (let symbol = 0; symbol < symbolCount; symbol++) {
      const start = entryView.getUint32(symbol * SYMBOL_BYTES, true);
      if (start === 0 || start >= names.length) continue;
      const end = names.indexOf(0, start);
      symbols.set(
        decoder.decode(names.subarray(start, end < 0 ? names.length : end)),
        entryView.getBigUint64(symbol * SYMBOL_BYTES + 8, true),
      );
    }
  }
  return symbols;
}
