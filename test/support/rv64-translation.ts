// Cases of address translation: random Sv39 tables (pages of all sizes, any permission bits, accessed and dirty clear, reserved bits,
// misaligned superpages, nothing behind them), reached by loads, stores, atomics and fetches from U, S and M with MPRV.
import * as A from "./rv64-assembler.js";
import { ABSENT, codePokes, FS_DIRTY, MPP } from "./rv64-cases.js";
import * as P from "./rv64-rig-program.js";
import { floatRegisters, registers, type Random } from "./rv64-random.js";
import type { Case } from "./rv64-rig.js";

const V = 1n;
const R = 2n;
const W = 4n;
const X = 8n;
const U = 16n;
const G = 32n;
const ACCESSED = 64n;
const DIRTY = 128n;
const MPRV = 1n << 17n;
const SUM = 1n << 18n;
const MXR = 1n << 19n;
const ROOT = P.TABLES;
const MIDDLE = P.TABLES + 0x1000;
const LAST = P.TABLES + 0x2000;
/** Where the code runs in S and U: one identity-mapped gigabyte, so not for tables under test. */
const CODE_INDEX = 2;
const MASK = 0xffff_ffff_ffff_ffffn;

interface Entry {
  readonly address: number;
  value: bigint;
}

const toEntry = (physical: bigint): bigint => (physical >> 12n) << 10n;

/** Any bits, but biased so that about half of the accesses succeed. */
function leafFlags(random: Random): bigint {
  let flags = random.pick([V | R | W | X, V | R | W, V | R, V | R | X, V | X, V | W, V | W | X, V, R | W | X, V | R | W | X]);
  if (random.chance(2)) flags |= U;
  if (!random.chance(3)) flags |= ACCESSED;
  if (!random.chance(3)) flags |= DIRTY;
  if (random.chance(4)) flags |= G;
  if (random.chance(6)) flags |= BigInt(random.below(4)) << 8n;
  if (random.chance(24)) flags |= 1n << BigInt(54 + random.below(10));
  return flags;
}

function pointer(random: Random, table: number): bigint {
  let value = toEntry(BigInt(table)) | V;
  if (random.chance(20)) value |= random.pick([U, ACCESSED, DIRTY, G, 1n << 54n, 1n << 63n]);
  if (random.chance(40)) value &= ~V;
  return value;
}

interface Mapping {
  readonly entries: readonly Entry[];
  readonly leaf: Entry;
  readonly address: bigint;
  readonly level: number;
  /** There is memory at the end. */
  readonly present: boolean;
}

/** One path through the tables to a page of the arena, and the virtual address of a place in it. */
function mapping(random: Random, placeInPage: number): Mapping {
  const index = [random.pick([0, 1, 3, 255, 256, 511]), random.below(512), random.below(511)] as const;
  const level = random.pick([0, 0, 0, 1, 2]);
  const page = random.below(P.ARENA_PAGES - 1);
  const physical = BigInt(P.ARENA + page * 4096);
  const size = 1n << BigInt(12 + 9 * level);
  let base = physical & ~(size - 1n);
  const present = !random.chance(16);
  if (!present) base = random.pick(ABSENT.slice(0, 4)) & ~(size - 1n);
  // Misaligned superpages; not so far off that what is there differs (it may be read as a table).
  if (level > 0 && random.chance(10)) base |= 4096n << BigInt(random.below(Math.min(9 * level, 10)));
  const table = (BigInt(index[0]) << 30n) | (BigInt(index[1]) << 21n) | (BigInt(index[2]) << 12n);
  let address = (table & ~(size - 1n)) | (physical & (size - 1n)) | BigInt(placeInPage);
  if (index[0] >= 256) address |= MASK << 39n;
  if (random.chance(24)) address ^= 1n << BigInt(39 + random.below(25));
  address &= MASK;
  const at = (tableAt: number, shift: bigint): number => tableAt + 8 * Number((address >> shift) & 511n);
  const leafValue = toEntry(base) | leafFlags(random);
  const entries: Entry[] = [{ address: at(ROOT, 30n), value: level === 2 ? leafValue : pointer(random, MIDDLE) }];
  if (level < 2) entries.push({ address: at(MIDDLE, 21n), value: level === 1 ? leafValue : pointer(random, LAST) });
  if (level < 1) {
    entries.push({ address: at(LAST, 12n), value: leafValue });
    // The page behind it, for accesses that cross.
    entries.push({ address: at(LAST, 12n) + 8, value: toEntry(physical + 4096n) | leafFlags(random) });
  }
  return { entries, leaf: entries[2 - level]!, address, level, present };
}

/** A load, store or atomic of any size through x20. */
function access(random: Random, present: boolean): { word: number; size: number } {
  const kind = random.below(8);
  // With nothing behind the page the kind of fault an atomic gets differs: QEMU sees its load fail, the specification says store.
  if (kind === 0 && present) {
    const f3 = random.pick([2, 3]);
    return { word: A.formatR(A.ATOMIC, f3, random.pick([0, 1, 4, 8, 12, 16, 20, 24, 28, 2]) << 2, 6, 20, 0), size: 1 << f3 };
  }
  const f3 = random.below(4);
  if (kind === 1) return { word: A.formatI(A.LOAD_FLOAT, 3, 5, 20, 0), size: 8 };
  if (kind === 2) return { word: A.formatS(A.STORE_FLOAT, 3, 20, 5, 0), size: 8 };
  if (kind < 5) return { word: A.formatI(A.LOAD, f3, 7, 20, 0), size: 1 << f3 };
  return { word: A.formatS(A.STORE, f3, 20, 8, 0), size: 1 << f3 };
}

/** The place in the page: aligned, and now and then across its end. */
function place(random: Random, size: number, crossing: boolean): number {
  if (crossing && size > 1) return 4096 - 1 - random.below(size - 1);
  return random.below(4096 / size) * size;
}

interface Draft {
  readonly label: string;
  readonly map: Mapping;
  readonly words: readonly number[];
  readonly privilege: number;
  readonly entry?: bigint;
  readonly mstatus: bigint;
  readonly x: BigUint64Array;
  readonly extra?: Case["pokes"];
}

function complete(random: Random, item: Draft): Case {
  const { map, privilege, x } = item;
  const delegate = privilege !== 0 && map.present && random.chance(3);
  const identity: Entry = { address: ROOT + 8 * CODE_INDEX, value: toEntry(BigInt(P.DRAM)) | 0xcfn | (privilege === 0 ? U : 0n) };
  const code = item.entry === undefined ? codePokes(P.CODE, item.words) : (item.extra ?? []);
  x[20] = map.address;
  return {
    label: `${item.label} of ${map.address.toString(16)}, level ${map.level}, leaf ${map.leaf.value.toString(16)} from privilege ${privilege}`,
    kind: "oneShot",
    entry: item.entry ?? P.CODE,
    handler: "plain",
    pokes: [...map.entries, identity, ...code].map((poke) => ({ ...poke, undo: true })),
    peeks: [...map.entries.map((entry) => ({ address: entry.address, words: 1 })), { address: P.ARENA + 0xff0, words: 4 }],
    mstatus: item.mstatus | FS_DIRTY | MPP(privilege),
    fcsr: 0n,
    csrs: { satp: (8n << 60n) | (BigInt(ROOT) >> 12n), medeleg: delegate ? delegation(random) : 0n },
    x,
    f: floatRegisters(random),
    instructions: Math.max(item.words.length, 1),
    ignore: ignoring(item),
  };
}

/** Atomics have page fault 15, store or AMO; QEMU 7.2 says 13, load: it loads first, and so sets A on pages without W. */
function atomicFault(field: string, engine: bigint, qemu: bigint): boolean {
  if (field.startsWith("memory")) return qemu === (engine | ACCESSED);
  return (field.startsWith("mcause") || field === "scause") && engine === 15n && qemu === 13n;
}

/** Tables where there is no memory: the specification says access fault, QEMU page fault. */
function tableFault(field: string, engine: bigint, qemu: bigint): boolean {
  const isCause = field.startsWith("mcause") || field === "scause";
  return isCause && ((engine === 1n && qemu === 12n) || (engine === 5n && qemu === 13n) || (engine === 7n && qemu === 15n));
}

function ignoring({ words, map }: Draft): Case["ignore"] {
  const isAtomic = words.some((word) => (word & 0x7f) === A.ATOMIC);
  return (field, engine, qemu) => (isAtomic && atomicFault(field, engine, qemu)) || (!map.present && tableFault(field, engine, qemu));
}

/** Delegated causes; the two misaligned ones together, because QEMU 7.2 takes one for the other. */
function delegation(random: Random): bigint {
  const bits = 0xb0bfn & (random.u64() | 0xb000n);
  return bits & (1n << 4n) ? bits | (1n << 6n) : bits;
}

function draftOf(random: Random, crossing: boolean): { map: Mapping; word: number } {
  const present = mapping(random, 0);
  const { word, size } = access(random, present.present);
  const offset = BigInt(place(random, size, crossing && present.present && present.level === 0 && (word & 0x7f) !== A.ATOMIC));
  return { map: { ...present, address: (present.address & ~0xfffn) | offset }, word };
}

/** From M with MPRV, as S, U or M. */
function throughMprv(random: Random): Case {
  const { map, word } = draftOf(random, random.chance(4));
  const x = registers(random);
  x[10] = FS_DIRTY | MPRV | MPP(random.pick([0, 1, 1, 0, 3])) | (random.u64() & (SUM | MXR));
  // As M the address is physical: keep it where something is known to be.
  if (((x[10] >> 11n) & 3n) === 3n) return throughMprvAsMachine(random, x, word);
  return complete(random, { label: "MPRV", map, words: [A.csr(1, 0, 0x300, 10), word], privilege: 3, mstatus: 0n, x });
}

function throughMprvAsMachine(random: Random, x: BigUint64Array, word: number): Case {
  const map = { ...mapping(random, 0), address: BigInt(P.ARENA + 64) };
  return complete(random, { label: "MPRV as M", map, words: [A.csr(1, 0, 0x300, 10), word], privilege: 3, mstatus: 0n, x });
}

/** From code in S or U; then, in S, the leaf changes, sfence.vma (for all or for this address), and the same access again. */
function fromCode(random: Random): Case {
  const { map, word } = draftOf(random, random.chance(4));
  const privilege = random.below(2);
  const x = registers(random);
  const words = [word];
  if (privilege === 1) {
    x[12] = random.chance(2)
      ? map.leaf.value ^ random.pick([V, R, W, X, U, ACCESSED, DIRTY, DIRTY | ACCESSED])
      : (map.leaf.value & ~0x3ffn) | leafFlags(random);
    x[13] = BigInt(map.leaf.address);
    x[15] = 0n;
    const source = random.pick([0, 20]);
    words.push(
      A.formatS(A.STORE, 3, 13, 12, 0),
      A.formatR(A.SYSTEM, 0, 9, 0, source, random.pick([0, 15])),
      access(random, map.present).word,
    );
  }
  return complete(random, { label: "access", map, words, privilege, mstatus: random.u64() & (SUM | MXR), x });
}

/** Running code through the mapping itself, sometimes over the end of the page. */
function fetch(random: Random): Case {
  const crossing = random.chance(3);
  const map = mapping(random, crossing ? random.pick([0xffc, 0xffe]) : 2 * random.below(2000));
  const x = registers(random);
  const privilege = random.below(2);
  const page = Number((((map.leaf.value >> 10n) & 0xfff_ffff_ffffn) << 12n) & 0xffff_ffffn);
  const physical = page + Number(map.address & ((1n << BigInt(12 + 9 * map.level)) - 1n));
  const inArena = physical >= P.ARENA && physical + 16 <= P.ARENA + 4096 * P.ARENA_PAGES;
  const nop = A.formatI(A.OP_IMMEDIATE, 0, 9, 9, 1);
  const extra = inArena ? codePokes(physical, [nop, nop]) : [];
  return complete(random, { label: "fetch", map, words: [], privilege, entry: map.address, mstatus: 0n, x, extra });
}

export function translation(random: Random): Case {
  return random.pick([throughMprv, fromCode, fromCode, fetch])(random);
}
