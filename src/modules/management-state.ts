/**
 * What the leading management module writes down at each change, so that another one can take its place: which processes there are and
 * how each module stands, and what cannot be learned again from the modules themselves. One file, replaced in one step.
 */
import type { HostNetwork } from "../ports/network-host.js";
import type { ServerCounters } from "../wire/control.js";
import type { GuestRecord } from "./management-guest.js";
import type { FaultRecord, LossCause } from "./management-policy.js";
import type { ProcessRecord } from "./management-process.js";

export type ModulePresence = "present" | "held" | "broken";

export interface ModuleRecord {
  readonly presence: ModulePresence;
  readonly faults: FaultRecord;
  readonly incarnation: number;
  readonly process: ProcessRecord | null;
  /** Why it is about to end, if it was us. */
  readonly plannedCause: LossCause | null;
}

/** Counters of the I/O modules' past and present incarnations. */
export interface IoRecord {
  readonly active: string;
  readonly past: ServerCounters;
  readonly present: Readonly<Record<string, ServerCounters>>;
}

export interface LeaderState {
  readonly modules: Readonly<Record<string, ModuleRecord>>;
  readonly network: HostNetwork | null;
  /** Decimal, as in ModuleConfig. */
  readonly epochNs: string;
  readonly startedAtMs: number;
  readonly guest: GuestRecord;
  /** Requests to the guest's agent with lower ids were made before the guest's last start. */
  readonly agentOldestId: string;
  /** Name and incarnation of the I/O module whose configuration is in force; empty: none was yet. */
  readonly powerful: string;
  /** Name and incarnation of the I/O module that drives the guest; empty: it was not powered on yet. */
  readonly poweredOnBy: string;
  readonly io: IoRecord;
  /** Made to compute wrongly by a drill. */
  readonly drilled: readonly string[];
  /** Number of the last message acted on, by name and incarnation of the I/O module (`io0#3`). */
  readonly heard: Readonly<Record<string, number>>;
  readonly isRecording: boolean;
  /** When the server is to stop, ms since 1970; null: it is not. */
  readonly stopAtMs: number | null;
}

/** What a server made on this host. Written before it is made, so that nothing is ever unknown. */
export interface MadeRecord {
  readonly server: string;
  readonly bridge: string;
  readonly devices: readonly string[];
  /** The leading one. */
  readonly management: ProcessRecord;
  /** All others. */
  readonly processes: readonly ProcessRecord[];
  readonly state: LeaderState;
}
