/**
 * Core-local interruptor: machine software interrupts and the machine timer, per hart. The timer compare values live in the hart
 * records, where the core uses them; `mtime` is guest time and cannot be written (lockstep time only comes from ticks).
 */
import { CLINT_STATE } from "./device-layout.js";
import { INTERRUPT_MSIP } from "./core.js";
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { H_MTIMECMP, MAX_HARTS } from "./layout.js";

const MTIMECMP = 0x4000;
const MTIME = 0xbff8;

export class Clint {
  private readonly software: Uint32Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly harts: number,
    /** Linear address of a hart's live record (it differs while the hart runs). */
    private readonly hartRecord: (hart: number) => number,
  ) {
    this.software = memory.words(CLINT_STATE, MAX_HARTS);
  }

  read(offset: number, size: number): number {
    if (size !== 4 || (offset & 3) !== 0) return this.fault();
    if (offset < this.harts * 4) return this.software[offset >>> 2]!;
    if (offset >= MTIMECMP && offset < MTIMECMP + this.harts * 8) return this.memory.view.getUint32(this.compareAddress(offset), true);
    if (offset === MTIME) return Number(this.core.getTime() & 0xffff_ffffn);
    if (offset === MTIME + 4) return Number((this.core.getTime() >> 32n) & 0xffff_ffffn);
    return 0;
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) {
      this.fault();
    } else if (offset < this.harts * 4) {
      this.software[offset >>> 2] = value & 1;
      this.core.setInterrupt(offset >>> 2, INTERRUPT_MSIP, value & 1);
    } else if (offset >= MTIMECMP && offset < MTIMECMP + this.harts * 8) {
      this.memory.view.setUint32(this.compareAddress(offset), value, true);
    }
  }

  private compareAddress(offset: number): number {
    return this.hartRecord((offset - MTIMECMP) >>> 3) + H_MTIMECMP + (offset & 4);
  }

  private fault(): number {
    this.core.accessFault();
    return 0;
  }
}
