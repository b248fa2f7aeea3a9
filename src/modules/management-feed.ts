/**
 * What an I/O module tells management. The last messages are kept and numbered: while a management module hangs or another one takes
 * its place, nobody may be listening, and whoever follows next is told them again and knows by the numbers what is new.
 */
import { encodeMessage } from "../wire/codec.js";
import type { IoToManagement, ServerStatus } from "../wire/control.js";
import type { Peer } from "./transport.js";

/** The oldest are dropped first. */
const MAX_KEPT_MESSAGES = 1000;
/** A manager that does not read gets no status until it does; the rest is bounded by the transport. */
const MAX_MANAGER_BUFFER_BYTES = 256 * 1024;

export class ManagementFeed {
  readonly #managers = new Set<Peer>();
  readonly #kept: Uint8Array[] = [];
  #number = 0;

  get isFollowed(): boolean {
    return this.#managers.size > 0;
  }

  follow(peer: Peer): void {
    for (const frame of this.#kept) peer.sendPieces([frame]);
    this.#managers.add(peer);
  }

  leave(peer: Peer): void {
    this.#managers.delete(peer);
  }

  tell(message: IoToManagement): void {
    this.#number += 1;
    const frame = encodeMessage({ kind: "control", text: JSON.stringify({ ...message, number: this.#number }) });
    this.#kept.push(frame);
    if (this.#kept.length > MAX_KEPT_MESSAGES) this.#kept.shift();
    for (const peer of this.#managers) peer.sendPieces([frame]);
  }

  /** Not kept: the next one says it all. */
  report(status: ServerStatus): void {
    const frame = encodeMessage({ kind: "control", text: JSON.stringify({ kind: "status", status } satisfies IoToManagement) });
    for (const peer of this.#managers) if (peer.bufferedBytes < MAX_MANAGER_BUFFER_BYTES) peer.sendPieces([frame]);
  }
}
