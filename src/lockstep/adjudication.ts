/**
 * What follows when modules disagree (DESIGN section 5). A majority judges by itself. For two, a third machine, the judge, is restored
 * from the verified checkpoint and runs the ticks since: whom it contradicts is isolated. Until it has spoken nothing is released.
 * Without a checkpoint, or without a judge, the better record decides, and the event says that nothing more was known.
 */
import { assert } from "../foundation/assert.js";
import type { Message, ResultMessage } from "../wire/messages.js";
import type { Checkpoints, VerifiedCheckpoint } from "./checkpoints.js";
import type { ServerContext } from "./context.js";
import { JUDGE_LIMIT_MS } from "./limits.js";
import type { CpuRow } from "./membership.js";
import { reportOf, type Verdict } from "./miscompare-report.js";
import type { Reintegration } from "./reintegration.js";
import { quorum, sameResult } from "./voter.js";

interface Case {
  readonly seq: number;
  /** In what they disagree. */
  readonly what: string;
  readonly groups: readonly (readonly string[])[];
  readonly claims: ReadonlyMap<string, ResultMessage>;
  readonly checkpoint: VerifiedCheckpoint;
  /** Running time of the guest since then. */
  readonly busyMs: number;
  readonly sinceWaitedMs: number;
  readonly sinceMs: number;
  isRestoring: boolean;
  /** What the judge computed, in the order of the ticks. */
  readonly found: ResultMessage[];
}

export class Adjudication {
  readonly #context: ServerContext;
  readonly #reintegration: Reintegration;
  /** Set once: each needs the other. */
  checkpoints: Checkpoints | null = null;
  #case: Case | null = null;
  miscompares = 0;
  /** How long the last one with a judge held the guest. */
  lastMs = 0;

  constructor(context: ServerContext, reintegration: Reintegration) {
    this.#context = context;
    this.#reintegration = reintegration;
  }

  /** Nothing may be issued, released or decided otherwise until the judge has spoken. */
  get isPending(): boolean {
    return this.#case !== null;
  }

  get #judge(): CpuRow | null {
    const { judge } = this.#context.options;
    return judge === undefined ? null : this.#context.membership.row(judge);
  }

  /** A module contradicts what the others agreed on. */
  wrong(name: string, seq: number): void {
    const row = this.#context.membership.row(name);
    if (row.role === "shot" || row.role === "absent") return;
    if (row.role !== "member") {
      // A newcomer that computes something else was not restored exactly; that is a defect, and must be seen.
      this.#reintegration.fail(`its result for tick ${seq} differs from the members'`);
      return;
    }
    this.miscompares += 1;
    const right = this.#context.membership.live.filter((each) => each !== name);
    this.#report(seq, "results", this.#claimsAt(seq), { by: "majority", right, wrong: [name] });
    const text = `${name} computed something else than the majority at tick ${seq}; it is isolated`;
    this.#context.event("error", "MISCOMPARE", text, name, { seq, by: "majority", right });
    this.#context.shoot(row, `miscompare at tick ${seq}`, true);
    this.#dropPartner(name, seq);
  }

  /** A pair that disagrees with itself drops out as a whole: what is left of it checks nobody. Another pair carries on. */
  #dropPartner(name: string, seq: number): void {
    const { membership } = this.#context;
    const partner = membership.partnerOf(name);
    if (partner === null || partner.role !== "member" || membership.completePairs.length === 0) return;
    const text = `${name} and ${partner.name} disagree at tick ${seq}: their pair drops out, and both come back`;
    this.#context.event("warning", "PAIR_DROPPED", text, partner.name, { seq });
    this.#context.shoot(partner, `its pair disagreed with itself at tick ${seq}`, false);
  }

  /** No majority: all of these groups contradict each other. `what` says in what. */
  tied(groups: readonly (readonly string[])[], seq: number, what: string): void {
    this.miscompares += 1;
    const checkpoint = this.checkpoints?.verified ?? null;
    const claims = this.#claimsAt(seq);
    const { voter, options, waitedMs, atMs } = this.#context;
    const isPossible = checkpoint !== null && this.#judge !== null && voter.keepsAfter(checkpoint.seq);
    if (!isPossible) return this.#byRecord(groups, seq, what, claims, "there is no verified checkpoint");
    const busyMs = Math.round(this.checkpoints?.busySinceVerifiedMs ?? 0);
    this.#case = { seq, what, groups, claims, checkpoint, busyMs, sinceWaitedMs: waitedMs, sinceMs: atMs, isRestoring: false, found: [] };
    const text = `${groups.map((group) => group.join(" and ")).join(" and ")} disagree at tick ${seq} (${what}): a third machine runs again what they ran since tick ${checkpoint.seq}`;
    this.#context.event("warning", "ADJUDICATION_STARTED", text, options.judge, { seq, what, checkpointSeq: checkpoint.seq });
    this.#context.emit({ kind: "judge", wanted: true });
  }

  /** Full digests or those of a checkpoint at one tick, by module. */
  digests(digests: Readonly<Record<string, string>>, seq: number, what: string): void {
    const groups = new Map<string, string[]>();
    for (const [name, digest] of Object.entries(digests)) groups.set(digest, [...(groups.get(digest) ?? []), name]);
    if (groups.size < 2 || this.isPending) return;
    const all = [...groups.values()];
    const majority = all.find((group) => group.length >= quorum(Object.keys(digests).length));
    if (majority === undefined) return this.tied(all, seq, what);
    for (const group of all) if (group !== majority) for (const name of group) this.wrong(name, seq);
  }

  /** A module found its own memory changed without having been written to. */
  damaged(row: CpuRow, page: number, seq: number): void {
    if (row.role !== "member") return;
    const { membership } = this.#context;
    const isAlone = membership.live.length < 2;
    const text = `${row.name} found page ${page} of its memory changed without a write, after tick ${seq}; ${isAlone ? "no other module could take over" : "it is isolated"}`;
    this.#context.event("error", "MEMORY_DAMAGED", text, row.name, { seq, page });
    const pending = this.#case;
    if (pending !== null && pending.claims.has(row.name)) return this.#decide(pending, (name) => name !== row.name, "self-check");
    if (!isAlone) this.#context.shoot(row, "its memory is damaged", true);
  }

  #claimsAt(seq: number): Map<string, ResultMessage> {
    const claims = new Map<string, ResultMessage>();
    const results = this.#context.voter.ballot(seq)?.results;
    for (const name of this.#context.membership.voters) {
      const result = results?.get(name);
      if (result !== undefined) claims.set(name, result);
    }
    return claims;
  }

  // ---- the judge ----

  /** One step further, if it can be made. */
  consider(): void {
    const pending = this.#case;
    if (pending === null) return this.#dismissIfReplaced();
    const judge = this.#judge;
    assert(judge !== null, "there is a judge to wait for");
    if (this.#context.waitedMs - pending.sinceWaitedMs > JUDGE_LIMIT_MS) return this.#giveUp("the third machine did not answer in time");
    if (judge.role === "waiting" && !pending.isRestoring) {
      pending.isRestoring = true;
      pending.found.length = 0;
      const { store, seq } = pending.checkpoint;
      this.#context.emit({ kind: "send", to: judge.name, message: { kind: "restoreCheckpoint", store, seq } });
    } else if (judge.role === "absent" || judge.role === "shot") pending.isRestoring = false;
  }

  /** What the judge says. True: the message was its own, and not one of a member. */
  message(row: CpuRow, message: Message): boolean {
    const pending = this.#case;
    if (row !== this.#judge || row.role === "member" || row.role === "joining" || message.kind === "memberState") return false;
    if (pending === null || !pending.isRestoring) return true;
    if (message.kind === "checkpointRestored") this.#restored(pending, message.seq, message.digest);
    else if (message.kind === "checkpointFailed") this.#giveUp(`the checkpoint cannot be restored: ${message.why}`);
    else if (message.kind === "result") this.#found(pending, message);
    return true;
  }

  #restored(pending: Case, seq: number, digest: string): void {
    const { checkpoint } = pending;
    if (seq !== checkpoint.seq || digest !== checkpoint.digest) return this.#giveUp("the checkpoint is not any more what was verified");
    for (let next = seq + 1; next <= pending.seq; next += 1) this.#sendTick(next);
  }

  #sendTick(seq: number): void {
    const { options, voter, membership } = this.#context;
    assert(options.judge !== undefined, "there is a judge to run them");
    this.#context.emit({ kind: "send", to: options.judge, message: voter.keptTick(seq, membership.number) });
  }

  #found(pending: Case, result: ResultMessage): void {
    const truth = this.#context.voter.ballot(result.seq)?.truth ?? null;
    pending.found.push(result);
    if (result.seq < pending.seq) {
      if (truth === null || sameResult(truth, result)) return;
      return this.#giveUp(`the third machine contradicts what all agreed on at tick ${result.seq}`);
    }
    const isRight = (name: string): boolean => {
      const claim = pending.claims.get(name);
      return claim !== undefined && sameResult(claim, result) && claim.stateDigest === result.stateDigest;
    };
    this.#decide(pending, isRight, "re-execution");
  }

  #decide(pending: Case, isRight: (name: string) => boolean, by: "re-execution" | "self-check"): void {
    const { membership, atMs } = this.#context;
    const names = [...pending.claims.keys()];
    const right = names.filter(isRight);
    const wrong = names.filter((name) => !isRight(name));
    this.#case = null;
    this.lastMs = atMs - pending.sinceMs;
    this.#report(pending.seq, pending.what, pending.claims, { by, right, wrong });
    for (const name of wrong) {
      const found = by === "self-check" ? "its own memory check" : `re-execution from tick ${pending.checkpoint.seq}`;
      const text = `${name} computed wrongly at tick ${pending.seq} (${pending.what}): ${found} says so${right.length > 0 ? `, and agrees with ${right.join(" and ")}` : ""}; decided after ${Math.round(this.lastMs)} ms`;
      this.#context.event("error", "MISCOMPARE", text, name, {
        seq: pending.seq,
        by,
        right,
        instructionCount: String(pending.claims.get(name)?.instructionCount ?? 0n),
        checkpointSeq: pending.checkpoint.seq,
        checkpointBusyMs: pending.busyMs,
        heldMs: Math.round(this.lastMs),
      });
      this.#isolate(membership.row(name), pending.seq);
    }
    const judge = this.#judge;
    if (by === "re-execution" && judge !== null && !right.some((name) => membership.live.includes(name))) this.#promote(pending, judge);
    else this.#dismiss();
  }

  #isolate(row: CpuRow, seq: number): void {
    if (row.role === "absent" || row.role === "shot") this.#context.voter.discardModule(row.name);
    else this.#context.shoot(row, `miscompare at tick ${seq}`, true);
  }

  /** Nobody else is right, or left: what was run again is the truth, and its machine carries on until others have its image. */
  #promote(pending: Case, judge: CpuRow): void {
    const { membership, voter, waitedMs } = this.#context;
    for (const result of pending.found) if (result.seq > voter.agreed) voter.result(judge.name, result, waitedMs);
    for (let seq = pending.seq + 1; seq <= voter.issued; seq += 1) this.#sendTick(seq);
    judge.lastSeq = pending.seq;
    membership.setRole(judge, "joining");
    const text = `no module in lockstep computed rightly or is left: ${judge.name}, which ran it again, carries on for them`;
    this.#context.event("warning", "JUDGE_PROMOTED", text, judge.name, { seq: pending.seq });
  }

  /** The judge stood in for modules that are back. */
  #dismissIfReplaced(): void {
    const judge = this.#judge;
    if (judge === null || judge.role !== "member" || this.#reintegration.isActive) return;
    if (this.#context.membership.live.length > 2) this.#dismiss();
  }

  #dismiss(): void {
    const judge = this.#judge;
    if (judge === null) return;
    if (judge.role !== "absent") this.#context.shoot(judge, "it is not needed any more", false);
    this.#context.emit({ kind: "judge", wanted: false });
  }

  #giveUp(why: string): void {
    const pending = this.#case;
    if (pending === null) return;
    this.#case = null;
    this.#byRecord(pending.groups, pending.seq, pending.what, pending.claims, why);
    this.#dismiss();
  }

  /** All modules are gone that could have been judged, and the judge too. */
  abandon(): void {
    if (this.#case === null) return;
    this.#case = null;
    this.#dismiss();
  }

  // ---- without a judge ----

  #byRecord(
    groups: readonly (readonly string[])[],
    seq: number,
    what: string,
    claims: ReadonlyMap<string, ResultMessage>,
    why: string,
  ): void {
    const { membership, voter } = this.#context;
    const everyone = groups.flat();
    const living = everyone.filter((name) => membership.row(name).role === "member");
    for (const name of everyone) if (!living.includes(name)) voter.discardModule(name);
    if (living.length === 0) return;
    const trusted = membership.betterRecord(living);
    const kept = groups.find((group) => group.includes(trusted)) ?? [trusted];
    const wrong = everyone.filter((name) => !kept.includes(name));
    this.#report(seq, what, claims, { by: "record", right: kept, wrong });
    for (const name of living) {
      if (kept.includes(name)) continue;
      const text = `${kept.join(" and ")} and ${name} disagree at tick ${seq} (${what}) and nothing tells who is right (${why}): ${name}, with the worse record, is isolated`;
      this.#context.event("error", "MISCOMPARE_UNADJUDICATED", text, name, { seq, trusted, what, why });
      this.#context.shoot(membership.row(name), `miscompare at tick ${seq}`, true);
    }
  }

  #report(seq: number, what: string, claims: ReadonlyMap<string, ResultMessage>, verdict: Verdict): void {
    const checkpoint = this.checkpoints?.verified ?? null;
    const { report, course } = reportOf(this.#context.voter, { seq, what, claims, verdict, checkpoint });
    this.#context.emit({ kind: "report", report, course });
    // Its pages are read by whoever makes a file of the report: the next checkpoint begins elsewhere.
    this.checkpoints?.end();
  }
}
