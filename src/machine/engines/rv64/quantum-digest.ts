/**
 * Digests: a cheap one after every quantum (outputs, registers, a rotating window of RAM and device state), and the full one.
 * The window turns with the instructions that were run, so that a busy machine is looked through once per second of guest work.
 */
import type { DiskOperation, MachineOutput } from "../../machine.js";
import type { Rv64Core } from "./core.js";
import { B_DEVICES_CURSOR, B_QUANTUM, BOARD_STATE, BOARD_WORDS } from "./device-layout.js";
import type { GuestMemory } from "./guest-memory.js";
import { DEVICES, DEVICES_END, G_SCRUB, GLOBAL, HART0, HART_SIZE, RAM, STAGING, STAGING_END } from "./layout.js";

/** All of RAM is scrubbed within this many instructions, as far as the most pages per quantum allow. */
export const SCRUB_INSTRUCTIONS = 500_000_000;
export const MAX_SCRUB_PAGES = 256;
const PAGE_BYTES = 4096;
const GLOBAL_BYTES = 0x60;
const HART_BYTES = 0x320;
const DEVICE_SLICE_BYTES = 1024;
/** The TLBs are digested whole, but only every so many quanta. */
const TLB_PERIOD = 64;
const HEADER_BYTES = 16;
const OUTPUT_KINDS: Readonly<Record<MachineOutput["kind"], number>> = {
  frame: 1,
  console: 2,
  entropyRequest: 3,
  reset: 4,
  powerOff: 5,
  disk: 6,
  agent: 7,
};
const DISK_OPERATIONS: Readonly<Record<DiskOperation, number>> = { read: 1, write: 2, flush: 3 };
const LANES = [0, 1, 2, 3] as const;
/** Lengths cross to the core as i32. */
const MAX_UPDATE_BYTES = 1 << 30;

export class QuantumDigest {
  private readonly board: Uint32Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly harts: number,
  ) {
    this.board = memory.words(BOARD_STATE, BOARD_WORDS);
  }

  /** Digest of the quantum that just ended, in which `instructions` were retired. */
  quantum(outputs: readonly MachineOutput[], instructions: number): bigint {
    this.core.digestReset();
    if (outputs.length > 0) this.addOutputs(outputs);
    this.addScrubWindow(instructions);
    this.core.digestUpdate(GLOBAL, GLOBAL_BYTES);
    for (let hart = 0; hart < this.harts; hart++) this.core.digestUpdate(HART0 + hart * HART_SIZE, HART_BYTES);
    const slice = this.board[B_DEVICES_CURSOR]!;
    this.core.digestUpdate(DEVICES + slice, DEVICE_SLICE_BYTES);
    this.board[B_DEVICES_CURSOR] = (slice + DEVICE_SLICE_BYTES) % (DEVICES_END - DEVICES);
    this.board[B_QUANTUM]!++;
    if (this.board[B_QUANTUM]! % TLB_PERIOD === 0) this.core.digestTlb(this.harts);
    return BigInt.asUintN(64, this.core.digestValue(0));
  }

  /** Digest of the whole state, 256 bits in hex. */
  full(): string {
    this.addState();
    for (let offset = 0; offset < this.memory.ramBytes; offset += MAX_UPDATE_BYTES) {
      this.core.digestUpdate(RAM + offset, Math.min(MAX_UPDATE_BYTES, this.memory.ramBytes - offset));
    }
    return this.hex();
  }

  /** Digest of the state and of what stands for RAM: a digest of every page. */
  state(pageDigests: Uint8Array): string {
    this.addState();
    for (let at = 0; at < pageDigests.length; at += STAGING_END - STAGING) {
      const part = pageDigests.subarray(at, at + STAGING_END - STAGING);
      this.memory.bytes.set(part, STAGING);
      this.core.digestUpdate(STAGING, part.length);
    }
    return this.hex();
  }

  private addState(): void {
    this.core.digestReset();
    this.core.digestUpdate(GLOBAL, HART0 - GLOBAL);
    for (let hart = 0; hart < this.harts; hart++) this.core.digestUpdate(HART0 + hart * HART_SIZE, HART_BYTES);
    this.core.digestUpdate(DEVICES, DEVICES_END - DEVICES);
    this.core.digestTlb(this.harts);
  }

  private hex(): string {
    return LANES.map((lane) => BigInt.asUintN(64, this.core.digestValue(lane)).toString(16).padStart(16, "0")).join("");
  }

  private addScrubWindow(instructions: number): void {
    const total = this.memory.ramBytes / PAGE_BYTES;
    const wanted = Math.ceil((instructions * total) / SCRUB_INSTRUCTIONS);
    const pages = Math.min(Math.max(wanted, 1), MAX_SCRUB_PAGES, total);
    const first = this.memory.view.getUint32(G_SCRUB, true);
    const untilEnd = Math.min(pages, total - first);
    this.core.digestUpdate(RAM + first * PAGE_BYTES, untilEnd * PAGE_BYTES);
    if (pages > untilEnd) this.core.digestUpdate(RAM, (pages - untilEnd) * PAGE_BYTES);
    this.memory.view.setUint32(G_SCRUB, (first + pages) % total, true);
  }

  /** Outputs go through a staging area of linear memory, each with a header, padded to eight bytes. */
  private addOutputs(outputs: readonly MachineOutput[]): void {
    const { bytes, view } = this.memory;
    let at = STAGING;
    const flush = (): void => {
      this.core.digestUpdate(STAGING, at - STAGING);
      at = STAGING;
    };
    for (const output of outputs) {
      if (at + HEADER_BYTES > STAGING_END) flush();
      const content = "bytes" in output ? output.bytes : undefined;
      view.setUint32(at, OUTPUT_KINDS[output.kind], true);
      view.setUint32(at + 4, content?.length ?? 0, true);
      view.setUint32(at + 8, detail(output), true);
      view.setUint32(at + 12, 0, true);
      at += HEADER_BYTES;
      if (output.kind === "disk") {
        if (at + HEADER_BYTES > STAGING_END) flush();
        view.setUint32(at, DISK_OPERATIONS[output.operation], true);
        view.setUint32(at + 4, output.lengthBytes, true);
        view.setFloat64(at + 8, output.offset, true);
        at += HEADER_BYTES;
      }
      if (content === undefined) continue;
      for (let done = 0; done < content.length;) {
        if (at === STAGING_END) flush();
        const take = Math.min(content.length - done, STAGING_END - at);
        bytes.set(content.subarray(done, done + take), at);
        done += take;
        at += take;
        while ((at & 7) !== 0) bytes[at++] = 0;
      }
    }
    flush();
  }
}

function detail(output: MachineOutput): number {
  switch (output.kind) {
    case "frame":
      return output.port;
    case "entropyRequest":
      return output.lengthBytes;
    case "disk":
      return output.id;
    case "reset":
    case "powerOff":
      return output.failure ? 1 : 0;
    case "console":
    case "agent":
      return 0;
  }
}
