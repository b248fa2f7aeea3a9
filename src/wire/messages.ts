/**
 * Every message that modules send each other. `tick` and `result` are on the path of every request of every client, so they have a
 * hand-laid binary form (codec.ts); messages that occur a few times a day travel as JSON.
 *
 * Directions: io -> cpu: tick, payloadRequest, expectImage, capture, abortCapture, configurationNotice, resume, prepareCheckpoint,
 * checkpointVerified, endCheckpoints, restoreCheckpoint. cpu -> io: memberState, receipt, result, payload, imageExpected, captured,
 * cloneFailed, cloneProgress, restored, keptTick, resumed, refused, checkpointPrepared, checkpointMarked, checkpointRestored,
 * checkpointFailed, damaged.
 * io -> io: heartbeat, mirrorHeader, mirrorCommand, mirrorReply.
 * donor cpu -> newcomer cpu: imageStart, imagePages, imageState, imageEnd. Either way with management: control. All: hello first.
 */
import type { MachineInput, MachineOutput } from "../machine/machine.js";
import type { ModuleKind } from "./control.js";

/** Raised whenever a message changes its meaning or form; modules of different versions refuse each other. */
export const PROTOCOL_VERSION = 6;

/** A configuration: which modules count, decided by the arbiter (DESIGN section 4). */
export interface ConfigurationRecord {
  readonly number: number;
  /** CPU modules in lockstep. */
  readonly cpus: readonly string[];
  readonly activeIo: string;
  /** Disk mirrors in sync. */
  readonly mirrors: readonly string[];
}

export interface TickMessage {
  readonly kind: "tick";
  readonly configuration: number;
  readonly seq: number;
  /** Everything up to here took effect: a later sequencer releases again from here on. */
  readonly committed: number;
  /** Every member has run everything up to here: ticks and results up to here may be forgotten. */
  readonly floor: number;
  readonly nowNs: bigint;
  readonly budget: number;
  /** Answer with a digest of the complete state, computed from all of RAM. */
  readonly fullDigest: boolean;
  /** Mark a checkpoint after this tick and answer with its digest. Never together with `fullDigest`. */
  readonly checkpoint: boolean;
  readonly inputs: readonly MachineInput[];
}

export interface ResultMessage {
  readonly kind: "result";
  readonly configuration: number;
  readonly seq: number;
  readonly instructionCount: bigint;
  readonly timeNs: bigint;
  /** Null: busy. */
  readonly idleUntilNs: bigint | null;
  readonly digest: bigint;
  /** Real time that the quantum took; differs between modules, hence not voted. */
  readonly runMicros: number;
  /** Whether the quantum had outputs at all: without any there is no payload to ask for. */
  readonly hasOutputs: boolean;
  /** Digest of the outputs alone (lockstep/outputs-digest.ts): whoever releases them checks them against it. */
  readonly outputsDigest: bigint;
  /** Null: not sent, ask with `payloadRequest` if needed. */
  readonly outputs: readonly MachineOutput[] | null;
  /** Hex; only when the tick asked for one: of all of RAM, or of the checkpoint. */
  readonly stateDigest: string | null;
}

/** Rare messages, as JSON. */
/** Between the controller of the guest's disk and a mirror in another I/O module: JSON (storage/messages.ts) and a payload. */
export interface MirrorMessage {
  readonly kind: "mirrorCommand" | "mirrorReply";
  readonly text: string;
  readonly bytes: Uint8Array;
}

export type PlainMessage =
  | {
      readonly kind: "hello";
      readonly protocolVersion: number;
      readonly module: ModuleKind;
      readonly name: string;
      readonly incarnation: number;
      /** Of its process, as its host names it. */
      readonly pid: number;
    }
  | { readonly kind: "receipt"; readonly configuration: number; readonly seq: number }
  | { readonly kind: "payloadRequest"; readonly seq: number }
  /** First message of a CPU module to an I/O module after hello: what it knows. `blank`: its machine has never run. */
  | { readonly kind: "memberState"; readonly configuration: number; readonly seq: number; readonly blank: boolean }
  /** To a newcomer: accept the image of this clone, and no other. `keep`: write it down as a checkpoint too. */
  | { readonly kind: "expectImage"; readonly clone: number; readonly keep: boolean }
  /** The newcomer's answer to it: only now the donor is told, since its image travels another way and might come first. */
  | { readonly kind: "imageExpected"; readonly clone: number }
  /** To a donor: send an image to the newcomer that listens at this socket. */
  | { readonly kind: "capture"; readonly clone: number; readonly newcomer: string; readonly socket: string }
  | { readonly kind: "abortCapture"; readonly clone: number }
  | { readonly kind: "cloneProgress"; readonly clone: number; readonly pagesSent: number; readonly pagesRemaining: number }
  | { readonly kind: "cloneFailed"; readonly clone: number; readonly why: string }
  /** From the donor: the image is exact as of this tick. On the donor's connection it stands between the results of seq and seq + 1. */
  | {
      readonly kind: "captured";
      readonly clone: number;
      readonly seq: number;
      readonly holdMicros: number;
      readonly pages: number;
      readonly bytes: number;
    }
  /**
   * From the newcomer: the image is in, ticks after seq may run. `store`: where it is written down as a checkpoint, whose digest is
   * `digest`; both empty: nowhere.
   */
  | { readonly kind: "restored"; readonly clone: number; readonly seq: number; readonly store: string; readonly digest: string }
  | { readonly kind: "imageStart"; readonly clone: number }
  | { readonly kind: "imageEnd"; readonly clone: number; readonly seq: number; readonly configuration: number }
  /** A configuration that won. `fullOutputs`: the receiver sends complete results, not only digests. */
  | { readonly kind: "configurationNotice"; readonly record: ConfigurationRecord; readonly fullOutputs: boolean }
  /** From a new sequencer: send kept ticks and results after your `committed`, then `resumed`. */
  | { readonly kind: "resume"; readonly configuration: number }
  | { readonly kind: "resumed"; readonly seq: number; readonly committed: number }
  /**
   * Take what changed since the last checkpoint, so that the next one holds the guest only briefly. `keep`: write it down too.
   * `urgent`: there is no verified one yet, and until there is nobody could judge.
   */
  | { readonly kind: "prepareCheckpoint"; readonly keep: boolean; readonly urgent: boolean }
  /** Answer to it: little is left to take. */
  | { readonly kind: "checkpointPrepared" }
  /** Goes before the result of a checkpoint's tick. `store`: where it is written down; empty: nowhere. */
  | {
      readonly kind: "checkpointMarked";
      readonly seq: number;
      readonly holdMicros: number;
      readonly pages: number;
      readonly store: string;
    }
  /** All members had the same digest at that tick: this checkpoint replaces the former one. */
  | { readonly kind: "checkpointVerified"; readonly seq: number }
  /** No more checkpoints. `retire`: what is written down stays, somebody reads it. */
  | { readonly kind: "endCheckpoints"; readonly retire: boolean }
  /** To the judge: become the machine of this verified checkpoint. */
  | { readonly kind: "restoreCheckpoint"; readonly store: string; readonly seq: number }
  /** Its answer: the digest of what it restored. */
  | { readonly kind: "checkpointRestored"; readonly seq: number; readonly digest: string }
  /** A checkpoint cannot be written down or restored. */
  | { readonly kind: "checkpointFailed"; readonly why: string }
  /** RAM of this module changed without having been written to: the page, and the tick after which it was seen. */
  | { readonly kind: "damaged"; readonly page: number; readonly seq: number }
  /** A tick or notice of a configuration lower than one already seen was refused. */
  | { readonly kind: "refused"; readonly configuration: number; readonly seen: number }
  /** The sender holds a mirror of the guest's disk; JSON of its header. */
  | { readonly kind: "mirrorHeader"; readonly text: string }
  /** Between I/O modules: whether the sender sequences (or is about to), under which configuration, and which CPU modules it reaches. */
  | { readonly kind: "heartbeat"; readonly isActive: boolean; readonly configuration: number; readonly cpus: readonly string[] };

export type Message =
  | MirrorMessage
  | TickMessage
  | ResultMessage
  /** A tick that a CPU module kept, handed to a new sequencer. */
  | { readonly kind: "keptTick"; readonly tick: TickMessage }
  | { readonly kind: "payload"; readonly seq: number; readonly outputs: readonly MachineOutput[] }
  /** Pages of RAM; empty bytes: an all-zero page. */
  | { readonly kind: "imagePages"; readonly pages: readonly ImagePage[] }
  /** The state record, the last piece of an image. */
  | { readonly kind: "imageState"; readonly bytes: Uint8Array }
  /** JSON text (control.ts), parsed by the receiver. */
  | { readonly kind: "control"; readonly text: string }
  | PlainMessage;

export interface ImagePage {
  readonly page: number;
  readonly bytes: Uint8Array;
}
