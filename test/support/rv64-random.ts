// Seeded random numbers, and operands that hurt, for the differential tests of the rv64 engine.

/** xorshift128, seeded by splitmix: fast, and the same on every host. */
export class Random {
  private readonly state = new Uint32Array(4);

  constructor(seed: number) {
    let mixed = seed >>> 0;
    for (let index = 0; index < 4; index++) {
      mixed = (mixed + 0x9e3779b9) >>> 0;
      let word = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b);
      word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
      this.state[index] = (word ^ (word >>> 16)) | 1;
    }
    for (let index = 0; index < 16; index++) this.u32();
  }

  u32(): number {
    const s = this.state;
    const t = s[0]! ^ (s[0]! << 11);
    s[0] = s[1]!;
    s[1] = s[2]!;
    s[2] = s[3]!;
    s[3] = s[3]! ^ (s[3]! >>> 19) ^ t ^ (t >>> 8);
    return s[3] >>> 0;
  }
  /** 0 <= value < bound. */
  below(bound: number): number {
    return Math.floor((this.u32() / 0x1_0000_0000) * bound);
  }
  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
  u64(): bigint {
    return (BigInt(this.u32()) << 32n) | BigInt(this.u32());
  }
}

const MASK = 0xffff_ffff_ffff_ffffn;
const EDGES: readonly bigint[] = [
  0n,
  1n,
  2n,
  3n,
  MASK,
  MASK - 1n,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x1_0000_0000n,
  0xffff_ffff_8000_0000n,
  0xffff_ffff_7fff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0x8000_0000_0000_0001n,
  0x5555_5555_5555_5555n,
  0xffff_ffff_0000_0000n,
];

/** Integer operands: edges of 8 to 64 bits, powers of two and their neighbours, sparse and uniform bits. */
export function integer(random: Random): bigint {
  switch (random.below(5)) {
    case 0:
    case 1:
      return random.pick(EDGES);
    case 2:
      return ((1n << BigInt(random.below(64))) + BigInt(random.below(3) - 1)) & MASK;
    case 3:
      return (random.u64() & random.u64() & random.u64()) >> BigInt(random.below(64));
    default:
      return random.u64();
  }
}

const SINGLES: readonly number[] = [
  0, 1, 0x007fffff, 0x00800000, 0x00800001, 0x3f800000, 0x3f7fffff, 0x3f800001, 0x3f000000, 0x40000000, 0x4b000000, 0x4b7fffff, 0x4b800000,
  0x4effffff, 0x4f000000, 0x4f7fffff, 0x4f800000, 0x5effffff, 0x5f000000, 0x5f7fffff, 0x5f800000, 0x7f7fffff, 0x7f800000, 0x7f800001,
  0x7fbfffff, 0x7fc00000, 0x7fffffff,
];
const DOUBLES: readonly bigint[] = [
  0n,
  1n,
  0x000f_ffff_ffff_ffffn,
  0x0010_0000_0000_0000n,
  0x3ff0_0000_0000_0000n,
  0x3fef_ffff_ffff_ffffn,
  0x3ff0_0000_0000_0001n,
  0x3fe0_0000_0000_0000n,
  0x4000_0000_0000_0000n,
  0x36a0_0000_0000_0000n,
  0x3810_0000_0000_0000n,
  0x380f_ffff_ffff_ffffn,
  0x47ef_ffff_e000_0000n,
  0x47ef_ffff_f000_0000n,
  0x41df_ffff_ffc0_0000n,
  0x41e0_0000_0000_0000n,
  0x41ef_ffff_ffe0_0000n,
  0x43df_ffff_ffff_ffffn,
  0x43e0_0000_0000_0000n,
  0x43ef_ffff_ffff_ffffn,
  0x43f0_0000_0000_0000n,
  0x7fef_ffff_ffff_ffffn,
  0x7ff0_0000_0000_0000n,
  0x7ff0_0000_0000_0001n,
  0x7ff8_0000_0000_0000n,
  0x7fff_ffff_ffff_ffffn,
];

export function single(random: Random): number {
  const sign = random.chance(2) ? 0x80000000 : 0;
  if (random.chance(3)) return (random.pick(SINGLES) | sign) >>> 0;
  if (random.chance(3)) return (sign | ((120 + random.below(16)) << 23) | (random.u32() & random.u32() & 0x7fffff)) >>> 0;
  return random.u32();
}

export function double(random: Random): bigint {
  const sign = random.chance(2) ? 1n << 63n : 0n;
  if (random.chance(3)) return random.pick(DOUBLES) | sign;
  if (random.chance(3)) return sign | (BigInt(1016 + random.below(16)) << 52n) | (random.u64() & random.u64() & 0xf_ffff_ffff_ffffn);
  return random.u64();
}

/** Contents of a floating-point register: a double, a boxed single, or a single that is not boxed as it should be. */
export function floating(random: Random): bigint {
  const kind = random.below(16);
  if (kind < 7) return double(random);
  const bits = BigInt(single(random));
  return kind < 15 ? 0xffff_ffff_0000_0000n | bits : (BigInt(random.u32()) << 32n) | bits;
}

export function registers(random: Random): BigUint64Array {
  const x = new BigUint64Array(32);
  for (let index = 1; index < 32; index++) x[index] = integer(random);
  return x;
}

export function floatRegisters(random: Random): BigUint64Array {
  const f = new BigUint64Array(32);
  for (let index = 0; index < 32; index++) f[index] = floating(random);
  return f;
}
