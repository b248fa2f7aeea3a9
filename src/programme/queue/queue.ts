/**
 * The queue of a certification programme: `step(state, event)` gives the next state and what has to be done, in that order. One submission
 * runs at a time. Who was served longest ago is next; what a crash cut short goes before everything else, so that it comes to an end.
 */
import { assert } from "../../foundation/assert.js";
import { ATTEMPTS_MAX, CERTIFIED_MAX, HISTORY_MAX, PACKAGES_BYTES_MAX, QUEUE_MAX, QUEUE_SHARE_MAX } from "./limits.js";
import { hasEnded, type Finding, type Progress, type Submission, type SubmittedChange } from "./submission.js";

export interface QueueState {
  /** In the order of their numbers. */
  readonly submissions: readonly Submission[];
  /** Of the one that runs. */
  readonly progress: Progress | null;
}

export type Outcome =
  | { readonly kind: "found"; readonly finding: Finding }
  /** It could not be carried out. */
  | { readonly kind: "error"; readonly why: string };

export type QueueEvent =
  | { readonly kind: "submit"; readonly change: SubmittedChange; readonly atMs: number }
  | { readonly kind: "progressed"; readonly id: number; readonly attempt: number; readonly progress: Progress }
  | { readonly kind: "ended"; readonly id: number; readonly attempt: number; readonly outcome: Outcome; readonly atMs: number }
  | { readonly kind: "cancel"; readonly id: number; readonly atMs: number }
  /** The programme is about to end, and has ended the process of the one that runs: that counts for no attempt. */
  | { readonly kind: "interrupted" }
  /** The programme was started; nothing runs. */
  | { readonly kind: "restarted"; readonly atMs: number };

export type QueueRefusal =
  | { readonly code: "PROGRAMME_QUEUE_FULL"; readonly limit: number }
  | { readonly code: "PROGRAMME_SHARE_FULL"; readonly limit: number }
  | { readonly code: "PROGRAMME_CATALOGUE_FULL"; readonly limit: number }
  | { readonly code: "PROGRAMME_STORE_FULL"; readonly limit: number }
  | { readonly code: "SUBMISSION_THERE"; readonly id: number }
  | { readonly code: "SUBMISSION_UNKNOWN"; readonly id: number }
  | { readonly code: "SUBMISSION_ENDED"; readonly id: number; readonly state: string };

export type QueueEffect =
  /** Of an event that somebody asked for: nothing has changed. */
  | { readonly kind: "refuse"; readonly refusal: QueueRefusal }
  /** Its record has to be on the disk before the next effect is carried out. */
  | { readonly kind: "save"; readonly submission: Submission }
  | { readonly kind: "start"; readonly submission: Submission }
  /** Ends the process of the one that runs; `ended` has to follow. */
  | { readonly kind: "stop"; readonly id: number }
  /** Nobody needs the package any more. */
  | { readonly kind: "removePackage"; readonly changeDigest: string }
  /** Its record and reports. */
  | { readonly kind: "forget"; readonly id: number }
  /** Tell whoever follows. */
  | { readonly kind: "tell"; readonly submission: Submission; readonly progress: Progress | null };

export interface Step {
  readonly state: QueueState;
  readonly effects: readonly QueueEffect[];
}

/** Of records that were read back. */
export function initialState(submissions: readonly Submission[]): QueueState {
  return { submissions: [...submissions].sort((left, right) => left.id - right.id), progress: null };
}

export function step(state: QueueState, event: QueueEvent): Step {
  switch (event.kind) {
    case "submit":
      return submit(state, event.change, event.atMs);
    case "progressed":
      return progressed(state, event);
    case "ended":
      return ended(state, event);
    case "cancel":
      return cancel(state, event.id, event.atMs);
    case "interrupted":
      return interrupted(state);
    case "restarted":
      return restarted(state, event.atMs);
  }
}

export function runningOf({ submissions }: Pick<QueueState, "submissions">): Submission | undefined {
  return submissions.find((each) => each.state === "running");
}

/** Those that wait, in the order in which they would run if nothing else came. */
export function waitingInOrder(state: Pick<QueueState, "submissions">): Submission[] {
  const order: Submission[] = [];
  let { submissions } = state;
  for (let turn = 0; ; turn += 1) {
    const next = nextOf(submissions);
    if (next === undefined) return order;
    order.push(next);
    // As if it had run: after everything that has.
    submissions = replaced(submissions, { ...next, state: "failed", startedAtMs: LATER_MS + turn });
  }
}

/** After any time of a clock. */
const LATER_MS = Number.MAX_SAFE_INTEGER / 2;

function refuse(state: QueueState, refusal: QueueRefusal): Step {
  return { state, effects: [{ kind: "refuse", refusal }] };
}

function submit(state: QueueState, change: SubmittedChange, atMs: number): Step {
  const refusal = refusalOf(state, change);
  if (refusal !== null) return refuse(state, refusal);
  const submission: Submission = {
    ...change,
    id: (state.submissions.at(-1)?.id ?? 0) + 1,
    ...{
      state: "queued",
      submittedAtMs: atMs,
      startedAtMs: null,
      endedAtMs: null,
      attempts: 0,
      isCancelling: false,
      why: null,
      finding: null,
    },
  };
  return advanced(withSaved({ ...state, submissions: [...state.submissions, submission] }, submission), atMs);
}

function refusalOf({ submissions }: QueueState, change: SubmittedChange): QueueRefusal | null {
  const open = submissions.filter((each) => !hasEnded(each));
  const twin = open.find((each) => each.changeDigest === change.changeDigest);
  if (twin !== undefined) return { code: "SUBMISSION_THERE", id: twin.id };
  if (open.filter((each) => each.submitter === change.submitter).length >= QUEUE_SHARE_MAX)
    return { code: "PROGRAMME_SHARE_FULL", limit: QUEUE_SHARE_MAX };
  if (open.length >= QUEUE_MAX) return { code: "PROGRAMME_QUEUE_FULL", limit: QUEUE_MAX };
  // Each that is open may become one.
  const certified = submissions.filter((each) => each.state === "passed").length;
  if (certified + open.length >= CERTIFIED_MAX) return { code: "PROGRAMME_CATALOGUE_FULL", limit: CERTIFIED_MAX };
  const kept = new Map(submissions.filter(needsPackage).map((each) => [each.changeDigest, each.bytes]));
  kept.set(change.changeDigest, change.bytes);
  const bytes = [...kept.values()].reduce((sum, each) => sum + each, 0);
  return bytes > PACKAGES_BYTES_MAX ? { code: "PROGRAMME_STORE_FULL", limit: PACKAGES_BYTES_MAX } : null;
}

/** It is to run yet, or others may fetch it. */
export function needsPackage({ state }: Pick<Submission, "state">): boolean {
  return state === "queued" || state === "running" || state === "passed";
}

function progressed(state: QueueState, event: Extract<QueueEvent, { kind: "progressed" }>): Step {
  const running = runningOf(state);
  // What a former attempt says late is nobody's.
  if (running?.id !== event.id || running.attempts !== event.attempt || running.isCancelling) return { state, effects: [] };
  const { progress } = event;
  return { state: { ...state, progress }, effects: [{ kind: "tell", submission: running, progress }] };
}

function ended(state: QueueState, event: Extract<QueueEvent, { kind: "ended" }>): Step {
  const running = runningOf(state);
  if (running?.id !== event.id || running.attempts !== event.attempt) return { state, effects: [] };
  const outcome = running.isCancelling ? CANCELLED : facts(event.outcome);
  return closed({ ...state, progress: null }, { ...running, ...outcome, endedAtMs: event.atMs }, event.atMs);
}

const CANCELLED = { state: "cancelled", isCancelling: false, why: "It was cancelled." } as const;

function facts(outcome: Outcome): Pick<Submission, "state" | "why" | "finding"> {
  if (outcome.kind === "error") return { state: "error", why: outcome.why, finding: null };
  return { state: outcome.finding.verdict === "PASSED" ? "passed" : "failed", why: null, finding: outcome.finding };
}

function cancel(state: QueueState, id: number, atMs: number): Step {
  const found = state.submissions.find((each) => each.id === id);
  if (found === undefined) return refuse(state, { code: "SUBMISSION_UNKNOWN", id });
  if (hasEnded(found)) return refuse(state, { code: "SUBMISSION_ENDED", id, state: found.state });
  if (found.state === "queued") return closed(state, { ...found, ...CANCELLED, endedAtMs: atMs }, atMs);
  // Asked twice, it is stopped once.
  if (found.isCancelling) return { state, effects: [] };
  const stopping = { ...found, isCancelling: true };
  const { state: next, effects } = withSaved({ ...state, submissions: replaced(state.submissions, stopping) }, stopping);
  return { state: next, effects: [...effects, { kind: "stop", id }] };
}

function interrupted(state: QueueState): Step {
  const running = runningOf(state);
  if (running === undefined || running.isCancelling) return { state, effects: [] };
  const again: Submission = { ...running, state: "queued", attempts: running.attempts - 1 };
  return withSaved({ submissions: replaced(state.submissions, again), progress: null }, again);
}

function restarted(state: QueueState, atMs: number): Step {
  assert(state.progress === null, "a queue is started once");
  const cut = runningOf(state);
  if (cut === undefined) return advanced({ state, effects: [] }, atMs);
  if (cut.isCancelling) return closed(state, { ...cut, ...CANCELLED, endedAtMs: atMs }, atMs);
  if (cut.attempts < ATTEMPTS_MAX) {
    const again: Submission = { ...cut, state: "queued" };
    return advanced(withSaved({ ...state, submissions: replaced(state.submissions, again) }, again), atMs);
  }
  const why = `Its qualification was begun ${cut.attempts} times, and each time the programme or its host ended meanwhile.`;
  return closed(state, { ...cut, state: "error", why, endedAtMs: atMs }, atMs);
}

/** One has ended: what nobody needs any more goes, and the next one begins. */
function closed(state: QueueState, submission: Submission, atMs: number): Step {
  const submissions = replaced(state.submissions, submission);
  const saved = withSaved({ ...state, submissions }, submission);
  const isNeeded = submissions.some((each) => each.changeDigest === submission.changeDigest && needsPackage(each));
  const cleared: Step = isNeeded
    ? saved
    : { ...saved, effects: [...saved.effects, { kind: "removePackage", changeDigest: submission.changeDigest }] };
  return advanced(pruned(cleared), atMs);
}

/** The newest one stays in any case, so that no number is given twice. */
function pruned({ state, effects }: Step): Step {
  const without = state.submissions.filter((each) => hasEnded(each) && each.state !== "passed");
  const old = without.slice(0, Math.max(0, without.length - HISTORY_MAX)).map(({ id }) => id);
  return {
    state: { ...state, submissions: state.submissions.filter(({ id }) => !old.includes(id)) },
    effects: [...effects, ...old.map((id) => ({ kind: "forget", id }) as const)],
  };
}

function advanced({ state, effects }: Step, atMs: number): Step {
  if (runningOf(state) !== undefined) return { state, effects };
  const next = nextOf(state.submissions);
  if (next === undefined) return { state, effects };
  // A clock that was set back must not make anyone be served twice.
  const lastMs = Math.max(...state.submissions.map((each) => each.startedAtMs ?? -1));
  const begun: Submission = { ...next, state: "running", attempts: next.attempts + 1, startedAtMs: Math.max(atMs, lastMs + 1) };
  const saved = withSaved({ ...state, submissions: replaced(state.submissions, begun) }, begun);
  return { state: saved.state, effects: [...effects, ...saved.effects, { kind: "start", submission: begun }] };
}

function nextOf(submissions: readonly Submission[]): Submission | undefined {
  const waiting = submissions.filter((each) => each.state === "queued");
  const cutShort = waiting.find((each) => each.startedAtMs !== null);
  if (cutShort !== undefined) return cutShort;
  const servedMs = new Map<string, number>();
  for (const { submitter, startedAtMs } of submissions)
    if (startedAtMs !== null) servedMs.set(submitter, Math.max(startedAtMs, servedMs.get(submitter) ?? -1));
  const since = (each: Submission): number => servedMs.get(each.submitter) ?? -1;
  return [...waiting].sort((left, right) => since(left) - since(right) || left.id - right.id)[0];
}

function withSaved(state: QueueState, submission: Submission): Step {
  return {
    state,
    effects: [
      { kind: "save", submission },
      { kind: "tell", submission, progress: state.progress },
    ],
  };
}

function replaced(submissions: readonly Submission[], by: Submission): Submission[] {
  return submissions.map((each) => (each.id === by.id ? by : each));
}
