/** What the guest asked for: a write or flush is done when every mirror that counts has done it, a read when one has good data. */
import { NO_BYTES } from "../foundation/bytes.js";
import type { Admission, Operation } from "./admission.js";
import type { DiskContext } from "./context.js";
import { BLOCK_BYTES, GUEST_IDLE_MS, MAX_GUEST_REQUESTS, MAX_TRANSFER_BYTES, MIRROR_WAIT_MS } from "./limits.js";
import type { MirrorRow, MirrorRows } from "./mirror-rows.js";
import type { MirrorSet } from "./mirror-set.js";
import type { DiskRequest, StoreReply } from "./types.js";

/** A request whose regions could not be settled this often ends in an I/O error. */
const MOST_ATTEMPTS = 5;

/** What other parts of the controller have to know or to do about requests. */
export interface RequestNeighbours {
  /** Has the region jobs begun that must come before. True: there are any. */
  readonly settleFirst: (request: DiskRequest) => boolean;
  /** A mirror that is being brought in sync: it gets all writes, too. Null: none. */
  readonly target: () => MirrorRow | null;
  readonly written: (request: DiskRequest) => void;
  /** A mirror has not done what it should: drop it if possible. False: it is the last one. */
  readonly failed: (row: MirrorRow, why: string) => boolean;
  /** A write failed on the last mirror: nobody knows what is there now. */
  readonly uncertain: (request: DiskRequest) => void;
  readonly repair: (blocks: readonly number[]) => void;
  readonly lost: (blocks: readonly number[]) => void;
}

class Pending implements Operation {
  readonly request: DiskRequest;
  readonly begin: () => void;
  /** Once nobody waits for it any more: what comes after it waits until all mirrors have it. */
  isExclusive = false;
  /** To whom it went in its present attempt. */
  readonly sentTo = new Set<string>();
  readonly acked = new Set<string>();
  /** Those that were lost before they answered. */
  readonly lostBy = new Set<string>();
  /** Those that could not do it. */
  readonly failedBy = new Set<string>();
  /** Read: mirrors that do not have all of it; what they have is in `bytes`, but for `missing`. */
  readonly tried = new Set<string>();
  bytes: Uint8Array = NO_BYTES;
  missing: readonly number[] = [];
  attempts = 0;
  /** No mirror could take it, since then (waitedMs); null: it is on its way. */
  stalledSince: number | null = null;
  isOver = false;

  constructor(request: DiskRequest, begin: (pending: Pending) => void) {
    this.request = request;
    this.begin = () => begin(this);
  }

  get offset(): number {
    return this.request.offset;
  }

  get lengthBytes(): number {
    return this.request.operation === "flush" ? 0 : this.request.lengthBytes;
  }
}

export class GuestRequests {
  readonly #context: DiskContext;
  readonly #mirrors: MirrorRows;
  readonly #set: MirrorSet;
  readonly #admission: Admission;
  readonly #neighbours: RequestNeighbours;
  /** In the order in which they came. */
  readonly #pending = new Set<Pending>();
  #lastAtMs = -Infinity;

  constructor(context: DiskContext, mirrors: MirrorRows, set: MirrorSet, admission: Admission, neighbours: RequestNeighbours) {
    this.#context = context;
    this.#mirrors = mirrors;
    this.#set = set;
    this.#admission = admission;
    this.#neighbours = neighbours;
  }

  get isBusy(): boolean {
    return this.#pending.size > 0 || this.#context.atMs - this.#lastAtMs < GUEST_IDLE_MS;
  }

  get hasStalled(): boolean {
    return [...this.#pending].some((each) => each.stalledSince !== null);
  }

  add(request: DiskRequest, sizeBytes: number): void {
    this.#lastAtMs = this.#context.atMs;
    const { counters } = this.#context;
    if (request.operation === "read") counters.reads += 1;
    else if (request.operation === "write") counters.writes += 1;
    else counters.flushes += 1;
    const pending = new Pending(request, (each) => this.#begin(each));
    const isSound = request.operation === "flush" || isInside(request, sizeBytes);
    if (!isSound || this.#pending.size >= MAX_GUEST_REQUESTS) return this.#answer(request, false, NO_BYTES);
    this.#pending.add(pending);
    this.#admit(pending);
  }

  /** Behind the jobs that its regions need first. */
  #admit(pending: Pending): void {
    this.#neighbours.settleFirst(pending.request);
    this.#admission.add(pending);
  }

  /**
   * Nobody waits for an answer any more. A write that is on its way still has to arrive everywhere before anything else is done there:
   * the next life of the guest must not read on one mirror what another one may never get.
   */
  forget(): void {
    for (const pending of this.#pending) {
      if (pending.request.operation === "write" && pending.sentTo.size > 0) pending.isExclusive = true;
      else this.#remove(pending);
    }
  }

  #begin(pending: Pending): void {
    if (this.#set.ready.length === 0) {
      pending.stalledSince ??= this.#context.waitedMs;
      return;
    }
    if (pending.attempts > MOST_ATTEMPTS) return this.#end(pending, false);
    if (pending.lengthBytes > 0 && this.#neighbours.settleFirst(pending.request)) {
      pending.attempts += 1;
      this.#admission.remove(pending);
      return this.#admission.add(pending);
    }
    pending.stalledSince = null;
    if (pending.request.operation === "read") this.#read(pending);
    else this.#write(pending);
  }

  /** Something changed: mirrors came or went, or a configuration came into force. */
  review(): void {
    const { ready } = this.#set;
    for (const pending of this.#pending) {
      if (pending.isOver) continue;
      if (pending.stalledSince !== null && ready.length > 0) {
        pending.stalledSince = null;
        this.#admission.remove(pending);
        this.#admit(pending);
      } else if (pending.sentTo.size > 0) {
        if (pending.request.operation === "read") this.#reviewRead(pending);
        else this.#reviewWrite(pending);
      }
    }
  }

  /** Requests that no mirror could take for too long. */
  watch(): void {
    const limitMs = this.#context.options.mirrorWaitMs ?? MIRROR_WAIT_MS;
    for (const pending of this.#pending) {
      if (pending.stalledSince !== null && this.#context.waitedMs - pending.stalledSince > limitMs) this.#end(pending, false);
    }
  }

  // ---- reads ----

  #read(pending: Pending): void {
    const row = this.#set.ready.find(({ name }) => !pending.tried.has(name));
    const { id, offset, lengthBytes } = pending.request;
    if (row === undefined) {
      this.#neighbours.lost(pending.missing);
      this.#context.event(
        "error",
        "DISK_ERROR",
        `read ${id} of ${lengthBytes} bytes at ${offset}: no good copy of ${pending.missing.length} blocks`,
      );
      return this.#end(pending, false);
    }
    pending.sentTo.clear();
    pending.sentTo.add(row.name);
    this.#mirrors.send(row.name, { kind: "read", offset, lengthBytes }, (reply) => {
      if (pending.isOver || !pending.sentTo.has(row.name)) return;
      if (reply?.outcome === "ok") return this.#readDone(pending, row, reply);
      pending.sentTo.clear();
      if (reply !== null && !this.#neighbours.failed(row, `a read failed: ${reply.why}`)) pending.tried.add(row.name);
      this.#begin(pending);
    });
  }

  #readDone(pending: Pending, row: MirrorRow, reply: StoreReply): void {
    const { offset, lengthBytes } = pending.request;
    if (reply.bytes.length !== lengthBytes) {
      pending.sentTo.clear();
      pending.tried.add(row.name);
      this.#neighbours.failed(row, "a read had another length than was asked for");
      return this.#begin(pending);
    }
    const first = offset / BLOCK_BYTES;
    if (pending.bytes.length === 0) pending.bytes = reply.bytes;
    else {
      for (const block of pending.missing) {
        const at = (block - first) * BLOCK_BYTES;
        if (!reply.bad.includes(block)) pending.bytes.set(reply.bytes.subarray(at, at + BLOCK_BYTES), at);
      }
    }
    if (reply.bad.length > 0) this.#foundBad(row, reply.bad);
    pending.missing = pending.tried.size === 0 ? reply.bad : pending.missing.filter((block) => reply.bad.includes(block));
    if (pending.missing.length === 0) return this.#end(pending, true, pending.bytes);
    pending.tried.add(row.name);
    pending.sentTo.clear();
    this.#begin(pending);
  }

  #foundBad(row: MirrorRow, bad: readonly number[]): void {
    this.#context.counters.badBlocks += bad.length;
    this.#context.event("warning", "BLOCK_BAD", `${bad.length} blocks of ${row.name} are bad, the first is ${bad[0]}`, row.name);
    this.#neighbours.repair(bad);
  }

  #reviewRead(pending: Pending): void {
    const [name] = pending.sentTo;
    if (name === undefined || this.#set.ready.some((row) => row.name === name)) return;
    pending.sentTo.clear();
    this.#begin(pending);
  }

  // ---- writes and flushes ----

  #write(pending: Pending): void {
    const { operation, offset, lengthBytes, bytes } = pending.request;
    const target = this.#neighbours.target();
    pending.sentTo.clear();
    pending.acked.clear();
    pending.lostBy.clear();
    pending.failedBy.clear();
    if (operation === "write") this.#neighbours.written(pending.request);
    const rows = target === null ? this.#set.ready : [...this.#set.ready, target];
    for (const { name } of rows) pending.sentTo.add(name);
    for (const row of rows) {
      const handler = (reply: StoreReply | null): void => this.#wrote(pending, row, reply);
      if (operation === "write") this.#mirrors.send(row.name, { kind: "write", offset, lengthBytes }, handler, bytes);
      else this.#mirrors.send(row.name, { kind: "flush" }, handler);
    }
  }

  #wrote(pending: Pending, row: MirrorRow, reply: StoreReply | null): void {
    if (reply !== null && reply.outcome !== "ok") {
      const { operation, id } = pending.request;
      const isDropped = this.#neighbours.failed(row, `a ${operation} failed: ${reply.why}`);
      if (!isDropped) {
        this.#neighbours.uncertain(pending.request);
        if (!pending.isOver) {
          this.#context.event("error", "DISK_ERROR", `${operation} ${id} failed on ${row.name}, the last mirror: ${reply.why}`, row.name);
          return this.#end(pending, false);
        }
      }
    }
    if (pending.isOver) return;
    if (reply?.outcome === "ok") pending.acked.add(row.name);
    else (reply === null ? pending.lostBy : pending.failedBy).add(row.name);
    this.#reviewWrite(pending);
  }

  #reviewWrite(pending: Pending): void {
    const target = this.#neighbours.target();
    // The same mirror may be brought in sync once more by now: this answer will never come.
    const isHopeless = (name: string): boolean => pending.lostBy.has(name) || pending.failedBy.has(name);
    const isNeeded = (name: string): boolean => this.#set.required.has(name) || (name === target?.name && !isHopeless(name));
    const awaited = [...pending.sentTo].filter((name) => isNeeded(name) && !pending.acked.has(name));
    // The last mirror was lost and is there again.
    if (awaited.some((name) => pending.lostBy.has(name) && this.#set.ready.some((row) => row.name === name))) return this.#again(pending);
    if (awaited.length > 0 || this.#isLacking(pending)) return;
    if (this.#set.inForce.some((name) => pending.acked.has(name))) return this.#end(pending, true);
    // All that have it do not count any more: those that do get it again.
    this.#again(pending);
  }

  #again(pending: Pending): void {
    pending.sentTo.clear();
    this.#begin(pending);
  }

  /** It never went to a mirror that is to be dropped, and the arbiter has not decided yet that this one does not count. */
  #isLacking(pending: Pending): boolean {
    return [...this.#set.required].some((name) => !pending.acked.has(name) && this.#mirrors.get(name).isFailed);
  }

  // ---- the end ----

  #end(pending: Pending, isOk: boolean, bytes: Uint8Array = NO_BYTES): void {
    this.#remove(pending);
    if (!pending.isExclusive) this.#answer(pending.request, isOk, bytes);
  }

  #remove(pending: Pending): void {
    if (pending.isOver) return;
    pending.isOver = true;
    this.#pending.delete(pending);
    this.#admission.remove(pending);
  }

  #answer({ id }: DiskRequest, isOk: boolean, bytes: Uint8Array): void {
    if (!isOk) this.#context.counters.errors += 1;
    this.#context.emit({ kind: "done", id, isOk, bytes });
  }
}

function isInside({ offset, lengthBytes, operation, bytes }: DiskRequest, sizeBytes: number): boolean {
  const isAligned = offset % BLOCK_BYTES === 0 && lengthBytes % BLOCK_BYTES === 0 && offset >= 0 && lengthBytes > 0;
  const isWhole = operation === "read" || bytes.length === lengthBytes;
  return isAligned && isWhole && lengthBytes <= MAX_TRANSFER_BYTES && offset + lengthBytes <= sizeBytes;
}
