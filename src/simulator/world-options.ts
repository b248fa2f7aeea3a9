/** What a simulated server is to be like, and what its I/O modules are told of it. */
import type { ServerOptions } from "../lockstep/server-types.js";
import { DISK_BLOCK_BYTES } from "../machine/machine.js";
import type { ConfigurationRecord } from "../wire/messages.js";

export const JUDGE = "judge0";
export const DISK_ID = "disk0";
/** Two regions of the log, the second one not full. */
export const DISK_BYTES = 300 * DISK_BLOCK_BYTES;
const LAG_LIMIT_MS = 250;

export interface WorldOptions {
  readonly seed: number;
  readonly cpus?: readonly string[];
  /** How many I/O modules; 1 if absent. */
  readonly ioCount?: number;
  /** CPU modules that may be added later. */
  readonly emptySlots?: readonly string[];
  readonly pairs?: readonly (readonly [string, string])[];
  /** Whether there is a third machine for adjudication. */
  readonly hasJudge?: boolean;
  readonly enclosures?: Readonly<Record<string, string>>;
  readonly release?: "compared" | "logged";
  readonly ramBytes?: number;
  readonly commandLine?: string;
  readonly arbiter?: Map<number, ConfigurationRecord>;
  /** The guest has a disk, mirrored by all I/O modules, and uses so many blocks of it. Absent: none. */
  readonly diskBlocks?: number;
  /** Clocks of I/O modules go wrong by up to this share. */
  readonly clockDrift?: number;
}

/** What an I/O module is told beyond that when it starts. */
export interface IoStart {
  readonly name: string;
  readonly incarnation: number;
  readonly ioModules: readonly string[];
  /** CPU modules in use at this moment. */
  readonly expected: readonly string[];
  readonly anchorNs: bigint;
}

/** Without a map: cpu<i> and io<i> share enclosure<i>. */
const ENCLOSURES: Readonly<Record<string, string>> = {
  io0: "enclosure0",
  io1: "enclosure1",
  io2: "enclosure2",
  cpu0: "enclosure0",
  cpu1: "enclosure1",
  cpu2: "enclosure2",
};

export function serverOptionsOf(options: WorldOptions, start: IoStart): ServerOptions {
  const { expected, ...own } = start;
  const slots = [...expected, ...(options.emptySlots ?? [])];
  return {
    ...own,
    cpuModules: [...expected],
    emptySlots: (options.emptySlots ?? []).filter((slot) => !expected.includes(slot)),
    ...(options.pairs === undefined ? {} : { pairs: options.pairs }),
    ...(options.hasJudge === true ? { judge: JUDGE } : {}),
    enclosures: options.enclosures ?? ENCLOSURES,
    sockets: Object.fromEntries([...slots, JUDGE].map((slot) => [slot, slot])),
    release: options.release ?? "compared",
    lagLimitMs: LAG_LIMIT_MS,
    ...(options.diskBlocks !== undefined && { disk: { diskId: DISK_ID, sizeBytes: DISK_BYTES, mirrors: start.ioModules } }),
  };
}
