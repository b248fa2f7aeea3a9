/** Sets up the machine-wide and hart records: as firmware leaves a hart to a kernel, or as reset leaves it to bare-metal code. */
import type { GuestMemory } from "./guest-memory.js";
import {
  ACTIVE,
  DEVICES,
  DEVICES_END,
  G_DIRECT,
  G_EPOCH_NS,
  G_HARTS,
  G_POWERED,
  G_RAM_BYTES,
  G_TIME,
  GLOBAL,
  H_MCOUNTEREN,
  H_MEDELEG,
  H_MENVCFG,
  H_MHARTID,
  H_MIDELEG,
  H_MSTATUS,
  H_MTIMECMP,
  H_PC,
  H_PRIV,
  H_RESERVATION,
  H_SCOUNTEREN,
  H_STARTED,
  H_STIMECMP,
  H_X,
  HART0,
  HART_SIZE,
} from "./layout.js";

const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const SUPERVISOR = 1n;
const MACHINE = 3n;
const STATUS_64_BIT = 0xa_0000_0000n; // UXL and SXL: 64 bits
/** Everything but ecalls from S and M: nobody in machine mode is there to take a trap. */
const DELEGATED_EXCEPTIONS = 0xb1ffn;
const DELEGATED_INTERRUPTS = 0x222n; // SSIP, STIP, SEIP
const COUNTERS = 7n; // cycle, time, instret
const ENVIRONMENT = (1n << 63n) | (1n << 61n); // stimecmp; hardware sets A and D

export interface MachineSetup {
  readonly harts: number;
  readonly epochNs: bigint;
  /** Guest time goes on over a power cycle. */
  readonly timeNs: bigint;
  readonly entry: bigint;
  readonly deviceTree: bigint;
  /** A kernel started in supervisor mode, with the engine as its firmware; else bare-metal code in machine mode. */
  readonly direct: boolean;
}

/** Clears all state but RAM. The core must be initialised afterwards. */
export function clearState(memory: GuestMemory): void {
  memory.bytes.fill(0, GLOBAL, DEVICES);
  memory.bytes.fill(0, DEVICES, DEVICES_END);
  memory.bytes.fill(0, ACTIVE, ACTIVE + HART_SIZE);
}

export function writeDescription(memory: GuestMemory, harts: number, epochNs: bigint, timeNs: bigint): void {
  memory.view.setBigUint64(G_RAM_BYTES, BigInt(memory.ramBytes), true);
  memory.view.setBigInt64(G_EPOCH_NS, epochNs, true);
  memory.view.setBigUint64(G_HARTS, BigInt(harts), true);
  memory.view.setBigInt64(G_TIME, timeNs, true);
}

export function setUpHarts(memory: GuestMemory, setup: MachineSetup): void {
  const view = memory.view;
  const direct = setup.direct;
  writeDescription(memory, setup.harts, setup.epochNs, setup.timeNs);
  view.setBigUint64(G_DIRECT, direct ? 1n : 0n, true);
  view.setBigUint64(G_POWERED, 1n, true);
  for (let hart = 0; hart < setup.harts; hart++) {
    const base = HART0 + hart * HART_SIZE;
    const set = (field: number, value: bigint): void => view.setBigUint64(base + field, value, true);
    set(H_MHARTID, BigInt(hart));
    set(H_MSTATUS, STATUS_64_BIT);
    set(H_MTIMECMP, ALL_ONES);
    set(H_STIMECMP, ALL_ONES);
    set(H_RESERVATION, ALL_ONES);
    set(H_PC, setup.entry);
    set(H_X + 8 * 10, BigInt(hart));
    // Bare-metal code expects every hart to come out of reset; a kernel starts the others through SBI.
    set(H_STARTED, hart === 0 || !direct ? 1n : 0n);
    set(H_PRIV, direct ? SUPERVISOR : MACHINE);
    set(H_X + 8 * 11, setup.deviceTree);
    if (!direct) continue;
    set(H_MEDELEG, DELEGATED_EXCEPTIONS);
    set(H_MIDELEG, DELEGATED_INTERRUPTS);
    set(H_MCOUNTEREN, COUNTERS);
    set(H_SCOUNTEREN, COUNTERS);
    set(H_MENVCFG, ENVIRONMENT);
  }
}
