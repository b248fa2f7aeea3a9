// Floating point in integer arithmetic, bit for bit as the RISC-V F and D extensions define it (RISC-V Instruction Set Manual,
// Volume I, version 20240411): all rounding modes and exception flags, tininess detected after rounding, canonical NaNs. The core
// comes here when WebAssembly's own arithmetic, which rounds to nearest even and has no flags, cannot give the answer.
//
// Numbers are bit patterns: u32 for single, u64 for double precision. `roundingMode` is 0 to 4 (nearest even, to zero, down, up,
// nearest away): the caller has resolved "dynamic" and refused the reserved values. NaN boxing, sign injection and the sign
// changes of FMSUB, FNMADD and FNMSUB (flip the sign bit of the product's factor or of the addend) are the caller's. Exceptions
// are added to `softfloatFlags`, with the bits of fflags. Integers are whole registers: 32-bit results come sign-extended, and of
// a 32-bit operand only the low half counts.
//
// Reading order: softfloat-format, softfloat-arithmetic, softfloat-convert.
import { add, divide, multiply, multiplyAdd, squareRoot, subtract } from "./softfloat-arithmetic";
import { classify, convert, equal, extreme, fromInteger, less, lessOrEqual, toInteger } from "./softfloat-convert";

export { setSoftfloatFlags, softfloatFlags } from "./softfloat-format";

// ---- single precision ----
export function f32Add(a: u32, b: u32, roundingMode: u32): u32 {
  return add<u32>(a, b, roundingMode);
}
export function f32Sub(a: u32, b: u32, roundingMode: u32): u32 {
  return subtract<u32>(a, b, roundingMode);
}
export function f32Mul(a: u32, b: u32, roundingMode: u32): u32 {
  return multiply<u32>(a, b, roundingMode);
}
export function f32Div(a: u32, b: u32, roundingMode: u32): u32 {
  return divide<u32>(a, b, roundingMode);
}
export function f32Sqrt(a: u32, roundingMode: u32): u32 {
  return squareRoot<u32>(a, roundingMode);
}
/** a * b + c, rounded once. */
export function f32MulAdd(a: u32, b: u32, c: u32, roundingMode: u32): u32 {
  return multiplyAdd<u32>(a, b, c, roundingMode);
}
export function f32Eq(a: u32, b: u32): u32 {
  return <u32>equal<u32>(a, b);
}
export function f32Lt(a: u32, b: u32): u32 {
  return <u32>less<u32>(a, b);
}
export function f32Le(a: u32, b: u32): u32 {
  return <u32>lessOrEqual<u32>(a, b);
}
export function f32Min(a: u32, b: u32): u32 {
  return extreme<u32>(a, b, false);
}
export function f32Max(a: u32, b: u32): u32 {
  return extreme<u32>(a, b, true);
}
export function f32Classify(a: u32): u32 {
  return classify<u32>(a);
}
export function f32ToI32(a: u32, roundingMode: u32): i64 {
  return <i64>(<i32>toInteger<u32>(a, roundingMode, 0x80000000, 0x7fffffff));
}
export function f32ToU32(a: u32, roundingMode: u32): i64 {
  return <i64>(<i32>toInteger<u32>(a, roundingMode, 0, 0xffffffff));
}
export function f32ToI64(a: u32, roundingMode: u32): i64 {
  return toInteger<u32>(a, roundingMode, 0x8000000000000000, 0x7fffffffffffffff);
}
export function f32ToU64(a: u32, roundingMode: u32): i64 {
  return toInteger<u32>(a, roundingMode, 0, 0xffffffffffffffff);
}
export function i32ToF32(value: i64, roundingMode: u32): u32 {
  const number = <i64>(<i32>value);
  return fromInteger<u32>((<u64>number) >> 63, <u64>(number < 0 ? -number : number), roundingMode);
}
export function u32ToF32(value: i64, roundingMode: u32): u32 {
  return fromInteger<u32>(0, <u64>(<u32>value), roundingMode);
}
export function i64ToF32(value: i64, roundingMode: u32): u32 {
  return fromInteger<u32>((<u64>value) >> 63, <u64>(value < 0 ? -value : value), roundingMode);
}
export function u64ToF32(value: i64, roundingMode: u32): u32 {
  return fromInteger<u32>(0, <u64>value, roundingMode);
}

// ---- double precision ----
export function f64Add(a: u64, b: u64, roundingMode: u32): u64 {
  return add<u64>(a, b, roundingMode);
}
export function f64Sub(a: u64, b: u64, roundingMode: u32): u64 {
  return subtract<u64>(a, b, roundingMode);
}
export function f64Mul(a: u64, b: u64, roundingMode: u32): u64 {
  return multiply<u64>(a, b, roundingMode);
}
export function f64Div(a: u64, b: u64, roundingMode: u32): u64 {
  return divide<u64>(a, b, roundingMode);
}
export function f64Sqrt(a: u64, roundingMode: u32): u64 {
  return squareRoot<u64>(a, roundingMode);
}
/** a * b + c, rounded once. */
export function f64MulAdd(a: u64, b: u64, c: u64, roundingMode: u32): u64 {
  return multiplyAdd<u64>(a, b, c, roundingMode);
}
export function f64Eq(a: u64, b: u64): u32 {
  return <u32>equal<u64>(a, b);
}
export function f64Lt(a: u64, b: u64): u32 {
  return <u32>less<u64>(a, b);
}
export function f64Le(a: u64, b: u64): u32 {
  return <u32>lessOrEqual<u64>(a, b);
}
export function f64Min(a: u64, b: u64): u64 {
  return extreme<u64>(a, b, false);
}
export function f64Max(a: u64, b: u64): u64 {
  return extreme<u64>(a, b, true);
}
export function f64Classify(a: u64): u32 {
  return classify<u64>(a);
}
export function f64ToI32(a: u64, roundingMode: u32): i64 {
  return <i64>(<i32>toInteger<u64>(a, roundingMode, 0x80000000, 0x7fffffff));
}
export function f64ToU32(a: u64, roundingMode: u32): i64 {
  return <i64>(<i32>toInteger<u64>(a, roundingMode, 0, 0xffffffff));
}
export function f64ToI64(a: u64, roundingMode: u32): i64 {
  return toInteger<u64>(a, roundingMode, 0x8000000000000000, 0x7fffffffffffffff);
}
export function f64ToU64(a: u64, roundingMode: u32): i64 {
  return toInteger<u64>(a, roundingMode, 0, 0xffffffffffffffff);
}
export function i32ToF64(value: i64, roundingMode: u32): u64 {
  const number = <i64>(<i32>value);
  return fromInteger<u64>((<u64>number) >> 63, <u64>(number < 0 ? -number : number), roundingMode);
}
export function u32ToF64(value: i64, roundingMode: u32): u64 {
  return fromInteger<u64>(0, <u64>(<u32>value), roundingMode);
}
export function i64ToF64(value: i64, roundingMode: u32): u64 {
  return fromInteger<u64>((<u64>value) >> 63, <u64>(value < 0 ? -value : value), roundingMode);
}
export function u64ToF64(value: i64, roundingMode: u32): u64 {
  return fromInteger<u64>(0, <u64>value, roundingMode);
}

// ---- between the two ----
/** Always exact; a signalling NaN is invalid. */
export function f32ToF64(a: u32): u64 {
  return convert<u32, u64>(a, 0);
}
export function f64ToF32(a: u64, roundingMode: u32): u32 {
  return convert<u64, u32>(a, roundingMode);
}
