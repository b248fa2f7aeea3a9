/**
 * The pure heart of an I/O module: `step(event)` in, effects out through `emit`. It composes sequencer, voter, membership and
 * reintegration, and holds the guest's power. It never touches a clock, a socket or a file: all that arrives as events.
 */
import { assert } from "../foundation/assert.js";
import type { MachineOutput } from "../machine/machine.js";
import type { IoRole, ServerStatus } from "../wire/control.js";
import type { ConfigurationRecord, Message, ResultMessage, TickMessage } from "../wire/messages.js";
import { Adjudication } from "./adjudication.js";
import { Checkpoints } from "./checkpoints.js";
import { eventOf, type Happening, type ServerContext } from "./context.js";
import { GuestClock } from "./guest-clock.js";
import { GuestDisk } from "./guest-disk.js";
import { GuestPower } from "./guest-power.js";
import { CLAIM_RETRY_MS, MAX_UNRELEASED_TICKS, MOST_CREDITED_MS, START_WAIT_MS, WATCH_MS } from "./limits.js";
import { localMember, Membership, type CpuRow } from "./membership.js";
import { Recorder } from "./recorder.js";
import { Reintegration } from "./reintegration.js";
import { Resumption } from "./resumption.js";
import { Sequencer } from "./sequencer.js";
import type { Counters, ServerEffect, ServerEvent, ServerOptions } from "./server-types.js";
import { buildStatus } from "./status.js";
import { Standby } from "./standby.js";
import { Watchdog } from "./watchdog.js";
import { Verification } from "./verification.js";
import { Voter, type Ballot, type Decision } from "./voter.js";

/**
 * asking: what does the arbiter know? starting: waiting for CPU modules to power on together. resuming: taking over from an
 * earlier sequencer. running: a configuration is in force or being claimed. outage: the guest runs nowhere. fenced: another I/O
 * module won, this one must not act.
 */
export type Phase = "asking" | "standby" | "starting" | "resuming" | "running" | "outage" | "fenced";

export class LockstepServer implements ServerContext {
  readonly options: ServerOptions;
  readonly membership: Membership;
  readonly voter: Voter;
  readonly sequencer = new Sequencer(0);
  readonly reintegration: Reintegration;
  readonly counters: Counters = { ticks: 0, outages: 0, framesOut: 0 };
  readonly adjudication: Adjudication;
  readonly checkpoints: Checkpoints;
  readonly #recorder: Recorder;
  readonly #verification: Verification;
  readonly #watchdog: Watchdog;
  readonly #resumption: Resumption;
  readonly disk: GuestDisk;
  readonly #power: GuestPower;
  readonly standby: Standby;
  readonly #clock: GuestClock;
  readonly #emit: (effect: ServerEffect) => void;
  phase: Phase = "asking";
  atMs = 0;
  waitedMs = 0;
  fullOutputs: string | null = null;
  /** When to send a `wake` event at the latest; null: not needed. */
  wakeAtMs: number | null = null;
  mips = 0;
  #startDeadlineMs = 0;
  #claimAgainAtMs: number | null = null;
  /** The machines have run since the last start from nothing: there is something to copy. */
  #hasRun = false;

  constructor(options: ServerOptions, emit: (effect: ServerEffect) => void) {
    this.options = options;
    this.#emit = emit;
    this.#clock = new GuestClock(options.anchorNs);
    const onCall = [...(options.emptySlots ?? []), ...(options.judge === undefined ? [] : [options.judge])];
    this.membership = new Membership(options.name, options.cpuModules, onCall, options.pairs);
    this.voter = new Voter(options.release, 0, options.pairs);
    this.reintegration = new Reintegration(this);
    this.adjudication = new Adjudication(this, this.reintegration);
    this.checkpoints = new Checkpoints(this, this.adjudication, this.reintegration);
    this.adjudication.checkpoints = this.checkpoints;
    this.#recorder = new Recorder(this, this.checkpoints);
    this.#verification = new Verification(this, this.adjudication);
    this.#watchdog = new Watchdog(this);
    this.#resumption = new Resumption(this);
    this.standby = new Standby(this);
    this.disk = new GuestDisk(this);
    this.#power = new GuestPower(this, this.disk);
  }

  emit(effect: ServerEffect): void {
    this.#emit(effect);
  }

  get isStarting(): boolean {
    return this.phase === "asking" || this.phase === "starting" || this.phase === "resuming" || (this.phase === "running" && !this.#hasRun);
  }

  step(event: ServerEvent): void {
    const passedMs = Math.max(0, event.atMs - this.atMs);
    this.atMs += passedMs;
    this.waitedMs += Math.min(passedMs, MOST_CREDITED_MS);
    if (this.phase === "fenced") return;
    this.#handle(event);
    this.#pump();
  }

  /** Guest time of the wall clock now. */
  get #wallNs(): bigint {
    return this.#clock.at(this.atMs);
  }

  event(...happening: Happening): void {
    this.emit(eventOf(...happening));
    this.emit({ kind: "statusChanged" });
  }

  // ---- events ----

  #handle(event: ServerEvent): void {
    switch (event.kind) {
      case "cpuMessage":
        return this.#cpuMessage(event.name, event.message);
      case "wake":
        return;
      case "frames":
      case "console":
      case "agent":
      case "powerButton":
      case "entropy":
        if (!this.#power.hear(event, this.phase === "running") && event.kind === "frames") this.standby.keep(event.port, event.frames);
        return;
      case "reset":
      case "bootImage":
        return this.#power.order(event, this.isRunning);
      case "verify":
        return this.#verification.ask();
      case "record":
        return this.#recorder.order(event.action);
      case "cpuConnected":
        return this.#connected(event.name, event.incarnation);
      case "cpuDisconnected":
        return this.#disconnected(event.name, event.why);
      case "expect":
        return this.#expect(event.module, event.present);
      case "ioConnected":
      case "ioDisconnected":
      case "ioMessage":
        return this.standby.hear(event);
      case "mirrorUp":
      case "mirrorDown":
      case "mirrorReply":
      case "mirrors":
      case "diskGrow":
      case "diskScrub":
        return this.disk.hear(event);
      default:
        return this.#arbiterEvent(event);
    }
  }

  /** A member that is not wanted any more leaves by a configuration change, if another one can carry on. */
  #expect(name: string, present: boolean): void {
    const row = this.membership.rows.get(name);
    if (row === undefined) return;
    row.expected = present;
    if (present || row.role !== "member" || this.membership.live.length < 2) return;
    this.event("info", "MODULE_RETIRED", `${name} is taken out of the configuration`, name);
    row.shotIncarnation = row.incarnation;
    row.isConnected = false;
    this.#gone(row);
    this.emit({ kind: "disconnect", name, why: "it is not wanted any more" });
  }

  #arbiterEvent(event: Extract<ServerEvent, { kind: "start" | "highest" | "claimed" | "arbiterFailed" }>): void {
    switch (event.kind) {
      case "start":
        this.emit({ kind: "readHighest" });
        return;
      case "highest":
        if (this.phase !== "asking") return;
        if (this.standby.considerStandingBy(event.record)) {
          this.phase = "standby";
          return this.emit({ kind: "statusChanged" });
        }
        this.membership.learn(event.record);
        // A judge that was promoted is a member like any other; one that was only asked has lost whoever asked it.
        if (this.options.judge !== undefined)
          this.emit({ kind: "judge", wanted: event.record?.cpus.includes(this.options.judge) ?? false });
        this.phase = "starting";
        this.#startDeadlineMs = this.atMs + START_WAIT_MS;
        return;
      case "claimed":
        return this.#claimed(event.winner);
      case "arbiterFailed":
        if (this.#claimAgainAtMs === null) this.event("error", "ARBITER_UNAVAILABLE", `the arbiter does not answer: ${event.why}`);
        this.#claimAgainAtMs = this.atMs + CLAIM_RETRY_MS;
    }
  }

  // ---- CPU modules come, go and speak ----

  #connected(name: string, incarnation: number): void {
    if (!this.membership.rows.has(name)) return this.emit({ kind: "disconnect", name, why: "not a module of this server" });
    const row = this.membership.row(name);
    if (incarnation <= row.shotIncarnation) return this.emit({ kind: "disconnect", name, why: "this incarnation was isolated" });
    if (row.role !== "absent" && row.role !== "shot") this.#gone(row);
    row.incarnation = incarnation;
    row.isConnected = true;
    row.reported = null;
    row.lastSeq = 0;
    row.miscompared = false;
    this.voter.retireModule(name);
    this.membership.setRole(row, "absent");
    this.emit({ kind: "statusChanged" });
  }

  #disconnected(name: string, why: string): void {
    const row = this.membership.rows.get(name);
    if (row === undefined) return;
    row.isConnected = false;
    row.reported = null;
    if (row.role === "absent" || row.role === "shot") return;
    const wasMember = row.role === "member";
    if (wasMember) row.faults += 1;
    this.#gone(row);
    if (wasMember) this.event("warning", "MODULE_LOST", `${name} is lost: ${why}`, name);
  }

  #gone(row: CpuRow, miscompared = false): void {
    this.membership.setRole(row, "absent");
    row.reported = null;
    this.voter.forgetModule(row.name);
    this.sequencer.forgetModule(row.name);
    this.reintegration.moduleGone(row.name, miscompared);
  }

  shoot(row: CpuRow, why: string, miscompared: boolean): void {
    if (row.role === "shot") return;
    row.shotIncarnation = row.incarnation;
    row.isConnected = false;
    row.miscompared = miscompared;
    row.faults += 1;
    this.#gone(row, miscompared);
    this.membership.setRole(row, "shot");
    if (miscompared) this.voter.discardModule(row.name);
    this.emit({ kind: "shoot", module: row.name, why });
    this.emit({ kind: "disconnect", name: row.name, why });
    this.emit({ kind: "statusChanged" });
  }

  #cpuMessage(name: string, message: Message): void {
    const row = this.membership.rows.get(name);
    if (row === undefined || row.role === "shot") return;
    if (this.phase === "standby" && message.kind !== "memberState") return;
    if (this.adjudication.message(row, message)) return;
    switch (message.kind) {
      case "result":
        return this.#result(row, message);
      case "receipt":
        if (this.isOvertaken(name, message.configuration)) return;
        return this.voter.receipt(name, message.seq);
      case "payload":
        return this.voter.payload(name, message.seq, message.outputs);
      case "memberState":
        return this.#memberState(row, message);
      case "refused":
        this.isOvertaken(name, message.seen);
        return;
      case "checkpointPrepared":
      case "checkpointMarked":
      case "checkpointFailed":
        return this.checkpoints.message(row, message);
      case "damaged":
        return this.adjudication.damaged(row, message.page, message.seq);
      case "keptTick":
      case "resumed":
        return this.#resumption.message(row, message);
      default:
        return this.reintegration.message(name, message);
    }
  }

  #memberState(row: CpuRow, state: Extract<Message, { kind: "memberState" }>): void {
    if (this.isOvertaken(row.name, state.configuration)) return;
    row.reported = { configuration: state.configuration, seq: state.seq, blank: state.blank };
    if (state.blank) this.membership.setRole(row, "waiting");
    else if (!this.acts || this.phase === "starting" || this.phase === "resuming") this.#resumption.offer(row);
    else this.stale(row);
  }

  /** It ran on its own past: nothing can be made of it but a fresh one. */
  stale(row: CpuRow): void {
    this.event("info", "MODULE_STALE", `${row.name} came back with a state that is not in lockstep any more; it is restarted`, row.name);
    this.shoot(row, "its state is not in lockstep any more", false);
  }

  #result(row: CpuRow, result: ResultMessage): void {
    if (this.phase === "resuming") return this.#resumption.message(row, result);
    // Of a tick that another sequencer issued.
    if (this.isOvertaken(row.name, result.configuration) || result.seq > this.voter.issued) return;
    row.lastSeq = Math.max(row.lastSeq, result.seq);
    row.answeredAt = this.waitedMs;
    const ballot = this.voter.ballot(result.seq);
    const agrees = this.voter.result(row.name, result, this.waitedMs);
    if (row.role === "member") this.sequencer.result(row.name, result, this.#wallNs);
    else this.reintegration.result(row);
    if (!agrees) return this.adjudication.wrong(row.name, result.seq);
    if (ballot !== undefined && ballot.truth !== null && row.role !== "member") this.reintegration.compared(row.name, result.seq);
  }

  // ---- decisions ----

  #pump(): void {
    this.disk.pump();
    if (this.phase === "standby") this.standby.consider();
    if (this.phase === "starting" || this.phase === "outage") this.#considerStart();
    if (this.phase === "resuming") {
      this.#retryClaim();
      this.#resumption.consider();
    }
    if (this.phase === "running") this.adjudication.consider();
    if (this.phase === "running") this.#settle();
    // While two contradict each other, everything else waits for the judge.
    if (this.phase === "running" && !this.adjudication.isPending) this.#proceed();
    if (this.acts) this.#watchdog.watchAbsent();
    this.standby.beat();
    this.#planWake();
  }

  /** Whether this module sequences, or is about to. */
  get acts(): boolean {
    return this.phase !== "asking" && this.phase !== "standby" && this.phase !== "fenced";
  }

  get role(): IoRole {
    return this.phase === "fenced" ? "fenced" : this.acts ? "active" : "standby";
  }

  #proceed(): void {
    this.reintegration.considerJoining();
    this.#reconcile();
    if (this.phase !== "running") return;
    if (this.#hasRun) this.reintegration.consider();
    // Both may wish for a tick: they come before the issue of ticks, or nothing would wake us for it.
    this.#verification.consider();
    this.checkpoints.consider(this.#hasRun && !this.reintegration.isActive && !this.adjudication.isPending);
    this.#recorder.consider();
    if (!this.adjudication.isPending) this.#issue();
    this.reintegration.watch();
    if (this.#watchdog.watch(this.#verification.isUnderWay)) this.#reconcile();
    if (this.membership.live.length > 0) this.voter.forget(Math.min(this.#floor(), this.checkpoints.keptFrom));
  }

  #settle(): void {
    while (!this.adjudication.isPending) {
      const decision: Decision = this.voter.decide(this.membership.voters, this.waitedMs, this.membership.live);
      switch (decision.kind) {
        case "wait":
          return;
        case "release":
          this.#release(decision.outputs, decision.ballot.tick.seq);
          break;
        case "agreed":
          this.#agreed(decision.ballot);
          break;
        case "ask":
          this.emit({ kind: "send", to: decision.module, message: { kind: "payloadRequest", seq: decision.seq } });
          break;
        case "miscompare":
          for (const name of decision.wrong) this.adjudication.wrong(name, decision.seq);
          if (decision.tied.length > 0) this.adjudication.tied(decision.tied, decision.seq, "results");
      }
    }
  }

  #agreed(ballot: Ballot): void {
    this.#hasRun = true;
    if (ballot.truth !== null) {
      this.sequencer.settle(ballot.truth);
      this.#clock.notBefore(ballot.truth.timeNs, this.atMs);
      this.checkpoints.agreed(ballot.truth);
    }
    const follower = this.reintegration.follower;
    if (follower !== null && ballot.results.has(follower.name)) this.reintegration.compared(follower.name, ballot.tick.seq);
  }

  #release(outputs: readonly MachineOutput[], seq: number): void {
    this.counters.ticks += 1;
    this.counters.framesOut += this.#power.release(outputs, seq);
  }

  // ---- membership ----

  /** Whoever is there and blank is powered on together; at first start all expected ones are waited for. */
  #considerStart(): void {
    const waiting = this.membership.withRole("waiting").filter((row) => row.expected);
    if (this.phase === "starting" && this.#resumption.considerBeginning()) return;
    if (waiting.length === 0) return;
    const missing = [...this.membership.rows.values()].some((row) => row.expected && row.role !== "waiting");
    if (this.phase === "starting" && missing && this.atMs < this.#startDeadlineMs) return;
    this.phase = "running";
    this.#hasRun = false;
    this.sequencer.restart();
    this.#clock.notBefore(0n, this.atMs);
    for (const row of waiting) {
      row.lastSeq = this.voter.issued;
      this.membership.setRole(row, "joining");
    }
  }

  /** Claims the configuration that should be, if it is not the one in force. */
  #reconcile(): void {
    const { membership } = this;
    let joining = membership.withRole("joining");
    if (membership.live.length === 0 && joining.length === 0) {
      if (!this.reintegration.promote()) return this.#outage();
      joining = membership.withRole("joining");
    }
    const record = membership.propose([...membership.live, ...joining.map((row) => row.name)]);
    if (record !== null) this.emit({ kind: "claim", record });
    else this.#retryClaim();
  }

  /** A claim that the arbiter did not answer is made again. */
  #retryClaim(): void {
    const { claiming } = this.membership;
    if (claiming === null || this.#claimAgainAtMs === null || this.atMs < this.#claimAgainAtMs) return;
    this.#claimAgainAtMs = this.atMs + CLAIM_RETRY_MS;
    this.emit({ kind: "claim", record: claiming });
  }

  #claimed(winner: ConfigurationRecord): void {
    if (winner.number === this.membership.claiming?.number) this.#claimAgainAtMs = null;
    if (!this.membership.conclude(winner)) {
      if (winner.activeIo !== this.options.name) this.fenced(`${winner.activeIo} won configuration ${winner.number}`);
      return;
    }
    const joined = this.membership.withRole("joining").filter((row) => winner.cpus.includes(row.name));
    for (const row of joined) {
      assert(this.#hasRun || this.phase === "resuming" || row.lastSeq === this.voter.issued, "a founding member sees every tick");
      this.membership.setRole(row, "member");
      row.inLockstepSince = this.atMs;
    }
    this.fullOutputs = localMember(winner, this.options.enclosures, this.options.name);
    for (const row of this.membership.rows.values()) {
      if (row.role === "absent" || row.role === "shot") continue;
      this.emit({
        kind: "send",
        to: row.name,
        message: { kind: "configurationNotice", record: winner, fullOutputs: row.name === this.fullOutputs },
      });
    }
    this.event("info", "CONFIGURATION", `configuration ${winner.number}: ${winner.cpus.join(", ")} in lockstep`, undefined, {
      number: winner.number,
      cpus: winner.cpus,
    });
    this.disk.configured(winner, this.phase === "resuming");
    for (const row of joined) this.checkpoints.adopt(row.name, this.reintegration.finish(row));
    if (this.phase === "resuming") this.#resumption.won();
    else if (!this.#hasRun && !this.#power.isOn && this.membership.live.length > 0) {
      // A claim of before may have won without some who wait by now: after the power-on they come in by reintegration only.
      for (const row of this.membership.withRole("joining")) this.membership.setRole(row, "waiting");
      this.#power.ask();
    }
  }

  /** A module that follows a later configuration than ours has another sequencer: what it says of ticks is not about ours. */
  isOvertaken(name: string, seen: number): boolean {
    if (!this.acts || seen <= this.membership.number) return false;
    this.fenced(`${name} has seen configuration ${seen}`);
    return true;
  }

  /** Another I/O module has taken this one's place. */
  fenced(why: string): void {
    if (this.phase === "fenced") return;
    this.phase = "fenced";
    this.disk.end();
    this.wakeAtMs = null;
    this.event("error", "FENCED", `this I/O module must not act any more: ${why}`);
  }

  /** Called by the resumption when the modules' state is taken over. */
  resumed(committed: number, last: number, ticks: ReadonlyMap<number, TickMessage>): void {
    this.phase = "running";
    this.#hasRun = true;
    this.#power.adopt();
    for (const tick of ticks.values()) this.#power.issued(tick);
    this.#clock.notBefore(ticks.get(last)?.nowNs ?? 0n, this.atMs);
    const text = `took over from an earlier sequencer at tick ${last}; what came after tick ${committed} is released again`;
    this.event("info", "RESUMED", text, undefined, { seq: last, committed, cpus: this.membership.live });
    this.emit({ kind: "announce" });
    this.disk.takeOver();
    for (const { port, bytes } of this.standby.takeFrames()) this.sequencer.input({ kind: "frame", port, bytes });
  }

  /** All members are gone. What was not released never will be; the guest starts again when a module comes back. */
  #outage(): void {
    const wasRunning = this.#hasRun || this.#power.isOn;
    this.phase = "outage";
    this.#hasRun = false;
    this.#power.lost();
    this.reintegration.fail("no module is left in lockstep");
    this.voter.abandon();
    this.sequencer.restart();
    this.membership.clear();
    this.#verification.giveUp();
    this.adjudication.abandon();
    this.#recorder.stop();
    this.checkpoints.discard();
    if (!wasRunning) return;
    this.counters.outages += 1;
    this.event("error", "OUTAGE", "no CPU module is left in lockstep: the guest is down and will be started again");
  }

  // ---- ticks ----

  #issue(): void {
    for (;;) {
      if (this.membership.live.length === 0 || this.voter.issued - this.voter.released >= MAX_UNRELEASED_TICKS) return;
      if (this.sequencer.due(this.membership.settledSeq(), this.#wallNs).kind !== "now") return;
      const next = this.sequencer.next(this.#wallNs);
      const fullDigest = this.#verification.take(next.seq);
      const tick: TickMessage = {
        kind: "tick",
        configuration: this.membership.number,
        seq: next.seq,
        committed: this.voter.released,
        floor: this.#floor(),
        nowNs: next.nowNs,
        budget: next.budget,
        fullDigest,
        checkpoint: !fullDigest && this.checkpoints.take(next.seq),
        inputs: next.inputs,
      };
      this.#power.issued(tick);
      this.voter.issue(tick, this.waitedMs);
      const follower = this.reintegration.follower;
      const { live } = this.membership;
      const to = follower === null || live.includes(follower.name) ? live : [...live, follower.name];
      this.emit({ kind: "sendTick", to, tick });
    }
  }

  /** Everything up to here has been run by all that run ticks. */
  #floor(): number {
    let floor = this.voter.issued;
    for (const name of this.membership.live) floor = Math.min(floor, this.membership.row(name).lastSeq);
    if (this.reintegration.follower !== null) floor = Math.min(floor, this.reintegration.followerSeq);
    return floor;
  }

  #planWake(): void {
    if (this.phase === "fenced") return;
    // One after the other, without a list: this comes with every event.
    let wakeAtMs = Math.min(this.standby.wakeAtMs, this.checkpoints.wakeAtMs, this.disk.wakeAtMs ?? Infinity);
    if (this.phase === "starting" && this.atMs < this.#startDeadlineMs) wakeAtMs = Math.min(wakeAtMs, this.#startDeadlineMs);
    if (this.phase === "resuming") wakeAtMs = Math.min(wakeAtMs, this.atMs + WATCH_MS);
    if (this.acts && this.#watchdog.isMissing) wakeAtMs = Math.min(wakeAtMs, this.atMs + MOST_CREDITED_MS);
    if (this.phase === "running") {
      if (this.#claimAgainAtMs !== null) wakeAtMs = Math.min(wakeAtMs, this.#claimAgainAtMs);
      if (this.reintegration.isActive || this.#watchdog.isOutstanding || this.adjudication.isPending)
        wakeAtMs = Math.min(wakeAtMs, this.atMs + WATCH_MS);
      const due = this.membership.live.length > 0 ? this.sequencer.due(this.membership.settledSeq(), this.#wallNs) : null;
      if (due?.kind === "atNs") wakeAtMs = Math.min(wakeAtMs, this.#clock.toMs(due.ns));
    }
    this.wakeAtMs = wakeAtMs === Infinity ? null : wakeAtMs;
  }

  status(): ServerStatus {
    const mips = this.sequencer.takeMips();
    if (mips !== null) this.mips = mips;
    return buildStatus(this);
  }

  /** Whether CPU modules compute for the guest at all. */
  get isRunning(): boolean {
    return this.phase === "running" && this.#hasRun;
  }

  /** @internal Invariants that hold after every step; the tests call it. */
  check(): void {
    assert(this.voter.released <= this.voter.issued, "nothing is released before it is issued");
    assert(this.sequencer.lastIssued === this.voter.issued, "sequencer and voter count the same ticks");
  }
}
