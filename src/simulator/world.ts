/**
 * A whole simulated server in one process: the pure LockstepServer, pure Members with toy machines, links between them that keep
 * order but take random time, an arbiter, a clock. Everything travels encoded, so that the codec is exercised as well.
 */
import { SeededRandom } from "../foundation/random.js";
import { utf8Decode } from "../foundation/bytes.js";
import { Member, type MemberEffect } from "../lockstep/member.js";
import { LockstepServer } from "../lockstep/server.js";
import type { ServerEffect, ServerEvent } from "../lockstep/server-types.js";
import type { Machine, MachineOutput } from "../machine/machine.js";
import { TOY_PAGE_BYTES, TOY_SCRUB_PAGES, ToyMachine } from "../machine/toy.js";
import { MessageDecoder, encodeMessage } from "../wire/codec.js";
import type { ConfigurationRecord, Message, TickMessage } from "../wire/messages.js";
import { MemoryCheckpoints } from "./memory-checkpoints.js";
import { TaskQueue } from "./task-queue.js";

export interface WorldOptions {
  readonly seed: number;
  readonly cpus?: readonly string[];
  readonly release?: "compared" | "logged";
  readonly ramBytes?: number;
  readonly commandLine?: string;
  readonly arbiter?: Map<number, ConfigurationRecord>;
}

const RESTART_MS = 40;
export const IO_RESTART_MS = 30;
/** Ticks between the issue of one and its vote, generously. */
const MOST_UNDER_WAY_TICKS = 100;

class Cpu {
  readonly name: string;
  incarnation = 0;
  alive = false;
  /** SIGSTOP: it neither runs nor reads. */
  stopped = false;
  connected = false;
  /** How many times longer than usual its quanta take: a starved host. */
  slowness = 1;
  member: Member;
  machine: ToyMachine;
  /** Its connection to a newcomer. */
  newcomer: { readonly clone: number; readonly cpu: Cpu; readonly incarnation: number } | null = null;

  constructor(name: string, machine: ToyMachine, member: Member) {
    this.name = name;
    this.machine = machine;
    this.member = member;
  }
}

/** What left the server, in order; and what happened in between that gives it another meaning. */
export type Release =
  | { readonly kind: "output"; readonly output: MachineOutput }
  /** Another sequencer took over: what was under way may be released again. */
  | { readonly kind: "resumed" }
  | { readonly kind: "outage" }
  /** A new life of the guest begins. */
  | { readonly kind: "poweredOn" };

export class World {
  readonly random: SeededRandom;
  readonly options: WorldOptions;
  readonly cpuNames: readonly string[];
  readonly cpus = new Map<string, Cpu>();
  readonly arbiter: Map<number, ConfigurationRecord>;
  server: LockstepServer;
  nowMs = 0;
  ioIncarnation = 1;
  readonly releases: Release[] = [];
  readonly events: { code: string; module: string | undefined; text: string }[] = [];
  readonly verified: Readonly<Record<string, string>>[] = [];
  /** As of which tick the last of them are. */
  verifiedSeq = 0;
  /** Ticks issued, by sequence number: the history that the reference machine runs again. */
  history = new Map<number, TickMessage>();
  /** Histories of earlier courses: a sequencer that finds nobody alive to take over counts from 1 again. */
  readonly pastHistories: Map<number, TickMessage>[] = [];
  #poweredOnBy = 0;
  #flippedAtSeq: number | null = null;
  arbiterDelayMs = 1;
  /** The arbiter answers nobody. */
  arbiterIsDown = false;
  /** Modules held back after their death. */
  readonly heldOut = new Set<string>();
  sabotage: ((cpu: string, message: Message) => Message) | null = null;
  readonly #checkpoints = new MemoryCheckpoints();
  readonly #tasks = new TaskQueue();
  readonly #linkFreeAt = new Map<string, number>();
  #wakeToken = 0;
  #ioIsDown = false;
  readonly #pending: ServerEvent[] = [];
  #stepping = false;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
    this.cpuNames = options.cpus ?? ["cpu0", "cpu1"];
    this.arbiter = options.arbiter ?? new Map();
    this.server = this.#createServer();
    this.#dispatch({ kind: "start" });
    for (const name of this.cpuNames) this.#startCpu(name);
  }

  #createServer(): LockstepServer {
    const incarnation = this.ioIncarnation;
    return new LockstepServer(
      {
        name: "io0",
        incarnation,
        cpuModules: this.cpuNames,
        enclosures: { io0: "enclosure0", cpu0: "enclosure0", cpu1: "enclosure1", cpu2: "enclosure2" },
        sockets: Object.fromEntries(this.cpuNames.map((name) => [name, name])),
        release: this.options.release ?? "compared",
        lagLimitMs: 250,
        anchorNs: 1_000_000_000n,
      },
      (effect) => {
        if (incarnation === this.ioIncarnation) this.#serverEffect(effect);
      },
    );
  }

  newMachine(): ToyMachine {
    const { ramBytes = 16 * 4096, commandLine = "timer=10 work=500" } = this.options;
    return new ToyMachine({ ramBytes, commandLine, epochNs: 0n, imageDigest: "00" });
  }

  /** Management's part when the I/O module wants a module dead. */
  #shoot(name: string): void {
    if (this.cpus.get(name)?.alive === true) this.kill(name);
  }

  at(atMs: number, run: () => void): void {
    this.#tasks.add(atMs, run);
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  /** Delivers over a link that keeps order. */
  #overLink(link: string, run: () => void, leastMs = 0.02, mostMs = 0.4): void {
    const spread = this.random.next() / 0x1_0000_0000;
    const arrives = Math.max(this.nowMs + leastMs + spread * (mostMs - leastMs), (this.#linkFreeAt.get(link) ?? 0) + 1e-6);
    this.#linkFreeAt.set(link, arrives);
    this.at(arrives, run);
  }

  #startCpu(name: string): void {
    const old = this.cpus.get(name);
    const machine = this.newMachine();
    const member = new Member(
      machine,
      (effect) => this.#memberEffect(cpu, incarnation, effect),
      () => this.nowMs * 1000,
      this.options.release === "logged",
      this.#checkpoints.storeFor(`${name}-${(old?.incarnation ?? 0) + 1}`),
    );
    const cpu = new Cpu(name, machine, member);
    const incarnation = (old?.incarnation ?? 0) + 1;
    cpu.incarnation = incarnation;
    cpu.alive = true;
    this.cpus.set(name, cpu);
    this.after(1 + this.random.below(30), () => this.#connect(cpu));
  }

  #connect(cpu: Cpu): void {
    if (!cpu.alive || this.cpus.get(cpu.name) !== cpu || cpu.connected) return;
    if (cpu.stopped || this.#ioIsDown) return this.after(5, () => this.#connect(cpu));
    cpu.connected = true;
    this.#dispatch({ kind: "cpuConnected", name: cpu.name, incarnation: cpu.incarnation });
    if (cpu.connected) cpu.member.step({ kind: "ioConnected", io: "io0" });
  }

  #disconnect(cpu: Cpu, why: string): void {
    if (!cpu.connected) return;
    cpu.connected = false;
    this.#dispatch({ kind: "cpuDisconnected", name: cpu.name, why });
    cpu.member.step({ kind: "ioDisconnected", io: "io0" });
    if (cpu.alive) this.after(5, () => this.#connect(cpu));
  }

  /** SIGKILL; management restarts it. */
  kill(name: string): void {
    const cpu = this.cpus.get(name);
    if (cpu === undefined || !cpu.alive) return;
    cpu.alive = false;
    this.#closeNewcomerLink(cpu, "the donor died");
    for (const other of this.cpus.values()) {
      if (other.newcomer?.cpu !== cpu) continue;
      const { clone } = other.newcomer;
      other.newcomer = null;
      this.after(0.1, () => other.member.step({ kind: "newcomerDisconnected", clone, why: "connection closed" }));
    }
    this.after(0.1, () => this.#disconnect(cpu, "connection closed"));
    this.after(RESTART_MS + this.random.below(40), () => {
      if (this.cpus.get(name) === cpu && !this.heldOut.has(name)) this.#startCpu(name);
    });
  }

  revive(name: string): void {
    this.heldOut.delete(name);
    if (this.cpus.get(name)?.alive !== true) this.#startCpu(name);
  }

  #closeNewcomerLink(cpu: Cpu, why: string): void {
    const link = cpu.newcomer;
    if (link === null) return;
    cpu.newcomer = null;
    this.#overLink(`${cpu.name}#${cpu.incarnation}>${link.cpu.name}`, () => {
      if (link.cpu.alive && link.cpu.incarnation === link.incarnation) link.cpu.member.step({ kind: "donorDisconnected" });
    });
    void why;
  }

  stop(name: string): void {
    const cpu = this.cpus.get(name);
    if (cpu !== undefined) cpu.stopped = true;
  }

  slow(name: string, factor: number): void {
    const cpu = this.cpus.get(name);
    if (cpu !== undefined) cpu.slowness = factor;
  }

  /** A single bit of a module's machine turns over. */
  flip(name: string, address: number, bit: number): void {
    this.#flippedAtSeq = this.server.voter.issued;
    this.cpus.get(name)?.machine.flipBit(address, bit);
  }

  /** The rotating window of the digest has not been over all RAM since the last flip: it may still sleep somewhere. */
  get mayHideFlip(): boolean {
    if (this.#flippedAtSeq === null) return false;
    const pages = this.newMachine().description.ramBytes / TOY_PAGE_BYTES;
    return this.server.voter.issued - this.#flippedAtSeq < pages / TOY_SCRUB_PAGES + MOST_UNDER_WAY_TICKS;
  }

  get isIoDown(): boolean {
    return this.#ioIsDown;
  }

  /** The I/O module dies and is started again. */
  restartIo(): void {
    this.ioIncarnation += 1;
    this.#ioIsDown = true;
    this.#pending.length = 0;
    for (const cpu of this.cpus.values()) {
      if (!cpu.connected) continue;
      cpu.connected = false;
      cpu.member.step({ kind: "ioDisconnected", io: "io0" });
    }
    this.after(IO_RESTART_MS, () => {
      const clockMs = this.nowMs;
      this.#ioIsDown = false;
      this.server = this.#createServer();
      this.server.atMs = clockMs;
      this.#dispatch({ kind: "start" });
      for (const cpu of this.cpus.values()) this.after(this.random.below(20), () => this.#connect(cpu));
    });
  }

  // ---- effects ----

  #dispatch(event: { kind: ServerEvent["kind"] } & Record<string, unknown>): void {
    if (this.#ioIsDown) return;
    this.#pending.push({ ...event, atMs: this.nowMs } as unknown as ServerEvent);
    if (this.#stepping) return;
    this.#stepping = true;
    for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
      this.server.step({ ...next, atMs: this.nowMs });
      this.server.check();
    }
    this.#stepping = false;
    const token = ++this.#wakeToken;
    const { wakeAtMs } = this.server;
    if (wakeAtMs !== null) {
      this.at(Math.max(wakeAtMs, this.nowMs + 0.01), () => {
        if (token === this.#wakeToken) this.#dispatch({ kind: "wake" });
      });
    }
  }

  input(event: { kind: "frames" | "console" | "powerButton" | "reset" | "verify" | "expect" } & Record<string, unknown>): void {
    this.#dispatch(event);
  }

  #serverEffect(effect: ServerEffect): void {
    switch (effect.kind) {
      case "sendTick":
        this.#record(effect.tick);
        for (const name of effect.to) this.#toCpu(name, effect.tick);
        return;
      case "send":
        return this.#toCpu(effect.to, effect.message);
      case "disconnect": {
        const cpu = this.cpus.get(effect.name);
        if (cpu !== undefined) this.#disconnect(cpu, effect.why);
        return;
      }
      case "shoot":
        return this.#shoot(effect.module);
      case "readHighest":
        return this.#readHighest();
      case "claim":
        return this.after(this.arbiterDelayMs * (0.5 + this.random.next() / 0x1_0000_0000), () => {
          if (this.arbiterIsDown) return this.#dispatch({ kind: "arbiterFailed", why: "it does not answer" });
          const { record } = effect;
          if (!this.arbiter.has(record.number)) this.arbiter.set(record.number, record);
          this.#dispatch({ kind: "claimed", winner: this.arbiter.get(record.number) });
        });
      case "transmit":
        this.#released({ kind: "frame", port: effect.port, bytes: effect.bytes });
        return;
      case "console":
        this.#released({ kind: "console", bytes: effect.bytes });
        return;
      case "drawEntropy":
        return this.#dispatch({ kind: "entropy", purpose: effect.purpose, bytes: this.random.bytes(effect.lengthBytes) });
      case "event":
        if (effect.code === "RESUMED") {
          this.#poweredOnBy = this.ioIncarnation;
          this.releases.push({ kind: "resumed" });
        }
        if (effect.code === "POWER_ON") this.#poweredOn();
        if (effect.code === "OUTAGE") this.releases.push({ kind: "outage" });
        this.events.push({ code: effect.code, module: effect.module, text: `${this.nowMs.toFixed(1)}: ${effect.text}` });
        return;
      case "verified":
        this.verified.push(effect.digests);
        this.verifiedSeq = effect.seq;
        return;
      default:
        return;
    }
  }

  /** As the I/O module does: asks again until it is answered. */
  #readHighest(): void {
    const io = this.ioIncarnation;
    this.after(this.arbiterDelayMs, () => {
      if (io !== this.ioIncarnation) return;
      if (this.arbiterIsDown) {
        this.#dispatch({ kind: "arbiterFailed", why: "it does not answer" });
        return this.after(50, () => this.#readHighest());
      }
      const highest = Math.max(0, ...this.arbiter.keys());
      this.#dispatch({ kind: "highest", record: this.arbiter.get(highest) ?? null });
    });
  }

  /** The guest of a sequencer that could not be taken over was lost with it. */
  #poweredOn(): void {
    if (this.#poweredOnBy !== 0 && this.#poweredOnBy !== this.ioIncarnation) this.releases.push({ kind: "outage" });
    this.#poweredOnBy = this.ioIncarnation;
    this.releases.push({ kind: "poweredOn" });
  }

  #record(tick: TickMessage): void {
    const first = this.history.get(1);
    if (tick.seq === 1 && first !== undefined && first.nowNs !== tick.nowNs) {
      this.pastHistories.push(this.history);
      this.history = new Map();
    }
    this.history.set(tick.seq, tick);
  }

  #released(output: MachineOutput): void {
    this.releases.push({ kind: "output", output });
  }

  /** All released outputs. */
  get released(): MachineOutput[] {
    return this.releases.flatMap((release) => (release.kind === "output" ? [release.output] : []));
  }

  #toCpu(name: string, message: Message): void {
    const cpu = this.cpus.get(name);
    if (cpu === undefined || !cpu.alive || !cpu.connected) return;
    const frame = encodeMessage(message);
    const io = this.ioIncarnation;
    this.#overLink(`io>${name}#${cpu.incarnation}`, () => this.#whenAwake(cpu, () => this.#arriveAtCpu(cpu, io, frame)));
  }

  #arriveAtCpu(cpu: Cpu, io: number, frame: Uint8Array): void {
    if (!cpu.alive || !cpu.connected || io !== this.ioIncarnation) return;
    decode(frame, (message) => cpu.member.step({ kind: "ioMessage", io: "io0", message }));
    this.#turn(cpu);
  }

  /** A stopped process keeps its messages in the socket. Nobody continues it in these tests, so they are simply dropped. */
  #whenAwake(cpu: Cpu, run: () => void): void {
    if (!cpu.stopped) run();
  }

  #turning = new Set<Cpu>();

  #turn(cpu: Cpu): void {
    if (this.#turning.has(cpu)) return;
    this.#turning.add(cpu);
    // A quantum takes some real time, different on each module.
    this.after((0.05 + this.random.next() / 0x1_0000_0000 / 2) * cpu.slowness, () => {
      this.#turning.delete(cpu);
      if (!cpu.alive || cpu.stopped) return;
      if (cpu.member.hasWork) cpu.member.runOne();
      let sent = false;
      if (cpu.member.isSending && cpu.newcomer !== null) sent = cpu.member.sendSlice(0);
      const prepared = cpu.member.isPreparing && cpu.member.prepareSlice();
      if (cpu.member.hasWork || sent || prepared) this.#turn(cpu);
    });
  }

  #memberEffect(cpu: Cpu, incarnation: number, effect: MemberEffect): void {
    switch (effect.kind) {
      case "toIo": {
        const message = this.sabotage === null ? effect.message : this.sabotage(cpu.name, effect.message);
        const frame = encodeMessage(message);
        const io = this.ioIncarnation;
        this.#overLink(`${cpu.name}#${incarnation}>io`, () => {
          if (cpu.connected && io === this.ioIncarnation && this.cpus.get(cpu.name) === cpu) {
            decode(frame, (decoded) => this.#dispatch({ kind: "cpuMessage", name: cpu.name, message: decoded }));
          }
        });
        return;
      }
      case "connectNewcomer":
        return this.after(0.2, () => this.#connectNewcomer(cpu, effect.clone, effect.newcomer));
      case "toNewcomer": {
        const link = cpu.newcomer;
        if (link === null) return;
        const frame = encodeMessage(effect.message);
        this.#overLink(`${cpu.name}#${incarnation}>${link.cpu.name}`, () => {
          if (!link.cpu.alive || link.cpu.stopped || link.cpu.incarnation !== link.incarnation) return;
          // What a killed donor had not handed to the kernel yet is lost.
          if (!cpu.alive && this.random.chance(0.3)) link.cpu.member.step({ kind: "donorDisconnected" });
          decode(frame, (message) => link.cpu.member.step({ kind: "donorMessage", message }));
          this.#turn(link.cpu);
        });
        return;
      }
      case "closeNewcomer":
        return this.#closeNewcomerLink(cpu, "given up");
      case "closeDonor":
        for (const other of this.cpus.values()) {
          if (other.newcomer?.cpu !== cpu) continue;
          const { clone } = other.newcomer;
          other.newcomer = null;
          this.after(0.1, () => other.member.step({ kind: "newcomerDisconnected", clone, why: effect.why }));
        }
    }
  }

  #connectNewcomer(cpu: Cpu, clone: number, name: string): void {
    if (!cpu.alive || cpu.stopped) return;
    const newcomer = this.cpus.get(name);
    if (newcomer === undefined || !newcomer.alive) {
      cpu.member.step({ kind: "newcomerDisconnected", clone, why: "it does not listen" });
      return;
    }
    cpu.newcomer = { clone, cpu: newcomer, incarnation: newcomer.incarnation };
    cpu.member.step({ kind: "newcomerConnected", clone });
    this.#turn(cpu);
  }

  // ---- running ----

  /** Runs until `untilMs` or until `done`. Returns whether `done` came. */
  run(untilMs: number, done: () => boolean = () => false): boolean {
    for (;;) {
      if (done()) return true;
      const task = this.#tasks.first;
      if (task === undefined || task.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return done();
      }
      this.#tasks.take();
      this.nowMs = Math.max(this.nowMs, task.atMs);
      task.run();
    }
  }

  /** No fault is waiting to be found. */
  get isHealthy(): boolean {
    return !this.#ioIsDown && [...this.cpus.values()].every((cpu) => cpu.alive && !cpu.stopped && cpu.slowness === 1);
  }

  get redundancy(): string {
    return this.server.status().redundancy;
  }

  /** What a machine that never failed is at a tick of the present history. */
  referenceDigest(upTo: number): string {
    const machine: Machine = this.newMachine();
    for (let seq = 1; seq <= upTo; seq += 1) machine.run(this.history.get(seq) as TickMessage);
    return machine.fullDigest();
  }

  /**
   * Runs the whole issued history on one reference machine: what a server without any fault would have released, for each life of
   * the guest.
   */
  reference(): MachineOutput[][] {
    const lives: MachineOutput[][] = [];
    for (const history of [...this.pastHistories, this.history]) {
      const machine: Machine = this.newMachine();
      for (let seq = 1; history.has(seq); seq += 1) {
        const tick = history.get(seq) as TickMessage;
        if (tick.inputs.some((input) => input.kind === "powerOn")) lives.push([]);
        const { outputs } = machine.run(tick);
        lives.at(-1)?.push(...outputs.filter((output) => output.kind === "frame" || output.kind === "console"));
      }
    }
    return lives;
  }
}

function decode(frame: Uint8Array, deliver: (message: Message) => void): void {
  new MessageDecoder(deliver).push(frame);
}

export function outputText(output: MachineOutput): string {
  if (output.kind === "console") return `console ${utf8Decode(output.bytes)}`;
  if (output.kind === "frame") return `frame ${Array.from(output.bytes).join(",")}`;
  return output.kind;
}
