/** What the lockstep server (the pure heart of an I/O module) hears and does. */
import type { DiskEventCode, MirrorHeader, StoreCommand, StoreReply } from "../storage/types.js";
import type { GuestHappening, Severity } from "../wire/control.js";
import type { ConfigurationRecord, Message, TickMessage } from "../wire/messages.js";
import type { CourseStep, MiscompareReport } from "./miscompare-report.js";
import type { ReleaseMode } from "./voter.js";

export interface ServerOptions {
  /** This I/O module. */
  readonly name: string;
  /** Raised at every start of this module. */
  readonly incarnation: number;
  readonly cpuModules: readonly string[];
  /** All I/O modules, this one too; the first begins as the active one. Absent: there is no other. */
  readonly ioModules?: readonly string[];
  /** CPU modules that may be added later: expected once an `expect` event says so. */
  readonly emptySlots?: readonly string[];
  /** Self-checking pairs of CPU modules (voter.ts); none: each stands for itself. */
  readonly pairs?: readonly (readonly [string, string])[];
  /** The CPU module that is started when two contradict each other (adjudication.ts); absent: there is none. */
  readonly judge?: string;
  /** Enclosure of every module, by name; this I/O module's too. */
  readonly enclosures: Readonly<Record<string, string>>;
  /** Socket path of every CPU module, for donors. */
  readonly sockets: Readonly<Record<string, string>>;
  readonly release: ReleaseMode;
  readonly lagLimitMs: number;
  /** The guest's disk, and which I/O modules hold a mirror of it; `mirrors` changes that. Absent: it has none. */
  readonly disk?: { readonly diskId: string; readonly sizeBytes: number; readonly mirrors: readonly string[] };
  /** False: no checkpoints, so that nothing proves who was right, and members do not look through their own memory. Absent: true. */
  readonly checkpoints?: boolean;
  /** Digest of the image that the guest is powered on with; `bootImage` changes it. Absent: the one that the machines are made with. */
  readonly bootImage?: string;
  /** Guest time at `atMs` 0 of the events' clock. */
  readonly anchorNs: bigint;
}

/** `atMs`: a monotonic clock of this I/O module, fractions allowed. All time enters here. */
export type ServerEvent = { readonly atMs: number } & (
  | { readonly kind: "start" }
  /** The arbiter's highest record; null: none yet. Answer to `readHighest`. */
  | { readonly kind: "highest"; readonly record: ConfigurationRecord | null }
  /** Answer to `claim`: who won that number. */
  | { readonly kind: "claimed"; readonly winner: ConfigurationRecord }
  | { readonly kind: "arbiterFailed"; readonly why: string }
  | { readonly kind: "cpuConnected"; readonly name: string; readonly incarnation: number }
  | { readonly kind: "cpuDisconnected"; readonly name: string; readonly why: string }
  | { readonly kind: "cpuMessage"; readonly name: string; readonly message: Message }
  /** Another I/O module. */
  | { readonly kind: "ioConnected"; readonly name: string; readonly incarnation: number }
  | { readonly kind: "ioDisconnected"; readonly name: string }
  | { readonly kind: "ioMessage"; readonly name: string; readonly message: Message }
  /** The mirror of the guest's disk that an I/O module holds, this one too, can be reached; its header says what it is. */
  | { readonly kind: "mirrorUp"; readonly name: string; readonly header: MirrorHeader }
  | { readonly kind: "mirrorDown"; readonly name: string }
  | { readonly kind: "mirrorReply"; readonly name: string; readonly reply: StoreReply }
  | { readonly kind: "diskGrow"; readonly sizeBytes: number }
  /** Look through all of the disk now. */
  | { readonly kind: "diskScrub" }
  | { readonly kind: "frames"; readonly port: number; readonly frames: readonly Uint8Array[] }
  | { readonly kind: "console"; readonly bytes: Uint8Array }
  /** For the agent in the guest. */
  | { readonly kind: "agent"; readonly bytes: Uint8Array }
  | { readonly kind: "entropy"; readonly purpose: EntropyPurpose; readonly bytes: Uint8Array }
  | { readonly kind: "powerButton" }
  | { readonly kind: "reset" }
  /** What the guest is powered on with from now on; null: what the machines were made with. */
  | { readonly kind: "bootImage"; readonly image: string | null }
  | { readonly kind: "verify" }
  /** `imageTaken`: the checkpoint named by `recordingStarted` is copied. */
  | { readonly kind: "record"; readonly action: RecordAction }
  | { readonly kind: "expect"; readonly module: string; readonly present: boolean }
  /** The I/O modules that should hold a mirror of the guest's disk. */
  | { readonly kind: "mirrors"; readonly mirrors: readonly string[] }
  /** The time asked for by `wakeAtMs` has come. */
  | { readonly kind: "wake" }
);

export interface Counters {
  ticks: number;
  outages: number;
  framesOut: number;
}

export type RecordAction = "start" | "imageTaken" | "stop";

export type EntropyPurpose = "powerOn" | "guest";

export type ServerEffect =
  /** The same tick to several CPU modules: encode once. */
  | { readonly kind: "sendTick"; readonly to: readonly string[]; readonly tick: TickMessage }
  | { readonly kind: "send"; readonly to: string; readonly message: Message }
  /** Close the connection; a new one of a higher incarnation is welcome. */
  | { readonly kind: "disconnect"; readonly name: string; readonly why: string }
  | { readonly kind: "readHighest" }
  /** Claim this number at the arbiter; answer `claimed` with whatever record won it. */
  | { readonly kind: "claim"; readonly record: ConfigurationRecord }
  /** The guest is behind this module's network port from now on. */
  | { readonly kind: "announce" }
  | { readonly kind: "transmit"; readonly port: number; readonly bytes: Uint8Array }
  | { readonly kind: "console"; readonly bytes: Uint8Array }
  /** One write of the agent in the guest; after a takeover those whose release is not known come again. */
  | { readonly kind: "agent"; readonly bytes: Uint8Array }
  /** Draw from the host's entropy source and answer `entropy`. */
  | { readonly kind: "drawEntropy"; readonly purpose: EntropyPurpose; readonly lengthBytes: number }
  /** For the mirror that this I/O module holds; answer `mirrorReply`. */
  | { readonly kind: "mirrorCommand"; readonly mirror: string; readonly command: StoreCommand }
  /** The judge is to be started, or ended. */
  | { readonly kind: "judge"; readonly wanted: boolean }
  /** A recording begins with this checkpoint; its steps follow. */
  | { readonly kind: "recordingStarted"; readonly seq: number; readonly store: string }
  | { readonly kind: "recordStep"; readonly step: CourseStep }
  | { readonly kind: "recordingEnded"; readonly ticks: number }
  /** This is the verified checkpoint now: what else is written down is not needed any more. */
  | { readonly kind: "checkpointKept"; readonly store: string }
  /** Everything known of a miscompare, to be kept for the operator. */
  | { readonly kind: "report"; readonly report: MiscompareReport; readonly course: readonly CourseStep[] }
  | { readonly kind: "shoot"; readonly module: string; readonly why: string }
  | {
      readonly kind: "event";
      readonly severity: Severity;
      readonly code: EventCode;
      readonly module?: string;
      readonly text: string;
      readonly data?: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "guest"; readonly what: GuestHappening; readonly failure: boolean }
  | { readonly kind: "verified"; readonly seq: number; readonly digests: Readonly<Record<string, string>> }
  /** The status changed in a way that an operator should see at once. */
  | { readonly kind: "statusChanged" };

/** Stable codes of the event log. */
export type EventCode =
  | DiskEventCode
  | "CONFIGURATION"
  | "POWER_ON"
  | "GUEST_RESET"
  | "GUEST_PANIC"
  | "GUEST_POWER_OFF"
  | "MODULE_LOST"
  | "MODULE_HUNG"
  | "MODULE_SHOT"
  | "MODULE_STALE"
  | "MISCOMPARE"
  | "MISCOMPARE_UNADJUDICATED"
  | "ADJUDICATION_STARTED"
  | "JUDGE_PROMOTED"
  | "MEMORY_DAMAGED"
  | "MODULE_RETIRED"
  | "PAIR_DROPPED"
  | "CHECKPOINT_FAILED"
  | "CHECKPOINT_VERIFIED"
  | "REINTEGRATION_STARTED"
  | "REINTEGRATION_CAPTURED"
  | "REINTEGRATION_FAILED"
  | "REINTEGRATED"
  | "NEWCOMER_PROMOTED"
  | "OUTAGE"
  | "STALLED"
  | "RESUMED"
  | "IO_TAKEOVER"
  | "FENCED"
  | "ARBITER_UNAVAILABLE";
