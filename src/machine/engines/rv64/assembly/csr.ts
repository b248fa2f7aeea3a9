// Control and status registers. Reads and writes raise illegal-instruction through their return value.
import * as L from "../layout";
import { flushTlb, updateContext } from "./memory";
import * as S from "./state";

const SSTATUS_READ: u64 =
  S.STATUS_SIE | S.STATUS_SPIE | S.STATUS_SPP | S.STATUS_FS | S.STATUS_SUM | S.STATUS_MXR | S.STATUS_UXL | S.STATUS_SD;
const SSTATUS_WRITE: u64 = S.STATUS_SIE | S.STATUS_SPIE | S.STATUS_SPP | S.STATUS_FS | S.STATUS_SUM | S.STATUS_MXR;
const MSTATUS_WRITE: u64 =
  SSTATUS_WRITE | S.STATUS_MIE | S.STATUS_MPIE | S.STATUS_MPP | S.STATUS_MPRV | S.STATUS_TVM | S.STATUS_TW | S.STATUS_TSR;
/** RV64 with A C D F I M S U. */
const MISA: u64 = (<u64>2 << 62) | 0x14112d;
const MEDELEG_WRITE: u64 = 0xb3ff;
const ENV_WRITE: u64 = S.ENV_ADUE | S.ENV_STCE | 1;

let value: u64 = 0;

function timeNow(): u64 {
  return load<u64>(L.G_TIME) + (instructionsNow() - load<u64>(L.G_TIME_AT));
}
export function instructionsNow(): u64 {
  return load<u64>(L.G_INSTRET) + <u64>S.chunkDone;
}

function pending(): u64 {
  return S.get(L.H_MIP) | (S.get(L.H_LINES) & ~(S.IRQ_STI | S.IRQ_MTI)) | timerBits();
}

/** STIP and MTIP as of now. The run loop keeps the stored copy fresh at chunk ends; explicit reads see the exact moment. */
export function timerBits(): u64 {
  const now = timeNow();
  let bits: u64 = now >= S.get(L.H_MTIMECMP) ? S.IRQ_MTI : 0;
  if ((S.get(L.H_MENVCFG) & S.ENV_STCE) != 0 && now >= S.get(L.H_STIMECMP)) bits |= S.IRQ_STI;
  return bits;
}

function counterAllowed(bit: u64): bool {
  const privilege = <i64>S.get(L.H_PRIV);
  if (privilege < S.PRIV_M && ((S.get(L.H_MCOUNTEREN) >> bit) & 1) == 0) return false;
  return privilege != S.PRIV_U || ((S.get(L.H_SCOUNTEREN) >> bit) & 1) != 0;
}

function floatOn(): bool {
  return (S.get(L.H_MSTATUS) & S.STATUS_FS) != 0;
}

function statusValue(): u64 {
  const status = S.get(L.H_MSTATUS) | S.STATUS_UXL | S.STATUS_SXL;
  return (status & S.STATUS_FS) == S.STATUS_FS ? status | S.STATUS_SD : status;
}

function stimecmpAllowed(): bool {
  if (<i64>S.get(L.H_PRIV) == S.PRIV_M) return true;
  return (S.get(L.H_MENVCFG) & S.ENV_STCE) != 0 && (S.get(L.H_MCOUNTEREN) & 2) != 0;
}

function readUser(number: u32): bool {
  switch (number) {
    case 0x001:
      value = S.get(L.H_FCSR) & 31;
      return floatOn();
    case 0x002:
      value = S.get(L.H_FCSR) >> 5;
      return floatOn();
    case 0x003:
      value = S.get(L.H_FCSR);
      return floatOn();
    case 0xc00:
      value = instructionsNow() + S.get(L.H_MCYCLE_OFFSET);
      return counterAllowed(0);
    case 0xc01:
      value = timeNow();
      return counterAllowed(1);
    case 0xc02:
      value = instructionsNow() + S.get(L.H_MINSTRET_OFFSET);
      return counterAllowed(2);
    default:
      value = 0;
      return number >= 0xc03 && number <= 0xc1f && counterAllowed(number & 31);
  }
}

function readSupervisor(number: u32): bool {
  switch (number) {
    case 0x100:
      value = statusValue() & SSTATUS_READ;
      return true;
    case 0x104:
      value = S.get(L.H_MIE) & S.get(L.H_MIDELEG);
      return true;
    case 0x105:
      value = S.get(L.H_STVEC);
      return true;
    case 0x106:
      value = S.get(L.H_SCOUNTEREN);
      return true;
    case 0x10a:
      value = S.get(L.H_SENVCFG);
      return true;
    case 0x140:
      value = S.get(L.H_SSCRATCH);
      return true;
    case 0x141:
      value = S.get(L.H_SEPC);
      return true;
    case 0x142:
      value = S.get(L.H_SCAUSE);
      return true;
    case 0x143:
      value = S.get(L.H_STVAL);
      return true;
    case 0x144:
      value = pending() & S.get(L.H_MIDELEG);
      return true;
    case 0x14d:
      value = S.get(L.H_STIMECMP);
      return stimecmpAllowed();
    case 0x180:
      value = S.get(L.H_SATP);
      return <i64>S.get(L.H_PRIV) == S.PRIV_M || (S.get(L.H_MSTATUS) & S.STATUS_TVM) == 0;
    default:
      return false;
  }
}

function readMachine(number: u32): bool {
  switch (number) {
    case 0x300:
      value = statusValue();
      return true;
    case 0x301:
      value = MISA;
      return true;
    case 0x302:
      value = S.get(L.H_MEDELEG);
      return true;
    case 0x303:
      value = S.get(L.H_MIDELEG);
      return true;
    case 0x304:
      value = S.get(L.H_MIE);
      return true;
    case 0x305:
      value = S.get(L.H_MTVEC);
      return true;
    case 0x306:
      value = S.get(L.H_MCOUNTEREN);
      return true;
    case 0x30a:
      value = S.get(L.H_MENVCFG);
      return true;
    case 0x320:
      value = S.get(L.H_MCOUNTINHIBIT);
      return true;
    case 0x340:
      value = S.get(L.H_MSCRATCH);
      return true;
    case 0x341:
      value = S.get(L.H_MEPC);
      return true;
    case 0x342:
      value = S.get(L.H_MCAUSE);
      return true;
    case 0x343:
      value = S.get(L.H_MTVAL);
      return true;
    case 0x344:
      value = pending();
      return true;
    case 0xb00:
      value = instructionsNow() + S.get(L.H_MCYCLE_OFFSET);
      return true;
    case 0xb02:
      value = instructionsNow() + S.get(L.H_MINSTRET_OFFSET);
      return true;
    case 0xf14:
      value = S.get(L.H_MHARTID);
      return true;
    default:
      value = 0;
      return readsAsZero(number);
  }
}

/** Registers of features that this hart has none of: physical memory protection, debug triggers, event counters, identity. */
function readsAsZero(number: u32): bool {
  if (number >= 0x3a0 && number <= 0x3ef) return true;
  if (number >= 0x323 && number <= 0x33f) return true;
  if (number >= 0xb03 && number <= 0xb1f) return true;
  if (number >= 0x7a0 && number <= 0x7a3) return true;
  return number >= 0xf11 && number <= 0xf15;
}

function setFloat(next: u64): bool {
  if (!floatOn()) return false;
  S.put(L.H_FCSR, next & 255);
  S.put(L.H_MSTATUS, S.get(L.H_MSTATUS) | S.STATUS_FS);
  return true;
}

function setStatus(next: u64, mask: u64): void {
  const old = S.get(L.H_MSTATUS);
  let status = (old & ~mask) | (next & mask);
  if (((status >> 11) & 3) == 2) status = (status & ~S.STATUS_MPP) | (old & S.STATUS_MPP);
  S.put(L.H_MSTATUS, status);
  if (((old ^ status) & S.STATUS_MXR) != 0) flushTlb(<i32>S.get(L.H_MHARTID));
  if (((old ^ status) & (S.STATUS_SUM | S.STATUS_MPRV | S.STATUS_MPP | S.STATUS_MXR)) != 0) updateContext();
}

function setSatp(next: u64): void {
  const mode = next >> 60;
  if (mode != 0 && mode != 8) return;
  const old = S.get(L.H_SATP);
  S.put(L.H_SATP, mode == 0 ? 0 : next & 0xf00000ffffffffff);
  if (old >> 60 != mode) flushTlb(<i32>S.get(L.H_MHARTID));
}

/** Bits of mip that software owns; with Sstc on, STIP belongs to stimecmp. */
function setPending(next: u64, mask: u64): void {
  S.put(L.H_MIP, (S.get(L.H_MIP) & ~mask) | (next & mask));
}

function writeUserOrSupervisor(number: u32, next: u64): bool {
  switch (number) {
    case 0x001:
      return setFloat((S.get(L.H_FCSR) & ~(<u64>31)) | (next & 31));
    case 0x002:
      return setFloat((S.get(L.H_FCSR) & 31) | ((next & 7) << 5));
    case 0x003:
      return setFloat(next);
    case 0x100:
      setStatus(next, SSTATUS_WRITE);
      return true;
    case 0x104: {
      const mask = S.get(L.H_MIDELEG);
      S.put(L.H_MIE, (S.get(L.H_MIE) & ~mask) | (next & mask));
      return true;
    }
    case 0x105:
      S.put(L.H_STVEC, next & ~(<u64>2));
      return true;
    case 0x106:
      S.put(L.H_SCOUNTEREN, next & 0xffffffff);
      return true;
    case 0x10a:
      S.put(L.H_SENVCFG, next & 1);
      return true;
    case 0x140:
      S.put(L.H_SSCRATCH, next);
      return true;
    case 0x141:
      S.put(L.H_SEPC, next & ~(<u64>1));
      return true;
    case 0x142:
      S.put(L.H_SCAUSE, next);
      return true;
    case 0x143:
      S.put(L.H_STVAL, next);
      return true;
    case 0x144:
      setPending(next, S.IRQ_SSI & S.get(L.H_MIDELEG));
      return true;
    case 0x14d:
      if (!stimecmpAllowed()) return false;
      S.put(L.H_STIMECMP, next);
      return true;
    case 0x180:
      if (<i64>S.get(L.H_PRIV) != S.PRIV_M && (S.get(L.H_MSTATUS) & S.STATUS_TVM) != 0) return false;
      setSatp(next);
      return true;
    default:
      return false;
  }
}

function writeMachine(number: u32, next: u64): bool {
  switch (number) {
    case 0x300:
      setStatus(next, MSTATUS_WRITE);
      return true;
    case 0x301:
      return true;
    case 0x302:
      S.put(L.H_MEDELEG, next & MEDELEG_WRITE);
      return true;
    case 0x303:
      S.put(L.H_MIDELEG, next & S.IRQ_SUPERVISOR);
      return true;
    case 0x304:
      S.put(L.H_MIE, next & S.IRQ_ALL);
      return true;
    case 0x305:
      S.put(L.H_MTVEC, next & ~(<u64>2));
      return true;
    case 0x306:
      S.put(L.H_MCOUNTEREN, next & 0xffffffff);
      return true;
    case 0x30a:
      S.put(L.H_MENVCFG, next & ENV_WRITE);
      // From now on STIP shows the comparison with stimecmp only: what software had set ends.
      if ((next & S.ENV_STCE) != 0) S.put(L.H_MIP, S.get(L.H_MIP) & ~S.IRQ_STI);
      return true;
    case 0x320:
      S.put(L.H_MCOUNTINHIBIT, 0);
      return true;
    case 0x340:
      S.put(L.H_MSCRATCH, next);
      return true;
    case 0x341:
      S.put(L.H_MEPC, next & ~(<u64>1));
      return true;
    case 0x342:
      S.put(L.H_MCAUSE, next);
      return true;
    case 0x343:
      S.put(L.H_MTVAL, next);
      return true;
    case 0x344: {
      const timer = (S.get(L.H_MENVCFG) & S.ENV_STCE) != 0 ? 0 : S.IRQ_STI;
      setPending(next, S.IRQ_SSI | S.IRQ_SEI | timer);
      return true;
    }
    case 0xb00:
      S.put(L.H_MCYCLE_OFFSET, next - (instructionsNow() + 1));
      return true;
    case 0xb02:
      S.put(L.H_MINSTRET_OFFSET, next - (instructionsNow() + 1));
      return true;
    default:
      return readsAsZero(number);
  }
}

function readRegister(number: u32): bool {
  const privilege = (number >> 8) & 3;
  if (<i64>S.get(L.H_PRIV) < <i64>privilege) return false;
  if (privilege == 0) return readUser(number);
  if (privilege == 1) return readSupervisor(number);
  return privilege == 3 && readMachine(number);
}

function writeRegister(number: u32, next: u64): bool {
  if (number >> 10 == 3) return false;
  return ((number >> 8) & 3) < 2 ? writeUserOrSupervisor(number, next) : writeMachine(number, next);
}

export const CSR_ILLEGAL: i32 = 0;
/** Done; nothing but registers changed. */
export const CSR_DONE: i32 = 1;
/** Done; privilege context, interrupts or timers may have changed, so the run loop must look again. */
export const CSR_RECHECK: i32 = 2;

/** Executes one of the six CSR instructions. */
export function executeCsr(instruction: u32): i32 {
  const number = instruction >> 20;
  const operation = (instruction >> 12) & 3;
  const field = (instruction >> 15) & 31;
  const operand: u64 = (instruction & 0x4000) != 0 ? <u64>field : <u64>S.x(field);
  const writes = operation == 1 || field != 0;
  const rd = (instruction >> 7) & 31;
  if (operation != 1 || rd != 0 || number >> 10 == 3) {
    if (!readRegister(number)) return CSR_ILLEGAL;
  } else {
    // csrrw with rd = x0 does not read, but needs the same rights.
    if (<i64>S.get(L.H_PRIV) < <i64>((number >> 8) & 3)) return CSR_ILLEGAL;
  }
  const old = value;
  if (writes) {
    const next = operation == 1 ? operand : operation == 2 ? modifiable(number, old) | operand : modifiable(number, old) & ~operand;
    if (!writeRegister(number, next)) return CSR_ILLEGAL;
  }
  S.setX(rd, <i64>old);
  return writes ? effect(number) : CSR_DONE;
}

/** Set and clear act on the bits that software wrote: hardware lines in mip must not become sticky. */
function modifiable(number: u32, old: u64): u64 {
  return number == 0x344 ? S.get(L.H_MIP) : old;
}

function effect(number: u32): i32 {
  if (number == 0x100) return S.takeableInterrupts() != 0 ? CSR_RECHECK : CSR_DONE;
  if (number <= 3 || number == 0x140 || number == 0x340) return CSR_DONE;
  return CSR_RECHECK;
}
