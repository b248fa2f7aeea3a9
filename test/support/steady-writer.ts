/** A client that writes to Redis one value after the other, for ever, and remembers what was acknowledged: that must be there later. */
import assert from "node:assert/strict";
import { Connection, type Address } from "../../dist/bench/connection.js";

/** An answer that takes longer will not come any more: its connection has gone with the guest that held it. */
const ANSWER_LIMIT_MS = 10_000;
const RETRY_MS = 100;
const KEYS_PER_READ = 500;

export class SteadyWriter {
  readonly #address: Address;
  readonly #pauseMs: number;
  readonly #acknowledged: number[] = [];
  #checked = 0;
  #next = 0;
  #isOver = false;
  #running: Promise<void> | null = null;
  /** Connections that ended, and answers that were an error or never came. */
  interruptions = 0;

  /** `pauseMs`: between two writes, for a guest that has other things to do as well. */
  constructor(address: Address, pauseMs = 0) {
    this.#address = address;
    this.#pauseMs = pauseMs;
  }

  get count(): number {
    return this.#acknowledged.length;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      try {
        const connection = await Connection.open(this.#address);
        try {
          await this.#write(connection);
        } finally {
          connection.destroy();
        }
      } catch {
        this.interruptions += 1;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  async #write(connection: Connection): Promise<void> {
    while (!this.#isOver) {
      const number = (this.#next += 1);
      await limited(connection.command(["SET", `steady:${number}`, String(number)]));
      this.#acknowledged.push(number);
      if (this.#pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, this.#pauseMs));
    }
  }

  /** Everything that was acknowledged since the last check, or ever, is there. */
  async check(isAll = false): Promise<void> {
    const connection = await Connection.open(this.#address);
    try {
      const wanted = this.#acknowledged.slice(isAll ? 0 : this.#checked);
      for (let at = 0; at < wanted.length; at += KEYS_PER_READ) {
        const some = wanted.slice(at, at + KEYS_PER_READ);
        const values = await limited(connection.command(["MGET", ...some.map((number) => `steady:${number}`)]));
        assert.deepEqual(values, some.map(String), "what was acknowledged is there");
      }
      this.#checked += isAll ? 0 : wanted.length;
    } finally {
      connection.destroy();
    }
  }
}

function limited<T>(answer: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ANSWER_LIMIT_MS} ms`)), ANSWER_LIMIT_MS);
  });
  return Promise.race([answer, limit]).finally(() => clearTimeout(timer));
}
