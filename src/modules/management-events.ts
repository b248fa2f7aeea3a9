/**
 * The event log: a ring in memory for those who ask now, and JSON lines on disk for those who ask later. One older file is kept, so
 * that the log never takes more than twice the limit.
 */
import { appendFileSync, readFileSync, renameSync, statSync, truncateSync } from "node:fs";
import type { EventMessage, Severity } from "../wire/control.js";
import type { ManagementEventCode } from "../wire/event-codes.js";

const RING_EVENTS_MAX = 2000;
const FILE_BYTES_MAX = 4 * 1024 * 1024;

export interface LoggedEvent {
  /** Rises by one with every event of this server, across restarts while the file is kept. */
  readonly id: number;
  readonly atMs: number;
  readonly severity: Severity;
  readonly code: string;
  readonly module?: string;
  readonly text: string;
  readonly data?: Readonly<Record<string, unknown>>;
  /** Which message of an I/O module said it. */
  readonly from?: EventSource;
}

export interface EventSource {
  /** Name and incarnation, as in `io0#3`. */
  readonly incarnation: string;
  readonly number: number;
}

/** The first event of each run of a server. */
export const FIRST_EVENT = "SERVER_STARTED";
/** The last one. */
export const LAST_EVENT = "SERVER_STOPPED";

/** The events of a log file and its predecessor, oldest first; lines that a crash cut in half are skipped. */
export function readEventFile(path: string): LoggedEvent[] {
  const events: LoggedEvent[] = [];
  for (const file of [`${path}.1`, path]) {
    let text = "";
    try {
      text = readFileSync(file, "utf8");
    } catch {
      continue;
    }
    for (const line of text.split("\n")) {
      if (line === "") continue;
      try {
        const value = JSON.parse(line) as LoggedEvent;
        if (typeof value.id === "number" && typeof value.code === "string") events.push(value);
      } catch {
        continue;
      }
    }
  }
  return events.slice(-RING_EVENTS_MAX);
}

export class EventLog {
  readonly #path: string;
  readonly #ring: LoggedEvent[];
  readonly #followers = new Set<(event: LoggedEvent) => void>();
  #nextId: number;
  #fileBytes: number;
  #fileFailed = false;

  constructor(path: string) {
    this.#path = path;
    cutHalfLine(path);
    this.#ring = readEventFile(path);
    this.#nextId = (this.#ring.at(-1)?.id ?? 0) + 1;
    this.#fileBytes = sizeOf(path);
  }

  add(
    severity: Severity,
    code: ManagementEventCode,
    text: string,
    more: { module?: string; data?: Readonly<Record<string, unknown>> } = {},
  ): void {
    this.#push({ id: this.#nextId, atMs: Date.now(), severity, code, text, ...more });
  }

  /** An event that another module reported. */
  relay(event: EventMessage, from: EventSource): void {
    const { atMs, severity, code, text, module, data } = event;
    this.#push({ id: this.#nextId, atMs, severity, code, text, ...(module && { module }), ...(data && { data }), from });
  }

  /** Number of the last message of each incarnation that is in the log of this run. */
  relayed(): Map<string, number> {
    const first = this.#ring.map((event) => event.code).lastIndexOf(FIRST_EVENT);
    const sources = this.#ring.slice(first + 1).flatMap((event) => event.from ?? []);
    return new Map(sources.map(({ incarnation, number }) => [incarnation, number]));
  }

  /** Events with an id above `since`. */
  since(since: number): LoggedEvent[] {
    return this.#ring.filter((event) => event.id > since);
  }

  get lastId(): number {
    return this.#nextId - 1;
  }

  /** Calls `listener` for every further event until the returned function is called. */
  follow(listener: (event: LoggedEvent) => void): () => void {
    this.#followers.add(listener);
    return () => this.#followers.delete(listener);
  }

  #push(event: LoggedEvent): void {
    this.#nextId += 1;
    this.#ring.push(event);
    if (this.#ring.length > RING_EVENTS_MAX) this.#ring.shift();
    this.#append(event);
    for (const follower of this.#followers) follower(event);
  }

  /** A full disk must not stop a fault-tolerant server: the ring goes on without the file. */
  #append(event: LoggedEvent): void {
    const line = `${JSON.stringify(event)}\n`;
    try {
      if (this.#fileBytes + line.length > FILE_BYTES_MAX) {
        renameSync(this.#path, `${this.#path}.1`);
        this.#fileBytes = 0;
      }
      appendFileSync(this.#path, line, { mode: 0o600 });
      this.#fileBytes += line.length;
      this.#fileFailed = false;
    } catch (error) {
      if (!this.#fileFailed) process.stderr.write(`the event log ${this.#path} cannot be written: ${(error as Error).message}\n`);
      this.#fileFailed = true;
    }
  }
}

/** Whoever wrote before may have died within a line; the next one must not be joined to it. */
function cutHalfLine(path: string): void {
  try {
    const bytes = readFileSync(path);
    const end = bytes.lastIndexOf(0x0a) + 1;
    if (end < bytes.length) truncateSync(path, end);
  } catch {
    // There is none yet, or it cannot be written, which the next append says.
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
