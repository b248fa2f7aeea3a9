/** Property tests: the same cases on every run, unless STEADFAST_SEED asks for others; fast-check prints what it found at its smallest. */
import fc from "fast-check";

const SEED_DEFAULT = 20_261_124;

export function holds<T>(arbitrary: fc.Arbitrary<T>, property: (value: T) => void, runs = 300): void {
  const seed = Number(process.env["STEADFAST_SEED"] ?? SEED_DEFAULT);
  fc.assert(fc.property(arbitrary, property), { seed, numRuns: runs });
}

/** Bytes that decoders are fed with: short, long, and with many zeros and ones in them. */
export function anyBytes(maxLength = 2000): fc.Arbitrary<Uint8Array> {
  const byte = fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.integer({ min: 0, max: 255 }));
  return fc.oneof(
    fc.uint8Array({ maxLength }),
    fc.array(byte, { maxLength: Math.min(maxLength, 200) }).map((list) => Uint8Array.from(list)),
  );
}

/** Where a stream is cut: lengths of pieces, repeated as often as needed. */
export const anyCuts = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 8 });

export function* pieces(bytes: Uint8Array, cuts: readonly number[]): Generator<Uint8Array> {
  for (let at = 0, index = 0; at < bytes.length; index += 1) {
    const length = cuts[index % cuts.length] as number;
    yield bytes.slice(at, at + length);
    at += length;
  }
}

/** One damage: a byte changed, the end cut off, or something put in. */
export interface Damage {
  readonly at: number;
  readonly value: number;
  readonly how: "change" | "cut" | "insert";
}

export const anyDamage: fc.Arbitrary<Damage> = fc.record({
  at: fc.nat(1 << 20),
  value: fc.integer({ min: 0, max: 255 }),
  how: fc.constantFrom("change", "change", "cut", "insert"),
});

export function damaged(bytes: Uint8Array, damages: readonly Damage[]): Uint8Array {
  let result = bytes.slice();
  for (const { at, value, how } of damages) {
    const place = at % (result.length + 1);
    if (how === "cut") result = result.slice(0, place);
    else if (how === "insert") result = Uint8Array.from([...result.slice(0, place), value, ...result.slice(place)]);
    else if (place < result.length) result[place] = value;
  }
  return result;
}
