/**
 * The toy machine's use of a disk: blocks that say what they are, written one generation after the other, read back and compared, and
 * flushed now and then. Each answer becomes a line on the console, so that a checker knows what the guest was told:
 *
 *     disk: block B holds generation G     a read was answered (0: the block was never written)
 *     disk: block B generation G written   a write was answered
 *     disk: flushed                        a flush was answered: what was said to be written before it was put out is safe
 *     disk: block B is WRONG (...)         the block holds something else than was last written there
 *     disk: <operation> of block B failed
 *
 * After power-on all blocks are read first, because the disk outlives the guest; writing goes on from the generations found.
 */
import { NO_BYTES, equalBytes } from "../foundation/bytes.js";
import type { Hash } from "../foundation/hash.js";
import { DISK_BLOCK_BYTES, type DiskOperation, type MachineOutput } from "./machine.js";

/** Requests put out and not yet answered, at most. */
const MAX_OUTSTANDING = 8;
/** Of so many steps one is a flush, and so many are reads. */
const FLUSH_EVERY = 8;
const READ_EVERY = 3;
const MAGIC = 0x64796f74;
const UNKNOWN = -1;

interface Outstanding {
  readonly id: number;
  readonly operation: DiskOperation;
  readonly block: number;
  /** Of what is written; of a read, what must be found. */
  readonly generation: number;
  readonly seed: number;
}

/** What a block of a generation holds: the seed is any number, and fills the rest. */
export function toyBlock(block: number, generation: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(DISK_BLOCK_BYTES);
  const words = new DataView(bytes.buffer);
  words.setUint32(0, MAGIC, true);
  words.setUint32(4, block, true);
  words.setUint32(8, generation, true);
  words.setUint32(12, seed, true);
  let state = (seed ^ Math.imul(block, 0x9e3779b1) ^ Math.imul(generation, 0x85ebca6b)) | 0;
  for (let at = 16; at < DISK_BLOCK_BYTES; at += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    words.setInt32(at, state, true);
  }
  return bytes;
}

/** The generation that a block holds, 0 if it was never written, null if it is not what such a block must be. */
export function toyGeneration(block: number, bytes: Uint8Array): number | null {
  if (bytes.length !== DISK_BLOCK_BYTES) return null;
  if (isZero(bytes)) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const generation = view.getUint32(8, true);
  return equalBytes(toyBlock(block, generation, view.getUint32(12, true)), bytes) ? generation : null;
}

function isZero(bytes: Uint8Array): boolean {
  for (let at = 0; at < bytes.length; at += 1) if (bytes[at] !== 0) return false;
  return true;
}

export class ToyDisk {
  readonly #blocks: number;
  #steps = 0;
  #lastId = 0;
  #outstanding: Outstanding[] = [];
  /** By block: the generation last written; UNKNOWN until it was read after power-on. */
  #generations: number[];

  constructor(blocks: number) {
    this.#blocks = blocks;
    this.#generations = new Array<number>(blocks).fill(UNKNOWN);
  }

  powerOn(): void {
    this.#steps = this.#lastId = 0;
    this.#outstanding = [];
    this.#generations.fill(UNKNOWN);
  }

  /** What the guest does next with its disk; `seed` depends on what it has computed. */
  step(seed: number, outputs: MachineOutput[]): void {
    if (this.#outstanding.length === MAX_OUTSTANDING) return;
    this.#steps += 1;
    const steps = this.#steps;
    if (steps > this.#blocks && steps % FLUSH_EVERY === 0) return this.#put("flush", 0, 0, 0, outputs);
    const accesses = steps - Math.floor(steps / FLUSH_EVERY);
    const block = accesses % this.#blocks;
    if (this.#outstanding.some((request) => request.operation !== "flush" && request.block === block)) return;
    const generation = this.#generations[block] as number;
    if (generation === UNKNOWN || Math.floor(accesses / this.#blocks) % READ_EVERY === 0)
      return this.#put("read", block, generation, 0, outputs);
    this.#put("write", block, generation + 1, seed >>> 0, outputs);
  }

  done(id: number, isOk: boolean, bytes: Uint8Array): string {
    const index = this.#outstanding.findIndex((request) => request.id === id);
    const request = this.#outstanding[index];
    if (request === undefined) return "";
    this.#outstanding.splice(index, 1);
    const { operation, block, generation } = request;
    if (!isOk) {
      // Whether a failed write took place is not known: the next one to this block reads it first.
      if (operation === "write") this.#generations[block] = UNKNOWN;
      return operation === "flush" ? "disk: flush failed\n" : `disk: ${operation} of block ${block} failed\n`;
    }
    if (operation === "flush") return "disk: flushed\n";
    if (operation === "read") return this.#compare(request, bytes);
    this.#generations[block] = generation;
    return `disk: block ${block} generation ${generation} written\n`;
  }

  #compare({ block, generation }: Outstanding, bytes: Uint8Array): string {
    const found = toyGeneration(block, bytes);
    if (found === null) return `disk: block ${block} is WRONG (garbled)\n`;
    if (generation !== UNKNOWN && found !== generation) return `disk: block ${block} is WRONG (${found} instead of ${generation})\n`;
    this.#generations[block] = found;
    return `disk: block ${block} holds generation ${found}\n`;
  }

  repeat(outputs: MachineOutput[]): void {
    for (const request of this.#outstanding) outputs.push(requestOf(request));
  }

  #put(operation: DiskOperation, block: number, generation: number, seed: number, outputs: MachineOutput[]): void {
    this.#lastId += 1;
    const request: Outstanding = { id: this.#lastId, operation, block, generation, seed };
    this.#outstanding.push(request);
    outputs.push(requestOf(request));
  }

  hash(hash: Hash): void {
    hash.number(this.#steps).number(this.#lastId);
    for (const { id, block, generation, seed } of this.#outstanding) hash.number(id).number(block).number(generation).number(seed);
    for (const generation of this.#generations) hash.number(generation);
  }

  /** One line; equal disks have equal ones. */
  record(): string {
    return JSON.stringify([this.#steps, this.#lastId, this.#generations, this.#outstanding]);
  }

  restore(record: string): void {
    const [steps, lastId, generations, outstanding] = JSON.parse(record) as [number, number, number[], Outstanding[]];
    [this.#steps, this.#lastId, this.#generations, this.#outstanding] = [steps, lastId, generations, outstanding];
  }
}

function requestOf({ id, operation, block, generation, seed }: Outstanding): MachineOutput {
  const isFlush = operation === "flush";
  const bytes = operation === "write" ? toyBlock(block, generation, seed) : NO_BYTES;
  return {
    kind: "disk",
    id,
    operation,
    offset: isFlush ? 0 : block * DISK_BLOCK_BYTES,
    lengthBytes: isFlush ? 0 : DISK_BLOCK_BYTES,
    bytes,
  };
}
