/**
 * A sequencer that takes over: CPU modules are found in the middle of things, the one that drove them is gone. The next
 * configuration is claimed for those that the last one named, which fences whoever still believes to be the sequencer; then they
 * hand over the ticks and results that they keep, those behind get what they lack, and what may not have taken effect is released
 * again (a repeated frame does no harm to TCP; repeated console bytes are the price of losing none).
 */
import type { Message, ResultMessage, TickMessage } from "../wire/messages.js";
import { RESUME_WAIT_MS, STALL_LIMIT_MS } from "./limits.js";
import type { CpuRow } from "./membership.js";
import type { LockstepServer } from "./server.js";
import { leastSettlers } from "./voter.js";

interface Report {
  /** Ticks and results that it handed over. */
  readonly ticks: Map<number, TickMessage>;
  readonly results: Map<number, ResultMessage>;
  /** Its last word: the highest tick that it has, and the highest that it knows to have taken effect. */
  end: { readonly seq: number; readonly committed: number } | null;
}

type Stage = "none" | "collecting" | "claiming" | "gathering";

export class Resumption {
  readonly #server: LockstepServer;
  readonly #reports = new Map<string, Report>();
  #stage: Stage = "none";
  #deadlineMs = 0;
  /** So many must hand over, or what took effect might be lost. */
  #needed = 0;
  /** When the hand-over began, and when the first module was done with it; null: none is. */
  #gatherSinceMs = 0;
  #firstDoneMs: number | null = null;

  constructor(server: LockstepServer) {
    this.#server = server;
  }

  /** A module with a past has connected before anything runs. */
  offer(row: CpuRow): void {
    this.#reports.set(row.name, { ticks: new Map(), results: new Map(), end: null });
  }

  /** Those that can be resumed: named by the last configuration, with a past, still connected. */
  #candidates(): CpuRow[] {
    const named = this.#server.membership.lastNamed;
    return [...this.#reports.keys()]
      .map((name) => this.#server.membership.row(name))
      .filter((row) => this.#isPresent(row) && named.includes(row.name));
  }

  #isPresent(row: CpuRow): boolean {
    return row.reported !== null && !row.reported.blank && row.role !== "shot";
  }

  /** Whether there is something to resume; then the phase is `resuming`. */
  considerBeginning(): boolean {
    for (const name of [...this.#reports.keys()]) {
      const row = this.#server.membership.row(name);
      if (this.#isPresent(row) && !this.#server.membership.lastNamed.includes(name)) this.#server.stale(row);
      if (!this.#isPresent(row)) this.#reports.delete(name);
    }
    if (this.#reports.size === 0) return false;
    this.#stage = "collecting";
    this.#deadlineMs = this.#server.atMs + RESUME_WAIT_MS;
    this.#server.phase = "resuming";
    return true;
  }

  /** One step further, if it can be made. */
  consider(): void {
    if (this.#stage === "collecting") this.#collect();
    if (this.#stage === "claiming") this.#claim();
    if (this.#stage === "gathering") this.#gather();
  }

  #collect(): void {
    const { membership, atMs } = this.#server;
    const named = membership.lastNamed;
    const candidates = this.#candidates();
    const blank = membership.withRole("waiting").map((row) => row.name);
    // Who was here and went, which a standby has seen, is not waited for.
    const hasLeft = (name: string): boolean => {
      const row = membership.rows.get(name);
      return row !== undefined && row.incarnation > 0 && !row.isConnected;
    };
    const isComplete = named.every((name) => blank.includes(name) || hasLeft(name) || candidates.some((row) => row.name === name));
    if (!isComplete && atMs < this.#deadlineMs) return;
    // So many that at least one of them has every tick that ever took effect.
    this.#needed = named.length - leastSettlers(named, this.#server.options.pairs ?? []) + 1;
    if (candidates.length < this.#needed) return this.#fail();
    for (const row of candidates) membership.setRole(row, "joining");
    this.#stage = "claiming";
  }

  #claim(): void {
    const { membership } = this.#server;
    const joining = membership.withRole("joining");
    if (joining.length === 0) return this.#fail();
    const record = membership.propose(joining.map((row) => row.name));
    if (record !== null) this.#server.emit({ kind: "claim", record });
  }

  /** The configuration is won. */
  won(): void {
    if (this.#stage !== "claiming") return;
    this.#stage = "gathering";
    this.#gatherSinceMs = this.#server.waitedMs;
    this.#firstDoneMs = null;
    const { membership } = this.#server;
    for (const name of membership.live) {
      this.#server.emit({ kind: "send", to: name, message: { kind: "resume", configuration: membership.number } });
    }
  }

  message(row: CpuRow, message: Message): void {
    const report = this.#reports.get(row.name);
    if (report === undefined) return;
    if (message.kind === "keptTick") report.ticks.set(message.tick.seq, message.tick);
    else if (message.kind === "result") report.results.set(message.seq, message);
    else if (message.kind === "resumed") report.end = { seq: message.seq, committed: message.committed };
  }

  #gather(): void {
    const { membership } = this.#server;
    this.#shootTheSilent();
    if (membership.live.length < this.#needed) return this.#fail();
    const reports = membership.live.map((name) => this.#reports.get(name));
    if (reports.some((report) => report === undefined || report.end === null)) return;
    let last = 0;
    let committed = 0;
    const ticks = new Map<number, TickMessage>();
    for (const report of reports as Report[]) {
      last = Math.max(last, report.end?.seq ?? 0);
      committed = Math.max(committed, report.end?.committed ?? 0);
      for (const [seq, tick] of report.ticks) ticks.set(seq, { ...tick, configuration: membership.number });
    }
    for (let seq = committed + 1; seq <= last; seq += 1) if (!ticks.has(seq)) return this.#fail();
    this.#takeOver(committed, last, ticks);
  }

  /** A module that hangs must not keep the others from going on: the same limits as for the result of a tick. */
  #shootTheSilent(): void {
    const { membership, waitedMs, options } = this.#server;
    const isDone = (name: string): boolean => (this.#reports.get(name)?.end ?? null) !== null;
    const silent = membership.live.filter((name) => !isDone(name));
    if (silent.length < membership.live.length) this.#firstDoneMs ??= waitedMs;
    const isOverdue = this.#firstDoneMs !== null && waitedMs - this.#firstDoneMs > options.lagLimitMs;
    if (!isOverdue && waitedMs - this.#gatherSinceMs <= STALL_LIMIT_MS) return;
    for (const name of silent) {
      this.#server.event("warning", "MODULE_HUNG", `${name} does not hand over its ticks to the new sequencer: it hangs`, name);
      this.#server.shoot(membership.row(name), "it does not answer the new sequencer", false);
    }
  }

  #takeOver(committed: number, last: number, ticks: ReadonlyMap<number, TickMessage>): void {
    const { membership, voter, sequencer, waitedMs } = this.#server;
    this.#stage = "none";
    voter.startAt(committed);
    for (let seq = committed + 1; seq <= last; seq += 1) voter.issue(ticks.get(seq) as TickMessage, waitedMs);
    let newest: ResultMessage | null = null;
    for (const name of [...membership.live]) {
      const row = membership.row(name);
      const report = this.#reports.get(name) as Report;
      for (const [seq, result] of report.results) {
        if (seq > committed) voter.result(name, result, waitedMs);
        if (newest === null || result.seq > newest.seq) newest = result;
      }
      // What it has but has not run shows as a tick without a result.
      row.lastSeq = (report.end?.seq ?? 0) - (report.ticks.size - report.results.size);
      this.#fill(row, report.end?.seq ?? 0, last, ticks);
    }
    for (const name of this.#reports.keys()) {
      const row = membership.row(name);
      if (row.role !== "member" && this.#isPresent(row)) this.#server.stale(row);
    }
    sequencer.adopt(newest, last, ticks.get(last)?.nowNs ?? 0n);
    this.#reports.clear();
    this.#server.resumed(committed, last, ticks);
  }

  /** Hands the ticks after `from` to a module that lacks them. */
  #fill(row: CpuRow, from: number, last: number, ticks: ReadonlyMap<number, TickMessage>): void {
    for (let seq = from + 1; seq <= last; seq += 1) {
      const tick = ticks.get(seq);
      // Too far behind for what is kept: it comes back by reintegration.
      if (tick === undefined) return this.#server.stale(row);
      this.#server.emit({ kind: "send", to: row.name, message: tick });
    }
  }

  /** Nothing to build on: they are restarted, and the guest with them. */
  #fail(): void {
    this.#stage = "none";
    for (const name of this.#reports.keys()) {
      const row = this.#server.membership.row(name);
      if (this.#isPresent(row)) this.#server.stale(row);
    }
    this.#reports.clear();
    this.#server.membership.clear();
    this.#server.phase = "starting";
  }
}
