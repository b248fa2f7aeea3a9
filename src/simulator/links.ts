/**
 * Links between simulated modules: each direction keeps its order and takes a random time. It can be cut for a while, one way or both;
 * as with a socket, what was sent meanwhile arrives afterwards, all at once. Or it delivers in batches, as a busy host does.
 */
import { assert } from "../foundation/assert.js";
import type { SeededRandom } from "../foundation/random.js";
import { MessageDecoder } from "../wire/codec.js";
import type { Message } from "../wire/messages.js";
import type { Timeline } from "./timeline.js";

const LEAST_MS = 0.02;
const MOST_MS = 0.4;
/** So that what was sent later on one link never arrives at the same moment. */
const APART_MS = 1e-6;

interface Link {
  freeAtMs: number;
  isCut: boolean;
  readonly held: (() => void)[];
}

export class Links {
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  /** By sender, then by receiver. */
  readonly #links = new Map<string, Map<string, Link>>();
  /** Everything arrives at multiples of this only; 0: at once. */
  batchMs = 0;

  constructor(timeline: Timeline, random: SeededRandom) {
    this.#timeline = timeline;
    this.#random = random;
  }

  #link(from: string, to: string): Link {
    let links = this.#links.get(from);
    if (links === undefined) this.#links.set(from, (links = new Map<string, Link>()));
    let link = links.get(to);
    if (link === undefined) links.set(to, (link = { freeAtMs: 0, isCut: false, held: [] }));
    return link;
  }

  /** `deliver` happens at the other end, some time after `earliestMs`. */
  send(from: string, to: string, deliver: () => void, earliestMs = 0): void {
    const link = this.#link(from, to);
    const spread = this.#random.next() / 0x1_0000_0000;
    let arrives = Math.max(this.#timeline.nowMs, earliestMs) + LEAST_MS + spread * (MOST_MS - LEAST_MS);
    if (this.batchMs > 0) arrives = Math.ceil(arrives / this.batchMs) * this.batchMs;
    arrives = Math.max(arrives, link.freeAtMs + APART_MS);
    link.freeAtMs = arrives;
    this.#timeline.at(arrives, () => (link.isCut ? void link.held.push(deliver) : deliver()));
  }

  cut(from: string, to: string): void {
    this.#link(from, to).isCut = true;
  }

  heal(from: string, to: string): void {
    const link = this.#link(from, to);
    link.isCut = false;
    // Before anything that is still on its way.
    for (const deliver of link.held.splice(0)) deliver();
  }

  get isWhole(): boolean {
    if (this.batchMs !== 0) return false;
    for (const links of this.#links.values()) for (const link of links.values()) if (link.isCut || link.held.length > 0) return false;
    return true;
  }
}

const received: Message[] = [];
let decoder: MessageDecoder | null = null;

/** What travels is encoded, so that the codec is exercised too. One decoder does for all: it is between frames whenever it is used. */
export function decodeFrame(frame: Uint8Array, deliver: (message: Message) => void): void {
  const used = (decoder ??= new MessageDecoder((message) => received.push(message)));
  // One that throws is of no use any more.
  decoder = null;
  used.push(frame);
  decoder = used;
  const [message] = received.splice(0);
  assert(message !== undefined, "a frame is one message");
  deliver(message);
}
