/** A board over plain memory with a stand-in for the core, for tests of devices alone. */
import { Board } from "../../dist/machine/engines/rv64/board.js";
import type { Rv64Core } from "../../dist/machine/engines/rv64/core.js";
import { GuestMemory } from "../../dist/machine/engines/rv64/guest-memory.js";
import { setUpHarts } from "../../dist/machine/engines/rv64/hart-state.js";
import { DRAM, RAM } from "../../dist/machine/engines/rv64/layout.js";

export class StubCore implements Rv64Core {
  timeNs = 0n;
  faults = 0;
  stops = 0;
  /** Interrupt lines by hart and bit. */
  readonly lines = new Map<string, number>();
  readonly writes: [offset: number, length: number][] = [];

  initialise(): void {}
  afterRestore(): void {}
  run(): number {
    return 0;
  }
  requestStop(): void {
    this.stops++;
  }
  setTime(timeNs: bigint): void {
    if (timeNs > this.timeNs) this.timeNs = timeNs;
  }
  getTime(): bigint {
    return this.timeNs;
  }
  nextTimer(): bigint {
    return 0x7fff_ffff_ffff_ffffn;
  }
  setInterrupt(hart: number, bit: number, level: number): void {
    this.lines.set(`${hart}:${bit}`, level);
  }
  accessFault(): void {
    this.faults++;
  }
  noteWrite(offset: number, length: number): void {
    this.writes.push([offset, length]);
    if (this.writes.length > 1000) this.writes.length = 0;
  }
  rearm(): void {}
  flushTlb(): void {}
  digestReset(): void {}
  digestUpdate(): void {}
  digestTlb(): void {}
  digestValue(): bigint {
    return 0n;
  }
  setTrace(): void {}

  /** Whether the supervisor external interrupt of hart 0 is up. */
  get interrupted(): boolean {
    return this.lines.get("0:9") === 1;
  }
}

export const STUB_RAM_BYTES = 1 << 20;

export function stubBoard(harts = 1, diskBytes = 0, agentPort = false): { board: Board; core: StubCore; memory: GuestMemory } {
  const memory = new GuestMemory(new ArrayBuffer(RAM + STUB_RAM_BYTES), STUB_RAM_BYTES);
  const core = new StubCore();
  const board = new Board(memory, core, { harts, diskBytes, agentPort });
  board.clear();
  setUpHarts(memory, { harts, epochNs: 1_000_000_000_000n, timeNs: 0n, entry: BigInt(DRAM), deviceTree: 0n, direct: true });
  return { board, core, memory };
}

/** A small, seeded generator of random numbers (xorshift32). */
export function randomSource(seed: number): (below: number) => number {
  let state = seed >>> 0 || 1;
  return (below) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % below;
  };
}

// Registers of virtio-mmio that drivers use.
export const NET = 0x10001000;
export const DISK = 0x10002000;
export const RNG = 0x10003000;
export const AGENT = 0x10004000;

/** A driver of one virtqueue, for tests: rings at fixed places of guest RAM. */
export class StubDriver {
  readonly size = 16;
  private used = 0;

  constructor(
    private readonly board: Board,
    private readonly memory: GuestMemory,
    private readonly device: number,
    private readonly queue: number,
    /** Offset in RAM of a region of 8 KiB for the rings. */
    readonly rings: number,
  ) {}

  static start(board: Board, device: number, featuresLow: number): void {
    const write = (offset: number, value: number): void => board.mmioWrite(device + offset, 4, value);
    for (const status of [0, 1, 3]) write(0x70, status);
    write(0x24, 0);
    write(0x20, featuresLow);
    write(0x24, 1);
    write(0x20, 1);
    write(0x70, 11);
  }

  setUp(): void {
    const write = (offset: number, value: number): void => this.board.mmioWrite(this.device + offset, 4, value);
    write(0x30, this.queue);
    write(0x38, this.size);
    for (const [register, offset] of [
      [0x80, 0],
      [0x90, 0x1000],
      [0xa0, 0x1800],
    ] as const) {
      write(register, DRAM + this.rings + offset);
      write(register + 4, 0);
    }
    write(0x44, 1);
  }

  get view(): DataView {
    return this.memory.view;
  }

  descriptor(index: number, address: number, length: number, flags: number, next = 0, table = this.rings): void {
    const at = RAM + table + 16 * index;
    this.view.setBigUint64(at, BigInt(address), true);
    this.view.setUint32(at + 8, length, true);
    this.view.setUint16(at + 12, flags, true);
    this.view.setUint16(at + 14, next, true);
  }

  offer(head: number): void {
    const ring = RAM + this.rings + 0x1000;
    const index = this.view.getUint16(ring + 2, true);
    this.view.setUint16(ring + 4 + 2 * (index % this.size), head, true);
    this.view.setUint16(ring + 2, (index + 1) & 0xffff, true);
  }

  setUsedEvent(value: number): void {
    this.view.setUint16(RAM + this.rings + 0x1000 + 4 + 2 * this.size, value, true);
  }

  get usedIndex(): number {
    return this.view.getUint16(RAM + this.rings + 0x1800 + 2, true);
  }

  get availableEvent(): number {
    return this.view.getUint16(RAM + this.rings + 0x1800 + 4 + 8 * this.size, true);
  }

  notify(): void {
    this.board.mmioWrite(this.device + 0x50, 4, this.queue);
  }

  /** The next completed request. */
  take(): { id: number; length: number } | null {
    if (this.used === this.usedIndex) return null;
    const at = RAM + this.rings + 0x1800 + 4 + 8 * (this.used % this.size);
    this.used = (this.used + 1) & 0xffff;
    return { id: this.view.getUint32(at, true), length: this.view.getUint32(at + 4, true) };
  }
}
