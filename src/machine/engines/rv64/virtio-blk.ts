/**
 * The virtio block device. Disks are below the line: what the driver queues becomes a `disk` output, and the `diskDone` input that
 * answers it completes the request. Until then the request stays in a table in device memory, which is part of every image, and its
 * buffers stay the guest's: a restored machine, or one whose I/O module was replaced, finds them by walking the chain again. So does
 * every answer; a chain that no longer fits what was asked for is nonsense like any other, and the device needs a reset.
 *
 * Requests are limited to what one output may carry by `size_max` and `seg_max`, which a driver obeys; blocks are 4 KiB. A few requests
 * are outstanding, more wait in the ring. What is impossible (no whole blocks, beyond the end) is an I/O error for that request alone.
 */
import { assert } from "../../../foundation/assert.js";
import { NO_BYTES } from "../../../foundation/bytes.js";
import { DISK_BLOCK_BYTES, MAX_DISK_REQUEST_BYTES, MAX_DISK_REQUESTS } from "../../machine.js";
import type { DiskOperation } from "../../machine.js";
import type { Rv64Core } from "./core.js";
import { DISK_REQUESTS, DISK_SLOT, VIRTIO_STATE, VIRTIO_STATE_SIZE } from "./device-layout.js";
import type { GuestMemory } from "./guest-memory.js";
import type { OutputLog } from "./outputs.js";
import type { Plic } from "./plic.js";
import { DEVICE_WORDS_AT, FEATURE_EVENT_INDEX, FEATURE_INDIRECT, VirtioMmio } from "./virtio-mmio.js";
import type { VirtioDevice } from "./virtio-mmio.js";
import { Chain } from "./virtqueue.js";

export const DISK_SERIAL = "steadfast-disk0";

const DEVICE_ID_BLOCK = 2;
const FEATURE_SIZE_MAX = 1 << 1;
const FEATURE_SEGMENT_MAX = 1 << 2;
const FEATURE_BLOCK_SIZE = 1 << 6;
const FEATURE_FLUSH = 1 << 9;

const SECTOR_BYTES = 512;
/** A page a segment: a driver that obeys can never put more into a request than is allowed, however memory is laid out. */
const SEGMENT_BYTES = 4096;
const HEADER_BYTES = 16;
const SERIAL_BYTES = 20;
/** A size in bytes is exact up to here. */
const MAX_DISK_BYTES = Number.MAX_SAFE_INTEGER;
const FOUR_GIB = 0x1_0000_0000;

// Types of requests.
const TYPE_READ = 0;
const TYPE_WRITE = 1;
const TYPE_FLUSH = 4;
const TYPE_GET_ID = 8;

const STATUS_OK = 0;
const STATUS_IO_ERROR = 1;
const STATUS_UNSUPPORTED = 2;

// Words of the device.
const D_HELD = 0; // the output limit was reached; go on in the next quantum
const D_COUNT = 1; // requests in the table, oldest first
const D_PUT_OUT = 2; // so many of them, from the oldest on, have been put out (again)
const D_LAST_ID = 3;
const D_CONFIG = 8; // configuration space
const CONFIG_WORDS = 6;
const DISK_WORDS = D_CONFIG + CONFIG_WORDS;

// Words of the configuration space.
const C_SECTORS_LOW = 0;
const C_SECTORS_HIGH = 1;
const C_SIZE_MAX = 2;
const C_SEGMENT_MAX = 3;
const C_BLOCK_SIZE = 5;

// Words of a request in the table.
const R_ID = 0;
const R_HEAD = 1;
const R_TYPE = 2;
const R_LENGTH = 3;
const R_SECTOR_LOW = 4;
const R_SECTOR_HIGH = 5;
const REQUEST_WORDS = 8;

const OPERATIONS: Readonly<Record<number, DiskOperation>> = { [TYPE_READ]: "read", [TYPE_WRITE]: "write", [TYPE_FLUSH]: "flush" };

export class VirtioBlk implements VirtioDevice {
  readonly deviceId = DEVICE_ID_BLOCK;
  readonly features = FEATURE_SIZE_MAX | FEATURE_SEGMENT_MAX | FEATURE_BLOCK_SIZE | FEATURE_FLUSH;
  /** A driver that cannot flush would take every written block for a safe one. */
  readonly requiredFeatures = FEATURE_FLUSH;
  readonly queueCount = 1;
  readonly config: Uint8Array;
  readonly transport: VirtioMmio;
  private readonly words: Uint32Array;
  private readonly configWords: Uint32Array;
  private readonly table: Uint32Array;
  private readonly chain = new Chain();
  private readonly header = new Uint8Array(HEADER_BYTES);
  private readonly headerView = new DataView(this.header.buffer);

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    plic: Plic,
    private readonly outputs: OutputLog,
  ) {
    const address = VIRTIO_STATE + DISK_SLOT * VIRTIO_STATE_SIZE + DEVICE_WORDS_AT;
    this.words = memory.words(address, DISK_WORDS);
    this.configWords = memory.words(address + 4 * D_CONFIG, CONFIG_WORDS);
    this.config = memory.bytes.subarray(address + 4 * D_CONFIG, address + 4 * DISK_WORDS);
    this.table = memory.words(DISK_REQUESTS, MAX_DISK_REQUESTS * REQUEST_WORDS);
    this.transport = new VirtioMmio(memory, core, plic, DISK_SLOT, this);
  }

  /** A size of 0 is no disk: then the slot is as empty as the others. */
  get isPresent(): boolean {
    return this.sectors > 0;
  }

  get sizeBytes(): number {
    return this.sectors * SECTOR_BYTES;
  }

  /** Work waits for the next quantum because this one has put out enough: the machine is not idle. */
  get isHeld(): boolean {
    return this.words[D_HELD] !== 0 && this.transport.running && this.transport.queues[0]!.ready;
  }

  /** After device memory was cleared. The size is state, so that machines with different disks do not pass for equal. */
  install(sizeBytes: number): void {
    assert(sizeBytes >= 0 && sizeBytes <= MAX_DISK_BYTES && sizeBytes % DISK_BLOCK_BYTES === 0, "a disk is whole blocks");
    if (sizeBytes === 0) return;
    this.setSize(sizeBytes);
    this.configWords[C_SIZE_MAX] = SEGMENT_BYTES;
    this.configWords[C_SEGMENT_MAX] = MAX_DISK_REQUEST_BYTES / SEGMENT_BYTES;
    this.configWords[C_BLOCK_SIZE] = DISK_BLOCK_BYTES;
  }

  /** The disk became larger. Anything else is no change. */
  grow(sizeBytes: number): void {
    const isSize = sizeBytes <= MAX_DISK_BYTES && sizeBytes % DISK_BLOCK_BYTES === 0;
    if (!this.isPresent || !isSize || sizeBytes <= this.sizeBytes) return;
    this.setSize(sizeBytes);
    this.transport.configurationChanged();
  }

  /** The driver starts anew: what it asked for before is of no interest any more. Ids go on, so that late answers find nothing. */
  reset(): void {
    this.words[D_HELD] = this.words[D_COUNT] = this.words[D_PUT_OUT] = 0;
    this.table.fill(0);
  }

  notify(): void {
    this.pump();
  }

  /** Start of a quantum: what the output limit held back last time. */
  resume(): void {
    if (this.isHeld) this.pump();
  }

  /** Another I/O module: everything unanswered is put out again before anything new. */
  repeat(): void {
    this.words[D_PUT_OUT] = 0;
    if (this.transport.running) this.pump();
  }

  /** The answer to the request of this id; none waits for it: nothing happens. */
  answer(id: number, isOk: boolean, bytes: Uint8Array): void {
    const index = this.find(id);
    if (index < 0) return;
    const at = index * REQUEST_WORDS;
    const [head, type, length] = [this.table[at + R_HEAD]!, this.table[at + R_TYPE]!, this.table[at + R_LENGTH]!];
    this.remove(index);
    if (!this.transport.running || !this.transport.queues[0]!.ready || !this.revisit(head, type, length)) return;
    const isRead = type === TYPE_READ;
    if (!isOk || (isRead && bytes.length !== length)) this.finish(STATUS_IO_ERROR, 0);
    else {
      if (isRead) this.chain.write(this.memory, this.core, 0, bytes);
      this.finish(STATUS_OK, isRead ? length : 0);
    }
    this.pump();
  }

  private get sectors(): number {
    return this.configWords[C_SECTORS_HIGH]! * FOUR_GIB + this.configWords[C_SECTORS_LOW]!;
  }

  private setSize(sizeBytes: number): void {
    const sectors = sizeBytes / SECTOR_BYTES;
    this.configWords[C_SECTORS_LOW] = sectors % FOUR_GIB;
    this.configWords[C_SECTORS_HIGH] = Math.floor(sectors / FOUR_GIB);
  }

  /** Puts out what is due, then takes from the ring, as far as the limits allow; tells the driver what is finished. */
  private pump(): void {
    const queue = this.transport.queues[0]!;
    const words = this.words;
    const indirect = this.transport.has(FEATURE_INDIRECT);
    words[D_HELD] = 0;
    while (queue.ready && this.transport.running) {
      const isDue = words[D_PUT_OUT]! < words[D_COUNT]!;
      if (!isDue && (words[D_COUNT] === MAX_DISK_REQUESTS || queue.waiting === 0)) break;
      if (this.outputs.full) {
        words[D_HELD] = 1;
        break;
      }
      if (isDue) this.putOut(words[D_PUT_OUT]!);
      else if (queue.pop(this.chain, indirect)) this.take();
    }
    if (!this.transport.running || !queue.ready) return;
    this.transport.complete(queue);
    // While the table is full, the next answer looks into the ring anyway.
    queue.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), words[D_COUNT]! < MAX_DISK_REQUESTS);
  }

  /** A request fresh from the ring: into the table, or answered at once. */
  private take(): void {
    const chain = this.chain;
    if (chain.readableBytes < HEADER_BYTES || chain.writableBytes === 0) {
      this.transport.needsReset(); // no header, or nowhere to say what became of it
      return;
    }
    chain.read(this.memory.bytes, 0, this.header);
    const type = this.headerView.getUint32(0, true);
    switch (type) {
      case TYPE_READ:
        return this.enter(type, chain.writableBytes - 1);
      case TYPE_WRITE:
        return this.enter(type, chain.readableBytes - HEADER_BYTES);
      case TYPE_FLUSH:
        return this.enter(type, 0);
      case TYPE_GET_ID:
        return this.tellSerial();
      default:
        this.finish(STATUS_UNSUPPORTED, 0);
    }
  }

  private enter(type: number, length: number): void {
    const isFlush = type === TYPE_FLUSH;
    const low = isFlush ? 0 : this.headerView.getUint32(8, true);
    const high = isFlush ? 0 : this.headerView.getUint32(12, true);
    if (!this.fits(type, length) || (!isFlush && !this.isPossible(high * FOUR_GIB + low, length))) {
      this.finish(STATUS_IO_ERROR, 0);
      return;
    }
    const words = this.words;
    words[D_LAST_ID] = words[D_LAST_ID] === 0xffff_ffff ? 1 : words[D_LAST_ID]! + 1;
    const at = words[D_COUNT]! * REQUEST_WORDS;
    this.table[at + R_ID] = words[D_LAST_ID];
    this.table[at + R_HEAD] = this.chain.head;
    this.table[at + R_TYPE] = type;
    this.table[at + R_LENGTH] = length;
    this.table[at + R_SECTOR_LOW] = low;
    this.table[at + R_SECTOR_HIGH] = high;
    words[D_COUNT]!++;
  }

  private isPossible(sector: number, length: number): boolean {
    const isWhole = length > 0 && length % DISK_BLOCK_BYTES === 0 && (sector * SECTOR_BYTES) % DISK_BLOCK_BYTES === 0;
    return isWhole && length <= MAX_DISK_REQUEST_BYTES && sector + length / SECTOR_BYTES <= this.sectors;
  }

  /** Whether the chain's buffers are those of such a request: no data but that of its own direction. */
  private fits(type: number, length: number): boolean {
    const { readableBytes, writableBytes } = this.chain;
    if (type === TYPE_READ) return readableBytes === HEADER_BYTES && writableBytes === length + 1;
    if (type === TYPE_WRITE) return readableBytes === HEADER_BYTES + length && writableBytes === 1;
    return readableBytes >= HEADER_BYTES && writableBytes >= 1;
  }

  private putOut(index: number): void {
    const at = index * REQUEST_WORDS;
    const [id, head, type, length] = [
      this.table[at + R_ID]!,
      this.table[at + R_HEAD]!,
      this.table[at + R_TYPE]!,
      this.table[at + R_LENGTH]!,
    ];
    if (!this.revisit(head, type, length)) return;
    const sector = this.table[at + R_SECTOR_HIGH]! * FOUR_GIB + this.table[at + R_SECTOR_LOW]!;
    let bytes = NO_BYTES;
    if (type === TYPE_WRITE) {
      bytes = new Uint8Array(length);
      this.chain.read(this.memory.bytes, HEADER_BYTES, bytes);
    }
    const operation = OPERATIONS[type]!;
    this.outputs.add({ kind: "disk", id, operation, offset: sector * SECTOR_BYTES, lengthBytes: length, bytes }, bytes.length);
    this.words[D_PUT_OUT] = index + 1;
  }

  /** Walks the chain of a request of the table; false: the guest changed it, and the device needs a reset. */
  private revisit(head: number, type: number, length: number): boolean {
    if (!this.transport.queues[0]!.revisit(this.chain, head, this.transport.has(FEATURE_INDIRECT))) return false;
    if (this.fits(type, length)) return true;
    this.transport.needsReset();
    return false;
  }

  private tellSerial(): void {
    const room = Math.min(SERIAL_BYTES, this.chain.writableBytes - 1);
    const serial = new Uint8Array(room);
    for (let index = 0; index < Math.min(room, DISK_SERIAL.length); index++) serial[index] = DISK_SERIAL.charCodeAt(index);
    this.chain.write(this.memory, this.core, 0, serial);
    this.finish(STATUS_OK, room);
  }

  /** Answers the request in `chain`, of whose data `written` bytes were filled in; the status is its last byte. */
  private finish(status: number, written: number): void {
    const last = this.chain.writableBytes - 1;
    this.chain.write(this.memory, this.core, last, Uint8Array.of(status));
    this.transport.queues[0]!.push(this.chain.head, written === last ? written + 1 : written);
  }

  private find(id: number): number {
    for (let index = 0; index < this.words[D_COUNT]!; index++) if (this.table[index * REQUEST_WORDS + R_ID] === id) return index;
    return -1;
  }

  private remove(index: number): void {
    const end = this.words[D_COUNT]! * REQUEST_WORDS;
    this.table.copyWithin(index * REQUEST_WORDS, (index + 1) * REQUEST_WORDS, end);
    this.table.fill(0, end - REQUEST_WORDS, end);
    this.words[D_COUNT]!--;
    if (index < this.words[D_PUT_OUT]!) this.words[D_PUT_OUT]!--;
  }
}
