/**
 * The controller of a mirrored disk, in the active I/O module: takes the guest's requests, drives the mirrors, decides which of them
 * count and asks the arbiter (through its I/O module) for every change of that. Pure: `step(event)`, effects come out of `emit`.
 *
 * - A write is on every mirror that counts before it is done; a mirror that fails stops counting first, by a configuration.
 * - The last mirror is never dropped: its errors are the guest's.
 * - What a predecessor has left under way is compared before it is read (settlement.ts).
 */
import { assert } from "../foundation/assert.js";
import { NO_BYTES } from "../foundation/bytes.js";
import { Admission } from "./admission.js";
import { Clearing } from "./clearing.js";
import type { DiskContext, DiskOptions } from "./context.js";
import { GuestRequests } from "./guest-requests.js";
import {
  MAX_GUEST_REQUESTS,
  MIRROR_LAG_MS,
  MIRROR_SILENT_MS,
  MIRROR_SLOW_MS,
  MIRROR_WAIT_MS,
  MOST_CREDITED_MS,
  RETURNED_RETRY_MS,
  WATCH_MS,
} from "./limits.js";
import { MirrorRows, type MirrorRow, type ReplyHandler } from "./mirror-rows.js";
import { MirrorSet } from "./mirror-set.js";
import { regionsOf } from "./region-set.js";
import { RegionWork } from "./region-work.js";
import { Resync } from "./resync.js";
import { Scrubber } from "./scrubber.js";
import { Settlement } from "./settlement.js";
import type { DiskCounters, DiskEffect, DiskEvent, DiskRequest, DiskStatus, MirrorState, StoreOperation, StoreReply } from "./types.js";

/**
 * waiting: no configuration yet. choosing: no mirror was ever in sync. starting: the mirrors in sync are asked for their logs.
 * serving. fenced: overtaken.
 */
type Phase = "waiting" | "choosing" | "starting" | "serving" | "fenced";

export class DiskController {
  readonly #options: DiskOptions;
  readonly #emit: (effect: DiskEffect) => void;
  readonly #context: DiskContext;
  readonly #mirrors: MirrorRows;
  readonly #set: MirrorSet;
  readonly #admission = new Admission();
  readonly #settlement = new Settlement();
  readonly #requests: GuestRequests;
  readonly #resync: Resync;
  readonly #scrubber: Scrubber;
  readonly #clearing: Clearing;
  readonly #work: RegionWork;
  readonly #counters: DiskCounters = {
    reads: 0,
    writes: 0,
    flushes: 0,
    errors: 0,
    badBlocks: 0,
    scrubbedBlocks: 0,
    repairedBlocks: 0,
    unrepairable: 0,
    differingBlocks: 0,
    copiedBytes: 0,
    resyncs: 0,
  };
  #phase: Phase = "waiting";
  #atMs = 0;
  #waitedMs = 0;
  #hasBegun = false;
  #isStepping = false;
  /** Since when the mirrors are waited for (waitedMs). */
  #startedMs = 0;
  #sizeBytes = 0;
  /** Came before the disk could serve. */
  #held: { readonly request: DiskRequest; readonly sinceMs: number }[] = [];
  /** Answers to `configure` at the start. */
  readonly #logs = new Map<string, StoreReply>();
  #growing: { readonly sizeBytes: number; left: number } | null = null;
  #isWithoutMirror = false;
  #reviewed = 0;

  constructor(options: DiskOptions, emit: (effect: DiskEffect) => void) {
    this.#options = options;
    this.#emit = (effect) => {
      if (this.#phase !== "fenced") emit(effect);
    };
    this.#context = this.#makeContext();
    this.#mirrors = new MirrorRows(options.mirrors, (mirror, command) => this.#emit({ kind: "command", mirror, command }));
    this.#set = new MirrorSet(this.#context, this.#mirrors);
    this.#resync = new Resync(this.#context, this.#mirrors, this.#set);
    this.#scrubber = new Scrubber(this.#context);
    this.#clearing = new Clearing(this.#context, this.#mirrors, this.#set, (row, why) => this.#failed(row, why));
    this.#requests = this.#makeRequests();
    this.#work = new RegionWork(this.#context, {
      set: this.#set,
      admission: this.#admission,
      settlement: this.#settlement,
      resync: this.#resync,
      scrubber: this.#scrubber,
      clearing: this.#clearing,
      send: (name, operation, handler, bytes) => this.#sendWork(name, operation, handler, bytes),
      sizeBytes: () => this.#sizeBytes,
      isGuestBusy: () => this.#requests.isBusy,
    });
  }

  #makeContext(): DiskContext {
    const readTime = (): { atMs: number; waitedMs: number } => ({ atMs: this.#atMs, waitedMs: this.#waitedMs });
    return {
      options: this.#options,
      get atMs() {
        return readTime().atMs;
      },
      get waitedMs() {
        return readTime().waitedMs;
      },
      counters: this.#counters,
      emit: (effect) => this.#emit(effect),
      event: (severity, code, text, mirror) => this.#emit({ kind: "event", severity, code, text, ...(mirror !== undefined && { mirror }) }),
    };
  }

  #makeRequests(): GuestRequests {
    return new GuestRequests(this.#context, this.#mirrors, this.#set, this.#admission, {
      settleFirst: ({ operation, offset, lengthBytes }) => operation !== "flush" && this.#work.settleFirst(offset, lengthBytes),
      target: () => this.#resync.target ?? (this.#set.joining === null ? null : this.#mirrors.get(this.#set.joining)),
      written: (request) => {
        this.#clearing.written(request);
        this.#work.written(request.offset, request.lengthBytes);
      },
      failed: (row, why) => this.#failed(row, why),
      uncertain: ({ offset, lengthBytes }) => this.#resync.revisit(regionsOf(offset, lengthBytes)),
      repair: (blocks) => this.#work.repair(blocks),
      lost: (blocks) => this.#work.lost(blocks),
    });
  }

  /** Whether a mirror is one of those that it was made with. */
  knows(mirror: string): boolean {
    return this.#mirrors.rows.has(mirror);
  }

  /** The size of the disk; 0 as long as no mirror of it was heard of. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** When a `wake` event is due at the latest; null: something else has to happen. */
  get wakeAtMs(): number | null {
    if (this.#phase === "fenced") return null;
    const isWatching =
      this.#mirrors.isWaiting ||
      this.#requests.hasStalled ||
      this.#held.length > 0 ||
      this.#phase === "choosing" ||
      this.#phase === "starting";
    let at = isWatching ? this.#atMs + WATCH_MS : Infinity;
    if (this.#phase === "serving") {
      at = Math.min(at, Math.max(this.#work.nextAtMs, this.#atMs + 1));
      for (const row of this.#mirrors.rows.values())
        if (row.isUp && !this.#set.inForce.includes(row.name)) at = Math.min(at, Math.max(row.retryAtMs, this.#atMs + WATCH_MS));
      if (this.#set.isComplete) at = Math.min(at, Math.max(this.#clearing.nextAtMs, this.#atMs + WATCH_MS));
    }
    return at === Infinity ? null : at;
  }

  /** Effects of one step may be answered after it only. */
  step(event: DiskEvent): void {
    assert(!this.#isStepping, "one event at a time");
    if (this.#phase === "fenced") return;
    this.#isStepping = true;
    try {
      if (this.#hasBegun) this.#waitedMs += Math.min(Math.max(0, event.atMs - this.#atMs), MOST_CREDITED_MS);
      this.#hasBegun = true;
      this.#atMs = Math.max(this.#atMs, event.atMs);
      this.#mirrors.waitedMs = this.#waitedMs;
      this.#handle(event);
      this.#proceed();
    } finally {
      this.#isStepping = false;
    }
  }

  #handle(event: DiskEvent): void {
    switch (event.kind) {
      case "request":
        return this.#request(event.request);
      case "forget":
        this.#held = [];
        return this.#requests.forget();
      case "mirrorUp":
        return this.#mirrorUp(this.#mirrors.get(event.name), event.header);
      case "mirrorDown":
        return this.#mirrorDown(this.#mirrors.get(event.name));
      case "reply":
        return this.#reply(this.#mirrors.get(event.name), event.reply);
      case "configured":
        return this.#configured(event.number, event.mirrors);
      case "grow":
        return this.#grow(event.sizeBytes);
      case "scrub":
        return this.#scrubber.now();
      case "wake":
        return;
    }
  }

  /** Whatever became possible by the event. */
  #proceed(): void {
    if (this.#phase === "choosing") this.#choose();
    if (this.#phase === "starting") this.#tryBegin();
    if (this.#phase === "serving") {
      this.#watch();
      this.#review();
      this.#work.run();
    }
    const limitMs = this.#options.mirrorWaitMs ?? MIRROR_WAIT_MS;
    while (this.#held[0] !== undefined && this.#waitedMs - this.#held[0].sinceMs > limitMs) this.#refuse(this.#held.shift()?.request);
    this.#requests.watch();
  }

  /** Requests look around again only when something changed that they depend on. */
  #review(): void {
    while (this.#reviewed !== this.#mirrors.revision) {
      this.#reviewed = this.#mirrors.revision;
      this.#requests.review();
    }
  }

  #request(request: DiskRequest): void {
    if (this.#phase === "serving") return this.#requests.add(request, this.#sizeBytes);
    if (this.#held.length >= MAX_GUEST_REQUESTS) return this.#refuse(request);
    this.#held.push({ request, sinceMs: this.#waitedMs });
  }

  #refuse(request: DiskRequest | undefined): void {
    if (request === undefined) return;
    this.#counters.errors += 1;
    this.#emit({ kind: "done", id: request.id, isOk: false, bytes: NO_BYTES });
  }

  // ---- mirrors come and go ----

  #mirrorUp(row: MirrorRow, header: MirrorRow["header"]): void {
    if (row.isUp) this.#mirrorDown(row);
    row.isUp = true;
    row.header = header;
    // It failed because it was not there, or has begun anew since: either way it need not wait as one whose disk fails.
    row.retryAtMs = Math.min(row.retryAtMs, this.#atMs + RETURNED_RETRY_MS);
    if (this.#phase !== "waiting") this.#configure(row);
  }

  #mirrorDown(row: MirrorRow): void {
    if (!row.isUp) return;
    row.isUp = false;
    const isCounting = this.#set.inForce.includes(row.name) && !row.isFailed;
    // First that it does not count, then its unanswered commands.
    if (this.#phase === "serving" || !isCounting) this.#failed(row, "its I/O module is lost");
    row.lose();
    this.#mirrors.changed();
    this.#logs.delete(row.name);
    // Nobody knows what of it the last one has done: what the target lacks is found out anew.
    if (isCounting && this.#set.ready.length === 0) this.#resync.stop(`${row.name} is lost, which was the last mirror in sync`);
  }

  /** A mirror does not do what it should. False: it is the last one. */
  #failed(row: MirrorRow, why: string): boolean {
    if (this.#resync.target === row) this.#resync.stop(why);
    else if (this.#set.joining === row.name) this.#set.unjoin(why);
    else if (this.#set.inForce.includes(row.name) && !row.isFailed) return this.#set.fail(row, why);
    return true;
  }

  #reply(row: MirrorRow, reply: StoreReply): void {
    const handler = row.take(reply);
    if (handler === null) return;
    if (reply.outcome === "refused") {
      this.#emit({ kind: "fenced", seen: reply.header.highest });
      this.#phase = "fenced";
      return;
    }
    handler(reply);
  }

  #sendWork(name: string, operation: StoreOperation, handler: ReplyHandler, bytes: Uint8Array = NO_BYTES): void {
    const row = this.#mirrors.get(name);
    if (!row.isUp) return handler(null);
    const answered: ReplyHandler = (reply) => {
      if (reply?.outcome === "failed") this.#failed(row, `${operation.kind} failed: ${reply.why}`);
      handler(reply);
    };
    this.#mirrors.send(name, operation, answered, bytes);
  }

  /** Mirrors that let us wait while another one does not: for one answer, or for so many that it adds up. */
  #watch(): void {
    const limitMs = this.#options.mirrorLagMs ?? MIRROR_LAG_MS;
    const isLate = (row: MirrorRow): boolean => this.#waitedMs - row.waitingSince > this.#answerLimitMs(row, limitMs);
    const { standing } = this.#set;
    const isPrompt = standing.some((row) => row.isUp && !isLate(row));
    this.#watchSlowness(standing, limitMs);
    if (!isPrompt) return;
    for (const row of this.#mirrors.rows.values())
      if (row.isUp && isLate(row)) this.#failed(row, `no answer for ${this.#answerLimitMs(row, limitMs)} ms`);
    for (const row of standing) if (!row.isUp) this.#failed(row, "it is not there");
  }

  #answerLimitMs({ name }: MirrorRow, limitMs: number): number {
    return this.#options.isSilent?.(name) === true ? Math.min(MIRROR_SILENT_MS, limitMs) : limitMs;
  }

  /** Only mirrors in sync: one that is being brought in sync has long work, and the guest does not wait for it alone. */
  #watchSlowness(standing: readonly MirrorRow[], limitMs: number): void {
    const isSlow = (row: MirrorRow): boolean => this.#waitedMs - row.waitingSince > MIRROR_SLOW_MS;
    const isAnyPrompt = standing.some((row) => row.isUp && !isSlow(row));
    for (const row of standing) {
      const letsWait = isAnyPrompt && row.isUp && isSlow(row);
      const slownessMs = row.account(this.#waitedMs, letsWait);
      if (letsWait && slownessMs > limitMs) this.#failed(row, `its answers were late by ${limitMs} ms in all`);
    }
  }

  // ---- configurations ----

  #configured(number: number, mirrors: readonly string[]): void {
    this.#mirrors.number = number;
    if (this.#phase === "serving") {
      const { joining } = this.#set;
      this.#set.conclude(mirrors);
      if (joining !== null && mirrors.includes(joining)) this.#clearing.inherited();
    } else {
      this.#set.begin(mirrors);
      for (const row of this.#mirrors.rows.values()) row.isReady &&= mirrors.includes(row.name);
      if (this.#phase === "waiting") this.#startedMs = this.#waitedMs;
      this.#phase = mirrors.length === 0 ? "choosing" : "starting";
    }
    for (const row of this.#mirrors.rows.values()) if (row.isUp) this.#configure(row);
  }

  #configure(row: MirrorRow): void {
    const { number } = this.#mirrors;
    const isInSync = this.#set.inForce.includes(row.name) && !row.isFailed && this.#isOurs(row);
    this.#mirrors.send(row.name, { kind: "configure", isInSync }, (reply) => {
      if (reply === null) return;
      if (reply.outcome === "failed") return void this.#failed(row, `it cannot write its header: ${reply.why}`);
      if (!isInSync || row.isFailed) return;
      row.confirmed = number;
      if (row.isReady || !this.#set.inForce.includes(row.name)) return;
      row.isReady = true;
      this.#mirrors.changed();
      if (this.#phase === "starting") this.#logs.set(row.name, reply);
      else if (this.#phase === "serving") this.#returned(row, reply);
    });
  }

  #isOurs(row: MirrorRow): boolean {
    return row.header.diskId === this.#options.diskId && row.header.sizeBytes > 0;
  }

  /** The last mirror in sync is back. */
  #returned(row: MirrorRow, reply: StoreReply): void {
    this.#resync.revisit(this.#settlement.returned(row, reply.bytes));
  }

  /** No mirror was ever in sync: the one of this disk that was last used is the disk. */
  #choose(): void {
    const rows = [...this.#mirrors.rows.values()];
    const isWaitOver = this.#waitedMs - this.#startedMs >= this.#options.graceMs;
    if (!this.#set.isDecided || (!isWaitOver && rows.some((row) => !row.isUp))) return;
    const fit = rows.filter((row) => row.isUp && this.#isOurs(row));
    const isLocal = (row: MirrorRow): number => Number(row.name === this.#options.local);
    const [first] = fit.sort((left, right) => right.header.syncedAt - left.header.syncedAt || isLocal(right) - isLocal(left));
    if (first === undefined) return this.#tellWithout("no mirror of this disk is there; create one, or insert the enclosure that has it");
    this.#set.want(`${first.name} is the first mirror`, [first.name]);
  }

  #tellWithout(text: string): void {
    if (this.#isWithoutMirror) return;
    this.#isWithoutMirror = true;
    this.#context.event("error", "DISK_WITHOUT_MIRROR", text);
  }

  /** Serve as soon as the mirrors in sync have told their logs; those that do not come in time are dropped. */
  #tryBegin(): void {
    const { standing } = this.#set;
    const ready = standing.filter((row) => row.isUp && row.isReady);
    const isWaitOver = this.#waitedMs - this.#startedMs >= this.#options.graceMs;
    // Contents of another disk or none cannot become right by waiting.
    const isForeign = (row: MirrorRow): boolean => row.isUp && !this.#isOurs(row);
    const isHopeless = (row: MirrorRow): boolean => isForeign(row) || this.#options.isLost?.(row.name) === true;
    const missing = standing.filter((row) => !ready.includes(row));
    if (missing.some((row) => !isHopeless(row)) && !isWaitOver) return;
    if (ready.length === 0) return this.#tellWithout(`none of ${standing.map((row) => row.name).join(", ")} is there, which hold the disk`);
    this.#begin(ready);
    for (const row of missing) this.#failed(row, isForeign(row) ? "it does not hold this disk" : "it is not there");
    const held = this.#held;
    this.#held = [];
    for (const { request } of held) this.#requests.add(request, this.#sizeBytes);
  }

  #begin(ready: readonly MirrorRow[]): void {
    this.#isWithoutMirror = false;
    this.#phase = "serving";
    this.#sizeBytes = Math.max(...ready.map((row) => row.header.sizeBytes));
    const logs = ready.flatMap((row) => {
      const reply = this.#logs.get(row.name);
      return reply === undefined ? [] : [{ row, bytes: reply.bytes }];
    });
    assert(logs.length === ready.length, "every mirror in sync has told its logs");
    this.#settlement.begin(this.#sizeBytes, logs);
    this.#logs.clear();
    // A growth was cut off: what is beyond the smaller size was not used yet.
    for (const row of ready)
      if (row.header.sizeBytes < this.#sizeBytes) this.#sendWork(row.name, { kind: "grow", sizeBytes: this.#sizeBytes }, () => undefined);
    this.#scrubber.begin();
    this.#emit({ kind: "grown", sizeBytes: this.#sizeBytes });
  }

  // ---- growing ----

  #grow(sizeBytes: number): void {
    const rows = this.#phase === "serving" ? [...this.#set.ready] : [];
    if (rows.length === 0 || sizeBytes <= this.#sizeBytes || this.#growing !== null) {
      return this.#context.event("warning", "DISK_ERROR", `the disk cannot grow to ${sizeBytes} bytes now`);
    }
    // What is being brought in sync begins anew, at the new size.
    this.#resync.stop("the disk grows");
    this.#set.unjoin("the disk grows");
    const growing = { sizeBytes, left: rows.length };
    this.#growing = growing;
    for (const row of rows) {
      this.#sendWork(row.name, { kind: "grow", sizeBytes }, () => {
        growing.left -= 1;
        if (growing.left === 0) this.#grown(sizeBytes);
      });
    }
  }

  #grown(sizeBytes: number): void {
    this.#growing = null;
    if (!this.#set.ready.every((row) => row.header.sizeBytes >= sizeBytes)) {
      return this.#context.event("error", "DISK_ERROR", `the disk could not grow to ${sizeBytes} bytes; see the events before`);
    }
    this.#sizeBytes = sizeBytes;
    this.#settlement.grow(sizeBytes);
    this.#context.event("info", "DISK_GROWN", `the disk has ${sizeBytes} bytes now`);
    this.#emit({ kind: "grown", sizeBytes });
  }

  // ---- status ----

  status(): DiskStatus {
    const { inForce, joining } = this.#set;
    const stateOf = (row: MirrorRow): MirrorState => {
      if (!row.isUp) return "absent";
      if (row.isFailed) return "failed";
      if (inForce.includes(row.name)) return row.isReady ? "in sync" : "waiting";
      if (joining === row.name) return "joining";
      return this.#resync.target === row ? "resync" : "waiting";
    };
    return {
      configuration: this.#mirrors.number,
      sizeBytes: this.#sizeBytes,
      mirrors: Object.fromEntries([...this.#mirrors.rows.values()].map((row) => [row.name, { state: stateOf(row), faults: row.faults }])),
      unsettledRegions: this.#settlement.size,
      resync: this.#resync.status,
      scrubbedBytes: this.#scrubber.bytesDone,
      counters: { ...this.#counters },
    };
  }
}
