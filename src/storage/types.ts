/** What a disk controller and the stores of its mirrors say to each other, and what the controller hears and does. */
import type { Severity } from "../wire/control.js";

export type { DiskCounters, DiskStatus, MirrorState } from "../wire/control.js";

/** The durable self-description of one mirror. */
export interface MirrorHeader {
  /** Which disk it is a mirror of; empty: of none yet. */
  readonly diskId: string;
  readonly sizeBytes: number;
  /** The highest configuration that it has seen: commands of lower ones are refused. */
  readonly highest: number;
  /** The last configuration that it knows to have named it in sync; 0: never, or its contents were begun anew since. */
  readonly syncedAt: number;
  /**
   * The configuration under which regions were last taken out of its log. A region that is not in the log is the same on every mirror
   * that was in sync then or later.
   */
  readonly clearedAt: number;
}

export type StoreOperation =
  /** A configuration that won: its number stands in the command. The answer has header and logs (below). */
  | { readonly kind: "configure"; readonly isInSync: boolean }
  /** The same answer, without a change. */
  | { readonly kind: "inspect" }
  | { readonly kind: "read"; readonly offset: number; readonly lengthBytes: number }
  | { readonly kind: "write"; readonly offset: number; readonly lengthBytes: number }
  | { readonly kind: "flush" }
  /**
   * Checksums of blocks, 8 bytes each. As the table has them, unless `mustRead` or the region is in doubt: then only if the data are
   * so, else `BAD_CHECKSUM`.
   */
  | { readonly kind: "digest"; readonly offset: number; readonly lengthBytes: number; readonly mustRead: boolean }
  /** The region is in doubt no more. `adopt`: blocks of which whatever is there counts from now on. */
  | { readonly kind: "settle"; readonly region: number; readonly adopt: readonly number[] }
  /** These blocks must not be read any more until they are written. */
  | { readonly kind: "poison"; readonly blocks: readonly number[] }
  /** Take all regions but these out of the log: they are durable, and equal on all mirrors. */
  | { readonly kind: "clear"; readonly except: readonly number[] }
  /** To a mirror that is brought in sync: take over the log of its source (payload). */
  | { readonly kind: "adoptLog"; readonly clearedAt: number }
  /** Begin as an empty mirror of this disk. */
  | { readonly kind: "recreate"; readonly diskId: string; readonly sizeBytes: number }
  | { readonly kind: "grow"; readonly sizeBytes: number };

/** All but `bytes` is plain JSON. */
export interface StoreCommand {
  /** Unique with `configuration`. */
  readonly ticket: number;
  readonly configuration: number;
  readonly operation: StoreOperation;
  readonly bytes: Uint8Array;
}

/** All but `bytes` is plain JSON. */
export interface StoreReply {
  readonly ticket: number;
  readonly configuration: number;
  /** refused: the store has seen a higher configuration. failed: an error of files, `why` says which. */
  readonly outcome: "ok" | "failed" | "refused";
  readonly why: string;
  /**
   * `read`: blocks that could not be read or do not have their checksum; zeros in `bytes`. `digest` that read: blocks whose stored
   * checksum was damaged, and is mended.
   */
  readonly bad: readonly number[];
  readonly header: MirrorHeader;
  /** `configure` and `inspect`: the log as a bitmap of regions, then as long a one of the regions in doubt. */
  readonly bytes: Uint8Array;
}

/** A request of the guest: multiples of `BLOCK_BYTES`, at most `MAX_TRANSFER_BYTES`. */
export interface DiskRequest {
  readonly id: number;
  readonly operation: "read" | "write" | "flush";
  readonly offset: number;
  readonly lengthBytes: number;
  /** What to write; else empty. */
  readonly bytes: Uint8Array;
}

/** `atMs`: a monotonic clock, fractions allowed. All time enters here. */
export type DiskEvent = { readonly atMs: number } & (
  | { readonly kind: "request"; readonly request: DiskRequest }
  /** The guest was reset or powered off: nobody waits for its requests any more. */
  | { readonly kind: "forget" }
  | { readonly kind: "mirrorUp"; readonly name: string; readonly header: MirrorHeader }
  | { readonly kind: "mirrorDown"; readonly name: string }
  | { readonly kind: "reply"; readonly name: string; readonly reply: StoreReply }
  /** A configuration of this module's is in force. */
  | { readonly kind: "configured"; readonly number: number; readonly mirrors: readonly string[] }
  | { readonly kind: "grow"; readonly sizeBytes: number }
  /** Go through all blocks now. */
  | { readonly kind: "scrub" }
  | { readonly kind: "wake" }
);

export type DiskEffect =
  | { readonly kind: "command"; readonly mirror: string; readonly command: StoreCommand }
  | { readonly kind: "done"; readonly id: number; readonly isOk: boolean; readonly bytes: Uint8Array }
  /**
   * Claim the next configuration with these mirrors, also when the one in force names the same ones: each of these is answered by a
   * later `configured`. A newer one replaces those that were not claimed yet.
   */
  | { readonly kind: "wantMirrors"; readonly mirrors: readonly string[]; readonly why: string }
  /** A mirror has seen a higher configuration: this controller is overtaken and does nothing any more. */
  | { readonly kind: "fenced"; readonly seen: number }
  | { readonly kind: "grown"; readonly sizeBytes: number }
  | {
      readonly kind: "event";
      readonly severity: Severity;
      readonly code: DiskEventCode;
      readonly mirror?: string;
      readonly text: string;
    };

/** Stable codes of the event log. */
export type DiskEventCode =
  | "MIRROR_DROPPED"
  | "MIRROR_FAILED"
  | "MIRROR_IN_SYNC"
  | "MIRROR_RECREATED"
  | "MIRRORS_SETTLED"
  | "MIRRORS_DIFFER"
  | "RESYNC_STARTED"
  | "RESYNC_STOPPED"
  | "BLOCK_BAD"
  | "BLOCK_REPAIRED"
  | "BLOCK_LOST"
  | "DISK_ERROR"
  | "DISK_WITHOUT_MIRROR"
  | "DISK_GROWN"
  | "SCRUB_DONE";
