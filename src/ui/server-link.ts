/**
 * The two streams that the console lives on: reports and events. Each is opened again whenever it ends; several fronts listen at the
 * same address, so the next attempt meets one that is there. Events go on after the last one that was heard: none is lost.
 */
import { reconnectPauseMs, SILENCE_LIMIT_MS } from "../view/connection.js";
import { EMPTY_STREAM, readStream } from "../view/event-stream.js";
import type { EventView, ReportView } from "../view/report.js";
import type { Heard } from "../view/state.js";

export interface LinkHooks {
  heard(heard: readonly Heard[]): void;
  /** The token is not good any more. */
  refused(): void;
  lastEventId(): number;
}

interface Stream {
  path(): string;
  read(data: readonly string[]): readonly Heard[];
}

export class ServerLink {
  readonly #token: string;
  readonly #hooks: LinkHooks;
  readonly #stop = new AbortController();
  readonly #streams: readonly Stream[];
  /** Streams that are open. */
  #open = 0;
  #wasConnected = false;

  constructor(token: string, hooks: LinkHooks) {
    this.#token = token;
    this.#hooks = hooks;
    const reports: Stream = { path: () => "/status?follow=1", read: readReports };
    const events: Stream = { path: () => `/events?since=${hooks.lastEventId()}&follow=1`, read: readEvents };
    this.#streams = [reports, events];
    for (const stream of this.#streams) void this.#hold(stream);
  }

  close(): void {
    this.#stop.abort();
  }

  async #hold(stream: Stream): Promise<void> {
    let attempt = 0;
    while (!this.#stop.signal.aborted) {
      let why = "the connection was lost";
      try {
        await this.#follow(stream, () => {
          attempt = 0;
        });
      } catch (error) {
        why = error instanceof Error ? error.message : String(error);
      }
      if (this.#stop.signal.aborted) return;
      attempt += 1;
      if (this.#wasConnected || attempt > 1)
        this.#hooks.heard([{ kind: "connection", connection: { kind: "reconnecting", attempt, why } }]);
      await pause(reconnectPauseMs(attempt, Math.random()), this.#stop.signal);
    }
  }

  async #follow(stream: Stream, onOpen: () => void): Promise<void> {
    const silence = new AbortController();
    const abort = (): void => silence.abort();
    this.#stop.signal.addEventListener("abort", abort);
    let timer = setTimeout(abort, SILENCE_LIMIT_MS);
    let isOpen = false;
    try {
      const headers = { authorization: `Bearer ${this.#token}`, accept: "text/event-stream" };
      const response = await fetch(stream.path(), { headers, signal: silence.signal, cache: "no-store", credentials: "omit" });
      if (response.status === 401) {
        this.close();
        return this.#hooks.refused();
      }
      if (!response.ok || response.body === null) throw new Error(`the server answers ${response.status}`);
      onOpen();
      isOpen = true;
      this.#opened();
      await this.#read(response.body, stream, () => {
        clearTimeout(timer);
        timer = setTimeout(abort, SILENCE_LIMIT_MS);
      });
    } catch (error) {
      throw silence.signal.aborted
        ? new Error("the server is silent")
        : error instanceof TypeError
          ? new Error("the connection was lost")
          : error;
    } finally {
      clearTimeout(timer);
      this.#stop.signal.removeEventListener("abort", abort);
      if (isOpen) this.#open -= 1;
    }
  }

  #opened(): void {
    this.#open += 1;
    if (this.#open < this.#streams.length) return;
    this.#wasConnected = true;
    this.#hooks.heard([{ kind: "connection", connection: { kind: "connected" } }]);
  }

  async #read(body: ReadableStream<Uint8Array>, stream: Stream, onBytes: () => void): Promise<void> {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    let state = EMPTY_STREAM;
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes();
      const found = readStream(state, decoder.decode(value, { stream: true }));
      state = found.state;
      if (found.data.length > 0) this.#hooks.heard(stream.read(found.data));
    }
  }
}

/** Of several reports that came at once only the newest matters. */
function readReports(data: readonly string[]): readonly Heard[] {
  const newest = data.at(-1);
  return newest === undefined ? [] : [{ kind: "report", report: JSON.parse(newest) as ReportView }];
}

function readEvents(data: readonly string[]): readonly Heard[] {
  return data.map((text) => ({ kind: "event", event: JSON.parse(text) as EventView }));
}

function pause(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
