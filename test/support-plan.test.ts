/** Support plans: set once, raised while the warranty runs; call-home goes by them. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Alerts, type Notice, type Observation } from "../dist/support/alerts.js";
import {
  LEVEL_TERMS,
  purchasedPlan,
  standingOf,
  upgradeRefusal,
  upgradedPlan,
  type PlanLevel,
  type SupportPlan,
} from "../dist/support/plan.js";
import { SupportPlanReader, writeSupportPlan } from "../dist/modules/support-plan-file.js";
import { runProgram, type Outcome } from "./support/real-server.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const DAY_MS = 86_400_000;
const COMMAND_LIMIT_MS = 60_000;
const UNTIL_MS = 100 * DAY_MS;

function plan(level: PlanLevel): SupportPlan {
  return purchasedPlan({ level, warrantyFromMs: 0, warrantyUntilMs: UNTIL_MS, contact: "desk" }, 0);
}

const BROKEN: Observation = {
  ...{ redundancy: "SIMPLEX", wantedRedundancy: "DUPLEX", isStarting: false, brokenModules: ["cpu0"], failedMirrors: [] },
  ...{ diskErrors: 0, scrubErrors: 0, isGuestHung: false, guestServicesDown: [], fullness: [], certification: null },
};
const WELL: Observation = { ...BROKEN, redundancy: "DUPLEX", brokenModules: [] };

/** One channel of the operator's, one that calls home; every delivery is taken at once. */
class Watched {
  readonly #alerts = new Alerts({
    ...{ server: "bank", run: "r", channels: ["own", "vendor"], callHome: ["vendor"] },
    ...{ simplexForMs: 0, unreachableForMs: 0, fullShare: 0.9, quietMs: 1000, certificateMs: 0 },
  });

  /** "vendor raised BROKEN" ... */
  see(atMs: number, observation: Observation, covered: SupportPlan | null): { lines: string[]; notices: Notice[] } {
    const lines: string[] = [];
    const notices: Notice[] = [];
    const standing = covered === null ? null : standingOf(covered, atMs);
    let effects = this.#alerts.step({ kind: "observed", atMs, plan: standing, observation });
    for (let next; (next = effects.find((effect) => effect.kind === "deliver")) !== undefined;) {
      const { channel, notice } = next;
      lines.push(`${channel} ${notice.state} ${notice.code}`);
      notices.push(notice);
      const others = effects.filter((effect) => effect !== next);
      effects = [...others, ...this.#alerts.step({ kind: "delivered", atMs, channel, id: notice.id })];
    }
    return { lines: lines.sort(), notices };
  }
}

describe("call-home", () => {
  test("without a plan, and outside of its warranty, nobody is called but the operator", () => {
    const upcoming = { ...plan("premium"), warrantyFromMs: 5 };
    for (const [covered, atMs] of [
      [null, 1],
      [upcoming, 1],
      [plan("premium"), UNTIL_MS],
    ] as const) {
      const { lines, notices } = new Watched().see(atMs, BROKEN, covered);
      assert.ok(lines.includes("own raised BROKEN"));
      assert.ok(lines.every((line) => line.startsWith("own ")));
      assert.ok(notices.every(({ support }) => support === null));
    }
  });

  test("standard covers what is critical, enhanced warnings too, and each notice says what was promised", () => {
    const standard = new Watched().see(1, BROKEN, plan("standard"));
    assert.deepEqual(standard.lines, ["own raised BROKEN", "own raised SIMPLEX", "vendor raised BROKEN"]);
    const promised = standard.notices.find(({ code }) => code === "BROKEN")?.support;
    assert.deepEqual(promised, { level: "standard", contact: "desk", reactionMs: LEVEL_TERMS.standard.reactionMs });
    assert.equal(standard.notices.find(({ code }) => code === "SIMPLEX")?.support, null);
    const enhanced = new Watched().see(1, BROKEN, plan("enhanced"));
    assert.deepEqual(enhanced.lines, ["own raised BROKEN", "own raised SIMPLEX", "vendor raised BROKEN", "vendor raised SIMPLEX"]);
  });

  test("premium reminds of what is critical and stays, as often as the reaction is due; the others do not", () => {
    const { reactionMs } = LEVEL_TERMS.premium;
    const premium = new Watched();
    premium.see(1, BROKEN, plan("premium"));
    assert.deepEqual(premium.see(reactionMs, BROKEN, plan("premium")).lines, []);
    assert.deepEqual(premium.see(reactionMs + 1, BROKEN, plan("premium")).lines, ["vendor reminded BROKEN"]);
    assert.deepEqual(premium.see(reactionMs + 2, BROKEN, plan("premium")).lines, []);
    assert.deepEqual(premium.see(2 * reactionMs + 1, BROKEN, plan("premium")).lines, ["vendor reminded BROKEN"]);
    const enhanced = new Watched();
    enhanced.see(1, BROKEN, plan("enhanced"));
    assert.deepEqual(enhanced.see(DAY_MS, BROKEN, plan("enhanced")).lines, []);
  });

  test("an upgrade calls for what is so already; the end is told to whoever was called, also after the warranty", () => {
    const watched = new Watched();
    watched.see(1, BROKEN, plan("standard"));
    const raised = upgradedPlan(plan("standard"), "enhanced", 2);
    assert.deepEqual(watched.see(2, BROKEN, raised).lines, ["vendor raised SIMPLEX"]);
    assert.deepEqual(watched.see(UNTIL_MS, WELL, raised).lines, [
      ...["own cleared BROKEN", "own cleared SIMPLEX", "own raised WARRANTY_ENDING", "vendor cleared BROKEN", "vendor cleared SIMPLEX"],
    ]);
  });

  test("the operator hears of the warranty's end a month before", () => {
    const watched = new Watched();
    assert.deepEqual(watched.see(UNTIL_MS - 30 * DAY_MS - 1, WELL, plan("standard")).lines, []);
    assert.deepEqual(watched.see(UNTIL_MS - 30 * DAY_MS, WELL, plan("standard")).lines, ["own raised WARRANTY_ENDING"]);
  });
});

test("a plan is raised one way only, and only while its warranty runs", () => {
  assert.equal(upgradeRefusal(plan("standard"), "premium", 1), null);
  assert.equal(upgradeRefusal(plan("premium"), "standard", 1), "lower");
  assert.equal(upgradeRefusal(plan("enhanced"), "enhanced", 1), "lower");
  assert.equal(upgradeRefusal(plan("standard"), "premium", UNTIL_MS), "ended");
  assert.equal(upgradeRefusal({ ...plan("standard"), warrantyFromMs: 5 }, "premium", 1), "upcoming");
  assert.deepEqual(upgradedPlan(plan("standard"), "premium", 7).history, [
    { atMs: 0, level: "standard" },
    { atMs: 7, level: "premium" },
  ]);
});

describe("support plan, the command", () => {
  const base = mkdtempSync(join(tmpdir(), "steadfast-plan-"));
  const file = join(base, "state", "bank", "support-plan.json");
  const environment = { ...process.env, STEADFAST_RUN: join(base, "run"), STEADFAST_STATE: join(base, "state"), NO_COLOR: "1" };
  after(() => rmSync(base, { recursive: true, force: true }));

  function command(...words: string[]): Promise<Outcome> {
    return runProgram(STEADFAST, ["support", "plan", ...words, "--server", "bank"], "", COMMAND_LIMIT_MS, environment);
  }

  async function refused(code: string, ...words: string[]): Promise<void> {
    const { code: exit, error } = await command(...words);
    assert.notEqual(exit, 0);
    assert.match(error, new RegExp(`${code}: `));
  }

  test("is set once, raised, and shown", async () => {
    assert.match((await command()).out, /no support plan/);
    await refused("PLAN_NONE", "upgrade", "premium");
    await refused("PLAN_LEVEL", "purchase", "gold", "--until", "2099-12-31");
    await refused("PLAN_DATE", "purchase", "standard", "--until", "2099-02-30");
    await refused("PLAN_WARRANTY_EMPTY", "purchase", "standard", "--until", "2020-01-01");
    await refused("PLAN_CONTACT", "purchase", "standard", "--until", "2099-12-31", "--contact", "a\nb");
    assert.ok(!existsSync(file));
    const bought = await command("purchase", "standard", "--until", "2099-12-31", "--contact", "+49 30 000000");
    assert.match(bought.out, /support standard, reaction within 24 h, warranty until 2099-12-31, \+49 30 000000/, bought.error);
    await refused("PLAN_THERE", "purchase", "premium", "--until", "2099-12-31");
    await refused("PLAN_LOWER", "upgrade", "standard");
    assert.match((await command("upgrade", "premium")).out, /support premium, reaction within 1 h/);
    const shown = JSON.parse((await command("--json")).out) as { level: string; history: unknown[] };
    assert.equal(shown.level, "premium");
    assert.equal(shown.history.length, 2);
  });

  test("is not raised after the warranty, and a damaged file is named", async () => {
    mkdirSync(dirname(file), { recursive: true });
    writeSupportPlan(file, { ...plan("standard"), warrantyUntilMs: 10 * DAY_MS });
    await refused("PLAN_WARRANTY", "upgrade", "premium");
    const reader = new SupportPlanReader(file);
    assert.equal(reader.standing(DAY_MS)?.warranty, "running");
    writeFileSync(file, readFileSync(file, "utf8").slice(1));
    await refused("PLAN_FILE");
    assert.equal(reader.standing(DAY_MS), null);
    rmSync(file);
  });
});
