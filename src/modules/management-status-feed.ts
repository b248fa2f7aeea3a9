/** Status reports for those who follow: whole ones, whenever something changed. */
import type { ServerReport } from "./management-status.js";

const LOOK_EVERY_MS = 100;
/** Numbers that run along all the time are told so often; whatever else changed, at the next look. */
const NUMBERS_EVERY_MS = 250;

export class StatusFeed {
  readonly #report: () => ServerReport;
  readonly #listeners = new Set<(text: string) => void>();
  #timer: NodeJS.Timeout | null = null;
  #said = "";
  #saidFacts = "";
  #saidAtMs = -Infinity;

  constructor(report: () => ServerReport) {
    this.#report = report;
  }

  /** Calls `listener` with a report as JSON now and after each change, until the returned function is called. */
  follow(listener: (text: string) => void): () => void {
    listener(JSON.stringify(this.#report()));
    this.#listeners.add(listener);
    this.#timer ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0 && this.#timer !== null) {
        clearInterval(this.#timer);
        this.#timer = null;
      }
    };
  }

  #look(): void {
    const report = this.#report();
    const facts = factsOf(report);
    const now = performance.now();
    if (facts === this.#saidFacts && now - this.#saidAtMs < NUMBERS_EVERY_MS - LOOK_EVERY_MS / 2) return;
    const text = JSON.stringify(report);
    if (text === this.#said) return;
    [this.#said, this.#saidFacts, this.#saidAtMs] = [text, facts, now];
    for (const listener of this.#listeners) listener(text);
  }
}

/** What an operator would want to know at once. */
function factsOf({
  redundancy,
  wantedRedundancy,
  guest,
  guestServices,
  lastEventId,
  configuration,
  modules,
  enclosures,
}: ServerReport): string {
  const states = modules.map(({ name, state, pid, safeToPull, held, isActive }) => [name, state, pid, safeToPull, held, isActive]);
  return JSON.stringify([redundancy, wantedRedundancy, guest, guestServices, lastEventId, configuration, states, enclosures]);
}
