/**
 * More and fewer CPU modules on a real server under the payment workload: simplex, duplex and triplex, changed while it runs; a third
 * module that hangs or computes wrongly; two self-checking pairs.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { PaymentReport } from "../dist/bench/payments.js";
import { RealServer, type Outcome } from "./support/real-server.js";

/** Pays without a pause until `during` is over. */
async function whilePaying(server: RealServer, seconds: number, during: () => Promise<void>): Promise<void> {
  const parameters = ["bench", "payments", "--clients", "8", "--faults", "none", "--seconds", String(seconds), "--json"];
  const paying: Promise<Outcome> = server.command(parameters, "", (seconds + 60) * 1000);
  await during();
  const outcome = await paying;
  const report = JSON.parse(outcome.out) as PaymentReport;
  // The workload does not know that a module was made to compute wrongly on purpose.
  const broken = report.broken.filter((promise) => !/^the CPU modules disagreed 1 times$/.test(promise));
  assert.deepEqual(broken, [], outcome.out + outcome.error);
  assert.equal(report.load.failures + report.load.lostConnections, 0);
}

async function until(server: RealServer, redundancy: string): Promise<void> {
  await server.until((report) => report.redundancy === redundancy && report.wantedRedundancy === redundancy, redundancy);
}

async function drill(server: RealServer, parameters: readonly string[]): Promise<void> {
  const outcome = await server.command(parameters);
  assert.equal(outcome.code, 0, outcome.out + outcome.error);
}

/** Until an event of this code about this module is there. */
async function untilTold(server: RealServer, code: string, module: string): Promise<void> {
  for (let looks = 0; looks < 200; looks += 1) {
    const { out } = await server.command(["events", "--json"]);
    if (out.split("\n").some((line) => line.includes(`"code":"${code}"`) && line.includes(`"module":"${module}"`))) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.fail(`${code} of ${module} was not told`);
}

describe("redundancy changed online", { timeout: 10 * 60_000 }, () => {
  const server = new RealServer("test-redundancy");
  before(() => server.up(["--kernel", "hardened"]));
  after(() => server.remove());

  test("duplex, triplex, simplex, duplex again, with a hung and a wrong module on the way: no client notices", async () => {
    await whilePaying(server, 25, async () => {
      await drill(server, ["redundancy", "triplex"]);
      await until(server, "TRIPLEX");
      await drill(server, ["fault", "hang", "cpu2"]);
      await untilTold(server, "MODULE_HUNG", "cpu2");
      await until(server, "TRIPLEX");
      await drill(server, ["fault", "corrupt-output", "cpu1"]);
      await untilTold(server, "MISCOMPARE", "cpu1");
      await until(server, "TRIPLEX");
      await server.assertEqual();
      await drill(server, ["redundancy", "1"]);
      await until(server, "SIMPLEX");
      await drill(server, ["redundancy", "duplex"]);
      await until(server, "DUPLEX");
    });
    await server.assertEqual();
    assert.equal((await server.status()).counters.outages, 0);
  });
});

describe("pair-and-spare", { timeout: 10 * 60_000 }, () => {
  const server = new RealServer("test-pairs");
  before(() => server.up(["--kernel", "hardened", "--redundancy", "pair-and-spare"]));
  after(() => server.remove());

  test("a pair that disagrees with itself drops out, and the other one carries on", async () => {
    await whilePaying(server, 15, async () => {
      await drill(server, ["fault", "corrupt-output", "cpu2"]);
      await untilTold(server, "MISCOMPARE", "cpu2");
      await untilTold(server, "PAIR_DROPPED", "cpu3");
      await until(server, "PAIR_AND_SPARE");
      await drill(server, ["fault", "kill", "cpu0"]);
      await untilTold(server, "MODULE_LOST", "cpu0");
      await until(server, "PAIR_AND_SPARE");
    });
    await server.assertEqual();
    assert.equal((await server.status()).counters.outages, 0);
  });
});
