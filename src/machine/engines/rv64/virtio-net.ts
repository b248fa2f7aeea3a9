/**
 * The virtio network device: one receive and one transmit queue, mergeable receive buffers, no offloads. A frame that the driver queues
 * becomes an output while it notifies us; frames come in as inputs between quanta. A frame that finds no receive buffer waits in a small
 * backlog in device memory; what does not fit there is dropped and counted, as on any network.
 */
import type { Rv64Core } from "./core.js";
import { NETWORK_BACKLOG, NETWORK_BACKLOG_BYTES, NETWORK_SLOT, VIRTIO_STATE, VIRTIO_STATE_SIZE } from "./device-layout.js";
import type { GuestMemory } from "./guest-memory.js";
import { RAM } from "./layout.js";
import type { OutputLog } from "./outputs.js";
import type { Plic } from "./plic.js";
import { DEVICE_WORDS_AT, FEATURE_EVENT_INDEX, FEATURE_INDIRECT, VirtioMmio } from "./virtio-mmio.js";
import type { VirtioDevice } from "./virtio-mmio.js";
import { transmitAll } from "./virtio-transmit.js";
import { Chain } from "./virtqueue.js";

/** Ethernet without FCS: the shortest header, and room for jumbo frames. */
export const MIN_FRAME_BYTES = 14;
export const MAX_FRAME_BYTES = 9216;

const RECEIVE = 0;
const TRANSMIT = 1;
const HEADER_BYTES = 12;
const HEADER_BUFFERS_AT = 10;

const FEATURE_MAC = 1 << 5;
const FEATURE_MERGEABLE = 1 << 15;
const FEATURE_STATUS = 1 << 16;
const DEVICE_ID_NETWORK = 1;

// Words of the device.
const N_TRANSMIT_HELD = 0; // the output limit was reached; go on in the next quantum
const N_BACKLOG_HEAD = 1;
const N_BACKLOG_TAIL = 2;
const N_RECEIVE_DROPPED = 3;
const N_TRANSMIT_DROPPED = 4;
const N_CONFIG = 8; // configuration space, 8 bytes: MAC address, link status
const NETWORK_WORDS = 10;

export class VirtioNet implements VirtioDevice {
  readonly deviceId = DEVICE_ID_NETWORK;
  readonly features = FEATURE_MAC | FEATURE_MERGEABLE | FEATURE_STATUS;
  readonly queueCount = 2;
  readonly config: Uint8Array;
  readonly transport: VirtioMmio;
  private readonly words: Uint32Array;
  private readonly backlog: Uint8Array;
  private readonly backlogView: DataView;
  private readonly chain = new Chain();

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    plic: Plic,
    private readonly outputs: OutputLog,
    private readonly macAddress: Uint8Array,
  ) {
    const address = VIRTIO_STATE + NETWORK_SLOT * VIRTIO_STATE_SIZE + DEVICE_WORDS_AT;
    this.words = memory.words(address, NETWORK_WORDS);
    this.config = memory.bytes.subarray(address + 4 * N_CONFIG, address + 4 * N_CONFIG + 8);
    this.backlog = memory.bytes.subarray(NETWORK_BACKLOG, NETWORK_BACKLOG + NETWORK_BACKLOG_BYTES);
    this.backlogView = new DataView(memory.buffer, NETWORK_BACKLOG, NETWORK_BACKLOG_BYTES);
    this.transport = new VirtioMmio(memory, core, plic, NETWORK_SLOT, this);
  }

  /** Frames lost since power-on: received without room, sent with an impossible length. */
  get dropped(): { readonly received: number; readonly sent: number } {
    return { received: this.words[N_RECEIVE_DROPPED]!, sent: this.words[N_TRANSMIT_DROPPED]! };
  }

  /** After device memory was cleared. The MAC address is state too, so that machines that differ in it do not pass for equal. */
  powerOn(): void {
    this.config.set(this.macAddress.subarray(0, 6));
    this.config[6] = 1; // link up
  }

  reset(): void {
    this.words[N_TRANSMIT_HELD] = 0;
    this.words[N_BACKLOG_HEAD] = this.words[N_BACKLOG_TAIL] = 0;
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.transmit();
    else this.drainBacklog();
  }

  /** Start of a quantum: what the output limit held back last time. */
  resume(): void {
    if (this.words[N_TRANSMIT_HELD] !== 0 && this.transport.running) this.transmit();
  }

  /** A frame from the network. The interrupt, if any, is raised by `flush` after the last one. */
  receive(frame: Uint8Array): void {
    if (frame.length < MIN_FRAME_BYTES || frame.length > MAX_FRAME_BYTES || !this.transport.running) {
      this.words[N_RECEIVE_DROPPED]!++;
      return;
    }
    const waiting = this.words[N_BACKLOG_TAIL] !== 0;
    if (waiting || !this.deliver(frame)) this.keep(frame);
  }

  flush(): void {
    const queue = this.transport.queues[RECEIVE]!;
    if (!this.transport.running || !queue.ready) return;
    this.transport.complete(queue);
    // While nothing waits, the driver need not tell us about new buffers.
    queue.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), this.words[N_BACKLOG_TAIL] !== 0);
  }

  private transmit(): void {
    const queue = this.transport.queues[TRANSMIT]!;
    const isHeld = transmitAll(this.transport, queue, this.chain, this.outputs, () => this.send());
    this.words[N_TRANSMIT_HELD] = isHeld ? 1 : 0;
  }

  private send(): void {
    const length = this.chain.readableBytes - HEADER_BYTES;
    if (length < MIN_FRAME_BYTES || length > MAX_FRAME_BYTES) {
      this.words[N_TRANSMIT_DROPPED]!++;
      return;
    }
    const bytes = new Uint8Array(length);
    this.chain.read(this.memory.bytes, HEADER_BYTES, bytes);
    this.outputs.add({ kind: "frame", port: 0, bytes }, length);
  }

  /** Copies a frame into receive buffers; false if they do not suffice (then nothing has happened). */
  private deliver(frame: Uint8Array): boolean {
    const queue = this.transport.queues[RECEIVE]!;
    const indirect = this.transport.has(FEATURE_INDIRECT);
    const mergeable = this.transport.has(FEATURE_MERGEABLE);
    const chain = this.chain;
    let done = -HEADER_BYTES; // position in the frame; the header comes first
    let buffers = 0;
    let countLow = 0; // linear addresses of the header's buffer count
    let countHigh = 0;
    do {
      if (!queue.pop(chain, indirect)) {
        queue.rewind(buffers);
        return false;
      }
      buffers++;
      const room = chain.writableBytes;
      const wanted = frame.length - done;
      if (room === 0) {
        this.transport.needsReset(); // no sane driver offers it, and it would be found again for ever
        return false;
      }
      if (!mergeable && room < wanted) {
        queue.push(chain.head, 0);
        this.words[N_RECEIVE_DROPPED]!++;
        return true;
      }
      const filled = Math.min(room, wanted);
      if (done < 0) {
        countLow = this.addressOf(HEADER_BUFFERS_AT - HEADER_BYTES - done) || countLow;
        countHigh = this.addressOf(HEADER_BUFFERS_AT + 1 - HEADER_BYTES - done) || countHigh;
      }
      this.fill(frame, done, filled);
      queue.push(chain.head, filled);
      done += filled;
    } while (done < frame.length);
    this.memory.bytes[countLow] = buffers & 0xff;
    this.memory.bytes[countHigh] = buffers >>> 8;
    return true;
  }

  /** Linear address of byte `position` of the writable part of the chain, or 0 if it ends before. */
  private addressOf(position: number): number {
    if (position < 0) return 0;
    const chain = this.chain;
    let skip = position;
    for (let index = chain.readable; index < chain.count; index++) {
      const length = chain.length[index]!;
      if (skip < length) return chain.address[index]! + skip;
      skip -= length;
    }
    return 0;
  }

  /** Writes `length` bytes from position `from` of header and frame (the header has negative positions, all zero) into the chain. */
  private fill(frame: Uint8Array, from: number, length: number): void {
    const chain = this.chain;
    const bytes = this.memory.bytes;
    let position = from;
    const end = from + length;
    for (let index = chain.readable; index < chain.count && position < end; index++) {
      const start = chain.address[index]!;
      const take = Math.min(chain.length[index]!, end - position);
      if (take === 0) continue;
      const header = Math.min(take, Math.max(0, -position));
      if (header > 0) bytes.fill(0, start, start + header);
      if (take > header) bytes.set(frame.subarray(position + header, position + take), start + header);
      this.core.noteWrite(start - RAM, take);
      position += take;
    }
  }

  // ---- backlog: records of { length u32, bytes padded to 4 }, from head to tail ----

  private keep(frame: Uint8Array): void {
    const words = this.words;
    const size = 4 + ((frame.length + 3) & ~3);
    if (words[N_BACKLOG_TAIL]! + size > NETWORK_BACKLOG_BYTES && words[N_BACKLOG_HEAD]! > 0) {
      this.backlog.copyWithin(0, words[N_BACKLOG_HEAD]!, words[N_BACKLOG_TAIL]!);
      words[N_BACKLOG_TAIL]! -= words[N_BACKLOG_HEAD]!;
      words[N_BACKLOG_HEAD] = 0;
    }
    const at = words[N_BACKLOG_TAIL]!;
    if (at + size > NETWORK_BACKLOG_BYTES) {
      words[N_RECEIVE_DROPPED]!++;
      return;
    }
    this.backlogView.setUint32(at, frame.length, true);
    this.backlog.set(frame, at + 4);
    words[N_BACKLOG_TAIL] = at + size;
  }

  private drainBacklog(): void {
    const words = this.words;
    while (words[N_BACKLOG_HEAD]! < words[N_BACKLOG_TAIL]!) {
      const at = words[N_BACKLOG_HEAD]!;
      const length = this.backlogView.getUint32(at, true);
      if (!this.deliver(this.backlog.subarray(at + 4, at + 4 + length))) break;
      words[N_BACKLOG_HEAD] = at + 4 + ((length + 3) & ~3);
    }
    if (words[N_BACKLOG_HEAD] === words[N_BACKLOG_TAIL]) words[N_BACKLOG_HEAD] = words[N_BACKLOG_TAIL] = 0;
    this.flush();
  }
}
