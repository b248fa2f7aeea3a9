/**
 * One split virtqueue (VIRTIO 1.2, section 2.7) with indirect descriptors and event indices. The rings belong to the guest: every
 * address, length, index and flag is checked, and a ring that makes no sense only marks the queue broken, which the transport shows as
 * DEVICE_NEEDS_RESET. The registers live in device memory (`words`), so that nothing about a queue is lost between images.
 */
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { RAM } from "./layout.js";

export const MAX_QUEUE_SIZE = 1024;
/** Descriptors of one request, direct or indirect. */
export const MAX_SEGMENTS = 1024;

// Words of a queue.
export const Q_SIZE = 0;
export const Q_READY = 1;
export const Q_DESCRIPTORS_LOW = 2; // then high; the driver's and the device's area follow alike
export const Q_AVAILABLE_LOW = 4;
export const Q_USED_LOW = 6;
const Q_DESCRIPTORS = 8; // linear addresses, valid while ready
const Q_AVAILABLE = 9;
const Q_USED = 10;
const Q_LAST_AVAILABLE = 11;
const Q_USED_INDEX = 12;
const Q_SIGNALLED = 13; // used index at the last decision about an interrupt
export const QUEUE_WORDS = 16;

const DESCRIPTOR_NEXT = 1;
const DESCRIPTOR_WRITE = 2;
const DESCRIPTOR_INDIRECT = 4;
const AVAILABLE_NO_INTERRUPT = 1;

/** One request taken from a queue: segments of linear memory, first those that the device reads, then those that it writes. */
export class Chain {
  head = 0;
  count = 0;
  readable = 0;
  readableBytes = 0;
  writableBytes = 0;
  /** Linear addresses reach beyond 2 GiB: unsigned words. */
  readonly address = new Uint32Array(MAX_SEGMENTS);
  readonly length = new Uint32Array(MAX_SEGMENTS);

  /** Copies up to `target.length` bytes of the readable part from `position` on; returns how many. */
  read(memory: Uint8Array, position: number, target: Uint8Array): number {
    let skip = position;
    let done = 0;
    for (let index = 0; index < this.readable && done < target.length; index++) {
      const length = this.length[index]!;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const take = Math.min(length - skip, target.length - done);
      const start = this.address[index]! + skip;
      target.set(memory.subarray(start, start + take), done);
      done += take;
      skip = 0;
    }
    return done;
  }

  /** Copies `source` into the writable part from `position` on, as far as there is room. */
  write(memory: GuestMemory, core: Rv64Core, position: number, source: Uint8Array): void {
    let skip = position;
    let done = 0;
    for (let index = this.readable; index < this.count && done < source.length; index++) {
      const length = this.length[index]!;
      if (skip >= length) {
        skip -= length;
        continue;
      }
      const take = Math.min(length - skip, source.length - done);
      const start = this.address[index]! + skip;
      memory.bytes.set(source.subarray(done, done + take), start);
      core.noteWrite(start - RAM, take);
      done += take;
      skip = 0;
    }
  }
}

export class VirtQueue {
  private readonly words: Uint32Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    stateAddress: number,
    /** Called once when the ring turns out to be nonsense. */
    private readonly onBroken: () => void,
  ) {
    this.words = memory.words(stateAddress, QUEUE_WORDS);
  }

  get ready(): boolean {
    return this.words[Q_READY] !== 0;
  }

  register(index: number): number {
    return this.words[index]!;
  }

  setRegister(index: number, value: number): void {
    if (this.words[Q_READY] === 0) this.words[index] = value;
  }

  reset(): void {
    this.words.fill(0);
  }

  /** The driver sets QueueReady: the rings must lie in RAM, aligned. */
  enable(): void {
    const words = this.words;
    if (words[Q_READY] !== 0) return;
    const size = words[Q_SIZE]!;
    if (size === 0 || size > MAX_QUEUE_SIZE || (size & (size - 1)) !== 0) return this.onBroken();
    const descriptors = this.memory.locate(words[Q_DESCRIPTORS_LOW]!, words[Q_DESCRIPTORS_LOW + 1]!, 16 * size);
    const available = this.memory.locate(words[Q_AVAILABLE_LOW]!, words[Q_AVAILABLE_LOW + 1]!, 6 + 2 * size);
    const used = this.memory.locate(words[Q_USED_LOW]!, words[Q_USED_LOW + 1]!, 6 + 8 * size);
    if (descriptors < 0 || available < 0 || used < 0) return this.onBroken();
    if ((descriptors & 15) !== 0 || (available & 1) !== 0 || (used & 3) !== 0) return this.onBroken();
    words[Q_DESCRIPTORS] = descriptors;
    words[Q_AVAILABLE] = available;
    words[Q_USED] = used;
    words[Q_LAST_AVAILABLE] = 0;
    words[Q_USED_INDEX] = 0;
    words[Q_SIGNALLED] = 0;
    words[Q_READY] = 1;
  }

  /** Requests that the driver has offered and the device has not taken. */
  get waiting(): number {
    const words = this.words;
    if (words[Q_READY] === 0) return 0;
    return (this.memory.view.getUint16(words[Q_AVAILABLE]! + 2, true) - words[Q_LAST_AVAILABLE]!) & 0xffff;
  }

  /** Takes the next request; false if there is none or the ring is broken. */
  pop(chain: Chain, allowIndirect: boolean): boolean {
    const words = this.words;
    const waiting = this.waiting;
    if (waiting === 0) return false;
    const size = words[Q_SIZE]!;
    if (waiting > size) return this.broken();
    const slot = words[Q_LAST_AVAILABLE]! & (size - 1);
    const head = this.memory.view.getUint16(words[Q_AVAILABLE]! + 4 + 2 * slot, true);
    if (!this.collect(chain, head, allowIndirect)) return this.broken();
    words[Q_LAST_AVAILABLE] = (words[Q_LAST_AVAILABLE]! + 1) & 0xffff;
    return true;
  }

  /** Walks a request again that was taken before and is not yet answered; false if the guest made nonsense of it meanwhile. */
  revisit(chain: Chain, head: number, allowIndirect: boolean): boolean {
    return this.collect(chain, head, allowIndirect) || this.broken();
  }

  /** Takes back the last `chains` requests and the answers pushed for them, which were not yet published. */
  rewind(chains: number): void {
    const words = this.words;
    words[Q_LAST_AVAILABLE] = (words[Q_LAST_AVAILABLE]! - chains) & 0xffff;
    words[Q_USED_INDEX] = (words[Q_USED_INDEX]! - chains) & 0xffff;
  }

  push(head: number, writtenBytes: number): void {
    const words = this.words;
    const entry = words[Q_USED]! + 4 + 8 * (words[Q_USED_INDEX]! & (words[Q_SIZE]! - 1));
    this.memory.view.setUint32(entry, head, true);
    this.memory.view.setUint32(entry + 4, writtenBytes, true);
    this.core.noteWrite(entry - RAM, 8);
    words[Q_USED_INDEX] = (words[Q_USED_INDEX]! + 1) & 0xffff;
  }

  /** Makes what was pushed visible; true if the driver wants an interrupt for it. */
  publish(eventIndex: boolean): boolean {
    const words = this.words;
    const index = words[Q_USED_INDEX]!;
    const before = words[Q_SIGNALLED]!;
    if (index === before) return false;
    this.memory.view.setUint16(words[Q_USED]! + 2, index, true);
    this.core.noteWrite(words[Q_USED]! + 2 - RAM, 2);
    words[Q_SIGNALLED] = index;
    const available = words[Q_AVAILABLE]!;
    if (!eventIndex) return (this.memory.view.getUint16(available, true) & AVAILABLE_NO_INTERRUPT) === 0;
    const wanted = this.memory.view.getUint16(available + 4 + 2 * words[Q_SIZE]!, true);
    return ((index - wanted - 1) & 0xffff) < ((index - before) & 0xffff);
  }

  /** Asks for a notification at the next request (`soon`), or practically never: see VIRTIO 1.2, 2.7.10. */
  requestNotification(eventIndex: boolean, soon: boolean): void {
    const words = this.words;
    const used = words[Q_USED]!;
    const field = eventIndex ? used + 4 + 8 * words[Q_SIZE]! : used;
    const value = eventIndex ? (soon ? words[Q_LAST_AVAILABLE]! : (words[Q_LAST_AVAILABLE]! - 1) & 0xffff) : soon ? 0 : 1;
    if (this.memory.view.getUint16(field, true) === value) return;
    this.memory.view.setUint16(field, value, true);
    this.core.noteWrite(field - RAM, 2);
  }

  private collect(chain: Chain, head: number, allowIndirect: boolean): boolean {
    const view = this.memory.view;
    chain.head = head;
    chain.count = chain.readable = chain.readableBytes = chain.writableBytes = 0;
    let table = this.words[Q_DESCRIPTORS]!;
    let entries = this.words[Q_SIZE]!;
    let indirect = false;
    let index = head;
    for (;;) {
      if (index >= entries) return false;
      const descriptor = table + 16 * index;
      const length = view.getUint32(descriptor + 8, true);
      const flags = view.getUint16(descriptor + 12, true);
      const address = this.memory.locate(view.getUint32(descriptor, true), view.getUint32(descriptor + 4, true), length);
      if (address < 0) return false;
      if ((flags & DESCRIPTOR_INDIRECT) !== 0) {
        if (indirect || !allowIndirect || (flags & DESCRIPTOR_NEXT) !== 0 || length === 0 || (length & 15) !== 0) return false;
        indirect = true;
        table = address;
        entries = Math.min(length >>> 4, MAX_SEGMENTS);
        index = 0;
        continue;
      }
      if (chain.count === MAX_SEGMENTS) return false; // a loop, or longer than allowed
      if ((flags & DESCRIPTOR_WRITE) !== 0) {
        chain.writableBytes += length;
      } else {
        if (chain.count !== chain.readable) return false; // readable after writable
        chain.readable++;
        chain.readableBytes += length;
      }
      chain.address[chain.count] = address;
      chain.length[chain.count++] = length;
      if ((flags & DESCRIPTOR_NEXT) === 0) return true;
      index = view.getUint16(descriptor + 14, true);
    }
  }

  private broken(): false {
    this.onBroken();
    return false;
  }
}
