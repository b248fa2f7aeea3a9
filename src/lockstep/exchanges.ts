/**
 * Requests to the guest and how long their answers took, as the network shows them: the first bytes of a client over TCP or UDP (IPv4) until
 * the next bytes that the guest sends it. What they say is not looked at, so that every protocol counts; so do
 * the guest's own connections to others, from their answer to what it sends next.
 */

/** Clients who wait for an answer; of more, those who wait for longest are not counted. */
export const MAX_OPEN_EXCHANGES = 4096;
/** What the guest says after this long is more likely its own idea than an answer. */
export const LONGEST_ANSWER_MS = 10_000;

const ETHERNET_BYTES = 14;
const IPV4_BYTES = 20;
const UDP_BYTES = 8;
const TCP_BYTES = 20;
const ETHERTYPE_AT = 12;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;

export interface ExchangeCounters {
  readonly requests: number;
  /** Until their answers began, all together. */
  readonly answerMs: number;
}

export const NO_EXCHANGES: ExchangeCounters = { requests: 0, answerMs: 0 };

export class ExchangeMeter {
  /** Since when, by the client's address and port: a client has a port of its own for each connection. */
  readonly #openSinceMs = new Map<number, number>();
  #requests = 0;
  #answerMs = 0;

  get counters(): ExchangeCounters {
    return { requests: this.#requests, answerMs: this.#answerMs };
  }

  toGuest(frame: Uint8Array, atMs: number): void {
    const client = clientOf(frame, false);
    if (client === null) return;
    const since = this.#openSinceMs.get(client);
    // One that was never answered has been given up, and this is another that came by the same port.
    if (since !== undefined && atMs - since <= LONGEST_ANSWER_MS) return;
    // To the end: the oldest are forgotten first.
    this.#openSinceMs.delete(client);
    if (this.#openSinceMs.size >= MAX_OPEN_EXCHANGES) this.#forgetOldest();
    this.#openSinceMs.set(client, atMs);
  }

  fromGuest(frame: Uint8Array, atMs: number): void {
    if (this.#openSinceMs.size === 0) return;
    const client = clientOf(frame, true);
    const since = client === null ? undefined : this.#openSinceMs.get(client);
    if (client === null || since === undefined) return;
    this.#openSinceMs.delete(client);
    if (atMs - since > LONGEST_ANSWER_MS) return;
    this.#requests += 1;
    this.#answerMs += atMs - since;
  }

  #forgetOldest(): void {
    const [oldest] = this.#openSinceMs.keys();
    if (oldest !== undefined) this.#openSinceMs.delete(oldest);
  }
}

/** Address and port of the client of a frame that carries bytes of it or for it; null: it carries none. */
function clientOf(frame: Uint8Array, isFromGuest: boolean): number | null {
  if (frame.length < ETHERNET_BYTES + IPV4_BYTES + UDP_BYTES || u16(frame, ETHERTYPE_AT) !== ETHERTYPE_IPV4) return null;
  const headerBytes = ((frame[ETHERNET_BYTES] as number) & 0x0f) * 4;
  const transportAt = ETHERNET_BYTES + headerBytes;
  // A later part of a packet that was cut in pieces has no ports.
  const isLaterPart = (u16(frame, ETHERNET_BYTES + 6) & 0x1fff) !== 0;
  if (headerBytes < IPV4_BYTES || isLaterPart || transportAt + UDP_BYTES > frame.length) return null;
  // What follows the packet only fills the frame up.
  const carriedBytes = u16(frame, ETHERNET_BYTES + 2) - headerBytes;
  const protocol = frame[ETHERNET_BYTES + 9];
  if (protocol === PROTOCOL_TCP) {
    if (transportAt + TCP_BYTES > frame.length || carriedBytes <= ((frame[transportAt + 12] as number) >> 4) * 4) return null;
  } else if (protocol !== PROTOCOL_UDP || carriedBytes <= UDP_BYTES) return null;
  const address = ETHERNET_BYTES + (isFromGuest ? 16 : 12);
  const port = u16(frame, transportAt + (isFromGuest ? 2 : 0));
  return (u16(frame, address) * 0x10000 + u16(frame, address + 2)) * 0x10000 + port;
}

function u16(bytes: Uint8Array, at: number): number {
  return ((bytes[at] as number) << 8) | (bytes[at + 1] as number);
}
