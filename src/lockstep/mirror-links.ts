/**
 * Commands of a disk controller on their way to the mirrors and back: to the mirror that this I/O module holds itself, and through
 * connections between I/O modules to the others. Every I/O module serves its mirror, whoever is the active one.
 */
import { parseMirrorHeader, parseStoreCommand, parseStoreReply, storeText } from "../storage/messages.js";
import type { MirrorHeader, StoreCommand, StoreReply } from "../storage/types.js";
import type { Message } from "../wire/messages.js";
import type { ServerEvent } from "./server-types.js";

type Upwards = Extract<ServerEvent, { kind: "mirrorUp" | "mirrorDown" | "mirrorReply" }>;
type Untimed = Upwards extends infer E ? (E extends Upwards ? Omit<E, "atMs"> : never) : never;

/** A connection to another I/O module. */
export interface MirrorPeer {
  readonly hello: { readonly name: string };
  send(message: Message): void;
  close(why: string): void;
}

/** The mirror that an I/O module holds itself. */
export interface OwnMirror {
  readonly header: MirrorHeader;
  submit(command: StoreCommand): void;
  onReply(listener: (reply: StoreReply) => void): void;
}

/** Of a header: what a controller has to know before it has asked. The rest it learns by asking. */
const FACTS = ["diskId", "sizeBytes", "syncedAt"] as const;

export class MirrorLinks {
  readonly #self: string;
  /** Null: this I/O module holds no mirror, or none that could be opened yet. */
  #store: OwnMirror | null = null;
  /** What was said of it last. */
  #announced: MirrorHeader | null = null;
  readonly #peers: ReadonlyMap<string, MirrorPeer>;
  readonly #dispatch: (event: Untimed) => void;
  /** Who waits for a reply of our own store; null: our own controller. As many as the controllers have commands under way. */
  readonly #askers = new Map<string, MirrorPeer | null>();

  constructor(self: string, peers: ReadonlyMap<string, MirrorPeer>, dispatch: (event: Untimed) => void) {
    this.#self = self;
    this.#peers = peers;
    this.#dispatch = dispatch;
  }

  /** This module's own mirror can be used from now on: our controller hears of it, and whoever is connected. */
  opened(store: OwnMirror): void {
    this.#store = store;
    store.onReply((reply) => this.#replied(reply));
    this.#announce(store.header);
  }

  /** What the mirror is now, to our own controller and to everybody who may come to need it. */
  #announce(header: MirrorHeader): void {
    this.#announced = header;
    this.#dispatch({ kind: "mirrorUp", name: this.#self, header });
    for (const peer of this.#peers.values()) this.connected(peer);
  }

  /** To another mirror than our own: one that is gone meanwhile does not answer, and the controller hears that it is gone. */
  command(mirror: string, command: StoreCommand): void {
    if (mirror === this.#self) this.#submit(null, command);
    else this.#peers.get(mirror)?.send({ kind: "mirrorCommand", text: storeText(command), bytes: command.bytes });
  }

  connected(peer: MirrorPeer): void {
    if (this.#store !== null) peer.send({ kind: "mirrorHeader", text: JSON.stringify(this.#store.header) });
  }

  disconnected(peer: MirrorPeer): void {
    for (const [key, asker] of this.#askers) if (asker === peer) this.#askers.delete(key);
    this.#dispatch({ kind: "mirrorDown", name: peer.hello.name });
  }

  /** True: it was about mirrors. What makes no sense comes from another version, whose connection is closed. */
  message(peer: MirrorPeer, message: Message): boolean {
    const { name } = peer.hello;
    switch (message.kind) {
      case "mirrorHeader": {
        const header = parseMirrorHeader(message.text);
        if (header === null) peer.close("it sent a mirror's header that is none");
        else this.#dispatch({ kind: "mirrorUp", name, header });
        return true;
      }
      case "mirrorCommand": {
        const command = parseStoreCommand(message.text, message.bytes);
        if (command === null) peer.close("it sent a command for a mirror that is none");
        else this.#submit(peer, command);
        return true;
      }
      case "mirrorReply": {
        const reply = parseStoreReply(message.text, message.bytes);
        if (reply === null) peer.close("it sent a mirror's reply that is none");
        else this.#dispatch({ kind: "mirrorReply", name, reply });
        return true;
      }
      default:
        return false;
    }
  }

  #submit(asker: MirrorPeer | null, command: StoreCommand): void {
    this.#askers.set(keyOf(command), asker);
    this.#store?.submit(command);
  }

  #replied(reply: StoreReply): void {
    // Others drive it meanwhile: whoever takes over must not take it for what it was when they met.
    const isSame = FACTS.every((fact) => this.#announced?.[fact] === reply.header[fact]);
    if (!isSame) this.#announce(reply.header);
    const key = keyOf(reply);
    const asker = this.#askers.get(key);
    // The one who asked is gone.
    if (asker === undefined) return;
    this.#askers.delete(key);
    if (asker === null) this.#dispatch({ kind: "mirrorReply", name: this.#self, reply });
    else asker.send({ kind: "mirrorReply", text: storeText(reply), bytes: reply.bytes });
  }
}

/** A number of a configuration belongs to one controller only. */
function keyOf({ configuration, ticket }: StoreCommand | StoreReply): string {
  return `${configuration} ${ticket}`;
}
