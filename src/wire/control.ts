/**
 * What management says to the other modules and hears from them: JSON values in `control` frames (see messages.ts).
 * Rare by design: nothing in here is on the path of a tick.
 */
import type { Message } from "./messages.js";

/** Operational states of a module, by the field's names (DESIGN section 2). */
export type ModuleState = "EMPTY" | "INITIALIZING" | "DIAGNOSTICS" | "OFFLINE" | "SIMPLEX" | "DUPLEX" | "TRIPLEX" | "SHOT" | "BROKEN";

/** What a server as a whole can lose: OUTAGE, the guest runs nowhere. */
export type Redundancy = "OUTAGE" | "SIMPLEX" | "DUPLEX" | "TRIPLEX" | "PAIR_AND_SPARE";

export type ModuleKind = "cpu" | "io" | "management";

export type Severity = "info" | "warning" | "error";

/** How far a reintegration has come. */
export interface ReintegrationProgress {
  readonly phase: "copying" | "restoring" | "catchingUp";
  readonly donor: string;
  readonly pagesSent: number;
  readonly pagesRemaining: number;
  /** Ticks that the newcomer still has to run. */
  readonly ticksBehind: number;
}

export interface ModuleStatus {
  /** Which start of the module this is about; 0: it was never there. */
  readonly incarnation: number;
  readonly state: ModuleState;
  /** Another member in lockstep carries on when this one goes (never true for the only one). */
  readonly safeToPull: boolean;
  /** Ticks issued whose result of this module is not in. */
  readonly lagTicks: number;
  readonly progress?: ReintegrationProgress;
}

export interface ServerCounters {
  readonly ticks: number;
  readonly miscompares: number;
  /** How long the last adjudication with a third machine held the guest; 0: there was none. */
  readonly lastAdjudicationMs: number;
  /** Verified checkpoints. */
  readonly checkpoints: number;
  readonly worstCheckpointHoldMs: number;
  readonly outages: number;
  readonly reintegrations: number;
  /** How long the last exact image held the guest; 0 before the first one. */
  readonly lastHoldMs: number;
  readonly framesIn: number;
  readonly framesOut: number;
  /** Frames from the network that were not taken because the input queue was full. */
  readonly droppedFrames: number;
  /** To the guest that it answered, as the network shows them, and how long all those answers together took to begin. */
  readonly requests: number;
  readonly answerMs: number;
}

/** `active`: it sequences, or is about to. `fenced`: it was overtaken. */
export type IoRole = "active" | "standby" | "fenced";

export interface DiskCounters {
  reads: number;
  writes: number;
  flushes: number;
  /** Requests that ended in an I/O error. */
  errors: number;
  /** Bad blocks that reads of the guest met with. */
  badBlocks: number;
  scrubbedBlocks: number;
  repairedBlocks: number;
  /** Blocks without a good copy. */
  unrepairable: number;
  /** Blocks of mirrors in sync that had right checksums and were different. */
  differingBlocks: number;
  copiedBytes: number;
  resyncs: number;
}

export type MirrorState = "absent" | "waiting" | "resync" | "joining" | "in sync" | "failed";

export interface DiskStatus {
  readonly configuration: number;
  readonly sizeBytes: number;
  readonly mirrors: Readonly<Record<string, { readonly state: MirrorState; readonly faults: number }>>;
  /** Regions that the mirrors may disagree on since the last takeover or start. */
  readonly unsettledRegions: number;
  readonly resync: {
    readonly target: string;
    readonly isFull: boolean;
    readonly doneBytes: number;
    readonly totalBytes: number;
    readonly copiedBytes: number;
  } | null;
  /** How far the scrubber is on its way through; null: it pauses. */
  readonly scrubbedBytes: number | null;
  readonly counters: Readonly<DiskCounters>;
}

export interface ServerStatus {
  /** Number of the configuration in force; 0 before the first one. */
  readonly configuration: number;
  /** The last tick issued. */
  readonly seq: number;
  /** The last tick whose outputs took effect. */
  readonly committed: number;
  /** Guest time of the last committed tick, ns since the server's epoch, decimal. */
  readonly guestTimeNs: string;
  readonly redundancy: Redundancy;
  /** Of this I/O module: only the active one's view of the others counts. */
  readonly role: IoRole;
  /** CPU and I/O modules, by name. */
  readonly modules: Readonly<Record<string, ModuleStatus>>;
  readonly counters: ServerCounters;
  /** The guest's disk; null: it has none, or nobody drives it yet. */
  readonly disk: DiskStatus | null;
  /** Guest speed over the last second in which it was busy: millions of instructions a second of run time. */
  readonly mips: number;
}

export interface EventMessage {
  readonly kind: "event";
  /** Wall clock, ms since 1970. */
  readonly atMs: number;
  readonly severity: Severity;
  /** Stable code, e.g. MISCOMPARE_UNADJUDICATED. */
  readonly code: string;
  readonly module?: string;
  readonly text: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

/** The guest's own doings that a supervisor may want to act on. */
export type GuestHappening = "poweredOn" | "poweredOff" | "reset" | "panicked";

/** All but the status carry a `number` that rises by one within an incarnation of the I/O module. */
export type IoToManagement =
  | { readonly kind: "status"; readonly status: ServerStatus }
  | EventMessage
  /** Management must SIGKILL this module and restart it unless it is held out. */
  | { readonly kind: "shoot"; readonly module: string; readonly why: string }
  /** The judge is to be started, or ended. */
  | { readonly kind: "judge"; readonly wanted: boolean }
  /** A miscompare (MiscompareReport), and the path of a file with the ticks that lead to it; empty: none. */
  | { readonly kind: "report"; readonly report: object; readonly course: string }
  /** A recording begins after this tick, with the checkpoint in `store`, which stays as it is until management says `imageTaken`. */
  | { readonly kind: "recordingStarted"; readonly seq: number; readonly store: string }
  /** `course`: path of the file with its ticks. `why`: what went wrong; null: nothing. */
  | { readonly kind: "recordingEnded"; readonly ticks: number; readonly course: string; readonly why: string | null }
  | { readonly kind: "console"; readonly base64: string }
  /** One write of the agent in the guest. */
  | { readonly kind: "agent"; readonly base64: string }
  | { readonly kind: "guest"; readonly what: GuestHappening; readonly failure: boolean }
  /** Answer to `verify`. Empty digests: nobody could answer (an outage, or a member was lost meanwhile): ask again. */
  | { readonly kind: "verified"; readonly seq: number; readonly digests: Readonly<Record<string, string>> };

export type ManagementToIo =
  /** Tell me everything from now on, and first what you told lately: whoever led before may not have heard it. */
  | { readonly kind: "follow" }
  | { readonly kind: "console"; readonly base64: string }
  /** For the agent in the guest: in one input. */
  | { readonly kind: "agent"; readonly base64: string }
  | { readonly kind: "powerButton" }
  /** Power cycle. */
  | { readonly kind: "reset" }
  /** The guest's disk grows, or is looked through now. */
  | { readonly kind: "disk"; readonly action: "grow" | "scrub"; readonly sizeBytes: number }
  /** Fault drill: the disk below this module's mirror fails (DiskDrill). */
  | { readonly kind: "diskDrill"; readonly drill: string }
  /** Digest of the image that the guest is powered on with from now on; empty: the one that the machines were made with. */
  | { readonly kind: "bootImage"; readonly image: string }
  /** Full digests of all members at one tick. */
  | { readonly kind: "verify" }
  | { readonly kind: "record"; readonly action: "start" | "imageTaken" | "stop" }
  /** A module that is held out (`present: false`) is not waited for. All modules of the configuration are expected at first. */
  | { readonly kind: "expect"; readonly module: string; readonly present: boolean }
  /** The I/O modules that the redundancy has a mirror of the guest's disk in, whether they are there or not. */
  | { readonly kind: "mirrors"; readonly mirrors: readonly string[] }
  | { readonly kind: "shutdown" };

/** Between management modules: the leading one says that it leads, a stand-by that it is there. */
export type ManagementToManagement = { readonly kind: "lead" } | { readonly kind: "standby" } | { readonly kind: "shutdown" };

export type ManagementToCpu =
  /** Fault drill: flips one bit of guest RAM (address: guest-physical). */
  | { readonly kind: "flip"; readonly address: number; readonly bit: number }
  /** Fault drills: the next output is damaged; the next quantum sees a wrong time. */
  | { readonly kind: "corruptOutput" }
  | { readonly kind: "skewClock" }
  | { readonly kind: "shutdown" };

export type CpuToManagement = {
  readonly kind: "status";
  /** Highest tick run. */
  readonly seq: number;
  readonly configuration: number;
  readonly rssBytes: number;
  /** Millions of guest instructions a second of run time. */
  readonly mips: number;
  /** Share of the last interval that the machine was running, 0..1. */
  readonly load: number;
  /** Guest instructions that this process has run. */
  readonly instructions: number;
};

export type ControlMessage = IoToManagement | ManagementToIo | ManagementToCpu | CpuToManagement;

/** Checks what every control message has; each receiver switches over the kinds that it knows and ignores the others. */
export function parseControl(text: string): { readonly kind: string } & Readonly<Record<string, unknown>> {
  const value: unknown = JSON.parse(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new TypeError("a control message is an object");
  const kind = (value as { kind?: unknown }).kind;
  if (typeof kind !== "string") throw new TypeError("a control message has a kind");
  return value as { kind: string } & Record<string, unknown>;
}

/** The control message in `message`; null if it is another kind or makes no sense: a module ignores what it does not understand. */
export function controlOf(message: Message): ReturnType<typeof parseControl> | null {
  if (message.kind !== "control") return null;
  try {
    return parseControl(message.text);
  } catch {
    return null;
  }
}
