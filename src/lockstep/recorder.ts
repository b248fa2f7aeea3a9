/** Records the course of the server from its verified checkpoint on: every tick, and what the members agreed that came of it. */
import type { Checkpoints } from "./checkpoints.js";
import type { ServerContext } from "./context.js";
import { RECORDING_MOST_TICKS } from "./limits.js";
import type { RecordAction } from "./server-types.js";

export class Recorder {
  readonly #context: ServerContext;
  readonly #checkpoints: Checkpoints;
  /** It was asked for, and there is no checkpoint to begin at yet. */
  #isWanted = false;
  /** The last tick recorded; null: no recording is under way. */
  #seq: number | null = null;
  #ticks = 0;

  constructor(context: ServerContext, checkpoints: Checkpoints) {
    this.#context = context;
    this.#checkpoints = checkpoints;
  }

  order(action: RecordAction): void {
    if (action === "start") return this.start();
    return action === "stop" ? this.stop() : this.imageTaken();
  }

  start(): void {
    if (this.#seq === null) this.#isWanted = true;
  }

  /** The image is copied: the next checkpoint may overwrite its pages. */
  imageTaken(): void {
    this.#checkpoints.isHeld = false;
  }

  stop(): void {
    this.#isWanted = false;
    this.#checkpoints.isHeld = false;
    if (this.#seq === null) return;
    this.#seq = null;
    this.#context.emit({ kind: "recordingEnded", ticks: this.#ticks });
  }

  /** Begins, and records what is settled by now. */
  consider(): void {
    const { verified } = this.#checkpoints;
    // One that is being made ends first: it would be written over the one that is to be copied.
    if (this.#isWanted) this.#checkpoints.isHeld = verified !== null;
    if (this.#isWanted && verified !== null && !this.#checkpoints.isUnderWay) {
      this.#isWanted = false;
      this.#seq = verified.seq;
      this.#ticks = 0;
      this.#context.emit({ kind: "recordingStarted", seq: verified.seq, store: verified.store });
    }
    const { voter } = this.#context;
    while (this.#seq !== null && this.#seq < voter.agreed) {
      const ballot = voter.ballot(this.#seq + 1);
      // Forgotten by an outage: what comes next is another story.
      if (ballot === undefined || ballot.truth === null || this.#ticks >= RECORDING_MOST_TICKS) return this.stop();
      this.#seq += 1;
      this.#ticks += 1;
      this.#context.emit({ kind: "recordStep", step: { tick: ballot.tick, truth: ballot.truth } });
    }
  }
}
