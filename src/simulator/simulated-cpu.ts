/** A CPU module of a simulated server: the real protocol code on a toy machine whose quanta take simulated time. */
import type { CheckpointStore } from "../lockstep/checkpoint-store.js";
import { DAMAGE_EVERY_MS } from "../lockstep/limits.js";
import { Member, type MemberEffect } from "../lockstep/member.js";
import { DrilledMachine } from "../machine/drilled.js";
import type { Machine, MachineResult, MachineTick } from "../machine/machine.js";
import type { SeededRandom } from "../foundation/random.js";
import type { SimulatedIo } from "./simulated-io.js";
import type { Timeline } from "./timeline.js";

/** A hundred million instructions in a second, and something for each quantum. */
const MICROS_PER_INSTRUCTION = 0.01;
const QUANTUM_MICROS = 30;

/** A machine that says how long its quanta take. */
class PacedMachine extends DrilledMachine {
  readonly #spend: (micros: number) => void;
  #instructions = 0;

  constructor(machine: Machine, spend: (micros: number) => void) {
    super(machine);
    this.#spend = spend;
  }

  override run(tick: MachineTick): MachineResult {
    const result = super.run(tick);
    const instructions = Number(result.instructionCount);
    this.#spend(QUANTUM_MICROS + Math.max(0, instructions - this.#instructions) * MICROS_PER_INSTRUCTION);
    this.#instructions = instructions;
    return result;
  }
}

/** A connection from a donor to a newcomer. */
export interface CloneLink {
  readonly clone: number;
  readonly donor: SimulatedCpu;
  readonly newcomer: SimulatedCpu;
}

export interface CpuSetup {
  readonly name: string;
  readonly incarnation: number;
  readonly machine: Machine;
  readonly store: CheckpointStore;
  readonly sendsReceipts: boolean;
}

export class SimulatedCpu {
  readonly name: string;
  readonly incarnation: number;
  readonly machine: DrilledMachine;
  readonly member: Member;
  readonly ios = new Set<SimulatedIo>();
  alive = true;
  /** How many times longer than usual its quanta take: a starved host. */
  slowness = 1;
  /** As a donor, and as a newcomer. */
  outgoing: CloneLink | null = null;
  incoming: CloneLink | null = null;
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  #isStopped = false;
  /** What it will read once it is continued. */
  readonly #inbox: (() => void)[] = [];
  #aheadMicros = 0;
  #isTurning = false;
  /** The quantum that runs takes until then; what it puts out leaves then. */
  busyUntilMs = 0;

  constructor(setup: CpuSetup, timeline: Timeline, random: SeededRandom, emit: (cpu: SimulatedCpu, effect: MemberEffect) => void) {
    this.name = setup.name;
    this.incarnation = setup.incarnation;
    this.#timeline = timeline;
    this.#random = random;
    this.machine = new PacedMachine(setup.machine, (micros) => this.#spend(micros));
    this.member = new Member(
      this.machine,
      (effect) => emit(this, effect),
      () => timeline.nowMs * 1000 + this.#aheadMicros,
      setup.sendsReceipts,
      setup.store,
    );
    this.#scrubEverySoOften();
  }

  /** The one of this name that it is connected to. */
  ioOf(name: string): SimulatedIo | null {
    for (const io of this.ios) if (io.name === name) return io;
    return null;
  }

  get id(): string {
    return `${this.name}#${this.incarnation}`;
  }

  #spend(micros: number): void {
    const spent = micros * this.slowness * (0.9 + this.#random.next() / 0x1_0000_0000 / 5);
    this.#aheadMicros += spent;
    this.busyUntilMs = Math.max(this.busyUntilMs, this.#timeline.nowMs) + spent / 1000;
  }

  #scrubEverySoOften(): void {
    this.#timeline.after(DAMAGE_EVERY_MS, () => {
      if (!this.alive) return;
      if (!this.#isStopped) this.member.scrub();
      this.#scrubEverySoOften();
    });
  }

  /** SIGSTOP: it neither runs nor reads. */
  get stopped(): boolean {
    return this.#isStopped;
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** SIGCONT: it reads what came meanwhile. */
  continue(): void {
    if (!this.alive || !this.#isStopped) return;
    this.#isStopped = false;
    for (const read of this.#inbox.splice(0)) read();
    this.turn();
  }

  /** Something reaches it. */
  deliver(read: () => void): void {
    if (!this.alive) return;
    if (this.#isStopped) this.#inbox.push(read);
    else read();
    this.turn();
  }

  /** Goes on with what there is to do, one quantum after the other. */
  turn(): void {
    if (this.#isTurning || this.#isStopped || !this.alive) return;
    this.#isTurning = true;
    const pauseMs = 0.01 + this.#random.next() / 0x1_0000_0000 / 20;
    this.#timeline.at(Math.max(this.#timeline.nowMs + pauseMs, this.busyUntilMs), () => {
      this.#isTurning = false;
      if (!this.alive || this.#isStopped) return;
      const { member } = this;
      if (member.hasWork) member.runOne();
      const sent = member.isSending && this.outgoing !== null && member.sendSlice(0);
      const prepared = member.isPreparing && member.prepareSlice();
      if (member.hasWork || sent || prepared) this.turn();
    });
  }
}
