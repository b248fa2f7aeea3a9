/** What `status --json` shows: the I/O module's view of the lockstep, completed with what only management knows. */
import type {
  CpuToManagement,
  ModuleKind,
  ModuleState,
  ModuleStatus,
  Redundancy,
  ReintegrationProgress,
  ServerCounters,
  ServerStatus,
} from "../wire/control.js";
import { MANAGEMENT_NAME, modulesInUse, type ServerPlan } from "./management-plan.js";
import { residentBytesOf } from "./management-process.js";
import { fullRedundancy } from "./redundancy.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

/** How far the guest's own software is: `reachable`, its network answers; `ready`, our init reported that the services are up. */
export type GuestState = "off" | "booting" | "reachable" | "ready";

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
}

export interface ServerReport {
  readonly server: string;
  readonly redundancy: Redundancy;
  /** What `redundancy` is when all modules are well. */
  readonly wantedRedundancy: Redundancy;
  readonly guest: GuestState;
  readonly configuration: number;
  readonly seq: number;
  readonly committed: number;
  readonly guestTimeMs: number;
  /** The guest's address; empty without a network. */
  readonly address: string;
  readonly hostAddress: string;
  readonly bridge: string;
  readonly image: { readonly name: string; readonly digest: string; readonly kernel: string; readonly kernelRelease: string };
  readonly engine: string;
  readonly memoryMiB: number;
  readonly release: string;
  readonly lagLimitMs: number;
  readonly uptimeMs: number;
  readonly mips: number;
  readonly counters: ServerCounters;
  readonly lastEventId: number;
  readonly modules: readonly ModuleReport[];
}

export interface ReportSources {
  readonly plan: ServerPlan;
  readonly address: string;
  readonly guest: GuestState;
  readonly startedAtMs: number;
  readonly lastEventId: number;
  readonly supervisors: readonly ModuleSupervisor[];
  /** Of the active I/O module; null: it is not connected. */
  readonly io: ServerStatus | null;
  /** Its name, as far as is known. */
  readonly activeIo: string;
  readonly counters: ServerCounters;
  readonly cpu: ReadonlyMap<string, CpuToManagement>;
  readonly managementIncarnation: number;
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

function moduleState(supervisor: ModuleSupervisor, io: ServerStatus | null): ModuleState {
  if (supervisor.presence === "broken") return "BROKEN";
  if (supervisor.presence === "held") return "OFFLINE";
  if (supervisor.process === null) return "OFFLINE";
  const state = viewOf(supervisor, io)?.state ?? "INITIALIZING";
  // An I/O module that the active one does not hear yet is on its way, as long as it has a process.
  return state === "OFFLINE" && supervisor.module.kind === "io" ? "INITIALIZING" : state;
}

function reportModule(supervisor: ModuleSupervisor, sources: ReportSources): ModuleReport {
  const { module, process, faults, incarnation, presence } = supervisor;
  const state = moduleState(supervisor, sources.io);
  const view = presence === "present" ? viewOf(supervisor, sources.io) : undefined;
  const own = sources.cpu.get(module.name);
  return {
    name: module.name,
    kind: module.kind,
    enclosure: module.enclosure,
    pid: process?.pid ?? 0,
    state,
    // Nothing is lost with a module that is out anyway; whatever we do not know is not safe.
    safeToPull: view?.safeToPull ?? presence !== "present",
    held: presence === "held",
    ...(module.kind === "io" && { isActive: module.name === sources.activeIo && sources.io !== null }),
    incarnation,
    faults: faults.total,
    lagTicks: view?.lagTicks ?? 0,
    rssBytes: process === null ? 0 : residentBytesOf(process.pid),
    ...(view?.progress && { progress: view.progress }),
    ...(own && process !== null && { mips: own.mips, load: own.load }),
  };
}

/** The I/O module's word, unless a module is gone that it had not missed yet when it spoke. */
function redundancyNow(sources: ReportSources): Redundancy {
  const { plan, io, supervisors } = sources;
  if (io === null) return "OUTAGE";
  const inUse = supervisors.filter((each) => modulesInUse(plan).includes(each.name));
  const isWhole = inUse.every((each) => inLockstep(moduleState(each, io)));
  if (isWhole || io.redundancy !== fullRedundancy(plan.redundancy)) return io.redundancy;
  return io.redundancy === "DUPLEX" || io.redundancy === "SIMPLEX" ? "SIMPLEX" : "DUPLEX";
}

/** The judge is there only while it is needed, and empty slots are not shown. */
function isShown(supervisor: ModuleSupervisor, plan: ServerPlan): boolean {
  return supervisor.process !== null || modulesInUse(plan).includes(supervisor.name);
}

export function makeReport(sources: ReportSources): ServerReport {
  const { plan, io } = sources;
  const management: ModuleReport = {
    name: MANAGEMENT_NAME,
    kind: "management",
    enclosure: "enclosure0",
    pid: process.pid,
    state: "SIMPLEX",
    safeToPull: false,
    held: false,
    incarnation: sources.managementIncarnation,
    faults: 0,
    lagTicks: 0,
    rssBytes: residentBytesOf(process.pid),
  };
  return {
    server: plan.server,
    redundancy: redundancyNow(sources),
    wantedRedundancy: fullRedundancy(plan.redundancy),
    guest: sources.guest,
    configuration: io?.configuration ?? 0,
    seq: io?.seq ?? 0,
    committed: io?.committed ?? 0,
    guestTimeMs: io === null ? 0 : Number(BigInt(io.guestTimeNs) / 1_000_000n),
    address: sources.address,
    hostAddress: plan.network.kind === "tap" ? (plan.network.hostAddress.split("/")[0] ?? "") : "",
    bridge: plan.network.kind === "tap" ? plan.network.bridge : "",
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
    lastEventId: sources.lastEventId,
    modules: [...sources.supervisors.filter((each) => isShown(each, plan)).map((each) => reportModule(each, sources)), management],
  };
}
