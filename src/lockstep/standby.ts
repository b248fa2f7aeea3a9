/**
 * The standby: an I/O module that does not sequence. It watches the one that does and says when its place has to be taken, and it
 * keeps the last frames from the network, since those that the active one had read and not yet put into a tick are lost with it.
 */
import type { ConfigurationRecord } from "../wire/messages.js";
import { IoPeers } from "./io-peers.js";
import { IO_SILENCE_MS, MAX_BACKLOG_FRAMES, START_WAIT_MS } from "./limits.js";
import type { ServerEvent } from "./server-types.js";
import type { LockstepServer } from "./server.js";

interface KeptFrame {
  readonly port: number;
  readonly bytes: Uint8Array;
}

export class Standby {
  readonly peers: IoPeers;
  readonly #server: LockstepServer;
  /** Whom it takes for the active one. */
  #watched = "";
  /** When it began to watch, or last heard that this one acts (waitedMs). */
  #actsAt = 0;
  /** It was there: its absence means something. */
  #hasHeard = false;
  /** Whose place is being taken, until the arbiter has said who is the active one; null: nobody's. */
  #suspect: string | null = null;
  /** Whose place was taken last; null: nobody's. */
  #replaced: string | null = null;
  /** Frames since the last heartbeat of the active one, and those between it and the one before. */
  #recent: KeptFrame[] = [];
  #older: KeptFrame[] = [];

  constructor(server: LockstepServer) {
    this.#server = server;
    this.peers = new IoPeers(server);
  }

  /** Another I/O module comes, goes or speaks. */
  hear(event: Extract<ServerEvent, { kind: "ioConnected" | "ioDisconnected" | "ioMessage" }>): void {
    if (event.kind === "ioConnected") return this.peers.connected(event.name, event.incarnation);
    if (event.kind === "ioDisconnected") return this.peers.disconnected(event.name);
    const { name, message } = event;
    if (message.kind !== "heartbeat" || !this.peers.isConnected(name)) return;
    this.peers.heard(name, message);
    if (!message.isActive) return;
    if (this.#server.phase === "standby") this.#heard(name);
    else this.#server.isOvertaken(name, message.configuration);
  }

  /** Whether this module, having read the arbiter's highest record, has to stand by; then it begins to watch. */
  considerStandingBy(record: ConfigurationRecord | null): boolean {
    const { name, ioModules = [] } = this.#server.options;
    const active = record?.activeIo ?? ioModules[0] ?? name;
    const isOurs = active === name || active === this.#suspect || !this.peers.names.includes(active);
    this.#suspect = null;
    if (isOurs) return false;
    this.#watch(active);
    return true;
  }

  #watch(active: string): void {
    this.#watched = active;
    this.#actsAt = this.#server.waitedMs;
    this.#hasHeard = this.peers.isConnected(active);
  }

  #heard(name: string): void {
    if (name !== this.#watched) this.#watch(name);
    this.#actsAt = this.#server.waitedMs;
    this.#hasHeard = true;
    this.#older = this.#recent;
    this.#recent = [];
  }

  /** Why the active one's place has to be taken; null: it has not. */
  #overdue(): string | null {
    const silentMs = this.#server.waitedMs - this.#actsAt;
    if (this.#hasHeard && !this.peers.isConnected(this.#watched)) return "its connection closed";
    const limitMs = this.#hasHeard ? IO_SILENCE_MS : START_WAIT_MS;
    return silentMs > limitMs ? `it has been silent for ${limitMs} ms` : null;
  }

  /** For the next heartbeat, or because the active one is too silent then. */
  get wakeAtMs(): number {
    return Math.min(this.peers.nextBeatMs, this.#overdueAtMs);
  }

  /** When the active one's silence is too long, if it goes on (atMs); Infinity: nobody is watched. */
  get #overdueAtMs(): number {
    const { phase, waitedMs, atMs } = this.#server;
    if (phase !== "standby") return Infinity;
    // A little more, so that the time is over then and not just about to be.
    return atMs + Math.max(0, this.#actsAt + (this.#hasHeard ? IO_SILENCE_MS : START_WAIT_MS) - waitedMs) + 0.5;
  }

  /** Takes the active one's place if need be. The arbiter decides whether it is this module that goes on for it. */
  consider(): void {
    const { membership, options, waitedMs } = this.#server;
    const why = this.#overdue();
    if (why === null) return;
    this.#suspect = this.#watched;
    this.#replaced = this.#watched;
    this.#server.event("warning", "IO_TAKEOVER", `${options.name} takes the place of ${this.#watched}: ${why}`, this.#watched);
    for (const row of membership.rows.values()) row.absentSince = waitedMs;
    this.#server.phase = "asking";
    this.#server.emit({ kind: "readHighest" });
  }

  /** It was the active one until its place was taken, and has not been heard since. */
  isLost(name: string): boolean {
    return name === this.#replaced && this.peers.fresh(name) === null;
  }

  /** Tells the other I/O modules what this one is, when it is time. */
  beat(): void {
    const { membership, acts } = this.#server;
    const reached = [...membership.rows.values()].filter((row) => row.isConnected);
    this.peers.beat(
      acts,
      membership.number,
      reached.map((row) => row.name),
    );
  }

  keep(port: number, frames: readonly Uint8Array[]): void {
    for (const bytes of frames) {
      if (this.#recent.length >= MAX_BACKLOG_FRAMES) this.#recent.shift();
      this.#recent.push({ port, bytes });
    }
  }

  /** What it kept; some of it the guest may have got already, as may happen on any network. */
  takeFrames(): readonly KeptFrame[] {
    const frames = [...this.#older, ...this.#recent];
    this.#older = [];
    this.#recent = [];
    return frames;
  }
}
