// Sum, product, quotient, square root and fused multiply-add of binary floating point, exact before the one rounding.
// See softfloat-format.ts for how numbers are held.
import {
  FLAG_DIVIDE_BY_ZERO,
  FLAG_INVALID,
  LEADING_BIT,
  bias,
  exponentOf,
  infinity,
  invalid,
  isNaNBits,
  isSignallingNaN,
  magnitude,
  propagateNaN,
  raiseFlags,
  round,
  shiftRightSticky,
  signBit,
  signOf,
  significandOf,
  withSign,
  zeroSum,
} from "./softfloat-format";

/** High half of the 128-bit product. */
function multiplyHigh(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff;
  const aHigh = a >> 32;
  const bLow = b & 0xffffffff;
  const bHigh = b >> 32;
  const cross = aHigh * bLow + ((aLow * bLow) >> 32);
  const crossLow = (cross & 0xffffffff) + aLow * bHigh;
  return aHigh * bHigh + (cross >> 32) + (crossLow >> 32);
}

/**
 * Rounded sum of two finite numbers other than zero. Both significands must have at least two zero bits at the bottom: then the
 * bit that makes room for a carry is not lost, and only a shift by two or more can set the sticky bit; after such a shift
 * at most one leading bit cancels, so that the sticky bit stays far below the last place kept.
 */
function addFinite<T>(signA: u64, exponentA: i32, a: u64, signB: u64, exponentB: i32, b: u64, roundingMode: u32): T {
  if (exponentA < exponentB || (exponentA == exponentB && a < b)) {
    const sign = signA;
    signA = signB;
    signB = sign;
    const exponent = exponentA;
    exponentA = exponentB;
    exponentB = exponent;
    const significand = a;
    a = b;
    b = significand;
  }
  a >>= 1;
  b = shiftRightSticky(b >> 1, exponentA - exponentB);
  const sum = signA == signB ? a + b : a - b;
  if (sum == 0) return zeroSum<T>(roundingMode);
  const shift = clz<u64>(sum) as i32;
  return round<T>(signA, exponentA + 1 - shift, sum << shift, roundingMode);
}

export function add<T>(a: T, b: T, roundingMode: u32): T {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) return propagateNaN<T>(a, b);
  const magnitudeA = magnitude<T>(a);
  const magnitudeB = magnitude<T>(b);
  if (magnitudeA == infinity<T>()) return magnitudeB == infinity<T>() && a != b ? invalid<T>() : a;
  if (magnitudeB == infinity<T>()) return b;
  if (magnitudeA == 0) return magnitudeB != 0 || a == b ? b : zeroSum<T>(roundingMode);
  if (magnitudeB == 0) return a;
  return addFinite<T>(
    signOf<T>(a),
    exponentOf<T>(a),
    significandOf<T>(a),
    signOf<T>(b),
    exponentOf<T>(b),
    significandOf<T>(b),
    roundingMode,
  );
}

export function subtract<T>(a: T, b: T, roundingMode: u32): T {
  return add<T>(a, (b ^ signBit<T>()) as T, roundingMode);
}

export function multiply<T>(a: T, b: T, roundingMode: u32): T {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) return propagateNaN<T>(a, b);
  const magnitudeA = magnitude<T>(a);
  const magnitudeB = magnitude<T>(b);
  const sign = signOf<T>(a) ^ signOf<T>(b);
  if (magnitudeA == infinity<T>()) return magnitudeB == 0 ? invalid<T>() : withSign<T>(sign, magnitudeA);
  if (magnitudeB == infinity<T>()) return magnitudeA == 0 ? invalid<T>() : withSign<T>(sign, magnitudeB);
  if (magnitudeA == 0 || magnitudeB == 0) return withSign<T>(sign, 0 as T);
  const significandA = significandOf<T>(a);
  const significandB = significandOf<T>(b);
  let product: u64;
  if (sizeof<T>() == 4) {
    product = (significandA >> 32) * (significandB >> 32);
  } else {
    product = multiplyHigh(significandA, significandB) | ((significandA * significandB != 0) as u64);
  }
  // Two numbers in [1, 2) give one in [1, 4).
  const shift = clz<u64>(product) as i32;
  return round<T>(sign, exponentOf<T>(a) + exponentOf<T>(b) - bias<T>() + 1 - shift, product << shift, roundingMode);
}

/**
 * The significand for an exact result in [2^52, 2^53) of which the nearest integer is known, and the sign of what that lacks: a
 * sticky bit just above or just below the integer. No more is needed. Rounding decides at integers, where the sign tells the
 * side, and for double precision at halves, where no quotient or root of 53-bit numbers falls and the nearest integer tells
 * the side. The integer is never 2^52 with something missing below it, since the exact result is not smaller; nor is it 2^53.
 */
function besideNearest(nearest: u64, remainder: i64): u64 {
  return (nearest << 11) + (((remainder > 0 ? 1 : 0) - (remainder < 0 ? 1 : 0)) as u64);
}

export function divide<T>(a: T, b: T, roundingMode: u32): T {
  if (isNaNBits<T>(a) || isNaNBits<T>(b)) return propagateNaN<T>(a, b);
  const magnitudeA = magnitude<T>(a);
  const magnitudeB = magnitude<T>(b);
  const sign = signOf<T>(a) ^ signOf<T>(b);
  if (magnitudeA == infinity<T>()) return magnitudeB == infinity<T>() ? invalid<T>() : withSign<T>(sign, magnitudeA);
  if (magnitudeB == infinity<T>()) return withSign<T>(sign, 0 as T);
  if (magnitudeB == 0) {
    if (magnitudeA == 0) return invalid<T>();
    raiseFlags(FLAG_DIVIDE_BY_ZERO);
    return withSign<T>(sign, infinity<T>());
  }
  if (magnitudeA == 0) return withSign<T>(sign, 0 as T);
  let dividend = significandOf<T>(a) >> 11;
  const divisor = significandOf<T>(b) >> 11;
  let exponent = exponentOf<T>(a) - exponentOf<T>(b) + bias<T>();
  if (dividend < divisor) {
    dividend <<= 1;
    exponent--;
  }
  // The quotient lies in [1, 2): WebAssembly's own division gives the nearest number of 53 bits. The remainder is less than the
  // divisor, so that its low 64 bits are all of it.
  const quotient = (((dividend as f64) / (divisor as f64)) * 4503599627370496.0) as u64;
  const remainder = ((dividend << 52) - quotient * divisor) as i64;
  return round<T>(sign, exponent, besideNearest(quotient, remainder), roundingMode);
}

export function squareRoot<T>(a: T, roundingMode: u32): T {
  if (isNaNBits<T>(a)) return propagateNaN<T>(a, a);
  if (magnitude<T>(a) == 0) return a;
  if (signOf<T>(a) != 0) return invalid<T>();
  if (a == infinity<T>()) return a;
  let radicand = significandOf<T>(a) >> 11;
  let exponent = exponentOf<T>(a) - bias<T>();
  if ((exponent & 1) != 0) {
    radicand <<= 1;
    exponent--;
  }
  // The same with the root of radicand * 2^52: between 2^52 and 2^53, what it lacks is less than the root itself.
  const root = (sqrt<f64>(radicand as f64) * 67108864.0) as u64;
  const remainder = ((radicand << 52) - root * root) as i64;
  return round<T>(0, (exponent >> 1) + bias<T>(), besideNearest(root, remainder), roundingMode);
}

/** addFinite for a product of 128 bits (leading one at bit 127, at least two zero bits at the bottom) and a number of 64. */
function addProduct<T>(signP: u64, exponentP: i32, high: u64, low: u64, signC: u64, exponentC: i32, c: u64, roundingMode: u32): T {
  const productIsLarger = exponentP > exponentC || (exponentP == exponentC && high >= c);
  const sign = productIsLarger ? signP : signC;
  const exponent = productIsLarger ? exponentP : exponentC;
  const distance = productIsLarger ? exponentP - exponentC : exponentC - exponentP;
  const productHigh = high >> 1;
  const productLow = (high << 63) | (low >> 1);
  const addendHigh = c >> 1;
  const addendLow = c << 63;
  const largeHigh = productIsLarger ? productHigh : addendHigh;
  const largeLow = productIsLarger ? productLow : addendLow;
  let smallHigh = productIsLarger ? addendHigh : productHigh;
  let smallLow = productIsLarger ? addendLow : productLow;
  if (distance >= 64) {
    smallLow = shiftRightSticky(smallHigh, distance - 64) | ((smallLow != 0) as u64);
    smallHigh = 0;
  } else if (distance > 0) {
    smallLow = (smallHigh << (64 - distance)) | shiftRightSticky(smallLow, distance);
    smallHigh >>= distance;
  }
  let sumHigh: u64;
  let sumLow: u64;
  if (signP == signC) {
    sumLow = largeLow + smallLow;
    sumHigh = largeHigh + smallHigh + ((sumLow < largeLow) as u64);
  } else {
    sumLow = largeLow - smallLow;
    sumHigh = largeHigh - smallHigh - ((largeLow < smallLow) as u64);
  }
  let shift = 0;
  if (sumHigh == 0) {
    if (sumLow == 0) return zeroSum<T>(roundingMode);
    sumHigh = sumLow;
    sumLow = 0;
    shift = 64;
  }
  const rest = clz<u64>(sumHigh) as i32;
  if (rest != 0) {
    sumHigh = (sumHigh << rest) | (sumLow >> (64 - rest));
    sumLow <<= rest;
  }
  return round<T>(sign, exponent + 1 - shift - rest, sumHigh | ((sumLow != 0) as u64), roundingMode);
}

/** a * b + c, rounded once. */
export function multiplyAdd<T>(a: T, b: T, c: T, roundingMode: u32): T {
  const magnitudeA = magnitude<T>(a);
  const magnitudeB = magnitude<T>(b);
  const magnitudeC = magnitude<T>(c);
  // Infinity times zero is invalid, even when a quiet NaN is added to it.
  if ((magnitudeA == infinity<T>() && magnitudeB == 0) || (magnitudeB == infinity<T>() && magnitudeA == 0)) return invalid<T>();
  if (isNaNBits<T>(a) || isNaNBits<T>(b) || isNaNBits<T>(c)) {
    if (isSignallingNaN<T>(c)) raiseFlags(FLAG_INVALID);
    return propagateNaN<T>(a, b);
  }
  const signP = signOf<T>(a) ^ signOf<T>(b);
  const signC = signOf<T>(c);
  if (magnitudeA == infinity<T>() || magnitudeB == infinity<T>()) {
    return magnitudeC == infinity<T>() && signC != signP ? invalid<T>() : withSign<T>(signP, infinity<T>());
  }
  if (magnitudeC == infinity<T>()) return c;
  if (magnitudeA == 0 || magnitudeB == 0) return magnitudeC != 0 || signP == signC ? c : zeroSum<T>(roundingMode);
  // With nothing to add, the product is as the multiplication rounds it.
  if (magnitudeC == 0) return multiply<T>(a, b, roundingMode);
  const significandA = significandOf<T>(a);
  const significandB = significandOf<T>(b);
  const exponentP = exponentOf<T>(a) + exponentOf<T>(b) - bias<T>() + 1;
  const exponentC = exponentOf<T>(c);
  const significandC = significandOf<T>(c);
  if (sizeof<T>() == 4) {
    const product = (significandA >> 32) * (significandB >> 32);
    const shift = clz<u64>(product) as i32;
    return addFinite<T>(signP, exponentP - shift, product << shift, signC, exponentC, significandC, roundingMode);
  }
  let high = multiplyHigh(significandA, significandB);
  let low = significandA * significandB;
  let exponent = exponentP;
  if ((high & LEADING_BIT) == 0) {
    high = (high << 1) | (low >> 63);
    low <<= 1;
    exponent--;
  }
  return addProduct<T>(signP, exponent, high, low, signC, exponentC, significandC, roundingMode);
}
