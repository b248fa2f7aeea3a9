/**
 * The virtio entropy device. Randomness is an input (DESIGN section 1): a request of the guest becomes an `entropyRequest` output, and the
 * bytes that come back as an `entropy` input complete the oldest request. At most a few requests are outstanding; others wait in the ring.
 */
import type { Rv64Core } from "./core.js";
import { ENTROPY_SLOT, VIRTIO_STATE, VIRTIO_STATE_SIZE } from "./device-layout.js";
import type { GuestMemory } from "./guest-memory.js";
import { RAM } from "./layout.js";
import type { OutputLog } from "./outputs.js";
import type { Plic } from "./plic.js";
import { DEVICE_WORDS_AT, FEATURE_EVENT_INDEX, FEATURE_INDIRECT, VirtioMmio } from "./virtio-mmio.js";
import type { VirtioDevice } from "./virtio-mmio.js";
import { Chain } from "./virtqueue.js";

/** Requests sent out and not yet answered. */
export const MAX_ENTROPY_REQUESTS = 8;
/** Bytes asked for at a time; a larger buffer is answered in part, which the driver allows. */
export const MAX_ENTROPY_BYTES = 64;

const DEVICE_ID_ENTROPY = 4;
const E_ASKED = 0;
const ENTROPY_WORDS = 4;

export class VirtioEntropy implements VirtioDevice {
  readonly deviceId = DEVICE_ID_ENTROPY;
  readonly features = 0;
  readonly queueCount = 1;
  readonly config = new Uint8Array(0);
  readonly transport: VirtioMmio;
  private readonly words: Uint32Array;
  private readonly chain = new Chain();

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    plic: Plic,
    private readonly outputs: OutputLog,
  ) {
    this.words = memory.words(VIRTIO_STATE + ENTROPY_SLOT * VIRTIO_STATE_SIZE + DEVICE_WORDS_AT, ENTROPY_WORDS);
    this.transport = new VirtioMmio(memory, core, plic, ENTROPY_SLOT, this);
  }

  reset(): void {
    this.words[E_ASKED] = 0;
  }

  /** Asks for every request that waits in the ring and has not been asked for, up to the limit. */
  notify(): void {
    const waiting = Math.min(this.transport.queues[0]!.waiting, MAX_ENTROPY_REQUESTS);
    while (this.words[E_ASKED]! < waiting) {
      this.words[E_ASKED]!++;
      this.outputs.add({ kind: "entropyRequest", lengthBytes: MAX_ENTROPY_BYTES }, 0);
    }
    this.transport.queues[0]!.requestNotification(this.transport.has(FEATURE_EVENT_INDEX), true);
  }

  /** Random bytes from outside. Without a request (the guest reset the device meanwhile) they are not used. */
  provide(bytes: Uint8Array): void {
    const queue = this.transport.queues[0]!;
    if (this.words[E_ASKED] === 0 || !this.transport.running || !queue.ready) return;
    this.words[E_ASKED]!--;
    const chain = this.chain;
    if (!queue.pop(chain, this.transport.has(FEATURE_INDIRECT))) return;
    let done = 0;
    for (let index = chain.readable; index < chain.count && done < bytes.length; index++) {
      const take = Math.min(chain.length[index]!, bytes.length - done);
      if (take === 0) continue;
      this.memory.bytes.set(bytes.subarray(done, done + take), chain.address[index]!);
      this.core.noteWrite(chain.address[index]! - RAM, take);
      done += take;
    }
    queue.push(chain.head, done);
    this.transport.complete(queue);
    this.notify();
  }
}
