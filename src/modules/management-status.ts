/** What `status --json` shows: the I/O module's view of the lockstep, completed with what only management knows. */
import type {
  CpuToManagement,
  DiskStatus,
  ModuleKind,
  ModuleState,
  ModuleStatus,
  Redundancy,
  ReintegrationProgress,
  ServerCounters,
  ServerStatus,
} from "../wire/control.js";
import type { PlanStanding } from "../support/plan.js";
import type { Certification } from "../certification/standing.js";
import type { PublishedPort } from "../ports/published-port.js";
import type { UpgradeStanding } from "../view/upgrade.js";
import type { GuestFaults, ServiceState } from "./guest-health.js";
import type { FrontReport } from "./management-front.js";
import type { GuestWatch } from "./management-guest.js";
import type { NetworkConfig } from "./config.js";
import { modulesInUse, type ServerPlan } from "./management-plan.js";
import { residentBytesOf } from "./management-process.js";
import { fullRedundancy } from "./redundancy.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

/**
 * How far the guest's own software is: `reachable`, its network answers; `ready`, our init reported that the services are up. After
 * that: `degraded`, a service is down; `hung`, nothing answers.
 */
export type GuestState = "off" | "booting" | "reachable" | "ready" | "degraded" | "hung";

export interface ModuleReport {
  readonly name: string;
  readonly kind: ModuleKind;
  readonly enclosure: string;
  /** 0: no process. */
  readonly pid: number;
  readonly state: ModuleState;
  readonly safeToPull: boolean;
  /** Held out by `pull` until `insert`. */
  readonly held: boolean;
  /** Of I/O modules: whether this one drives the guest; the others stand by. */
  readonly isActive?: boolean;
  readonly incarnation: number;
  /** Losses since the last `clear`, without drills. */
  readonly faults: number;
  readonly lagTicks: number;
  readonly rssBytes: number;
  readonly progress?: ReintegrationProgress;
  readonly mips?: number;
  readonly load?: number;
  /** Guest instructions run since the process started. */
  readonly instructions?: number;
}

export interface EnclosureReport {
  readonly name: string;
  /** Every kind of module in it has another one elsewhere that carries on. */
  readonly safeToPull: boolean;
}

export interface ServerReport {
  readonly server: string;
  readonly redundancy: Redundancy;
  /** What `redundancy` is when all modules are well. */
  readonly wantedRedundancy: Redundancy;
  readonly guest: GuestState;
  /** Of the guest's services that can be asked. */
  readonly guestServices: Readonly<Record<string, ServiceState>>;
  /** Of the agent in the guest: how long ago it was heard, in guest time; null: not since the guest's start. */
  readonly guestHeartbeatAgeMs: number | null;
  /** Faults of the guest's own software, which no module is to blame for. */
  readonly guestFaults: GuestFaults;
  readonly configuration: number;
  readonly seq: number;
  readonly committed: number;
  readonly guestTimeMs: number;
  /** The guest's address; empty without one that this host can reach. */
  readonly address: string;
  readonly hostAddress: string;
  readonly network: NetworkConfig["kind"];
  readonly published: readonly PublishedPort[];
  readonly bridge: string;
  /** Whether the image is certified; null: the engine runs none, or it was not looked at yet. */
  readonly certification: Certification | null;
  /** The active upgrade under way; null: none is. */
  readonly upgrade: UpgradeStanding | null;
  readonly image: { readonly name: string; readonly digest: string; readonly kernel: string; readonly kernelRelease: string };
  readonly engine: string;
  readonly memoryMiB: number;
  readonly release: string;
  readonly lagLimitMs: number;
  readonly uptimeMs: number;
  readonly mips: number;
  readonly counters: ServerCounters;
  /** The guest's disk and its mirrors; null: it has none, or no I/O module drives it at this moment. */
  readonly disk: DiskStatus | null;
  /** What support and warranty it has; null: none. */
  readonly support: PlanStanding | null;
  readonly lastEventId: number;
  /** How the control API is reached over TLS; null: only over its Unix socket. */
  readonly front: FrontReport | null;
  readonly modules: readonly ModuleReport[];
  readonly enclosures: readonly EnclosureReport[];
}

/** There is a disk, and every I/O module has a mirror of it in sync. */
export function areMirrorsInSync({ disk, modules }: Pick<ServerReport, "disk" | "modules">): boolean {
  return disk !== null && modules.every(({ kind, name }) => kind !== "io" || disk.mirrors[name]?.state === "in sync");
}

/** Management modules that could carry on at this moment. */
export interface ManagementView {
  readonly leader: string;
  /** Stand-bys that answer. */
  readonly ready: readonly string[];
}

export interface ReportSources {
  readonly plan: ServerPlan;
  readonly address: string;
  readonly guest: GuestWatch;
  readonly certification: Certification | null;
  readonly upgrade: UpgradeStanding | null;
  readonly startedAtMs: number;
  readonly support: PlanStanding | null;
  readonly lastEventId: number;
  readonly supervisors: readonly ModuleSupervisor[];
  /** Of the active I/O module; null: it is not connected. */
  readonly io: ServerStatus | null;
  /** Its name, as far as is known. */
  readonly activeIo: string;
  readonly counters: ServerCounters;
  readonly cpu: ReadonlyMap<string, CpuToManagement>;
  readonly management: ManagementView;
  readonly front: FrontReport | null;
}

export const NO_COUNTERS: ServerCounters = {
  ticks: 0,
  miscompares: 0,
  lastAdjudicationMs: 0,
  checkpoints: 0,
  worstCheckpointHoldMs: 0,
  outages: 0,
  reintegrations: 0,
  lastHoldMs: 0,
  framesIn: 0,
  framesOut: 0,
  droppedFrames: 0,
  requests: 0,
  answerMs: 0,
};

export function addCounters(past: ServerCounters, now: ServerCounters): ServerCounters {
  return {
    ticks: past.ticks + now.ticks,
    miscompares: past.miscompares + now.miscompares,
    lastAdjudicationMs: now.lastAdjudicationMs > 0 ? now.lastAdjudicationMs : past.lastAdjudicationMs,
    checkpoints: past.checkpoints + now.checkpoints,
    worstCheckpointHoldMs: Math.max(past.worstCheckpointHoldMs, now.worstCheckpointHoldMs),
    outages: past.outages + now.outages,
    reintegrations: past.reintegrations + now.reintegrations,
    lastHoldMs: now.reintegrations > 0 ? now.lastHoldMs : past.lastHoldMs,
    framesIn: past.framesIn + now.framesIn,
    framesOut: past.framesOut + now.framesOut,
    droppedFrames: past.droppedFrames + now.droppedFrames,
    requests: past.requests + now.requests,
    answerMs: past.answerMs + now.answerMs,
  };
}

/** In lockstep, by state. */
export function inLockstep(state: ModuleState | undefined): boolean {
  return state === "SIMPLEX" || state === "DUPLEX" || state === "TRIPLEX";
}

/** What the active I/O module says of a module; undefined: it knows only its past. */
function viewOf(supervisor: ModuleSupervisor, io: ServerStatus | null): ModuleStatus | undefined {
  const view = io?.modules[supervisor.name];
  return view !== undefined && supervisor.process !== null && view.incarnation === supervisor.incarnation ? view : undefined;
}

/** The leading one and those that could take its place have lockstep's states, like the I/O modules. */
function managementState(name: string, { leader, ready }: ManagementView): ModuleState {
  if (name !== leader && !ready.includes(name)) return "INITIALIZING";
  return (["SIMPLEX", "DUPLEX", "TRIPLEX"] as const)[Math.min(ready.length, 2)] ?? "SIMPLEX";
}

function moduleState(supervisor: ModuleSupervisor, { io, management }: ReportSources): ModuleState {
  if (supervisor.presence === "broken") return "BROKEN";
  if (supervisor.presence === "held") return "OFFLINE";
  if (supervisor.process === null) return "OFFLINE";
  if (supervisor.module.kind === "management") return managementState(supervisor.name, management);
  const state = viewOf(supervisor, io)?.state ?? "INITIALIZING";
  // An I/O module that the active one does not hear yet is on its way, as long as it has a process.
  return state === "OFFLINE" && supervisor.module.kind === "io" ? "INITIALIZING" : state;
}

function isSafe(name: string, { leader, ready }: ManagementView): boolean {
  return name !== leader || ready.length > 0;
}

function reportModule(supervisor: ModuleSupervisor, sources: ReportSources): ModuleReport {
  const { module, process, faults, incarnation, presence } = supervisor;
  const state = moduleState(supervisor, sources);
  const view = presence === "present" ? viewOf(supervisor, sources.io) : undefined;
  const own = sources.cpu.get(module.name);
  return {
    name: module.name,
    kind: module.kind,
    enclosure: module.enclosure,
    pid: process?.pid ?? 0,
    state,
    // Nothing is lost with a module that is out anyway; whatever we do not know is not safe.
    safeToPull: module.kind === "management" ? isSafe(module.name, sources.management) : (view?.safeToPull ?? presence !== "present"),
    held: presence === "held",
    ...(module.kind === "io" && { isActive: module.name === sources.activeIo && sources.io !== null }),
    incarnation,
    faults: faults.total,
    lagTicks: view?.lagTicks ?? 0,
    rssBytes: process === null ? 0 : residentBytesOf(process.pid),
    ...(view?.progress && { progress: view.progress }),
    ...(own && process !== null && { mips: own.mips, load: own.load, instructions: own.instructions }),
  };
}

/** The I/O module's word, unless a module is gone that it had not missed yet when it spoke. */
function redundancyNow(sources: ReportSources): Redundancy {
  const { plan, io, supervisors } = sources;
  if (io === null) return "OUTAGE";
  const inUse = supervisors.filter((each) => modulesInUse(plan).includes(each.name));
  // Who supervises is no part of what protects the guest.
  const isWhole = inUse.every((each) => each.module.kind === "management" || inLockstep(moduleState(each, sources)));
  if (isWhole || io.redundancy !== fullRedundancy(plan.redundancy)) return io.redundancy;
  return io.redundancy === "DUPLEX" || io.redundancy === "SIMPLEX" ? "SIMPLEX" : "DUPLEX";
}

/** The judge is there only while it is needed, and empty slots are not shown. */
function isShown(supervisor: ModuleSupervisor, plan: ServerPlan): boolean {
  return supervisor.process !== null || modulesInUse(plan).includes(supervisor.name);
}

/** An enclosure may go if each kind of module that runs in it is in lockstep elsewhere too. */
function reportEnclosures(modules: readonly ModuleReport[]): EnclosureReport[] {
  return [...new Set(modules.map((module) => module.enclosure))].sort().map((name) => {
    const running = modules.filter((module) => module.enclosure === name && module.pid !== 0);
    const others = modules.filter((module) => module.enclosure !== name && inLockstep(module.state));
    return { name, safeToPull: running.every(({ kind }) => others.some((other) => other.kind === kind)) };
  });
}

export function makeReport(sources: ReportSources): ServerReport {
  const { plan, io } = sources;
  const modules = sources.supervisors.filter((each) => isShown(each, plan)).map((each) => reportModule(each, sources));
  return {
    server: plan.server,
    redundancy: redundancyNow(sources),
    wantedRedundancy: fullRedundancy(plan.redundancy),
    guest: sources.guest.state,
    guestServices: sources.guest.services,
    guestHeartbeatAgeMs: sources.guest.heartbeatAgeMs,
    guestFaults: sources.guest.faults,
    configuration: io?.configuration ?? 0,
    seq: io?.seq ?? 0,
    committed: io?.committed ?? 0,
    guestTimeMs: io === null ? 0 : Number(BigInt(io.guestTimeNs) / 1_000_000n),
    address: sources.address,
    hostAddress: plan.network.kind === "tap" ? (plan.network.hostAddress.split("/")[0] ?? "") : "",
    bridge: plan.network.kind === "tap" ? plan.network.bridge : "",
    network: plan.network.kind,
    published: plan.network.publish,
    certification: sources.certification,
    upgrade: sources.upgrade,
    image: {
      name: plan.image.name,
      digest: plan.image.digest,
      kernel: plan.image.kernelKind,
      kernelRelease: plan.image.kernelRelease,
    },
    engine: plan.engine,
    memoryMiB: plan.memoryMiB,
    release: plan.release,
    lagLimitMs: plan.lagLimitMs,
    uptimeMs: Date.now() - sources.startedAtMs,
    mips: io?.mips ?? 0,
    counters: sources.counters,
    disk: io?.disk ?? null,
    support: sources.support,
    lastEventId: sources.lastEventId,
    front: sources.front,
    modules,
    enclosures: reportEnclosures(modules),
  };
}
