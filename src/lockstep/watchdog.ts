/** Looks for what takes too long: a result, all results, a module that does not come back. */
import type { ServerContext } from "./context.js";
import { ABSENT_LIMIT_MS, STALL_LIMIT_MS, VERIFY_ALLOWANCE_MS, VERIFY_LAG_FACTOR, VERIFY_LAG_MS } from "./limits.js";
import type { CpuRow } from "./membership.js";

export class Watchdog {
  readonly #context: ServerContext;

  constructor(context: ServerContext) {
    this.#context = context;
  }

  /** Some member has not answered a tick, or not sent the outputs that it was asked for. */
  get isOutstanding(): boolean {
    const { membership, voter } = this.#context;
    if ((voter.firstUnreleased?.asked ?? null) !== null) return true;
    for (const name of membership.live) if (membership.row(name).lastSeq < voter.issued) return true;
    return false;
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
      const ballot = voter.firstAfter(row.lastSeq);
      if (ballot === undefined || waitedMs - ballot.issuedAt <= stallLimitMs) stalled = false;
      // Only beside another living member: the last one gets the time of a stall.
      if (ballot === undefined || ballot.firstResultAt === null || !live.some((other) => other.lastSeq > row.lastSeq)) continue;
      // A digest of all RAM takes its time, and on a busy host not the same everywhere.
      const allowanceMs = ballot.tick.fullDigest ? VERIFY_LAG_MS + VERIFY_LAG_FACTOR * (ballot.firstResultAt - ballot.issuedAt) : 0;
      // Its own last answer counts too: what took long was that tick (a digest of all RAM, say), and this one has just begun.
      const since = Math.max(ballot.firstResultAt, row.answeredAt);
      if (waitedMs - since > options.lagLimitMs + allowanceMs) overdue.push(row);
    }
    for (const row of overdue) this.#hung(row, `answered tick ${row.lastSeq + 1}`, row.lastSeq + 1);
    if (overdue.length > 0) return true;
    const debtor = this.#debtor(stallLimitMs);
    if (debtor === null && !stalled) return false;
    if (debtor !== null && live.length > 1) this.#hung(debtor, `sent the outputs of tick ${voter.released + 1}`, voter.released + 1);
    else this.#stalled(live);
    return true;
  }

  /**
   * Who answered every tick and then fell silent, while its outputs are waited for: no result of it is overdue, and none ever
   * will be, since no tick is issued before those outputs are released.
   */
  #debtor(stallLimitMs: number): CpuRow | null {
    const { membership, voter, waitedMs, options } = this.#context;
    const asked = voter.firstUnreleased?.asked ?? null;
    if (asked === null) return null;
    const row = membership.row(asked.module);
    // Whoever owes results besides is judged by those; the last one gets the time of a stall.
    const limitMs = membership.live.length > 1 ? options.lagLimitMs : stallLimitMs;
    return row.lastSeq >= voter.issued && waitedMs - asked.at > limitMs ? row : null;
  }

  #hung(row: CpuRow, what: string, seq: number): void {
    const text = `${row.name} has not ${what} within ${this.#context.options.lagLimitMs} ms of another module: it hangs`;
    this.#context.event("warning", "MODULE_HUNG", text, row.name, { seq });
    this.#context.shoot(row, "its answer is overdue", false);
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
