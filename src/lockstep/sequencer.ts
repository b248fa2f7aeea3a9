/**
 * The sequencer: collects inputs, decides when the next tick is due and how large its budget is. It sees the guest only through
 * the results that came in.
 */
import { IDLE_FOREVER, type MachineInput } from "../machine/machine.js";
import type { ResultMessage } from "../wire/messages.js";
import {
  CATCH_UP_SHARE,
  FIRST_BUDGET,
  LEAST_BUDGET,
  LEAST_MEASURED_MICROS,
  LEAST_PAUSE_MICROS,
  LONG_QUANTUM_MICROS,
  MAX_INPUTS_PER_TICK,
  MAX_INPUT_BYTES_PER_TICK,
  MAX_QUEUED_AGENT_BYTES,
  MAX_QUEUED_CONSOLE_BYTES,
  MAX_QUEUED_FRAMES,
  MOST_BUDGET,
  MOST_TIME_STEP_NS,
  QUANTUM_MICROS,
  QUIET_TICKS,
  WINDOW_TICKS,
} from "./limits.js";

/** When the next tick is due: now, at a guest time, or not before something happens. */
export type Due = { readonly kind: "now" } | { readonly kind: "atNs"; readonly ns: bigint } | { readonly kind: "wait" };

const FASTER_GAIN = 0.3;
const SLOWER_GAIN = 0.03;

const NOW: Due = { kind: "now" };
const WAIT: Due = { kind: "wait" };

/** How fast each module runs the guest, to size budgets and to tell the operator. */
class Speed {
  #lastCount: bigint | null = null;
  /** Instructions per microsecond, smoothed; null before the first measurement. */
  rate: number | null = null;

  note(result: ResultMessage): number {
    const before = this.#lastCount;
    this.#lastCount = result.instructionCount;
    if (before === null || result.instructionCount < before) return 0;
    const instructions = Number(result.instructionCount - before);
    if (result.runMicros >= LEAST_MEASURED_MICROS && instructions > 0) {
      const rate = instructions / result.runMicros;
      // A host that takes the processor away only ever makes a guest look slower: believe speed soon and slowness late.
      const gain = this.rate === null ? 1 : rate > this.rate ? FASTER_GAIN : SLOWER_GAIN;
      this.rate = (this.rate ?? 0) + (rate - (this.rate ?? 0)) * gain;
    }
    return instructions;
  }
}

export class Sequencer {
  readonly #inputs: MachineInput[] = [];
  #queuedFrames = 0;
  #queuedConsoleBytes = 0;
  #queuedAgentBytes = 0;
  readonly #speeds = new Map<string, Speed>();
  #lastIssued: number;
  #lastNowNs = 0n;
  /** The newest result known, of whichever live module. */
  #knownSeq: number;
  #knownIdleUntilNs: bigint | null = IDLE_FOREVER;
  #knownTimeNs = 0n;
  #poked = false;
  /** Ticks since the guest last heard or said something. */
  #quietTicks = 0;
  /** While a newcomer catches up: no tick before this guest time. */
  #pausedUntilNs = 0n;
  #pauseMicros = 0;
  gentle = false;
  framesIn = 0;
  droppedFrames = 0;
  #instructions = 0;
  #micros = 0;

  constructor(seq: number) {
    this.#lastIssued = seq;
    this.#knownSeq = seq;
  }

  get lastIssued(): number {
    return this.#lastIssued;
  }

  get knownTimeNs(): bigint {
    return this.#knownTimeNs;
  }

  /** Queues an input; false: dropped because too many wait. */
  input(input: MachineInput): boolean {
    if (input.kind === "frame") {
      if (this.#queuedFrames >= MAX_QUEUED_FRAMES) {
        this.droppedFrames += 1;
        return false;
      }
      this.#queuedFrames += 1;
      this.framesIn += 1;
    } else if (input.kind === "console") {
      if (this.#queuedConsoleBytes + input.bytes.length > MAX_QUEUED_CONSOLE_BYTES) return false;
      this.#queuedConsoleBytes += input.bytes.length;
    } else if (input.kind === "agent") {
      if (this.#queuedAgentBytes + input.bytes.length > MAX_QUEUED_AGENT_BYTES) return false;
      this.#queuedAgentBytes += input.bytes.length;
    }
    this.#inputs.push(input);
    return true;
  }

  /** What was meant for a guest that is no more. */
  dropInputs(): void {
    this.#inputs.length = 0;
    this.#queuedFrames = 0;
    this.#queuedConsoleBytes = 0;
    this.#queuedAgentBytes = 0;
  }

  /** Answers of the disk to requests that nobody waits for any more. */
  dropDiskInputs(): void {
    const kept = this.#inputs.filter((input) => input.kind !== "diskDone");
    this.#inputs.splice(0, this.#inputs.length, ...kept);
  }

  /** Issue a tick soon even if the guest idles. */
  poke(): void {
    this.#poked = true;
  }

  /** A new course of events (power-on after an outage): nothing is known of the guest. */
  restart(): void {
    this.#knownSeq = this.#lastIssued;
    this.#knownIdleUntilNs = IDLE_FOREVER;
    this.#speeds.clear();
    this.#pausedUntilNs = 0n;
    // A tick that was wished for earlier would come before the power-on, and a blank machine waits for that.
    this.#poked = false;
    this.dropInputs();
  }

  result(module: string, result: ResultMessage, nowNs: bigint): void {
    let speed = this.#speeds.get(module);
    if (speed === undefined) this.#speeds.set(module, (speed = new Speed()));
    const instructions = speed.note(result);
    if (result.seq <= this.#knownSeq) return;
    this.#knownSeq = result.seq;
    this.#knownIdleUntilNs = result.idleUntilNs;
    this.#knownTimeNs = result.timeNs;
    if (result.hasOutputs || result.idleUntilNs !== null) this.#quietTicks = 0;
    this.#instructions += instructions;
    this.#micros += result.runMicros;
    if (this.gentle) this.#owePause(result.runMicros, nowNs);
  }

  /** Pauses are saved up until they are long enough for an ordinary timer. */
  #owePause(runMicros: number, nowNs: bigint): void {
    this.#pauseMicros += runMicros * (1 / CATCH_UP_SHARE - 1);
    if (this.#pauseMicros < LEAST_PAUSE_MICROS) return;
    this.#pausedUntilNs = nowNs + BigInt(Math.round(this.#pauseMicros * 1000));
    this.#pauseMicros = 0;
  }

  /** The vote has the last word: what a wrong module said of the guest is put right. */
  settle(truth: ResultMessage): void {
    if (truth.seq !== this.#knownSeq) return;
    this.#knownIdleUntilNs = truth.idleUntilNs;
    this.#knownTimeNs = truth.timeNs;
  }

  /** A sequencer that takes over: the last tick of its predecessor, and the newest result known (null: none). */
  adopt(result: ResultMessage | null, lastIssued: number, lastNowNs: bigint): void {
    this.#lastIssued = lastIssued;
    this.#lastNowNs = lastNowNs;
    this.#knownSeq = result?.seq ?? lastIssued;
    this.#knownIdleUntilNs = result === null ? IDLE_FOREVER : result.idleUntilNs;
    this.#knownTimeNs = result?.timeNs ?? 0n;
    // What the guest waits for, the next result will say.
    this.#poked = true;
  }

  forgetModule(module: string): void {
    this.#speeds.delete(module);
  }

  /**
   * Decides when the next tick is due. `settledSeq`: how far those have come whose pace counts (the slowest of two, the middle of
   * three), so that nobody is run away from.
   */
  due(settledSeq: number, nowNs: bigint): Due {
    const inFlight = this.#lastIssued - settledSeq;
    const busy = this.#knownIdleUntilNs === null;
    if (inFlight >= (this.gentle && busy ? 1 : WINDOW_TICKS)) return WAIT;
    if (this.gentle && nowNs < this.#pausedUntilNs) return { kind: "atNs", ns: this.#pausedUntilNs };
    if (this.#inputs.length > 0 || this.#poked || busy) return NOW;
    if (this.#knownSeq < this.#lastIssued) return WAIT;
    const idleUntilNs = this.#knownIdleUntilNs ?? 0n;
    if (idleUntilNs === IDLE_FOREVER) return WAIT;
    return nowNs >= idleUntilNs ? NOW : { kind: "atNs", ns: idleUntilNs };
  }

  /** Takes what the next tick carries. */
  next(wallNs: bigint): { seq: number; nowNs: bigint; budget: number; inputs: MachineInput[] } {
    this.#poked = false;
    let nowNs = wallNs;
    if (nowNs > this.#lastNowNs + MOST_TIME_STEP_NS) nowNs = this.#lastNowNs + MOST_TIME_STEP_NS;
    if (this.#lastNowNs > nowNs) nowNs = this.#lastNowNs;
    if (this.#knownTimeNs > nowNs) nowNs = this.#knownTimeNs;
    this.#lastNowNs = nowNs;
    this.#lastIssued += 1;
    this.#quietTicks = this.#inputs.length > 0 ? 0 : this.#quietTicks + 1;
    return { seq: this.#lastIssued, nowNs, budget: this.#budget(), inputs: this.#takeInputs() };
  }

  #takeInputs(): MachineInput[] {
    let bytes = 0;
    let count = 0;
    while (count < this.#inputs.length && count < MAX_INPUTS_PER_TICK && bytes < MAX_INPUT_BYTES_PER_TICK) {
      const input = this.#inputs[count] as MachineInput;
      if (input.kind === "frame") this.#queuedFrames -= 1;
      else if (input.kind === "console") this.#queuedConsoleBytes -= input.bytes.length;
      else if (input.kind === "agent") this.#queuedAgentBytes -= input.bytes.length;
      if ("bytes" in input && input.kind !== "diskSize") bytes += input.bytes.length;
      count += 1;
    }
    return this.#inputs.splice(0, count);
  }

  /** By the slowest module's speed, so that no quantum of any takes much longer than it should. */
  #budget(): number {
    let slowest: number | null = null;
    for (const { rate } of this.#speeds.values()) if (rate !== null && (slowest === null || rate < slowest)) slowest = rate;
    const budget = slowest === null ? FIRST_BUDGET : slowest * this.#quantumMicros();
    return Math.round(Math.min(MOST_BUDGET, Math.max(LEAST_BUDGET, budget)));
  }

  #quantumMicros(): number {
    if (this.gentle) return QUANTUM_MICROS * CATCH_UP_SHARE;
    return this.#quietTicks > QUIET_TICKS ? LONG_QUANTUM_MICROS : QUANTUM_MICROS;
  }

  /** Guest speed (millions of instructions a second of run time) since the last call; null: it did not run. */
  takeMips(): number | null {
    const mips = this.#micros < 1000 ? null : this.#instructions / this.#micros;
    if (mips !== null) {
      this.#instructions = 0;
      this.#micros = 0;
    }
    return mips;
  }
}
