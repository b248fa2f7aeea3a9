/** Names what lies at an offset of a machine's state record, for whoever has found two that differ. */
import {
  DEVICES,
  DEVICES_END,
  GLOBAL,
  G_HARTS,
  G_INSTRET,
  G_SCRUB,
  G_TIME,
  G_TIME_AT,
  H_F,
  H_PC,
  H_PRIV,
  H_X,
  HART0,
  HART_SIZE,
} from "./layout.js";

const GLOBAL_NAMES: readonly (readonly [offset: number, name: string])[] = [
  [G_INSTRET, "count of instructions"],
  [G_TIME, "guest time"],
  [G_TIME_AT, "guest time"],
  [G_SCRUB, "position of the memory window"],
];
const REGISTER_BYTES = 8;
const REGISTERS = 32;

/** `offset` counts from the beginning of the record. Also of a record of another engine: then only the offset is told. */
export function stateName(record: Uint8Array, offset: number): string {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  const start = 8 + view.getUint32(4, true);
  if (offset < start) return "description of the machine";
  const harts = view.getUint32(start + G_HARTS - GLOBAL, true);
  const registers = HART0 + harts * HART_SIZE - GLOBAL;
  const at = offset - start;
  if (at < HART0 - GLOBAL)
    return GLOBAL_NAMES.find(([from]) => at >= from - GLOBAL && at < from - GLOBAL + REGISTER_BYTES)?.[1] ?? "state of the board";
  if (at < registers) return hartName(at - (HART0 - GLOBAL));
  if (at < registers + DEVICES_END - DEVICES) return `device register at ${hexadecimal(at - registers)}`;
  return "translation buffer (TLB)";
}

function hartName(at: number): string {
  const hart = Math.floor(at / HART_SIZE);
  const within = at % HART_SIZE;
  const of = (name: string): string => `register ${name} of hart ${hart}`;
  if (within >= H_X && within < H_X + REGISTERS * REGISTER_BYTES) return of(`x${(within - H_X) >> 3}`);
  if (within >= H_F && within < H_F + REGISTERS * REGISTER_BYTES) return of(`f${(within - H_F) >> 3}`);
  if (within >= H_PC && within < H_PRIV) return of("pc");
  return of(`at ${hexadecimal(within)}`);
}

const hexadecimal = (value: number): string => `0x${value.toString(16)}`;
