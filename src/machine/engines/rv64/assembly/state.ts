// Accessors for the running hart's record (ACTIVE) and the constants of the privileged architecture
// (RISC-V Instruction Set Manual, Volume II, version 20240411).
import { ACTIVE, H_F, H_MIE, H_MIP, H_LINES, H_MSTATUS, H_PC, H_PRIV, H_X } from "../layout";

export const PRIV_U: i64 = 0;
export const PRIV_S: i64 = 1;
export const PRIV_M: i64 = 3;

export const STATUS_SIE: u64 = 1 << 1;
export const STATUS_MIE: u64 = 1 << 3;
export const STATUS_SPIE: u64 = 1 << 5;
export const STATUS_MPIE: u64 = 1 << 7;
export const STATUS_SPP: u64 = 1 << 8;
export const STATUS_MPP: u64 = 3 << 11;
export const STATUS_FS: u64 = 3 << 13;
export const STATUS_MPRV: u64 = 1 << 17;
export const STATUS_SUM: u64 = 1 << 18;
export const STATUS_MXR: u64 = 1 << 19;
export const STATUS_TVM: u64 = 1 << 20;
export const STATUS_TW: u64 = 1 << 21;
export const STATUS_TSR: u64 = 1 << 22;
export const STATUS_UXL: u64 = 2 << 32;
export const STATUS_SXL: u64 = 2 << 34;
export const STATUS_SD: u64 = 1 << 63;

export const IRQ_SSI: u64 = 1 << 1;
export const IRQ_MSI: u64 = 1 << 3;
export const IRQ_STI: u64 = 1 << 5;
export const IRQ_MTI: u64 = 1 << 7;
export const IRQ_SEI: u64 = 1 << 9;
export const IRQ_MEI: u64 = 1 << 11;
export const IRQ_SUPERVISOR: u64 = IRQ_SSI | IRQ_STI | IRQ_SEI;
export const IRQ_ALL: u64 = IRQ_SUPERVISOR | IRQ_MSI | IRQ_MTI | IRQ_MEI;

export const ENV_ADUE: u64 = 1 << 61;
export const ENV_STCE: u64 = 1 << 63;

export const CAUSE_FETCH_ACCESS: u64 = 1;
export const CAUSE_ILLEGAL: u64 = 2;
export const CAUSE_BREAKPOINT: u64 = 3;
export const CAUSE_LOAD_MISALIGNED: u64 = 4;
export const CAUSE_LOAD_ACCESS: u64 = 5;
export const CAUSE_STORE_MISALIGNED: u64 = 6;
export const CAUSE_STORE_ACCESS: u64 = 7;
export const CAUSE_ECALL_U: u64 = 8;
export const CAUSE_FETCH_PAGE: u64 = 12;
export const CAUSE_LOAD_PAGE: u64 = 13;
export const CAUSE_STORE_PAGE: u64 = 15;

// @ts-ignore: decorator
@inline
export function get(field: usize): u64 {
  return load<u64>(ACTIVE + field);
}
// @ts-ignore: decorator
@inline
export function put(field: usize, value: u64): void {
  store<u64>(ACTIVE + field, value);
}
// @ts-ignore: decorator
@inline
export function x(index: u32): i64 {
  return load<i64>(<usize>(index << 3), ACTIVE + H_X);
}
/** Writes x[index]; writes to x0 are dropped. */
// @ts-ignore: decorator
@inline
export function setX(index: u32, value: i64): void {
  if (index != 0) store<i64>(<usize>(index << 3), value, ACTIVE + H_X);
}
// @ts-ignore: decorator
@inline
export function f(index: u32): u64 {
  return load<u64>(<usize>(index << 3), ACTIVE + H_F);
}
// @ts-ignore: decorator
@inline
export function setF(index: u32, value: u64): void {
  store<u64>(<usize>(index << 3), value, ACTIVE + H_F);
}

/** Instructions of the current chunk that `interpret` has retired when it calls out; makes counters exact inside a chunk. */
export let chunkDone: i64 = 0;
export function setChunkDone(value: i64): void {
  chunkDone = value;
}

/** The trap that the current instruction raises; cause -1 = none. */
export let trapCause: i64 = -1;
export let trapValue: u64 = 0;
export function raise(cause: u64, value: u64): void {
  trapCause = <i64>cause;
  trapValue = value;
}
export function clearTrap(): void {
  trapCause = -1;
}

/** Set by the board inside a device access: the address decodes to nothing. */
export let deviceFault: bool = false;
export function setDeviceFault(value: bool): void {
  deviceFault = value;
}

/** Interrupts that are pending and enabled and would be taken right now, as mip bits. */
export function takeableInterrupts(): u64 {
  const pending = (get(H_MIP) | get(H_LINES)) & get(H_MIE);
  if (pending == 0) return 0;
  const privilege = <i64>get(H_PRIV);
  const status = get(H_MSTATUS);
  const delegated = get(0x268); // H_MIDELEG
  const machine = pending & ~delegated;
  if (machine != 0 && (privilege < PRIV_M || (status & STATUS_MIE) != 0)) return machine;
  const supervisor = pending & delegated;
  if (supervisor != 0 && (privilege < PRIV_S || (privilege == PRIV_S && (status & STATUS_SIE) != 0))) return supervisor;
  return 0;
}

// @ts-ignore: decorator
@inline
export function setPc(value: u64): void {
  put(H_PC, value);
}
