/** Management's view of the I/O modules: which one is active, what each reports, and what those that are gone had counted. */
import type { ServerCounters, ServerStatus } from "../wire/control.js";
import { addCounters, NO_COUNTERS } from "./management-status.js";

export class IoView {
  readonly #statuses = new Map<string, ServerStatus>();
  #active: string;
  #past: ServerCounters = NO_COUNTERS;

  /** `first`: the one that begins as the active one. */
  constructor(first: string) {
    this.#active = first;
  }

  /** The one that sequences, as far as is known. */
  get active(): string {
    return this.#active;
  }

  /** What the active one reports; null: it is not connected, or only just taking over. */
  get status(): ServerStatus | null {
    const status = this.#statuses.get(this.#active);
    return status?.role === "active" ? status : null;
  }

  /** Since the server was started, whichever module counted. */
  get counters(): ServerCounters {
    const others = [...this.#statuses].filter(([name]) => name !== this.#active).map(([, status]) => status);
    const own = this.#statuses.get(this.#active);
    return [...others, ...(own === undefined ? [] : [own])].reduce((sum, each) => addCounters(sum, each.counters), this.#past);
  }

  /** True: this is the active one. */
  reported(name: string, status: ServerStatus): boolean {
    this.#statuses.set(name, status);
    const isLater = this.status === null || status.configuration > this.status.configuration;
    if (status.role === "active" && isLater) this.#active = name;
    return name === this.#active && status.role === "active";
  }

  /** It has said that it takes over. */
  takesOver(name: string): void {
    this.#active = name;
  }

  /** Its counters begin at zero with its next incarnation; the server's do not. */
  gone(name: string): void {
    const status = this.#statuses.get(name);
    if (status !== undefined) this.#past = addCounters(this.#past, status.counters);
    this.#statuses.delete(name);
  }

  /** An outage that no I/O module could count, since it was itself a part of it. */
  countOutage(): void {
    this.#past = { ...this.#past, outages: this.#past.outages + 1 };
  }
}
