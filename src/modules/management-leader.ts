/**
 * The leading management module: starts the other modules, watches and restarts them, carries out what the vote and the operator ask
 * for, and tells the outside how things are. It writes down at each change what another one needs to take its place.
 */
import { rmSync } from "node:fs";
import { assert } from "../foundation/assert.js";
import { SteadfastError } from "../foundation/errors.js";
import type { MeasuredImage } from "../image/store.js";
import type { HostNetwork } from "../ports/network-host.js";
import type { ModuleConfig } from "./config.js";
import { serveControlApi, type ControlApi, type ManagementActions, type VerifyAnswer } from "./management-api.js";
import { CertificationWatch } from "./management-certification.js";
import type { AgentLink } from "./management-agent.js";
import { changesOf } from "./management-change-host.js";
import type { Changes } from "./management-changes.js";
import type { ConsoleHub } from "./management-console.js";
import { diskOrder, prepareArbiter, prepareDisk } from "./management-disk.js";
import { AuditLog } from "./management-audit.js";
import { EventLog, FIRST_EVENT, LAST_EVENT } from "./management-events.js";
import type { FaultDetails, FaultDone } from "./management-faults.js";
import { endFrontOf, frontReport, prepareFront, type FrontReport } from "./management-front.js";
import type { GuestWatch } from "./management-guest.js";
import { GuestSide } from "./management-guest-side.js";
import { IoView } from "./management-io.js";
import { ManagementLinks, type ParsedControl } from "./management-links.js";
import { madeOnHost, setUpNetwork, tearDownNetwork } from "./management-network.js";
import { Operations } from "./management-operations.js";
import type { ServerPaths } from "./management-paths.js";
import {
  bootImageOf,
  JUDGE,
  mirrorsOf,
  moduleConfigFor,
  modulesInUse,
  plannedManagement,
  plannedModules,
  standingOrders,
  writeJsonFile,
  type PlannedModule,
  type ServerPlan,
} from "./management-plan.js";
import type { LossCause } from "./management-policy.js";
import { cleanUpServer, endStrays, recordProcess } from "./management-process.js";
import { Recordings, type RecordingDone } from "./management-recordings.js";
import { RedundancyChange } from "./management-redundancy.js";
import { headerFor } from "./management-reports.js";
import { LEAD_EVERY_MS } from "./management-standby.js";
import { StandbyView } from "./management-standbys.js";
import type { LeaderState, MadeRecord } from "./management-state.js";
import { SupportPlanReader } from "./support-plan-file.js";
import { inLockstep, makeReport, type ServerReport } from "./management-status.js";
import { endModules, ModuleSupervisor } from "./management-supervisor.js";
import { ModuleTalk } from "./management-talk.js";
import type { RecentActivity } from "./process-activity.js";
import { VerifyRequests } from "./management-verify.js";
import { parseRedundancy, type PlannedRedundancy } from "./redundancy.js";

const CHECK_EVERY_MS = 1000;
/** One that takes the lead answers only when the active I/O module has reported; if none does for so long, that is the answer. */
const HEAR_LIMIT_MS = 1000;
const HEAR_EVERY_MS = 10;
const DOWN_GRACE_MAX_MS = 600_000;
const TERMINATION_GRACE_MS = 5000;

export class Leader implements ManagementActions {
  /** Changes with the redundancy. */
  #plan: ServerPlan;
  readonly #paths: ServerPaths;
  readonly #name: string;
  readonly #incarnation: number;
  readonly #events: EventLog;
  readonly #audit: AuditLog;
  #front: FrontReport | null;
  readonly #supervisors: ModuleSupervisor[];
  readonly #io: IoView;
  readonly #standbys = new StandbyView();
  readonly #verify = new VerifyRequests(() => this.#toActiveIo({ kind: "verify" }));
  readonly #console: ConsoleHub;
  readonly agent: AgentLink;
  readonly #recordings: Recordings;
  readonly #redundancy: RedundancyChange;
  readonly #operations: Operations;
  readonly #talk: ModuleTalk;
  readonly #guest: GuestWatch;
  readonly #certification: CertificationWatch;
  readonly changes: Changes;
  #startedAtMs = Date.now();
  readonly #supportPlan: SupportPlanReader;
  #epochNs = BigInt(Date.now()) * 1_000_000n;
  #network: HostNetwork | null = null;
  #links: ManagementLinks | null = null;
  #api: ControlApi | null = null;
  #timers: NodeJS.Timeout[] = [];
  #graceTimer: NodeJS.Timeout | null = null;
  #stopAtMs: number | null = null;
  #stopping = false;
  #saved = "";

  constructor(plan: ServerPlan, paths: ServerPaths, config: ModuleConfig) {
    this.#plan = plan;
    this.#paths = paths;
    this.#name = config.name;
    this.#incarnation = config.incarnation;
    this.#events = new EventLog(paths.eventsFile);
    this.#certification = new CertificationWatch(() => this.#plan, paths, this.#events);
    this.#audit = new AuditLog(paths.auditFile);
    this.#front = frontReport(plan);
    this.#io = new IoView(plannedModules(plan).find((module) => module.kind === "io")?.name ?? "");
    this.#supervisors = [...plannedModules(plan), ...plannedManagement(plan), JUDGE].map((module) => this.#supervise(module));
    const guestSide = new GuestSide({
      ...{ plan, events: this.#events, io: this.#io },
      toActiveIo: (message) => this.#toActiveIo(message),
      changed: () => this.#save(),
    });
    this.#console = guestSide.console;
    this.agent = guestSide.agent;
    this.#guest = guestSide.watch;
    this.changes = changesOf({
      ...{ paths, events: this.#events, agent: this.agent, io: this.#io, guest: this.#guest },
      plan: () => this.#plan,
      runs: (changed, measured) => this.#runs(changed, measured),
      report: () => this.report(),
      toActiveIo: (message) => this.#toActiveIo(message),
      expect: (module, present) => this.#expect(module, present),
      supervisors: () => this.#supervisors,
      powerOnIsWanted: () => this.#talk.startsAnew(),
    });
    this.#recordings = new Recordings(
      paths,
      (seq) => headerFor(this.#configFor(JUDGE, 1), seq),
      (message) => this.#toActiveIo(message),
    );
    this.#supportPlan = new SupportPlanReader(paths.supportPlanFile);
    this.#redundancy = new RedundancyChange({
      supervisor: (module) => this.#supervisor(module),
      expect: (module, present) => this.#expect(module, present),
      isReady: (module) => inLockstep(this.report().modules.find((each) => each.name === module)?.state),
    });
    this.#operations = new Operations({
      events: this.#events,
      report: () => this.report(),
      supervisors: () => this.#supervisors.filter((each) => modulesInUse(this.#plan).includes(each.name)),
      expect: (module, present) => this.#expect(module, present),
      plan: () => this.#plan,
      send: (module, message) => this.#links?.send(module, message) === true,
      drilled: (module) => {
        this.#talk.noteDrilled(module);
        this.#save();
      },
    });
    this.#talk = new ModuleTalk({
      ...{ paths, events: this.#events, console: this.#console, io: this.#io, recordings: this.#recordings },
      ...{ agent: this.agent, changes: this.changes, redundancy: this.#redundancy, verify: this.#verify, guest: this.#guest },
      supervisor: (module) => this.#supervisor(module),
      supervisors: () => this.#supervisors,
      judgeConfig: () => this.#configFor(JUDGE, 1),
      toActiveIo: (message) => this.#toActiveIo(message),
      save: () => this.#save(),
      stop: (why) => void this.#stop(why),
    });
  }

  #supervise(module: PlannedModule): ModuleSupervisor {
    const { faultThreshold } = this.#plan;
    return new ModuleSupervisor(module, faultThreshold, this.#paths.runDirectory, this.#paths.logDirectory, {
      configure: (planned, number) => this.#configFor(planned, number),
      changed: ({ name }) => (this.#links?.soon(name), this.#save()),
      isReplaced: (lost) => this.#supervisors.some((other) => other.canTakeOver(lost)),
      lost: (supervisor, cause, detail, activity) => this.#moduleLost(supervisor, cause, detail, activity),
      becameBroken: (supervisor) => this.#moduleBroken(supervisor),
    });
  }

  #configFor(module: PlannedModule, incarnation: number): ModuleConfig {
    const context = { plan: this.#plan, paths: this.#paths, network: this.#network, epochNs: this.#epochNs };
    return moduleConfigFor(context, module, incarnation);
  }

  get #ioNames(): string[] {
    return this.#supervisors.filter((each) => each.module.kind === "io").map((each) => each.name);
  }

  // Begin and takeover.

  /** Starts the server, with nothing of an earlier run left. */
  async startServer(): Promise<void> {
    const leftOver = await cleanUpServer(this.#plan.server, this.#paths);
    this.changes.finishDisk();
    const plan = await prepareDisk(await this.#admitted(), this.#paths);
    this.#plan = plan;
    await prepareFront(plan);
    this.#front = frontReport(plan);
    writeJsonFile(this.#paths.planFile, plan);
    await prepareArbiter(plan, this.#paths, this.#io.active);
    const inUse = modulesInUse(plan);
    this.#supervisor(this.#name).adoptSelf(this.#incarnation);
    for (const each of this.#supervisors) if (!inUse.includes(each.name)) each.hold();
    this.#save();
    try {
      this.#network = await setUpNetwork(plan, this.#ioNames);
      this.#guest.askThrough(this.#network);
      this.#api = await serveControlApi(this.#paths.controlSocket, this, this.#audit);
    } catch (error) {
      await this.#removeEverything();
      throw error;
    }
    this.#events.add("info", FIRST_EVENT, `Server ${plan.server} starts in ${plan.redundancy}.`);
    if (leftOver)
      this.#events.add("warning", "LEFTOVERS_REMOVED", "What an earlier run of this server had left on the host was ended and removed.");
    this.#certification.begin(true);
    this.changes.resume(false);
    this.#run();
  }

  /** Refused, it leaves nothing behind. */
  async #admitted(): Promise<ServerPlan> {
    try {
      return await this.#certification.admit();
    } catch (error) {
      rmSync(this.#paths.runDirectory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Goes on where the former leader was. `wasSilent`: it hung, and was ended for that. */
  async takeOver(made: MadeRecord, wasSilent: boolean): Promise<void> {
    const { state, management } = made;
    if (state.stopAtMs !== null && state.stopAtMs <= Date.now()) return this.#finishStop(management.name);
    const inUse = modulesInUse(this.#plan);
    for (const supervisor of this.#supervisors) {
      const record = state.modules[supervisor.name];
      const hung = wasSilent && supervisor.name === management.name;
      if (record !== undefined) supervisor.adopt(hung ? { ...record, plannedCause: record.plannedCause ?? "hung" } : record);
    }
    this.#supervisor(this.#name).adoptSelf(this.#incarnation);
    this.#startedAtMs = state.startedAtMs;
    this.#epochNs = BigInt(state.epochNs);
    this.#network = state.network;
    this.#stopAtMs = state.stopAtMs;
    this.#io.adopt(state.io);
    this.#talk.adopt(state);
    // The network stays as it was made: the I/O modules live in it.
    this.#guest.askThrough(state.network);
    this.#guest.resume(state.guest);
    this.agent.adopt(state.agentOldestId);
    if (state.isRecording) this.#recordings.cut();
    // At once: from here on it is us whom the stand-bys watch.
    this.#save();
    await endStrays(this.#paths, made);
    this.#tellTakeOver(management.name, wasSilent, state);
    this.#certification.begin(false);
    for (const { name, presence } of this.#supervisors) {
      if (presence === "present" && !inUse.includes(name) && name !== JUDGE.name) this.#redundancy.retire(name);
    }
    if (state.stopAtMs !== null) this.#stopAfter(state.stopAtMs - Date.now());
    this.#run();
    await this.#hearFirst();
    this.changes.resume(true);
    if (!this.#stopping) this.#api = await serveControlApi(this.#paths.controlSocket, this, this.#audit);
  }

  /** So that nobody is told of an outage, or refused, only because we have not heard yet how things are. */
  async #hearFirst(): Promise<void> {
    const giveUpAt = performance.now() + HEAR_LIMIT_MS;
    while (this.#io.status === null && performance.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, HEAR_EVERY_MS));
  }

  #tellTakeOver(former: string, wasSilent: boolean, state: LeaderState): void {
    const module = this.#name;
    const why = former === module ? "it was started again" : wasSilent ? `${former} hung and was ended` : `${former} is gone`;
    const severity = state.modules[former]?.plannedCause === "drill" ? "info" : "warning";
    this.#events.add(severity, "MANAGEMENT_TAKEOVER", `${module} leads the management modules now: ${why}.`, { module });
    if (state.isRecording)
      this.#events.add("warning", "RECORDING_CUT", "The recording under way was cut when the leading management module was lost.");
  }

  #run(): void {
    for (const supervisor of this.#supervisors) {
      supervisor.look();
      supervisor.start();
    }
    const others = this.#supervisors.map((each) => each.name).filter((name) => name !== this.#name);
    this.#links = new ManagementLinks(this.#paths.runDirectory, { name: this.#name, incarnation: this.#incarnation }, others, {
      connected: (module) => this.#moduleConnected(module),
      message: (module, message, incarnation) => this.#moduleSaid(module, message, incarnation),
      disconnected: (module) => this.#moduleDisconnected(module),
    });
    this.#timers = [setInterval(() => this.#check(), CHECK_EVERY_MS), setInterval(() => this.#turn(), LEAD_EVERY_MS)];
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.down(TERMINATION_GRACE_MS));
    process.on("SIGHUP", () => undefined);
  }

  // What the operator asks for.

  report(): ServerReport {
    return makeReport({
      plan: this.#plan,
      address: this.#plan.network.kind === "tap" ? (this.#network?.guestAddress ?? "") : "",
      guest: this.#guest,
      certification: this.#certification.standing,
      upgrade: this.changes.standing,
      startedAtMs: this.#startedAtMs,
      support: this.#supportPlan.standing(Date.now()),
      lastEventId: this.#events.lastId,
      supervisors: this.#supervisors,
      io: this.#io.status,
      activeIo: this.#io.active,
      counters: this.#io.counters,
      cpu: this.#talk.cpuStatus,
      management: { leader: this.#name, ready: this.#standbys.ready },
      front: this.#front,
    });
  }

  eventsSince(since: number): ReturnType<EventLog["since"]> {
    return this.#events.since(since);
  }

  followEvents(listener: Parameters<EventLog["follow"]>[0]): () => void {
    return this.#events.follow(listener);
  }

  pull(target: string, force: boolean): void {
    this.#operations.pull(target, force);
  }

  insert(target: string): void {
    this.#operations.insert(target);
  }

  clear(module: string): void {
    this.#operations.clear(module);
  }

  fault(kind: string, module: string, details: FaultDetails): FaultDone {
    return this.#operations.fault(kind, module, details);
  }

  setRedundancy(text: string): PlannedRedundancy {
    const to = parseRedundancy(text);
    if (to === null) throw new SteadfastError("REDUNDANCY_UNKNOWN", { redundancy: text });
    const from = this.#plan.redundancy;
    if (to === from) return to;
    this.#redundancy.change(from, to);
    this.#plan = { ...this.#plan, redundancy: to };
    writeJsonFile(this.#paths.planFile, this.#plan);
    for (const io of this.#ioNames) this.#links?.send(io, mirrorsOf(this.#plan));
    this.#events.add("info", "REDUNDANCY_CHANGED", `The redundancy was changed from ${from} to ${to} by the operator.`, {
      data: { from, to },
    });
    return to;
  }

  power(action: string): void {
    if (action !== "off" && action !== "reset") throw new SteadfastError("POWER_ACTION_UNKNOWN", { action });
    const sent = this.#toActiveIo(action === "off" ? { kind: "powerButton" } : { kind: "reset" });
    if (!sent) throw new SteadfastError("MODULE_NOT_RUNNING", { module: this.#io.active });
    this.#events.add("info", "POWER", action === "off" ? "The power button was pressed." : "The guest is power-cycled by the operator.");
  }

  disk(action: string, sizeBytes: number): void {
    const { disk } = this.#plan;
    if (disk === undefined) throw new SteadfastError("DISK_NONE", { server: this.#plan.server });
    const order = diskOrder(action, sizeBytes, this.#io.status?.disk?.sizeBytes ?? disk.sizeBytes);
    if (!this.#toActiveIo(order)) throw new SteadfastError("MODULE_NOT_RUNNING", { module: this.#io.active });
  }

  /** Another image, of which the I/O modules are told, whichever is the active one; it boots at the next start of the guest. */
  #runs(plan: ServerPlan, measured: MeasuredImage): void {
    writeJsonFile(this.#paths.planFile, plan);
    this.#plan = plan;
    for (const io of this.#ioNames) this.#links?.send(io, bootImageOf(plan));
    this.#guest.serves(plan, this.#network);
    this.#certification.installed(measured);
  }

  verify(): Promise<VerifyAnswer> {
    return this.#verify.add();
  }

  async startRecording(): Promise<number> {
    const started = this.#recordings.start();
    this.#save();
    const seq = await started;
    this.#events.add("info", "RECORDING_STARTED", `A recording begins after tick ${seq}.`, { data: { seq } });
    return seq;
  }

  async stopRecording(): Promise<RecordingDone> {
    const done = await this.#recordings.stop();
    this.#save();
    this.#events.add("info", "RECORDING_ENDED", `A recording of ${done.ticks} ticks is in ${done.path}.`, { data: { ...done } });
    return done;
  }

  attachConsole(viewer: Parameters<ConsoleHub["attach"]>[0]): void {
    this.#console.attach(viewer);
  }

  down(graceMs: number): void {
    if (this.#stopping) return;
    if (graceMs <= 0 || !this.#guest.isUp || this.#graceTimer !== null || !this.#toActiveIo({ kind: "powerButton" })) {
      // At the next turn, so that the caller still gets its answer.
      setImmediate(() => void this.#stop("by the operator"));
      return;
    }
    this.#events.add("info", "POWER", "The power button was pressed, because the server is to stop.");
    this.#stopAfter(Math.min(graceMs, DOWN_GRACE_MAX_MS));
  }

  // What modules do and say.

  #toActiveIo(message: Parameters<ManagementLinks["send"]>[1]): boolean {
    return this.#links?.send(this.#io.active, message) === true;
  }

  #expect(module: string, present: boolean): void {
    for (const io of this.#ioNames) this.#links?.send(io, { kind: "expect", module, present });
  }

  #supervisor(name: string): ModuleSupervisor {
    const found = this.#supervisors.find((each) => each.name === name);
    assert(found !== undefined, "every slot has a supervisor");
    return found;
  }

  #moduleLost(supervisor: ModuleSupervisor, cause: LossCause, detail: string, activity: RecentActivity | null): void {
    const module = supervisor.name;
    this.#talk.ended(module);
    this.#standbys.gone(module);
    if (cause === "crashed") this.#certification.lookSoon();
    if (supervisor.module.kind === "management") endFrontOf(this.#paths, module);
    const severity = cause === "drill" ? "info" : "warning";
    this.#events.add(severity, "MODULE_ENDED", `The process of ${module} is gone: ${detail}.`, { module, data: { cause, ...activity } });
  }

  #moduleBroken(supervisor: ModuleSupervisor): void {
    const module = supervisor.name;
    const { count, windowHours } = this.#plan.faultThreshold;
    const text = `${module} reached its fault threshold (${count} in ${windowHours} h) and stays out: \`steadfast clear ${module}\` brings it back.`;
    this.#events.add("error", "MODULE_BROKEN", text, { module });
    this.#expect(module, false);
  }

  #moduleConnected(module: string): void {
    if (!this.#ioNames.includes(module)) return;
    this.#links?.send(module, { kind: "follow" });
    for (const order of standingOrders(this.#plan, this.#supervisors)) this.#links?.send(module, order);
    if (module !== this.#io.active) return;
    if (this.#guest.state === "off" && !this.changes.ownsPower) this.#guest.booting();
    this.#verify.repeat();
    this.#recordings.connected();
  }

  #moduleDisconnected(module: string): void {
    this.#talk.gone(module);
    this.#standbys.gone(module);
    this.#supervisor(module).look();
  }

  #moduleSaid(module: string, message: ParsedControl, incarnation: number): void {
    const supervisor = this.#supervisor(module);
    supervisor.noteAlive();
    switch (supervisor.module.kind) {
      case "cpu":
        return this.#talk.cpuSaid(module, message);
      case "io":
        if (!this.#stopping) this.#talk.ioSaid(module, message, incarnation);
        return;
      case "management":
        if (message.kind !== "standby") return;
        this.#standbys.heard(module);
        return supervisor.noteLockstep();
    }
  }

  /** Tells the stand-bys that we lead, and looks after processes that are no children of ours. */
  #turn(): void {
    for (const { name, module } of this.#supervisors) if (module.kind === "management") this.#links?.send(name, { kind: "lead" });
    this.#standbys.turn();
    for (const supervisor of this.#supervisors) supervisor.look();
  }

  #check(): void {
    for (const supervisor of this.#supervisors) supervisor.check(Date.now());
    // What the I/O modules counted.
    this.#save();
  }

  // What is written down.

  #save(): void {
    if (this.#stopping) return;
    const made = this.#madeRecord();
    const text = JSON.stringify(made);
    if (text === this.#saved) return;
    writeJsonFile(this.#paths.madeFile, made);
    this.#saved = text;
  }

  #madeRecord(): MadeRecord {
    const processes = this.#supervisors.filter((each) => each.name !== this.#name).flatMap((each) => each.process ?? []);
    const state: LeaderState = {
      modules: Object.fromEntries(this.#supervisors.map((each) => [each.name, each.record])),
      network: this.#network,
      epochNs: String(this.#epochNs),
      startedAtMs: this.#startedAtMs,
      guest: this.#guest.record,
      agentOldestId: this.agent.oldestId,
      io: this.#io.record,
      ...this.#talk.record,
      isRecording: this.#recordings.isUnderWay,
      stopAtMs: this.#stopAtMs,
    };
    return {
      server: this.#plan.server,
      ...madeOnHost(this.#plan, this.#ioNames),
      management: recordProcess(this.#name, process.pid),
      processes,
      state,
    };
  }

  // The end.

  /** Also when another one leads by then. */
  #stopAfter(delayMs: number): void {
    this.#stopAtMs = Date.now() + delayMs;
    this.#save();
    this.#graceTimer = setTimeout(() => void this.#stop("by the operator"), delayMs);
  }

  async #stop(why: string): Promise<void> {
    if (this.#stopping) return;
    // Written down first: whoever takes the lead from here on stops the server too.
    this.#stopAtMs = Math.min(this.#stopAtMs ?? Infinity, Date.now());
    this.#save();
    this.#stopping = true;
    if (this.#graceTimer !== null) clearTimeout(this.#graceTimer);
    for (const timer of this.#timers) clearInterval(timer);
    this.#guest.close();
    this.#certification.close();
    this.agent.lost("the server stops");
    await this.changes.end();
    await endModules(
      this.#supervisors.filter((each) => each.name !== this.#name),
      (module) => void this.#links?.send(module, { kind: "shutdown" }),
    );
    this.#links?.close();
    this.#events.add("info", LAST_EVENT, `Server ${this.#plan.server} was stopped ${why}.`);
    this.#console.close();
    await this.#removeEverything();
    process.exit(0);
  }

  /** The one that led died while it stopped the server. */
  async #finishStop(former: string): Promise<never> {
    await this.changes.end();
    await cleanUpServer(this.#plan.server, this.#paths);
    const why = `by the operator; ${this.#name} finished it, since ${former} ended meanwhile`;
    this.#events.add("info", LAST_EVENT, `Server ${this.#plan.server} was stopped ${why}.`);
    rmSync(this.#paths.runDirectory, { recursive: true, force: true });
    process.exit(0);
  }

  async #removeEverything(): Promise<void> {
    await tearDownNetwork(this.#plan, this.#network, this.#ioNames);
    await this.#api?.close();
    for (const { name, module } of this.#supervisors) if (module.kind === "management") endFrontOf(this.#paths, name);
    rmSync(this.#paths.runDirectory, { recursive: true, force: true });
  }
}
