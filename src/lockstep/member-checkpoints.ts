/**
 * A CPU module's part in checkpoints: takes changed pages between quanta, marks the state at the tick that says so, writes it down if
 * this module is the keeper, and looks through RAM for pages that changed without having been written to.
 */
import { AssertionError } from "../foundation/assert.js";
import type { Checkpointer, ImagePiece, Machine } from "../machine/machine.js";
import type { Message } from "../wire/messages.js";
import type { CheckpointStore } from "./checkpoint-store.js";
import {
  CHECKPOINT_FINISH_PAGES,
  CHECKPOINT_PAGES_PER_SLICE,
  CHECKPOINT_PREPARE_LIMIT_MS,
  CHECKPOINT_PREPARE_MS,
  CHECKPOINT_SHARE,
  COPY_SHARE,
  DAMAGE_LOOKS,
} from "./limits.js";
import type { MicrosClock } from "./member.js";

/** Saved-up time for taking pages is bounded, so that a long quantum is not followed by a long pause. */
const MOST_CREDIT_MICROS = 5000;

const PAGE_BYTES = 4096;

export class MemberCheckpoints {
  readonly #machine: Machine;
  readonly #store: CheckpointStore;
  readonly #clock: MicrosClock;
  readonly #tell: (message: Message) => void;
  #checkpointer: Checkpointer | null = null;
  /** Name of the store while this module keeps; null: it does not. */
  #kept: string | null = null;
  /** Since when pages are being taken for the next mark; null: they are not. */
  #preparingSinceMicros: number | null = null;
  /** The fewest pages that were left since then, and when that was. */
  #leastPages = Number.MAX_SAFE_INTEGER;
  #leastAtMicros = 0;
  #share = CHECKPOINT_SHARE;
  #creditMicros = 0;
  #damageIsTold = false;

  constructor(machine: Machine, store: CheckpointStore, clock: MicrosClock, tell: (message: Message) => void) {
    this.#machine = machine;
    this.#store = store;
    this.#clock = clock;
    this.#tell = tell;
  }

  get isPreparing(): boolean {
    return this.#preparingSinceMicros !== null;
  }

  prepare(keep: boolean, urgent: boolean): void {
    if (this.#checkpointer !== null && keep !== (this.#kept !== null)) this.end(false);
    this.#checkpointer ??= this.#machine.checkpointer();
    if (keep && this.#kept === null) this.#kept = this.#attempt(() => this.#store.open());
    this.#share = urgent ? COPY_SHARE : CHECKPOINT_SHARE;
    this.#preparingSinceMicros = this.#clock();
    this.#leastPages = Number.MAX_SAFE_INTEGER;
  }

  /** A quantum was run: some time may be spent on taking pages while further ticks wait. */
  credit(runMicros: number): void {
    if (this.isPreparing) this.#creditMicros = Math.min(this.#creditMicros + runMicros * this.#share, MOST_CREDIT_MICROS);
  }

  /** Takes some pages, if the guest can spare the time. Returns whether it did. */
  slice(guestWaits: boolean): boolean {
    const checkpointer = this.#checkpointer;
    if (checkpointer === null || this.#preparingSinceMicros === null) return false;
    if (guestWaits && this.#creditMicros <= 0) return false;
    const startedMicros = this.#clock();
    if (this.#isReady(checkpointer.remainingPages, this.#preparingSinceMicros, startedMicros)) {
      this.#preparingSinceMicros = null;
      this.#tell({ kind: "checkpointPrepared" });
      return false;
    }
    const pieces = checkpointer.take(CHECKPOINT_PAGES_PER_SLICE);
    if (this.#kept !== null) this.#attempt(() => this.#store.put(pieces));
    if (guestWaits) this.#creditMicros -= this.#clock() - startedMicros;
    return true;
  }

  /** Few pages are left, or waiting longer would not make them fewer. */
  #isReady(pages: number, sinceMicros: number, nowMicros: number): boolean {
    if (pages < this.#leastPages) {
      this.#leastPages = pages;
      this.#leastAtMicros = nowMicros;
    }
    if (pages <= CHECKPOINT_FINISH_PAGES) return true;
    const isStuck = nowMicros - this.#leastAtMicros > CHECKPOINT_PREPARE_MS * 1000;
    return isStuck || nowMicros - sinceMicros > CHECKPOINT_PREPARE_LIMIT_MS * 1000;
  }

  /** After tick `seq`: looks through a part of RAM for what changed without having been written to. */
  scrub(seq: number): void {
    if (this.#checkpointer === null || this.#damageIsTold) return;
    const page = this.#checkpointer.findDamage(Math.ceil(this.#machine.description.ramBytes / PAGE_BYTES / DAMAGE_LOOKS));
    if (page === null) return;
    this.#damageIsTold = true;
    this.#tell({ kind: "damaged", page, seq });
  }

  /** The state after tick `seq`; null if no checkpoint was ever prepared here. */
  mark(seq: number, configuration: number): string | null {
    const checkpointer = this.#checkpointer;
    if (checkpointer === null) return null;
    this.#preparingSinceMicros = null;
    const startedMicros = this.#clock();
    const { digest, pieces } = checkpointer.mark();
    if (this.#kept !== null) {
      this.#attempt(() => {
        this.#store.put(pieces);
        this.#store.seal({ seq, configuration });
      });
    }
    const holdMicros = Math.max(0, Math.round(this.#clock() - startedMicros));
    this.#tell({ kind: "checkpointMarked", seq, holdMicros, pages: pieces.length - 1, store: this.#kept ?? "" });
    return digest;
  }

  /** An image comes in, and is to be written down: what a newcomer begins with is the first checkpoint that it can be judged by. */
  imageBegins(): void {
    this.#kept = this.#attempt(() => this.#store.open());
    if (this.#kept !== null) this.#checkpointer = this.#machine.checkpointer();
  }

  /** Pieces that were just restored. What is written is what came, and so is what its digest is of: memory may fail later. */
  imagePieces(pieces: readonly ImagePiece[]): void {
    if (this.#kept === null) return;
    this.#attempt(() => this.#store.put(pieces));
    this.#checkpointer?.take(pieces.length);
  }

  /** The machine has all of it, as of tick `seq`. Null: it is not written down. */
  imageRestored(seq: number, configuration: number): { readonly store: string; readonly digest: string } | null {
    if (this.#kept === null || this.#checkpointer === null) return null;
    const { digest } = this.#checkpointer.mark();
    this.#attempt(() => {
      this.#store.seal({ seq, configuration });
      this.#store.verified();
    });
    return this.#kept === null ? null : { store: this.#kept, digest };
  }

  verified(): void {
    if (this.#kept !== null) this.#attempt(() => this.#store.verified());
  }

  end(retire: boolean): void {
    this.#checkpointer?.stop();
    this.#checkpointer = null;
    this.#preparingSinceMicros = null;
    this.#damageIsTold = false;
    if (this.#kept === null) return;
    this.#kept = null;
    this.#attempt(() => this.#store.close(retire));
  }

  /** The judge: becomes the machine of that checkpoint. Null: it could not, and said why. */
  restore(store: string): { readonly seq: number; readonly configuration: number; readonly digest: string } | null {
    return this.#attempt(() => {
      const { seq, configuration } = this.#store.load(store, (piece) => this.#machine.restore(piece));
      this.#checkpointer = this.#machine.checkpointer();
      return { seq, configuration, digest: this.#checkpointer.mark().digest };
    });
  }

  /** A store that fails must not take the guest with it: it is told, and this module keeps nothing any more. */
  #attempt<T>(act: () => T): T | null {
    try {
      return act();
    } catch (error) {
      if (error instanceof AssertionError) throw error;
      // Closed, or it could not be opened again when there is room.
      if (this.#kept !== null) this.#store.close(false);
      this.#kept = null;
      this.#tell({ kind: "checkpointFailed", why: error instanceof Error ? error.message : String(error) });
      return null;
    }
  }
}
