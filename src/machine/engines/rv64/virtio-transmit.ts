/** What the devices with a transmit queue have in common: the network and the agent's port. */
import type { OutputLog } from "./outputs.js";
import { FEATURE_EVENT_INDEX, FEATURE_INDIRECT, type VirtioMmio } from "./virtio-mmio.js";
import type { Chain, VirtQueue } from "./virtqueue.js";

/**
 * Has `send` carry out each request that waits, in `chain`, until the output limit, and tells the driver what is finished. Returns whether
 * the limit was reached: then it is to go on in the next quantum.
 */
export function transmitAll(transport: VirtioMmio, queue: VirtQueue, chain: Chain, outputs: OutputLog, send: () => void): boolean {
  const indirect = transport.has(FEATURE_INDIRECT);
  while (!outputs.full && queue.pop(chain, indirect)) {
    send();
    queue.push(chain.head, 0);
  }
  const isHeld = outputs.full;
  if (transport.running) {
    transport.complete(queue);
    queue.requestNotification(transport.has(FEATURE_EVENT_INDEX), true);
  }
  return isHeld;
}
