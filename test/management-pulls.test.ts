/**
 * Whatever is said to be safe to pull is pulled, modules and whole enclosures, at any moment and again and again: nothing is lost.
 * STEADFAST_PULL_SECONDS and STEADFAST_PULL_SEED set how long, and which pulls.
 */
import assert from "node:assert/strict";
import { after, afterEach, test } from "node:test";
import { SeededRandom } from "../dist/foundation/random.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { ToyServers } from "./support/toy-servers.js";

const SECONDS = Number(process.env["STEADFAST_PULL_SECONDS"] ?? 20);
const SEED = Number(process.env["STEADFAST_PULL_SEED"] ?? 1);

const servers = new ToyServers();
afterEach(() => servers.downAll());
after(() => servers.remove());

/** Modules and enclosures that are there and said to be safe. */
function safeToPull({ modules, enclosures }: ServerReport): string[] {
  const present = modules.filter((module) => !module.held);
  const whole = enclosures.filter(({ name }) => present.some((module) => module.enclosure === name));
  return [...present, ...whole].filter((each) => each.safeToPull).map((each) => each.name);
}

test("pulling whatever is said to be safe loses nothing", { timeout: SECONDS * 1000 + 120_000 }, async (context) => {
  context.diagnostic(`seed ${SEED}`);
  const random = new SeededRandom(SEED);
  const server = await servers.up("pulls");
  const endAt = Date.now() + SECONDS * 1000;
  let pulls = 0;
  while (Date.now() < endAt) {
    const report = await server.status();
    assert.equal(report.counters.outages, 0);
    const held = report.modules.filter((module) => module.held).map((module) => module.name);
    const safe = safeToPull(report);
    if (held.length > 0 && (safe.length === 0 || random.below(2) === 0)) await server.must(["insert", random.pick(held)]);
    else if (safe.length > 0) {
      // What was safe a moment ago may not be any more: then it is refused, and nothing else.
      const outcome = await server.command(["pull", random.pick(safe)]);
      if (outcome.code === 0) pulls += 1;
      else assert.match(outcome.error, /NOT_SAFE_TO_PULL/);
    }
  }
  assert.ok(pulls > 0);
  for (const { name, held } of (await server.status()).modules) if (held) await server.must(["insert", name]);
  await server.untilComplete();
  await server.assertEqual();
  assert.equal((await server.status()).counters.outages, 0);
  await server.assertOneLog();
  await server.down();
});
