/** Connections between simulated I/O modules. */
import { encodeMessage } from "../wire/codec.js";
import type { Message } from "../wire/messages.js";
import { decodeFrame, type Links } from "./links.js";
import type { MirrorPeer } from "../lockstep/mirror-links.js";
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
    const peer: MirrorPeer = { hello: { name: from.name }, send: (message) => this.send(to, from.name, message), close: () => undefined };
    this.#links.send(from.name, to.name, () => {
      if (to.peers.get(from.name) !== from) return;
      const connect = (): boolean => to.mirrorPeers.set(from.name, peer).size > 0;
      const event = { kind: "ioConnected", name: from.name, incarnation: from.incarnation } as const;
      to.dispatch(event, connect, () => to.mirrors?.connected(peer));
    });
  }

  /** It has ended, and the others hear of it. */
  close(io: SimulatedIo): void {
    for (const other of io.peers.values()) {
      this.#links.send(io.name, other.name, () => {
        if (other.peers.get(io.name) !== io) return;
        other.peers.delete(io.name);
        const peer = other.mirrorPeers.get(io.name);
        const disconnect = (): boolean => {
          if (peer !== undefined && other.mirrorPeers.get(io.name) === peer) {
            other.mirrorPeers.delete(io.name);
            other.mirrors?.disconnected(peer);
          }
          return true;
        };
        other.dispatch({ kind: "ioDisconnected", name: io.name }, disconnect);
      });
    }
  }

  send(io: SimulatedIo, name: string, message: Message): void {
    const peer = io.peers.get(name);
    if (peer === undefined) return;
    const frame = encodeMessage(message);
    this.#links.send(io.name, name, () => {
      if (peer.peers.get(io.name) !== io) return;
      decodeFrame(frame, (decoded) => {
        const isForServer = (): boolean => {
          const from = peer.mirrorPeers.get(io.name);
          return from === undefined || peer.mirrors?.message(from, decoded) !== true;
        };
        peer.dispatch({ kind: "ioMessage", name: io.name, message: decoded }, isForServer);
      });
    });
  }
}
