/** The clients of the payment workload: each one connection, one transfer at a time, no retry; and one idle connection that pings. */
import { Connection, type Address } from "./connection.js";
import type { LedgerStore } from "./ledger-store.js";
import { OUTCOME_REFUSED, OUTCOME_UNKNOWN, transferOf } from "./ledger.js";
import { REQUEST_LIMIT_MS, type LoadRecorder } from "./load.js";
import { pause } from "./faults.js";

/** Transfers of one client in one run, at most: bounds memory here and in the guest. */
export const TRANSFERS_LIMIT = 1_000_000;
const PING_INTERVAL_MS = 100;

export class PaymentClient {
  readonly outcomes: number[] = [];
  private sentAtMs = 0;

  constructor(
    private readonly number: number,
    private readonly seed: number,
    private readonly store: LedgerStore,
    private readonly connection: Connection,
    private readonly recorder: LoadRecorder,
  ) {}

  /** Sends transfers until `stopped`; ends at the first failure, as a program without error handling would. */
  async run(stopped: () => boolean): Promise<void> {
    while (!stopped() && this.outcomes.length < TRANSFERS_LIMIT) {
      const sequence = this.outcomes.length;
      const transfer = transferOf(this.seed, this.number, sequence, this.store.accounts);
      this.outcomes.push(OUTCOME_UNKNOWN);
      this.sentAtMs = performance.now();
      try {
        const reply = Number(await this.connection.command(this.store.transferCommand(this.number, sequence, transfer)));
        if (!Number.isSafeInteger(reply) || reply < 0) throw new Error(`a transfer was answered by ${String(reply)}`);
        this.outcomes[sequence] = reply === 0 ? OUTCOME_REFUSED : reply;
        this.recorder.answered(this.sentAtMs);
      } catch (error) {
        this.recorder.failed(`client ${this.number}, transfer ${sequence}: ${(error as Error).message}`);
        break;
      } finally {
        this.sentAtMs = 0;
      }
    }
  }

  /** Gives up on a request that has had no answer for too long. */
  watch(nowMs: number): void {
    if (this.sentAtMs > 0 && nowMs - this.sentAtMs > REQUEST_LIMIT_MS) this.giveUp();
  }

  giveUp(): void {
    this.connection.destroy();
  }

  async close(): Promise<void> {
    if (this.connection.lostBecause !== undefined)
      this.recorder.lost(`client ${this.number}: connection lost: ${this.connection.lostBecause}`);
    await this.connection.close();
  }
}

export interface IdleSummary {
  readonly pings: number;
  readonly slowestMs: number;
  /** Null: the connection lives. */
  readonly lostBecause: string | null;
}

/** A connection like an open redis-cli session: now and then a PING, from before the first fault to after the last. */
export class IdleConnection {
  private pings = 0;
  private slowestMs = 0;
  private lostBecause: string | null = null;

  private constructor(private readonly connection: Connection) {}

  static async open(address: Address): Promise<IdleConnection> {
    return new IdleConnection(await Connection.open(address));
  }

  async run(stopped: () => boolean): Promise<void> {
    while (!stopped()) {
      const sent = performance.now();
      // The watch timer must not keep the process alive, and a PING that never ends must not keep the run alive.
      const watch = setTimeout(() => this.connection.destroy(), REQUEST_LIMIT_MS);
      try {
        if ((await this.connection.command(["PING"])) !== "PONG") throw new Error("PING was not answered by PONG");
        this.pings++;
        this.slowestMs = Math.max(this.slowestMs, performance.now() - sent);
      } catch (error) {
        this.lostBecause = (error as Error).message;
        break;
      } finally {
        clearTimeout(watch);
      }
      await pause(PING_INTERVAL_MS);
    }
  }

  giveUp(): void {
    this.connection.destroy();
  }

  async close(): Promise<IdleSummary> {
    const lostBecause = this.lostBecause ?? this.connection.lostBecause ?? null;
    await this.connection.close();
    return { pings: this.pings, slowestMs: this.slowestMs, lostBecause };
  }
}
