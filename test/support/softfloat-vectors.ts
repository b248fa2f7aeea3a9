// Operands that are worth trying on floating-point arithmetic: seeded, the same for a seed on every host. Uniform bits alone
// hardly ever meet an exact tie, a cancellation or the edge of the subnormal numbers, so most operands are built to.
import type { Kind, Operation } from "./softfloat-operations.js";

/** A question for the oracle is 32 bytes: operation, rounding mode, then a, b and c as low and high word. */
export const QUESTION_WORDS = 8;
export const ROUNDING_MODES = 5;

/** Xorshift with 128 bits of state. */
export class Random {
  private readonly state: Uint32Array;

  constructor(seed: number) {
    this.state = Uint32Array.of(seed, 0x9e3779b9, 0x7f4a7c15, 0xf39cc060);
    for (let round = 0; round < 16; round++) this.bits();
  }

  /** 32 bits. */
  bits(): number {
    const state = this.state;
    let mixed = state[0]!;
    mixed ^= mixed << 11;
    mixed ^= mixed >>> 8;
    const last = state[3]!;
    state[0] = state[1]!;
    state[1] = state[2]!;
    state[2] = last;
    state[3] = last ^ (last >>> 19) ^ mixed;
    return state[3]!;
  }
  below(limit: number): number {
    return this.bits() % limit;
  }
  /** From -reach to reach. */
  around(reach: number): number {
    return this.below(2 * reach + 1) - reach;
  }
}

interface Format {
  readonly fractionBits: number;
  readonly bias: number;
  /** Exponent field of infinities and NaNs. */
  readonly top: number;
}
const SINGLE: Format = { fractionBits: 23, bias: 127, top: 255 };
const DOUBLE: Format = { fractionBits: 52, bias: 1023, top: 2047 };

function formatOf(kind: Kind): Format {
  return kind === "single" ? SINGLE : DOUBLE;
}

/** A number by its fields. The fraction, up to 52 bits, is a whole number that JavaScript holds exactly. */
interface Fields {
  sign: number;
  exponent: number;
  fraction: number;
}

/** The number `ulps` further from zero (or nearer), not beyond the end of the format. */
function step(format: Format, fields: Fields, ulps: number): void {
  const size = 2 ** format.fractionBits;
  fields.fraction += ulps;
  if (fields.fraction >= size) {
    fields.fraction -= size;
    fields.exponent++;
  } else if (fields.fraction < 0) {
    fields.fraction += size;
    fields.exponent--;
  }
  clamp(format, fields);
}

function clamp(format: Format, fields: Fields): void {
  if (fields.exponent < 0) fields.exponent = 0;
  if (fields.exponent > format.top) fields.exponent = format.top;
}

function randomFraction(random: Random, bits: number): number {
  const uniform = (random.bits() * 0x200000 + (random.bits() >>> 11)) % 2 ** bits;
  const length = random.below(bits + 1);
  const part = 2 ** length;
  switch (random.below(10)) {
    case 0:
      return 0;
    case 1:
      return 2 ** bits - 1;
    case 2: // a single one
      return 2 ** random.below(bits);
    case 3: // ones below
      return part - 1;
    case 4: // ones above
      return 2 ** bits - part;
    case 5: // random above, zero below: products and quotients that are exact or a tie
      return uniform - (uniform % part);
    case 6: // random above, then one and zeros: a tie for whoever keeps just the upper bits
      return length === 0 ? uniform : uniform - (uniform % part) + part / 2;
    case 7: // the ends
      return random.below(2) === 0 ? random.below(4) : 2 ** bits - 1 - random.below(4);
    default:
      return uniform;
  }
}

function randomFields(random: Random, format: Format, fields: Fields): void {
  fields.sign = random.below(2);
  fields.fraction = randomFraction(random, format.fractionBits);
  const { top, bias, fractionBits } = format;
  switch (random.below(8)) {
    case 0: // zero, subnormal
      fields.exponent = 0;
      if (random.below(2) === 0) fields.fraction %= 2 ** random.below(fractionBits + 1);
      break;
    case 1: // the least normal numbers
      fields.exponent = 1 + random.below(3);
      break;
    case 2: // the greatest, infinity, NaNs
      fields.exponent = top - random.below(3);
      break;
    case 3:
    case 4: // near one
      fields.exponent = bias + random.around(fractionBits + 3);
      break;
    case 5:
      fields.exponent = bias + random.around(2);
      break;
    default:
      fields.exponent = random.below(top + 1);
  }
}

/** Fields to and from memory words. */
class Words {
  private readonly bytes = new DataView(new ArrayBuffer(8));

  write(kind: Kind, fields: Fields, words: Uint32Array, at: number): void {
    if (kind === "single") {
      words[at] = (fields.sign << 31) | (fields.exponent << 23) | fields.fraction;
      words[at + 1] = 0;
    } else {
      words[at] = fields.fraction % 2 ** 32;
      words[at + 1] = (fields.sign << 31) | (fields.exponent << 20) | Math.floor(fields.fraction / 2 ** 32);
    }
  }
  /** The value in the host's own arithmetic. */
  value(kind: Kind, fields: Fields): number {
    const words = new Uint32Array(2);
    this.write(kind, fields, words, 0);
    this.bytes.setUint32(0, words[0]!, true);
    this.bytes.setUint32(4, words[1]!, true);
    return kind === "single" ? this.bytes.getFloat32(0, true) : this.bytes.getFloat64(0, true);
  }
  /** Takes the number of the format that is nearest to `value`. */
  fromValue(kind: Kind, value: number, fields: Fields): void {
    if (kind === "single") {
      this.bytes.setFloat32(0, value, true);
      const bits = this.bytes.getUint32(0, true);
      fields.sign = bits >>> 31;
      fields.exponent = (bits >>> 23) & 0xff;
      fields.fraction = bits & 0x7fffff;
    } else {
      this.bytes.setFloat64(0, value, true);
      const high = this.bytes.getUint32(4, true);
      fields.sign = high >>> 31;
      fields.exponent = (high >>> 20) & 0x7ff;
      fields.fraction = (high & 0xfffff) * 2 ** 32 + this.bytes.getUint32(0, true);
    }
  }
}

/** Writes random questions about one operation at a time. */
export class QuestionWriter {
  private readonly random: Random;
  private readonly codec = new Words();
  private readonly a: Fields = { sign: 0, exponent: 0, fraction: 0 };
  private readonly b: Fields = { sign: 0, exponent: 0, fraction: 0 };
  private readonly c: Fields = { sign: 0, exponent: 0, fraction: 0 };

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** Fills the question that starts at word `at`. */
  write(operation: Operation, number: number, words: Uint32Array, at: number): void {
    const { random, a, b, c } = this;
    words[at] = number;
    words[at + 1] = random.below(ROUNDING_MODES);
    if (operation.shape === "fromInteger") {
      this.integer(words, at + 2);
      words.fill(0, at + 4, at + 8);
      return;
    }
    const kind = operation.source;
    const format = formatOf(kind);
    randomFields(random, format, a);
    randomFields(random, format, b);
    randomFields(random, format, c);
    // One in four stays as it is: independent operands.
    if (random.below(4) !== 0) this.relate(operation, format);
    this.codec.write(kind, a, words, at + 2);
    this.codec.write(kind, b, words, at + 4);
    this.codec.write(kind, c, words, at + 6);
    if (random.below(32) === 0) this.uniform(kind, words, at + 2);
  }

  private uniform(kind: Kind, words: Uint32Array, at: number): void {
    for (let word = 0; word < 6; word++) words[at + word] = kind === "single" && word % 2 === 1 ? 0 : this.random.bits();
  }

  private relate(operation: Operation, format: Format): void {
    switch (operation.shape) {
      case "sum":
        return this.sum(format, this.a, this.b);
      case "comparison":
        return this.comparison(format);
      case "product":
        return this.exponents(format, this.a, this.b, 1);
      case "quotient":
        return this.exponents(format, this.a, this.b, -1);
      case "fused":
        return this.fused(operation.source, format);
      case "root":
        return this.root(operation.source, format);
      case "toInteger":
        return this.toInteger(operation.source, format);
      case "narrow":
        return this.narrow();
      case "any":
      case "fromInteger":
        return;
    }
  }

  private sum(format: Format, a: Fields, b: Fields): void {
    const { random } = this;
    const shape = random.below(4);
    if (shape === 0) {
      // Opposite and nearly equal.
      b.sign = a.sign ^ 1;
      b.exponent = a.exponent;
      b.fraction = a.fraction;
      step(format, b, random.around(3));
      return;
    }
    // Close together, or where the smaller one starts at the last place of the larger.
    b.exponent = a.exponent + (shape === 1 ? random.around(2) : (random.below(2) * 2 - 1) * (format.fractionBits + random.around(3)));
    if (shape === 2) b.fraction = random.below(3) === 0 ? 0 : random.below(2) === 0 ? 1 : 2 ** (format.fractionBits - 1);
    clamp(format, b);
  }

  private comparison(format: Format): void {
    const { random, a, b } = this;
    if (random.below(4) !== 0) b.sign = a.sign;
    b.exponent = a.exponent;
    if (random.below(2) === 0) return;
    b.fraction = a.fraction;
    step(format, b, random.around(1));
  }

  /** Makes the exponent of a * b (direction 1) or a / b (direction -1) hit the edges of the format. */
  private exponents(format: Format, a: Fields, b: Fields, direction: 1 | -1): void {
    const { random } = this;
    const goals = [0, -format.fractionBits, format.top - 1, format.bias];
    const goal = goals[random.below(goals.length)]! + random.around(3);
    const other = format.bias + direction * (goal - a.exponent);
    // Where one operand cannot make up for the other, the other moves as well.
    b.exponent = other;
    clamp(format, b);
    a.exponent = goal - direction * (b.exponent - format.bias);
    clamp(format, a);
  }

  private fused(kind: Kind, format: Format): void {
    const { random, a, b, c, codec } = this;
    if (random.below(6) === 0) return this.nearPower(format);
    if (random.below(2) === 0) this.exponents(format, a, b, 1);
    const product = codec.value(kind, a) * codec.value(kind, b);
    const shape = random.below(4);
    if (shape === 0) {
      // Cancels all of the product but its own rounding error.
      codec.fromValue(kind, -product, c);
      step(format, c, random.around(1));
      return;
    }
    if (Number.isNaN(product)) return;
    const { sign, fraction } = c;
    codec.fromValue(kind, product, c);
    if (c.exponent === format.top) return;
    // As far from the product as makes a difference, or beyond its lowest bits.
    const reach = shape === 1 ? 2 : shape === 2 ? format.fractionBits + 3 : 2 * format.fractionBits + 6;
    c.exponent += shape === 1 ? random.around(reach) : (random.below(2) * 2 - 1) * (reach - random.below(6));
    c.sign = sign;
    if (random.below(2) === 0) c.fraction = fraction;
    clamp(format, c);
  }

  /**
   * A product that misses a power of two by its very last bits, half a unit in the last place of c: only those bits break the tie.
   * With F fraction bits, (2^F + i) * (2^(F+1) - j) = 2^(2F+1) + 2^F * (2i - j) - ij: just below the power for j = 2i, and just
   * above it for j = 2i - 1 and i near the root of 2^(F-1).
   */
  private nearPower(format: Format): void {
    const { random, a, b, c } = this;
    const { fractionBits, bias, top } = format;
    const above = random.below(2) === 0;
    const i = above ? Math.floor(Math.sqrt(2 ** (fractionBits - 1))) + random.around(3) : 1 + random.below(4);
    a.fraction = i;
    b.fraction = 2 ** fractionBits - (above ? 2 * i - 1 : 2 * i);
    // The power is that of c's last place, or near it; a c at the edge of the subnormal numbers has that of the least number.
    c.exponent = random.below(3) === 0 ? random.below(3) : 1 + random.below(top - 1);
    const power = Math.max(c.exponent, 1) - fractionBits - 1 + random.around(2);
    a.exponent = Math.floor((power - 1 + bias) / 2);
    b.exponent = power - 1 + bias - a.exponent;
    clamp(format, a);
    clamp(format, b);
  }

  private root(kind: Kind, format: Format): void {
    const { random, a, codec } = this;
    a.sign = 0;
    if (random.below(2) === 0) return;
    // Near a square.
    if (a.fraction % 2 ** Math.ceil(format.fractionBits / 2) !== 0) a.fraction -= a.fraction % 2 ** Math.ceil(format.fractionBits / 2);
    a.exponent = format.bias + random.around(format.bias >> 1);
    const value = codec.value(kind, a);
    codec.fromValue(kind, value * value, a);
    step(format, a, random.around(2));
  }

  private toInteger(kind: Kind, format: Format): void {
    const { random, a, codec } = this;
    if (random.below(2) === 0) {
      a.exponent = format.bias + random.below(68) - 3;
      return;
    }
    // At the ends of the integer types, and around small integers and halves.
    const edges = [0, 1, 2, 2 ** 31, 2 ** 32, 2 ** 63, 2 ** 64];
    const edge = edges[random.below(edges.length)]! + random.around(6) / 4;
    codec.fromValue(kind, random.below(2) === 0 ? edge : -edge, a);
    step(format, a, random.around(1));
  }

  /** Double-precision numbers near a single-precision one, or near the middle of two. */
  private narrow(): void {
    const { random, a } = this;
    const goals = [1, 1 - SINGLE.fractionBits, SINGLE.top - 1, SINGLE.bias];
    const goal = goals[random.below(goals.length)]! + random.around(4);
    a.exponent = goal - SINGLE.bias + DOUBLE.bias;
    if (random.below(4) === 0)
      a.exponent = random.below(SINGLE.top + SINGLE.fractionBits + 2) - SINGLE.fractionBits - 1 - SINGLE.bias + DOUBLE.bias;
    if (random.below(4) === 0) return;
    // A subnormal number keeps fewer bits.
    const dropped = Math.min(52, 29 + Math.max(0, 1 - (a.exponent - DOUBLE.bias + SINGLE.bias)));
    const part = 2 ** dropped;
    a.fraction += -(a.fraction % part) + (random.below(2) === 0 ? 0 : part / 2);
    if (random.below(4) === 0) a.fraction = 2 ** 52 - (random.below(2) === 0 ? part : part / 2);
    if (random.below(2) === 0) step(DOUBLE, a, random.around(1));
  }

  private integer(words: Uint32Array, at: number): void {
    const { random } = this;
    // As a fraction of 52 bits that is shifted by up to 12, or the ends of the types.
    let value: bigint;
    if (random.below(4) === 0) {
      const edges = [0n, 1n << 24n, 1n << 31n, 1n << 32n, 1n << 53n, 1n << 63n];
      value = edges[random.below(edges.length)]! + BigInt(random.around(3));
    } else {
      const bits = 1 + random.below(52);
      value = ((1n << BigInt(bits)) + BigInt(randomFraction(random, bits))) << BigInt(random.below(13));
      value += BigInt(random.below(4) === 0 ? random.around(1) : 0);
    }
    if (random.below(2) === 0) value = -value;
    words[at] = Number(BigInt.asUintN(32, value));
    words[at + 1] = Number(BigInt.asUintN(32, value >> 32n));
  }
}

function specialFields(format: Format): Fields[] {
  const { top, bias, fractionBits } = format;
  const all = 2 ** fractionBits - 1;
  const quiet = 2 ** (fractionBits - 1);
  const magnitudes: [number, number][] = [
    [0, 0],
    [0, 1],
    [0, all],
    [1, 0],
    [1, 1],
    [bias - 1, 0],
    [bias, 0],
    [bias, 1],
    [bias + fractionBits, 1],
    [top - 1, all],
    [top, 0],
    [top, 1],
    [top, quiet],
    [top, quiet + 1],
  ];
  return [0, 1].flatMap((sign) => magnitudes.map(([exponent, fraction]) => ({ sign, exponent, fraction })));
}

/** Every combination of special operands in every rounding mode, as one array of questions. */
export function specialQuestions(operations: readonly Operation[]): Uint32Array {
  const codec = new Words();
  const questions: number[] = [];
  const operands = { single: operandWords("single"), double: operandWords("double"), integer: integerWords() };
  function operandWords(kind: Kind): number[][] {
    return specialFields(formatOf(kind)).map((fields) => {
      const words = new Uint32Array(2);
      codec.write(kind, fields, words, 0);
      return [...words];
    });
  }
  function integerWords(): number[][] {
    const ends = [0x00000000, 0x00000001, 0x7fffffff, 0x80000000, 0xffffffff];
    return ends.flatMap((high) => ends.map((low) => [low, high]));
  }
  operations.forEach((operation, number) => {
    const choices = operands[operation.source];
    const none = [[0, 0]];
    for (let mode = 0; mode < ROUNDING_MODES; mode++) {
      for (const a of choices) {
        for (const b of operation.operands >= 2 ? choices : none) {
          for (const c of operation.operands >= 3 ? choices : none) questions.push(number, mode, ...a, ...b, ...c);
        }
      }
    }
  });
  return Uint32Array.from(questions);
}
