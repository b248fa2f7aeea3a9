/**
 * One long-lived connection to Redis that never reconnects and never retries: a lost connection or an error must show as a failure,
 * since hiding one is just what a fault-tolerant server may not need its clients to do.
 */
import { createClient } from "redis";
import { SteadfastError } from "../foundation/errors.js";

export interface Address {
  readonly host: string;
  readonly port: number;
}

export const REDIS_PORT = 6379;
const CONNECT_LIMIT_MS = 10_000;

/** HOST or HOST:PORT. */
export function parseAddress(text: string, defaultPort: number): Address {
  const match = /^([^:]+)(?::(\d{1,5}))?$/.exec(text);
  const port = match?.[2] === undefined ? defaultPort : Number(match[2]);
  if (match?.[1] === undefined || port < 1 || port > 65535) throw new TypeError(`"${text}" is not HOST or HOST:PORT`);
  return { host: match[1], port };
}

export class Connection {
  /** Why the connection was lost; undefined while it lives or after an orderly close. */
  lostBecause: string | undefined;
  private closing = false;

  private constructor(private readonly client: ReturnType<typeof createClient>) {
    client.on("error", (error: Error) => this.lose(error.message));
    client.on("end", () => this.lose("closed by the server"));
  }

  static async open(address: Address): Promise<Connection> {
    const client = createClient({
      RESP: 2,
      disableClientInfo: true,
      commandOptions: { timeout: 0 },
      socket: { host: address.host, port: address.port, connectTimeout: CONNECT_LIMIT_MS, reconnectStrategy: false },
    });
    const connection = new Connection(client as unknown as ReturnType<typeof createClient>);
    await client.connect();
    return connection;
  }

  command(parts: readonly string[]): Promise<unknown> {
    return this.client.sendCommand(parts as string[]);
  }

  /** Drops the connection at once: what is outstanding fails. */
  destroy(): void {
    this.closing = true;
    if (this.client.isOpen) this.client.destroy();
  }

  async close(): Promise<void> {
    this.closing = true;
    if (this.client.isOpen) await this.client.close();
  }

  private lose(why: string): void {
    if (!this.closing) this.lostBecause ??= why;
  }
}

const READY_POLL_MS = 25;
/** It listens while it still reads its file: that of a disk with many transfers takes it a while. */
export const REDIS_LIMIT_MS = 60_000;

/** Waits until Redis at `address` answers PING; false when the limit passed first. It may come up a little later than the web server. */
export async function redisReady(address: Address, limitMs: number): Promise<boolean> {
  const deadline = performance.now() + limitMs;
  while (performance.now() < deadline) {
    try {
      const connection = await Connection.open(address);
      const reply = await connection.command(["PING"]);
      await connection.close();
      if (reply === "PONG") return true;
    } catch {
      // Not up yet: that is what this loop is for.
    }
    await new Promise((resolve) => setTimeout(resolve, READY_POLL_MS));
  }
  return false;
}

/** `whose`: of which server, for the error. Errors: BENCH_FAILED when it does not answer in time. */
export async function demandRedis(address: Address, whose: string): Promise<void> {
  if (await redisReady(address, REDIS_LIMIT_MS)) return;
  throw new SteadfastError("BENCH_FAILED", { what: `Redis ${whose}`, why: `it does not answer within ${REDIS_LIMIT_MS / 1000} s` });
}
