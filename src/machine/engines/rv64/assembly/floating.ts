// F and D instructions. WebAssembly's arithmetic is used where it provably gives the right bits and flags (round to nearest even,
// inexact already accrued, a normal result well inside the range); everything else is exact integer arithmetic (softfloat).
import { H_FCSR, H_MSTATUS } from "../layout";
import * as F from "./softfloat";
import * as S from "./state";

const BOX: u64 = 0xffffffff00000000;
const SIGN_32: u32 = 0x80000000;
const SIGN_64: u64 = 0x8000000000000000;

// @ts-ignore: decorator
@inline
function single(index: u32): u32 {
  const bits = S.f(index);
  return bits >> 32 == 0xffffffff ? <u32>bits : 0x7fc00000;
}

function writeSingle(index: u32, bits: u32): void {
  S.setF(index, BOX | <u64>bits);
  markDirty();
}

function writeDouble(index: u32, bits: u64): void {
  S.setF(index, bits);
  markDirty();
}

// @ts-ignore: decorator
@inline
function markDirty(): void {
  S.put(H_MSTATUS, S.get(H_MSTATUS) | S.STATUS_FS);
}

/** Moves the accrued exceptions into fcsr. */
// @ts-ignore: decorator
@inline
function accrue(): void {
  if (F.softfloatFlags != 0) {
    S.put(H_FCSR, S.get(H_FCSR) | F.softfloatFlags);
    markDirty();
    F.setSoftfloatFlags(0);
  }
}

/** Rounding mode 0 and inexact already set: native arithmetic needs to get only the value right. */
// @ts-ignore: decorator
@inline
function nativeMayDo(rounding: u32): bool {
  return rounding == 0 && (S.get(H_FCSR) & 1) != 0;
}
/** Normal, and far enough from both ends that no other exception can have happened. */
// @ts-ignore: decorator
@inline
function plain64(bits: u64): bool {
  return (<u32>(bits >> 52) & 0x7ff) - 2 < 0x7fd - 1;
}
// @ts-ignore: decorator
@inline
function plain32(bits: u32): bool {
  return ((bits >> 23) & 0xff) - 2 < 0xfd - 1;
}
// @ts-ignore: decorator
@inline
function double(bits: u64): f64 {
  return reinterpret<f64>(bits);
}
// @ts-ignore: decorator
@inline
function float(bits: u32): f32 {
  return reinterpret<f32>(bits);
}

/** Executes one floating-point instruction that is not a load or store; false after raising illegal-instruction. */
export function executeFloat(i: u32): bool {
  if ((S.get(H_MSTATUS) & S.STATUS_FS) != 0 && dispatch(i)) {
    accrue();
    return true;
  }
  F.setSoftfloatFlags(0);
  S.raise(S.CAUSE_ILLEGAL, i);
  return false;
}

const NO_ROUNDING: u32 = 8;

/** The rounding mode of an instruction, "dynamic" resolved; NO_ROUNDING if reserved. */
function roundingOf(i: u32): u32 {
  let mode = (i >> 12) & 7;
  if (mode == 7) mode = <u32>(S.get(H_FCSR) >> 5) & 7;
  return mode > 4 ? NO_ROUNDING : mode;
}

function dispatch(i: u32): bool {
  const format = (i >> 25) & 3;
  if (format > 1) return false;
  const opcode = (i >> 2) & 31;
  if (opcode != 20) return fused(i, opcode, format == 1);
  const operation = i >> 27;
  if (operation <= 3 || operation == 11) return arithmetic(i, operation, format == 1);
  const f3 = (i >> 12) & 7;
  switch (operation) {
    case 4:
      return signInject(i, f3, format == 1);
    case 5:
      return minMax(i, f3, format == 1);
    case 8:
      return convertFormat(i, format == 1);
    case 20:
      return compare(i, f3, format == 1);
    case 24:
      return toInteger(i, format == 1);
    case 26:
      return fromInteger(i, format == 1);
    case 28:
      return moveToInteger(i, f3, format == 1);
    case 30:
      return moveFromInteger(i, f3, format == 1);
    default:
      return false;
  }
}

function fused(i: u32, opcode: u32, wide: bool): bool {
  const rounding = roundingOf(i);
  if (rounding == NO_ROUNDING) return false;
  const rd = (i >> 7) & 31;
  const a = (i >> 15) & 31, b = (i >> 20) & 31, c = i >> 27;
  // 16 fmadd, 17 fmsub, 18 fnmsub, 19 fnmadd: signs of the product and of the addend.
  const negateProduct = opcode >= 18;
  const negateAddend = opcode == 17 || opcode == 19;
  if (wide) {
    const factor = S.f(a) ^ (negateProduct ? SIGN_64 : 0);
    writeDouble(rd, F.f64MulAdd(factor, S.f(b), S.f(c) ^ (negateAddend ? SIGN_64 : 0), rounding));
  } else {
    const factor = single(a) ^ (negateProduct ? SIGN_32 : 0);
    writeSingle(rd, F.f32MulAdd(factor, single(b), single(c) ^ (negateAddend ? SIGN_32 : 0), rounding));
  }
  return true;
}

function arithmetic(i: u32, operation: u32, wide: bool): bool {
  const rounding = roundingOf(i);
  const rs2 = (i >> 20) & 31;
  if (rounding == NO_ROUNDING || (operation == 11 && rs2 != 0)) return false;
  const rd = (i >> 7) & 31;
  const rs1 = (i >> 15) & 31;
  if (wide) writeDouble(rd, arithmetic64(operation, S.f(rs1), S.f(rs2), rounding));
  else writeSingle(rd, arithmetic32(operation, single(rs1), single(rs2), rounding));
  return true;
}

function arithmetic64(operation: u32, a: u64, b: u64, rounding: u32): u64 {
  if (nativeMayDo(rounding)) {
    let value: f64;
    if (operation == 0) value = double(a) + double(b);
    else if (operation == 1) value = double(a) - double(b);
    else if (operation == 2) value = double(a) * double(b);
    else if (operation == 3) value = double(a) / double(b);
    else value = Math.sqrt(double(a));
    const bits = reinterpret<u64>(value);
    if (plain64(bits)) return bits;
  }
  switch (operation) {
    case 0:
      return F.f64Add(a, b, rounding);
    case 1:
      return F.f64Sub(a, b, rounding);
    case 2:
      return F.f64Mul(a, b, rounding);
    case 3:
      return F.f64Div(a, b, rounding);
    default:
      return F.f64Sqrt(a, rounding);
  }
}

function arithmetic32(operation: u32, a: u32, b: u32, rounding: u32): u32 {
  if (nativeMayDo(rounding)) {
    let value: f32;
    if (operation == 0) value = float(a) + float(b);
    else if (operation == 1) value = float(a) - float(b);
    else if (operation == 2) value = float(a) * float(b);
    else if (operation == 3) value = float(a) / float(b);
    else value = Mathf.sqrt(float(a));
    const bits = reinterpret<u32>(value);
    if (plain32(bits)) return bits;
  }
  switch (operation) {
    case 0:
      return F.f32Add(a, b, rounding);
    case 1:
      return F.f32Sub(a, b, rounding);
    case 2:
      return F.f32Mul(a, b, rounding);
    case 3:
      return F.f32Div(a, b, rounding);
    default:
      return F.f32Sqrt(a, rounding);
  }
}

function signInject(i: u32, f3: u32, wide: bool): bool {
  if (f3 > 2) return false;
  const rd = (i >> 7) & 31;
  const rs1 = (i >> 15) & 31;
  const rs2 = (i >> 20) & 31;
  if (wide) {
    const a = S.f(rs1), b = S.f(rs2);
    const sign = f3 == 0 ? b : f3 == 1 ? ~b : a ^ b;
    writeDouble(rd, (a & ~SIGN_64) | (sign & SIGN_64));
  } else {
    const a = single(rs1), b = single(rs2);
    const sign = f3 == 0 ? b : f3 == 1 ? ~b : a ^ b;
    writeSingle(rd, (a & ~SIGN_32) | (sign & SIGN_32));
  }
  return true;
}

function minMax(i: u32, f3: u32, wide: bool): bool {
  if (f3 > 1) return false;
  const rd = (i >> 7) & 31;
  const rs1 = (i >> 15) & 31;
  const rs2 = (i >> 20) & 31;
  if (wide) writeDouble(rd, f3 == 0 ? F.f64Min(S.f(rs1), S.f(rs2)) : F.f64Max(S.f(rs1), S.f(rs2)));
  else writeSingle(rd, f3 == 0 ? F.f32Min(single(rs1), single(rs2)) : F.f32Max(single(rs1), single(rs2)));
  return true;
}

function convertFormat(i: u32, toDouble: bool): bool {
  const rounding = roundingOf(i);
  const from = (i >> 20) & 31;
  const rs1 = (i >> 15) & 31;
  if (rounding == NO_ROUNDING || from != (toDouble ? 0 : 1)) return false;
  if (toDouble) writeDouble((i >> 7) & 31, F.f32ToF64(single(rs1)));
  else writeSingle((i >> 7) & 31, F.f64ToF32(S.f(rs1), rounding));
  return true;
}

function compare(i: u32, f3: u32, wide: bool): bool {
  if (f3 > 2) return false;
  const rs1 = (i >> 15) & 31;
  const rs2 = (i >> 20) & 31;
  let result: u32;
  if (wide) {
    const a = S.f(rs1), b = S.f(rs2);
    result = f3 == 2 ? F.f64Eq(a, b) : f3 == 1 ? F.f64Lt(a, b) : F.f64Le(a, b);
  } else {
    const a = single(rs1), b = single(rs2);
    result = f3 == 2 ? F.f32Eq(a, b) : f3 == 1 ? F.f32Lt(a, b) : F.f32Le(a, b);
  }
  S.setX((i >> 7) & 31, <i64>result);
  return true;
}

function toInteger(i: u32, wide: bool): bool {
  const rounding = roundingOf(i);
  const kind = (i >> 20) & 31;
  if (rounding == NO_ROUNDING || kind > 3) return false;
  const rs1 = (i >> 15) & 31;
  let result: i64;
  if (wide) {
    const a = S.f(rs1);
    result = kind == 0 ? F.f64ToI32(a, rounding) : kind == 1 ? F.f64ToU32(a, rounding) : kind == 2 ? F.f64ToI64(a, rounding) : F.f64ToU64(a, rounding);
  } else {
    const a = single(rs1);
    result = kind == 0 ? F.f32ToI32(a, rounding) : kind == 1 ? F.f32ToU32(a, rounding) : kind == 2 ? F.f32ToI64(a, rounding) : F.f32ToU64(a, rounding);
  }
  S.setX((i >> 7) & 31, result);
  return true;
}

function fromInteger(i: u32, wide: bool): bool {
  const rounding = roundingOf(i);
  const kind = (i >> 20) & 31;
  if (rounding == NO_ROUNDING || kind > 3) return false;
  const a = S.x((i >> 15) & 31);
  const rd = (i >> 7) & 31;
  if (wide) {
    writeDouble(
      rd,
      kind == 0 ? F.i32ToF64(a, rounding) : kind == 1 ? F.u32ToF64(a, rounding) : kind == 2 ? F.i64ToF64(a, rounding) : F.u64ToF64(a, rounding),
    );
  } else {
    writeSingle(
      rd,
      kind == 0 ? F.i32ToF32(a, rounding) : kind == 1 ? F.u32ToF32(a, rounding) : kind == 2 ? F.i64ToF32(a, rounding) : F.u64ToF32(a, rounding),
    );
  }
  return true;
}

/** fmv.x.w, fmv.x.d and fclass. */
function moveToInteger(i: u32, f3: u32, wide: bool): bool {
  const rs1 = (i >> 15) & 31;
  if (((i >> 20) & 31) != 0 || f3 > 1) return false;
  let result: i64;
  if (f3 == 0) result = wide ? <i64>S.f(rs1) : <i64><i32>S.f(rs1);
  else result = wide ? <i64>F.f64Classify(S.f(rs1)) : <i64>F.f32Classify(single(rs1));
  S.setX((i >> 7) & 31, result);
  return true;
}

function moveFromInteger(i: u32, f3: u32, wide: bool): bool {
  if (((i >> 20) & 31) != 0 || f3 != 0) return false;
  const bits = <u64>S.x((i >> 15) & 31);
  if (wide) writeDouble((i >> 7) & 31, bits);
  else writeSingle((i >> 7) & 31, <u32>bits);
  return true;
}
