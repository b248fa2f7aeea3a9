// The operations of softfloat.ts, beside the RISC-V instructions that they stand for.

export type Kind = "single" | "double" | "integer";

export interface Operation {
  /** The exported function, with the operands' signs flipped first where the caller of softfloat.ts has to. */
  readonly name: string;
  readonly flips?: { readonly a?: boolean; readonly c?: boolean };
  readonly source: Kind;
  readonly operands: 1 | 2 | 3;
  /** The function takes a rounding mode. */
  readonly rounds: boolean;
  readonly target: Kind;
  /** Operands in ft0 to ft2 or t0, result in ft3 or t1. */
  readonly instruction: string;
  /** Exceptions that the operation can raise, as fflags. A run must see each of them. */
  readonly flags: number;
  /** What shape of operands is worth trying. */
  readonly shape: "sum" | "product" | "quotient" | "root" | "fused" | "comparison" | "toInteger" | "fromInteger" | "narrow" | "any";
  /** Share of the random vectors. */
  readonly weight: number;
}

const NX = 1;
const UF = 2;
const OF = 4;
const DZ = 8;
const NV = 16;

function operationsOf(source: "single" | "double"): Operation[] {
  const prefix = source === "single" ? "f32" : "f64";
  const suffix = source === "single" ? "s" : "d";
  const common = { source, target: source, rounds: true, weight: 4 } as const;
  const quiet = { source, rounds: false, weight: 1 } as const;
  const two = "ft0, ft1";
  const three = "ft0, ft1, ft2";
  const operations: Operation[] = [
    { ...common, name: `${prefix}Add`, operands: 2, instruction: `fadd.${suffix} ft3, ${two}, dyn`, flags: NX | OF | NV, shape: "sum" },
    { ...common, name: `${prefix}Sub`, operands: 2, instruction: `fsub.${suffix} ft3, ${two}, dyn`, flags: NX | OF | NV, shape: "sum" },
    {
      ...common,
      name: `${prefix}Mul`,
      operands: 2,
      instruction: `fmul.${suffix} ft3, ${two}, dyn`,
      flags: NX | UF | OF | NV,
      shape: "product",
    },
    {
      ...common,
      name: `${prefix}Div`,
      operands: 2,
      instruction: `fdiv.${suffix} ft3, ${two}, dyn`,
      flags: NX | UF | OF | DZ | NV,
      shape: "quotient",
    },
    { ...common, name: `${prefix}Sqrt`, operands: 1, instruction: `fsqrt.${suffix} ft3, ft0, dyn`, flags: NX | NV, shape: "root" },
  ];
  const fused = { ...common, name: `${prefix}MulAdd`, operands: 3, flags: NX | UF | OF | NV, shape: "fused" } as const;
  operations.push({ ...fused, instruction: `fmadd.${suffix} ft3, ${three}, dyn`, weight: 8 });
  operations.push({ ...fused, instruction: `fmsub.${suffix} ft3, ${three}, dyn`, flips: { c: true }, weight: 1 });
  operations.push({ ...fused, instruction: `fnmsub.${suffix} ft3, ${three}, dyn`, flips: { a: true }, weight: 1 });
  operations.push({ ...fused, instruction: `fnmadd.${suffix} ft3, ${three}, dyn`, flips: { a: true, c: true }, weight: 1 });
  for (const [name, mnemonic] of [
    ["Eq", "feq"],
    ["Lt", "flt"],
    ["Le", "fle"],
  ] as const) {
    const instruction = `${mnemonic}.${suffix} t1, ${two}`;
    operations.push({ ...quiet, name: prefix + name, operands: 2, target: "integer", instruction, flags: NV, shape: "comparison" });
  }
  for (const [name, mnemonic] of [
    ["Min", "fmin"],
    ["Max", "fmax"],
  ] as const) {
    const instruction = `${mnemonic}.${suffix} ft3, ${two}`;
    operations.push({ ...quiet, name: prefix + name, operands: 2, target: source, instruction, flags: NV, shape: "comparison" });
  }
  operations.push({
    ...quiet,
    name: `${prefix}Classify`,
    operands: 1,
    target: "integer",
    instruction: `fclass.${suffix} t1, ft0`,
    flags: 0,
    shape: "any",
  });
  for (const [name, letters] of [
    ["32", "w"],
    ["64", "l"],
  ] as const) {
    for (const [signed, unsigned] of [
      ["I", ""],
      ["U", "u"],
    ] as const) {
      const integer = letters + unsigned;
      const from = `${signed.toLowerCase()}${name}To${prefix.toUpperCase()}`;
      // Every 32-bit integer is a double-precision number.
      const exact = source === "double" && name === "32";
      const rounding = exact ? "" : ", dyn";
      operations.push(
        {
          ...common,
          name: `${prefix}To${signed}${name}`,
          operands: 1,
          target: "integer",
          instruction: `fcvt.${integer}.${suffix} t1, ft0, dyn`,
          flags: NX | NV,
          shape: "toInteger",
          weight: 2,
        },
        {
          ...common,
          name: from,
          source: "integer",
          operands: 1,
          instruction: `fcvt.${suffix}.${integer} ft3, t0${rounding}`,
          flags: exact ? 0 : NX,
          shape: "fromInteger",
          weight: 2,
        },
      );
    }
  }
  return operations;
}

export const OPERATIONS: readonly Operation[] = [
  ...operationsOf("single"),
  ...operationsOf("double"),
  {
    name: "f32ToF64",
    source: "single",
    operands: 1,
    rounds: false,
    target: "double",
    instruction: "fcvt.d.s ft3, ft0",
    flags: NV,
    shape: "any",
    weight: 1,
  },
  {
    name: "f64ToF32",
    source: "double",
    operands: 1,
    rounds: true,
    target: "single",
    instruction: "fcvt.s.d ft3, ft0, dyn",
    flags: NX | UF | OF | NV,
    shape: "narrow",
    weight: 4,
  },
];

/** The list for softfloat-oracle.c. */
export function oracleOperations(): string {
  return OPERATIONS.map((operation, number) => {
    const { source, instruction, target } = operation;
    return `OPERATION(${number}, ${source.toUpperCase()}, "${instruction}", ${target.toUpperCase()})\n`;
  }).join("");
}
