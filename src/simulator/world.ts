/**
 * A whole simulated server in one process: the real protocol code of I/O and CPU modules with toy machines, links, clocks, checkpoint
 * stores and an arbiter of its own, and management's part. Everything travels encoded, so that the codec is exercised as well.
 */
import { SeededRandom } from "../foundation/random.js";
import type { MemberEffect } from "../lockstep/member.js";
import type { LockstepServer } from "../lockstep/server.js";
import type { ServerEffect } from "../lockstep/server-types.js";
import type { MachineOutput } from "../machine/machine.js";
import { ToyMachine } from "../machine/toy.js";
import { encodeMessage } from "../wire/codec.js";
import type { Message } from "../wire/messages.js";
import { CloneLinks } from "./clone-links.js";
import { History } from "./history.js";
import { InjectedErrors } from "./injected-errors.js";
import { IoLinks } from "./io-links.js";
import { decodeFrame, Links } from "./links.js";
import { MemoryCheckpoints } from "./memory-checkpoints.js";
import type { Release } from "./releases.js";
import { SimulatedArbiter } from "./simulated-arbiter.js";
import { SimulatedCpu } from "./simulated-cpu.js";
import { MirrorDisk, openMirror } from "./simulated-mirror.js";
import { SimulatedIo, type TimelessEvent } from "./simulated-io.js";
import { Timeline } from "./timeline.js";
import { DISK_BYTES, DISK_ID, JUDGE, serverOptionsOf, type WorldOptions } from "./world-options.js";

export const IO_RESTART_MS = 30;
const CPU_RESTART_MS = 40;
/** One of several I/O modules is held long enough for another one to lose patience, most of the time. */
const HELD_FACTOR = 5;
/** Management takes this long at most to act on what it hears. */
const MANAGEMENT_MOST_MS = 300;
const STOPPED_LIMIT_MS = 3000;
const RECONNECT_MS = 5;
const ARBITER_RETRY_MS = 50;
const EPOCH_NS = 1_000_000_000n;

export class World {
  readonly random: SeededRandom;
  readonly options: WorldOptions;
  readonly timeline = new Timeline();
  readonly links: Links;
  readonly #clones: CloneLinks;
  readonly #ioLinks: IoLinks;
  readonly arbiter: SimulatedArbiter;
  readonly errors = new InjectedErrors();
  readonly history = new History();
  readonly cpus = new Map<string, SimulatedCpu>();
  readonly ios = new Map<string, SimulatedIo>();
  /** Mirrors of the guest's disk, by I/O module; empty: it has none. */
  readonly disks = new Map<string, MirrorDisk>();
  /** Times at which everything lost its power. */
  powerLosses = 0;
  /** The I/O module that management takes for the active one. */
  io: SimulatedIo;
  readonly releases: Release[] = [];
  readonly events: { readonly code: string; readonly module: string | undefined; readonly text: string }[] = [];
  readonly verified: Readonly<Record<string, string>>[] = [];
  /** As of which tick the last of them are. */
  verifiedSeq = 0;
  /** Modules held back after their death. */
  readonly heldOut = new Set<string>();
  /** The host's wall clock is this far off; only an I/O module that starts looks at it. */
  wallOffsetNs = 0n;
  readonly #expected: string[];
  readonly checkpoints = new MemoryCheckpoints();
  #overtaken: SimulatedIo | null = null;
  /** Of several, the last whose configuration came into force. */
  #powerful: SimulatedIo | null = null;
  /** Whose ticks the CPU modules run: it changes when another one has taken their state over. */
  #authority: SimulatedIo | null = null;
  /** The highest configuration under which that happened. */
  #resumedNumber = 0;
  #ioIncarnations = 0;
  #judgeIsWanted = false;

  constructor(options: WorldOptions) {
    this.options = options;
    this.random = new SeededRandom(options.seed);
    this.links = new Links(this.timeline, this.random);
    this.#ioLinks = new IoLinks(this.links);
    this.#clones = new CloneLinks(this.timeline, this.links, this.random, (donor) => {
      this.errors.copied(donor, this.server.voter.issued);
      this.#noteLostTruth();
    });
    this.arbiter = new SimulatedArbiter(options.arbiter);
    this.#expected = [...(options.cpus ?? ["cpu0", "cpu1"])];
    if (options.diskBlocks !== undefined) for (const name of this.#ioNames) this.disks.set(name, new MirrorDisk());
    this.disks.get("io0")?.create(DISK_ID, DISK_BYTES);
    for (const name of this.#ioNames) this.#startIo(name);
    this.io = this.ios.get("io0") as SimulatedIo;
    for (const name of this.#expected) this.#startCpu(name);
  }

  /** With one alone, management starts another one in its place; several stand by for each other. */
  get #ioNames(): string[] {
    return ["io0", "io1", "io2"].slice(0, this.options.ioCount ?? 1);
  }

  get #hasStandby(): boolean {
    return this.#ioNames.length > 1;
  }

  get nowMs(): number {
    return this.timeline.nowMs;
  }

  get server(): LockstepServer {
    return this.io.server;
  }

  /** The CPU modules that should compute. */
  get cpuNames(): readonly string[] {
    return this.#expected;
  }

  newMachine(): ToyMachine {
    const { ramBytes = 16 * 4096, commandLine: own = "timer=10 work=500", diskBlocks } = this.options;
    const commandLine = diskBlocks === undefined ? own : `${own} disk=${diskBlocks}`;
    return new ToyMachine({ ramBytes, commandLine, epochNs: 0n, imageDigest: "00" });
  }

  after(delayMs: number, run: () => void): void {
    this.timeline.after(delayMs, run);
  }

  run(untilMs: number, done: () => boolean = () => false): boolean {
    return this.timeline.run(untilMs, done);
  }

  input(event: TimelessEvent): void {
    // The network and management reach all of them.
    const reached = event.kind === "frames" || event.kind === "expect" ? this.ios.values() : [this.io];
    for (const io of reached) if (this.#hasStandby || io === this.io) io.dispatch(event);
  }

  get redundancy(): string {
    return this.server.status().redundancy;
  }

  /** What it should be when nothing fails. */
  get fullRedundancy(): string {
    if (this.options.pairs !== undefined) return "PAIR_AND_SPARE";
    const count = Math.min(this.#expected.length, this.#hasStandby ? this.#ioNames.length : Infinity);
    return ["OUTAGE", "SIMPLEX", "DUPLEX", "TRIPLEX"][count] as string;
  }

  /** All that should compute do, and every kind of module is there as often as it should be. */
  get isWhole(): boolean {
    return this.server.membership.live.length === this.#expected.length && this.redundancy === this.fullRedundancy;
  }

  get isIoDown(): boolean {
    return this.io.state !== "up";
  }

  /** No fault is waiting to be found. */
  get isHealthy(): boolean {
    const isWell = (cpu: SimulatedCpu | undefined): boolean => cpu !== undefined && cpu.alive && !cpu.stopped && cpu.slowness === 1;
    // Asked after every simulated moment: what is quick to answer comes first.
    if (this.isIoDown || this.#overtaken !== null) return false;
    const areLinksAndCpusWell = this.links.isWhole && this.#expected.every((name) => isWell(this.cpus.get(name)));
    return areLinksAndCpusWell && (!this.#hasStandby || this.#areIosReady());
  }

  #areIosReady(): boolean {
    const names = this.#ioNames;
    if (this.server.role !== "active" || names.some((name) => this.ios.get(name)?.state !== "up")) return false;
    const { modules } = this.server.status();
    return names.every((name) => modules[name]?.state === this.#fullIoState);
  }

  get #fullIoState(): string {
    return this.#ioNames.length > 2 ? "TRIPLEX" : "DUPLEX";
  }

  /** Disks were made to fail. */
  haveDisksFailed = false;

  get mayHideError(): boolean {
    return this.errors.mayHide(this.server.voter.issued);
  }

  // ---- CPU modules ----

  #startCpu(name: string): void {
    const incarnation = (this.cpus.get(name)?.incarnation ?? 0) + 1;
    const setup = {
      name,
      incarnation,
      machine: this.newMachine(),
      store: this.checkpoints.storeFor(`${name}-${incarnation}`),
      sendsReceipts: this.options.release === "logged",
    };
    const cpu = new SimulatedCpu(setup, this.timeline, this.random, (from, effect) => this.#memberEffect(from, effect));
    this.cpus.set(name, cpu);
    for (const io of this.ios.keys()) this.after(1 + this.random.below(30), () => this.#connect(cpu, io));
  }

  #connect(cpu: SimulatedCpu, name: string): void {
    const io = this.ios.get(name);
    if (io === undefined || !cpu.alive || cpu.ios.has(io)) return;
    if (cpu.stopped || io.state === "ended") return this.after(RECONNECT_MS, () => this.#connect(cpu, name));
    cpu.ios.add(io);
    this.links.send(cpu.name, io.name, () => {
      if (io.state === "ended") return void cpu.ios.delete(io);
      const connect = (): boolean => io.connected.set(cpu.name, cpu).size > 0;
      io.dispatch({ kind: "cpuConnected", name: cpu.name, incarnation: cpu.incarnation }, connect, () => {
        if (io.connected.get(cpu.name) === cpu) this.#tellCpu(io, cpu, () => cpu.member.step({ kind: "ioConnected", io: io.name }));
      });
    });
  }

  #tellCpu(io: SimulatedIo, cpu: SimulatedCpu, read: () => void): void {
    this.links.send(io.name, cpu.name, () => {
      if (cpu.ios.has(io)) cpu.deliver(() => cpu.ios.has(io) && read());
    });
  }

  /** The I/O module closes a connection, or ends with it. */
  #hangUp(io: SimulatedIo, cpu: SimulatedCpu): void {
    io.connected.delete(cpu.name);
    this.#tellCpu(io, cpu, () => {
      cpu.ios.delete(io);
      cpu.member.step({ kind: "ioDisconnected", io: io.name });
      this.after(RECONNECT_MS, () => this.#connect(cpu, io.name));
    });
  }

  /** SIGKILL; management restarts it. */
  kill(name: string): void {
    const cpu = this.cpus.get(name);
    if (cpu === undefined || !cpu.alive) return;
    cpu.alive = false;
    this.#clones.leaveNewcomer(cpu);
    this.#clones.leaveDonor(cpu, "connection closed");
    for (const io of cpu.ios) {
      this.links.send(name, io.name, () => {
        const isOurs = (): boolean => io.connected.get(name) === cpu && io.connected.delete(name);
        io.dispatch({ kind: "cpuDisconnected", name, why: "connection closed" }, isOurs);
      });
    }
    this.after(CPU_RESTART_MS + this.random.below(40), () => {
      const isWanted = name === JUDGE ? this.#judgeIsWanted : !this.heldOut.has(name);
      if (this.cpus.get(name) === cpu && isWanted) this.#startCpu(name);
    });
  }

  revive(name: string): void {
    this.heldOut.delete(name);
    if (this.cpus.get(name)?.alive !== true) this.#startCpu(name);
  }

  /** SIGSTOP. */
  stop(name: string): void {
    this.cpus.get(name)?.stop();
  }

  slow(name: string, factor: number): void {
    const cpu = this.cpus.get(name);
    if (cpu !== undefined) cpu.slowness = factor;
  }

  /** `steadfast redundancy`: a CPU module more or less. */
  expect(name: string, present: boolean): void {
    const at = this.#expected.indexOf(name);
    if (present === at >= 0) return;
    if (present) this.#expected.push(name);
    else this.#expected.splice(at, 1);
    this.input({ kind: "expect", module: name, present });
    if (present) return this.revive(name);
    this.heldOut.add(name);
    this.after(20, () => {
      if (this.heldOut.has(name)) this.kill(name);
    });
  }

  #judge(isWanted: boolean): void {
    this.#judgeIsWanted = isWanted;
    if (!isWanted) return this.kill(JUDGE);
    if (this.cpus.get(JUDGE)?.alive !== true) this.#startCpu(JUDGE);
  }

  // ---- wrong computing ----

  #victim(name: string): SimulatedCpu | null {
    const cpu = this.cpus.get(name);
    if (cpu === undefined || !cpu.alive) return null;
    this.errors.inject(cpu, this.server.voter.issued);
    return cpu;
  }

  flip(name: string, address: number, bit: number): void {
    this.#victim(name)?.machine.flipBit(address, bit);
  }

  corruptOutput(name: string): void {
    this.#victim(name)?.machine.corruptOutput();
  }

  skewClock(name: string): void {
    this.#victim(name)?.machine.skewClock();
  }

  // ---- I/O modules ----

  #startIo(name: string): SimulatedIo {
    this.#ioIncarnations += 1;
    const drift = this.options.clockDrift ?? 0;
    const io = new SimulatedIo(
      serverOptionsOf(this.options, {
        name,
        incarnation: this.#ioIncarnations,
        ioModules: this.#hasStandby ? this.#ioNames : [name],
        expected: this.#expected,
        anchorNs: EPOCH_NS + BigInt(Math.round(this.nowMs * 1e6)) + this.wallOffsetNs,
      }),
      this.timeline,
      1 + drift * (this.random.next() / 0x8000_0000 - 1),
      (from, effect) => this.#serverEffect(from, effect),
    );
    const others = [...this.ios.values()].filter((other) => other.name !== name);
    this.ios.set(name, io);
    const disk = this.disks.get(name);
    if (disk !== undefined) openMirror(io, disk, this.timeline, this.random);
    io.dispatch({ kind: "start" });
    for (const cpu of this.cpus.values()) this.after(this.random.below(20), () => this.#connect(cpu, name));
    if (this.#hasStandby)
      for (const other of others) this.after(1 + this.random.below(10), () => this.#ioLinks.connect(io, this.ios.get(other.name)));
    return io;
  }

  #endIo(io: SimulatedIo): void {
    // Also those whose connection it had not noticed yet, because it hung.
    const connected = [...this.cpus.values()].filter((cpu) => cpu.ios.has(io));
    io.end();
    for (const cpu of connected) this.#hangUp(io, cpu);
    this.#ioLinks.close(io);
  }

  #replaceIo(name: string): void {
    const last = this.io;
    this.after(IO_RESTART_MS, () => {
      if (this.io !== last) return;
      this.io = this.#startIo(name);
    });
  }

  /** One of several dies, and is started again. */
  #killIo(io: SimulatedIo): void {
    if (io.state === "ended") return;
    this.#endIo(io);
    this.after(IO_RESTART_MS, () => {
      if (this.ios.get(io.name) === io) this.#startIo(io.name);
    });
  }

  /** The I/O module dies and is started again. */
  restartIo(name = this.io.name): void {
    if (this.#hasStandby) return this.#killIo(this.ios.get(name) ?? this.io);
    if (this.io.state === "ended") return;
    this.#endIo(this.io);
    this.#replaceIo(this.io.name);
  }

  /** It hangs, another one takes over, and then it goes on for a while, before management gets round to killing it. */
  overtakeIo(heldMs: number, livesOnMs: number): void {
    if (this.io.state !== "up" || this.#overtaken !== null) return this.restartIo();
    if (this.#hasStandby) return this.#holdIo(this.io, heldMs * HELD_FACTOR);
    const io = this.io;
    this.#overtaken = io;
    io.hold();
    this.#replaceIo(io.name === "io0" ? "io1" : "io0");
    this.after(heldMs, () => io.continue());
    this.after(heldMs + livesOnMs, () => {
      this.#endOvertaken();
    });
  }

  /**
   * It hangs for good. Management finds that after a while by itself; but not here if it is the one in power: to take its place is for
   * the others.
   */
  hangIo(): void {
    const { io } = this;
    if (!this.#hasStandby) return this.restartIo();
    io.hold();
    this.after(STOPPED_LIMIT_MS, () => {
      if (io !== this.#powerful) this.#killIo(io);
    });
  }

  #endOvertaken(): void {
    if (this.#overtaken === null) return;
    this.#endIo(this.#overtaken);
    this.ios.delete(this.#overtaken.name);
    this.#overtaken = null;
  }

  #holdIo(io: SimulatedIo, heldMs: number): void {
    io.hold();
    this.after(heldMs, () => io.continue());
  }

  /** Everything loses its power at once; `forgetsLast`: the arbiter's last record was not on the disk. */
  losePower(forgetsLast: boolean): void {
    this.#endOvertaken();
    for (const name of [...this.cpus.keys()]) this.kill(name);
    for (const name of this.#hasStandby ? this.#ioNames : [this.io.name]) this.restartIo(name);
    for (const disk of this.disks.values()) disk.losePower(this.random);
    this.powerLosses += 1;
    // A record that names mirrors was on the disk before anybody acted on it.
    if (forgetsLast && this.disks.size === 0) this.arbiter.forgetLast();
  }

  // ---- effects ----

  #serverEffect(io: SimulatedIo, effect: ServerEffect): void {
    switch (effect.kind) {
      case "sendTick":
        if (this.#hasAuthority(io)) this.history.record(effect.tick);
        return this.#toCpus(io, effect.to, effect.tick);
      case "send":
        if (this.ios.has(effect.to)) return this.#ioLinks.send(io, effect.to, effect.message);
        return this.#toCpus(io, [effect.to], effect.message);
      case "disconnect": {
        const cpu = io.connected.get(effect.name);
        if (cpu !== undefined) this.#hangUp(io, cpu);
        return;
      }
      case "mirrorCommand":
        return io.mirrors?.command(effect.mirror, effect.command);
      case "readHighest":
        return this.#readHighest(io);
      case "claim":
        return this.after(this.arbiter.delayMs * (0.5 + this.random.next() / 0x1_0000_0000), () => {
          if (this.arbiter.isDown) return io.dispatch({ kind: "arbiterFailed", why: "it does not answer" });
          io.dispatch({ kind: "claimed", winner: this.arbiter.claim(effect.record) });
        });
      case "drawEntropy":
        return io.dispatch({ kind: "entropy", purpose: effect.purpose, bytes: this.random.bytes(effect.lengthBytes) });
      case "transmit":
        return this.#released(io, { kind: "frame", port: effect.port, bytes: effect.bytes });
      case "console":
        return this.#released(io, { kind: "console", bytes: effect.bytes });
      case "agent":
        return this.#released(io, { kind: "agent", bytes: effect.bytes });
      case "event":
        return this.#event(io, effect);
      default:
        if (effect.kind === "statusChanged") this.#noteActive();
        else if (this.#isHeard(io)) this.#toManagement(effect);
    }
  }

  #hasAuthority(io: SimulatedIo): boolean {
    return this.#authority === null || this.#authority === io;
  }

  /** Management listens to the one that it takes for active, and to the one that is. */
  #isHeard(io: SimulatedIo): boolean {
    return io === this.io || this.#hasAuthority(io) || this.arbiter.highest?.activeIo === io.name;
  }

  /** One that was about to take over, and found that another one had, is not the active one. */
  #noteActive(): void {
    if (!this.#hasStandby || this.server.phase !== "standby") return;
    const active = [...this.ios.values()].filter((io) => io.state === "up" && io.server.role === "active");
    active.sort((left, right) => right.server.membership.number - left.server.membership.number);
    this.io = active[0] ?? this.io;
  }

  #toManagement(effect: ServerEffect): void {
    switch (effect.kind) {
      case "shoot":
        return this.kill(effect.module);
      case "judge":
        return this.#judge(effect.wanted);
      case "verified":
        this.verified.push(effect.digests);
        this.verifiedSeq = effect.seq;
        return;
      default:
        return;
    }
  }

  #event(io: SimulatedIo, effect: Extract<ServerEffect, { kind: "event" }>): void {
    const { code, module, text } = effect;
    // Whoever the CPU modules follow is followed here too, though management may not have heard of it.
    if (code === "RESUMED" && io.server.membership.number > this.#resumedNumber) this.#authority = io;
    if (code === "FENCED" && this.#hasStandby) this.after(0, () => this.#killIo(io));
    if (code === "IO_TAKEOVER") this.io = io;
    if (!this.#isHeard(io)) return;
    this.events.push({ code, module, text: `${this.nowMs.toFixed(1)}: ${text}` });
    switch (code) {
      case "RESUMED":
        if (!this.#hasAuthority(io)) return;
        if (this.#hasStandby) this.io = io;
        this.#resumedNumber = io.server.membership.number;
        this.history.adopt(io.server.voter, Number(effect.data?.["committed"]), Number(effect.data?.["seq"]));
        this.#forgetLostPowerOns();
        return void this.releases.push({ kind: "resumed" });
      case "OUTAGE":
        if (!this.#hasAuthority(io)) return;
        this.history.lose();
        return void this.releases.push({ kind: "outage" });
      case "POWER_ON":
        // The guest of a sequencer that could not be taken over was lost with it.
        if (!this.#hasAuthority(io)) {
          this.releases.push({ kind: "outage" });
          this.history.begin();
        }
        this.#authority = io;
        if (this.#hasStandby) this.io = io;
        return void this.releases.push({ kind: "poweredOn" });
      case "FENCED":
        // The one that seemed to hang was quicker: it stays the active one.
        if (io !== this.io || this.#hasStandby) return;
        if (this.#overtaken !== null && this.#overtaken.state !== "ended") [this.io, this.#overtaken] = [this.#overtaken, this.io];
        else this.restartIo();
        return;
      case "MISCOMPARE":
      case "MISCOMPARE_UNADJUDICATED":
      case "MEMORY_DAMAGED":
        if (module !== undefined) this.errors.verdict(code, module, this.cpus.get(module));
        return this.#noteLostTruth();
      case "CONFIGURATION":
        if (this.#hasStandby) this.#inPower(io);
        this.errors.onlyThese(this.#live(io), io.server.voter.issued);
        return this.#noteLostTruth();
      default:
        return;
    }
  }

  /** Its configuration is in force. Whoever was in power before hangs, or will find out: management ends it, soon. */
  #inPower(io: SimulatedIo): void {
    const former = this.#powerful;
    this.#powerful = io;
    this.io = io;
    if (former !== null && former !== io) this.after(this.random.below(MANAGEMENT_MOST_MS), () => this.#killIo(former));
  }

  /** A power-on whose tick was lost with its sequencer never was; the next sequencer sees to it again. */
  #forgetLostPowerOns(): void {
    const ons = this.releases.filter((release) => release.kind === "poweredOn");
    for (const on of ons.slice(this.history.powerOns)) this.releases.splice(this.releases.lastIndexOf(on), 1);
  }

  #live(io: SimulatedIo): SimulatedCpu[] {
    return io.server.membership.live.map((name) => this.cpus.get(name)).filter((cpu) => cpu !== undefined);
  }

  #noteLostTruth(): void {
    if (this.errors.lostBy !== null && !this.releases.some((release) => release.kind === "truthLost"))
      this.releases.push({ kind: "truthLost" });
  }

  /** As the I/O module does: asks again until it is answered. */
  #readHighest(io: SimulatedIo): void {
    this.after(this.arbiter.delayMs, () => {
      if (io.state === "ended") return;
      if (!this.arbiter.isDown) return io.dispatch({ kind: "highest", record: this.arbiter.highest });
      io.dispatch({ kind: "arbiterFailed", why: "it does not answer" });
      this.after(ARBITER_RETRY_MS, () => this.#readHighest(io));
    });
  }

  #released(io: SimulatedIo, output: MachineOutput): void {
    this.releases.push({ kind: "output", output, late: !this.#hasAuthority(io) });
  }

  /** All released outputs. */
  get released(): MachineOutput[] {
    return this.releases.flatMap((release) => (release.kind === "output" ? [release.output] : []));
  }

  /** Encoded once for all, as an I/O module does. */
  #toCpus(io: SimulatedIo, names: readonly string[], message: Message): void {
    let frame: Uint8Array | null = null;
    for (const name of names) {
      const cpu = io.connected.get(name);
      if (cpu === undefined) continue;
      const encoded = (frame ??= encodeMessage(message));
      const step = (decoded: Message): void => cpu.member.step({ kind: "ioMessage", io: io.name, message: decoded });
      this.#tellCpu(io, cpu, () => decodeFrame(encoded, step));
    }
  }

  #memberEffect(cpu: SimulatedCpu, effect: MemberEffect): void {
    switch (effect.kind) {
      case "toIo": {
        const io = cpu.ioOf(effect.io);
        if (io === null) return;
        const frame = encodeMessage(effect.message);
        const deliver = (): void => {
          const isOurs = (): boolean => io.connected.get(cpu.name) === cpu;
          decodeFrame(frame, (message) => io.dispatch({ kind: "cpuMessage", name: cpu.name, message }, isOurs));
        };
        return this.links.send(cpu.name, io.name, deliver, cpu.busyUntilMs);
      }
      case "connectNewcomer":
        return this.#clones.connect(cpu, effect.clone, () => this.cpus.get(effect.newcomer) ?? null);
      case "toNewcomer":
        return this.#clones.send(cpu, effect.message);
      case "closeNewcomer":
        return this.#clones.leaveNewcomer(cpu);
      case "closeDonor":
        this.#clones.leaveDonor(cpu, effect.why);
        return cpu.deliver(() => cpu.member.step({ kind: "donorDisconnected" }));
    }
  }
}
