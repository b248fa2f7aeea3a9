/** Runs a recording on a machine and says whether it computes what was recorded (pure). */
import { claimOf, differingFields, type Claim } from "../lockstep/miscompare-report.js";
import { outputsDigest } from "../lockstep/outputs-digest.js";
import type { Checkpointer, Machine } from "../machine/machine.js";
import { controlOf } from "../wire/control.js";
import type { Message, ResultMessage, TickMessage } from "../wire/messages.js";
import type { RecordingHeader } from "./format.js";

export interface Difference {
  readonly seq: number;
  readonly fields: readonly string[];
  readonly recorded: Claim;
  readonly computed: Claim;
}

export interface ReplayOutcome {
  readonly ticks: number;
  /** Instructions that were run. */
  readonly instructions: number;
  /** The first tick that computed something else than was recorded; null: none. */
  readonly difference: Difference | null;
  /** Of a miscompare report: who claimed what this machine computed, and whether that is the verdict of then. */
  readonly verdict: { readonly right: readonly string[]; readonly wrong: readonly string[]; readonly isSame: boolean } | null;
}

/** The recording does not end as it should, or holds what it cannot. */
export class RecordingError extends Error {}

/** Feeds on the messages after the header, in their order. */
export class Replay {
  readonly #header: RecordingHeader;
  readonly #machine: Machine;
  #checkpointer: Checkpointer | null = null;
  #ticks = 0;
  #firstCount: bigint | null = null;
  #last: { readonly tick: TickMessage; readonly claim: Claim } | null = null;
  #difference: Difference | null = null;
  #hasEnded = false;

  constructor(header: RecordingHeader, machine: Machine) {
    this.#header = header;
    this.#machine = machine;
  }

  get ticks(): number {
    return this.#ticks;
  }

  message(message: Message): void {
    if (this.#hasEnded) throw new RecordingError("something comes after its end");
    switch (message.kind) {
      case "imagePages":
        for (const page of message.pages) this.#machine.restore(page);
        return;
      case "imageState":
        this.#machine.restore({ page: -1, bytes: message.bytes });
        this.#checkpointer = this.#machine.checkpointer();
        return;
      case "tick":
        return this.#tick(message);
      case "result":
        return this.#result(message);
      case "control":
        if (Number(controlOf(message)?.["ticks"]) !== this.#ticks) throw new RecordingError("some of its ticks are missing");
        this.#hasEnded = true;
        return;
      default:
        throw new RecordingError(`it holds a message ${message.kind}, which has no place there`);
    }
  }

  #tick(tick: TickMessage): void {
    if (this.#checkpointer === null) throw new RecordingError("it has no image before its first tick");
    if (tick.seq !== this.#header.seq + this.#ticks + 1) throw new RecordingError(`tick ${tick.seq} is out of order`);
    const made = this.#machine.run(tick);
    this.#ticks += 1;
    this.#firstCount ??= made.instructionCount;
    const stateDigest = tick.fullDigest ? this.#machine.fullDigest() : tick.checkpoint ? this.#checkpointer.mark().digest : null;
    const { instructionCount, timeNs, idleUntilNs, digest, outputs } = made;
    const { configuration, seq } = tick;
    const hasOutputs = outputs.length > 0;
    const result: ResultMessage = {
      ...{ kind: "result", configuration, seq, instructionCount, timeNs, idleUntilNs, digest, hasOutputs, stateDigest },
      ...{ outputsDigest: outputsDigest(outputs), runMicros: 0, outputs: null },
    };
    this.#last = { tick, claim: claimOf(result) };
  }

  #result(truth: ResultMessage): void {
    if (this.#last?.tick.seq !== truth.seq) throw new RecordingError(`the result of tick ${truth.seq} is out of order`);
    if (this.#difference !== null) return;
    const recorded = claimOf(truth);
    const computed = this.#last.claim;
    const fields = differingFields([recorded, computed]);
    if (fields.length > 0) this.#difference = { seq: truth.seq, fields, recorded, computed };
  }

  /** After the last message. */
  outcome(): ReplayOutcome {
    if (!this.#hasEnded) throw new RecordingError("it is cut short");
    const computed = this.#last?.claim;
    const instructions = computed === undefined ? 0 : Number(BigInt(computed.instructionCount) - (this.#firstCount ?? 0n));
    return { ticks: this.#ticks, instructions, difference: this.#difference, verdict: this.#verdict(computed) };
  }

  #verdict(computed: Claim | undefined): ReplayOutcome["verdict"] {
    const { report } = this.#header;
    if (report === undefined || computed === undefined) return null;
    const names = Object.keys(report.claims);
    const right = names.filter((name) => differingFields([report.claims[name] as Claim, computed]).length === 0);
    const wrong = names.filter((name) => !right.includes(name));
    return { right, wrong, isSame: wrong.join() === names.filter((name) => report.verdict.wrong.includes(name)).join() };
  }
}
