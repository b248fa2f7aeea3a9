// Comparisons, minimum and maximum, classes and conversions of binary floating point. See softfloat-format.ts for how
// numbers are held.
import {
  FLAG_INEXACT,
  FLAG_INVALID,
  LEADING_BIT,
  bias,
  canonicalNaN,
  exponentOf,
  fractionBits,
  infinity,
  isNaNBits,
  isSignallingNaN,
  magnitude,
  propagateNaN,
  raiseFlags,
  round,
  roundsAway,
  signOf,
  significandOf,
  withSign,
} from "./softfloat-format";

/** a < b for operands that are not NaNs, with -0 < +0. */
function totalLess<T>(a: T, b: T): bool {
  if (signOf<T>(a) != signOf<T>(b)) return signOf<T>(a) != 0;
  return signOf<T>(a) != 0 ? a > b : a < b;
}
function bothZero<T>(a: T, b: T): bool {
  return magnitude<T>((a | b) as T) == 0;
}

/** Quiet: only a signalling NaN is invalid. */
export function equal<T>(a: T, b: T): bool {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) {
    propagateNaN<T>(a, b);
    return false;
  }
  return a == b || bothZero<T>(a, b);
}
/** Signalling: any NaN is invalid. */
export function less<T>(a: T, b: T): bool {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) {
    raiseFlags(FLAG_INVALID);
    return false;
  }
  return totalLess<T>(a, b) && !bothZero<T>(a, b);
}
/** Signalling: any NaN is invalid. */
export function lessOrEqual<T>(a: T, b: T): bool {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) {
    raiseFlags(FLAG_INVALID);
    return false;
  }
  return !totalLess<T>(b, a) || bothZero<T>(a, b);
}

/** minimumNumber of IEEE 754-2019, or maximumNumber: a NaN loses against any number. */
export function extreme<T>(a: T, b: T, maximum: bool): T {
  if (isSignallingNaN<T>(a) || isSignallingNaN<T>(b)) raiseFlags(FLAG_INVALID);
  if (isNaNBits<T>(a)) return isNaNBits<T>(b) ? canonicalNaN<T>() : b;
  if (isNaNBits<T>(b)) return a;
  return totalLess<T>(a, b) != maximum ? a : b;
}

/** The mask of FCLASS: from bit 0 on -infinity, -normal, -subnormal, -0, +0, +subnormal, +normal, +infinity, signalling NaN, quiet NaN. */
export function classify<T>(a: T): u32 {
  if (isNaNBits<T>(a)) return isSignallingNaN<T>(a) ? 1 << 8 : 1 << 9;
  const number = magnitude<T>(a);
  const rank = number == 0 ? 0 : number >> (fractionBits<T>() as T) == 0 ? 1 : number < infinity<T>() ? 2 : 3;
  const classBit = signOf<T>(a) != 0 ? 3 - rank : 4 + rank;
  return (1 as u32) << classBit;
}

/** From one format to the other. */
export function convert<From, To>(a: From, roundingMode: u32): To {
  if (isNaNBits<From>(a)) {
    if (isSignallingNaN<From>(a)) raiseFlags(FLAG_INVALID);
    return canonicalNaN<To>();
  }
  const sign = signOf<From>(a);
  if (magnitude<From>(a) == infinity<From>()) return withSign<To>(sign, infinity<To>());
  if (magnitude<From>(a) == 0) return withSign<To>(sign, 0);
  return round<To>(sign, exponentOf<From>(a) - bias<From>() + bias<To>(), significandOf<From>(a), roundingMode);
}

/**
 * To an integer within [-lowest, highest]. What is beyond is invalid and saturates, and so does a NaN, which counts as positive;
 * then the inexact flag is not raised.
 */
export function toInteger<T>(a: T, roundingMode: u32, lowest: u64, highest: u64): i64 {
  if (isNaNBits<T>(a)) {
    raiseFlags(FLAG_INVALID);
    return highest as i64;
  }
  if (magnitude<T>(a) == 0) return 0;
  const sign = signOf<T>(a);
  const limit = sign != 0 ? lowest : highest;
  const wholeBits = exponentOf<T>(a) - bias<T>() + 1;
  let whole: u64 = 0;
  // What lies behind the point, its first bit at bit 63.
  let rest: u64 = 1;
  const beyond = wholeBits > 64;
  if (wholeBits >= 64) {
    whole = significandOf<T>(a);
    rest = 0;
  } else if (wholeBits > 0) {
    whole = significandOf<T>(a) >> (64 - wholeBits);
    rest = significandOf<T>(a) << wholeBits;
  } else if (wholeBits == 0) {
    rest = significandOf<T>(a);
  }
  if (rest != 0 && roundsAway(roundingMode, sign, whole & 1, rest, LEADING_BIT)) whole++;
  if (beyond || whole > limit) {
    raiseFlags(FLAG_INVALID);
    whole = limit;
  } else if (rest != 0) {
    raiseFlags(FLAG_INEXACT);
  }
  return sign != 0 ? -(whole as i64) : (whole as i64);
}

/** From a magnitude with its sign. */
export function fromInteger<T>(sign: u64, number: u64, roundingMode: u32): T {
  if (number == 0) return 0 as T;
  const shift = clz<u64>(number) as i32;
  return round<T>(sign, bias<T>() + 63 - shift, number << shift, roundingMode);
}
