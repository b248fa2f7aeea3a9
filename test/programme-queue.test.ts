/** The queue of a certification programme: bounds, fairness, and a crash after each of its steps. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  ATTEMPTS_MAX,
  CERTIFIED_MAX,
  HISTORY_MAX,
  PACKAGES_BYTES_MAX,
  QUEUE_MAX,
  QUEUE_SHARE_MAX,
} from "../dist/programme/queue/limits.js";
import {
  initialState,
  runningOf,
  step,
  waitingInOrder,
  type Outcome,
  type QueueEffect,
  type QueueEvent,
  type QueueState,
} from "../dist/programme/queue/queue.js";
import { hasEnded, type Submission } from "../dist/programme/queue/submission.js";

const digestOf = (number: number): string => number.toString(16).padStart(64, "0");

const passed: Outcome = {
  kind: "found",
  finding: {
    ...{ verdict: "PASSED", imageDigest: digestOf(1), policyDigest: digestOf(2), level: "quick", checks: ["start"], seed: 1 },
    ...{ failedChecks: [], expiresAt: "2027-01-01T00:00:00.000Z" },
  },
};
const failed: Outcome = { kind: "found", finding: { ...passed.finding, verdict: "FAILED", failedChecks: ["start"], expiresAt: null } };

function submission(change: number, submitter: string, bytes = 10, atMs = change): QueueEvent {
  const facts = { name: `change${change}`, description: "", baseDigest: digestOf(0), bytes, submitter };
  return { kind: "submit", change: { ...facts, changeDigest: digestOf(change) }, atMs };
}

/** A programme whose disk is a map, which can lose everything else at any moment. */
class Disk {
  readonly records = new Map<number, Submission>();
  readonly packages = new Set<string>();
  readonly started: number[] = [];
  state: QueueState = initialState([]);
  /** How many effects are still carried out before it dies; each is one step of a crash. */
  effectsLeft = Infinity;

  /** False: it died. */
  dispatch(event: QueueEvent): boolean {
    const { state, effects } = step(this.state, event);
    if (event.kind === "submit" && effects[0]?.kind !== "refuse") this.packages.add(event.change.changeDigest);
    for (const effect of effects) {
      if (this.effectsLeft <= 0) return false;
      this.effectsLeft -= 1;
      this.#carryOut(effect);
    }
    this.state = state;
    return true;
  }

  #carryOut(effect: QueueEffect): void {
    if (effect.kind === "save") this.records.set(effect.submission.id, effect.submission);
    if (effect.kind === "forget") this.records.delete(effect.id);
    if (effect.kind === "removePackage") this.packages.delete(effect.changeDigest);
    if (effect.kind === "start") {
      assert.equal(this.records.get(effect.submission.id)?.state, "running", "it is on the disk before it begins");
      this.started.push(effect.submission.id);
    }
  }

  restart(atMs: number): void {
    this.effectsLeft = Infinity;
    this.state = initialState([...this.records.values()]);
    this.dispatch({ kind: "restarted", atMs });
  }

  end(outcome: Outcome, atMs: number): boolean {
    const running = runningOf(this.state);
    assert.ok(running !== undefined, "something runs");
    return this.dispatch({ kind: "ended", id: running.id, attempt: running.attempts, outcome, atMs });
  }

  refusal(event: QueueEvent): string | undefined {
    const [first] = step(this.state, event).effects;
    return first?.kind === "refuse" ? first.refusal.code : undefined;
  }

  of(id: number): Submission {
    const found = this.state.submissions.find((each) => each.id === id);
    assert.ok(found !== undefined, `submission ${id} is known`);
    return found;
  }
}

test("a submission runs at once, and passes", () => {
  const disk = new Disk();
  disk.dispatch(submission(1, "anna"));
  assert.equal(disk.of(1).state, "running");
  disk.dispatch({ kind: "progressed", id: 1, attempt: 1, progress: { position: 0, count: 2, name: "start", text: "", fraction: 0.5 } });
  assert.equal(disk.state.progress?.name, "start");
  disk.end(passed, 9);
  assert.deepEqual([disk.of(1).state, disk.of(1).endedAtMs, disk.state.progress], ["passed", 9, null]);
  assert.ok(disk.packages.has(digestOf(1)), "others may fetch a certified one");
});

test("who was served longest ago is next, and nobody's many submissions keep others waiting", () => {
  const disk = new Disk();
  for (let change = 1; change <= 4; change += 1) disk.dispatch(submission(change, "anna"));
  disk.dispatch(submission(5, "bert"));
  disk.dispatch(submission(6, "carl"));
  assert.deepEqual(
    waitingInOrder(disk.state).map(({ id }) => id),
    [5, 6, 2, 3, 4],
  );
  // A clock that stands still changes nothing.
  for (let turn = 0; turn < 6; turn += 1) disk.end(failed, 6);
  assert.deepEqual(disk.started, [1, 5, 6, 2, 3, 4]);
});

test("the queue is bounded, each submitter's share too, and so are packages, history and catalogue", () => {
  const disk = new Disk();
  for (let change = 1; change <= QUEUE_SHARE_MAX; change += 1) disk.dispatch(submission(change, "anna"));
  assert.equal(disk.refusal(submission(1, "bert")), "SUBMISSION_THERE");
  assert.equal(disk.refusal(submission(500, "anna")), "PROGRAMME_SHARE_FULL");
  assert.equal(disk.refusal(submission(500, "bert", PACKAGES_BYTES_MAX)), "PROGRAMME_STORE_FULL");
  for (let change = QUEUE_SHARE_MAX + 1; change <= QUEUE_MAX; change += 1) disk.dispatch(submission(change, `submitter${change}`));
  assert.equal(disk.refusal(submission(500, "bert")), "PROGRAMME_QUEUE_FULL");
  while (runningOf(disk.state) !== undefined) disk.end(failed, 1000);
  assert.equal(disk.packages.size, 0, "what failed need not be kept");
  for (let change = 1; change <= HISTORY_MAX + 50; change += 1) {
    disk.dispatch(submission(change, "anna"));
    disk.end(failed, 2000);
  }
  assert.equal(disk.records.size, HISTORY_MAX);
  assert.equal(disk.state.submissions.length, HISTORY_MAX);
  for (let change = 1; change <= CERTIFIED_MAX; change += 1) {
    assert.ok(disk.dispatch(submission(change, "anna")));
    disk.end(passed, 3000);
  }
  assert.equal(disk.refusal(submission(5000, "anna")), "PROGRAMME_CATALOGUE_FULL");
  const ids = disk.state.submissions.map(({ id }) => id);
  assert.equal(new Set(ids).size, ids.length);
});

test("one that waits is cancelled at once, one that runs when its process has ended", () => {
  const disk = new Disk();
  disk.dispatch(submission(1, "anna"));
  disk.dispatch(submission(2, "anna"));
  disk.dispatch(submission(3, "anna"));
  disk.dispatch({ kind: "cancel", id: 2, atMs: 5 });
  assert.equal(disk.of(2).state, "cancelled");
  const { effects } = step(disk.state, { kind: "cancel", id: 1, atMs: 6 });
  assert.ok(effects.some((effect) => effect.kind === "stop"));
  disk.dispatch({ kind: "cancel", id: 1, atMs: 6 });
  assert.deepEqual(step(disk.state, { kind: "cancel", id: 1, atMs: 6 }).effects, [], "asked twice, it is stopped once");
  disk.end(passed, 7);
  assert.deepEqual([disk.of(1).state, disk.of(1).finding], ["cancelled", null], "what it still found does not count");
  assert.equal(disk.of(3).state, "running");
  assert.equal(disk.refusal({ kind: "cancel", id: 1, atMs: 8 }), "SUBMISSION_ENDED");
  assert.equal(disk.refusal({ kind: "cancel", id: 99, atMs: 8 }), "SUBMISSION_UNKNOWN");
});

test("a crash begins the running one anew, so many times; a planned end costs no attempt", () => {
  const disk = new Disk();
  disk.dispatch(submission(1, "anna"));
  disk.dispatch(submission(2, "bert"));
  for (let crash = 1; crash < ATTEMPTS_MAX; crash += 1) {
    disk.restart(100 * crash);
    assert.deepEqual([disk.of(1).state, disk.of(1).attempts], ["running", crash + 1], "it goes before all others");
  }
  disk.dispatch({ kind: "interrupted" });
  disk.restart(1000);
  assert.equal(disk.of(1).attempts, ATTEMPTS_MAX);
  disk.restart(2000);
  assert.equal(disk.of(1).state, "error");
  assert.match(disk.of(1).why ?? "", /3 times/);
  assert.equal(disk.of(2).state, "running");
  disk.dispatch({ kind: "cancel", id: 2, atMs: 2001 });
  disk.restart(3000);
  assert.equal(disk.of(2).state, "cancelled", "a crash does not forget that it was cancelled");
});

test("what a former attempt says late is nobody's", () => {
  const disk = new Disk();
  disk.dispatch(submission(1, "anna"));
  disk.restart(5);
  disk.dispatch({ kind: "ended", id: 1, attempt: 1, outcome: passed, atMs: 6 });
  assert.equal(disk.of(1).state, "running");
});

test("whatever happens, and wherever it dies: one runs at a time, everything ends, nothing is lost or done for nobody", () => {
  const action = fc.oneof(
    fc.record({
      kind: fc.constant("submit" as const),
      who: fc.constantFrom("anna", "bert", "carl"),
      change: fc.integer({ min: 1, max: 6 }),
    }),
    fc.record({ kind: fc.constant("end" as const), isPassed: fc.boolean() }),
    fc.record({ kind: fc.constant("cancel" as const), id: fc.integer({ min: 1, max: 8 }) }),
    fc.record({ kind: fc.constant("crash" as const), after: fc.integer({ min: 0, max: 5 }) }),
  );
  fc.assert(
    fc.property(fc.array(action, { maxLength: 40 }), (actions) => {
      const disk = new Disk();
      let now = 0;
      for (const each of actions) {
        now += 1;
        const running = runningOf(disk.state);
        let lives = true;
        if (each.kind === "crash") disk.effectsLeft = each.after;
        else if (each.kind === "submit") lives = disk.dispatch(submission(each.change, each.who, 10, now));
        else if (each.kind === "cancel") lives = disk.dispatch({ kind: "cancel", id: each.id, atMs: now });
        else if (running !== undefined) lives = disk.end(each.isPassed ? passed : failed, now);
        if (!lives) disk.restart(now);
        const open = disk.state.submissions.filter((one) => !hasEnded(one));
        assert.ok(open.filter((one) => one.state === "running").length === Math.min(1, open.length), "something runs if anything waits");
        for (const one of open) assert.ok(disk.packages.has(one.changeDigest), "its package is there");
        assert.deepEqual(
          [...disk.records.values()].sort((left, right) => left.id - right.id),
          disk.state.submissions,
        );
      }
      disk.restart(now);
      for (let turn = 0; runningOf(disk.state) !== undefined; turn += 1) {
        assert.ok(turn <= QUEUE_MAX, "it comes to an end");
        disk.end(failed, now);
      }
    }),
    { numRuns: 500 },
  );
});
