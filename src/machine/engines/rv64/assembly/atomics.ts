// LR/SC and AMO instructions. One hart runs at a time, so each is atomic by construction; the reservation is a physical address.
import { H_RESERVATION, RAM, SCRATCH } from "../layout";
import { slowRead, writable } from "./memory";
import * as S from "./state";

/** Executes one A-extension instruction; false after raising a trap. */
export function executeAtomic(i: u32): bool {
  const operation = i >> 27;
  const wide = ((i >> 12) & 1) != 0;
  const address = <u64>S.x((i >> 15) & 31);
  const rd = (i >> 7) & 31;
  const rs2 = (i >> 20) & 31;
  if (!isKnown(operation, rs2)) return illegal(i);
  if ((<u32>address & (wide ? 7 : 3)) != 0) {
    S.raise(operation == 2 ? S.CAUSE_LOAD_MISALIGNED : S.CAUSE_STORE_MISALIGNED, address);
    return false;
  }
  if (operation == 2) return loadReserved(address, wide, rd);
  const host = writable(address);
  if (host == 0) return false;
  if (host == SCRATCH) {
    S.raise(S.CAUSE_STORE_ACCESS, address);
    return false;
  }
  if (operation == 3) {
    storeConditional(host, wide, rd, rs2);
    return true;
  }
  const old = wide ? load<i64>(host) : <i64>load<i32>(host);
  const operand = wide ? S.x(rs2) : <i64><i32>S.x(rs2);
  const result = combine(operation, old, operand, wide);
  if (wide) store<i64>(host, result);
  else store<i32>(host, <i32>result);
  S.setX(rd, old);
  return true;
}

function illegal(i: u32): bool {
  S.raise(S.CAUSE_ILLEGAL, i);
  return false;
}

function isKnown(operation: u32, rs2: u32): bool {
  if (operation == 2) return rs2 == 0;
  return operation <= 4 || ((operation & 3) == 0 && operation <= 28);
}

function loadReserved(address: u64, wide: bool, rd: u32): bool {
  const host = slowRead(address, wide ? 8 : 4);
  if (host == 0) return false;
  if (host == SCRATCH) {
    S.raise(S.CAUSE_LOAD_ACCESS, address);
    return false;
  }
  S.put(H_RESERVATION, <u64>(host - RAM));
  S.setX(rd, wide ? load<i64>(host) : <i64>load<i32>(host));
  return true;
}

function storeConditional(host: usize, wide: bool, rd: u32, rs2: u32): void {
  const holds = S.get(H_RESERVATION) == <u64>(host - RAM);
  if (holds && wide) store<i64>(host, S.x(rs2));
  else if (holds) store<i32>(host, <i32>S.x(rs2));
  S.put(H_RESERVATION, ~(<u64>0));
  S.setX(rd, holds ? 0 : 1);
}

function combine(operation: u32, old: i64, operand: i64, wide: bool): i64 {
  switch (operation) {
    case 0:
      return old + operand;
    case 1:
      return operand;
    case 4:
      return old ^ operand;
    case 8:
      return old | operand;
    case 12:
      return old & operand;
    case 16:
      return old < operand ? old : operand;
    case 20:
      return old > operand ? old : operand;
    case 24:
      if (wide) return <u64>old < <u64>operand ? old : operand;
      return <u32>old < <u32>operand ? old : operand;
    default:
      if (wide) return <u64>old > <u64>operand ? old : operand;
      return <u32>old > <u32>operand ? old : operand;
  }
}
