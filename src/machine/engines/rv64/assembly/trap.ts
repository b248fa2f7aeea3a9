// Taking traps (exceptions, interrupts) and returning from them.
import {
  H_MCAUSE, H_MEDELEG, H_MEPC, H_MIDELEG, H_MSTATUS, H_MTVAL, H_MTVEC, H_PC, H_PRIV, H_RESERVATION, H_SCAUSE, H_SEPC, H_STVAL, H_STVEC,
} from "../layout";
import * as S from "./state";

const INTERRUPT: u64 = 1 << 63;

function vector(base: u64, cause: u64): u64 {
  const address = base & ~(<u64>3);
  return (base & 1) != 0 && (cause & INTERRUPT) != 0 ? address + ((cause & 63) << 2) : address;
}

/** Enters the handler of `cause` for the instruction at H_PC. */
export function enterTrap(cause: u64, value: u64): void {
  const privilege = <i64>S.get(H_PRIV);
  const delegation = (cause & INTERRUPT) != 0 ? S.get(H_MIDELEG) : S.get(H_MEDELEG);
  const status = S.get(H_MSTATUS);
  const pc = S.get(H_PC);
  if (privilege <= S.PRIV_S && ((delegation >> (cause & 63)) & 1) != 0) {
    S.put(H_SEPC, pc);
    S.put(H_SCAUSE, cause);
    S.put(H_STVAL, value);
    let next = status & ~(S.STATUS_SPP | S.STATUS_SPIE | S.STATUS_SIE);
    if (privilege == S.PRIV_S) next |= S.STATUS_SPP;
    if ((status & S.STATUS_SIE) != 0) next |= S.STATUS_SPIE;
    S.put(H_MSTATUS, next);
    S.put(H_PRIV, S.PRIV_S);
    S.setPc(vector(S.get(H_STVEC), cause));
  } else {
    S.put(H_MEPC, pc);
    S.put(H_MCAUSE, cause);
    S.put(H_MTVAL, value);
    let next = status & ~(S.STATUS_MPP | S.STATUS_MPIE | S.STATUS_MIE);
    next |= <u64>privilege << 11;
    if ((status & S.STATUS_MIE) != 0) next |= S.STATUS_MPIE;
    S.put(H_MSTATUS, next);
    S.put(H_PRIV, S.PRIV_M);
    S.setPc(vector(S.get(H_MTVEC), cause));
  }
}

/** Takes the highest-priority interrupt of a set of mip bits (privileged specification, section 3.1.9). */
export function enterInterrupt(bits: u64): void {
  let code: u64 = 5;
  if (bits & S.IRQ_MEI) code = 11;
  else if (bits & S.IRQ_MSI) code = 3;
  else if (bits & S.IRQ_MTI) code = 7;
  else if (bits & S.IRQ_SEI) code = 9;
  else if (bits & S.IRQ_SSI) code = 1;
  enterTrap(INTERRUPT | code, 0);
}

export function machineReturn(): void {
  const status = S.get(H_MSTATUS);
  const previous = (status >> 11) & 3;
  let next = status & ~(S.STATUS_MPP | S.STATUS_MIE);
  if ((status & S.STATUS_MPIE) != 0) next |= S.STATUS_MIE;
  next |= S.STATUS_MPIE;
  if (<i64>previous != S.PRIV_M) next &= ~S.STATUS_MPRV;
  S.put(H_MSTATUS, next);
  S.put(H_PRIV, previous);
  S.setPc(S.get(H_MEPC));
  S.put(H_RESERVATION, ~(<u64>0));
}

export function supervisorReturn(): void {
  const status = S.get(H_MSTATUS);
  let next = status & ~(S.STATUS_SPP | S.STATUS_SIE | S.STATUS_MPRV);
  if ((status & S.STATUS_SPIE) != 0) next |= S.STATUS_SIE;
  next |= S.STATUS_SPIE;
  S.put(H_MSTATUS, next);
  S.put(H_PRIV, (status >> 8) & 1);
  S.setPc(S.get(H_SEPC));
  S.put(H_RESERVATION, ~(<u64>0));
}
