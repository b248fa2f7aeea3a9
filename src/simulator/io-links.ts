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
      // The end of a former connection may not have come through yet: as the module does, it is closed first.
      if (to.mirrorPeers.has(from.name)) this.#disconnect(to, from.name);
      const connect = (): boolean => to.mirrorPeers.set(from.name, peer).size > 0;
      const event = { kind: "ioConnected", name: from.name, incarnation: from.incarnation } as const;
      to.dispatch(event, connect, () => to.mirrors?.connected(peer));
    });
  }

  #disconnect(io: SimulatedIo, name: string): void {
    const peer = io.mirrorPeers.get(name);
    const disconnect = (): boolean => {
      if (peer !== undefined && io.mirrorPeers.get(name) === peer) {
        io.mirrorPeers.delete(name);
        io.mirrors?.disconnected(peer);
      }
      return true;
    };
    io.dispatch({ kind: "ioDisconnected", name }, disconnect);
  }

  /** It has ended, and the others hear of it. */
  close(io: SimulatedIo): void {
    for (const other of io.peers.values()) {
      this.#links.send(io.name, other.name, () => {
        if (other.peers.get(io.name) !== io) return;
        other.peers.delete(io.name);
        this.#disconnect(other, io.name);
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
