/**
 * What all who follow are told: a front follows status and events itself, once, whichever management module leads, and passes both on. Ten
 * or a thousand streams cost management the same, and none of them ends with a leader.
 */
import { openRequest, serverSentEvents, type UnixTarget } from "../client/transport.js";
import type { LoggedEvent } from "../modules/management-events.js";
import { EVENTS_KEPT_MAX, UPSTREAM_RETRY_MS } from "./limits.js";

type Listener = (data: string, id?: number) => void;

/** Follows as long as somebody listens. */
abstract class Feed {
  readonly #target: UnixTarget;
  protected readonly listeners = new Set<Listener>();
  #stop: AbortController | null = null;

  constructor(target: UnixTarget) {
    this.#target = target;
  }

  protected abstract get path(): string;
  protected abstract heard(data: string): void;

  protected listen(listener: Listener): () => void {
    this.listeners.add(listener);
    if (this.#stop === null) {
      this.#stop = new AbortController();
      void this.#follow(this.#stop.signal);
    }
    return () => {
      this.listeners.delete(listener);
      if (this.listeners.size > 0) return;
      this.#stop?.abort();
      this.#stop = null;
    };
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        const response = await openRequest(this.#target, { method: "GET", path: this.path, signal });
        for await (const data of serverSentEvents(response)) if (!signal.aborted) this.heard(data);
      } catch {
        // Nobody leads at this moment.
      }
      await new Promise((resolve) => setTimeout(resolve, UPSTREAM_RETRY_MS));
    }
  }
}

export class StatusRelay extends Feed {
  #last: string | null = null;

  protected get path(): string {
    return "/status?follow=1";
  }

  protected heard(data: string): void {
    this.#last = data;
    for (const listener of this.listeners) listener(data);
  }

  follow(listener: Listener): () => void {
    const isFirst = this.listeners.size === 0;
    // What was heard before everyone left is old.
    if (isFirst) this.#last = null;
    if (this.#last !== null) listener(this.#last);
    return this.listen(listener);
  }
}

export class EventRelay extends Feed {
  #kept: { readonly id: number; readonly data: string }[] = [];

  protected get path(): string {
    return `/events?since=${this.#kept.at(-1)?.id ?? 0}&follow=1`;
  }

  protected heard(data: string): void {
    const { id } = JSON.parse(data) as LoggedEvent;
    // Asked again after a gap, it may say what we know.
    if (id <= (this.#kept.at(-1)?.id ?? 0)) return;
    this.#kept.push({ id, data });
    if (this.#kept.length > EVENTS_KEPT_MAX) this.#kept.shift();
    for (const listener of this.listeners) listener(data, id);
  }

  /** What is known of the events after `since`, and all that come. */
  follow(since: number, listener: Listener): () => void {
    for (const { id, data } of this.#kept) if (id > since) listener(data, id);
    return this.listen((data, id) => {
      if (id !== undefined && id > since) listener(data, id);
    });
  }
}
