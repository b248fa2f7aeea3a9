/**
 * The engine-neutral machine interface: one deterministic copy of the guest's computer.
 * Same description, same ticks: same results and digests, on any host. CPU modules drive it; engines implement it.
 */

/** The guest's disk is addressed in blocks of this size: offsets and lengths of requests, and the size of the disk, are multiples. */
export const DISK_BLOCK_BYTES = 4096;
/** Bytes that one disk request reads or writes at most. */
export const MAX_DISK_REQUEST_BYTES = 128 * 1024;
/** Bytes that one write of the guest's agent to its port puts out at most; the same for what comes for it in one input. */
export const MAX_AGENT_BYTES = 36 * 1024;
/** Disk requests that one machine has put out and that are not yet answered, at most. */
export const MAX_DISK_REQUESTS = 64;

export type DiskOperation = "read" | "write" | "flush";

/** What crosses the line upwards (DESIGN section 1). Inputs enter a machine only at the start of a quantum, in list order. */
export type MachineInput =
  /**
   * Cold start or power cycle: RAM cleared, kernel and initrd loaded again, random state seeded from `entropy` (64 bytes). `image`: digest
   * (hex) of the guest image that they are of; absent: the one that the machine was made with.
   */
  | { readonly kind: "powerOn"; readonly entropy: Uint8Array; readonly image?: string }
  /** An Ethernet frame (no FCS) that arrived at network port `port`. */
  | { readonly kind: "frame"; readonly port: number; readonly bytes: Uint8Array }
  /** Bytes typed at the serial console. */
  | { readonly kind: "console"; readonly bytes: Uint8Array }
  /** Bytes for the agent in the guest, through its virtual port. Dropped if there is no port, or nobody in the guest has it open. */
  | { readonly kind: "agent"; readonly bytes: Uint8Array }
  /** The answer to an `entropyRequest` output. */
  | { readonly kind: "entropy"; readonly bytes: Uint8Array }
  /** The operator pressed the power button: ask the guest to shut down. */
  | { readonly kind: "powerButton" }
  /**
   * The answer to the `disk` output of this id. `bytes`: what was read; empty for writes, flushes and failures. A read that is answered
   * with more or fewer bytes than it asked for counts as failed. An id that the machine does not wait for is ignored.
   */
  | { readonly kind: "diskDone"; readonly id: number; readonly isOk: boolean; readonly bytes: Uint8Array }
  /** Another I/O module drives the disk from now on: every unanswered request is put out again, oldest first, with its id. */
  | { readonly kind: "diskRepeat" }
  /** The disk has grown to so many bytes. Ignored by a machine without a disk, and when it is not larger or not whole blocks. */
  | { readonly kind: "diskSize"; readonly bytes: number };

/** What crosses the line downwards; it takes effect only after the vote. */
export type MachineOutput =
  | { readonly kind: "frame"; readonly port: number; readonly bytes: Uint8Array }
  | { readonly kind: "console"; readonly bytes: Uint8Array }
  /** What the agent in the guest wrote to its port: one write, so that a repetition repeats the write as a whole. */
  | { readonly kind: "agent"; readonly bytes: Uint8Array }
  | { readonly kind: "entropyRequest"; readonly lengthBytes: number }
  | DiskRequest
  /** The guest asked for a power cycle. `failure`: it said so because of a fault of its own (panic, watchdog). */
  | { readonly kind: "reset"; readonly failure: boolean }
  | { readonly kind: "powerOff"; readonly failure: boolean };

/**
 * The guest wants something of its disk; answered by a `diskDone` input. Requests may be answered in any order: a read is sure to see the
 * writes that were answered before it was put out, and a flush to make just those last. Writes that overlap and are out at the same time
 * may take place in either order, but on every mirror in the same one. Ids count up from 1 since power-on (after 2^32 - 1 comes 1 again);
 * so what is out when the guest is powered on anew must not be answered any more.
 */
export interface DiskRequest {
  readonly kind: "disk";
  readonly id: number;
  readonly operation: DiskOperation;
  /** Offset and length are whole blocks and end within the disk; both are 0 for a flush. */
  readonly offset: number;
  readonly lengthBytes: number;
  /** What to write: `lengthBytes` of them; empty for reads and flushes. */
  readonly bytes: Uint8Array;
}

/** One ordered step for a machine. */
export interface MachineTick {
  /** Guest time in ns since the machine's epoch (see `epochNs`); the machine itself takes max(now, its own time). */
  readonly nowNs: bigint;
  /** Instruction budget of the quantum. */
  readonly budget: number;
  readonly inputs: readonly MachineInput[];
}

export interface MachineResult {
  /** Instructions retired since power-on, all harts together. */
  readonly instructionCount: bigint;
  /** Guest time at the end of the quantum, ns. */
  readonly timeNs: bigint;
  /** Null: busy (the budget ran out, or outputs wait for the next quantum). Otherwise the guest halted; the guest time of its next timer, or `IDLE_FOREVER`. */
  readonly idleUntilNs: bigint | null;
  readonly outputs: readonly MachineOutput[];
  /** 64-bit digest of outputs, instruction count, registers and the rotating RAM window of this quantum. */
  readonly digest: bigint;
}

/** `idleUntilNs` of a machine that halted with no timer armed. */
export const IDLE_FOREVER = 0x7fff_ffff_ffff_ffffn;

/** Everything that must be equal for two machines to be comparable. Bound into images. */
export interface MachineDescription {
  readonly engine: string;
  /** Raised whenever the engine's visible behaviour changes: images and histories of another number are refused. */
  readonly behaviour: number;
  readonly ramBytes: number;
  readonly harts: number;
  /** Wall-clock ns since 1970 at guest time 0. Guest time is `nowNs`; the guest's RTC shows epochNs + time. */
  readonly epochNs: bigint;
  /** Digest (hex) of kernel, initrd, command line and device layout. */
  readonly imageDigest: string;
}

/** One piece of an image: a page of RAM (`page` >= 0, bytes of 4096, empty = all zero) or the final state record (`page` = -1). */
export interface ImagePiece {
  readonly page: number;
  readonly bytes: Uint8Array;
}

/**
 * A capture with pre-copy. `next` may be called between quanta while the machine goes on running; pages that change after
 * they were sent come again. When `remainingPages` is small, `finish` gives the rest: with it the image is exact as of now.
 */
export interface Capture {
  /** Pages not yet sent in their current content. */
  readonly remainingPages: number;
  readonly totalPages: number;
  /** Up to `maxPages` further pieces. The bytes are views into machine memory: use them before the next `run`. */
  next(maxPages: number): ImagePiece[];
  /** All dirty pages, then the state record (last). Ends the capture. Views, as with `next`. */
  finish(): ImagePiece[];
  abort(): void;
}

/** The state of a machine as of one tick, marked by a `Checkpointer`. */
export interface Checkpoint {
  /** Digest (hex, 256 bits) of the complete state: of equal machines, equal. */
  readonly digest: string;
  /** What was not taken before: pages, then the state record. Views, as with a capture. */
  readonly pieces: readonly ImagePiece[];
}

/**
 * Marks the machine's state again and again, at the price of the pages that changed in between: it keeps a digest of every page and
 * computes anew those of written ones only. A page that changed without having been written (a flipped bit of the host's memory) keeps
 * its digest, and `findDamage` tells it.
 */
export interface Checkpointer {
  /** Pages to take before the next mark. */
  readonly remainingPages: number;
  /** Takes up to `maxPages` of them between two quanta, so that little is left for the mark. Views: use them before the next `run`. */
  take(maxPages: number): ImagePiece[];
  mark(): Checkpoint;
  /** Looks through up to `maxPages` pages, in rotation over the calls; the first that is not what was last written there, or null. */
  findDamage(maxPages: number): number | null;
  stop(): void;
}

export interface Machine {
  readonly description: MachineDescription;
  run(tick: MachineTick): MachineResult;
  /** Digest (hex, 256 bits) of the complete state: equal digests, equal machines. Slow (all RAM). */
  fullDigest(): string;
  /** Starts a capture; only one at a time. */
  capture(): Capture;
  /** Starts marking checkpoints, independent of captures; one checkpointer at a time. It may be there before an image comes in. */
  checkpointer(): Checkpointer;
  /** Applies one piece of an image of an equal description; the machine may run once the state record was applied. */
  restore(piece: ImagePiece): void;
  /** Flips one bit of guest RAM as a failing memory would: unnoticed by write tracking (fault drills). */
  flipBit(address: number, bit: number): void;
}
