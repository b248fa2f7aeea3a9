// A small RISC-V encoder for tests that write machine code themselves: instruction formats, a two-pass assembler with labels for the
// fixed parts, and an ELF writer for one loadable segment.

export const LOAD = 0x03;
export const LOAD_FLOAT = 0x07;
export const MISC_MEMORY = 0x0f;
export const OP_IMMEDIATE = 0x13;
export const AUIPC = 0x17;
export const OP_IMMEDIATE_WORD = 0x1b;
export const STORE = 0x23;
export const STORE_FLOAT = 0x27;
export const ATOMIC = 0x2f;
export const OP = 0x33;
export const LUI = 0x37;
export const OP_WORD = 0x3b;
export const FLOAT_ADD = 0x43;
export const FLOAT = 0x53;
export const BRANCH = 0x63;
export const JALR = 0x67;
export const JAL = 0x6f;
export const SYSTEM = 0x73;

export const ECALL = 0x00000073;
export const EBREAK = 0x00100073;
export const SRET = 0x10200073;
export const MRET = 0x30200073;
export const WFI = 0x10500073;
export const FENCE_I = 0x0000100f;

export function formatR(opcode: number, f3: number, f7: number, rd: number, rs1: number, rs2: number): number {
  return ((f7 << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12) | (rd << 7) | opcode) >>> 0;
}
export function formatI(opcode: number, f3: number, rd: number, rs1: number, immediate: number): number {
  return (((immediate & 0xfff) << 20) | (rs1 << 15) | (f3 << 12) | (rd << 7) | opcode) >>> 0;
}
export function formatS(opcode: number, f3: number, rs1: number, rs2: number, immediate: number): number {
  return ((((immediate >> 5) & 127) << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12) | ((immediate & 31) << 7) | opcode) >>> 0;
}
export function formatB(f3: number, rs1: number, rs2: number, displacement: number): number {
  const high = (((displacement >> 12) & 1) << 6) | ((displacement >> 5) & 63);
  const low = (((displacement >> 1) & 15) << 1) | ((displacement >> 11) & 1);
  return ((high << 25) | (rs2 << 20) | (rs1 << 15) | (f3 << 12) | (low << 7) | BRANCH) >>> 0;
}
export function formatU(opcode: number, rd: number, immediate: number): number {
  return ((immediate & 0xfffff000) | (rd << 7) | opcode) >>> 0;
}
export function formatJ(rd: number, d: number): number {
  const bits = (((d >> 20) & 1) << 19) | (((d >> 1) & 1023) << 9) | (((d >> 11) & 1) << 8) | ((d >> 12) & 255);
  return ((bits << 12) | (rd << 7) | JAL) >>> 0;
}
export function fused(opcode: number, format: number, rounding: number, rd: number, rs1: number, rs2: number, rs3: number): number {
  return formatR(opcode, rounding, (rs3 << 2) | format, rd, rs1, rs2);
}
/** c.j (quadrant 1, funct3 5). */
export function compressedJump(d: number): number {
  const bit = (from: number, to: number): number => ((d >> from) & 1) << to;
  const bits = bit(11, 12) | bit(4, 11) | bit(9, 10) | bit(8, 9) | bit(10, 8) | bit(6, 7) | bit(7, 6) | bit(5, 2);
  return 0xa001 | bits | (((d >> 1) & 7) << 3);
}
/** c.beqz and c.bnez on x8 to x15. */
export function compressedBranch(notZero: boolean, register: number, d: number): number {
  const bits = (((d >> 8) & 1) << 12) | (((d >> 3) & 3) << 10) | (((d >> 6) & 3) << 5) | (((d >> 1) & 3) << 3) | (((d >> 5) & 1) << 2);
  return (notZero ? 0xe001 : 0xc001) | ((register - 8) << 7) | bits;
}
/** One of csrrw, csrrs, csrrc (1 to 3) or their immediate forms (5 to 7). */
export function csr(operation: number, rd: number, number: number, source: number): number {
  return formatR(SYSTEM, operation, 0, rd, source, 0) + number * 0x100000;
}

/** Emits 32-bit instructions with labels; every label is resolved in `finish`. */
export class Assembler {
  private readonly words: number[] = [];
  private readonly labels = new Map<string, number>();
  private readonly fixups: { at: number; label: string; encode: (displacement: number) => number }[] = [];

  constructor(readonly base: number) {}

  get here(): number {
    return this.base + 4 * this.words.length;
  }
  label(name: string): this {
    this.labels.set(name, this.here);
    return this;
  }
  address(name: string): number {
    const address = this.labels.get(name);
    if (address === undefined) throw new Error(`no label ${name}`);
    return address;
  }
  emit(...words: number[]): this {
    this.words.push(...words);
    return this;
  }
  jump(label: string, rd = 0): this {
    return this.later(label, (d) => formatJ(rd, d));
  }
  branch(f3: number, rs1: number, rs2: number, label: string): this {
    return this.later(label, (d) => formatB(f3, rs1, rs2, d));
  }
  /** rd = address, relative to the program counter. */
  loadAddress(rd: number, address: number): this {
    const displacement = address - this.here;
    const high = (displacement + 0x800) & 0xfffff000;
    return this.emit(formatU(AUIPC, rd, high), formatI(OP_IMMEDIATE, 0, rd, rd, displacement - high));
  }
  finish(): Uint8Array {
    for (const { at, label, encode } of this.fixups) this.words[at] = encode(this.address(label) - (this.base + 4 * at));
    return new Uint8Array(Uint32Array.from(this.words).buffer);
  }
  private later(label: string, encode: (displacement: number) => number): this {
    this.fixups.push({ at: this.words.length, label, encode });
    return this.emit(0);
  }
}

/** A 64-bit RISC-V executable with one segment, at `base`, and absolute symbols. */
export function writeElf(base: number, bytes: Uint8Array, symbols: Record<string, number>): Uint8Array {
  const names = Object.keys(symbols);
  const strings = Buffer.from(`\0${names.join("\0")}\0`, "latin1");
  const symbolsAt = (64 + 56 + bytes.length + 7) & ~7;
  const stringsAt = symbolsAt + 24 * (names.length + 1);
  const sectionsAt = (stringsAt + strings.length + 7) & ~7;
  const file = Buffer.alloc(sectionsAt + 3 * 64);
  const u64 = (value: number, at: number): number => file.writeBigUInt64LE(BigInt(value), at);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  file.set([2, 0, 243, 0, 1], 16);
  u64(base, 24);
  u64(64, 32);
  u64(sectionsAt, 40);
  file.writeUInt32LE(5, 48); // RVC, double-precision ABI
  for (const [index, value] of [64, 56, 1, 64, 3, 0].entries()) file.writeUInt16LE(value, 52 + 2 * index);
  file.writeUInt32LE(1, 64);
  file.writeUInt32LE(7, 68);
  for (const [index, value] of [120, base, base, bytes.length, bytes.length, 8].entries()) u64(value, 72 + 8 * index);
  file.set(bytes, 120);
  let name = 1;
  for (const [index, symbol] of names.entries()) {
    const at = symbolsAt + 24 * (index + 1);
    file.writeUInt32LE(name, at);
    file.writeUInt16LE(0xfff1, at + 6);
    file[at + 4] = 0x10;
    u64(symbols[symbol]!, at + 8);
    name += symbol.length + 1;
  }
  file.set(strings, stringsAt);
  const section = (index: number, fields: readonly number[], link: number): void => {
    const at = sectionsAt + 64 * index;
    file.writeUInt32LE(fields[0]!, at + 4);
    u64(fields[1]!, at + 24);
    u64(fields[2]!, at + 32);
    file.writeUInt32LE(link, at + 40);
    file.writeUInt32LE(index === 1 ? 1 : 0, at + 44);
    u64(fields[3]!, at + 56);
  };
  section(1, [2, symbolsAt, 24 * (names.length + 1), 24], 2);
  section(2, [3, stringsAt, strings.length, 0], 0);
  return file;
}
