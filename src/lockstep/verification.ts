/** Full digests of all members at one tick, on request: a tick carries the wish, the results bring the digests. */
import type { Adjudication } from "./adjudication.js";
import type { ServerContext } from "./context.js";

export class Verification {
  readonly #context: ServerContext;
  readonly #adjudication: Adjudication;
  #isWanted = false;
  #seq: number | null = null;

  constructor(context: ServerContext, adjudication: Adjudication) {
    this.#context = context;
    this.#adjudication = adjudication;
  }

  /** A tick that carries the wish has not been answered by all. */
  get isUnderWay(): boolean {
    return this.#seq !== null;
  }

  ask(): void {
    if (this.#context.membership.live.length === 0) return this.#answer(0, {});
    this.#isWanted = true;
    this.#context.sequencer.poke();
  }

  /** Whether the tick about to be issued shall carry the wish. */
  take(seq: number): boolean {
    if (!this.#isWanted || this.#seq !== null) return false;
    this.#isWanted = false;
    this.#seq = seq;
    return true;
  }

  /** Answers once every member that is left has brought its digest. */
  consider(): void {
    if (this.#seq === null) return;
    const seq = this.#seq;
    const ballot = this.#context.voter.ballot(seq);
    const digests: Record<string, string> = {};
    if (ballot !== undefined) {
      for (const name of this.#context.membership.live) {
        const result = ballot.results.get(name);
        // Who joined after that tick has nothing to say of it.
        if (result === undefined && this.#context.membership.row(name).lastSeq >= seq) continue;
        if (result === undefined) return;
        if (result.stateDigest !== null) digests[name] = result.stateDigest;
      }
    }
    this.#seq = null;
    this.#answer(seq, digests);
    this.#adjudication.digests(digests, seq, "full digests");
    if (this.#isWanted) this.#context.sequencer.poke();
  }

  /** No module is left to answer. */
  giveUp(): void {
    if (this.#isWanted || this.#seq !== null) this.#answer(0, {});
    this.#isWanted = false;
    this.#seq = null;
  }

  #answer(seq: number, digests: Readonly<Record<string, string>>): void {
    this.#context.emit({ kind: "verified", seq, digests });
  }
}
