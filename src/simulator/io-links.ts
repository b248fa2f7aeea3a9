/** Connections between simulated I/O modules. */
import { encodeMessage } from "../wire/codec.js";
import type { Message } from "../wire/messages.js";
import { decodeFrame, type Links } from "./links.js";
import type { SimulatedIo } from "./simulated-io.js";

export class IoLinks {
  readonly #links: Links;

  constructor(links: Links) {
    this.#links = links;
  }

  /** Both hear of it, if both live. */
  connect(io: SimulatedIo, other: SimulatedIo | undefined): void {
    if (other === undefined || other.state === "ended" || io.state === "ended") return;
    this.#announce(io, other);
    this.#announce(other, io);
  }

  #announce(from: SimulatedIo, to: SimulatedIo): void {
    from.peers.set(to.name, to);
    this.#links.send(from.name, to.name, () => {
      if (to.peers.get(from.name) === from) to.dispatch({ kind: "ioConnected", name: from.name, incarnation: from.incarnation });
    });
  }

  /** It has ended, and the others hear of it. */
  close(io: SimulatedIo): void {
    for (const other of io.peers.values()) {
      this.#links.send(io.name, other.name, () => {
        if (other.peers.get(io.name) !== io) return;
        other.peers.delete(io.name);
        other.dispatch({ kind: "ioDisconnected", name: io.name });
      });
    }
  }

  send(io: SimulatedIo, name: string, message: Message): void {
    const peer = io.peers.get(name);
    if (peer === undefined) return;
    const frame = encodeMessage(message);
    this.#links.send(io.name, name, () => {
      if (peer.peers.get(io.name) === io)
        decodeFrame(frame, (decoded) => peer.dispatch({ kind: "ioMessage", name: io.name, message: decoded }));
    });
  }
}
