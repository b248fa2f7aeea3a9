// The fixed guest program of the differential tests, for engine and QEMU alike. In machine mode it takes one case after another: sets
// memory, control registers and all registers, enters the code under test by mret, and after the trap that ends it writes all that
// can be seen into memory. Nothing is printed: the tester reads that memory afterwards.
import * as A from "./rv64-assembler.js";

export const DRAM = 0x80000000;
export const RAM_BYTES = 64 << 20;
export const DRIVER = 0x80010000;
/** Supervisor trap vector: nothing but ecall, so that a delegated trap shows as an ecall from its vector entry. */
export const SUPERVISOR_VECTORS = 0x80018000;
export const MACHINE_VECTORS = 0x80019000;
/** Bit 17 is set on purpose: the trap handler clears mstatus.MPRV with this address as the mask. */
export const SAVE = 0x80020000;
/** Data window: two pages, addressed from the border between them. */
export const WINDOW = 0x80031000;
export const TABLES = 0x80040000;
export const TABLES_END = 0x80080000;
/** Pages that page tables map. */
export const ARENA = 0x80080000;
export const ARENA_PAGES = 16;
/** Code under test, amid more zeros (an illegal instruction) than a jal can reach. */
export const CODE = 0x80200000;
export const CASES = 0x80400000;
export const OUTPUT = 0x81000000;

export const CSR_NUMBERS = {
  menvcfg: 0x30a,
  // Before mip: in QEMU this write also clears a timer interrupt that software set.
  stimecmp: 0x14d,
  medeleg: 0x302,
  mideleg: 0x303,
  mie: 0x304,
  mip: 0x344,
  satp: 0x180,
  mcounteren: 0x306,
  scounteren: 0x106,
  senvcfg: 0x10a,
  stvec: 0x105,
  sscratch: 0x140,
  sepc: 0x141,
  scause: 0x142,
  stval: 0x143,
} as const;
export type CsrName = keyof typeof CSR_NUMBERS;
export const CSR_NAMES = Object.keys(CSR_NUMBERS) as CsrName[];

/** Words of a case's header. */
export const CASE_KIND = 0;
export const CASE_MTVEC = 1;
export const CASE_ENTRY = 2;
export const CASE_END = 3;
export const CASE_POKES = 4;
export const CASE_PEEKS = 5;
export const CASE_MSTATUS = 6;
export const CASE_FCSR = 7;
export const CASE_CSRS = 8;
export const CASE_X = CASE_CSRS + CSR_NAMES.length;
export const CASE_F = CASE_X + 31;
export const CASE_WORDS = CASE_F + 32;
export const KIND_ONE_SHOT = 0;
export const KIND_STREAM = 1;
export const KIND_LAST = 2;

/** Words of a case's record. */
export const MAX_TRAPS = 8;
export const OUT_TRAPS = 1;
export const OUT_FCSR = OUT_TRAPS + 4 * MAX_TRAPS;
export const OUT_CSRS = OUT_FCSR + 1;
export const OUT_X = OUT_CSRS + CSR_NAMES.length;
export const OUT_F = OUT_X + 31;
export const OUT_WORDS = OUT_F + 32;

const MSTATUS = 0x300;
const MTVEC = 0x305;
const MSCRATCH = 0x340;
const MEPC = 0x341;
const MCAUSE = 0x342;
const MTVAL = 0x343;
const G_CASE = 0x200;
const G_OUTPUT = 0x208;
const G_KIND = 0x210;
const G_END = 0x218;
const G_PEEKS = 0x220;
const G_DUMMY = 0x300;

const ld = (rd: number, base: number, offset: number): number => A.formatI(A.LOAD, 3, rd, base, offset);
const sd = (source: number, base: number, offset: number): number => A.formatS(A.STORE, 3, base, source, offset);
const addi = (rd: number, rs1: number, value: number): number => A.formatI(A.OP_IMMEDIATE, 0, rd, rs1, value);
const csrr = (rd: number, number: number): number => A.csr(2, rd, number, 0);
const csrw = (number: number, source: number): number => A.csr(1, 0, number, source);
const BEQ = 0;
const BNE = 1;
const BLT = 4;
const BGEU = 7;

function emitStart(a: A.Assembler): void {
  a.label("start").loadAddress(2, SAVE).emit(csrw(MSCRATCH, 2));
  // QEMU has physical memory protection: one region opens all of it. Ours has none and ignores this.
  a.emit(addi(5, 0, -1), csrw(0x3b0, 5), addi(6, 0, 0x1f), csrw(0x3a0, 6));
  a.emit(A.formatU(A.LUI, 6, 0x02004000), sd(5, 6, 0));
  a.loadAddress(5, CASES)
    .emit(sd(5, 2, G_CASE))
    .loadAddress(5, OUTPUT)
    .emit(sd(5, 2, G_OUTPUT));
}

function emitNextCase(a: A.Assembler): void {
  a.label("next")
    .loadAddress(2, SAVE)
    .emit(ld(8, 2, G_CASE), ld(9, 2, G_OUTPUT));
  a.emit(ld(5, 8, 8 * CASE_KIND), addi(6, 0, KIND_LAST)).branch(BEQ, 5, 6, "last");
  a.emit(sd(5, 2, G_KIND), ld(5, 8, 8 * CASE_END), sd(5, 2, G_END), sd(0, 9, 0));
  // Pokes: address and value; bit 0 of the address asks for a 32-bit store.
  a.emit(ld(10, 8, 8 * CASE_POKES), addi(11, 8, 8 * CASE_WORDS))
    .label("poke")
    .branch(BEQ, 10, 0, "poked");
  a.emit(ld(12, 11, 0), ld(13, 11, 8), A.formatI(A.OP_IMMEDIATE, 7, 14, 12, 1), A.formatI(A.OP_IMMEDIATE, 7, 12, 12, -4));
  a.emit(addi(11, 11, 16), addi(10, 10, -1)).branch(BNE, 14, 0, "poke32");
  a.emit(sd(13, 12, 0))
    .jump("poke")
    .label("poke32")
    .emit(A.formatS(A.STORE, 2, 12, 13, 0))
    .jump("poke")
    .label("poked");
  a.emit(sd(11, 2, G_PEEKS), A.FENCE_I);
  for (const [index, name] of CSR_NAMES.entries()) a.emit(ld(5, 8, 8 * (CASE_CSRS + index)), csrw(CSR_NUMBERS[name], 5));
  a.emit(A.formatR(A.SYSTEM, 0, 9, 0, 0, 0)); // sfence.vma
  a.emit(A.formatU(A.LUI, 5, 0x6000), A.csr(2, 0, MSTATUS, 5));
  for (let index = 0; index < 32; index++) a.emit(A.formatI(A.LOAD_FLOAT, 3, index, 8, 8 * (CASE_F + index)));
  a.emit(ld(5, 8, 8 * CASE_FCSR), csrw(3, 5));
  // Whatever reservation the case before has left ends here.
  a.emit(addi(6, 2, G_DUMMY), A.formatR(A.ATOMIC, 3, 3 << 2, 0, 6, 0));
  a.emit(ld(5, 8, 8 * CASE_MTVEC), csrw(MTVEC, 5), ld(5, 8, 8 * CASE_ENTRY), csrw(MEPC, 5));
  // mret keeps of mstatus only what this write sets; the old value must not leak into the case.
  a.emit(ld(5, 8, 8 * CASE_MSTATUS), csrw(MSTATUS, 5), addi(31, 8, 8 * CASE_X - 8));
  for (let index = 1; index <= 31; index++) a.emit(ld(index, 31, 8 * index));
  a.emit(A.MRET);
}

function emitHandler(a: A.Assembler): void {
  // Variant that shows mstatus before MPRV is cleared, in x31.
  a.label("statusHandler").emit(csrr(31, MSTATUS)).jump("handler");
  a.label("handler").emit(A.csr(1, 2, MSCRATCH, 2), A.csr(3, 0, MSTATUS, 2), sd(1, 2, 8));
  for (let index = 3; index <= 31; index++) a.emit(sd(index, 2, 8 * index));
  a.emit(csrr(5, MSCRATCH), sd(5, 2, 16), csrw(MSCRATCH, 2));
  a.emit(ld(9, 2, G_OUTPUT), ld(10, 9, 0), addi(11, 10, 1), sd(11, 9, 0), addi(12, 0, MAX_TRAPS)).branch(BGEU, 10, 12, "logged");
  a.emit(A.formatI(A.OP_IMMEDIATE, 1, 10, 10, 5), A.formatR(A.OP, 0, 0, 10, 10, 9));
  for (const [index, number] of [MCAUSE, MEPC, MTVAL, MSTATUS].entries()) a.emit(csrr(5, number), sd(5, 10, 8 * (OUT_TRAPS + index)));
  a.label("logged").emit(csrr(13, MCAUSE), csrr(14, MEPC));
  a.emit(ld(5, 2, G_KIND)).branch(BEQ, 5, 0, "finish");
  a.emit(ld(5, 2, G_END))
    .branch(BEQ, 14, 5, "finish")
    .branch(BGEU, 11, 12, "finish")
    .branch(BLT, 13, 0, "finish");
  for (const cause of [1, 12]) a.emit(addi(5, 0, cause)).branch(BEQ, 13, 5, "finish");
  // A stream goes on behind the instruction that trapped.
  a.emit(A.formatI(A.LOAD, 5, 5, 14, 0), A.formatI(A.OP_IMMEDIATE, 7, 5, 5, 3), addi(6, 0, 3), addi(14, 14, 2));
  a.branch(BNE, 5, 6, "resume")
    .emit(addi(14, 14, 2))
    .label("resume")
    .emit(csrw(MEPC, 14), ld(1, 2, 8));
  for (let index = 3; index <= 31; index++) a.emit(ld(index, 2, 8 * index));
  a.emit(ld(2, 2, 16), A.MRET);
}

function emitFinish(a: A.Assembler): void {
  a.label("finish").emit(A.formatU(A.LUI, 5, 0x6000), A.csr(2, 0, MSTATUS, 5), csrr(5, 3), sd(5, 9, 8 * OUT_FCSR));
  for (const [index, name] of CSR_NAMES.entries()) {
    a.emit(name === "menvcfg" ? addi(5, 0, 0) : csrr(5, CSR_NUMBERS[name]), sd(5, 9, 8 * (OUT_CSRS + index)));
  }
  a.emit(csrw(CSR_NUMBERS.mie, 0), csrw(CSR_NUMBERS.satp, 0));
  for (let index = 1; index <= 31; index++) a.emit(ld(5, 2, 8 * index), sd(5, 9, 8 * (OUT_X + index - 1)));
  for (let index = 0; index < 32; index++) a.emit(A.formatS(A.STORE_FLOAT, 3, 9, index, 8 * (OUT_F + index)));
  // Peeks: address and number of words.
  a.emit(ld(8, 2, G_CASE), ld(12, 8, 8 * CASE_PEEKS), ld(11, 2, G_PEEKS), addi(10, 9, 8 * OUT_WORDS));
  a.label("peek")
    .branch(BEQ, 12, 0, "peeked")
    .emit(ld(13, 11, 0), ld(14, 11, 8), addi(11, 11, 16), addi(12, 12, -1));
  a.label("word")
    .branch(BEQ, 14, 0, "peek")
    .emit(ld(5, 13, 0), sd(5, 10, 0), addi(13, 13, 8), addi(10, 10, 8), addi(14, 14, -1));
  a.jump("word")
    .label("peeked")
    .emit(sd(11, 2, G_CASE), sd(10, 2, G_OUTPUT));
  // Code under test goes back to zeros: pokes with bit 1 of the address set.
  a.emit(ld(10, 8, 8 * CASE_POKES), addi(11, 8, 8 * CASE_WORDS))
    .label("undo")
    .branch(BEQ, 10, 0, "next");
  a.emit(ld(12, 11, 0), A.formatI(A.OP_IMMEDIATE, 7, 14, 12, 2), A.formatI(A.OP_IMMEDIATE, 7, 12, 12, -4), addi(11, 11, 16));
  a.emit(addi(10, 10, -1))
    .branch(BEQ, 14, 0, "undo")
    .emit(sd(0, 12, 0))
    .jump("undo");
  a.label("last").emit(A.formatU(A.LUI, 5, 0x100000), A.formatU(A.LUI, 6, 0x5000), addi(6, 6, 0x555), A.formatS(A.STORE, 2, 5, 6, 0));
  a.label("stop").jump("stop");
}

export interface RigProgram {
  /** RAM from DRAM on, up to the end of the driver's tables. */
  readonly bytes: Uint8Array;
  readonly handler: number;
  readonly statusHandler: number;
}

/** The driver with its vectors. Values of mtvec for a case: handler, statusHandler, or MACHINE_VECTORS + 1 (entry seen in x31). */
export function buildRigProgram(): RigProgram {
  const driver = new A.Assembler(DRIVER);
  emitStart(driver);
  emitNextCase(driver);
  emitHandler(driver);
  emitFinish(driver);
  const bytes = new Uint8Array(SAVE + 0x1000 - DRAM);
  bytes.set(driver.finish(), DRIVER - DRAM);
  bytes.set(new Uint8Array(Uint32Array.of(A.formatJ(0, DRIVER - DRAM)).buffer), 0);
  bytes.set(new Uint8Array(new Uint32Array(256).fill(A.ECALL).buffer), SUPERVISOR_VECTORS - DRAM);
  const vectors = new Uint32Array(64);
  for (let index = 0; index < vectors.length; index++) {
    vectors[index] = A.formatJ(31, driver.address("handler") - (MACHINE_VECTORS + 4 * index));
  }
  bytes.set(new Uint8Array(vectors.buffer), MACHINE_VECTORS - DRAM);
  return { bytes, handler: driver.address("handler"), statusHandler: driver.address("statusHandler") };
}
