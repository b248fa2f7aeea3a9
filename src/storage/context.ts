/** What the parts of a disk controller share. */
import type { Severity } from "../wire/control.js";
import type { DiskCounters, DiskEffect, DiskEventCode } from "./types.js";

export interface DiskOptions {
  /** The disk that the mirrors must be of. */
  readonly diskId: string;
  /** Of a disk that no mirror has yet. */
  readonly sizeBytes: number;
  /** All I/O modules that hold a mirror, whether they are there or not. */
  readonly mirrors: readonly string[];
  /** The mirror that this I/O module holds itself; empty: none. */
  readonly local: string;
  /** Mirrors that should be in sync are waited for this long at the start: next to nothing at a takeover, seconds when all start. */
  readonly graceMs: number;
  /** The I/O module that holds this mirror has given no sign of life for a while. Absent: nobody listens for any. */
  readonly isSilent?: (mirror: string) => boolean;
  /** The I/O module that holds this mirror was lost a moment ago: it is not worth a wait at the start. Absent: nobody knows of any. */
  readonly isLost?: (mirror: string) => boolean;
  /** Absent: as in limits.ts. */
  readonly mirrorLagMs?: number;
  readonly mirrorWaitMs?: number;
  readonly resyncShare?: number;
  readonly scrubBytesPerSecond?: number;
  readonly scrubPauseMs?: number;
  readonly clearEveryMs?: number;
  readonly retryMs?: number;
}

export interface DiskContext {
  readonly options: DiskOptions;
  readonly atMs: number;
  /** Time in which we were not stopped ourselves: what others are measured by. */
  readonly waitedMs: number;
  readonly counters: DiskCounters;
  readonly emit: (effect: DiskEffect) => void;
  readonly event: (severity: Severity, code: DiskEventCode, text: string, mirror?: string) => void;
}

/** Order of mirrors to ask: this module's own first. */
export const LOCAL_FIRST =
  (local: string) =>
  (left: { readonly name: string }, right: { readonly name: string }): number =>
    Number(right.name === local) - Number(left.name === local);
