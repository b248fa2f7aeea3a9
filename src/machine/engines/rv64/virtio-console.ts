/**
 * The virtio console device with one named port (VIRTIO 1.2, section 5.3, MULTIPORT) and no console: the guest's agent talks to management
 * through it. What the guest writes becomes an output, one for each write, so that a write is repeated as a whole or not at all; what
 * comes for the guest waits in a backlog in device memory until there are buffers. Nobody listens while the guest has the port closed:
 * then what comes for it is dropped and counted, and so is what finds no room.
 */
import type { Rv64Core } from "./core.js";
import { AGENT_BACKLOG, AGENT_BACKLOG_BYTES, CONSOLE_SLOT, VIRTIO_STATE, VIRTIO_STATE_SIZE } from "./device-layout.js";
import { MAX_AGENT_BYTES } from "../../machine.js";
import type { GuestMemory } from "./guest-memory.js";
import type { OutputLog } from "./outputs.js";
import type { Plic } from "./plic.js";
import { DEVICE_WORDS_AT, FEATURE_EVENT_INDEX, FEATURE_INDIRECT, VirtioMmio } from "./virtio-mmio.js";
import type { VirtioDevice } from "./virtio-mmio.js";
import { transmitAll } from "./virtio-transmit.js";
import { Chain } from "./virtqueue.js";

/** By this name the guest finds the port (`/sys/class/virtio-ports/…/name`). */
export const AGENT_PORT_NAME = "org.steadfast.agent";

const DEVICE_ID_CONSOLE = 3;
const FEATURE_MULTIPORT = 1 << 1;
const PORT = 0;

// Queues: port 0, then the control queues.
const RECEIVE = 0;
const TRANSMIT = 1;
const CONTROL_RECEIVE = 2;
const CONTROL_TRANSMIT = 3;

// Control messages: port u32, event u16, value u16.
const CONTROL_BYTES = 8;
const EVENT_DEVICE_READY = 0;
const EVENT_PORT_ADD = 1;
const EVENT_PORT_READY = 3;
const EVENT_PORT_OPEN = 6;
const EVENT_PORT_NAME = 7;

// Words of the device.
const P_PRESENT = 0;
const P_TRANSMIT_HELD = 1; // the output limit was reached; go on in the next quantum
const P_TO_TELL = 2; // control messages that the driver has not taken yet: a bit for each of TOLD
const P_OPEN = 3; // a program in the guest has the port open
const P_BACKLOG_HEAD = 4;
const P_BACKLOG_TAIL = 5;
const P_RECEIVE_DROPPED = 6;
const P_TRANSMIT_DROPPED = 7;
const P_CONFIG = 8; // configuration space: columns u16, rows u16, most ports u32, emergency write u32
const CONFIG_BYTES = 12;
const CONFIG_PORTS_AT = 4;
const PORT_WORDS = 11;

/** What the driver is told, in this order. */
const TOLD = [EVENT_PORT_ADD, EVENT_PORT_NAME, EVENT_PORT_OPEN] as const;
const tellBit = (event: (typeof TOLD)[number]): number => 1 << TOLD.indexOf(event);

export class VirtioConsole implements VirtioDevice {
  readonly deviceId = DEVICE_ID_CONSOLE;
  readonly features = FEATURE_MULTIPORT;
  /** Without it the port would be a console. */
  readonly requiredFeatures = FEATURE_MULTIPORT;
  readonly queueCount = 4;
  /** Drivers fill receive queues with a page for every entry, whatever they need. */
  readonly maxQueueSize = 16;
  readonly config: Uint8Array;
  readonly transport: VirtioMmio;
  private readonly words: Uint32Array;
  private readonly backlog: Uint8Array;
  private readonly chain = new Chain();

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    plic: Plic,
    private readonly outputs: OutputLog,
  ) {
    const address = VIRTIO_STATE + CONSOLE_SLOT * VIRTIO_STATE_SIZE + DEVICE_WORDS_AT;
    this.words = memory.words(address, PORT_WORDS);
    this.config = memory.bytes.subarray(address + 4 * P_CONFIG, address + 4 * P_CONFIG + CONFIG_BYTES);
    this.backlog = memory.bytes.subarray(AGENT_BACKLOG, AGENT_BACKLOG + AGENT_BACKLOG_BYTES);
    this.transport = new VirtioMmio(memory, core, plic, CONSOLE_SLOT, this);
  }

  get isPresent(): boolean {
    return this.words[P_PRESENT] !== 0;
  }

  /** Bytes lost since power-on: received without a listener or room, sent in writes of an impossible length. */
  get dropped(): { readonly received: number; readonly sent: number } {
    return { received: this.words[P_RECEIVE_DROPPED]!, sent: this.words[P_TRANSMIT_DROPPED]! };
  }

  /** After device memory was cleared. */
  install(isPresent: boolean): void {
    if (!isPresent) return;
    this.words[P_PRESENT] = 1;
    this.config[CONFIG_PORTS_AT] = 1;
  }

  reset(): void {
    const words = this.words;
    words[P_TRANSMIT_HELD] = words[P_TO_TELL] = words[P_OPEN] = 0;
    words[P_BACKLOG_HEAD] = words[P_BACKLOG_TAIL] = 0;
  }

  notify(queue: number): void {
    if (queue === RECEIVE) this.deliver();
    else if (queue === TRANSMIT) this.transmit();
    else if (queue === CONTROL_RECEIVE) this.tell();
    else this.hear();
  }

  /** Start of a quantum: what the output limit held back last time. */
  resume(): void {
    if (this.words[P_TRANSMIT_HELD] !== 0 && this.transport.running) this.transmit();
  }

  /** Bytes for the agent. */
  receive(bytes: Uint8Array): void {
    if (!this.isPresent) return;
    const words = this.words;
    if (words[P_OPEN] === 0 || bytes.length > this.makeRoom()) {
      words[P_RECEIVE_DROPPED]! += bytes.length;
      return;
    }
    this.backlog.set(bytes, words[P_BACKLOG_TAIL]!);
    words[P_BACKLOG_TAIL]! += bytes.length;
    this.deliver();
  }

  private makeRoom(): number {
    const words = this.words;
    if (words[P_BACKLOG_HEAD]! > 0) {
      this.backlog.copyWithin(0, words[P_BACKLOG_HEAD]!, words[P_BACKLOG_TAIL]!);
      words[P_BACKLOG_TAIL]! -= words[P_BACKLOG_HEAD]!;
      words[P_BACKLOG_HEAD] = 0;
    }
    return AGENT_BACKLOG_BYTES - words[P_BACKLOG_TAIL]!;
  }

  private deliver(): void {
    const queue = this.transport.queues[RECEIVE]!;
    if (!this.transport.running || !queue.ready) return;
    const words = this.words;
    while (words[P_BACKLOG_HEAD]! < words[P_BACKLOG_TAIL]! && queue.pop(this.chain, this.transport.has(FEATURE_INDIRECT))) {
      const from = words[P_BACKLOG_HEAD]!;
      const count = Math.min(this.chain.writableBytes, words[P_BACKLOG_TAIL]! - from);
      this.chain.write(this.memory, this.core, 0, this.backlog.subarray(from, from + count));
      queue.push(this.chain.head, count);
      words[P_BACKLOG_HEAD] = from + count;
    }
    if (words[P_BACKLOG_HEAD] === words[P_BACKLOG_TAIL]) words[P_BACKLOG_HEAD] = words[P_BACKLOG_TAIL] = 0;
    if (!this.transport.running) return; // the ring was broken
    this.transport.complete(queue);
    // While nothing waits, the driver need not tell us about new buffers.
    queue.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), words[P_BACKLOG_TAIL] !== 0);
  }

  private transmit(): void {
    const queue = this.transport.queues[TRANSMIT]!;
    const isHeld = transmitAll(this.transport, queue, this.chain, this.outputs, () => this.send());
    this.words[P_TRANSMIT_HELD] = isHeld ? 1 : 0;
  }

  private send(): void {
    const length = this.chain.readableBytes;
    if (length === 0 || length > MAX_AGENT_BYTES) {
      this.words[P_TRANSMIT_DROPPED] = (this.words[P_TRANSMIT_DROPPED]! + length) >>> 0;
      return;
    }
    const bytes = new Uint8Array(length);
    this.chain.read(this.memory.bytes, 0, bytes);
    this.outputs.add({ kind: "agent", bytes }, length);
  }

  // ---- control messages ----

  /** What the driver says of itself and of the port. */
  private hear(): void {
    const queue = this.transport.queues[CONTROL_TRANSMIT]!;
    const message = new Uint8Array(CONTROL_BYTES);
    const view = new DataView(message.buffer);
    while (queue.pop(this.chain, this.transport.has(FEATURE_INDIRECT))) {
      if (this.chain.read(this.memory.bytes, 0, message) === CONTROL_BYTES)
        this.heard(view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true));
      queue.push(this.chain.head, 0);
    }
    if (!this.transport.running) return;
    this.transport.complete(queue);
    queue.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), true);
    this.tell();
  }

  private heard(port: number, event: number, value: number): void {
    const words = this.words;
    if (event === EVENT_DEVICE_READY && value === 1) words[P_TO_TELL] = tellBit(EVENT_PORT_ADD);
    if (port !== PORT) return;
    if (event === EVENT_PORT_READY && value === 1) words[P_TO_TELL]! |= tellBit(EVENT_PORT_NAME) | tellBit(EVENT_PORT_OPEN);
    if (event !== EVENT_PORT_OPEN) return;
    words[P_OPEN] = value === 0 ? 0 : 1;
    // What its last user did not read is not meant for the next one.
    if (value === 0) words[P_BACKLOG_HEAD] = words[P_BACKLOG_TAIL] = 0;
  }

  private tell(): void {
    const queue = this.transport.queues[CONTROL_RECEIVE]!;
    if (!this.transport.running || !queue.ready || this.words[P_TO_TELL] === 0) return;
    for (const event of TOLD) {
      if ((this.words[P_TO_TELL]! & tellBit(event)) === 0) continue;
      if (!queue.pop(this.chain, this.transport.has(FEATURE_INDIRECT))) break;
      const message = controlMessage(event);
      this.chain.write(this.memory, this.core, 0, message);
      queue.push(this.chain.head, Math.min(message.length, this.chain.writableBytes));
      this.words[P_TO_TELL]! &= ~tellBit(event);
    }
    if (!this.transport.running) return;
    this.transport.complete(queue);
    queue.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), this.words[P_TO_TELL] !== 0);
  }
}

function controlMessage(event: (typeof TOLD)[number]): Uint8Array {
  const name = event === EVENT_PORT_NAME ? new TextEncoder().encode(AGENT_PORT_NAME) : new Uint8Array(0);
  const message = new Uint8Array(CONTROL_BYTES + name.length);
  const view = new DataView(message.buffer);
  view.setUint32(0, PORT, true);
  view.setUint16(4, event, true);
  view.setUint16(6, 1, true);
  message.set(name, CONTROL_BYTES);
  return message;
}
