/** A disk in the memory of a test, with a write cache that a power loss takes away: only what was flushed is certain to be there. */
import { SeededRandom } from "../../dist/foundation/random.js";
import { DISK_BLOCK_BYTES, type DiskRequest, type MachineInput, type MachineOutput } from "../../dist/machine/machine.js";

const NONE = new Uint8Array(0);

export class MemoryDisk {
  readonly served = { read: 0, write: 0, flush: 0 };
  #bytes: Uint8Array;
  /** Blocks written since the last flush, by number. */
  readonly #cache = new Map<number, Uint8Array>();
  #waiting: DiskRequest[] = [];

  constructor(
    bytes: Uint8Array,
    private readonly random: SeededRandom,
  ) {
    this.#bytes = bytes;
  }

  /** Takes the requests among a machine's outputs. */
  take(outputs: readonly MachineOutput[]): void {
    for (const output of outputs) if (output.kind === "disk") this.#waiting.push({ ...output, bytes: output.bytes.slice() });
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Forgets what waits, as a lost I/O module does; the machine has to put it out again. */
  forget(): void {
    this.#waiting = [];
  }

  /** Answers some of what waits, in any order; overlapping requests are the guest's own affair. */
  answers(): MachineInput[] {
    const inputs: MachineInput[] = [];
    const left: DiskRequest[] = [];
    for (const request of this.#waiting) {
      if (this.random.chance(0.3)) left.push(request);
      else inputs.splice(this.random.below(inputs.length + 1), 0, this.#serve(request));
    }
    this.#waiting = left;
    return inputs;
  }

  grow(sizeBytes: number): void {
    const larger = new Uint8Array(sizeBytes);
    larger.set(this.#bytes);
    this.#bytes = larger;
  }

  /** What a disk holds on which the power failed: some of what was not flushed, in no order. */
  losePower(): void {
    this.#waiting = [];
    for (const [block, bytes] of this.#cache) if (this.random.chance(0.5)) this.#bytes.set(bytes, block * DISK_BLOCK_BYTES);
    this.#cache.clear();
  }

  /** Everything that was written, flushed or not. */
  content(): Uint8Array {
    const content = this.#bytes.slice();
    for (const [block, bytes] of this.#cache) content.set(bytes, block * DISK_BLOCK_BYTES);
    return content;
  }

  #serve({ id, operation, offset, lengthBytes, bytes }: DiskRequest): MachineInput {
    this.served[operation] += 1;
    const first = offset / DISK_BLOCK_BYTES;
    let answer = NONE;
    if (operation === "flush") {
      for (const [block, cached] of this.#cache) this.#bytes.set(cached, block * DISK_BLOCK_BYTES);
      this.#cache.clear();
    } else if (operation === "write") {
      for (let at = 0; at < lengthBytes; at += DISK_BLOCK_BYTES)
        this.#cache.set(first + at / DISK_BLOCK_BYTES, bytes.subarray(at, at + DISK_BLOCK_BYTES));
    } else {
      answer = this.#bytes.slice(offset, offset + lengthBytes);
      for (let at = 0; at < lengthBytes; at += DISK_BLOCK_BYTES) {
        const cached = this.#cache.get(first + at / DISK_BLOCK_BYTES);
        if (cached !== undefined) answer.set(cached, at);
      }
    }
    return { kind: "diskDone", id, isOk: true, bytes: answer };
  }
}
