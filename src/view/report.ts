/**
 * What the console uses of a status report. `ServerReport` of the modules is the whole of it; a test does not compile when that one no
 * longer has what is named here. Fields that only newer servers send may be missing.
 */
import type { DiskStatus, ModuleKind, ModuleState, Redundancy, ReintegrationProgress, ServerCounters, Severity } from "../wire/control.js";

export type GuestState = "off" | "booting" | "reachable" | "ready" | "degraded" | "hung";

export interface ModuleView {
  readonly name: string;
  readonly kind: ModuleKind;
  readonly enclosure: string;
  /** 0: no process. */
  readonly pid: number;
  readonly state: ModuleState;
  readonly safeToPull: boolean;
  readonly held: boolean;
  readonly isActive?: boolean;
  readonly incarnation: number;
  readonly faults: number;
  readonly lagTicks: number;
  readonly rssBytes: number;
  readonly progress?: ReintegrationProgress;
  readonly mips?: number;
  /** Share of the time that the machine ran, 0 to 1. */
  readonly load?: number;
}

/** Whether what the server runs is what somebody certified. */
export interface CertificationView {
  readonly state: "certified" | "base" | "uncertified" | "expired" | "altered";
  readonly level?: string;
  /** ISO 8601, as `since`. */
  readonly expiresAt?: string;
  readonly reason?: string;
  readonly since: string;
}

export interface SupportView {
  readonly level: string;
  readonly warranty: "upcoming" | "running" | "ended";
  readonly warrantyFromMs: number;
  readonly warrantyUntilMs: number;
  readonly contact: string;
}

export interface ReportView {
  readonly server: string;
  readonly redundancy: Redundancy;
  readonly wantedRedundancy: Redundancy;
  readonly guest: GuestState;
  readonly guestServices: Readonly<Record<string, "up" | "down" | "unknown">>;
  readonly guestFaults: { readonly panics: number; readonly hangs: number; readonly restarts: number; readonly serviceFailures: number };
  readonly configuration: number;
  readonly seq: number;
  readonly committed: number;
  readonly address: string;
  readonly published: readonly {
    readonly protocol: string;
    readonly hostAddress: string;
    readonly hostPort: number;
    readonly guestPort: number;
  }[];
  readonly network: string;
  readonly image: { readonly name: string; readonly kernel: string; readonly kernelRelease: string };
  readonly engine: string;
  readonly memoryMiB: number;
  readonly release: string;
  readonly lagLimitMs: number;
  readonly uptimeMs: number;
  readonly mips: number;
  readonly counters: ServerCounters;
  readonly disk: DiskStatus | null;
  readonly lastEventId: number;
  readonly modules: readonly ModuleView[];
  readonly enclosures: readonly { readonly name: string; readonly safeToPull: boolean }[];
  readonly certification?: CertificationView | null;
  readonly support?: SupportView | null;
}

export interface EventView {
  readonly id: number;
  /** Wall clock, ms since 1970. */
  readonly atMs: number;
  readonly severity: Severity;
  readonly code: string;
  readonly module?: string;
  readonly text: string;
  readonly data?: Readonly<Record<string, unknown>>;
}

export type Role = "view" | "operate";
