/**
 * The management module: starts the other modules, watches and restarts them, carries out what the vote and the operator ask for, and
 * tells the outside how things are. The guest does not depend on it: without management the modules serve on, unwatched.
 */
import { createHash } from "node:crypto";
import { closeSync, mkdirSync, rmSync, writeSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { assert } from "../foundation/assert.js";
import { SteadfastError } from "../foundation/errors.js";
import type { MiscompareReport } from "../lockstep/miscompare-report.js";
import { plannedDevices, setUpHostNetwork, tearDownHostNetwork, type HostNetwork } from "../ports/network-host.js";
import type { CpuToManagement, EventMessage, GuestHappening, ServerStatus } from "../wire/control.js";
import type { ModuleConfig } from "./config.js";
import { serveControlApi, type ControlApi, type ManagementActions, type VerifyAnswer } from "./management-api.js";
import { ConsoleHub } from "./management-console.js";
import { EventLog } from "./management-events.js";
import { drill, type FaultDetails, type FaultDone } from "./management-faults.js";
import { GuestWatch } from "./management-guest.js";
import { IoView } from "./management-io.js";
import { ManagementLinks, type ParsedControl } from "./management-links.js";
import { makeServerDirectories, serverPaths, type ServerPaths } from "./management-paths.js";
import {
  modulesInUse,
  JUDGE,
  MANAGEMENT_NAME,
  moduleConfigFor,
  plannedModules,
  readJsonFile,
  writeJsonFile,
  type ServerPlan,
} from "./management-plan.js";
import { RedundancyChange } from "./management-redundancy.js";
import { parseRedundancy, type PlannedRedundancy } from "./redundancy.js";
import type { LossCause } from "./management-policy.js";
import { cleanUpServer, recordProcess, waitUntilGone, type MadeRecord, type ProcessRecord } from "./management-process.js";
import { Recordings, type RecordingDone } from "./management-recordings.js";
import { headerFor, writeMiscompareReport } from "./management-reports.js";
import { inLockstep, makeReport, type ServerReport } from "./management-status.js";
import { boundLog, ModuleSupervisor } from "./management-supervisor.js";

/** Descriptor on which the starter waits for one line: what became of the start. */
export const STARTUP_DESCRIPTOR_VARIABLE = "STEADFAST_STARTUP_DESCRIPTOR";
const CHECK_EVERY_MS = 1000;
const VERIFY_LIMIT_MS = 60_000;
/** Between asking modules to end and ending them. */
const SHUTDOWN_GRACE_MS = 300;
const DOWN_GRACE_MAX_MS = 600_000;
const TERMINATION_GRACE_MS = 5000;

/** Runs until the server is stopped; then the process ends with exit code 0. */
export async function runManagement(config: ModuleConfig): Promise<void> {
  const paths = serverPaths(config.server);
  let lock: Server | null = null;
  try {
    const plan = readJsonFile<ServerPlan>(paths.planFile);
    if (plan === null || plan.server !== config.server) throw new SteadfastError("PLAN_MISSING", { path: paths.planFile });
    makeServerDirectories(paths);
    lock = await lockServer(paths.runDirectory);
    if (lock === null) throw new SteadfastError("SERVER_RUNNING", { server: config.server });
    const management = new Management(plan, paths, config.incarnation);
    await management.start();
    reportStartup({ ok: true });
  } catch (error) {
    lock?.close();
    reportStartup({ error: describeError(error) });
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exitCode = error instanceof SteadfastError ? error.exit : 1;
  }
}

function describeError(error: unknown): { code: string; message: string; exit: number } {
  if (error instanceof SteadfastError) return { code: error.code, message: error.message, exit: error.exit };
  return { code: "INTERNAL", message: error instanceof Error ? error.message : String(error), exit: 1 };
}

function reportStartup(value: unknown): void {
  const descriptor = Number(process.env[STARTUP_DESCRIPTOR_VARIABLE]);
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  delete process.env[STARTUP_DESCRIPTOR_VARIABLE];
  try {
    writeSync(descriptor, `${JSON.stringify(value)}\n`);
    closeSync(descriptor);
  } catch {
    // Whoever started us is gone; the server does not need it.
  }
}

/** Held as long as this process lives, however it ends. Null: somebody else has it. */
function lockServer(runDirectory: string): Promise<Server | null> {
  const name = `\0steadfast-server-${createHash("sha256").update(runDirectory).digest("hex").slice(0, 32)}`;
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(null));
    server.listen(name, () => resolve(server));
  });
}

type VerifyWaiter = { resolve(answer: VerifyAnswer): void; reject(error: Error): void };

class Management implements ManagementActions {
  /** Changes with the redundancy. */
  #plan: ServerPlan;
  readonly #paths: ServerPaths;
  readonly #incarnation: number;
  readonly #events: EventLog;
  readonly #console: ConsoleHub;
  readonly #recordings: Recordings;
  readonly #startedAtMs = Date.now();
  readonly #epochNs = BigInt(Date.now()) * 1_000_000n;
  readonly #supervisors: ModuleSupervisor[];
  readonly #cpuStatus = new Map<string, CpuToManagement>();
  /** Why the vote is about to have a module shot: told by the event that goes before. */
  readonly #verdicts = new Map<string, LossCause>();
  /** Made to compute wrongly by a drill: the next miscompare of theirs is no fault of their own. */
  readonly #drilled = new Set<string>();
  readonly #io: IoView;
  readonly #redundancy = new RedundancyChange({
    supervisor: (module) => this.#supervisor(module),
    expect: (module, present) => this.#expect(module, present),
    status: () => this.#io.status,
  });
  /** Name and incarnation of the I/O module whose configuration is in force; empty: none was yet. */
  #powerful = "";
  /** Name and incarnation of the I/O module that drives the guest; empty: it was not powered on yet. */
  #poweredOnBy = "";
  #verifyWaiters: VerifyWaiter[] = [];
  #network: HostNetwork | null = null;
  #guest = new GuestWatch("", () => undefined);
  #links: ManagementLinks | null = null;
  #api: ControlApi | null = null;
  #checkTimer: NodeJS.Timeout | null = null;
  #graceTimer: NodeJS.Timeout | null = null;
  #stopping = false;

  constructor(plan: ServerPlan, paths: ServerPaths, incarnation: number) {
    this.#plan = plan;
    this.#paths = paths;
    this.#incarnation = incarnation;
    this.#events = new EventLog(paths.eventsFile);
    this.#console = new ConsoleHub(
      (bytes) => this.#links?.send(this.#ioName, { kind: "console", base64: bytes.toString("base64") }),
      () => this.#guest.ready(),
    );
    this.#recordings = new Recordings(
      paths,
      (seq) => headerFor(this.#judgeConfig(), seq),
      (message) => this.#links?.send(this.#ioName, message) === true,
    );
    const hooks = {
      configure: (module: Parameters<typeof moduleConfigFor>[1], number: number): ModuleConfig => {
        return moduleConfigFor({ plan: this.#plan, paths, network: this.#network, epochNs: this.#epochNs }, module, number);
      },
      changed: (supervisor: ModuleSupervisor) => this.#processesChanged(supervisor),
      lost: (supervisor: ModuleSupervisor, cause: LossCause, detail: string) => this.#moduleLost(supervisor, cause, detail),
      becameBroken: (supervisor: ModuleSupervisor) => this.#moduleBroken(supervisor),
    };
    this.#io = new IoView(plannedModules(plan).find((module) => module.kind === "io")?.name ?? "");
    this.#supervisors = [...plannedModules(plan), JUDGE].map(
      (module) => new ModuleSupervisor(module, plan.faultThreshold, paths.runDirectory, paths.logDirectory, hooks),
    );
  }

  get #ioName(): string {
    return this.#io.active;
  }

  get #ioNames(): string[] {
    return this.#supervisors.filter((each) => each.module.kind === "io").map((each) => each.name);
  }

  async start(): Promise<void> {
    const plan = this.#plan;
    const leftOver = await cleanUpServer(plan.server, this.#paths);
    writeJsonFile(this.#paths.planFile, plan);
    rmSync(this.#paths.arbiterDirectory, { recursive: true, force: true });
    mkdirSync(this.#paths.arbiterDirectory, { recursive: true, mode: 0o700 });
    this.#writeMade();
    try {
      if (plan.network.kind === "tap") {
        this.#network = await setUpHostNetwork({ server: plan.server, ...plan.network, ioModules: this.#ioNames });
      }
      this.#guest = new GuestWatch(this.#network?.guestAddress ?? "", (state) => this.#guestChanged(state));
      this.#api = await serveControlApi(this.#paths.controlSocket, this);
    } catch (error) {
      await this.#removeEverything();
      throw error;
    }
    if (leftOver)
      this.#events.add("warning", "LEFTOVERS_REMOVED", "What an earlier run of this server had left on the host was ended and removed.");
    this.#events.add("info", "SERVER_STARTED", `Server ${plan.server} starts in ${plan.redundancy}.`);
    const names = this.#supervisors.map((each) => each.name);
    const inUse = modulesInUse(plan);
    for (const each of this.#supervisors) if (!inUse.includes(each.name)) each.hold();
    for (const supervisor of this.#supervisors) supervisor.start();
    this.#links = new ManagementLinks(this.#paths.runDirectory, { name: MANAGEMENT_NAME, incarnation: this.#incarnation }, names, {
      connected: (module) => this.#moduleConnected(module),
      message: (module, message) => this.#moduleSaid(module, message),
      disconnected: (module) => this.#moduleDisconnected(module),
    });
    this.#checkTimer = setInterval(() => this.#check(), CHECK_EVERY_MS);
    for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, () => this.down(TERMINATION_GRACE_MS));
    process.on("SIGHUP", () => undefined);
  }

  // What the operator asks for.

  report(): ServerReport {
    return makeReport({
      plan: this.#plan,
      address: this.#network?.guestAddress ?? "",
      guest: this.#guest.state,
      startedAtMs: this.#startedAtMs,
      lastEventId: this.#events.lastId,
      supervisors: this.#supervisors,
      io: this.#io.status,
      activeIo: this.#ioName,
      counters: this.#io.counters,
      cpu: this.#cpuStatus,
      managementIncarnation: this.#incarnation,
    });
  }

  eventsSince(since: number): ReturnType<EventLog["since"]> {
    return this.#events.since(since);
  }

  followEvents(listener: Parameters<EventLog["follow"]>[0]): () => void {
    return this.#events.follow(listener);
  }

  pull(module: string, force: boolean): void {
    const supervisor = this.#find(module);
    if (supervisor.presence === "held") return;
    const safe = this.report().modules.find((each) => each.name === module)?.safeToPull === true;
    if (!safe && !force) throw new SteadfastError("NOT_SAFE_TO_PULL", { module });
    this.#events.add("warning", "MODULE_PULLED", `${module} was pulled by the operator and is held out.`, { module });
    this.#expect(module, false);
    supervisor.hold();
  }

  insert(module: string): void {
    const supervisor = this.#find(module);
    if (supervisor.presence === "broken") throw new SteadfastError("MODULE_BROKEN", { module });
    if (supervisor.presence === "present") return;
    this.#events.add("info", "MODULE_INSERTED", `${module} was inserted by the operator.`, { module });
    this.#expect(module, true);
    supervisor.insert();
  }

  clear(module: string): void {
    const supervisor = this.#find(module);
    this.#events.add("info", "MODULE_CLEARED", `The faults of ${module} were cleared by the operator.`, { module });
    if (supervisor.presence === "broken") this.#expect(module, true);
    supervisor.clear();
  }

  fault(kind: string, module: string, details: FaultDetails): FaultDone {
    const supervisor = this.#find(module);
    const done = drill(kind, details, this.#plan.memoryMiB, {
      hang: () => supervisor.hang(),
      kill: () => supervisor.kill("drill"),
      tell: (message) => this.#links?.send(supervisor.name, message) === true,
    });
    if (done === null) throw new SteadfastError("MODULE_NOT_RUNNING", { module });
    if (kind !== "hang" && kind !== "kill") this.#drilled.add(module);
    this.#events.add("info", "FAULT_DRILL", `Drill: ${kind} ${module}.`, { module, data: { kind, ...done } });
    return done;
  }

  setRedundancy(text: string): PlannedRedundancy {
    const to = parseRedundancy(text);
    if (to === null) throw new SteadfastError("REDUNDANCY_UNKNOWN", { redundancy: text });
    const from = this.#plan.redundancy;
    if (to === from) return to;
    this.#redundancy.change(from, to);
    this.#plan = { ...this.#plan, redundancy: to };
    writeJsonFile(this.#paths.planFile, this.#plan);
    this.#events.add("info", "REDUNDANCY_CHANGED", `The redundancy was changed from ${from} to ${to} by the operator.`, {
      data: { from, to },
    });
    return to;
  }

  power(action: string): void {
    if (action !== "off" && action !== "reset") throw new SteadfastError("POWER_ACTION_UNKNOWN", { action });
    const sent = this.#links?.send(this.#ioName, action === "off" ? { kind: "powerButton" } : { kind: "reset" });
    if (sent !== true) throw new SteadfastError("MODULE_NOT_RUNNING", { module: this.#ioName });
    this.#events.add("info", "POWER", action === "off" ? "The power button was pressed." : "The guest is power-cycled by the operator.");
  }

  verify(): Promise<VerifyAnswer> {
    return new Promise((resolve, reject) => {
      const waiter: VerifyWaiter = {
        resolve: (answer) => {
          clearTimeout(timer);
          resolve(answer);
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#verifyWaiters = this.#verifyWaiters.filter((each) => each !== waiter);
        reject(new SteadfastError("VERIFY_FAILED", { why: `no answer within ${VERIFY_LIMIT_MS / 1000} s` }));
      }, VERIFY_LIMIT_MS);
      this.#verifyWaiters.push(waiter);
      if (this.#verifyWaiters.length === 1 && this.#links?.send(this.#ioName, { kind: "verify" }) !== true) {
        this.#verified({ seq: 0, digests: {}, equal: false });
      }
    });
  }

  async startRecording(): Promise<number> {
    const seq = await this.#recordings.start();
    this.#events.add("info", "RECORDING_STARTED", `A recording begins after tick ${seq}.`, { data: { seq } });
    return seq;
  }

  async stopRecording(): Promise<RecordingDone> {
    const done = await this.#recordings.stop();
    this.#events.add("info", "RECORDING_ENDED", `A recording of ${done.ticks} ticks is in ${done.path}.`, { data: { ...done } });
    return done;
  }

  attachConsole(viewer: Parameters<ConsoleHub["attach"]>[0]): void {
    this.#console.attach(viewer);
  }

  down(graceMs: number): void {
    if (this.#stopping) return;
    const up = this.#guest.state === "ready" || this.#guest.state === "reachable";
    if (graceMs <= 0 || !up || this.#graceTimer !== null || this.#links?.send(this.#ioName, { kind: "powerButton" }) !== true) {
      // At the next turn, so that the caller still gets its answer.
      setImmediate(() => void this.#stop("by the operator"));
      return;
    }
    this.#events.add("info", "POWER", "The power button was pressed, because the server is to stop.");
    this.#graceTimer = setTimeout(() => void this.#stop("by the operator"), Math.min(graceMs, DOWN_GRACE_MAX_MS));
  }

  // What modules do and say.

  /** A module that an operator may name: those in use. */
  #find(module: string): ModuleSupervisor {
    const inUse = modulesInUse(this.#plan);
    const known = this.#supervisors.filter((each) => inUse.includes(each.name));
    const supervisor = known.find((each) => each.name === module);
    if (supervisor !== undefined) return supervisor;
    if (module === MANAGEMENT_NAME) throw new SteadfastError("MODULE_IS_MANAGEMENT", { module });
    const names = known.map((each) => each.name).join(", ");
    throw new SteadfastError("MODULE_UNKNOWN", { module: module === "" ? "(none)" : module, server: this.#plan.server, names });
  }

  #expect(module: string, present: boolean): void {
    for (const io of this.#ioNames) this.#links?.send(io, { kind: "expect", module, present });
  }

  #processesChanged(supervisor: ModuleSupervisor): void {
    if (supervisor.process === null) this.#cpuStatus.delete(supervisor.name);
    if (!this.#stopping) this.#writeMade();
  }

  #writeMade(): void {
    const processes = this.#supervisors.map((each) => each.process).filter((each): each is ProcessRecord => each !== null);
    const tap = this.#plan.network.kind === "tap";
    const made: MadeRecord = {
      server: this.#plan.server,
      bridge: tap ? this.#plan.network.bridge : "",
      devices: tap ? Object.values(plannedDevices(this.#plan.server, this.#ioNames)) : [],
      management: recordProcess(MANAGEMENT_NAME, process.pid),
      processes,
    };
    writeJsonFile(this.#paths.madeFile, made);
  }

  #moduleLost(supervisor: ModuleSupervisor, cause: LossCause, detail: string): void {
    const module = supervisor.name;
    this.#io.gone(module);
    this.#verdicts.delete(module);
    const severity = cause === "drill" ? "info" : "warning";
    this.#events.add(severity, "MODULE_ENDED", `The process of ${module} is gone: ${detail}.`, { module, data: { cause } });
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
    for (const each of this.#supervisors) if (each.presence !== "present") this.#expect(each.name, false);
    if (module !== this.#ioName) return;
    if (this.#guest.state === "off") this.#guest.booting();
    if (this.#verifyWaiters.length > 0) this.#links?.send(this.#ioName, { kind: "verify" });
  }

  #moduleDisconnected(module: string): void {
    this.#io.gone(module);
    this.#cpuStatus.delete(module);
  }

  #moduleSaid(module: string, message: ParsedControl): void {
    this.#supervisors.find((each) => each.name === module)?.noteAlive();
    if (!this.#ioNames.includes(module)) {
      if (message.kind === "status") this.#cpuStatus.set(module, message as unknown as CpuToManagement);
      else if (message.kind === "event") this.#events.relay(message as unknown as EventMessage);
      return;
    }
    if (this.#stopping) return;
    if (message.kind === "status") return this.#ioReported(module, message["status"] as ServerStatus);
    if (message.kind === "event") return this.#ioEvent(module, message as unknown as EventMessage);
    // One that was overtaken may not know it yet.
    if (module === this.#ioName) this.#activeSaid(message);
  }

  #activeSaid(message: ParsedControl): void {
    switch (message.kind) {
      case "shoot":
        return this.#shoot(String(message["module"]), String(message["why"]));
      case "recordingStarted":
      case "recordingEnded":
        return this.#recordings.message(message);
      case "judge":
        if (message["wanted"] === true) this.#supervisor(JUDGE.name).insert();
        else this.#supervisor(JUDGE.name).hold();
        return;
      case "report":
        return void this.#keepReport(message["report"] as MiscompareReport, String(message["course"]));
      case "console":
        return this.#console.print(Buffer.from(String(message["base64"]), "base64"));
      case "guest":
        return this.#guestDid(message["what"] as GuestHappening, message["failure"] === true);
      case "verified": {
        const digests = message["digests"] as VerifyAnswer["digests"];
        const values = Object.values(digests);
        const equal = values.length >= 2 && values.every((value) => value === values[0]);
        return this.#verified({ seq: Number(message["seq"]), digests, equal });
      }
    }
  }

  #supervisor(name: string): ModuleSupervisor {
    const found = this.#supervisors.find((each) => each.name === name);
    assert(found !== undefined, "every slot has a supervisor");
    return found;
  }

  /** The machine of this server, as whoever runs it again needs it. */
  #judgeConfig(): ModuleConfig {
    return moduleConfigFor({ plan: this.#plan, paths: this.#paths, network: this.#network, epochNs: this.#epochNs }, JUDGE, 1);
  }

  async #keepReport(report: MiscompareReport, coursePath: string): Promise<void> {
    try {
      const path = await writeMiscompareReport(this.#paths, this.#judgeConfig(), report, coursePath);
      const where =
        path === null ? "only in this event: there was no checkpoint to run it from" : `in ${path}; \`steadfast replay\` runs it again`;
      const text = `The report of the miscompare at tick ${report.seq} is ${where}.`;
      this.#events.add("info", "MISCOMPARE_REPORT", text, { data: { path, ...report } });
    } catch (error) {
      const text = `The report of the miscompare at tick ${report.seq} could not be written: ${(error as Error).message}.`;
      this.#events.add("warning", "MISCOMPARE_REPORT_FAILED", text, { data: { ...report } });
    }
  }

  #ioReported(module: string, status: ServerStatus): void {
    if (!this.#io.reported(module, status)) return;
    this.#redundancy.reported(status);
    for (const supervisor of this.#supervisors) {
      if (supervisor.presence === "present" && inLockstep(status.modules[supervisor.name]?.state)) supervisor.noteLockstep();
    }
  }

  #ioEvent(module: string, event: EventMessage): void {
    if (event.code === "IO_TAKEOVER" || event.code === "RESUMED") this.#io.takesOver(module);
    if (event.code === "IO_TAKEOVER" && this.#verifyWaiters.length > 0) this.#verified({ seq: 0, digests: {}, equal: false });
    if (event.module !== undefined && (event.code.startsWith("MISCOMPARE") || event.code === "MEMORY_DAMAGED"))
      this.#verdicts.set(event.module, "miscompared");
    if (event.module !== undefined && event.code === "MODULE_HUNG") this.#verdicts.set(event.module, "hung");
    if (event.code === "CONFIGURATION") this.#inPower(module);
    // A guest that was taken over alive is the new I/O module's own from here on.
    if (event.code === "RESUMED") this.#poweredOnBy = this.#ioIncarnation(module);
    this.#events.relay(event);
    // It lost a claim, or CPU modules follow a later configuration: a new incarnation finds out what is in force, and takes over.
    if (event.code === "FENCED") this.#supervisor(module).kill("abandoned");
  }

  #shoot(module: string, why: string): void {
    const supervisor = this.#supervisors.find((each) => each.name === module);
    if (supervisor === undefined) return;
    this.#events.add("warning", "MODULE_SHOT", `${module} is ended and replaced: ${why}.`, { module });
    const verdict = this.#verdicts.get(module) ?? "abandoned";
    supervisor.kill(verdict === "miscompared" && this.#drilled.delete(module) ? "drill" : verdict);
  }

  /** Its configuration is in force. Whoever was in power before hangs, or is about to find out: it is replaced at once. */
  #inPower(module: string): void {
    const former = this.#supervisors.find((each) => `${each.name}#${each.incarnation}` === this.#powerful);
    this.#powerful = this.#ioIncarnation(module);
    if (former !== undefined && former.name !== module) former.kill("hung");
  }

  #ioIncarnation(module: string): string {
    return `${module}#${this.#supervisor(module).incarnation}`;
  }

  /** A guest that a new I/O module had to power on again was lost with the old one. */
  #guestPoweredOn(): void {
    const incarnation = this.#ioIncarnation(this.#ioName);
    if (this.#poweredOnBy !== "" && this.#poweredOnBy !== incarnation) {
      this.#io.countOutage();
      const text = "The guest was lost together with the I/O module that drove it, and was started again.";
      this.#events.add("error", "OUTAGE", text, { module: this.#ioName });
    }
    this.#poweredOnBy = incarnation;
  }

  #guestDid(what: GuestHappening, failure: boolean): void {
    if (what === "poweredOff") {
      this.#guest.off();
      this.#events.add(failure ? "warning" : "info", "GUEST_POWERED_OFF", "The guest powered itself off; the server stops.");
      void this.#stop("because the guest powered itself off");
      return;
    }
    if (what === "poweredOn") this.#guestPoweredOn();
    this.#guest.booting();
  }

  #guestChanged(state: string): void {
    if (state === "ready") this.#events.add("info", "GUEST_READY", "The guest's network and services are up.");
    if (state === "reachable") this.#events.add("info", "GUEST_REACHABLE", "The guest's network answers.");
  }

  #verified(answer: VerifyAnswer): void {
    const waiters = this.#verifyWaiters;
    this.#verifyWaiters = [];
    const nobody = Object.keys(answer.digests).length === 0;
    for (const waiter of waiters) {
      if (nobody) waiter.reject(new SteadfastError("VERIFY_FAILED", { why: "no CPU module could answer, or one was lost meanwhile" }));
      else waiter.resolve(answer);
    }
  }

  #check(): void {
    for (const supervisor of this.#supervisors) supervisor.check(Date.now());
    try {
      boundLog(`${this.#paths.logDirectory}/${MANAGEMENT_NAME}.log`);
    } catch {
      // Its log is not worth management's life.
    }
  }

  // The end.

  async #stop(why: string): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    if (this.#graceTimer !== null) clearTimeout(this.#graceTimer);
    if (this.#checkTimer !== null) clearInterval(this.#checkTimer);
    this.#guest.close();
    for (const supervisor of this.#supervisors) supervisor.end();
    const processes = this.#supervisors.map((each) => each.process).filter((each): each is ProcessRecord => each !== null);
    for (const { name } of processes) this.#links?.send(name, { kind: "shutdown" });
    await waitUntilGone(processes, SHUTDOWN_GRACE_MS);
    for (const supervisor of this.#supervisors) supervisor.kill("drill");
    await waitUntilGone(processes);
    this.#links?.close();
    this.#events.add("info", "SERVER_STOPPED", `Server ${this.#plan.server} was stopped ${why}.`);
    this.#console.close();
    await this.#removeEverything();
    process.exit(0);
  }

  async #removeEverything(): Promise<void> {
    const { server, network } = this.#plan;
    if (network.kind === "tap") {
      const devices = this.#network === null ? [] : Object.values(plannedDevices(server, this.#ioNames));
      await tearDownHostNetwork(server, network.bridge, devices);
    }
    await this.#api?.close();
    rmSync(this.#paths.runDirectory, { recursive: true, force: true });
  }
}
