/** Reads from an ELF program or library which loader and which libraries it needs, as the guest's own loader will. */

export interface ElfNeeds {
  readonly interpreter: string | undefined;
  readonly libraries: readonly string[];
}

const MACHINE_RISCV = 243;
const SEGMENT_LOAD = 1;
const SEGMENT_DYNAMIC = 2;
const SEGMENT_INTERPRETER = 3;
const TAG_NEEDED = 1;
const TAG_STRING_TABLE = 5;
/** More than any real program has; a broken file must not keep us busy. */
const SEGMENTS_LIMIT = 256;
const TAGS_LIMIT = 65536;

interface Segment {
  readonly type: number;
  readonly offset: number;
  readonly address: number;
  readonly fileBytes: number;
}

/** Undefined for anything that is not a 64-bit little-endian RISC-V ELF file. A damaged one counts as needing nothing more. */
export function readElfNeeds(file: Uint8Array): ElfNeeds | undefined {
  if (file.length < 64 || file[0] !== 0x7f || file[1] !== 0x45 || file[2] !== 0x4c || file[3] !== 0x46) return undefined;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file[4] !== 2 || file[5] !== 1 || view.getUint16(18, true) !== MACHINE_RISCV) return undefined;
  const segments = readSegments(view);
  const interpreterSegment = segments.find((segment) => segment.type === SEGMENT_INTERPRETER);
  const interpreter = interpreterSegment === undefined ? undefined : readText(file, interpreterSegment.offset);
  const dynamic = segments.find((segment) => segment.type === SEGMENT_DYNAMIC);
  if (dynamic === undefined) return { interpreter, libraries: [] };
  const needed: number[] = [];
  let stringsAddress: number | undefined;
  const end = Math.min(dynamic.offset + dynamic.fileBytes, file.length - 16, dynamic.offset + TAGS_LIMIT * 16);
  for (let offset = dynamic.offset; offset <= end; offset += 16) {
    const tag = readWord(view, offset);
    if (tag === 0) break;
    if (tag === TAG_NEEDED) needed.push(readWord(view, offset + 8));
    else if (tag === TAG_STRING_TABLE) stringsAddress = readWord(view, offset + 8);
  }
  const strings = stringsAddress === undefined ? undefined : toOffset(segments, stringsAddress);
  if (strings === undefined) return { interpreter, libraries: [] };
  return { interpreter, libraries: needed.map((offset) => readText(file, strings + offset)).filter((name) => name !== "") };
}

function readSegments(view: DataView): Segment[] {
  const tableOffset = readWord(view, 32);
  const entryBytes = view.getUint16(54, true);
  const count = Math.min(view.getUint16(56, true), SEGMENTS_LIMIT);
  const segments: Segment[] = [];
  for (let index = 0; index < count; index++) {
    const at = tableOffset + index * entryBytes;
    if (entryBytes < 56 || at + 56 > view.byteLength) break;
    segments.push({
      type: view.getUint32(at, true),
      offset: readWord(view, at + 8),
      address: readWord(view, at + 16),
      fileBytes: readWord(view, at + 32),
    });
  }
  return segments;
}

function toOffset(segments: readonly Segment[], address: number): number | undefined {
  const holder = segments.find(
    (segment) => segment.type === SEGMENT_LOAD && address >= segment.address && address < segment.address + segment.fileBytes,
  );
  return holder === undefined ? undefined : holder.offset + address - holder.address;
}

function readWord(view: DataView, offset: number): number {
  if (offset < 0 || offset + 8 > view.byteLength) return 0;
  return view.getUint32(offset, true) + view.getUint32(offset + 4, true) * 0x100000000;
}

function readText(file: Uint8Array, offset: number): string {
  if (offset >= file.length) return "";
  const end = file.indexOf(0, offset);
  return new TextDecoder().decode(file.subarray(offset, end < 0 ? offset : end));
}
