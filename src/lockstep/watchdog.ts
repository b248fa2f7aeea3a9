/** Looks for what takes too long: a result, all results, a module that does not come back. */
import type { ServerContext } from "./context.js";
import { ABSENT_LIMIT_MS, STALL_LIMIT_MS, VERIFY_ALLOWANCE_MS, VERIFY_LAG_FACTOR, VERIFY_LAG_MS } from "./limits.js";
import type { CpuRow } from "./membership.js";

export class Watchdog {
  readonly #context: ServerContext;

  constructor(context: ServerContext) {
    this.#context = context;
  }

  /** Some member has not answered a tick. */
  get isOutstanding(): boolean {
    const { membership, voter } = this.#context;
    return membership.live.some((name) => membership.row(name).lastSeq < voter.issued);
  }

  /** Some module is expected and not there. */
  get isMissing(): boolean {
    for (const row of this.#context.membership.rows.values()) if (row.expected && isAway(row)) return true;
    return false;
  }

  /** Shoots who hangs. `verifying`: digests of all RAM are being made. True: somebody was shot. */
  watch(verifying: boolean): boolean {
    if (!this.isOutstanding) return false;
    const { membership, voter, waitedMs, options } = this.#context;
    const stallLimitMs = STALL_LIMIT_MS + (verifying ? VERIFY_ALLOWANCE_MS : 0);
    const live = membership.live.map((name) => membership.row(name));
    const overdue: CpuRow[] = [];
    let stalled = true;
    for (const row of live) {
      const ballot = voter.ballot(row.lastSeq + 1);
      if (ballot === undefined || waitedMs - ballot.issuedAt <= stallLimitMs) stalled = false;
      // Only beside another living member: the last one gets the time of a stall.
      if (ballot === undefined || ballot.firstResultAt === null || !live.some((other) => other.lastSeq > row.lastSeq)) continue;
      // A digest of all RAM takes its time, and on a busy host not the same everywhere.
      const allowanceMs = ballot.tick.fullDigest ? VERIFY_LAG_MS + VERIFY_LAG_FACTOR * (ballot.firstResultAt - ballot.issuedAt) : 0;
      // Its own last answer counts too: what took long was that tick (a digest of all RAM, say), and this one has just begun.
      const since = Math.max(ballot.firstResultAt, row.answeredAt);
      if (waitedMs - since > options.lagLimitMs + allowanceMs) overdue.push(row);
    }
    for (const row of overdue) this.#hung(row);
    if (overdue.length === 0 && stalled) this.#stalled(live);
    return overdue.length > 0 || stalled;
  }

  #hung(row: CpuRow): void {
    const seq = row.lastSeq + 1;
    const text = `${row.name} has not answered tick ${seq} within ${this.#context.options.lagLimitMs} ms of another module: it hangs`;
    this.#context.event("warning", "MODULE_HUNG", text, row.name, { seq });
    this.#context.shoot(row, "its result is overdue", false);
  }

  #stalled(live: readonly CpuRow[]): void {
    this.#context.event("error", "STALLED", `no module has answered for ${STALL_LIMIT_MS / 1000} s: all are restarted`);
    for (const row of live) this.#context.shoot(row, "no module answers", false);
  }

  /** A module that is expected and does not come may hang before it can say so: only killing it can help. */
  watchAbsent(): void {
    const { membership, waitedMs } = this.#context;
    for (const row of membership.rows.values()) {
      if (!row.expected || !isAway(row)) row.absentSince = waitedMs;
      else if (waitedMs - row.absentSince > ABSENT_LIMIT_MS) {
        row.absentSince = waitedMs;
        this.#context.emit({ kind: "shoot", module: row.name, why: "it is expected but does not connect" });
      }
    }
  }
}

function isAway(row: CpuRow): boolean {
  return row.role === "absent" || row.role === "shot";
}
