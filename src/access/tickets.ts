/** Tickets: what a browser shows instead of a token where it can send no header. Each is good once, for a short time. */

interface Ticket<Holder> {
  readonly holder: Holder;
  readonly untilMs: number;
}

export class Tickets<Holder> {
  readonly lifetimeMs: number;
  readonly #countMax: number;
  readonly #tickets = new Map<string, Ticket<Holder>>();

  /** `countMax`: beyond it the oldest one is void. */
  constructor(lifetimeMs: number, countMax: number) {
    this.lifetimeMs = lifetimeMs;
    this.#countMax = countMax;
  }

  /** `secret`: random, never given out before. */
  issue(secret: string, holder: Holder, nowMs: number): void {
    this.#tickets.set(secret, { holder, untilMs: nowMs + this.lifetimeMs });
    while (this.#tickets.size > this.#countMax) {
      const oldest = this.#tickets.keys().next();
      if (oldest.done !== true) this.#tickets.delete(oldest.value);
    }
  }

  /** @returns whose it is; null: unknown, used before, or too old */
  redeem(secret: string, nowMs: number): Holder | null {
    const ticket = this.#tickets.get(secret);
    this.#tickets.delete(secret);
    return ticket === undefined || nowMs >= ticket.untilMs ? null : ticket.holder;
  }
}
