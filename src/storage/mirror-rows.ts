/** The mirrors that a controller knows, and what is under way to each. */
import { assert } from "../foundation/assert.js";
import { NO_BYTES } from "../foundation/bytes.js";
import { MOST_CREDITED_MS, SLOWNESS_FORGOTTEN_SHARE } from "./limits.js";
import { BLANK_HEADER } from "./mirror-header.js";
import type { MirrorHeader, StoreCommand, StoreOperation, StoreReply } from "./types.js";

/** Null: the mirror was lost before it answered. */
export type ReplyHandler = (reply: StoreReply | null) => void;

interface Outstanding {
  readonly configuration: number;
  readonly handler: ReplyHandler;
  readonly sentAt: number;
}

export class MirrorRow {
  readonly name: string;
  isUp = false;
  header: MirrorHeader = BLANK_HEADER;
  /** Its logs came in since it is up and in sync: it may serve. */
  isReady = false;
  /** It has written down that it is in sync as of this configuration. */
  confirmed = 0;
  /** It does not count any more; until the next configuration says so, what needs it waits. */
  isFailed = false;
  /** Not brought in sync before this (atMs). */
  retryAtMs = 0;
  faults = 0;
  readonly #outstanding = new Map<number, Outstanding>();
  #slownessMs = 0;
  #accountedMs = 0;

  constructor(name: string) {
    this.name = name;
  }

  /** Adds the time since the last account to how long it was slow, or forgets some of that; the sum. Times are waitedMs. */
  account(waitedMs: number, isSlow: boolean): number {
    const passedMs = waitedMs - this.#accountedMs;
    this.#accountedMs = waitedMs;
    // While it was no mirror in sync nobody kept account.
    this.#slownessMs = isSlow
      ? this.#slownessMs + Math.min(passedMs, MOST_CREDITED_MS)
      : Math.max(0, this.#slownessMs - passedMs * SLOWNESS_FORGOTTEN_SHARE);
    return this.#slownessMs;
  }

  /** Since when the oldest answer is due (waitedMs); Infinity: none is. */
  get waitingSince(): number {
    for (const { sentAt } of this.#outstanding.values()) return sentAt;
    return Infinity;
  }

  sent(command: StoreCommand, sentAt: number, handler: ReplyHandler): void {
    this.#outstanding.set(command.ticket, { configuration: command.configuration, handler, sentAt });
  }

  /** The one who waits for this reply; null: nobody, it belongs to another controller or connection. */
  take(reply: StoreReply): ReplyHandler | null {
    const found = this.#outstanding.get(reply.ticket);
    if (found === undefined || found.configuration !== reply.configuration) return null;
    this.#outstanding.delete(reply.ticket);
    this.header = reply.header;
    return found.handler;
  }

  lose(): void {
    this.isUp = false;
    this.isReady = false;
    this.confirmed = 0;
    const lost = [...this.#outstanding.values()];
    this.#outstanding.clear();
    for (const { handler } of lost) handler(null);
  }
}

export class MirrorRows {
  readonly rows: ReadonlyMap<string, MirrorRow>;
  readonly #emit: (mirror: string, command: StoreCommand) => void;
  /** The configuration under which commands go out. */
  number = 0;
  waitedMs = 0;
  #tickets = 0;
  #revision = 0;

  constructor(names: readonly string[], emit: (mirror: string, command: StoreCommand) => void) {
    this.rows = new Map(names.map((name) => [name, new MirrorRow(name)]));
    this.#emit = emit;
  }

  /** Raised with every change of who counts, serves, or is brought in sync. */
  get revision(): number {
    return this.#revision;
  }

  /** Some mirror owes an answer. */
  get isWaiting(): boolean {
    for (const row of this.rows.values()) if (row.waitingSince !== Infinity) return true;
    return false;
  }

  changed(): void {
    this.#revision += 1;
  }

  get(name: string): MirrorRow {
    const row = this.rows.get(name);
    assert(row !== undefined, `${name} is a mirror of this disk`);
    return row;
  }

  send(name: string, operation: StoreOperation, handler: ReplyHandler, bytes: Uint8Array = NO_BYTES): void {
    const row = this.get(name);
    assert(row.isUp, `${name} is there`);
    const command: StoreCommand = { ticket: ++this.#tickets, configuration: this.number, operation, bytes };
    row.sent(command, this.waitedMs, handler);
    this.#emit(name, command);
  }
}
