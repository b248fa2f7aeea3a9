/** Faults of the guest's own software on a real server: told apart from the modules' faults, and restarted by policy. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import type { LoggedEvent } from "../dist/modules/management-events.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { RealServer } from "./support/real-server.js";

async function events(server: RealServer, since: number): Promise<LoggedEvent[]> {
  const { out } = await server.command(["events", "--since", String(since), "--json"]);
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LoggedEvent);
}

async function untilTold(server: RealServer, since: number, code: string): Promise<LoggedEvent> {
  const giveUpAt = Date.now() + 150_000;
  for (;;) {
    const all = await events(server, since);
    const found = all.find((event) => event.code === code);
    if (found !== undefined) return found;
    assert.ok(Date.now() < giveUpAt, `${code} was not told: ${all.map((event) => event.code).join(" ")}`);
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

/** Of the modules that drive the guest. */
function pidsOf(report: ServerReport): number[] {
  return report.modules.filter((module) => module.kind !== "management").map((module) => module.pid);
}

/** No module lost anything, and none is blamed. */
async function assertModulesUntouched(server: RealServer, pids: readonly number[]): Promise<void> {
  const report = await server.status();
  assert.deepEqual(pidsOf(report), pids);
  assert.ok(report.modules.every((module) => module.kind === "management" || module.faults === 0));
  assert.equal(report.redundancy, "DUPLEX");
  assert.equal(report.counters.miscompares + report.counters.outages, 0);
}

describe("a duplex server whose guest fails", () => {
  const server = new RealServer("guest-watch");
  let pids: number[] = [];

  before(async () => {
    pids = pidsOf(await server.up([]));
  });

  after(async () => {
    await server.down();
  });

  test("a service that stops is found, though the guest still accepts its connections; and found again when it goes on", async () => {
    const since = (await server.status()).lastEventId;
    await server.until((report) => report.guestServices["redis"] === "up", "seen with its services");
    await server.type("killall -STOP redis-server");
    const down = await untilTold(server, since, "GUEST_SERVICE_DOWN");
    assert.match(down.text, /redis is down: it does not answer/);
    assert.deepEqual({ ...down.data }, { fault: "guest", service: "redis" });
    assert.equal(down.module, undefined);
    const report = await server.status();
    assert.equal(report.guest, "degraded");
    assert.deepEqual(report.guestServices, { nginx: "up", redis: "down" });
    assert.match((await server.command(["status"])).out, /the guest's own faults: .*services lost 1; down now: redis/);
    await server.type("killall -CONT redis-server");
    await untilTold(server, since, "GUEST_SERVICE_UP");
    assert.equal((await server.status()).guest, "ready");
    await assertModulesUntouched(server, pids);
  });

  test("a panic is the guest's own fault too", async () => {
    const since = (await server.status()).lastEventId;
    await server.type("echo c > /proc/sysrq-trigger");
    await untilTold(server, since, "GUEST_PANIC");
    await untilTold(server, since, "GUEST_READY");
    assert.equal((await server.status()).guestFaults.panics, 1);
    await assertModulesUntouched(server, pids);
  });

  test("a management module that takes the lead goes on with what was found, and says nothing twice", async () => {
    const since = (await server.status()).lastEventId;
    await server.until((report) => report.guestServices["redis"] === "up", "seen with its services");
    await server.type("killall -STOP redis-server");
    await untilTold(server, since, "GUEST_SERVICE_DOWN");
    const before = await server.status();
    process.kill((await server.module("mgmt0")).pid, "SIGKILL");
    await untilTold(server, since, "MANAGEMENT_TAKEOVER");
    const { guest, guestServices, guestFaults } = await server.status();
    assert.deepEqual(
      { guest, guestServices, guestFaults },
      { guest: "degraded", guestServices: before.guestServices, guestFaults: before.guestFaults },
    );
    await server.type("killall -CONT redis-server");
    await untilTold(server, since, "GUEST_SERVICE_UP");
    const told = (await events(server, since)).filter((event) => event.code.startsWith("GUEST_")).map((event) => event.code);
    assert.deepEqual(told, ["GUEST_SERVICE_DOWN", "GUEST_SERVICE_UP"]);
    await assertModulesUntouched(server, pids);
  });

  test("a guest that answers nothing at all is power-cycled", async () => {
    const since = (await server.status()).lastEventId;
    await server.type("ip link set eth0 down");
    const hung = await untilTold(server, since, "GUEST_HUNG");
    assert.deepEqual({ ...hung.data }, { fault: "guest", evidence: "network" });
    await untilTold(server, since, "GUEST_RESTARTED");
    await untilTold(server, since, "GUEST_READY");
    const { guestFaults } = await server.status();
    assert.equal(guestFaults.hangs, 1);
    assert.equal(guestFaults.restarts, 1);
    await assertModulesUntouched(server, pids);
    await server.assertEqual();
  });
});

describe("a server that only reports", () => {
  const server = new RealServer("guest-report");

  before(async () => {
    await server.up(["--redundancy", "simplex", "--guest-watch", "report"]);
  });

  after(async () => {
    await server.down();
  });

  test("says that the guest hangs and leaves it as it is, and says when it answers again", async () => {
    const since = (await server.status()).lastEventId;
    await server.type("ip link set eth0 down");
    await untilTold(server, since, "GUEST_HUNG");
    assert.equal((await server.status()).guest, "hung");
    await server.type("ip link set eth0 up");
    await untilTold(server, since, "GUEST_ANSWERS");
    await server.until((report) => report.guest === "ready", "ready");
    const told = (await events(server, since)).map((event) => event.code);
    assert.ok(!told.includes("GUEST_RESTARTED") && !told.includes("GUEST_RESET"), told.join(" "));
  });
});
