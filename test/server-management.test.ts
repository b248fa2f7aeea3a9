/** Management modules and whole enclosures of a real server with its guest under load: whatever goes, no client notices. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { PaymentReport } from "../dist/bench/payments.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { leadingManagement } from "./support/leading-management.js";
import { RealServer } from "./support/real-server.js";
import { isAlive } from "./support/toy-servers.js";

const server = new RealServer("test-management");

/** Every module there, and ready to take another one's place. */
function untilComplete(): Promise<ServerReport> {
  return server.until(
    (report) => report.redundancy === "DUPLEX" && report.modules.every((module) => module.state === "DUPLEX"),
    "complete",
  );
}

async function command(parameters: readonly string[]): Promise<void> {
  const outcome = await server.command(parameters);
  assert.equal(outcome.code, 0, outcome.out + outcome.error);
}

/** Pays without a pause until `during` is over. */
async function whilePaying(seconds: number, during: () => Promise<void>): Promise<void> {
  const parameters = ["bench", "payments", "--clients", "8", "--faults", "none", "--seconds", String(seconds), "--json"];
  const paying = server.command(parameters, "", (seconds + 60) * 1000);
  await during();
  const outcome = await paying;
  const report = JSON.parse(outcome.out) as PaymentReport;
  assert.deepEqual(report.broken, [], outcome.out + outcome.error);
  assert.equal(report.load.failures + report.load.lostConnections, 0);
}

async function kill(...names: string[]): Promise<void> {
  const { modules } = await server.status();
  const pids = modules.filter((module) => names.includes(module.name)).map((module) => module.pid);
  for (const pid of pids) process.kill(pid, "SIGKILL");
  await server.until((report) => report.modules.every((module) => !pids.includes(module.pid)), `without ${names.join()}`);
  await untilComplete();
}

describe("a duplex server under the payment load", { timeout: 10 * 60_000 }, () => {
  before(async () => {
    await server.up(["--kernel", "hardened"]);
    await untilComplete();
  });
  after(() => server.remove());

  test("loses its leading management module, alone and together with a CPU module", async () => {
    const before = await server.status();
    await whilePaying(20, async () => {
      await kill("mgmt0");
      await kill("mgmt1", "cpu0");
      await command(["fault", "hang", "mgmt0"]);
      await untilComplete();
    });
    await server.assertEqual();
    const report = await server.status();
    assert.equal(report.counters.outages, before.counters.outages);
    const pidOf = (from: ServerReport, name: string): number | undefined => from.modules.find((module) => module.name === name)?.pid;
    const told = (await server.events(before.lastEventId)).map(({ code, text }) => `${code} ${text}`).join("\n");
    for (const name of ["cpu1", "io0", "io1"]) assert.equal(pidOf(report, name), pidOf(before, name), `${name} stays\n${told}`);
  });

  test("loses each enclosure in turn, and gets it back", async () => {
    await whilePaying(30, async () => {
      for (const enclosure of ["enclosure0", "enclosure1", "enclosure0"]) {
        await command(["pull", enclosure]);
        await server.until((report) => report.redundancy === "SIMPLEX", "SIMPLEX");
        await command(["insert", enclosure]);
        await untilComplete();
      }
    });
    await server.assertEqual();
    assert.equal((await server.status()).counters.outages, 0);
  });

  test("is shut down by its guest's power button, though the leading management module dies meanwhile", async () => {
    const report = await server.status();
    const { lastEventId, modules } = report;
    const { pid } = leadingManagement(report, await server.events(0));
    const down = server.command(["down", "--grace", "60"]);
    for (let looks = 0; !(await server.command(["events", "--since", String(lastEventId)])).out.includes("POWER"); looks += 1)
      assert.ok(looks < 100, "the power button was pressed");
    if (isAlive(pid)) process.kill(pid, "SIGKILL");
    assert.equal((await down).code, 0);
    const { out } = await server.command(["events", "--since", String(lastEventId)]);
    assert.match(out, /GUEST_POWERED_OFF[^]*SERVER_STOPPED/);
    for (const each of modules) assert.ok(!isAlive(each.pid), each.name);
  });
});
