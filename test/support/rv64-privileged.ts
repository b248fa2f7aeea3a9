// Cases of the privileged architecture without page tables: control registers in every mode, returns from traps, delegation, interrupts.
import * as A from "./rv64-assembler.js";
import { codeAddress, codePokes, FS_DIRTY, MPP, oneShot } from "./rv64-cases.js";
import * as P from "./rv64-rig-program.js";
import { floatRegisters, integer, registers, type Random } from "./rv64-random.js";
import type { Case } from "./rv64-rig.js";

const MASK = 0xffff_ffff_ffff_ffffn;
const MSTATUS = 0x300;
const MTVEC = 0x305;
const MENVCFG = 0x30a;
const MSCRATCH = 0x340;
const MEPC = 0x341;
const SIE = 1n << 1n;
const MIE = 1n << 3n;
const SPIE = 1n << 5n;
const MPIE = 1n << 7n;
const SPP = 1n << 8n;
const MPRV = 1n << 17n;
const SUM = 1n << 18n;
const MXR = 1n << 19n;
const TVM = 1n << 20n;
const TW = 1n << 21n;
const TSR = 1n << 22n;
const SUPERVISOR_INTERRUPTS = 0x222n;
const ALL_INTERRUPTS = 0xaaan;
/** Exceptions that we let the guest delegate; never ecall from S (9), by which delegated traps are seen. */
const DELEGABLE = 0xb3ffn & ~(1n << 9n);
const STCE_OFF = 1n << 61n;

function someOf(random: Random, bits: bigint): bigint {
  return random.u64() & bits;
}

interface Draft {
  readonly label: string;
  readonly words: readonly number[];
  readonly privilege: number;
  readonly x: BigUint64Array;
  readonly mstatus?: bigint;
  readonly csrs?: Case["csrs"];
  readonly entry?: number;
  readonly handler?: Case["handler"];
  readonly pokes?: Case["pokes"];
  readonly ignore?: Case["ignore"];
}

function complete(random: Random, item: Draft): Case {
  const entry = item.entry ?? codeAddress(random);
  return {
    label: `${item.label} ${item.words.map((word) => word.toString(16)).join(" ")}`,
    kind: "oneShot",
    entry,
    handler: item.handler ?? "plain",
    pokes: [...(item.pokes ?? []), ...codePokes(entry, item.words)],
    peeks: [],
    mstatus: (item.mstatus ?? FS_DIRTY) | MPP(item.privilege),
    fcsr: BigInt(random.below(256)),
    csrs: item.csrs ?? {},
    x: item.x,
    f: floatRegisters(random),
    instructions: item.words.length,
    ignore: item.ignore,
  };
}

/** What may be written to a register so that both machines agree; bits that are a machine's own choice (WARL) are left out. */
const WRITABLE: Readonly<Record<number, (value: bigint) => bigint>> = {
  // MPP 2 is reserved; UXL and SXL are fixed here but not in QEMU; MPV and GVA belong to the hypervisor extension, VS to vectors.
  [MSTATUS]: (value) => (value & ~((0xffn << 32n) | (3n << 11n) | (3n << 9n))) | ((value & 1n) * (3n << 11n)),
  0x100: (value) => value & ~((0xffn << 32n) | (3n << 9n)),
  0x302: (value) => value & DELEGABLE,
  0x303: (value) => value & SUPERVISOR_INTERRUPTS,
  0x304: (value) => value & ALL_INTERRUPTS,
  0x344: (value) => value & SUPERVISOR_INTERRUPTS,
  0x104: (value) => value & SUPERVISOR_INTERRUPTS,
  0x144: (value) => value & SUPERVISOR_INTERRUPTS,
  // Reserved vector modes: QEMU drops the write, we clear the bit.
  0x105: (value) => value & ~2n,
  [MTVEC]: (value) => value & ~2n,
  0x141: (value) => value & ~1n,
  [MEPC]: (value) => value & ~1n,
  0x10a: (value) => value & 1n,
  [MENVCFG]: () => 5n << 61n,
  // Either due at once or never: the machines' clocks differ.
  0x14d: (value) => (value & 1n) * 0x7fff_ffff_ffff_ffffn,
  // Modes other than bare and Sv39 exist in QEMU (Sv48, Sv57), and address space identifiers; our physical
  // addresses have 52 bits, QEMU's 56.
  // Bare mode wants zeros in the rest; we see to it.
  0x180: (value) => (value >> 63n === 1n ? value & 0x8000_00ff_ffff_ffffn : 0n),
  // Registers of 32 bits; QEMU keeps 64.
  0x106: (value) => value & 0xffff_ffffn,
  0x306: (value) => value & 0xffff_ffffn,
};
/** Readable in both with the same value, by the same rules. */
const COMPARED = [
  1, 2, 3, 0x100, 0x104, 0x105, 0x106, 0x10a, 0x140, 0x141, 0x142, 0x143, 0x144, 0x14d, 0x180, 0x300, 0x301, 0x302, 0x303, 0x304, 0x305,
  0x306, 0x340, 0x341, 0x342, 0x343, 0x344, 0xf14, 0xf15,
];
/** Compared by their access rules only: counters differ by nature, identities by maker. */
const RULES_ONLY = [0xc00, 0xc01, 0xc02, 0xf11, 0xf12, 0xf13];

/** Registers of which one machine has more than the other, by choice: left out. */
function isOpen(number: number): boolean {
  if (number >= 0x3a0 && number <= 0x3ef) return true; // physical memory protection: we have none, its registers read as zero
  if (number >= 0x320 && number <= 0x33f) return true; // counter inhibit and event selectors: ours are zero, QEMU's are absent without counters
  if (number >= 0xb00 && number <= 0xb1f) return true; // machine counters: other values; the unused ones are zero here, absent there
  if (number >= 0xc03 && number <= 0xc1f) return true;
  if (number >= 0x7a0 && number <= 0x7af) return true; // triggers: zero here, switched off there
  if (number === 0x24d) return true; // vstimecmp: QEMU 7.2 shows it without the hypervisor extension
  return number === MENVCFG;
}

function csrNumber(random: Random): number {
  if (!random.chance(4)) return random.pick(COMPARED);
  if (random.chance(3)) return random.pick(RULES_ONLY);
  for (;;) {
    const number = random.below(4096);
    if (!isOpen(number) && !COMPARED.includes(number)) return number;
  }
}

function randomStatus(random: Random): bigint {
  const fs = random.chance(6) ? someOf(random, FS_DIRTY) : FS_DIRTY;
  return fs | someOf(random, SPIE | MPIE | SPP | SUM | MXR | TVM | TW | TSR | SIE);
}

function randomCsrs(random: Random): Case["csrs"] {
  return {
    medeleg: someOf(random, DELEGABLE),
    mideleg: someOf(random, SUPERVISOR_INTERRUPTS),
    mcounteren: someOf(random, 7n),
    scounteren: someOf(random, 7n),
    sscratch: random.u64(),
    sepc: BigInt(P.CODE + 0x4000 + 2 * random.below(1000)),
    scause: integer(random),
    stval: integer(random),
    stvec: BigInt(P.SUPERVISOR_VECTORS + random.below(2)),
  };
}

/** One access to a control register, in any mode, with any of the six instructions. */
function controlRegister(random: Random): Draft {
  const number = csrNumber(random);
  const x = registers(random);
  const operation = random.pick([1, 2, 3, 5, 6, 7]);
  const privilege = random.pick([0, 1, 1, 3, 3]);
  const rulesOnly = RULES_ONLY.includes(number);
  let source = random.chance(4) ? 0 : random.below(32);
  if (rulesOnly && random.chance(2)) source = 0;
  if (operation < 4 && source !== 0) x[source] = (WRITABLE[number] ?? ((value: bigint) => value))(x[source]!) & MASK;
  if (operation > 4 && WRITABLE[number] !== undefined) source = Number(WRITABLE[number](BigInt(source)) & 31n);
  const rd = rulesOnly ? 0 : random.below(32);
  const words = [A.csr(operation, rd, number, source)];
  // The handler lives on these two: the old value comes back before anything can trap.
  if (privilege === 3 && (number === MTVEC || number === MSCRATCH)) {
    const other = source === 7 ? 6 : 7;
    const first =
      operation < 4
        ? [A.csr(2, other, number, 0), A.csr(operation, 0, number, source)]
        : [A.csr(2, other, number, 0), A.csr(operation, 0, number, source)];
    words.splice(0, 1, ...first, A.csr(1, 5, number, other));
  }
  const csrs = randomCsrs(random);
  // With the vector gone, or translation on without tables, a delegated trap would trap again for ever.
  const losesVector = number === 0x105 || number === 0x180;
  // A register that holds zero still writes: that makes mstatus.FS dirty or, for a read-only register, traps. QEMU leaves the write out.
  if (operation < 4 && source !== 0 && x[source] === 0n && (number <= 3 || number >> 10 === 3)) x[source] = 1n;
  return {
    label: `csr ${number.toString(16)} from privilege ${privilege}`,
    words,
    privilege,
    x,
    mstatus: randomStatus(random),
    csrs: losesVector ? { ...csrs, medeleg: 0n, mideleg: 0n } : csrs,
    // mcause and mtval still hold what the case before has left, which may be open (breakpoints, several interrupts).
    // Tables where there is no memory: the specification says access fault, QEMU page fault.
    ignore: (name, engine, qemu) =>
      ((number === 0x342 || number === 0x343) && name === `x${rd}`) ||
      (number === 0x180 && name.startsWith("mcause") && engine === 1n && qemu === 12n),
  };
}

/** mret, sret, wfi, sfence.vma and their look-alikes, in any mode and under TVM, TW and TSR. */
function systemInstruction(random: Random): Draft {
  const x = registers(random);
  const privilege = random.pick([0, 1, 1, 3, 3]);
  const target = BigInt(P.CODE + 0x4000 + 2 * random.below(1000));
  const csrs = { ...randomCsrs(random), mie: SUPERVISOR_INTERRUPTS, mip: 2n, mideleg: SUPERVISOR_INTERRUPTS };
  const odd = (random.u32() & 0xfff00f80) | 0x73;
  const instruction = random.pick([
    A.MRET,
    A.SRET,
    A.SRET,
    A.WFI,
    A.formatR(A.SYSTEM, 0, 9, 0, random.below(32), random.below(32)),
    odd >>> 0,
    A.ECALL,
    A.EBREAK,
  ]);
  // ecall from S is what ends a delegated trap; it works here too, undelegated.
  let mstatus = randomStatus(random) & ~SIE & ~SPIE;
  const words: number[] = [];
  if (privilege === 3) {
    // mepc still points at this code.
    x[10] = target;
    x[11] = FS_DIRTY | someOf(random, MPIE | SPP | SUM | MXR | TVM | TW | TSR | MPRV) | MPP(random.pick([0, 1, 3]));
    words.push(A.csr(1, 0, MEPC, 10), A.csr(1, 0, MSTATUS, 11));
    mstatus = FS_DIRTY;
  }
  words.push(instruction);
  return {
    label: `system from privilege ${privilege}`,
    words,
    privilege,
    x,
    mstatus,
    csrs,
    handler: random.pick(["plain", "status"]),
    ignore: mprvStays,
  };
}

/** QEMU 7.2 does not yet clear MPRV on a return to a lesser mode, as version 1.12 of the specification demands. */
function mprvStays(field: string, engine: bigint, qemu: bigint): boolean {
  return field === "x31" && (engine & MPRV) === 0n && qemu === (engine | MPRV);
}

/** Several interrupts at once: QEMU 7.2 takes the lowest number first, the specification has an order of its own. */
function anotherInterrupt(field: string, engine: bigint, qemu: bigint): boolean {
  const within = (base: number): boolean => [engine, qemu].every((value) => value >= BigInt(base) && value < BigInt(base + 256));
  if (field === "x31") return within(P.MACHINE_VECTORS);
  if (field.startsWith("mepc")) return within(P.SUPERVISOR_VECTORS);
  return (field.startsWith("mcause") || field === "scause") && engine >> 63n === 1n && qemu >> 63n === 1n;
}

/** Pending and enabled interrupts at an entry to a mode, at an enabling write, at a return, at wfi. */
function interrupt(random: Random): Draft {
  const x = registers(random);
  const privilege = random.pick([0, 1, 3]);
  const sstc = random.chance(2);
  const single = !random.chance(3);
  const one = 1n << random.pick([1n, 3n, 5n, 7n, 9n]);
  const mie = single ? one : random.chance(5) ? ALL_INTERRUPTS : someOf(random, ALL_INTERRUPTS);
  const csrs: Case["csrs"] = {
    ...randomCsrs(random),
    menvcfg: sstc ? 5n << 61n : STCE_OFF,
    stimecmp: sstc && random.chance(2) ? 0n : 0x7fff_ffff_ffff_ffffn,
    mie,
    mip: someOf(random, SUPERVISOR_INTERRUPTS),
  };
  const pokes = [
    { address: 0x0200_0000, value: BigInt(random.below(2)), half: true },
    { address: 0x0200_4000, value: random.chance(2) ? 0n : MASK },
  ];
  x[10] = someOf(random, SIE | MIE | SPIE | SPP) | (MIE * BigInt(random.below(2)));
  x[11] = single ? one : someOf(random, ALL_INTERRUPTS);
  x[12] = single ? one & SUPERVISOR_INTERRUPTS : someOf(random, SUPERVISOR_INTERRUPTS);
  const machine = [A.csr(2, 5, MSTATUS, 10), A.csr(1, 5, 0x304, 11), A.csr(2, 5, 0x344, 12), A.csr(1, 5, 0x303, 12), A.csr(2, 5, 0x344, 0)];
  const supervisor = [
    A.csr(2, 5, 0x100, 10),
    A.csr(1, 5, 0x104, 12),
    A.csr(2, 5, 0x144, 12),
    A.csr(3, 5, 0x144, 12),
    A.csr(2, 5, 0x144, 0),
  ];
  const choices = privilege === 3 ? machine : privilege === 1 ? [...supervisor, A.SRET] : [0x13];
  const words = Array.from({ length: 1 + random.below(4) }, () => random.pick(choices));
  return {
    label: `interrupt in privilege ${privilege}`,
    words,
    privilege,
    x,
    mstatus: FS_DIRTY | someOf(random, SIE | SPIE | MPIE | SPP),
    csrs,
    pokes,
    handler: random.pick(["plain", "vectored"]),
    ignore: single ? undefined : anotherInterrupt,
  };
}

/** Any unprivileged case, its trap delegated or not. */
function delegated(random: Random): Case {
  const item = oneShot(random);
  const csrs = randomCsrs(random);
  // Misaligned atomics have cause 4 in QEMU 7.2 instead of 6: both or none.
  const medeleg = (csrs.medeleg ?? 0n) & ~(1n << 4n);
  return {
    ...item,
    csrs: { ...csrs, medeleg: medeleg | ((medeleg >> 2n) & (1n << 4n)) },
    mstatus: item.mstatus | someOf(random, SIE | SPIE | MPIE | SPP),
  };
}

export function privileged(random: Random): Case {
  const kind = random.below(8);
  if (kind < 3) return complete(random, controlRegister(random));
  if (kind < 5) return complete(random, systemInstruction(random));
  if (kind < 7) return complete(random, interrupt(random));
  return delegated(random);
}

/** Reads every register number there is, from one mode. */
export function everyControlRegister(random: Random, privilege: number): Case[] {
  const numbers = Array.from({ length: 4096 }, (_, number) => number).filter((number) => !isOpen(number));
  return numbers.map((number) => {
    const rd = RULES_ONLY.includes(number) || number === 0x342 || number === 0x343 ? 0 : 5;
    const words = [A.csr(2, rd, number, 0)];
    const csrs = { ...randomCsrs(random), mcounteren: 7n, scounteren: 7n };
    return complete(random, { label: `csr ${number.toString(16)}`, words, privilege, x: registers(random), csrs });
  });
}
