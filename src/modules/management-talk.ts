/**
 * What the modules say to the leading management module, and what follows: events into the log, modules shot, the judge started, the
 * guest's state. Messages that a former leader acted on are told apart by their numbers.
 */
import type { MiscompareReport } from "../lockstep/miscompare-report.js";
import type { CpuToManagement, EventMessage, GuestHappening, ManagementToIo, ServerStatus } from "../wire/control.js";
import type { ModuleConfig } from "./config.js";
import { growFileSystem, isGrowthOwed } from "./file-system-growth.js";
import type { AgentLink } from "./management-agent.js";
import type { Changes } from "./management-changes.js";
import type { ConsoleHub } from "./management-console.js";
import type { EventLog } from "./management-events.js";
import type { GuestWatch } from "./management-guest.js";
import type { IoView } from "./management-io.js";
import type { ParsedControl } from "./management-links.js";
import type { ServerPaths } from "./management-paths.js";
import { JUDGE } from "./management-plan.js";
import type { LossCause } from "./management-policy.js";
import type { Recordings } from "./management-recordings.js";
import type { RedundancyChange } from "./management-redundancy.js";
import { writeMiscompareReport } from "./management-reports.js";
import type { LeaderState } from "./management-state.js";
import { inLockstep } from "./management-status.js";
import type { ModuleSupervisor } from "./management-supervisor.js";
import type { VerifyRequests } from "./management-verify.js";

export interface TalkContext {
  readonly paths: ServerPaths;
  readonly events: EventLog;
  readonly console: ConsoleHub;
  readonly agent: AgentLink;
  readonly changes: Changes;
  readonly io: IoView;
  readonly recordings: Recordings;
  readonly redundancy: RedundancyChange;
  readonly verify: VerifyRequests;
  readonly guest: GuestWatch;
  supervisor(module: string): ModuleSupervisor;
  supervisors(): readonly ModuleSupervisor[];
  /** The machine of this server, as whoever runs it again needs it. */
  judgeConfig(): ModuleConfig;
  toActiveIo(message: ManagementToIo): boolean;
  save(): void;
  stop(why: string): void;
}

export class ModuleTalk {
  readonly #context: TalkContext;
  readonly #cpuStatus = new Map<string, CpuToManagement>();
  /** Why the vote is about to have a module shot: told by the event that goes before. */
  readonly #verdicts = new Map<string, LossCause>();
  /** Made to compute wrongly by a drill: the next miscompare of theirs is no fault of their own. */
  readonly #drilled = new Set<string>();
  /** Number of the last message heard, by I/O module and incarnation. */
  readonly #heard = new Map<string, number>();
  /** Of the last one that a former leader acted on. */
  readonly #inherited = new Map<string, number>();
  #powerful = "";
  #poweredOnBy = "";

  constructor(context: TalkContext) {
    this.#context = context;
  }

  get cpuStatus(): ReadonlyMap<string, CpuToManagement> {
    return this.#cpuStatus;
  }

  get record(): Pick<LeaderState, "powerful" | "poweredOnBy" | "drilled" | "heard"> {
    return {
      powerful: this.#powerful,
      poweredOnBy: this.#poweredOnBy,
      drilled: [...this.#drilled],
      heard: Object.fromEntries([...this.#inherited, ...this.#heard]),
    };
  }

  adopt(state: LeaderState): void {
    this.#powerful = state.powerful;
    this.#poweredOnBy = state.poweredOnBy;
    for (const module of state.drilled) this.#drilled.add(module);
    for (const [source, number] of Object.entries(state.heard)) this.#inherited.set(source, number);
    // The log is written at once, the state only after what matters.
    for (const [source, number] of this.#context.events.relayed())
      this.#inherited.set(source, Math.max(number, this.#inherited.get(source) ?? 0));
    // A former leader heard that the disk has grown, and was lost before the guest had answered.
    if (isGrowthOwed(this.#context.events.ofThisRun().map(({ code }) => code))) this.#diskGrew(true);
  }

  noteDrilled(module: string): void {
    this.#drilled.add(module);
  }

  /** Who is in power, and who powers the guest on next, begins anew; nothing was lost with those before. */
  startsAnew(): void {
    this.#powerful = "";
    this.#poweredOnBy = "";
  }

  /** A module's process or connection is gone. */
  gone(module: string): void {
    this.#context.io.gone(module);
    this.#cpuStatus.delete(module);
  }

  ended(module: string): void {
    this.gone(module);
    this.#verdicts.delete(module);
  }

  cpuSaid(module: string, message: ParsedControl): void {
    if (message.kind === "status") this.#cpuStatus.set(module, message as unknown as CpuToManagement);
  }

  ioSaid(module: string, message: ParsedControl, incarnation: number): void {
    if (message.kind === "status") return this.#ioReported(module, message["status"] as ServerStatus);
    const source = `${module}#${incarnation}`;
    const number = Number(message["number"]);
    if (number <= (this.#heard.get(source) ?? 0)) return;
    this.#heard.set(source, number);
    if (number <= (this.#inherited.get(source) ?? 0)) return this.#passOver(module, message);
    if (message.kind === "event") return this.#ioEvent(module, message as unknown as EventMessage, { incarnation: source, number });
    // One that was overtaken may not know it yet.
    if (module !== this.#context.io.active) return;
    this.#activeSaid(message);
    // Console output only feeds the viewers; what the agent's heart says is written down by whoever watches it.
    if (message.kind !== "console" && message.kind !== "agent") this.#context.save();
  }

  /** A former leader acted on this; what it leads up to may still be to come. */
  #passOver(module: string, message: ParsedControl): void {
    if (message.kind === "event") this.#noteVerdict(message as unknown as EventMessage);
    // Whoever says so is still there.
    if (message.kind === "event" && message["code"] === "FENCED") this.#context.supervisor(module).kill("abandoned");
    else if (message.kind === "shoot") this.#verdicts.delete(String(message["module"]));
    else if (message.kind === "console") this.#context.console.remember(Buffer.from(String(message["base64"]), "base64"));
  }

  #activeSaid(message: ParsedControl): void {
    switch (message.kind) {
      case "shoot":
        return this.#shoot(String(message["module"]), String(message["why"]));
      case "recordingStarted":
      case "recordingEnded":
        return this.#context.recordings.message(message);
      case "judge":
        if (message["wanted"] === true) this.#context.supervisor(JUDGE.name).insert();
        else this.#context.supervisor(JUDGE.name).hold();
        return;
      case "report":
        return void this.#keepReport(message["report"] as MiscompareReport, String(message["course"]));
      case "console":
        this.#context.guest.heard();
        return this.#context.console.print(Buffer.from(String(message["base64"]), "base64"));
      case "agent":
        return this.#context.agent.heard(Buffer.from(String(message["base64"]), "base64"));
      case "guest":
        return this.#guestDid(message["what"] as GuestHappening, message["failure"] === true);
      case "verified":
        return this.#context.verify.answered(Number(message["seq"]), message["digests"] as Readonly<Record<string, string>>);
    }
  }

  async #keepReport(report: MiscompareReport, coursePath: string): Promise<void> {
    const { events, paths } = this.#context;
    try {
      const path = await writeMiscompareReport(paths, this.#context.judgeConfig(), report, coursePath);
      const where =
        path === null ? "only in this event: there was no checkpoint to run it from" : `in ${path}; \`steadfast replay\` runs it again`;
      const text = `The report of the miscompare at tick ${report.seq} is ${where}.`;
      events.add("info", "MISCOMPARE_REPORT", text, { data: { path, ...report } });
    } catch (error) {
      const text = `The report of the miscompare at tick ${report.seq} could not be written: ${(error as Error).message}.`;
      events.add("warning", "MISCOMPARE_REPORT_FAILED", text, { data: { ...report } });
    }
  }

  #ioReported(module: string, status: ServerStatus): void {
    if (!this.#context.io.reported(module, status)) return;
    this.#context.redundancy.reported(status);
    for (const supervisor of this.#context.supervisors()) {
      if (supervisor.presence === "present" && inLockstep(status.modules[supervisor.name]?.state)) supervisor.noteLockstep();
    }
  }

  #noteVerdict(event: EventMessage): void {
    if (event.module === undefined) return;
    if (event.code.startsWith("MISCOMPARE") || event.code === "MEMORY_DAMAGED") this.#verdicts.set(event.module, "miscompared");
    if (event.code === "MODULE_HUNG") this.#verdicts.set(event.module, "hung");
  }

  #ioEvent(module: string, event: EventMessage, from: { readonly incarnation: string; readonly number: number }): void {
    if (event.code === "IO_TAKEOVER" || event.code === "RESUMED") this.#context.io.takesOver(module);
    if (event.code === "RESUMED") this.#context.agent.repeat();
    if (event.code === "IO_TAKEOVER") this.#context.verify.nobody();
    this.#noteVerdict(event);
    if (event.code === "CONFIGURATION") this.#inPower(module, from.incarnation);
    this.#context.events.relay(event, from);
    if (event.code === "GUEST_PANIC") this.#context.guest.panicked();
    if (event.code === "DISK_GROWN") this.#diskGrew(false);
    // A guest that was taken over alive is the new I/O module's own from here on.
    if (event.code === "RESUMED") this.#poweredOnBy = from.incarnation;
    if (event.code === "IO_TAKEOVER" || event.code === "RESUMED" || event.code === "CONFIGURATION") this.#context.save();
    // It lost a claim, or CPU modules follow a later configuration: a new incarnation finds out what is in force, and takes over.
    if (event.code === "FENCED") this.#context.supervisor(module).kill("abandoned");
  }

  #diskGrew(mayBeGrown: boolean): void {
    const { agent, events } = this.#context;
    void growFileSystem(
      (request) => agent.request(request),
      (severity, code, text) => events.add(severity, code, text),
      mayBeGrown,
    );
  }

  /** Its configuration is in force. Whoever was in power before hangs, or is about to find out: it is replaced at once. */
  #inPower(module: string, incarnation: string): void {
    const former = this.#context.supervisors().find((each) => `${each.name}#${each.incarnation}` === this.#powerful);
    this.#powerful = incarnation;
    if (former !== undefined && former.name !== module) former.kill("hung");
  }

  #shoot(module: string, why: string): void {
    const supervisor = this.#context.supervisors().find((each) => each.name === module);
    if (supervisor === undefined) return;
    this.#context.events.add("warning", "MODULE_SHOT", `${module} is ended and replaced: ${why}.`, { module });
    const verdict = this.#verdicts.get(module) ?? "abandoned";
    supervisor.kill(verdict === "miscompared" && this.#drilled.delete(module) ? "drill" : verdict);
  }

  /** A guest that a new I/O module had to power on again was lost with the old one. */
  #guestPoweredOn(): void {
    const { io, events } = this.#context;
    const incarnation = `${io.active}#${this.#context.supervisor(io.active).incarnation}`;
    if (this.#poweredOnBy !== "" && this.#poweredOnBy !== incarnation) {
      io.countOutage();
      const text = "The guest was lost together with the I/O module that drove it, and was started again.";
      events.add("error", "OUTAGE", text, { module: io.active });
    }
    this.#poweredOnBy = incarnation;
  }

  #guestDid(what: GuestHappening, failure: boolean): void {
    if (what === "poweredOff") {
      this.#context.guest.off();
      this.#context.agent.lost("the guest powered itself off");
      if (this.#context.changes.ownsPower) return;
      this.#context.events.add(failure ? "warning" : "info", "GUEST_POWERED_OFF", "The guest powered itself off; the server stops.");
      return this.#context.stop("because the guest powered itself off");
    }
    if (what === "poweredOn") this.#guestPoweredOn();
    // First: whoever waits for the agent then knows why it is gone.
    this.#context.changes.guestRestarted();
    this.#context.agent.lost("the guest was started anew");
    this.#context.guest.booting();
  }
}
