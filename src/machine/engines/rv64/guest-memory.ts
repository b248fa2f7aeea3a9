/**
 * The engine's linear memory as the board sees it: bounds-checked translation of guest-physical addresses, and accessors for device
 * state. Memory never grows, so the views stay valid for the life of the machine.
 */
import { DRAM, RAM } from "./layout.js";

/** Bit `n` of `1 << n` arithmetic is avoided for addresses: RAM may end above 4 GiB, and numbers hold that exactly. */
const FOUR_GIB = 0x1_0000_0000;

export class GuestMemory {
  readonly bytes: Uint8Array;
  readonly view: DataView;

  constructor(
    readonly buffer: ArrayBuffer | SharedArrayBuffer,
    readonly ramBytes: number,
  ) {
    this.bytes = new Uint8Array(buffer);
    this.view = new DataView(buffer);
  }

  /** Linear address of `length` bytes of guest RAM at a guest-physical address, or -1 if any of them is not RAM. */
  locate(addressLow: number, addressHigh: number, length: number): number {
    const offset = addressHigh * FOUR_GIB + addressLow - DRAM;
    if (offset < 0 || offset > this.ramBytes || length > this.ramBytes - offset) return -1;
    return RAM + offset;
  }

  words(address: number, count: number): Uint32Array {
    return new Uint32Array(this.buffer, address, count);
  }
}
