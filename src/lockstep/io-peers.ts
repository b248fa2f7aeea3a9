/**
 * The other I/O modules: who is connected, what they last said of themselves, and our own heartbeats to them. The active one learns
 * from it who could take its place, a standby whether it has to.
 */
import type { Message } from "../wire/messages.js";
import type { ServerContext } from "./context.js";
import { HEARTBEAT_MS, IO_SILENCE_MS } from "./limits.js";

export type Heartbeat = Extract<Message, { kind: "heartbeat" }>;

interface IoPeer {
  isConnected: boolean;
  incarnation: number;
  /** Its last word in this connection; null: none yet. */
  last: Heartbeat | null;
  /** When that came, on the clock that counts waiting (server.ts). */
  heardAt: number;
}

export class IoPeers {
  readonly #context: ServerContext;
  readonly #peers: ReadonlyMap<string, IoPeer>;
  #nextBeatMs = 0;

  constructor(context: ServerContext) {
    this.#context = context;
    const { ioModules = [], name } = context.options;
    const others = ioModules.filter((each) => each !== name);
    this.#peers = new Map(others.map((each) => [each, { isConnected: false, incarnation: 0, last: null, heardAt: 0 }]));
  }

  get names(): readonly string[] {
    return [...this.#peers.keys()];
  }

  connected(name: string, incarnation: number): void {
    this.#set(name, true);
    const peer = this.#peers.get(name);
    if (peer !== undefined) peer.incarnation = incarnation;
    // It should not have to wait for what we are.
    this.#nextBeatMs = 0;
  }

  disconnected(name: string): void {
    this.#set(name, false);
  }

  #set(name: string, isConnected: boolean): void {
    const peer = this.#peers.get(name);
    if (peer !== undefined) Object.assign(peer, { isConnected, last: null, heardAt: this.#context.waitedMs });
  }

  heard(name: string, heartbeat: Heartbeat): void {
    const peer = this.#peers.get(name);
    if (peer !== undefined) Object.assign(peer, { last: heartbeat, heardAt: this.#context.waitedMs });
  }

  incarnationOf(name: string): number {
    return this.#peers.get(name)?.incarnation ?? 0;
  }

  isConnected(name: string): boolean {
    return this.#peers.get(name)?.isConnected ?? false;
  }

  /** Its last word, if that is not too old; null: it is not there, or silent. */
  fresh(name: string): Heartbeat | null {
    const peer = this.#peers.get(name);
    return peer === undefined || this.#context.waitedMs - peer.heardAt > IO_SILENCE_MS ? null : peer.last;
  }

  /** It is connected, and yet says nothing. */
  isSilent(name: string): boolean {
    const peer = this.#peers.get(name);
    return peer?.isConnected === true && this.#context.waitedMs - peer.heardAt > IO_SILENCE_MS;
  }

  /** Could it take over at once: is it there, and connected to all of these CPU modules? */
  isReady(name: string, cpus: readonly string[]): boolean {
    const last = this.fresh(name);
    return last !== null && !last.isActive && cpus.every((cpu) => last.cpus.includes(cpu));
  }

  /** Our own heartbeat, when it is due. Nobody is told more often than every `HEARTBEAT_MS`. */
  beat(isActive: boolean, configuration: number, cpus: readonly string[]): void {
    const { atMs } = this.#context;
    if (atMs < this.#nextBeatMs) return;
    this.#nextBeatMs = atMs + HEARTBEAT_MS;
    for (const [name, { isConnected }] of this.#peers)
      if (isConnected) this.#context.emit({ kind: "send", to: name, message: { kind: "heartbeat", isActive, configuration, cpus } });
  }

  /** When `beat` has something to do next. */
  get nextBeatMs(): number {
    return this.#peers.size === 0 ? Infinity : this.#nextBeatMs;
  }
}
