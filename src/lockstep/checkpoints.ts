/**
 * Verified checkpoints (DESIGN section 5): every so often all members mark their state at the same tick; when the digests agree, that
 * state is known to be right, and it is kept, written down by one member (the keeper), together with the ticks since.
 */
import type { ResultMessage, Message } from "../wire/messages.js";
import type { Adjudication } from "./adjudication.js";
import type { ServerContext } from "./context.js";
import {
  CHECKPOINT_BUSY_MICROS,
  CHECKPOINT_LEAST_MS,
  CHECKPOINT_MOST_INPUT_BYTES,
  CHECKPOINT_MOST_TICKS,
  CHECKPOINT_PRESSING_FACTOR,
  CHECKPOINT_SETTLE_MS,
  CHECKPOINT_STALE_BUSY_MICROS,
  CHECKPOINT_STALE_FACTOR,
} from "./limits.js";
import type { CpuRow } from "./membership.js";
import type { Reintegration } from "./reintegration.js";

export interface VerifiedCheckpoint {
  readonly seq: number;
  readonly digest: string;
  /** Where it is written down. */
  readonly store: string;
}

type Stage =
  | { readonly kind: "off" }
  | { readonly kind: "waiting" }
  /** Members take what changed, so that the mark itself is quick. */
  | { readonly kind: "preparing"; readonly ready: Set<string> }
  /** All are ready: the next tick shall carry the wish. */
  | { readonly kind: "wanted" }
  | { readonly kind: "marking"; readonly seq: number };

const OFF: Stage = { kind: "off" };
const WAITING: Stage = { kind: "waiting" };

function areSame(left: readonly string[], right: readonly string[]): boolean {
  return left.length === right.length && left.every((name, at) => name === right[at]);
}

export class Checkpoints {
  readonly #context: ServerContext;
  readonly #adjudication: Adjudication;
  readonly #reintegration: Reintegration;
  #stage: Stage = OFF;
  #members: readonly string[] = [];
  #keeper = "";
  #store = "";
  #verified: VerifiedCheckpoint | null = null;
  /** Running time of the guest since the last mark, and since the verified checkpoint. */
  #busyMicros = 0;
  #verifiedBusyMicros = 0;
  #lastEndedAt = 0;
  /** None was verified since these members are together. */
  #isFirst = true;
  #beganAtMs = 0;
  /** The keeper could not write: told once, and no more checkpoints with these members. */
  #hasFailed = false;
  /** No new one for now: somebody copies the verified one. */
  isHeld = false;
  completed = 0;
  worstHoldMs = 0;

  constructor(context: ServerContext, adjudication: Adjudication, reintegration: Reintegration) {
    this.#context = context;
    this.#adjudication = adjudication;
    this.#reintegration = reintegration;
  }

  /** Members make one at this moment. It may replace the verified one, and where that is written down. */
  get isUnderWay(): boolean {
    return this.#stage.kind !== "off" && this.#stage.kind !== "waiting";
  }

  /** When the first one of these members can begin (atMs); Infinity: events enough come by themselves. */
  get wakeAtMs(): number {
    const isFirst = this.#stage.kind === "waiting" && this.#isFirst && !this.#hasFailed && !this.isHeld;
    const settledAtMs = this.#beganAtMs + CHECKPOINT_SETTLE_MS;
    return isFirst && this.#context.atMs < settledAtMs ? settledAtMs : Infinity;
  }

  get verified(): VerifiedCheckpoint | null {
    return this.#verified;
  }

  /** Running time of the guest since the verified checkpoint: about what running it again takes. */
  get busySinceVerifiedMs(): number {
    return this.#verifiedBusyMicros / 1000;
  }

  /** Ticks after this one are needed to run on from the checkpoint, or from the image that a newcomer may bring. */
  get keptFrom(): number {
    if (this.#verified !== null) return Math.min(this.#verified.seq, this.#reintegration.keptFrom);
    return this.#stage.kind === "marking" ? this.#stage.seq : this.#reintegration.keptFrom;
  }

  /** A result on which the members agreed. */
  agreed(truth: ResultMessage): void {
    this.#busyMicros += truth.runMicros;
    this.#verifiedBusyMicros += truth.runMicros;
  }

  message(row: CpuRow, message: Message): void {
    switch (message.kind) {
      case "checkpointPrepared":
        if (this.#stage.kind === "preparing") this.#stage.ready.add(row.name);
        return;
      case "checkpointMarked":
        this.worstHoldMs = Math.max(this.worstHoldMs, message.holdMicros / 1000);
        if (row.name === this.#keeper) this.#store = message.store;
        return;
      case "checkpointFailed":
        if (row.name !== this.#keeper) return;
        this.#hasFailed = true;
        this.#context.event("warning", "CHECKPOINT_FAILED", `${row.name} cannot keep checkpoints: ${message.why}`, row.name);
        return this.end();
      default:
        return;
    }
  }

  /** One step further, if it can be made. `isPossible`: nothing else is going on that checkpoints would disturb. */
  consider(isPossible: boolean): void {
    if (this.#isStale()) this.#verified = null;
    const { live, voters } = this.#context.membership;
    const isWanted = this.#context.options.checkpoints !== false;
    const isSettled = isWanted && isPossible && live.length >= 2 && live.length === voters.length;
    if (!isSettled) return this.end();
    if (this.#stage.kind === "off") this.#begin(live);
    else if (!areSame(live, this.#members)) {
      this.end();
      this.#begin(live);
    }
    if (this.#stage.kind === "waiting" && this.#isDue()) this.#prepare();
    if (this.#stage.kind === "preparing" && (this.#members.every((name) => this.#isReady(name)) || this.#isPressing())) {
      this.#stage = { kind: "wanted" };
      this.#context.sequencer.poke();
    }
    if (this.#stage.kind === "marking") this.#compare(this.#stage.seq);
  }

  #isReady(name: string): boolean {
    return this.#stage.kind === "preparing" && this.#stage.ready.has(name);
  }

  /**
   * `newcomer` joined. What it has written down of its image, as of `image.seq`, is what contradictions can be judged by from here on. If
   * several go on beside it, what they had agreed on before stays the better witness.
   */
  adopt(newcomer: string, image: VerifiedCheckpoint | null): void {
    const { membership, voter, options } = this.#context;
    if (image === null || options.checkpoints === false) return;
    this.end();
    const isBetter = this.#verified === null || membership.live.length <= 2;
    const isAdopted = voter.keepsAfter(image.seq) && isBetter && !this.isHeld;
    this.#begin(membership.live, newcomer, isAdopted ? image.store : "");
    if (!isAdopted) return;
    this.#verified = image;
    this.#verifiedBusyMicros = 0;
    for (let seq = image.seq + 1; seq <= voter.agreed; seq += 1) this.#verifiedBusyMicros += voter.ballot(seq)?.truth?.runMicros ?? 0;
    this.#context.emit({ kind: "checkpointKept", store: image.store });
  }

  /** Like a donor: better not the one whose outputs the clients wait for. But whoever has all of RAM written down goes on with that. */
  #begin(live: readonly string[], keeper?: string, store = ""): void {
    const { fullOutputs, atMs } = this.#context;
    if (!areSame(live, this.#members)) this.#hasFailed = false;
    this.#members = [...live];
    this.#keeper = keeper ?? live.find((name) => name !== fullOutputs) ?? (live[0] as string);
    this.#store = store;
    this.#stage = WAITING;
    this.#isFirst = true;
    this.#beganAtMs = atMs;
  }

  #isDue(): boolean {
    const { atMs } = this.#context;
    if (this.#hasFailed || this.isHeld) return false;
    if (atMs < this.#beganAtMs + CHECKPOINT_SETTLE_MS) return false;
    if (this.#verified === null || this.#isFirst) return true;
    if (atMs - this.#lastEndedAt < CHECKPOINT_LEAST_MS) return false;
    if (this.#busyMicros >= CHECKPOINT_BUSY_MICROS) return true;
    return this.#exceeds(1);
  }

  #prepare(): void {
    this.#stage = { kind: "preparing", ready: new Set() };
    const urgent = this.#isFirst;
    for (const name of this.#members) {
      this.#context.emit({ kind: "send", to: name, message: { kind: "prepareCheckpoint", keep: name === this.#keeper, urgent } });
    }
  }

  /** Whether the tick about to be issued shall be one of a checkpoint. */
  take(seq: number): boolean {
    if (this.#stage.kind !== "wanted") return false;
    this.#stage = { kind: "marking", seq };
    this.#busyMicros = 0;
    return true;
  }

  #compare(seq: number): void {
    const results = this.#context.voter.ballot(seq)?.results;
    const digests: Record<string, string> = {};
    for (const name of this.#members) {
      const digest = results?.get(name)?.stateDigest;
      if (digest === undefined || digest === null) return;
      digests[name] = digest;
    }
    this.#lastEndedAt = this.#context.atMs;
    const [digest] = Object.values(digests);
    if (digest === undefined || new Set(Object.values(digests)).size > 1) {
      this.#stage = WAITING;
      return this.#adjudication.digests(digests, seq, "checkpoint digests");
    }
    if (this.#isFirst) {
      this.#isFirst = false;
      const proof = this.#verified === null ? ": from here on it can be proven who is right" : "";
      const text = `${this.#members.join(" and ")} were found equal in all of their state at tick ${seq}${proof}`;
      this.#context.event("info", "CHECKPOINT_VERIFIED", text, undefined, {
        seq,
        afterMs: Math.round(this.#context.atMs - this.#beganAtMs),
      });
    }
    this.completed += 1;
    this.#stage = WAITING;
    this.#verified = this.#store === "" ? null : { seq, digest, store: this.#store };
    this.#verifiedBusyMicros = this.#busyMicros;
    if (this.#verified !== null) this.#context.emit({ kind: "checkpointKept", store: this.#store });
    this.#context.emit({ kind: "send", to: this.#keeper, message: { kind: "checkpointVerified", seq } });
  }

  /** Members come or go: no new checkpoints for now. The verified one stays good, whoever wrote it down. */
  end(): void {
    if (this.#stage.kind === "off") return;
    const isVerified = this.#verified?.store === this.#store;
    for (const name of this.#members) {
      const message: Message = { kind: "endCheckpoints", retire: isVerified && name === this.#keeper };
      if (this.#context.membership.live.includes(name)) this.#context.emit({ kind: "send", to: name, message });
    }
    this.#stage = OFF;
  }

  /** The guest that it was of is no more. */
  discard(): void {
    this.end();
    this.#verified = null;
  }

  /** Too much came after it: to run that again would take too long, and to keep it too much room. */
  #isStale(): boolean {
    if (this.#verified === null) return false;
    return this.#verifiedBusyMicros > CHECKPOINT_STALE_BUSY_MICROS || this.#exceeds(CHECKPOINT_STALE_FACTOR);
  }

  /** It will soon be stale. The first one of these members is not hurried: its keeper has all of RAM to take. */
  #isPressing(): boolean {
    return !this.#isFirst && this.#exceeds(CHECKPOINT_PRESSING_FACTOR);
  }

  /** What has come since the verified one is more than the limits so many times. */
  #exceeds(factor: number): boolean {
    const { voter } = this.#context;
    const ticks = this.#verified === null ? 0 : voter.issued - this.#verified.seq;
    return ticks > CHECKPOINT_MOST_TICKS * factor || voter.keptInputBytes > CHECKPOINT_MOST_INPUT_BYTES * factor;
  }
}
