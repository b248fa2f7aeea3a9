/** Fault drills that an operator may ask for: which there are, and what each needs. */
import { randomInt } from "node:crypto";
import { SteadfastError } from "../foundation/errors.js";
import { DISK_DRILLS, type DiskDrill } from "../storage/faulty-file.js";
import type { ManagementToCpu } from "../wire/control.js";

export const FAULT_KINDS = ["hang", "kill", "flip", "corrupt-output", "skew-clock", ...DISK_DRILLS] as const;
export type FaultKind = (typeof FAULT_KINDS)[number];

/** Of a flip: a place, or a random one. As it came from outside: checked here. */
export interface FaultDetails {
  readonly address?: unknown;
  readonly bit?: unknown;
  readonly random?: unknown;
}

/** Where a flip went. */
export interface FaultDone {
  readonly address?: number;
  readonly bit?: number;
}

/** What a drill acts on; each answers whether the module was there. */
export interface DrillTarget {
  hang(): boolean;
  kill(): boolean;
  tell(message: ManagementToCpu): boolean;
  /** The disk below its mirror. */
  disk(drill: DiskDrill): boolean;
}

const BITS = 8;
/** Of randomInt: more memory is flipped in its first part only. */
const RANDOM_RANGE_MAX = 2 ** 48 - 1;

/** Makes the module fail. Null: it does not run. */
export function drill(kind: string, details: FaultDetails, memoryMiB: number, target: DrillTarget): FaultDone | null {
  const disk = DISK_DRILLS.find((each) => each === kind);
  if (disk !== undefined) return target.disk(disk) ? {} : null;
  switch (kind as Exclude<FaultKind, DiskDrill>) {
    case "hang":
      return target.hang() ? {} : null;
    case "kill":
      return target.kill() ? {} : null;
    case "flip": {
      const place = flipPlace(details, memoryMiB * 1024 * 1024);
      return target.tell({ kind: "flip", ...place }) ? place : null;
    }
    case "corrupt-output":
      return target.tell({ kind: "corruptOutput" }) ? {} : null;
    case "skew-clock":
      return target.tell({ kind: "skewClock" }) ? {} : null;
  }
  throw new SteadfastError("FAULT_UNKNOWN", { kind });
}

function flipPlace({ address, bit, random }: FaultDetails, bytes: number): { address: number; bit: number } {
  if (random === true) return { address: randomInt(Math.min(bytes, RANDOM_RANGE_MAX)), bit: randomInt(BITS) };
  const isPlace = Number.isSafeInteger(address) && (address as number) >= 0 && (address as number) < bytes;
  const isBit = Number.isSafeInteger(bit) && (bit as number) >= 0 && (bit as number) < BITS;
  if (!isPlace || !isBit) throw new SteadfastError("FAULT_ADDRESS", { bytes });
  return { address: address as number, bit: bit as number };
}
