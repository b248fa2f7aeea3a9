/**
 * The pure heart of a CPU module: runs ticks in order on its machine, refuses what an overtaken sequencer sends, keeps recent
 * ticks and outputs for whoever asks, gives its image to a newcomer (donor) and takes one in (newcomer).
 *
 * Effects go to `emit` and must be executed or encoded at once: image pieces are views into machine memory.
 */
import { assert } from "../foundation/assert.js";
import type { Capture, ImagePiece, Machine, MachineOutput } from "../machine/machine.js";
import type { CheckpointStore } from "./checkpoint-store.js";
import { MemberCheckpoints } from "./member-checkpoints.js";
import type { ConfigurationRecord, Message, ResultMessage, TickMessage } from "../wire/messages.js";
import {
  COPY_SHARE,
  FINISH_PAGES,
  MAX_CLONE_BUFFER_BYTES,
  MAX_MEMBER_KEPT_TICKS,
  MAX_QUEUED_TICKS,
  MOST_COPY_ROUNDS,
  PAGES_PER_FRAME,
  PAGES_PER_SLICE,
  PROGRESS_EVERY_PAGES,
} from "./limits.js";

import { outputsDigest } from "./outputs-digest.js";

export type MemberEvent =
  | { readonly kind: "ioConnected"; readonly io: string }
  | { readonly kind: "ioDisconnected"; readonly io: string }
  | { readonly kind: "ioMessage"; readonly io: string; readonly message: Message }
  /** From the donor that sends us its image. */
  | { readonly kind: "donorMessage"; readonly message: Message }
  | { readonly kind: "donorDisconnected" }
  /** Our own connection to a newcomer. */
  | { readonly kind: "newcomerConnected"; readonly clone: number }
  | { readonly kind: "newcomerDisconnected"; readonly clone: number; readonly why: string };

export type MemberEffect =
  | { readonly kind: "toIo"; readonly io: string; readonly message: Message }
  | { readonly kind: "toNewcomer"; readonly message: Message }
  | { readonly kind: "connectNewcomer"; readonly clone: number; readonly newcomer: string; readonly socket: string }
  | { readonly kind: "closeNewcomer"; readonly clone: number }
  | { readonly kind: "closeDonor"; readonly why: string };

/** Microseconds of some monotonic clock; injected, and used only for what is not voted. */
export type MicrosClock = () => number;

interface Kept {
  readonly tick: TickMessage;
  readonly result: ResultMessage;
  readonly outputs: readonly MachineOutput[];
}

interface Donation {
  readonly clone: number;
  capture: Capture | null;
  pagesSent: number;
  bytesSent: number;
  reportedPages: number;
  /** Microseconds that may be spent on sending while ticks wait. */
  creditMicros: number;
}

/** `spoiled`: an image came in only in part; the machine is of no use until the module is restarted. */
type Condition = "blank" | "running" | "restoring" | "spoiled";

export class Member {
  readonly #machine: Machine;
  readonly #emit: (effect: MemberEffect) => void;
  readonly #clock: MicrosClock;
  readonly #sendsReceipts: boolean;
  /** Connected I/O modules: whether each wants complete outputs. */
  readonly #ios = new Map<string, { fullOutputs: boolean }>();
  readonly #kept = new Map<number, Kept>();
  #oldestKept = 0;
  #queue: TickMessage[] = [];
  #condition: Condition = "blank";
  #record: ConfigurationRecord | null = null;
  #seenConfiguration = 0;
  #lastSeq = 0;
  #committed = 0;
  /** The image that is to come, and the I/O module that announced it. */
  #expected: { readonly clone: number; readonly io: string; readonly keep: boolean } | null = null;
  #incomingClone: number | null = null;
  #donation: Donation | null = null;
  readonly #checkpoints: MemberCheckpoints;
  #lastInstructionCount = 0n;
  #spentInstructions = 0;
  #spentMicros = 0;

  /** `sendsReceipts`: outputs are released on receipt (release `logged`). */
  constructor(machine: Machine, emit: (effect: MemberEffect) => void, clock: MicrosClock, sendsReceipts: boolean, store: CheckpointStore) {
    this.#machine = machine;
    this.#checkpoints = new MemberCheckpoints(machine, store, clock, (message) => this.#toAll(message));
    this.#sendsReceipts = sendsReceipts;
    this.#emit = emit;
    this.#clock = clock;
  }

  get seq(): number {
    return this.#lastSeq;
  }

  get configuration(): number {
    return this.#seenConfiguration;
  }

  /** A tick can be run now. */
  get hasWork(): boolean {
    const next = this.#queue[0];
    if (next === undefined) return false;
    if (this.#condition === "running") return true;
    // Ticks may overtake the image that they belong to. One that powers on would run on a blank machine, and make it refuse the image.
    return this.#condition === "blank" && this.#expected === null && next.inputs.some((input) => input.kind === "powerOn");
  }

  /** Pages are being taken for a checkpoint. */
  get isPreparing(): boolean {
    return this.#checkpoints.isPreparing;
  }

  /** Some work on the next checkpoint, between two quanta. Returns whether anything was done. */
  prepareSlice(): boolean {
    return this.#checkpoints.slice(this.hasWork);
  }

  /** To be called every `DAMAGE_EVERY_MS`. */
  scrub(): void {
    this.#checkpoints.scrub(this.#lastSeq);
  }

  /** An image is being sent. */
  get isSending(): boolean {
    return this.#donation !== null && this.#donation.capture !== null;
  }

  step(event: MemberEvent): void {
    switch (event.kind) {
      case "ioConnected":
        this.#ios.set(event.io, { fullOutputs: false });
        return this.#tellState(event.io);
      case "ioDisconnected":
        this.#ios.delete(event.io);
        this.#forgetExpected((expected) => expected.io === event.io);
        return;
      case "ioMessage":
        return this.#ioMessage(event.io, event.message);
      case "donorMessage":
        return this.#donorMessage(event.message);
      case "donorDisconnected":
        return this.#donorLost();
      case "newcomerConnected":
        return this.#beginSending(event.clone);
      case "newcomerDisconnected":
        return this.#donationFailed(event.clone, event.why);
    }
  }

  #tellState(io: string): void {
    const blank = this.#condition === "blank" && this.#queue.length === 0;
    this.#toIo(io, { kind: "memberState", configuration: this.#seenConfiguration, seq: this.#highestSeq(), blank });
  }

  /** Blank no more: whoever else counts on a blank module must not begin anything with it. */
  #tellOthers(io: string): void {
    for (const other of this.#ios.keys()) if (other !== io) this.#tellState(other);
  }

  #toIo(io: string, message: Message): void {
    this.#emit({ kind: "toIo", io, message });
  }

  #toAll(message: Message): void {
    for (const io of this.#ios.keys()) this.#toIo(io, message);
  }

  /** The highest tick that was run or will be run without further ado. */
  #highestSeq(): number {
    return this.#queue[this.#queue.length - 1]?.seq ?? this.#lastSeq;
  }

  #ioMessage(io: string, message: Message): void {
    switch (message.kind) {
      case "tick":
        return this.#tick(io, message);
      case "configurationNotice":
        return this.#notice(io, message.record, message.fullOutputs);
      case "payloadRequest": {
        const kept = this.#kept.get(message.seq);
        if (kept !== undefined) this.#toIo(io, { kind: "payload", seq: message.seq, outputs: kept.outputs });
        return;
      }
      case "expectImage":
        return this.#expectImage(io, message.clone, message.keep);
      case "capture":
        return this.#capture(message.clone, message.newcomer, message.socket);
      case "abortCapture":
        return this.#abortDonation(message.clone);
      case "resume":
        return this.#resume(io, message.configuration);
      case "prepareCheckpoint":
        return this.#checkpoints.prepare(message.keep, message.urgent);
      case "checkpointVerified":
        return this.#checkpoints.verified();
      case "endCheckpoints":
        return this.#checkpoints.end(message.retire);
      case "restoreCheckpoint":
        return this.#restoreCheckpoint(io, message.store);
      default:
        // Messages of other directions: not for us.
        return;
    }
  }

  /** True (and said) when `configuration` was overtaken: its sequencer is fenced here, by its reader. */
  #refuses(io: string, configuration: number): boolean {
    if (configuration >= this.#seenConfiguration) return false;
    this.#toIo(io, { kind: "refused", configuration, seen: this.#seenConfiguration });
    return true;
  }

  #notice(io: string, record: ConfigurationRecord, fullOutputs: boolean): void {
    if (this.#refuses(io, record.number)) return;
    this.#record = record;
    this.#seenConfiguration = record.number;
    const entry = this.#ios.get(io);
    if (entry !== undefined) entry.fullOutputs = fullOutputs;
  }

  #tick(io: string, tick: TickMessage): void {
    if (this.#refuses(io, tick.configuration)) return;
    this.#seenConfiguration = tick.configuration;
    this.#forgetExpected((expected) => expected.io !== io);
    // Gap filling by a new sequencer may repeat what we already have.
    const isFirst = this.#queue.length === 0 && this.#condition !== "running";
    if (!isFirst && tick.seq <= this.#highestSeq()) return;
    assert(isFirst || tick.seq === this.#highestSeq() + 1, `tick ${tick.seq} follows ${this.#highestSeq()}`);
    assert(this.#queue.length < MAX_QUEUED_TICKS, "the sequencer bounds what waits here");
    const wasBlank = this.#condition === "blank" && this.#queue.length === 0;
    this.#queue.push(tick);
    if (wasBlank && this.#expected === null) this.#tellOthers(io);
    if (this.#sendsReceipts) this.#toAll({ kind: "receipt", configuration: tick.configuration, seq: tick.seq });
    this.#forget(Math.min(tick.committed, tick.floor));
    this.#committed = tick.committed;
  }

  #forget(upTo: number): void {
    const least = Math.max(upTo, this.#lastSeq - MAX_MEMBER_KEPT_TICKS);
    while (this.#oldestKept <= least && this.#kept.size > 0) this.#kept.delete(this.#oldestKept++);
  }

  /** Runs the next tick. Only when `hasWork`. */
  runOne(): void {
    const tick = this.#queue.shift();
    assert(tick !== undefined, "a tick to run");
    this.#condition = "running";
    const startedMicros = this.#clock();
    const made = this.#machine.run(tick);
    const runMicros = Math.max(0, Math.round(this.#clock() - startedMicros));
    this.#lastSeq = tick.seq;
    this.#spentMicros += runMicros;
    if (made.instructionCount > this.#lastInstructionCount)
      this.#spentInstructions += Number(made.instructionCount - this.#lastInstructionCount);
    this.#lastInstructionCount = made.instructionCount;
    const result: ResultMessage = {
      kind: "result",
      configuration: tick.configuration,
      seq: tick.seq,
      instructionCount: made.instructionCount,
      timeNs: made.timeNs,
      idleUntilNs: made.idleUntilNs,
      digest: made.digest,
      outputsDigest: outputsDigest(made.outputs),
      runMicros,
      hasOutputs: made.outputs.length > 0,
      outputs: null,
      stateDigest: this.#stateDigest(tick),
    };
    if (this.#kept.size === 0) this.#oldestKept = tick.seq;
    this.#kept.set(tick.seq, { tick, result, outputs: made.outputs });
    for (const [io, { fullOutputs }] of this.#ios) {
      this.#toIo(io, fullOutputs ? { ...result, outputs: made.outputs } : result);
    }
    this.#checkpoints.credit(runMicros);
    if (this.#donation !== null) this.#donation.creditMicros = Math.min(this.#donation.creditMicros + runMicros * COPY_SHARE, 10_000);
  }

  #stateDigest(tick: TickMessage): string | null {
    if (tick.fullDigest) return this.#machine.fullDigest();
    return tick.checkpoint ? this.#checkpoints.mark(tick.seq, this.#seenConfiguration) : null;
  }

  /** As the judge: stands where the members stood, and runs what they ran since. */
  #restoreCheckpoint(io: string, store: string): void {
    assert(this.#condition === "blank", "the judge begins with a blank machine");
    const restored = this.#checkpoints.restore(store);
    this.#condition = restored === null ? "spoiled" : "running";
    if (restored === null) return;
    this.#lastSeq = restored.seq;
    this.#seenConfiguration = Math.max(this.#seenConfiguration, restored.configuration);
    this.#tellOthers(io);
    this.#toAll({ kind: "checkpointRestored", seq: restored.seq, digest: restored.digest });
  }

  // ---- donor ----

  #capture(clone: number, newcomer: string, socket: string): void {
    if (this.#donation !== null) this.#abortDonation(this.#donation.clone);
    if (this.#condition !== "running") {
      this.#toAll({ kind: "cloneFailed", clone, why: "the donor has no running machine" });
      return;
    }
    this.#donation = { clone, capture: null, pagesSent: 0, bytesSent: 0, reportedPages: 0, creditMicros: 0 };
    this.#emit({ kind: "connectNewcomer", clone, newcomer, socket });
  }

  #beginSending(clone: number): void {
    if (this.#donation?.clone !== clone) {
      this.#emit({ kind: "closeNewcomer", clone });
      return;
    }
    this.#donation.capture = this.#machine.capture();
    this.#emit({ kind: "toNewcomer", message: { kind: "imageStart", clone } });
  }

  /**
   * Sends the next slice of the image, between two quanta, if the connection can take it (`bufferedBytes`) and the guest can
   * spare the time. Returns whether it did.
   */
  sendSlice(bufferedBytes: number): boolean {
    const donation = this.#donation;
    if (donation === null || donation.capture === null || bufferedBytes > MAX_CLONE_BUFFER_BYTES) return false;
    const guestWaits = this.hasWork;
    if (guestWaits && donation.creditMicros <= 0) return false;
    const startedMicros = this.#clock();
    const { remainingPages, totalPages } = donation.capture;
    if (remainingPages <= FINISH_PAGES || donation.pagesSent >= totalPages * MOST_COPY_ROUNDS) {
      this.#finishImage(donation, donation.capture, startedMicros);
      return true;
    }
    this.#sendPieces(donation, donation.capture.next(PAGES_PER_SLICE));
    if (donation.pagesSent - donation.reportedPages >= PROGRESS_EVERY_PAGES) this.#reportProgress(donation, remainingPages);
    if (guestWaits) donation.creditMicros -= this.#clock() - startedMicros;
    return true;
  }

  #reportProgress(donation: Donation, pagesRemaining: number): void {
    donation.reportedPages = donation.pagesSent;
    this.#toAll({ kind: "cloneProgress", clone: donation.clone, pagesSent: donation.pagesSent, pagesRemaining });
  }

  #sendPieces(donation: Donation, pieces: readonly ImagePiece[]): void {
    for (let at = 0; at < pieces.length; at += PAGES_PER_FRAME) {
      const pages = pieces.slice(at, at + PAGES_PER_FRAME);
      donation.pagesSent += pages.length;
      for (const page of pages) donation.bytesSent += page.bytes.length;
      this.#emit({ kind: "toNewcomer", message: { kind: "imagePages", pages } });
    }
  }

  /** The only hold of a reintegration: what is still dirty, then the state record, exact as of the last tick run. */
  #finishImage(donation: Donation, capture: Capture, startedMicros: number): void {
    const pieces = capture.finish();
    const state = pieces.pop();
    assert(state !== undefined && state.page === -1, "an image ends with the state record");
    this.#sendPieces(donation, pieces);
    this.#emit({ kind: "toNewcomer", message: { kind: "imageState", bytes: state.bytes } });
    const { clone } = donation;
    this.#emit({ kind: "toNewcomer", message: { kind: "imageEnd", clone, seq: this.#lastSeq, configuration: this.#seenConfiguration } });
    this.#donation = null;
    const holdMicros = Math.max(0, Math.round(this.#clock() - startedMicros));
    this.#toAll({
      kind: "captured",
      clone,
      seq: this.#lastSeq,
      holdMicros,
      pages: donation.pagesSent,
      bytes: donation.bytesSent + state.bytes.length,
    });
  }

  #abortDonation(clone: number): void {
    if (this.#donation?.clone !== clone) return;
    this.#donation.capture?.abort();
    this.#donation = null;
    this.#emit({ kind: "closeNewcomer", clone });
  }

  #donationFailed(clone: number, why: string): void {
    if (this.#donation?.clone !== clone) return;
    this.#donation.capture?.abort();
    this.#donation = null;
    this.#toAll({ kind: "cloneFailed", clone, why });
  }

  // ---- newcomer ----

  /** Blank when it connected, it may have got an image meanwhile that a former sequencer had ordered: of no use any more. */
  #expectImage(io: string, clone: number, keep: boolean): void {
    if (this.#condition !== "blank" || this.#queue.length > 0)
      return this.#toIo(io, { kind: "cloneFailed", clone, why: "the newcomer is not blank any more" });
    this.#expected = { clone, io, keep };
    this.#toIo(io, { kind: "imageExpected", clone });
  }

  /** Whoever ordered the image is gone, or overtaken: another sequencer may begin with this machine while it is blank. */
  #forgetExpected(condition: (expected: { readonly io: string }) => boolean): void {
    const isUntouched = this.#condition === "blank" && this.#queue.length === 0;
    if (this.#expected !== null && isUntouched && condition(this.#expected)) this.#expected = null;
  }

  #donorMessage(message: Message): void {
    if (message.kind === "imageStart") {
      if (message.clone !== this.#expected?.clone || this.#condition !== "blank") {
        this.#emit({ kind: "closeDonor", why: "this image is not expected" });
        return;
      }
      this.#condition = "restoring";
      this.#incomingClone = message.clone;
      if (this.#expected.keep) this.#checkpoints.imageBegins();
      return;
    }
    if (this.#incomingClone === null) return;
    switch (message.kind) {
      case "imagePages":
        return this.#restorePieces(message.pages);
      case "imageState":
        return this.#restorePieces([{ page: -1, bytes: message.bytes }]);
      case "imageEnd":
        return this.#restored(message.clone, message.seq, message.configuration);
      default:
        return;
    }
  }

  #restorePieces(pieces: readonly ImagePiece[]): void {
    for (const piece of pieces) this.#machine.restore(piece);
    this.#checkpoints.imagePieces(pieces);
  }

  #restored(clone: number, seq: number, configuration: number): void {
    const announcer = this.#expected?.io ?? "";
    this.#incomingClone = null;
    this.#expected = null;
    this.#condition = "running";
    this.#lastSeq = seq;
    this.#seenConfiguration = Math.max(this.#seenConfiguration, configuration);
    this.#queue = this.#queue.filter((tick) => tick.seq > seq);
    const first = this.#queue[0];
    assert(first === undefined || first.seq === seq + 1, "the ticks after the image are complete");
    const kept = this.#checkpoints.imageRestored(seq, this.#seenConfiguration);
    this.#toAll({ kind: "restored", clone, seq, store: kept?.store ?? "", digest: kept?.digest ?? "" });
    this.#tellOthers(announcer);
  }

  #donorLost(): void {
    if (this.#incomingClone === null) return;
    const clone = this.#incomingClone;
    this.#incomingClone = null;
    this.#condition = "spoiled";
    this.#toAll({ kind: "cloneFailed", clone, why: "the donor went away in the middle of its image" });
  }

  // ---- a new sequencer ----

  #resume(io: string, configuration: number): void {
    if (this.#refuses(io, configuration)) return;
    this.#seenConfiguration = configuration;
    for (const { tick, result, outputs } of this.#kept.values()) {
      this.#toIo(io, { kind: "keptTick", tick });
      this.#toIo(io, { ...result, outputs });
    }
    for (const tick of this.#queue) this.#toIo(io, { kind: "keptTick", tick });
    this.#toIo(io, { kind: "resumed", seq: this.#highestSeq(), committed: this.#committed });
  }

  /** What was run since the last call, for the operator. */
  takeSpeed(): { instructions: number; micros: number } {
    const spent = { instructions: this.#spentInstructions, micros: this.#spentMicros };
    this.#spentInstructions = 0;
    this.#spentMicros = 0;
    return spent;
  }

  /** The configuration last heard of. */
  get record(): ConfigurationRecord | null {
    return this.#record;
  }
}
