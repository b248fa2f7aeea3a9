/** The guest of a simulated mirrored disk: random requests, and what it may find on the disk afterwards. */
import type { SeededRandom } from "../../dist/foundation/random.js";
import { BLOCK_BYTES } from "../../dist/storage/limits.js";
import type { DiskRequest } from "../../dist/storage/types.js";

const SECTOR_BYTES = 512;
const SECTORS = BLOCK_BYTES / SECTOR_BYTES;
const MOST_OUTSTANDING = 8;
const NO_BYTES = new Uint8Array(0);

export class Violation extends Error {}

interface BlockModel {
  /** Contents that a read may return, as the values of the eight sectors. */
  exact: Set<string>;
  /** Not null: every sector may have any of these values, as after a write that was cut off. */
  mixed: Set<number> | null;
  /** Values in the order of their writes, since the last one that is surely on the disk: what a loss of power may bring back. */
  history: { readonly values: readonly number[]; ackedAt: number | null }[];
}

interface Outstanding {
  readonly request: DiskRequest;
  readonly blocks: readonly number[];
  readonly value: number;
  readonly issuedAt: number;
  /** Read: what else it may return, by block; null: anything. */
  readonly also: Map<number, Set<string>>;
  /** A write was under way in these meanwhile: what was read proves nothing. */
  readonly disturbed: Set<number>;
}

function textOf(values: readonly number[]): string {
  return values.join();
}

function whole(value: number): string {
  return textOf(Array.from({ length: SECTORS }, () => value));
}

export function valuesOf(block: Uint8Array): number[] {
  const view = new DataView(block.buffer, block.byteOffset, block.length);
  return Array.from({ length: SECTORS }, (_, sector) => view.getUint32(sector * SECTOR_BYTES, true));
}

export class StorageGuest {
  readonly #random: SeededRandom;
  #hot: readonly number[];
  readonly #models = new Map<number, BlockModel>();
  readonly outstanding = new Map<number, Outstanding>();
  #ids = 0;
  #values = 0;
  #order = 0;
  /** Blocks whose contents prove nothing, since more was damaged than the mirrors can make good. */
  readonly excused = new Set<number>();
  /** Were so, and a loss of power may still bring something older back than is known here. */
  readonly #tainted = new Set<number>();
  /** Errors are to be expected: there may be no good copy, or no mirror. */
  mayFail: (blocks: readonly number[]) => boolean = () => false;
  readonly counts = { reads: 0, writes: 0, flushes: 0, errors: 0 };

  constructor(random: SeededRandom, diskBytes: number) {
    this.#random = random;
    const blocks = diskBytes / BLOCK_BYTES;
    // Few enough to meet again, in runs that cross regions.
    this.#hot = Array.from({ length: 6 }, () => random.below(blocks - 8)).flatMap((first) =>
      Array.from({ length: 8 }, (_, at) => first + at),
    );
    this.#hot = [...new Set([...this.#hot, ...Array.from({ length: 8 }, (_, at) => 252 + at)])].sort((left, right) => left - right);
  }

  get hot(): readonly number[] {
    return this.#hot;
  }

  #model(block: number): BlockModel {
    let model = this.#models.get(block);
    if (model === undefined) {
      model = { exact: new Set([whole(0)]), mixed: null, history: [{ values: [0], ackedAt: 0 }] };
      this.#models.set(block, model);
    }
    return model;
  }

  excuse(block: number): void {
    this.excused.add(block);
    this.#tainted.add(block);
  }

  /** A request at random, or null: enough are under way. */
  next(): DiskRequest | null {
    if (this.outstanding.size >= MOST_OUTSTANDING) return null;
    const random = this.#random;
    if (random.chance(0.1)) return this.#issue("flush", [], 0);
    const first = random.below(this.#hot.length);
    let count = 1;
    while (count < 6 && this.#hot[first + count] === (this.#hot[first] as number) + count && random.chance(0.5)) count += 1;
    const blocks = this.#hot.slice(first, first + count);
    if (random.chance(0.5)) return this.#issue("read", blocks, 0);
    // A kernel does not have two writes of one block under way.
    const isFree = [...this.outstanding.values()].every(
      (each) => each.request.operation !== "write" || !each.blocks.some((block) => blocks.includes(block)),
    );
    return isFree ? this.#issue("write", blocks, ++this.#values) : this.#issue("read", blocks, 0);
  }

  #issue(operation: DiskRequest["operation"], blocks: readonly number[], value: number): DiskRequest {
    const lengthBytes = blocks.length * BLOCK_BYTES;
    const bytes = operation === "write" ? new Uint8Array(lengthBytes) : NO_BYTES;
    for (let at = 0; at < bytes.length; at += SECTOR_BYTES) new DataView(bytes.buffer).setUint32(at, value, true);
    const request: DiskRequest = { id: ++this.#ids, operation, offset: (blocks[0] ?? 0) * BLOCK_BYTES, lengthBytes, bytes };
    const item: Outstanding = { request, blocks, value, issuedAt: ++this.#order, also: new Map(), disturbed: new Set() };
    if (operation === "write") {
      for (const block of blocks) {
        const model = this.#model(block);
        model.exact.add(whole(value));
        model.mixed?.add(value);
        model.history.push({ values: [value], ackedAt: null });
        for (const other of this.outstanding.values()) if (other.blocks.includes(block)) this.#disturb(other, block, whole(value));
      }
    }
    if (operation === "read") {
      for (const block of blocks) {
        item.also.set(block, new Set(this.#model(block).exact));
        const isWritten = [...this.outstanding.values()].some((each) => each.request.operation === "write" && each.blocks.includes(block));
        if (isWritten) item.disturbed.add(block);
      }
    }
    this.outstanding.set(request.id, item);
    this.counts[operation === "flush" ? "flushes" : operation === "read" ? "reads" : "writes"] += 1;
    return request;
  }

  #disturb(read: Outstanding, block: number, text: string): void {
    read.disturbed.add(block);
    read.also.get(block)?.add(text);
  }

  done(id: number, isOk: boolean, bytes: Uint8Array): void {
    const item = this.outstanding.get(id);
    if (item === undefined) throw new Violation(`request ${id} was answered, which nobody waits for`);
    this.outstanding.delete(id);
    if (!isOk) {
      this.counts.errors += 1;
      if (!this.mayFail(item.blocks)) throw new Violation(`${item.request.operation} ${id} ended in an error for no good reason`);
      if (item.request.operation === "write") for (const block of item.blocks) this.#loosen(block);
    } else if (item.request.operation === "write") this.#written(item);
    else if (item.request.operation === "flush") this.#flushed(item);
    else this.#read(item, bytes);
  }

  #written(item: Outstanding): void {
    this.#order += 1;
    for (const block of item.blocks) {
      const model = this.#model(block);
      model.exact = new Set([whole(item.value)]);
      model.mixed = null;
      const entry = model.history.find((each) => each.values.includes(item.value));
      if (entry !== undefined) entry.ackedAt = this.#order;
      this.excused.delete(block);
    }
  }

  #flushed(item: Outstanding): void {
    for (const [block, model] of this.#models) {
      let last = 0;
      model.history.forEach((entry, index) => {
        if (entry.ackedAt !== null && entry.ackedAt < item.issuedAt) last = index;
      });
      if (last > 0 && !this.excused.has(block)) this.#tainted.delete(block);
      model.history.splice(0, last);
    }
  }

  /** The outcome of a write there is unknown: old, new, or something of both. */
  #loosen(block: number): void {
    const model = this.#model(block);
    const values = [...model.exact].flatMap((text) => text.split(",").map(Number));
    model.mixed = new Set([...(model.mixed ?? []), ...values]);
  }

  #read(item: Outstanding, bytes: Uint8Array): void {
    item.blocks.forEach((block, index) => {
      if (this.excused.has(block)) return;
      const values = valuesOf(bytes.subarray(index * BLOCK_BYTES, (index + 1) * BLOCK_BYTES));
      this.#check(block, values, item.also.get(block) ?? new Set(), `read ${item.request.id}`);
      if (!item.disturbed.has(block)) this.#narrow(block, values);
    });
  }

  #check(block: number, values: readonly number[], also: ReadonlySet<string>, who: string): void {
    const model = this.#model(block);
    const text = textOf(values);
    if (model.exact.has(text) || also.has(text)) return;
    if (model.mixed !== null && values.every((value) => model.mixed?.has(value))) return;
    throw new Violation(
      `${who}: block ${block} has ${text}, not one of ${[...model.exact].join(" | ")}${model.mixed === null ? "" : " or a mix"}`,
    );
  }

  /** Whoever has seen one of several possible contents must not see another one later. */
  #narrow(block: number, values: readonly number[]): void {
    const model = this.#model(block);
    model.exact = new Set([textOf(values)]);
    model.mixed = null;
  }

  /** The guest begins anew; what was under way may or may not have happened. */
  reset(): void {
    for (const item of this.outstanding.values())
      if (item.request.operation === "write") for (const block of item.blocks) this.#loosen(block);
    this.outstanding.clear();
  }

  /** The power failed: what was not flushed may be gone. */
  losePower(): void {
    this.reset();
    for (const block of this.#tainted) this.excused.add(block);
    for (const model of this.#models.values()) {
      const exact = [...model.exact].flatMap((text) => text.split(",").map(Number));
      const values = [...new Set([...model.history.flatMap((entry) => entry.values), ...(model.mixed ?? []), ...exact])];
      if (values.length > 1) model.mixed = new Set(values);
      // Whichever of them it is now is what a later loss goes back to.
      model.history = [{ values, ackedAt: 0 }];
    }
  }

  /** Every block, at rest. */
  checkAll(contents: Uint8Array): void {
    for (const block of this.#models.keys()) {
      if (this.excused.has(block)) continue;
      this.#check(block, valuesOf(contents.subarray(block * BLOCK_BYTES, (block + 1) * BLOCK_BYTES)), new Set(), "at the end");
    }
  }
}
