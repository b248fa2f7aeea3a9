/** The course of an active upgrade is decided purely: its ways, what is refused, and a crash at each step. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import {
  beginUpgrade,
  isAbortable,
  isAllowed,
  ownsPower,
  stepUpgrade,
  UPGRADE_ATTEMPTS_LIMIT,
  type UpgradeEffect,
  type UpgradeEvent,
  type UpgradeState,
  type UpgradeStep,
} from "../dist/installation/upgrade.js";

const TO_TRIED: readonly UpgradeEffect[] = ["copy", "boot", "check"];
const TO_UNCOMMITTED: readonly UpgradeEffect[] = ["remove", "shutDown", "split", "record", "start", "prove"];
const DONE: UpgradeEvent = { kind: "done" };

/** What the world is, as far as the effects change it. */
interface World {
  hasTrial: boolean;
  image: "old" | "new";
  disk: "present" | "former";
  former: boolean;
  isOn: boolean;
  runs: "old" | "new" | null;
  ended: UpgradeState | null;
}

const fresh = (): World => ({ hasTrial: false, image: "old", disk: "present", former: false, isOn: true, runs: "old", ended: null });

function apply(world: World, effect: UpgradeEffect, state: UpgradeState): void {
  switch (effect) {
    case "copy":
    case "boot":
    case "check":
      world.hasTrial = true;
      return;
    case "remove":
      world.hasTrial = false;
      return;
    case "shutDown":
      world.isOn = false;
      world.runs = null;
      return;
    case "split":
      assert.ok(!world.isOn, "a mirror is split off while the guest is off");
      world.former = true;
      return;
    case "swap":
      assert.ok(!world.isOn && world.former, "the disk is exchanged while the guest is off, for one that is there");
      world.disk = "former";
      return;
    case "record":
    case "recordBack":
      world.image = effect === "record" ? "new" : "old";
      return;
    case "start":
      world.isOn = true;
      world.runs = world.image;
      return;
    case "prove":
      assert.equal(world.runs, "new");
      return;
    case "forget":
      world.former = false;
      return;
    case "end":
      world.ended = state;
  }
}

/** Carries out what is asked for until nothing is. `failAt`: the effect that fails, each time. `crash`: is every effect carried out twice? */
function run(world: World, first: UpgradeStep, options: { readonly failAt?: UpgradeEffect; readonly crash?: boolean } = {}): UpgradeState {
  let { state, effects } = first;
  for (let turns = 0; effects.length > 0; turns += 1) {
    assert.ok(turns < 100, "it comes to an end");
    const [effect] = effects as [UpgradeEffect];
    assert.equal(effects.length, 1);
    if (options.crash === true) {
      apply(world, effect, state);
      const resumed = stepUpgrade(state, { kind: "resumed" });
      assert.deepEqual([resumed.state, resumed.effects], [state, [effect]], "whoever takes the lead does it again");
    }
    if (effect === options.failAt) ({ state, effects } = stepUpgrade(state, { kind: "failed", why: `${effect} failed` }));
    else {
      apply(world, effect, state);
      if (effect === "end") return state;
      ({ state, effects } = stepUpgrade(state, DONE));
    }
  }
  return state;
}

describe("the course of an active upgrade", () => {
  test("tries, waits, cuts over, waits, and is committed", () => {
    const world = fresh();
    const tried = run(world, beginUpgrade(false));
    assert.deepEqual([tried.phase, world.hasTrial, world.image], ["tried", true, "old"]);
    const uncommitted = run(world, stepUpgrade(tried, { kind: "cutover" }));
    assert.deepEqual([uncommitted.phase, world.hasTrial, world.runs, world.former], ["uncommitted", false, "new", true]);
    const ended = run(world, stepUpgrade(uncommitted, { kind: "commit" }));
    assert.deepEqual([ended.phase, ended.outcome, ended.why], ["ended", "upgraded", null]);
    assert.deepEqual([world.runs, world.former], ["new", false]);
  });

  test("cuts over at once if asked to", () => {
    assert.equal(run(fresh(), beginUpgrade(true)).phase, "uncommitted");
  });

  for (const isFormerDisk of [false, true])
    test(`goes back on the ${isFormerDisk ? "former" : "present"} disk`, () => {
      const world = fresh();
      const uncommitted = run(world, beginUpgrade(true));
      const ended = run(world, stepUpgrade(uncommitted, { kind: "rollback", isFormerDisk }));
      assert.deepEqual([ended.outcome, ended.why, world.runs, world.image], ["rolledBack", null, "old", "old"]);
      assert.deepEqual([world.disk, world.former], [isFormerDisk ? "former" : "present", false]);
    });

  test("every effect may be carried out twice, and then again by the next leader", () => {
    for (const event of [{ kind: "commit" }, { kind: "rollback", isFormerDisk: true }] as const) {
      const world = fresh();
      const uncommitted = run(world, beginUpgrade(true), { crash: true });
      const ended = run(world, stepUpgrade(uncommitted, event), { crash: true });
      assert.equal(ended.phase, "ended");
      assert.equal(world.runs, event.kind === "commit" ? "new" : "old");
    }
  });

  test("whatever fails, the guest runs, and the trial is gone", () => {
    for (const failAt of [...TO_TRIED, ...TO_UNCOMMITTED]) {
      const world = fresh();
      const ended = run(world, beginUpgrade(true), { failAt });
      const isBefore = [...TO_TRIED, "remove", "shutDown", "split"].includes(failAt);
      if (failAt === "start") assert.deepEqual([ended.outcome, ended.phase], ["failed", "ended"], "no start, no way back");
      else {
        assert.deepEqual([ended.outcome, world.runs], [isBefore ? "aborted" : "rolledBack", "old"], failAt);
        assert.match(ended.why ?? "", new RegExp(`${failAt} failed`));
      }
      assert.ok(!world.hasTrial || failAt === "remove");
    }
  });

  test("a former disk that cannot be taken leaves the present one", () => {
    const world = fresh();
    const uncommitted = run(world, beginUpgrade(true));
    const ended = run(world, stepUpgrade(uncommitted, { kind: "rollback", isFormerDisk: true }), { failAt: "swap" });
    assert.deepEqual([ended.outcome, world.disk, world.runs], ["rolledBack", "present", "old"]);
    assert.match(ended.why ?? "", /former disk could not be taken/);
  });

  test("what stays unanswered is tried again, and then failed", () => {
    let { state } = beginUpgrade(false);
    for (let tries = 1; tries < UPGRADE_ATTEMPTS_LIMIT; tries += 1) {
      const next = stepUpgrade(state, { kind: "unanswered", why: "silence" });
      assert.deepEqual([next.state.phase, next.effects], ["copying", ["copy"]]);
      ({ state } = next);
    }
    const last = stepUpgrade(state, { kind: "unanswered", why: "silence" });
    assert.deepEqual([last.state.phase, last.state.why], ["removing", "silence"]);
  });

  test("each phase: what may be asked for, an abort without a trace, a server started anew", () => {
    const seen = new Map<string, UpgradeState>();
    let step = beginUpgrade(false);
    const note = (): void => void seen.set(step.state.phase, step.state);
    for (note(); step.effects.length > 0; note()) step = stepUpgrade(step.state, DONE);
    step = stepUpgrade(step.state, { kind: "cutover" });
    for (note(); step.effects.length > 0; note()) step = stepUpgrade(step.state, DONE);
    step = stepUpgrade(step.state, { kind: "rollback", isFormerDisk: true });
    for (note(); step.state.phase !== "ended"; note()) step = stepUpgrade(step.state, DONE);
    assert.deepEqual(
      [...seen.keys()],
      [
        ...[
          "copying",
          "booting",
          "checking",
          "tried",
          "clearing",
          "closing",
          "splitting",
          "recording",
          "starting",
          "proving",
          "uncommitted",
        ],
        ...["closingBack", "swapping", "recordingBack", "startingBack", "forgetting", "ended"],
      ],
    );
    for (const [phase, state] of seen) {
      const aborted = stepUpgrade(state, { kind: "abort" });
      assert.equal(aborted.state.phase === "removing", isAbortable(state.phase), phase);
      if (!isAbortable(state.phase)) assert.deepEqual(aborted, { state, effects: [] });
      assert.equal(isAllowed(state.phase, "commit"), phase === "uncommitted");
      assert.equal(isAllowed(state.phase, "cutover"), phase === "tried");
      assert.ok(!(isAbortable(state.phase) && ownsPower(state.phase)), "while it is tried the guest's power is the guest's");
      for (const isNew of [false, true]) {
        const world: World = { ...fresh(), hasTrial: true, former: true, image: isNew ? "new" : "old", runs: isNew ? "new" : "old" };
        const end = run(world, stepUpgrade(state, { kind: "serverStarted", isNew }));
        if (phase === "uncommitted" && isNew) assert.equal(end.phase, "uncommitted");
        else if (end.phase !== "uncommitted") assert.equal(end.phase, "ended", `${phase} ${isNew}`);
        assert.ok(!world.hasTrial || !isAbortable(state.phase));
      }
    }
  });

  test("a guest that runs the former image again between its shutdown and the record is shut down again", () => {
    for (const phase of ["splitting", "recording"] as const) {
      const state: UpgradeState = { ...beginUpgrade(true).state, phase };
      assert.deepEqual(stepUpgrade(state, { kind: "guestRestarted" }).effects, ["shutDown"]);
    }
    const started: UpgradeState = { ...beginUpgrade(true).state, phase: "starting" };
    assert.deepEqual(stepUpgrade(started, { kind: "guestRestarted" }), { state: started, effects: [] });
  });
});
