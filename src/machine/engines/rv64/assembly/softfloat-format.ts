// The two number formats of the F and D extensions, the exception flags, and rounding. Everything is generic over the type that
// holds the bits: T = u32 is single, T = u64 is double precision, and the compiler makes one copy of the code for each.
//
// A finite number other than zero is worked on as (sign, exponent, significand): the sign is 0 or 1, the significand has its
// leading one at bit 63, and the exponent is biased like that of the format, but without bounds, so that subnormal numbers are
// not special: value = significand / 2^63 * 2^(exponent - bias). Where a result is not exact, its significand has bit 0 set
// ("sticky") in place of everything below.

export const FLAG_INEXACT: u32 = 1;
export const FLAG_UNDERFLOW: u32 = 2;
export const FLAG_OVERFLOW: u32 = 4;
export const FLAG_DIVIDE_BY_ZERO: u32 = 8;
export const FLAG_INVALID: u32 = 16;

export const ROUND_NEAREST_EVEN: u32 = 0;
export const ROUND_TO_ZERO: u32 = 1;
export const ROUND_DOWN: u32 = 2;
export const ROUND_UP: u32 = 3;
export const ROUND_NEAREST_AWAY: u32 = 4;

export const LEADING_BIT: u64 = 1 << 63;

/** RISC-V fflags, accumulated by every operation; the caller clears them. */
export let softfloatFlags: u32 = 0;
export function setSoftfloatFlags(flags: u32): void {
  softfloatFlags = flags;
}
// @ts-ignore: decorator
@inline
export function raiseFlags(flags: u32): void {
  softfloatFlags |= flags;
}

/** Bits of the fraction field. */
// @ts-ignore: decorator
@inline
export function fractionBits<T>(): i32 {
  return sizeof<T>() == 4 ? 23 : 52;
}
/** The exponent field of infinities and NaNs. */
// @ts-ignore: decorator
@inline
export function topExponent<T>(): i32 {
  return sizeof<T>() == 4 ? 255 : 2047;
}
// @ts-ignore: decorator
@inline
export function bias<T>(): i32 {
  return sizeof<T>() == 4 ? 127 : 1023;
}
// @ts-ignore: decorator
@inline
export function signBit<T>(): T {
  const position = (sizeof<T>() * 8 - 1) as T;
  return ((1 as T) << position) as T;
}
// @ts-ignore: decorator
@inline
export function infinity<T>(): T {
  const field = topExponent<T>() as T;
  const position = fractionBits<T>() as T;
  return (field << position) as T;
}
/** Set in a quiet NaN, clear in a signalling one. */
// @ts-ignore: decorator
@inline
export function quietBit<T>(): T {
  const position = (fractionBits<T>() - 1) as T;
  return ((1 as T) << position) as T;
}
/** The NaN that every operation returns, whatever NaN came in. */
// @ts-ignore: decorator
@inline
export function canonicalNaN<T>(): T {
  return (infinity<T>() | quietBit<T>()) as T;
}

/** The number without its sign. */
// @ts-ignore: decorator
@inline
export function magnitude<T>(a: T): T {
  return (a & ~signBit<T>()) as T;
}
// @ts-ignore: decorator
@inline
export function signOf<T>(a: T): u64 {
  return (a >> ((sizeof<T>() * 8 - 1) as T)) as u64;
}
/** `number` with the sign `sign` (0 or 1); `number` itself has none. */
// @ts-ignore: decorator
@inline
export function withSign<T>(sign: u64, number: T): T {
  const position = sizeof<T>() * 8 - 1;
  return (((sign << position) as T) | number) as T;
}
// @ts-ignore: decorator
@inline
export function isNaNBits<T>(a: T): bool {
  return magnitude<T>(a) > infinity<T>();
}
// @ts-ignore: decorator
@inline
export function isSignallingNaN<T>(a: T): bool {
  return isNaNBits<T>(a) && (a & quietBit<T>()) == 0;
}

/** The answer to operands of which one is a NaN. */
export function propagateNaN<T>(a: T, b: T): T {
  if (isSignallingNaN<T>(a) || isSignallingNaN<T>(b)) raiseFlags(FLAG_INVALID);
  return canonicalNaN<T>();
}
export function invalid<T>(): T {
  raiseFlags(FLAG_INVALID);
  return canonicalNaN<T>();
}

/** Exponent of a finite number other than zero: see the head of this file. */
// @ts-ignore: decorator
@inline
export function exponentOf<T>(a: T): i32 {
  const number = magnitude<T>(a);
  const field = (number >> (fractionBits<T>() as T)) as i32;
  // A subnormal number counts as many steps down as its fraction has leading zeros.
  return field != 0 ? field : 64 - fractionBits<T>() - (clz<u64>(number as u64) as i32);
}
/** Significand of a finite number other than zero: see the head of this file. */
// @ts-ignore: decorator
@inline
export function significandOf<T>(a: T): u64 {
  const number = magnitude<T>(a) as u64;
  if (number >> fractionBits<T>() != 0) return LEADING_BIT | (number << (63 - fractionBits<T>()));
  return number << clz<u64>(number);
}

/** Shifts right by `count` >= 0; what falls off leaves the sticky bit. */
// @ts-ignore: decorator
@inline
export function shiftRightSticky(value: u64, count: i32): u64 {
  if (count == 0) return value;
  if (count > 63) return (value != 0) as u64;
  return (value >> count) | ((value << (64 - count) != 0) as u64);
}

/** Whether rounding moves away from zero, given the discarded `rest` (not 0) and the `half` of a unit in the last place kept. */
// @ts-ignore: decorator
@inline
export function roundsAway(roundingMode: u32, sign: u64, odd: u64, rest: u64, half: u64): bool {
  if (roundingMode == ROUND_NEAREST_EVEN) return rest > half || (rest == half && odd != 0);
  if (roundingMode == ROUND_NEAREST_AWAY) return rest >= half;
  if (roundingMode == ROUND_DOWN) return sign != 0;
  if (roundingMode == ROUND_UP) return sign == 0;
  return false;
}

/** The exact zero that a sum of opposite numbers gives. */
// @ts-ignore: decorator
@inline
export function zeroSum<T>(roundingMode: u32): T {
  return roundingMode == ROUND_DOWN ? signBit<T>() : (0 as T);
}

function overflow<T>(sign: u64, roundingMode: u32): T {
  raiseFlags(FLAG_OVERFLOW | FLAG_INEXACT);
  // The largest finite number is the pattern just below infinity.
  const finite = !roundsAway(roundingMode, sign, 0, 2, 1);
  return withSign<T>(sign, (infinity<T>() - (finite as T)) as T);
}

/** Rounds (sign, exponent, significand) to the format, with flags. */
export function round<T>(sign: u64, exponent: i32, significand: u64, roundingMode: u32): T {
  const drop = 63 - fractionBits<T>();
  const half = (1 as u64) << (drop - 1);
  const restMask = ((1 as u64) << drop) - 1;
  if (exponent >= topExponent<T>()) return overflow<T>(sign, roundingMode);
  let tiny = false;
  if (exponent <= 0) {
    // Tininess is detected after rounding: just below the smallest normal number, a number may still round up to it as if
    // exponents went on for ever, and is not tiny then.
    const kept = significand >> drop;
    const rest = significand & restMask;
    const carries = exponent == 0 && kept == (LEADING_BIT >> (drop - 1)) - 1 && rest != 0 && roundsAway(roundingMode, sign, 1, rest, half);
    tiny = !carries;
    significand = shiftRightSticky(significand, 1 - exponent);
    exponent = 1;
  }
  let kept = significand >> drop;
  const rest = significand & restMask;
  if (rest != 0) {
    raiseFlags(tiny ? FLAG_INEXACT | FLAG_UNDERFLOW : FLAG_INEXACT);
    if (roundsAway(roundingMode, sign, kept & 1, rest, half)) kept++;
  }
  // The leading one, if there is one, adds 1 to the exponent field, as does a carry out of the fraction.
  const bits = (((exponent - 1) as u64) << fractionBits<T>()) + kept;
  if (bits >= (infinity<T>() as u64)) return overflow<T>(sign, roundingMode);
  return withSign<T>(sign, bits as T);
}
