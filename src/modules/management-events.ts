/**
 * The event log: a ring in memory for those who ask now, and JSON lines on disk for those who ask later. One older file is kept, so
 * that the log never takes more than twice the limit.
 */
import type { EventMessage, Severity } from "../wire/control.js";
import type { ManagementEventCode } from "../wire/event-codes.js";
import { JsonLinesFile, readLines, type LinesLimits } from "./json-lines-file.js";

const RING_EVENTS_MAX = 2000;
const FILE_LIMITS: LinesLimits = { fileBytesMax: 4 * 1024 * 1024, filesMax: 2 };

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
  const isEvent = (value: unknown): value is LoggedEvent => {
    const event = value as Partial<LoggedEvent> | null;
    return typeof event?.id === "number" && typeof event.code === "string";
  };
  return readLines(path, FILE_LIMITS).filter(isEvent).slice(-RING_EVENTS_MAX);
}

export class EventLog {
  readonly #file: JsonLinesFile;
  readonly #ring: LoggedEvent[];
  readonly #followers = new Set<(event: LoggedEvent) => void>();
  #nextId: number;

  constructor(path: string) {
    this.#file = new JsonLinesFile(path, FILE_LIMITS);
    this.#ring = readEventFile(path);
    this.#nextId = (this.#ring.at(-1)?.id ?? 0) + 1;
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
    const sources = this.ofThisRun().flatMap((event) => event.from ?? []);
    return new Map(sources.map(({ incarnation, number }) => [incarnation, number]));
  }

  ofThisRun(): LoggedEvent[] {
    return this.#ring.slice(this.#ring.map((event) => event.code).lastIndexOf(FIRST_EVENT) + 1);
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
    this.#file.append(event);
    for (const follower of this.#followers) follower(event);
  }
}
