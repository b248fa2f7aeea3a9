/** The programme itself: carries out what its queue wants, and knows what was certified. */
import { randomInt } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { assert } from "../foundation/assert.js";
import { addSignature, encodeEnvelope, envelopeOf } from "../certification/dsse.js";
import { SteadfastError } from "../foundation/errors.js";
import type { Level } from "../qualification/grading/checks.js";
import type { ProcessRecord } from "../modules/management-process.js";
import type { QualificationReport } from "../qualification/grading/report.js";
import { statementOf } from "../qualification/statement.js";
import type { Arrived, Command } from "./intake.js";
import { endFormerRun, QualificationRun, type RunEnd } from "./qualification-run.js";
import {
  initialState,
  needsPackage,
  step,
  waitingInOrder,
  type Outcome,
  type QueueEffect,
  type QueueEvent,
  type QueueState,
} from "./queue/queue.js";
import type { Finding, Progress, Submission } from "./queue/submission.js";
import type { ProgrammeStore } from "./store.js";

export interface ProgrammeOptions {
  readonly store: ProgrammeStore;
  /** Signs certificates. */
  readonly key: KeyObject;
  readonly level: Level;
  /** Only these checks, which makes every certificate a partial one; empty: all of the level. */
  readonly checks: readonly string[];
  readonly policy: string | undefined;
  readonly validDays: number;
  readonly command: Command;
  /** Removes the servers that a qualification left when it was killed. */
  readonly cleanUp: () => Promise<void>;
  /** One line about what happens. */
  readonly say: (text: string) => void;
}

/** Of one submission, each time that something about it changed. */
export type Follower = (submission: Submission, progress: Progress | null) => void;

export class Programme {
  readonly #options: ProgrammeOptions;
  readonly #store: ProgrammeStore;
  #state: QueueState;
  #run: QualificationRun | null = null;
  #isClosing = false;
  readonly #followers = new Map<number, Set<Follower>>();

  /** @throws SteadfastError PROGRAMME_STORE */
  constructor(options: ProgrammeOptions) {
    this.#options = options;
    this.#store = options.store;
    this.#state = initialState(this.#store.load());
  }

  /** Ends what a former programme left and goes on where it was. */
  async start(): Promise<void> {
    if (await endFormerRun(this.#store.notedProcess())) await this.#options.cleanUp();
    this.#store.clearProcess();
    this.#store.removeStrayPackages(new Set(this.#state.submissions.filter(needsPackage).map((each) => each.changeDigest)));
    this.#dispatch({ kind: "restarted", atMs: Date.now() });
  }

  /** Ends the one that runs; it begins anew when the programme is started again. */
  async close(): Promise<void> {
    this.#isClosing = true;
    const run = this.#run;
    run?.stop("The programme was stopped.");
    await run?.ended;
    if (run?.wasKilled === true) await this.#options.cleanUp();
    this.#dispatch({ kind: "interrupted" });
    this.#store.clearProcess();
    this.#store.close();
  }

  /** @throws SteadfastError as the queue refuses */
  submit({ change, file }: Arrived): Submission {
    const isKept = this.#state.submissions.some((each) => each.changeDigest === change.changeDigest && needsPackage(each));
    if (!isKept) this.#store.takePackage(file, change.changeDigest);
    try {
      this.#dispatch({ kind: "submit", change, atMs: Date.now() });
    } catch (error) {
      if (!isKept) this.#store.removePackage(change.changeDigest);
      throw error;
    }
    const made = this.#newest((each) => each.changeDigest === change.changeDigest);
    assert(made !== undefined, "what was not refused is in the queue");
    return made;
  }

  /** @throws SteadfastError SUBMISSION_UNKNOWN, SUBMISSION_OTHERS, SUBMISSION_ENDED */
  cancel(id: number, who: string): Submission {
    const { submitter } = this.find(id);
    if (submitter !== who) throw new SteadfastError("SUBMISSION_OTHERS", { id, submitter });
    this.#dispatch({ kind: "cancel", id, atMs: Date.now() });
    return this.find(id);
  }

  /** @throws SteadfastError SUBMISSION_UNKNOWN */
  find(id: number): Submission {
    const found = this.#state.submissions.find((each) => each.id === id);
    if (found === undefined) throw new SteadfastError("SUBMISSION_UNKNOWN", { id });
    return found;
  }

  get submissions(): readonly Submission[] {
    return this.#state.submissions;
  }

  /** Of those that wait, by their numbers; 1: the next one. */
  positions(): ReadonlyMap<number, number> {
    return new Map(waitingInOrder(this.#state).map((each, index) => [each.id, index + 1]));
  }

  progressOf(id: number): Progress | null {
    return this.#state.submissions.some((each) => each.id === id && each.state === "running") ? this.#state.progress : null;
  }

  /** The newest one of each certified change that holds at that time, oldest first. */
  certified(nowMs: number): Submission[] {
    const byChange = new Map<string, Submission>();
    for (const each of this.#state.submissions) if (holds(each, nowMs)) byChange.set(each.changeDigest, each);
    return [...byChange.values()];
  }

  /** The newest certified one of an image, also if its certificate has expired. */
  certifiedImage(imageDigest: string): Submission | undefined {
    return this.#newest((each) => each.state === "passed" && each.finding?.imageDigest === imageDigest);
  }

  certifiedChange(changeDigest: string): Submission | undefined {
    return this.#newest((each) => each.state === "passed" && each.changeDigest === changeDigest);
  }

  #newest(isWanted: (submission: Submission) => boolean): Submission | undefined {
    return this.#state.submissions.filter(isWanted).at(-1);
  }

  /** @returns what ends it */
  follow(id: number, follower: Follower): () => void {
    const all = this.#followers.get(id) ?? new Set();
    this.#followers.set(id, all.add(follower));
    return () => {
      all.delete(follower);
      if (all.size === 0) this.#followers.delete(id);
    };
  }

  /** @throws SteadfastError as the queue refuses */
  #dispatch(event: QueueEvent): void {
    const { state, effects } = step(this.#state, event);
    const [first] = effects;
    if (first?.kind === "refuse") {
      const { code, ...parameters } = first.refusal;
      throw new SteadfastError(code, parameters);
    }
    // What cannot be written down has not happened.
    for (const effect of effects) if (effect.kind === "save") this.#store.save(effect.submission);
    this.#state = state;
    for (const effect of effects) this.#carryOut(effect);
  }

  #carryOut(effect: QueueEffect): void {
    switch (effect.kind) {
      case "refuse":
      case "save":
        return;
      case "start":
        return this.#begin(effect.submission);
      case "stop":
        return this.#run?.stop("It was cancelled.");
      case "removePackage":
        return this.#store.removePackage(effect.changeDigest);
      case "forget":
        return this.#store.forget(effect.id);
      case "tell": {
        const { submission, progress } = effect;
        for (const follower of this.#followers.get(submission.id) ?? []) follower(submission, progress);
        if (progress === null)
          this.#options.say(`submission ${submission.id} (${submission.name}, of ${submission.submitter}): ${submission.state}`);
      }
    }
  }

  #begin(submission: Submission): void {
    const { id, attempts: attempt, changeDigest } = submission;
    const { command, level, checks, policy } = this.#options;
    this.#run = new QualificationRun({
      ...{ command, level, checks, policy, packageFile: this.#store.packageFile(changeDigest) },
      ...{ reportPage: this.#store.reportFile(id, "html"), reportFile: this.#store.reportFile(id, "json") },
      onProcess: (record) => this.#note(record),
      onProgress: (progress) => this.#dispatch({ kind: "progressed", id, attempt, progress }),
    });
    void this.#finish(this.#run, submission);
  }

  /** One that cannot be noted runs all the same: if this programme is killed, the next one waits for it to end. */
  #note(record: ProcessRecord): void {
    try {
      this.#store.noteProcess(record);
    } catch (error) {
      this.#options.say(error instanceof Error ? error.message : String(error));
    }
  }

  async #finish(run: QualificationRun, submission: Submission): Promise<void> {
    const outcome = await run.ended
      .then((end) => this.#outcomeOf(end, submission))
      .catch((error: unknown): Outcome => ({ kind: "error", why: error instanceof Error ? error.message : String(error) }));
    // It begins anew when the programme is started again.
    if (this.#isClosing) return;
    if (run.wasKilled) await this.#options.cleanUp().catch((error: unknown) => this.#options.say(`servers were left: ${String(error)}`));
    this.#store.clearProcess();
    this.#run = null;
    const { id, attempts: attempt } = submission;
    this.#untilWritten({ kind: "ended", id, attempt, outcome, atMs: Date.now() });
  }

  /** A full disk must not end the programme: the queue goes on when it can be written. */
  #untilWritten(event: QueueEvent): void {
    try {
      this.#dispatch(event);
    } catch (error) {
      this.#options.say(`${error instanceof Error ? error.message : String(error)} Tried again.`);
      setTimeout(() => this.#untilWritten(event), WRITE_RETRY_MS + randomInt(WRITE_RETRY_MS));
    }
  }

  /** The certificate is on the disk before the queue hears of it. */
  #outcomeOf(end: RunEnd, submission: Submission): Outcome {
    if ("why" in end) return { kind: "error", why: end.why };
    const { report } = end;
    assert(
      report.changeDigest === submission.changeDigest && report.baseDigest === submission.baseDigest,
      "the report is of another change",
    );
    const statement = statementOf(report, this.#options.validDays, Date.now());
    const isPassed = report.verdict === "PASSED";
    if (isPassed) this.#store.saveCertificate(submission.id, encodeEnvelope(addSignature(envelopeOf(statement), this.#options.key)));
    const { level, expiresAt } = statement.predicate;
    return { kind: "found", finding: findingOf(report, level, isPassed ? expiresAt : null) };
  }
}

const WRITE_RETRY_MS = 5000;

function findingOf(report: QualificationReport, level: string, expiresAt: string | null): Finding {
  const { verdict, imageDigest, policyDigest, rows, seed } = report;
  const failedChecks = rows.filter((row) => row.verdict !== "PASSED").map((row) => row.id);
  return { verdict, imageDigest, policyDigest, level, seed, expiresAt, failedChecks, checks: rows.map((row) => row.id) };
}

function holds({ state, finding }: Submission, nowMs: number): boolean {
  return state === "passed" && finding !== null && finding.expiresAt !== null && Date.parse(finding.expiresAt) > nowMs;
}
