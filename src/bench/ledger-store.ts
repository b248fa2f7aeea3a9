/** The payment ledger in Redis: the transfer script, its keys, and reading everything back for the audit. */
import type { Connection } from "./connection.js";
import { INITIAL_BALANCE, type LedgerSnapshot, type RecordedTransfer, type Transfer } from "./ledger.js";

/**
 * One transfer, atomic: refuses an id that it has seen, moves the money, and records the transfer with its commit number. The number
 * goes back in the reply, so that a rewound history would show as a number given twice.
 * Keys: accounts, ledger block, counters. Arguments: sequence, from, to, amount.
 */
export const TRANSFER_SCRIPT = `
if redis.call('HEXISTS', KEYS[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[3], 'repeated', 1)
  return redis.error_reply('REPEATED this transfer was done before')
end
if tonumber(redis.call('HGET', KEYS[1], ARGV[2])) < tonumber(ARGV[4]) then
  redis.call('HINCRBY', KEYS[3], 'refused', 1)
  return 0
end
local commit = redis.call('HINCRBY', KEYS[3], 'commits', 1)
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2] .. ':' .. ARGV[3] .. ':' .. ARGV[4] .. ':' .. string.format('%d', commit))
redis.call('HINCRBY', KEYS[1], ARGV[2], '-' .. ARGV[4])
redis.call('HINCRBY', KEYS[1], ARGV[3], ARGV[4])
return commit
`.trim();

/** Transfers of one client per ledger hash: small enough for Redis's compact encoding, so that long runs fit into guest RAM. */
const BLOCK_TRANSFERS = 128;
/** Ledger blocks asked for at a time by the audit. */
const AUDIT_BATCH = 32;

export class LedgerStore {
  private scriptDigest = "";

  /** `prefix` keeps runs apart. */
  constructor(
    readonly prefix: string,
    readonly accounts: number,
  ) {}

  private get accountsKey(): string {
    return `${this.prefix}:accounts`;
  }
  private get countersKey(): string {
    return `${this.prefix}:counters`;
  }
  private blockKey(client: number, block: number): string {
    return `${this.prefix}:ledger:${client}:${block}`;
  }

  /** Opens the accounts and loads the script. */
  async create(connection: Connection): Promise<void> {
    this.scriptDigest = String(await connection.command(["SCRIPT", "LOAD", TRANSFER_SCRIPT]));
    const balances: string[] = [];
    for (let account = 0; account < this.accounts; account++) balances.push(String(account), String(INITIAL_BALANCE));
    await connection.command(["HSET", this.accountsKey, ...balances]);
    await connection.command(["HSET", this.countersKey, "commits", "0", "repeated", "0", "refused", "0"]);
  }

  /** The command that does one transfer. */
  transferCommand(client: number, sequence: number, transfer: Transfer): string[] {
    const block = this.blockKey(client, Math.floor(sequence / BLOCK_TRANSFERS));
    return [
      "EVALSHA",
      this.scriptDigest,
      "3",
      this.accountsKey,
      block,
      this.countersKey,
      String(sequence),
      String(transfer.from),
      String(transfer.to),
      String(transfer.amount),
    ];
  }

  /** Reads everything. `sent`: by client, how many transfers it sent; one block more is read, to find what nobody sent. */
  async read(connection: Connection, sent: readonly number[]): Promise<LedgerSnapshot> {
    const recorded: RecordedTransfer[] = [];
    for (const [client, count] of sent.entries()) {
      const blocks = Math.floor(count / BLOCK_TRANSFERS) + 2;
      for (let first = 0; first < blocks; first += AUDIT_BATCH) {
        const wanted = Array.from({ length: Math.min(AUDIT_BATCH, blocks - first) }, (_, index) => this.blockKey(client, first + index));
        const replies = await Promise.all(wanted.map((key) => connection.command(["HGETALL", key])));
        for (const reply of replies) recorded.push(...parseBlock(client, reply));
      }
    }
    const accounts = pairs(await connection.command(["HGETALL", this.accountsKey]));
    const counters = pairs(await connection.command(["HGETALL", this.countersKey]));
    const counter = (name: string): number => Number(counters.get(name) ?? Number.NaN);
    return {
      balances: Array.from({ length: this.accounts }, (_, account) => Number(accounts.get(String(account)) ?? Number.NaN)),
      recorded,
      commits: counter("commits"),
      repeated: counter("repeated"),
      refused: counter("refused"),
    };
  }

  /** Removes everything of this run from Redis. */
  async remove(connection: Connection, sent: readonly number[]): Promise<void> {
    for (const [client, count] of sent.entries()) {
      const keys = Array.from({ length: Math.floor(count / BLOCK_TRANSFERS) + 2 }, (_, block) => this.blockKey(client, block));
      for (let first = 0; first < keys.length; first += AUDIT_BATCH)
        await connection.command(["UNLINK", ...keys.slice(first, first + AUDIT_BATCH)]);
    }
    await connection.command(["UNLINK", this.accountsKey, this.countersKey]);
  }
}

/** A flat reply field, value, field, value … as a map. */
function pairs(reply: unknown): Map<string, string> {
  const map = new Map<string, string>();
  if (Array.isArray(reply))
    for (let index = 0; index + 1 < reply.length; index += 2) map.set(String(reply[index]), String(reply[index + 1]));
  return map;
}

function parseBlock(client: number, reply: unknown): RecordedTransfer[] {
  const entries: RecordedTransfer[] = [];
  for (const [sequence, value] of pairs(reply)) {
    const [from, to, amount, commit] = value.split(":").map(Number);
    entries.push({
      client,
      sequence: Number(sequence),
      from: from ?? Number.NaN,
      to: to ?? Number.NaN,
      amount: amount ?? Number.NaN,
      commit: commit ?? Number.NaN,
    });
  }
  return entries;
}
