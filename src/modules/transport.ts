/**
 * Connections between modules: Unix stream sockets that carry wire messages. Both sides say hello first; a peer of another
 * protocol version, one that talks garbage and one that does not read what we send are closed. Nothing is inherited: any module
 * may connect to any other's socket at any time.
 */
import { chmodSync, rmSync } from "node:fs";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { MessageDecoder, encodeMessage, encodePieces } from "../wire/codec.js";
import { WireError } from "../wire/frame.js";
import { PROTOCOL_VERSION, type Message, type PlainMessage } from "../wire/messages.js";
import type { ModuleKind } from "../wire/control.js";
import { SteadfastError } from "../foundation/errors.js";

/** A peer that lets this much pile up does not read: its connection is closed. */
export const MAX_SEND_BUFFER_BYTES = 128 * 1024 * 1024;
const HELLO_LIMIT_MS = 5000;
const RECONNECT_MS = 20;
/** A module that is away for longer may stay away, and its slot may be empty for good: an idle host is not kept busy with failing. */
const RECONNECT_SLOWLY_MS = 250;
/** Longer than the start of a module that was lost. */
const SOON_MS = 2000;

export type Hello = Extract<PlainMessage, { kind: "hello" }>;

export interface Identity {
  readonly module: ModuleKind;
  readonly name: string;
  readonly incarnation: number;
}

export interface PeerHandlers {
  onMessage(message: Message): void;
  /** Once, however the connection ended. */
  onClose(why: string): void;
  /** What was buffered by `send` has gone to the kernel. */
  onDrain?(): void;
}

export function helloOf(self: Identity): Hello {
  const { module, name, incarnation } = self;
  return { kind: "hello", protocolVersion: PROTOCOL_VERSION, module, name, incarnation, pid: process.pid };
}

/** One established connection. `hello` is the other side's. */
export class Peer {
  readonly hello: Hello;
  readonly #socket: Socket;
  #handlers: PeerHandlers | null = null;
  #closed: string | null = null;

  constructor(socket: Socket, hello: Hello) {
    this.#socket = socket;
    this.hello = hello;
  }

  /** @internal Called by the handshake. */
  attach(handlers: PeerHandlers): void {
    this.#handlers = handlers;
    this.#socket.on("drain", () => handlers.onDrain?.());
  }

  /** @internal */
  deliver(message: Message): void {
    if (this.#closed === null) this.#handlers?.onMessage(message);
  }

  get closed(): boolean {
    return this.#closed !== null;
  }

  /** Bytes accepted by `send` that the kernel has not taken yet. */
  get bufferedBytes(): number {
    return this.#socket.writableLength;
  }

  send(message: Message): void {
    this.sendPieces(encodePieces(message));
  }

  /** For a message that goes to several peers: encoded once. The pieces must not be changed afterwards. */
  sendPieces(pieces: readonly Uint8Array[]): void {
    if (this.#closed !== null) return;
    // Corked, several pieces go to the kernel with one call.
    if (pieces.length > 1) this.#socket.cork();
    for (const piece of pieces) this.#socket.write(piece);
    if (pieces.length > 1) this.#socket.uncork();
    if (this.#socket.writableLength > MAX_SEND_BUFFER_BYTES) this.close("it does not read what it is sent");
  }

  /** Ends the connection at once; what is still buffered is dropped. `onClose` is called before this returns. */
  close(why: string): void {
    if (this.#closed !== null) return;
    this.#closed = why;
    this.#socket.destroy();
    this.#handlers?.onClose(why);
  }
}

/** Runs the handshake on a fresh socket. `accept` gets the peer once its hello is in, and returns the handlers (null: refuse). */
function handshake(socket: Socket, self: Identity, accept: (peer: Peer) => PeerHandlers | null, onFailure: (why: string) => void): void {
  let peer: Peer | null = null;
  const fail = (why: string): void => {
    clearTimeout(limit);
    if (peer !== null) peer.close(why);
    else {
      socket.destroy();
      onFailure(why);
      onFailure = () => undefined;
    }
  };
  const limit = setTimeout(() => fail("it said no hello"), HELLO_LIMIT_MS);
  const decoder = new MessageDecoder((message) => {
    if (peer !== null) return peer.deliver(message);
    if (message.kind !== "hello") throw new WireError("the first message is not a hello");
    if (message.protocolVersion !== PROTOCOL_VERSION) throw new WireError(`protocol version ${message.protocolVersion}`);
    clearTimeout(limit);
    const fresh = new Peer(socket, message);
    const handlers = accept(fresh);
    if (handlers === null) return fail("refused");
    peer = fresh;
    fresh.attach(handlers);
    // Closed by what `accept` itself set off: the handlers hear of it all the same.
    if (fresh.closed) handlers.onClose("refused");
  });
  socket.on("data", (chunk: Buffer) => {
    if (peer?.closed) return;
    try {
      decoder.push(chunk);
    } catch (error) {
      // Anything but garbage on the wire is a defect of ours and must not be swallowed here.
      if (!(error instanceof WireError)) throw error;
      fail(`it sent ${error.message}`);
    }
  });
  socket.on("error", (error) => fail(error.message));
  socket.on("close", () => fail("connection closed"));
  socket.write(encodeMessage(helloOf(self)));
}

export interface Listener {
  close(): void;
}

/** Listens on `path`; a stale socket file of a dead process is replaced. */
export async function listenForPeers(path: string, self: Identity, accept: (peer: Peer) => PeerHandlers | null): Promise<Listener> {
  rmSync(path, { force: true });
  const server: Server = createServer((socket) => handshake(socket, self, accept, () => undefined));
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => reject(new SteadfastError("MODULE_SOCKET", { path, why: error.message })));
    server.listen(path, resolve);
  });
  chmodSync(path, 0o600);
  return {
    close: () => {
      server.close();
      rmSync(path, { force: true });
    },
  };
}

export interface Link {
  close(): void;
}

export interface KeptLink extends Link {
  /** The module is about to be there: tries often again. */
  soon(): void;
}

/** Connects once. */
export function connectPeer(
  path: string,
  self: Identity,
  accept: (peer: Peer) => PeerHandlers | null,
  onFailure: (why: string) => void,
): Link {
  const socket = createConnection(path);
  handshake(socket, self, accept, onFailure);
  return { close: () => socket.destroy() };
}

/** How long to wait before the next attempt: not long, for a while, after the module was there or was said to come. Pure. */
export class ReconnectPace {
  #soonUntilMs: number;

  constructor(nowMs: number) {
    this.#soonUntilMs = nowMs + SOON_MS;
  }

  soon(nowMs: number): void {
    this.#soonUntilMs = nowMs + SOON_MS;
  }

  delayMs(nowMs: number): number {
    return nowMs < this.#soonUntilMs ? RECONNECT_MS : RECONNECT_SLOWLY_MS;
  }
}

/** Connects, and connects again whenever the connection ended, until closed; less often to a module that stays away. */
export function keepConnected(path: string, self: Identity, accept: (peer: Peer) => PeerHandlers | null): KeptLink {
  let closed = false;
  let link: Link | null = null;
  let timer: NodeJS.Timeout | null = null;
  const pace = new ReconnectPace(performance.now());
  const again = (): void => {
    if (closed || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      attempt();
    }, pace.delayMs(performance.now()));
  };
  const attempt = (): void => {
    const wrapped = (peer: Peer): PeerHandlers | null => {
      const handlers = accept(peer);
      if (handlers === null) return null;
      return {
        ...handlers,
        onMessage: (message) => handlers.onMessage(message),
        onClose: (why) => {
          pace.soon(performance.now());
          handlers.onClose(why);
          again();
        },
      };
    };
    link = connectPeer(path, self, wrapped, again);
  };
  attempt();
  return {
    close: () => {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      link?.close();
    },
    soon: () => {
      pace.soon(performance.now());
      if (timer === null) return;
      clearTimeout(timer);
      timer = null;
      again();
    },
  };
}
