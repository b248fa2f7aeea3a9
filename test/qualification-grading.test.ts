/** Grading of a qualification: facts in, verdicts out; and machines side by side on a recording, with a test build that computes unlike itself. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { checkStatement } from "../dist/certification/statement.js";
import {
  gradeCampaign,
  gradeComputingErrors,
  gradeDisk,
  gradePowerLoss,
  gradeServices,
  reintegrationProblems,
} from "../dist/qualification/grading/campaign.js";
import { CHECKS } from "../dist/qualification/grading/checks.js";
import { flipProblems, gradeCourses, type Course } from "../dist/qualification/grading/determinism.js";
import { reportPage } from "../dist/qualification/grading/page.js";
import {
  gradeComparisons,
  isClearlyWithin,
  MARGINS,
  regressionProblem,
  type Comparison,
  type Margin,
} from "../dist/qualification/grading/regression.js";
import { overallVerdict, reproducingCommand, seedOf, type QualificationReport, type Row } from "../dist/qualification/grading/report.js";
import { firstParting, nodePrograms, runSideBySide } from "../dist/qualification/machines.js";
import { plannedChecks } from "../dist/qualification/suite.js";
import { statementOf } from "../dist/qualification/statement.js";
import { SeededRandom } from "../dist/foundation/random.js";
import { makeTestBuild } from "./support/test-build.js";

const RECORDING = fileURLToPath(new URL("../test/recordings/board-guest.steadfast", import.meta.url));
const RECORDED_TICKS = 400;
const folder = mkdtempSync(join(tmpdir(), "steadfast-grading-"));
after(() => rmSync(folder, { recursive: true, force: true }));

const course = (label: string, more: Partial<Course> = {}): Course => {
  return { label, ticks: 3000, instructions: 9, stateDigest: "a", isWhole: true, ...more };
};

test("equal courses pass; one that differs, stops early or is short does not, and the first tick and place are named", () => {
  assert.equal(gradeCourses("the boot", [course("1"), course("2")], null).verdict, "PASSED");
  const parted = gradeCourses("the boot", [course("1"), course("2", { stateDigest: "b" })], {
    labels: ["1", "2"],
    tick: 77,
    isFirst: true,
    places: ["register x5 of hart 0", "page 0x80001000"],
  });
  assert.equal(parted.verdict, "FAILED");
  assert.match(parted.detail, /1 and 2 differ from tick 77 on \(in register x5 of hart 0, page 0x80001000\)/);
  assert.match(gradeCourses("the boot", [course("1"), course("2", { stateDigest: "b" })], null).detail, /2 different states/);
  assert.match(gradeCourses("the boot", [course("1"), course("2", { isWhole: false })], null).detail, /did not get through/);
  assert.match(gradeCourses("the boot", [course("1"), course("2", { ticks: 10 })], null).detail, /only 10 ticks/);
  assert.match(
    gradeCourses("it", [course("1"), course("2", { differs: { tick: 5, fields: ["digest"] } })], null).detail,
    /another digest at tick 5/,
  );
  assert.match(gradeCourses("the boot", [course("1")], null).detail, /only 1 machines/);
});

test("a flipped bit that is not found is named", () => {
  const flip = { address: 0x1234, bit: 3, tick: 8 };
  assert.deepEqual(flipProblems([{ ...flip, isFound: true }], 1), []);
  assert.match(flipProblems([{ ...flip, isFound: false }], 1).join(), /bit 3 of 0x1234 at tick 8/);
  assert.match(flipProblems([], 1).join(), /only 0 of 1/);
});

/** Rounds by turns on a host whose speed drifts, and whose single rounds are off by up to 15 %. */
function noisyRounds(margin: Margin, factor: number, seed: number): Comparison {
  const random = new SeededRandom(seed);
  const noise = (): number => 1 + (random.below(301) - 150) / 1000;
  const base: number[] = [];
  const changed: number[] = [];
  for (let round = 0; round < 7; round += 1) {
    const drift = 1000 * (1 + round / 4);
    base.push(drift * noise());
    changed.push(drift * factor * noise());
  }
  return { margin, base, changed };
}

test("on a noisy host an unchanged image passes and one that is 30 % slower fails", () => {
  let alarms = 0;
  let missed = 0;
  for (let seed = 1; seed <= 200; seed += 1) {
    if (gradeComparisons([noisyRounds(MARGINS.payments, 1, seed)]).verdict !== "PASSED") alarms += 1;
    if (gradeComparisons([noisyRounds(MARGINS.payments, 0.7, seed)]).verdict !== "FAILED") missed += 1;
  }
  assert.ok(alarms <= 10 && missed <= 10, `${alarms} false alarms and ${missed} misses in 200 runs`);
});

test("a comparison is clear when its rounds agree, and nothing measured is no pass", () => {
  const margin = MARGINS.payments;
  assert.ok(isClearlyWithin({ margin, base: [100, 100, 100], changed: [99, 101, 100] }));
  assert.ok(!isClearlyWithin({ margin, base: [100, 100, 100], changed: [99, 70, 70] }));
  assert.ok(!isClearlyWithin({ margin, base: [100, 100, 100], changed: [70, 70, 70] }), "a refusal takes all rounds");
  assert.equal(gradeComparisons([{ margin, base: [100], changed: [Number.NaN] }]).verdict, "FAILED");
  assert.equal(gradeComparisons([{ margin, base: [], changed: [] }]).verdict, "FAILED");
  const slower = gradeComparisons([{ margin: MARGINS.bootInstructions, base: [300], changed: [400] }]);
  assert.match(slower.detail, /instructions from power-on to ready: 33 % more than the base \(400 against 300 M; 15 % are allowed\)/);
  // Below the slack nothing is a regression: 8 MiB more of 20 are.
  assert.equal(gradeComparisons([{ margin: MARGINS.memory, base: [20], changed: [27] }]).verdict, "PASSED");
  assert.equal(gradeComparisons([{ margin: MARGINS.memory, base: [20], changed: [29] }]).verdict, "FAILED");
});

test("the campaign fails by broken promises and by faults that could not be made", () => {
  const facts = { broken: [], wanted: 2, faults: 2, payments: 10, pages: 10, figures: [] };
  assert.equal(gradeCampaign(facts).verdict, "PASSED");
  assert.match(gradeCampaign({ ...facts, broken: ["1 requests failed"] }).detail, /1 requests failed/);
  assert.match(gradeCampaign({ ...facts, faults: 1 }).detail, /only 1 of 2/);
  const back = { broken: [], wanted: 1, times: [{ holdMs: 3, duplexAfterMs: 900 }], isEqual: true };
  assert.deepEqual(reintegrationProblems(back), []);
  assert.match(reintegrationProblems({ ...back, times: [{ holdMs: null, duplexAfterMs: null }] }).join(), /only 0 of 1/);
  assert.match(reintegrationProblems({ ...back, isEqual: false }).join(), /not equal/);
});

test("holds of a few milliseconds are not judged by the ratios of single ones", () => {
  assert.equal(regressionProblem({ margin: MARGINS.hold, base: [2, 15], changed: [14, 12] }), undefined);
  assert.match(regressionProblem({ margin: MARGINS.hold, base: [2, 15], changed: [30, 32] }) ?? "", /hold of a reintegration/);
});

test("an error that was not found fails, and so does a proof against an innocent module, but not a verdict by record", () => {
  const error = { kind: "skew-clock", module: "cpu0", finding: "re-execution", isInnocentAccused: false };
  const facts = { broken: [], wanted: 1, payments: 10, errors: [error] };
  assert.equal(gradeComputingErrors(facts).verdict, "PASSED");
  for (const finding of ["missed", "masked"])
    assert.match(gradeComputingErrors({ ...facts, errors: [{ ...error, finding }] }).detail, /skew-clock of cpu0 was not found/);
  const accused = { ...error, isInnocentAccused: true };
  assert.match(gradeComputingErrors({ ...facts, errors: [accused] }).detail, /another module was accused by re-execution/);
  assert.equal(gradeComputingErrors({ ...facts, errors: [{ ...accused, finding: "record" }] }).verdict, "PASSED");
  assert.match(gradeComputingErrors({ ...facts, wanted: 2 }).detail, /only 1 of 2/);
  assert.match(gradeComputingErrors({ ...facts, broken: ["1 requests failed"] }).detail, /1 requests failed/);
});

test("services, disks and losses of power are graded by what is left", () => {
  const service = { name: "web", answers: true, isRunning: true, restarts: 0 };
  assert.equal(gradeServices([service], []).verdict, "PASSED");
  assert.match(gradeServices([{ ...service, restarts: 1 }], []).detail, /web ended by itself/);
  assert.match(gradeServices([{ ...service, answers: false }], []).detail, /web does not answer/);
  assert.match(gradeServices([{ ...service, isRunning: false }], []).detail, /web does not run/);
  assert.equal(gradeServices([], []).verdict, "FAILED");
  const disk = {
    ...{ drills: [{ drill: "bit-rot", mirror: "io0", isMended: true }], wanted: 1, guestErrors: 0, unrepairable: 0, repaired: 1 },
    isContentRight: true,
  };
  assert.equal(gradeDisk(disk).verdict, "PASSED");
  for (const wrong of [{ guestErrors: 1 }, { unrepairable: 1 }, { repaired: 0 }, { isContentRight: false }, { wanted: 2 }])
    assert.equal(gradeDisk({ ...disk, ...wrong }).verdict, "FAILED", JSON.stringify(wrong));
  assert.equal(gradePowerLoss({ wanted: 1, losses: [{ acknowledged: 5, violations: [] }] }).verdict, "PASSED");
  assert.match(gradePowerLoss({ wanted: 1, losses: [{ acknowledged: 5, violations: ["gone"] }] }).detail, /loss 1: gone/);
  assert.equal(gradePowerLoss({ wanted: 1, losses: [{ acknowledged: 0, violations: [] }] }).verdict, "FAILED");
});

const row = (id: string, verdict: Row["verdict"], detail = "so"): Row => {
  const plots = [{ kind: "rounds", title: "rate", unit: "/s", series: [{ name: "base", values: [1, Number.NaN, 2] }] }] as const;
  const figures = [{ name: "rate", value: 2, unit: "/s" }];
  return {
    ...{
      id,
      name: `<${id}>`,
      proves: "it holds",
      verdict,
      detail,
      level: "quick",
      seed: 7,
      seconds: 1,
      reproduce: "again",
      figures,
      plots,
    },
  };
};

const report = (rows: readonly Row[]): QualificationReport => ({
  ...{ level: "quick", seed: 7, verdict: overallVerdict(rows), isComplete: true, name: "demo <1>", imageDigest: "1".repeat(64) },
  ...{ baseDigest: "2".repeat(64), changeDigest: "3".repeat(64), policyDigest: "4".repeat(64), engine: "e", suite: "1", nodes: ["v20"] },
  ...{ host: "a host", startedAt: "2026-01-01T00:00:00.000Z", seconds: 9, rows },
});

test("the statement of a report says its verdict, and the same for every run that passed", () => {
  const passed = statementOf(report([row("a", "PASSED", "took 3 s")]), 1, 0);
  assert.equal(checkStatement(passed).predicate.verificationResult, "PASSED");
  assert.deepEqual(passed, statementOf(report([row("a", "PASSED", "took 4 s")]), 1, 0));
  const failed = statementOf(report([row("a", "PASSED"), row("b", "ERROR", "broke")]), 1, 0);
  assert.equal(checkStatement(failed).predicate.verificationResult, "FAILED");
  assert.deepEqual(failed.predicate.results[1], { check: "b", verdict: "FAILED", detail: "broke" });
  assert.equal(overallVerdict([]), "FAILED");
});

test("the page of a report is whole and lets no markup through", () => {
  const page = reportPage(report([row("a", "FAILED", "<script>alert(1)</script>")]));
  assert.ok(!page.includes("<script>") && page.includes("&lt;script&gt;"));
  assert.match(page, /<svg[^>]*aria-label="rate \(\/s\)"/);
  assert.ok(!/(src|href)=/.test(page), "it needs no other file");
  assert.match(page, /prefers-color-scheme: dark/);
});

test("seeds follow from the digest, and a row's command runs just that check", () => {
  assert.equal(seedOf("f".repeat(64)), 0x7fff_ffff);
  assert.equal(
    reproducingCommand(["my change.tar"], "quick", "faults", 5),
    "steadfast change certify 'my change.tar' --level quick --check faults --seed 5",
  );
  const own = [{ name: "nginx-config", command: "nginx -t", timeoutSeconds: 9 }];
  assert.equal(plannedChecks("quick", own, []).length, CHECKS.length + 1);
  assert.deepEqual(
    plannedChecks("quick", own, ["faults", "own:nginx-config"]).map((check) => check.id),
    ["own:nginx-config", "faults"],
  );
  assert.throws(() => plannedChecks("quick", [], ["nothing"]), { code: "USAGE" });
});

test("the first tick at which one of several courses parts from the first is found", () => {
  const ticks = (...values: readonly number[]): Uint8Array => new Uint8Array(values.flatMap((value) => new Array<number>(16).fill(value)));
  assert.equal(firstParting([ticks(1, 2, 3), ticks(1, 2, 3)]), null);
  assert.deepEqual(firstParting([ticks(1, 2, 3), ticks(1, 2, 4), ticks(1, 5, 3)]), { tick: 2, machine: 2 });
  assert.deepEqual(firstParting([ticks(1, 2, 3), ticks(1, 2)]), { tick: 3, machine: 1 });
  assert.equal(firstParting([]), null);
});

const sideBySide = (machines: number) => ({
  ...{ nodes: nodePrograms([]), machinesPerNode: 1, leastMachines: machines, folder },
  ...{ signal: new AbortController().signal, onTicks: () => undefined },
});

test("machines side by side run a recording alike and find every flipped bit", async () => {
  const job = { kind: "replay", recording: RECORDING, flips: 4, flipTicks: RECORDED_TICKS, seed: 3 } as const;
  const { courses, answers, divergence } = await runSideBySide(job, sideBySide(2));
  assert.equal(divergence, null);
  assert.equal(new Set(courses.map((each) => each.stateDigest)).size, 1);
  for (const answer of answers) assert.deepEqual(flipProblems(answer.flips, 4), []);
  assert.ok(courses.every((each) => each.ticks === RECORDED_TICKS && each.isWhole && each.differs === undefined));
});

/** What machines of a build with a planted fault come to. */
async function gradePlanted(replace: string) {
  const build = makeTestBuild(folder, [{ file: "machine/drilled.js", find: "run(tick) {", replace: `run(tick) { ${replace}` }]);
  const planted = (await import(join(build, "dist/qualification/machines.js"))) as typeof import("../dist/qualification/machines.js");
  const job = { kind: "replay", recording: RECORDING, flips: 0, flipTicks: RECORDED_TICKS, seed: 3 } as const;
  const { courses, divergence } = await planted.runSideBySide(job, sideBySide(2));
  return { graded: gradeCourses("the recording", courses, divergence), divergence };
}

const COUNTED = "this.runs = (this.runs ?? 0) + 1; if (this.runs === 40)";

test("a build whose machines follow their host's clock is found out, with the tick and the register", async () => {
  const { graded, divergence } = await gradePlanted(`${COUNTED} tick = { ...tick, nowNs: tick.nowNs + process.hrtime.bigint() };`);
  assert.equal(graded.verdict, "FAILED");
  assert.deepEqual([divergence?.tick, divergence?.isFirst], [40, true], graded.detail);
  assert.ok(divergence?.places.includes("guest time"), graded.detail);
});

test("memory that differs where no result shows it is found at the end, with the page", async () => {
  const { graded, divergence } = await gradePlanted(`${COUNTED} this.flipBit(0x3ff000 + (process.pid % 64), 1);`);
  assert.equal(graded.verdict, "FAILED", graded.detail);
  assert.ok(divergence?.places.includes("page 0x803ff000"), graded.detail);
});
