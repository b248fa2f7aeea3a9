/**
 * Reintegration, one at a time: a donor sends its image to a newcomer, which then runs the ticks kept meanwhile until it is beside
 * the members, proves by its digests that it computes the same, and joins with the next configuration.
 */
import { assert } from "../foundation/assert.js";
import type { ReintegrationProgress } from "../wire/control.js";
import type { Message } from "../wire/messages.js";
import type { VerifiedCheckpoint } from "./checkpoints.js";
import type { ServerContext } from "./context.js";
import {
  CHECKPOINT_MOST_INPUT_BYTES,
  CHECKPOINT_MOST_TICKS,
  CLONE_STALL_MS,
  JOIN_LAG_TICKS,
  MAX_KEPT_INPUT_BYTES,
  MAX_KEPT_TICKS,
} from "./limits.js";
import type { CpuRow } from "./membership.js";

/** A member whose oldest unanswered tick is younger than this works. */
const HEALTHY_DONOR_MS = 1000;
/** Clone numbers of one incarnation of an I/O module; the next one starts above. */
const CLONES_PER_INCARNATION = 1_000_000;

interface Clone {
  readonly number: number;
  readonly newcomer: string;
  readonly donor: string;
  readonly startedAtMs: number;
  phase: "copying" | "restoring" | "catchingUp";
  /** The tick as of which the image is exact; null: not yet. */
  imageSeq: number | null;
  holdMs: number;
  /** The image as the newcomer has written it down; null: it has not. */
  image: VerifiedCheckpoint | null;
  /** Results of the newcomer that were compared with the members' and agreed. */
  compared: number;
  pagesSent: number;
  pagesRemaining: number;
  /** When it last came forward (waitedMs). */
  movedAt: number;
}

export class Reintegration {
  readonly #context: ServerContext;
  #next: number;
  #clone: Clone | null = null;
  completed = 0;
  lastHoldMs = 0;

  constructor(context: ServerContext) {
    this.#context = context;
    this.#next = context.options.incarnation * CLONES_PER_INCARNATION + 1;
  }

  get isActive(): boolean {
    return this.#clone !== null;
  }

  /** The newcomer that gets every tick because it has the image (or will have it), if there is one. */
  get follower(): CpuRow | null {
    const clone = this.#clone;
    return clone === null || clone.imageSeq === null ? null : this.#context.membership.row(clone.newcomer);
  }

  /** The follower's place: it has run everything up to here, or does not need it. */
  get followerSeq(): number {
    const clone = this.#clone;
    assert(clone !== null && clone.imageSeq !== null, "there is a follower");
    return this.#context.membership.row(clone.newcomer).lastSeq;
  }

  /** Ticks after this one are needed to run on from the image, while that is worth it: a newcomer may take long to catch up. */
  get keptFrom(): number {
    const { voter } = this.#context;
    const imageSeq = this.#clone?.imageSeq ?? Infinity;
    const isMuch = voter.issued - imageSeq > CHECKPOINT_MOST_TICKS || voter.keptInputBytes > CHECKPOINT_MOST_INPUT_BYTES;
    return isMuch ? Infinity : imageSeq;
  }

  /** Starts one if there is a module to bring back and a member to copy from. */
  consider(): void {
    const { membership } = this.#context;
    if (this.#clone !== null || membership.isClaiming) return;
    const newcomer = membership.withRole("waiting").find((row) => row.expected && row.reported?.blank === true);
    const donor = this.#chooseDonor();
    if (newcomer === undefined || donor === null) return;
    this.#clone = {
      number: this.#next,
      newcomer: newcomer.name,
      donor,
      startedAtMs: this.#context.atMs,
      phase: "copying",
      imageSeq: null,
      holdMs: 0,
      image: null,
      compared: 0,
      pagesSent: 0,
      pagesRemaining: 0,
      movedAt: this.#context.waitedMs,
    };
    this.#next += 1;
    newcomer.lastSeq = 0;
    membership.setRole(newcomer, "newcomer");
    this.#send(newcomer.name, { kind: "expectImage", clone: this.#clone.number, keep: this.#context.options.checkpoints !== false });
    this.#event("info", "REINTEGRATION_STARTED", newcomer.name, `${newcomer.name} is being brought back into lockstep from ${donor}`);
  }

  /** A member that does not carry the complete outputs is better: then those who wait for outputs do not wait for pages too. */
  #chooseDonor(): string | null {
    const { membership, fullOutputs } = this.#context;
    const { live } = membership;
    return live.find((name) => name !== fullOutputs) ?? live[0] ?? null;
  }

  #send(to: string, message: Message): void {
    this.#context.emit({ kind: "send", to, message });
  }

  #event(
    severity: "info" | "warning",
    code: "REINTEGRATION_STARTED" | "REINTEGRATION_CAPTURED" | "REINTEGRATION_FAILED" | "REINTEGRATED",
    module: string,
    text: string,
    data?: Readonly<Record<string, unknown>>,
  ): void {
    this.#context.emit(
      data === undefined ? { kind: "event", severity, code, module, text } : { kind: "event", severity, code, module, text, data },
    );
    this.#context.emit({ kind: "statusChanged" });
  }

  /** Handles what donor and newcomer say of it. */
  message(from: string, message: Message): void {
    if (!("clone" in message)) return;
    const clone = this.#clone;
    if (clone === null || clone.number !== message.clone || (from !== clone.donor && from !== clone.newcomer)) return;
    clone.movedAt = this.#context.waitedMs;
    switch (message.kind) {
      case "imageExpected": {
        const socket = this.#context.options.sockets[clone.newcomer];
        assert(socket !== undefined, "every CPU module has a socket");
        return this.#send(clone.donor, { kind: "capture", clone: clone.number, newcomer: clone.newcomer, socket });
      }
      case "cloneProgress":
        clone.pagesSent = message.pagesSent;
        clone.pagesRemaining = message.pagesRemaining;
        return;
      case "captured":
        return this.#captured(clone, message);
      case "restored":
        return this.#restored(clone, message);
      case "cloneFailed":
        return this.fail(message.why);
      default:
        return;
    }
  }

  #captured(clone: Clone, message: Extract<Message, { kind: "captured" }>): void {
    clone.holdMs = message.holdMicros / 1000;
    clone.pagesSent = message.pages;
    clone.pagesRemaining = 0;
    this.lastHoldMs = clone.holdMs;
    if (!this.#follow(clone, message.seq)) return;
    const text = `the image for ${clone.newcomer} is exact as of tick ${message.seq}; the guest was held ${clone.holdMs.toFixed(1)} ms`;
    this.#event("info", "REINTEGRATION_CAPTURED", clone.newcomer, text, {
      seq: message.seq,
      holdMs: clone.holdMs,
      pages: message.pages,
      bytes: message.bytes,
      copyMs: Math.round(this.#context.atMs - clone.startedAtMs),
    });
  }

  /** From now on the newcomer gets every tick after the image, those kept meanwhile first. False: the clone failed. */
  #follow(clone: Clone, seq: number): boolean {
    if (clone.imageSeq !== null) return true;
    const { voter, sequencer } = this.#context;
    if (!voter.keepsAfter(seq)) {
      this.fail("the ticks after its image are not kept any more");
      return false;
    }
    clone.imageSeq = seq;
    const newcomer = this.#context.membership.row(clone.newcomer);
    newcomer.lastSeq = Math.max(newcomer.lastSeq, seq);
    voter.inherit(clone.newcomer, clone.donor, seq);
    if (clone.phase === "copying") clone.phase = "restoring";
    sequencer.gentle = true;
    for (let next = seq + 1; next <= voter.issued; next += 1) {
      this.#send(clone.newcomer, voter.keptTick(next, this.#context.membership.number));
    }
    return true;
  }

  /** May come before the donor's `captured`, which travels another way; then this says as of which tick the image is. */
  #restored(clone: Clone, { seq, store, digest }: Extract<Message, { kind: "restored" }>): void {
    clone.phase = "catchingUp";
    if (store !== "") clone.image = { seq, digest, store };
    if (!this.#follow(clone, seq)) return;
    // An idle guest gives nothing to compare: one tick of its own.
    this.#context.sequencer.poke();
    this.#context.emit({ kind: "statusChanged" });
  }

  /** The newcomer's result for a tick on which the members agreed was found equal. */
  compared(module: string, seq: number): void {
    const clone = this.#clone;
    if (clone !== null && clone.newcomer === module && clone.imageSeq !== null && seq > clone.imageSeq) clone.compared += 1;
  }

  /** A result of the newcomer is in. */
  result(row: CpuRow): void {
    const clone = this.#clone;
    if (clone !== null && clone.newcomer === row.name) clone.movedAt = this.#context.waitedMs;
  }

  /** Whether the newcomer stands beside the members and may join; then it is `joining`. */
  considerJoining(): void {
    const clone = this.#clone;
    if (clone === null || clone.phase !== "catchingUp" || clone.compared === 0) return;
    const { membership, voter } = this.#context;
    const row = membership.row(clone.newcomer);
    if (row.role !== "newcomer" || voter.issued - row.lastSeq > JOIN_LAG_TICKS) return;
    membership.setRole(row, "joining");
  }

  /** The last member is gone, but the newcomer has its image and all ticks since: it carries on alone. True: so it is. */
  promote(): boolean {
    const follower = this.follower;
    if (follower === null || (follower.role !== "newcomer" && follower.role !== "joining")) return false;
    if (follower.role === "joining") return true;
    // What its image holds already it will never compute again: the outputs of those ticks must be at hand.
    if (!this.#context.voter.canRelease(follower.name, this.#clone?.imageSeq ?? 0)) return false;
    this.#context.membership.setRole(follower, "joining");
    this.#context.emit({
      kind: "event",
      severity: "warning",
      code: "NEWCOMER_PROMOTED",
      module: follower.name,
      text: `the last module in lockstep was lost while ${follower.name} caught up; ${follower.name} has its image and every tick since, and carries on`,
    });
    return true;
  }

  /** The newcomer is in the configuration in force. Its image as it has written it down; null: it has not. */
  finish(row: CpuRow): VerifiedCheckpoint | null {
    const clone = this.#clone;
    if (clone === null || clone.newcomer !== row.name) return null;
    this.#clear();
    this.completed += 1;
    const durationMs = Math.round(this.#context.atMs - clone.startedAtMs);
    const text = `${row.name} is back in lockstep after ${durationMs} ms; the guest was held ${clone.holdMs.toFixed(1)} ms`;
    this.#event("info", "REINTEGRATED", row.name, text, {
      durationMs,
      holdMs: clone.holdMs,
      compared: clone.compared,
      imageSeq: clone.imageSeq,
    });
    return clone.image;
  }

  #clear(): void {
    this.#clone = null;
    this.#context.sequencer.gentle = false;
  }

  /** A module is gone. `miscompared`: because it computed wrongly, and so does whoever has its image. */
  moduleGone(name: string, miscompared: boolean): void {
    const clone = this.#clone;
    if (clone === null) return;
    if (name === clone.newcomer) {
      this.#clear();
      this.#send(clone.donor, { kind: "abortCapture", clone: clone.number });
      this.#event("warning", "REINTEGRATION_FAILED", name, `${name} was lost in the middle of its reintegration`);
      return;
    }
    // With the image complete the newcomer can do without its donor. Whether it has all of it, it will say itself.
    if (name === clone.donor && (clone.imageSeq === null || miscompared)) this.fail(`the donor ${name} was lost`);
  }

  /** Gives up: the newcomer's machine is of no use any more, it has to be restarted. */
  fail(why: string): void {
    const clone = this.#clone;
    if (clone === null) return;
    this.#clear();
    this.#send(clone.donor, { kind: "abortCapture", clone: clone.number });
    this.#event("warning", "REINTEGRATION_FAILED", clone.newcomer, `the reintegration of ${clone.newcomer} failed: ${why}`);
    this.#context.shoot(this.#context.membership.row(clone.newcomer), `its reintegration failed: ${why}`, false);
  }

  /** Looks for what takes too long. */
  watch(): void {
    const clone = this.#clone;
    if (clone === null) return;
    const { voter, waitedMs, membership } = this.#context;
    if (clone.imageSeq !== null && (voter.keptTicks > MAX_KEPT_TICKS || voter.keptInputBytes > MAX_KEPT_INPUT_BYTES)) {
      return this.fail("too many ticks had to be kept for it");
    }
    if (waitedMs - clone.movedAt <= CLONE_STALL_MS) return;
    const unanswered = voter.firstAfter(membership.row(clone.donor).lastSeq);
    const donorWorks = clone.imageSeq !== null || unanswered === undefined || waitedMs - unanswered.issuedAt < HEALTHY_DONOR_MS;
    if (donorWorks) this.fail("it made no progress");
  }

  progress(name: string): ReintegrationProgress | null {
    const clone = this.#clone;
    if (clone === null || clone.newcomer !== name) return null;
    return {
      phase: clone.phase,
      donor: clone.donor,
      pagesSent: clone.pagesSent,
      pagesRemaining: clone.pagesRemaining,
      ticksBehind: clone.imageSeq === null ? 0 : Math.max(0, this.#context.voter.issued - this.followerSeq),
    };
  }
}
