/** The simulator: a short run of seeds holds, the same seed gives the same run, and planted bugs are found by its own command. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { runSeed } from "../dist/simulator/run.js";
import { TaskQueue } from "../dist/simulator/task-queue.js";
import { isLong } from "./support/long.js";
import { PLANTED_BUGS } from "./support/planted-bugs.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const FAULTY_MS = 2500;
/** Of each of the many: shorter, so that five hundred take a minute and a half of two cores. */
const MANY_FAULTY_MS = 1500;
/** That many reach every moment that is marked as rare. */
const ALL_SEEDS = 10_000;
const SEEDS = Number(process.env["STEADFAST_SEEDS"] ?? (isLong ? ALL_SEEDS : 500));
/** A planted bug is looked for with so many, from the one that is known to find it. */
const NEAR_SEEDS = 5;
const VIOLATION_EXITS = [10, 11, 12];

function simulate(directory: string, parameters: readonly string[]): { code: number | null; out: string; error: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(directory, "dist/simulator/main.js"), ...parameters], {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  return { code: status, out: stdout, error: stderr };
}

test("tasks come by time, and in the order of asking at equal times", () => {
  const queue = new TaskQueue();
  const came: string[] = [];
  const add = (atMs: number, name: string): void => queue.add(atMs, () => came.push(name));
  for (const [atMs, name] of [
    [5, "c"],
    [1, "a"],
    [5, "d"],
    [3, "b"],
    [9, "f"],
    [5, "e"],
  ] as const)
    add(atMs, name);
  while (queue.first !== undefined) queue.take().run();
  assert.equal(came.join(""), "abcdef");
});

test("one seed is one run: twice the same moments, times and trace", () => {
  assert.deepEqual(runSeed(7, 1500), runSeed(7, 1500));
});

test(`${SEEDS} servers under mixed faults: everything holds${SEEDS >= ALL_SEEDS ? ", and every rare moment was reached" : ""}`, () => {
  const good = simulate(root, ["--seeds", `1..${SEEDS}`, "--ticks", String(MANY_FAULTY_MS), "--json"]);
  assert.equal(good.code, 0, good.out + good.error);
  const report = JSON.parse(good.out) as { seeds: number; faults: number; simulatedHours: number; missing: string[] };
  assert.equal(report.seeds, SEEDS);
  assert.ok(report.faults > SEEDS && report.simulatedHours > 0);
  if (SEEDS >= ALL_SEEDS) assert.deepEqual(report.missing, []);
});

test("the command refuses what it does not understand", () => {
  for (const bad of [["--seeds", "9..1"], ["--seed", "x"], ["--ticks", "0"], ["--jobs", "0"], ["--what"]]) {
    const refused = simulate(root, bad);
    assert.equal(refused.code, 2, bad.join(" "));
    assert.match(refused.error, /^error: .+/);
  }
});

describe("planted bugs", () => {
  let copy = "";
  before(() => {
    copy = mkdtempSync(join(tmpdir(), "steadfast-mutant-"));
    cpSync(join(root, "dist"), join(copy, "dist"), { recursive: true });
    cpSync(join(root, "package.json"), join(copy, "package.json"));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  });
  after(() => rmSync(copy, { recursive: true }));

  for (const bug of PLANTED_BUGS) {
    const [from, to] = isLong ? [1, bug.seeds] : [bug.foundWith, bug.foundWith + NEAR_SEEDS - 1];
    test(`a protocol that ${bug.name} is found out with the seeds ${from} to ${to}`, () => {
      const path = join(copy, "dist/lockstep", bug.file);
      const original = readFileSync(path, "utf8");
      assert.equal(original.split(bug.find).length, 2, "the place to plant it is there, once");
      writeFileSync(path, original.replace(bug.find, bug.replace));
      try {
        const outcome = simulate(copy, ["--seeds", `${from}..${to}`, "--ticks", String(FAULTY_MS)]);
        assert.ok(VIOLATION_EXITS.includes(outcome.code ?? -1), `exit code ${outcome.code}`);
        const seed = /with seed (\d+)/.exec(outcome.error)?.[1];
        if (isLong) assert.equal(Number(seed), bug.foundWith, "foundWith in planted-bugs.ts is the first seed that finds it");
        assert.ok(outcome.error.includes(`replay: npm run sim -- --seed ${seed} --ticks ${FAULTY_MS}`), outcome.error);
      } finally {
        writeFileSync(path, original);
      }
    });
  }
});
