// Random instruction streams: tens of instructions that feed each other, with loops, forward branches over mixed instruction lengths,
// runs of loads and stores, floating point with accruing flags, atomics, code that crosses pages, and traps in the middle.
import * as A from "./rv64-assembler.js";
import { codePokes, FS_DIRTY, MPP } from "./rv64-cases.js";
import * as P from "./rv64-rig-program.js";
import { floatRegisters, registers, type Random } from "./rv64-random.js";
import type { Case } from "./rv64-rig.js";

/** One instruction; branches are encoded when the address of their target is known. */
interface Item {
  readonly size: 2 | 4;
  readonly encode: (displacement: number) => number;
  /** Index of the item that a branch goes to. */
  readonly target?: number;
  /** A second instruction of four bytes that belongs to the first: no branch goes between them. */
  readonly tail?: number;
}

/** Registers that a stream keeps: two that point into the window, one that counts a loop. Compressed instructions reach all of them. */
const BASES = [8, 9] as const;
const COUNTER = 15;
const MAX_LENGTH = 60;

class StreamWriter {
  readonly items: Item[] = [];
  private readonly destinations: readonly number[];
  private readonly compressedDestinations = [10, 11, 12, 13, 14];

  constructor(private readonly random: Random) {
    this.destinations = Array.from({ length: 32 }, (_, index) => index).filter((index) => index !== 8 && index !== 9 && index !== COUNTER);
  }

  private get rd(): number {
    return this.random.pick(this.destinations);
  }
  private get any(): number {
    return this.random.below(32);
  }
  private get base(): number {
    return this.random.pick(BASES);
  }
  private add(word: number, size: 2 | 4 = 4): void {
    this.items.push({ size, encode: () => word });
  }

  integer(): void {
    const { random } = this;
    const opcode = random.pick([A.OP, A.OP, A.OP_WORD, A.OP_IMMEDIATE, A.OP_IMMEDIATE_WORD, A.LUI, A.AUIPC]);
    let word = ((random.u32() & ~0xfff) | (this.rd << 7) | opcode) >>> 0;
    if (opcode === A.OP || opcode === A.OP_WORD) word = ((word & 0x01ffffff) | (random.pick([0, 1, 32]) << 25)) >>> 0;
    this.add(word);
  }

  compressed(): void {
    const { random } = this;
    const rd = random.pick(this.compressedDestinations);
    const low = random.below(32) << 2;
    const high = random.below(2) << 12;
    const short = rd - 8;
    const source = random.below(8) << 2;
    const arithmetic = 0x8c01 | (short << 7) | source | (random.below(4) << 5) | (random.below(2) << 12);
    const choices = [
      0x0001 | (this.rd << 7) | low | high, // c.addi
      0x2001 | (Math.max(this.rd, 1) << 7) | low | high, // c.addiw
      0x4001 | (this.rd << 7) | low | high, // c.li
      0x8001 | (short << 7) | low | high | (random.below(3) << 10), // c.srli, c.srai, c.andi
      arithmetic, // also the reserved ones
      0x0002 | (this.rd << 7) | low | high, // c.slli
      0x8002 | (this.rd << 7) | ((1 + random.below(31)) << 2) | high, // c.mv, c.add
      0x0000 | (short << 2) | (random.below(256) << 5), // c.addi4spn
    ];
    const word = random.pick(choices);
    // c.addi x8, x9 and x15 are left out by their destinations; c.addi16sp and c.lui come with the single instructions.
    this.add(word, 2);
  }

  memory(): void {
    const { random } = this;
    const runLength = random.chance(3) ? 2 + random.below(6) : 1;
    const isStore = random.chance(2);
    const isFloat = random.chance(4);
    const f3 = runLength > 1 ? 3 : isFloat ? random.pick([2, 3]) : random.below(isStore ? 4 : 7);
    for (let index = 0; index < runLength; index++) {
      const offset = random.chance(3) ? random.below(480) - 240 : (random.below(60) - 30) << (f3 & 3);
      if (isStore) this.add(A.formatS(isFloat ? A.STORE_FLOAT : A.STORE, f3, this.base, this.any, offset));
      else this.add(A.formatI(isFloat ? A.LOAD_FLOAT : A.LOAD, f3, isFloat ? this.any : this.rd, this.base, offset));
    }
  }

  compressedMemory(): void {
    const { random } = this;
    const f3 = random.pick([1, 2, 3, 5, 6, 7]);
    const register = random.pick(f3 === 2 || f3 === 3 ? this.compressedDestinations : [8, 9, 10, 11, 12, 13, 14, 15]) - 8;
    const fields = (random.below(8) << 10) | (random.below(4) << 5);
    this.add((f3 << 13) | fields | ((this.base - 8) << 7) | (register << 2), 2);
  }

  float(): void {
    const { random } = this;
    const format = random.below(2);
    const rounding = random.pick([0, 0, 0, 1, 2, 3, 4, 7, 7]);
    if (random.chance(4)) {
      this.add(A.fused(A.FLOAT_ADD + 4 * random.below(4), format, rounding, this.any, this.any, this.any, this.any));
      return;
    }
    const operation = random.pick([0, 0, 1, 2, 2, 3, 4, 5, 8, 11, 20, 24, 26, 28, 30]);
    const toInteger = operation === 20 || operation === 24 || operation === 28;
    const rs2 = operation === 11 || operation >= 28 ? 0 : operation === 8 ? 1 - format : operation >= 24 ? random.below(4) : this.any;
    const selector =
      operation === 4 || operation === 20 ? random.below(3) : operation === 5 || operation === 28 ? random.below(2) : rounding;
    const f3 = operation === 30 ? 0 : selector;
    this.add(A.formatR(A.FLOAT, f3, (operation << 2) | format, toInteger ? this.rd : this.any, this.any, rs2));
  }

  floatControl(): void {
    const { random } = this;
    const number = random.pick([1, 2, 3]);
    const operation = random.pick([1, 2, 3, 5, 6, 7]);
    // Mostly clearing flags, so that later ones can be seen; rounding modes now and then, reserved ones too.
    if (random.chance(2)) this.add(A.csr(1, this.rd, 1, 0));
    else this.add(A.csr(operation, this.rd, number, this.any));
  }

  atomic(): void {
    const { random } = this;
    const f3 = random.pick([2, 3]);
    const operation = random.pick([0, 1, 4, 8, 12, 16, 20, 24, 28]);
    this.add(A.formatR(A.ATOMIC, f3, (operation << 2) | random.below(4), this.rd, this.base, this.any));
  }

  /** Neighbours that compilers emit and that an interpreter may run as one, the second often fed by the first. */
  pair(): void {
    const { random } = this;
    const rd = this.rd;
    const fed = random.chance(4) ? this.any : rd;
    const immediate = (f3: number, source: number, value: number): number => A.formatI(A.OP_IMMEDIATE, f3, rd, source, value);
    const register = (f3: number, source: number): number => A.formatR(A.OP, f3, 0, this.rd, source, random.chance(2) ? this.any : fed);
    const branch = (f3: number, zero: boolean): void => {
      const [rs1, rs2] = [fed, zero ? 0 : this.any];
      this.items.push({ size: 4, target: this.items.length + 1 + random.below(4), encode: (d) => A.formatB(f3, rs1, rs2, d) });
    };
    const size = random.pick([3, 4]);
    const offset = random.below(64) - 32;
    // A loaded address comes from the window or from the code itself, so these feed always.
    const loaded = (first: number): void => {
      this.items.push({ size: 4, encode: () => first, tail: A.formatI(A.LOAD, size, this.rd, rd === 0 ? 8 : rd, offset) });
    };
    const choices = [
      () => (this.add(immediate(1, this.any, random.below(64))), this.add(register(0, fed))),
      () => (this.add(immediate(1, this.any, 32)), this.add(A.formatI(A.OP_IMMEDIATE, 5, this.rd, fed, random.below(64)))),
      () => loaded(A.formatU(A.AUIPC, rd, 0)),
      () => (this.add(A.formatU(A.AUIPC, rd, random.u32())), this.add(A.formatI(A.OP_IMMEDIATE, 0, this.rd, fed, random.below(4096)))),
      () => (this.add(immediate(7, this.any, random.below(4096))), branch(random.below(2), true)),
      () => (
        this.add(A.formatR(A.OP, 5, 0, rd, this.any, this.any)),
        this.add(A.formatI(A.OP_IMMEDIATE, 7, this.rd, fed, random.below(4096)))
      ),
      () => (this.add(immediate(5, this.any, random.below(64))), this.add(A.formatI(A.OP_IMMEDIATE, 7, this.rd, fed, random.below(4096)))),
      () => loaded(A.formatR(A.OP, 0, 0, rd, this.base, 0)),
      () => loaded(immediate(0, this.base, random.below(64))),
      () => (this.add(immediate(0, this.any, random.below(4096))), branch(random.pick([1, 6]), random.chance(2))),
      () => (this.add(immediate(0, this.any, random.below(4096))), this.add(register(0, fed))),
      () => (this.add(immediate(0, this.any, 0)), this.add(A.formatI(A.OP_IMMEDIATE, 0, this.rd, fed, 0))),
    ];
    random.pick(choices)();
  }

  trap(): void {
    this.add(this.random.pick([A.ECALL, A.EBREAK, 0xffffffff, 0x0000500b, A.csr(1, 0, 0xc00, 1)]));
    if (this.random.chance(2)) this.add(this.random.pick([0, 0x9002]), 2);
  }

  /** A branch over the next few items; the target is clipped to the end of the stream. */
  forward(): void {
    const { random } = this;
    const target = this.items.length + 1 + random.below(6);
    const kind = random.below(4);
    const f3 = random.pick([0, 1, 4, 5, 6, 7]);
    const [rs1, rs2, link] = [this.any, random.chance(3) ? 0 : this.any, random.pick([0, this.rd])];
    const short = 8 + random.below(8);
    if (kind === 0) this.items.push({ size: 4, target, encode: (d) => A.formatJ(link, d) });
    else if (kind === 1) this.items.push({ size: 2, target, encode: (d) => A.compressedJump(d) });
    else if (kind === 2) this.items.push({ size: 2, target, encode: (d) => A.compressedBranch((f3 & 1) === 1, short, d) });
    else this.items.push({ size: 4, target, encode: (d) => A.formatB(f3, rs1, rs2, d) });
  }

  step(): void {
    const choices = [
      () => this.integer(),
      () => this.integer(),
      () => this.integer(),
      () => this.compressed(),
      () => this.compressed(),
      () => this.memory(),
      () => this.memory(),
      () => this.compressedMemory(),
      () => this.float(),
      () => this.float(),
      () => this.floatControl(),
      () => this.forward(),
      () => this.pair(),
      () => this.pair(),
    ];
    if (this.random.chance(24)) this.atomic();
    else if (this.random.chance(60)) this.trap();
    else this.random.pick(choices)();
  }

  /** Counts down and goes back. */
  loop(first: number): void {
    // No branch may skip the countdown and land behind it, or the loop never ends.
    const countdown = this.items.length;
    for (const [index, item] of this.items.entries()) {
      if (item.target !== undefined && item.target > countdown) this.items[index] = { ...item, target: countdown };
    }
    this.add(A.formatI(A.OP_IMMEDIATE, 0, COUNTER, COUNTER, -1));
    this.items.push({ size: 4, target: first, encode: (d) => A.formatB(1, COUNTER, 0, d) });
  }
}

function layOut(items: readonly Item[], entry: number): { words: number[]; sizes: number[]; end: number } {
  const places: number[] = [];
  let at = entry;
  for (const item of items) {
    places.push(at);
    at += item.size + (item.tail === undefined ? 0 : 4);
  }
  places.push(at);
  const words: number[] = [];
  const sizes: number[] = [];
  for (const [index, item] of items.entries()) {
    const target = places[Math.min(item.target ?? 0, items.length)]!;
    words.push(item.encode(target - places[index]!));
    sizes.push(item.size);
    if (item.tail === undefined) continue;
    words.push(item.tail);
    sizes.push(4);
  }
  return { words, sizes, end: at };
}

export function stream(random: Random): Case {
  const writer = new StreamWriter(random);
  const length = 10 + random.below(MAX_LENGTH - 10);
  const loopFrom = random.chance(2) ? random.below(length) : -1;
  let first = -1;
  while (writer.items.length < length) {
    if (first < 0 && loopFrom >= 0 && writer.items.length >= loopFrom) first = writer.items.length;
    writer.step();
  }
  if (first >= 0) writer.loop(first);
  // Often so that the stream runs over the end of a page.
  const entry = P.CODE + (random.chance(2) ? 0x1000 - 2 * random.below(80) : 2 * random.below(1800));
  const { words, sizes, end } = layOut(writer.items, entry);
  const x = registers(random);
  x[8] = BigInt(P.WINDOW + 8 * random.below(4));
  x[9] = BigInt(P.WINDOW + 4 * random.below(8) + (random.chance(4) ? random.below(4) : 0));
  x[COUNTER] = BigInt(1 + random.below(4));
  return {
    label: `stream of ${words.length}`,
    kind: "stream",
    entry,
    end,
    pokes: codePokes(entry, words, sizes),
    peeks: [{ address: P.WINDOW - 256, words: 128 }],
    mstatus: FS_DIRTY | MPP(random.pick([0, 1, 3])),
    fcsr: BigInt(random.pick([0, 1, 0x1f]) | (random.below(5) << 5)),
    csrs: { mcounteren: 0n },
    x,
    f: floatRegisters(random),
    instructions: words.length,
  };
}
