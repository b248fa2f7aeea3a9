/**
 * The virtio-mmio transport, version 2 (VIRTIO 1.2, section 4.2), shared by all virtio devices. A device gives its features, queues and
 * configuration space; the transport keeps registers, negotiates, raises interrupts and falls into DEVICE_NEEDS_RESET on a broken ring.
 */
import type { Rv64Core } from "./core.js";
import { VIRTIO_INTERRUPT, VIRTIO_STATE, VIRTIO_STATE_SIZE } from "./device-layout.js";
import type { GuestMemory } from "./guest-memory.js";
import type { Plic } from "./plic.js";
import { MAX_QUEUE_SIZE, Q_AVAILABLE_LOW, Q_DESCRIPTORS_LOW, Q_SIZE, Q_USED_LOW, QUEUE_WORDS, VirtQueue } from "./virtqueue.js";

// Words of the transport, at the start of a slot's state.
const T_STATUS = 0;
const T_DEVICE_FEATURES_SELECT = 1;
const T_DRIVER_FEATURES_SELECT = 2;
const T_DRIVER_FEATURES = 3; // low, high
const T_QUEUE_SELECT = 5;
const T_INTERRUPT_STATUS = 6;
const T_GENERATION = 7;
const TRANSPORT_WORDS = 16;
const QUEUES_AT = TRANSPORT_WORDS * 4;
/** Where a device keeps words of its own, from the start of its slot's state. */
export const DEVICE_WORDS_AT = 0x300;
export const MAX_QUEUES = 8;

// Registers.
const MAGIC_VALUE = 0x000;
const VERSION = 0x004;
const DEVICE_ID = 0x008;
const VENDOR_ID = 0x00c;
const DEVICE_FEATURES = 0x010;
const DEVICE_FEATURES_SELECT = 0x014;
const DRIVER_FEATURES = 0x020;
const DRIVER_FEATURES_SELECT = 0x024;
const QUEUE_SELECT = 0x030;
const QUEUE_SIZE_MAX = 0x034;
const QUEUE_SIZE = 0x038;
const QUEUE_READY = 0x044;
const QUEUE_NOTIFY = 0x050;
const INTERRUPT_STATUS = 0x060;
const INTERRUPT_ACKNOWLEDGE = 0x064;
const STATUS = 0x070;
const QUEUE_ADDRESSES = 0x080; // descriptors 80/84, driver area 90/94, device area a0/a4
const QUEUE_ADDRESSES_END = 0x0a8;
const SHARED_MEMORY_LENGTH = 0x0b0;
const SHARED_MEMORY_END = 0x0c0;
const CONFIG_GENERATION = 0x0fc;
const CONFIG = 0x100;
const REGISTERS_END = 0x200;

const MAGIC = 0x74726976;
const VENDOR = 0x46445453; // "STDF"

const STATUS_DRIVER_OK = 4;
const STATUS_FEATURES_OK = 8;
const STATUS_NEEDS_RESET = 64;
const STATUS_DRIVER_BITS = 0x8f;
const INTERRUPT_USED_BUFFER = 1;
const INTERRUPT_CONFIGURATION = 2;

export const FEATURE_INDIRECT = 1 << 28;
export const FEATURE_EVENT_INDEX = 1 << 29;
const FEATURE_VERSION_1_HIGH = 1;

/** What a device adds to the transport. */
export interface VirtioDevice {
  readonly deviceId: number;
  /** Low word of the offered features; VERSION_1, indirect descriptors and event indices are added by the transport. */
  readonly features: number;
  /** Those of them without which the device does not work with a driver. Absent: none. */
  readonly requiredFeatures?: number;
  readonly queueCount: number;
  /** Of each queue, as offered to the driver; a power of two. Absent: as many entries as a queue may have. */
  readonly maxQueueSize?: number;
  readonly config: Uint8Array;
  notify(queue: number): void;
  reset(): void;
}

export class VirtioMmio {
  readonly queues: readonly VirtQueue[];
  private readonly words: Uint32Array;

  constructor(
    memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly plic: Plic,
    private readonly slot: number,
    private readonly device: VirtioDevice,
  ) {
    const base = VIRTIO_STATE + slot * VIRTIO_STATE_SIZE;
    this.words = memory.words(base, TRANSPORT_WORDS);
    const queueAddress = (index: number): number => base + QUEUES_AT + index * QUEUE_WORDS * 4;
    this.queues = Array.from(
      { length: device.queueCount },
      (_, index) => new VirtQueue(memory, core, queueAddress(index), () => this.needsReset()),
    );
  }

  get running(): boolean {
    return (this.words[T_STATUS]! & (STATUS_DRIVER_OK | STATUS_NEEDS_RESET)) === STATUS_DRIVER_OK;
  }

  has(feature: number): boolean {
    return (this.words[T_DRIVER_FEATURES]! & feature) !== 0;
  }

  /** Publishes what was pushed to a queue and interrupts if the driver wants to know. */
  complete(queue: VirtQueue): void {
    if (queue.publish(this.has(FEATURE_EVENT_INDEX))) this.raise(INTERRUPT_USED_BUFFER);
  }

  /** The device changed its configuration space: a driver that reads it in parts notices, one that runs is told. */
  configurationChanged(): void {
    this.words[T_GENERATION]!++;
    if (this.running) this.raise(INTERRUPT_CONFIGURATION);
  }

  needsReset(): void {
    const running = this.running;
    this.words[T_STATUS]! |= STATUS_NEEDS_RESET;
    if (running) this.raise(INTERRUPT_CONFIGURATION);
  }

  read(offset: number, size: number): number {
    if (offset >= CONFIG && offset < REGISTERS_END) return this.readConfig(offset - CONFIG, size);
    if (size !== 4 || (offset & 3) !== 0 || offset >= REGISTERS_END) return this.fault();
    const words = this.words;
    switch (offset) {
      case MAGIC_VALUE:
        return MAGIC;
      case VERSION:
        return 2;
      case DEVICE_ID:
        return this.device.deviceId;
      case VENDOR_ID:
        return VENDOR;
      case DEVICE_FEATURES:
        return this.offered(words[T_DEVICE_FEATURES_SELECT]!);
      case QUEUE_SIZE_MAX:
        return this.selected === undefined ? 0 : (this.device.maxQueueSize ?? MAX_QUEUE_SIZE);
      case QUEUE_READY:
        return this.selected?.ready === true ? 1 : 0;
      case INTERRUPT_STATUS:
        return words[T_INTERRUPT_STATUS]!;
      case STATUS:
        return words[T_STATUS]!;
      case CONFIG_GENERATION:
        return words[T_GENERATION]!;
      default:
        // A shared memory region that does not exist has length -1.
        return offset >= SHARED_MEMORY_LENGTH && offset < SHARED_MEMORY_END ? 0xffff_ffff : 0;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (offset >= CONFIG && offset < REGISTERS_END) return; // no device here has a writable configuration
    if (size !== 4 || (offset & 3) !== 0 || offset >= REGISTERS_END) {
      this.fault();
      return;
    }
    const words = this.words;
    switch (offset) {
      case QUEUE_NOTIFY:
        if (this.running && this.queues[value]?.ready === true) this.device.notify(value);
        return;
      case INTERRUPT_ACKNOWLEDGE:
        words[T_INTERRUPT_STATUS]! &= ~value;
        this.update();
        return;
      case DEVICE_FEATURES_SELECT:
        words[T_DEVICE_FEATURES_SELECT] = value;
        return;
      case DRIVER_FEATURES_SELECT:
        words[T_DRIVER_FEATURES_SELECT] = value;
        return;
      case DRIVER_FEATURES:
        if (words[T_DRIVER_FEATURES_SELECT]! < 2 && (words[T_STATUS]! & STATUS_FEATURES_OK) === 0)
          words[T_DRIVER_FEATURES + words[T_DRIVER_FEATURES_SELECT]!] = value;
        return;
      case QUEUE_SELECT:
        words[T_QUEUE_SELECT] = value;
        return;
      case STATUS:
        this.setStatus(value & STATUS_DRIVER_BITS);
        return;
      default:
        this.writeQueue(offset, value);
    }
  }

  private writeQueue(offset: number, value: number): void {
    const queue = this.selected;
    if (queue === undefined) return;
    if (offset === QUEUE_SIZE) {
      queue.setRegister(Q_SIZE, value);
    } else if (offset === QUEUE_READY) {
      if ((value & 1) !== 0) queue.enable();
      else queue.reset();
    } else if (offset >= QUEUE_ADDRESSES && offset < QUEUE_ADDRESSES_END && (offset & 8) === 0) {
      const register = [Q_DESCRIPTORS_LOW, Q_AVAILABLE_LOW, Q_USED_LOW][(offset - QUEUE_ADDRESSES) >>> 4]!;
      queue.setRegister(register + ((offset >>> 2) & 1), value);
    }
  }

  private get selected(): VirtQueue | undefined {
    return this.queues[this.words[T_QUEUE_SELECT]!];
  }

  private offered(select: number): number {
    if (select === 0) return (this.device.features | FEATURE_INDIRECT | FEATURE_EVENT_INDEX) >>> 0;
    return select === 1 ? FEATURE_VERSION_1_HIGH : 0;
  }

  private setStatus(value: number): void {
    const words = this.words;
    if (value === 0) {
      words.fill(0);
      for (const queue of this.queues) queue.reset();
      this.device.reset();
      this.update();
      return;
    }
    let status = (words[T_STATUS]! & STATUS_NEEDS_RESET) | value;
    if ((status & STATUS_FEATURES_OK) !== 0 && (words[T_STATUS]! & STATUS_FEATURES_OK) === 0 && !this.acceptable())
      status &= ~STATUS_FEATURES_OK;
    words[T_STATUS] = status;
  }

  /** A driver must take VERSION_1, what the device cannot do without, and nothing that was not offered. */
  private acceptable(): boolean {
    const low = this.words[T_DRIVER_FEATURES]!;
    const high = this.words[T_DRIVER_FEATURES + 1]!;
    const required = this.device.requiredFeatures ?? 0;
    return high === FEATURE_VERSION_1_HIGH && (low & ~this.offered(0)) === 0 && (low & required) === required;
  }

  private readConfig(offset: number, size: number): number {
    let value = 0;
    for (let index = size - 1; index >= 0; index--) value = (value << 8) | (this.device.config[offset + index] ?? 0);
    return value >>> 0;
  }

  private raise(bits: number): void {
    this.words[T_INTERRUPT_STATUS]! |= bits;
    this.update();
  }

  private update(): void {
    this.plic.setLevel(VIRTIO_INTERRUPT + this.slot, this.words[T_INTERRUPT_STATUS] !== 0);
  }

  private fault(): number {
    this.core.accessFault();
    return 0;
  }
}
