/** Management's view of the I/O modules: which one is active, what each reports, and what those that are gone had counted. */
import type { ServerCounters, ServerStatus } from "../wire/control.js";
import type { GuestTraffic } from "./management-guest.js";
import type { IoRecord } from "./management-state.js";
import { addCounters, NO_COUNTERS } from "./management-status.js";

export class IoView {
  readonly #statuses = new Map<string, ServerStatus>();
  /** What those that were not heard yet had counted when another one led. */
  readonly #remembered = new Map<string, ServerCounters>();
  #active: string;
  #past: ServerCounters = NO_COUNTERS;

  /** `first`: the one that begins as the active one. */
  constructor(first: string) {
    this.#active = first;
  }

  get record(): IoRecord {
    const present = [...this.#statuses].map(([name, status]) => [name, status.counters] as const);
    return { active: this.#active, past: this.#past, present: Object.fromEntries([...this.#remembered, ...present]) };
  }

  /** Goes on from what another management module wrote down. */
  adopt(record: IoRecord): void {
    this.#active = record.active;
    this.#past = record.past;
    for (const [name, counters] of Object.entries(record.present)) this.#remembered.set(name, counters);
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
    const { present, active, past } = this.record;
    const own = present[active];
    const others = Object.keys(present).flatMap((name) => (name === active ? [] : (present[name] ?? [])));
    return [...others, ...(own === undefined ? [] : [own])].reduce(addCounters, past);
  }

  /** What the guest watch counts by; null: nobody reports. */
  get traffic(): GuestTraffic | null {
    const { status } = this;
    if (status === null) return null;
    return { ...this.counters, committed: status.committed, guestTimeMs: Number(BigInt(status.guestTimeNs) / 1_000_000n) };
  }

  /** True: this is the active one. */
  reported(name: string, status: ServerStatus): boolean {
    this.#remembered.delete(name);
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
    const counters = this.#statuses.get(name)?.counters ?? this.#remembered.get(name);
    if (counters !== undefined) this.#past = addCounters(this.#past, counters);
    this.#statuses.delete(name);
    this.#remembered.delete(name);
  }

  /** An outage that no I/O module could count, since it was itself a part of it. */
  countOutage(): void {
    this.#past = { ...this.#past, outages: this.#past.outages + 1 };
  }
}
