// Single-instruction cases of the unprivileged architecture: one random instruction, or every compressed one, with operands that hurt.
import * as A from "./rv64-assembler.js";
import * as P from "./rv64-rig-program.js";
import { floatRegisters, integer, registers, type Random } from "./rv64-random.js";
import type { Case } from "./rv64-rig.js";

export const FS_DIRTY = 3n << 13n;
export const MPP = (privilege: number): bigint => BigInt(privilege) << 11n;
const MASK = 0xffff_ffff_ffff_ffffn;
/** Addresses where neither machine has memory or a device. */
export const ABSENT: readonly bigint[] = [
  0x1800_0000n,
  0x1fff_fff8n,
  BigInt(P.DRAM + P.RAM_BYTES),
  BigInt(P.DRAM + P.RAM_BYTES + 0x1000),
  0xf000_0000n,
  1n << 45n,
  1n << 63n,
  MASK - 15n,
  MASK,
];

export interface Code {
  readonly words: readonly number[];
  /** Bytes of each instruction, 2 or 4; all 4 if missing. */
  readonly sizes?: readonly number[];
}

/** 64-bit pokes that put code at an even address and zeros back afterwards. */
export function codePokes(address: number, words: readonly number[], sizes?: readonly number[]): Case["pokes"] {
  const length = words.reduce((sum, _, index) => sum + (sizes?.[index] ?? 4), 0);
  const start = address & ~7;
  const base = start >>> 0;
  const bytes = Buffer.alloc((address - base + length + 7) & ~7);
  let at = address - base;
  for (const [index, word] of words.entries()) {
    const size = sizes?.[index] ?? 4;
    bytes.writeUIntLE(size === 2 ? word & 0xffff : word, at, size);
    at += size;
  }
  return Array.from({ length: bytes.length / 8 }, (_, index) => ({
    address: base + 8 * index,
    value: bytes.readBigUInt64LE(8 * index),
    undo: true,
  }));
}

/** Somewhere in the code field; often across or at the end of a page. */
export function codeAddress(random: Random): number {
  return P.CODE + (random.chance(3) ? random.pick([0xff8, 0xffa, 0xffc, 0xffe]) : 2 * random.below(2000));
}

export const WINDOW_PEEK = { address: P.WINDOW - 256, words: 192 };

interface Draft {
  readonly label: string;
  readonly words: readonly number[];
  readonly sizes?: readonly number[];
  readonly x: BigUint64Array;
  readonly memory?: boolean;
  readonly entry?: number;
  readonly ignore?: ((field: string) => boolean) | undefined;
}

function draft(label: string, words: readonly number[], x: BigUint64Array): Draft {
  return { label, words, x };
}

/** Completes a one-shot with random floating-point registers, rounding mode and privilege. */
function complete(random: Random, item: Draft): Case {
  const entry = item.entry ?? codeAddress(random);
  const status = random.chance(20) ? BigInt(random.below(3)) << 13n : FS_DIRTY;
  return {
    label: `${item.label} ${item.words.map((word) => word.toString(16)).join(" ")}`,
    kind: "oneShot",
    entry,
    pokes: codePokes(entry, item.words, item.sizes),
    peeks: item.memory === true ? [WINDOW_PEEK] : [],
    mstatus: status | MPP(random.pick([0, 1, 3])),
    fcsr: BigInt(random.below(32) | (random.below(random.chance(3) ? 8 : 5) << 5)),
    csrs: {},
    x: item.x,
    f: floatRegisters(random),
    instructions: item.words.length,
    ignore: item.ignore,
  };
}

const field = (random: Random): number => random.below(32);

/** Major opcodes whose effects stay within registers, with any bits in the rest. */
function anyRegisterOperation(random: Random): Draft {
  const opcode = random.pick([
    A.OP,
    A.OP,
    A.OP_WORD,
    A.OP_WORD,
    A.OP_IMMEDIATE,
    A.OP_IMMEDIATE,
    A.OP_IMMEDIATE_WORD,
    A.LUI,
    A.AUIPC,
    0x0b,
    0x2b,
    0x57,
    0x5b,
    0x6b,
    0x77,
    0x7b,
    0x1f,
  ]);
  let word = (random.u32() & ~0x7f) | opcode;
  if ((opcode === A.OP || opcode === A.OP_WORD) && !random.chance(8)) word = (word & 0x01ffffff) | (random.pick([0, 1, 1, 32]) << 25);
  if (opcode === A.OP_IMMEDIATE_WORD && !random.chance(8)) word = (word & 0x01ffffff) | (random.pick([0, 32]) << 25);
  return draft("register", [word >>> 0], registers(random));
}

function control(random: Random): Draft {
  const x = registers(random);
  const entry = codeAddress(random);
  switch (random.below(3)) {
    case 0: {
      const d = 2 * (random.below(2047) + 2) * (random.chance(2) ? 1 : -1);
      const rs1 = field(random);
      const rs2 = field(random);
      if (random.chance(2)) x[rs2] = x[rs1]!;
      x[0] = 0n;
      return { ...draft("branch", [A.formatB(random.below(8), rs1, rs2, Math.max(d, -4096))], x), entry };
    }
    case 1: {
      const d = 2 * (random.below(0x7e000) + 2) * (random.chance(2) ? 1 : -1);
      return { ...draft("jal", [A.formatJ(field(random), d)], x), entry };
    }
    default: {
      const rs1 = field(random);
      const immediate = random.below(4096) - 2048;
      const target = random.chance(8) ? random.pick(ABSENT) : BigInt(P.CODE + 0x2000 + random.below(0x10000));
      if (rs1 !== 0) x[rs1] = (target - BigInt(immediate)) & MASK;
      return { ...draft("jalr", [A.formatI(A.JALR, random.chance(10) ? random.below(8) : 0, field(random), rs1, immediate)], x), entry };
    }
  }
}

/** An address for an access of `size` bytes: in the window (aligned or not, across the page border) or where nothing is. */
function dataAddress(random: Random, size: number): bigint {
  const kind = random.below(12);
  if (kind === 0) return random.pick(ABSENT) & ~BigInt(size - 1);
  const offset = kind < 5 ? random.below(64) * size - 128 : kind < 9 ? -random.below(size + 2) : random.below(500) - 240;
  return BigInt(P.WINDOW + Math.min(offset, 1200));
}

function memoryAccess(random: Random): Draft {
  const x = registers(random);
  const isStore = random.chance(2);
  const isFloat = random.chance(3);
  const f3 = random.chance(12) ? random.below(8) : isFloat ? random.pick([2, 3]) : random.below(isStore ? 4 : 7);
  const rs1 = field(random);
  const other = field(random);
  // Misaligned and absent at once: which fault comes first is left open, and QEMU chose otherwise. So no such accesses.
  const immediate = rs1 === 0 ? 8 * (random.below(512) - 256) : random.below(4096) - 2048;
  if (rs1 !== 0) x[rs1] = (dataAddress(random, 1 << (f3 & 3)) - BigInt(immediate)) & MASK;
  const word = isStore
    ? A.formatS(isFloat ? A.STORE_FLOAT : A.STORE, f3, rs1, other, immediate)
    : A.formatI(isFloat ? A.LOAD_FLOAT : A.LOAD, f3, other, rs1, immediate);
  return { ...draft(isStore ? "store" : "load", [word], x), memory: true };
}

const AMO_OPERATIONS = [0, 1, 4, 8, 12, 16, 20, 24, 28];

function atomic(random: Random): Draft {
  const x = registers(random);
  const rs1 = 1 + random.below(31);
  const f3 = random.chance(15) ? random.below(8) : random.pick([2, 3]);
  const order = random.below(4);
  const known = !random.chance(10);
  const operation = known ? random.pick([...AMO_OPERATIONS, 2, 3]) : random.below(32);
  // A failing store-conditional need not look at its address (QEMU does not, we do), so its address is always a good one.
  const size = f3 === 2 ? 4 : 8;
  const misaligned = random.chance(6) && operation !== 3;
  x[rs1] = BigInt(P.WINDOW + random.below(32) * size - 64 + (misaligned ? 1 + random.below(size - 1) : 0));
  const rs2 = operation === 2 && !random.chance(10) ? 0 : field(random);
  return { ...draft("atomic", [A.formatR(A.ATOMIC, f3, (operation << 2) | order, field(random), rs1, rs2)], x), memory: true };
}

/** lr, something in between, sc: same address and width succeeds; another address, or a second sc, fails. */
function reservation(random: Random): Draft {
  const x = registers(random);
  const f3 = random.pick([2, 3]);
  const size = f3 === 2 ? 4 : 8;
  const [base, other] = random.pick([
    [5, 6],
    [10, 11],
    [31, 30],
  ] as const);
  x[base] = BigInt(P.WINDOW + 8 * random.below(8));
  x[other] = random.chance(3) ? x[base]! + BigInt(16 * size) : x[base]!;
  const conditional = (rd: number, address: number): number => A.formatR(A.ATOMIC, f3, 3 << 2, rd, address, 12);
  const words = [A.formatR(A.ATOMIC, f3, 2 << 2, 13, base, 0)];
  if (random.chance(2)) words.push(A.formatI(A.OP_IMMEDIATE, 0, 12, 13, 1));
  words.push(conditional(14, other));
  if (random.chance(2)) words.push(conditional(15, base));
  return { ...draft("lr/sc", words, x), memory: true };
}

const FLOAT_OPERATIONS = [0, 1, 2, 3, 4, 5, 8, 11, 20, 24, 26, 28, 30];

function floatOperation(random: Random): Draft {
  const x = registers(random);
  const format = random.chance(40) ? random.pick([2, 3]) : random.below(2);
  const rounding = random.below(8);
  if (random.chance(3)) {
    const opcode = A.FLOAT_ADD + 4 * random.below(4);
    return draft("fused", [A.fused(opcode, format, rounding, field(random), field(random), field(random), field(random))], x);
  }
  const operation = random.chance(20) ? random.below(32) : random.pick(FLOAT_OPERATIONS);
  const narrow =
    operation === 11 || operation >= 28 ? 0 : operation === 8 ? 1 - (format & 1) : operation >= 24 ? random.below(4) : field(random);
  const rs2 = random.chance(25) ? field(random) : narrow;
  const f3 = operation >= 4 && operation !== 8 && operation !== 11 && operation < 24 ? random.below(random.chance(10) ? 8 : 3) : rounding;
  // Exception flags raised by an instruction that writes an x register make mstatus.FS dirty: QEMU 7.2 forgets that.
  const ignore = operation === 20 || operation === 24 ? (name: string): boolean => name.startsWith("mstatus") : undefined;
  const chosen = operation >= 28 && !random.chance(10) ? random.below(2) : f3;
  return { ...draft("float", [A.formatR(A.FLOAT, chosen, (operation << 2) | format, field(random), field(random), rs2)], x), ignore };
}

const FLOAT_CSRS = [1, 2, 3];

function floatCsr(random: Random): Draft {
  const operation = random.pick([1, 2, 3, 5, 6, 7]);
  const source = field(random);
  const x = registers(random);
  // A register that holds zero still writes (and makes mstatus.FS dirty): QEMU leaves the write out.
  const ignore =
    (operation === 2 || operation === 3) && x[source] === 0n ? (name: string): boolean => name.startsWith("mstatus") : undefined;
  return { ...draft("float csr", [A.csr(operation, field(random), random.pick(FLOAT_CSRS), source)], x), ignore };
}

function fence(random: Random): Draft {
  const word = random.chance(3) ? random.u32() & ~0x7f & ~0x6000 : 0;
  return draft("fence", [random.pick([A.FENCE_I, 0x0ff0000f, (word | A.MISC_MEMORY) >>> 0])], registers(random));
}

/** One compressed encoding, its registers such that it stays within window and code field. */
export function compressed(random: Random, encoding: number): Case {
  const x = registers(random);
  const quadrant = encoding & 3;
  const f3 = encoding >> 13;
  const isMemory = (quadrant === 0 || quadrant === 2) && f3 !== 0 && f3 !== 4;
  const entry = codeAddress(random);
  if (isMemory) {
    const base = quadrant === 0 ? 8 + ((encoding >> 7) & 7) : 2;
    x[base] = BigInt(P.WINDOW - 64 + random.below(random.chance(2) ? 8 : 1) + 8 * random.below(16));
  }
  if (quadrant === 2 && f3 === 4 && ((encoding >> 2) & 31) === 0) {
    const target = random.chance(8) ? random.pick(ABSENT) : BigInt(P.CODE + 0x2000 + random.below(0x1000));
    if ((encoding >> 7) & 31) x[(encoding >> 7) & 31] = target;
  }
  if (quadrant === 1 && f3 >= 6 && random.chance(2)) x[8 + ((encoding >> 7) & 7)] = 0n;
  return complete(random, { label: "compressed", words: [encoding], sizes: [2], x, memory: isMemory, entry });
}

/** A jump or branch to itself would never end. */
export function isEndless(encoding: number): boolean {
  return encoding === 0xa001 || (encoding & 0xfc7f) === 0xc001 || (encoding & 0xfc7f) === 0xe001;
}

const GENERATORS: readonly ((random: Random) => Draft)[] = [
  anyRegisterOperation,
  anyRegisterOperation,
  control,
  memoryAccess,
  memoryAccess,
  atomic,
  reservation,
  floatOperation,
  floatOperation,
  floatOperation,
  floatOperation,
  floatCsr,
  fence,
];

export function oneShot(random: Random): Case {
  if (!random.chance(5)) return complete(random, random.pick(GENERATORS)(random));
  for (;;) {
    const encoding = random.below(0x10000);
    if ((encoding & 3) !== 3 && !isEndless(encoding)) return compressed(random, encoding);
  }
}

export { integer };
