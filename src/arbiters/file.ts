/**
 * The arbiter of one host: a directory with one file a configuration number. The content is written under a private name first and
 * then linked to the number's name, which fails when that exists: a number is either free or completely decided, whichever process
 * crashes in between.
 *
 * A record that names disk mirrors is synced before it counts, since it says which mirror to trust after a loss of power. One that
 * names only processes of this host dies with them: it counts at once and is synced behind, because a sync can take a busy disk
 * hundreds of milliseconds, and the guest's outputs wait for the claim. For the same reason a claim is made by synchronous calls:
 * five of them on cached directories take less than a round through the thread pool.
 */
import { randomUUID } from "node:crypto";
import { closeSync, linkSync, mkdirSync, openSync, readFileSync, readdirSync, unlinkSync, writeSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import type { ConfigurationRecord } from "../wire/messages.js";
import type { Arbiter } from "./arbiter.js";

/** Older records than this many numbers back are removed; nobody claims those any more, since modules refuse lower numbers. */
export const KEPT_RECORDS = 1000;
const PRUNE_EVERY = 100;
const FILE = /^configuration-(\d{10})\.json$/;

function fileName(number: number): string {
  return `configuration-${String(number).padStart(10, "0")}.json`;
}

function parseRecord(path: string): ConfigurationRecord {
  let value: Partial<ConfigurationRecord> | null = null;
  const text = readFileSync(path, "utf8");
  try {
    value = JSON.parse(text) as Partial<ConfigurationRecord> | null;
  } catch {
    // Falls through to the check.
  }
  const names = (list: unknown): boolean => Array.isArray(list) && list.every((name) => typeof name === "string");
  if (
    typeof value !== "object" ||
    value === null ||
    !Number.isSafeInteger(value.number) ||
    !names(value.cpus) ||
    !names(value.mirrors) ||
    typeof value.activeIo !== "string"
  ) {
    throw new SteadfastError("ARBITER_RECORD", { path });
  }
  return value as ConfigurationRecord;
}

export class FileArbiter implements Arbiter {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async claim(record: ConfigurationRecord): Promise<ConfigurationRecord> {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    const newest = Math.max(0, ...this.#numbers());
    // Also when it was pruned: a number below the highest is decided.
    if (newest > record.number) return parseRecord(join(this.#directory, fileName(newest)));
    const path = join(this.#directory, fileName(record.number));
    const temporary = join(this.#directory, `claim-${randomUUID()}`);
    const mustSurvive = record.mirrors.length > 0;
    const file = openSync(temporary, "wx", 0o600);
    try {
      writeSync(file, `${JSON.stringify(record)}\n`);
      if (mustSurvive) await syncPath(temporary);
      linkSync(temporary, path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      return parseRecord(path);
    } finally {
      closeSync(file);
      unlinkSync(temporary);
    }
    if (mustSurvive) await syncPath(this.#directory);
    else void this.#syncBehind(path);
    if (record.number % PRUNE_EVERY === 0) this.#prune(record.number - KEPT_RECORDS);
    return record;
  }

  async highest(): Promise<ConfigurationRecord | null> {
    const newest = Math.max(0, ...this.#numbers());
    return Promise.resolve(newest === 0 ? null : parseRecord(join(this.#directory, fileName(newest))));
  }

  #numbers(): number[] {
    let names: string[];
    try {
      names = readdirSync(this.#directory);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
      throw error;
    }
    return names.flatMap((name) => {
      const match = FILE.exec(name);
      return match === null ? [] : [Number(match[1])];
    });
  }

  /** Best effort: nothing depends on it, and a full or failing disk shows at the next claim. */
  async #syncBehind(path: string): Promise<void> {
    try {
      await syncPath(path);
      await syncPath(this.#directory);
    } catch {
      // Said above.
    }
  }

  #prune(below: number): void {
    for (const number of this.#numbers()) if (number < below) unlinkSync(join(this.#directory, fileName(number)));
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
