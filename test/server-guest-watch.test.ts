/** Faults of the guest's own software on a real server: told apart from the modules' faults, and restarted by policy. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ServerClient } from "../dist/cli/client.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { newAgentId } from "../dist/modules/management-agent.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { RealServer } from "./support/real-server.js";

/** Of the modules that drive the guest. */
function pidsOf(report: ServerReport): number[] {
  return report.modules.filter((module) => module.kind !== "management").map((module) => module.pid);
}

/** No module lost anything, and none is blamed. */
async function assertModulesUntouched(server: RealServer, pids: readonly number[]): Promise<void> {
  const report = await server.status();
  const isBlamed = report.modules.some((module) => module.kind !== "management" && module.faults > 0);
  const told = (await server.events(0)).map(({ code, text }) => `${code} ${text}`).join("\n");
  assert.ok(!isBlamed, `no module is blamed:\n${told}`);
  assert.deepEqual(pidsOf(report), pids);
  assert.equal(report.redundancy, "DUPLEX");
  assert.equal(report.counters.miscompares + report.counters.outages, 0);
}

const RUN_LIMIT_SECONDS = 60;

/** By the agent in the guest: exit status and output of a command. */
async function run(client: ServerClient, command: string, id?: string): Promise<string> {
  const { status, base64 } = await client.agent({ verb: "run", command, limitSeconds: RUN_LIMIT_SECONDS }, id);
  return `${status} ${Buffer.from(base64, "base64").toString().trim()}`;
}

/** Until the command has begun: then its request is under way. */
async function untilBegun(server: RealServer, file: string): Promise<void> {
  await server.inGuest(`while ! [ -e ${file} ]; do sleep 1; done`);
}

/** The tests of one server; the option would be handed down to them. */
const IN_ORDER = { concurrency: false };

// Most of it is waiting for limits of silence, so the three servers stand side by side.
describe("faults of the guest's own software", { concurrency: true }, () => {
  describe("a duplex server whose guest fails", IN_ORDER, () => {
    const server = new RealServer("guest-watch");
    let pids: number[] = [];

    before(async () => {
      pids = pidsOf(await server.up([]));
    });

    after(async () => {
      await server.remove();
    });

    test("a service that stops is found, though the guest accepts its connections; a management module that takes the lead goes on with it", async () => {
      const since = (await server.status()).lastEventId;
      await server.until((report) => report.guestServices["redis"] === "up", "seen with its services");
      await server.type("killall -STOP redis-server");
      const down = await server.untilTold(since, "GUEST_SERVICE_DOWN");
      assert.match(down.text, /redis is down: it does not answer/);
      assert.deepEqual({ ...down.data }, { fault: "guest", service: "redis" });
      assert.equal(down.module, undefined);
      const before = await server.status();
      assert.equal(before.guest, "degraded");
      assert.deepEqual(before.guestServices, { nginx: "up", redis: "down" });
      assert.match((await server.command(["status"])).out, /the guest's own faults: .*services lost 1; down now: redis/);

      process.kill((await server.module("mgmt0")).pid, "SIGKILL");
      await server.untilTold(since, "MANAGEMENT_TAKEOVER");
      const { guest, guestServices, guestFaults } = await server.status();
      assert.deepEqual(
        { guest, guestServices, guestFaults },
        { guest: "degraded", guestServices: before.guestServices, guestFaults: before.guestFaults },
      );

      await server.type("killall -CONT redis-server");
      await server.untilTold(since, "GUEST_SERVICE_UP");
      assert.equal((await server.status()).guest, "ready");
      const told = (await server.events(since)).filter((event) => event.code.startsWith("GUEST_")).map((event) => event.code);
      assert.deepEqual(told, ["GUEST_SERVICE_DOWN", "GUEST_SERVICE_UP"], "nothing is said twice");
      await assertModulesUntouched(server, pids);
    });

    test("a panic is the guest's own fault too", async () => {
      const since = (await server.status()).lastEventId;
      await server.type("echo c > /proc/sysrq-trigger");
      await server.untilTold(since, "GUEST_PANIC");
      await server.untilTold(since, "GUEST_READY");
      assert.equal((await server.status()).guestFaults.panics, 1);
      await assertModulesUntouched(server, pids);
    });

    test("a guest that answers nothing at all is power-cycled", async () => {
      const since = (await server.status()).lastEventId;
      await server.type("ip link set eth0 down");
      const hung = await server.untilTold(since, "GUEST_HUNG");
      assert.deepEqual({ ...hung.data }, { fault: "guest", evidence: "network" });
      await server.untilTold(since, "GUEST_RESTARTED");
      await server.untilTold(since, "GUEST_READY");
      const { guestFaults } = await server.status();
      assert.equal(guestFaults.hangs, 1);
      assert.equal(guestFaults.restarts, 1);
      await assertModulesUntouched(server, pids);
      await server.assertEqual();
    });
  });

  describe("a duplex server whose guest is asked by its agent", IN_ORDER, () => {
    const server = new RealServer("guest-agent");
    const client = new ServerClient(server.name);

    before(async () => {
      await server.up([]);
    });

    after(async () => {
      await server.remove();
    });

    test("it answers, runs commands, takes files, and carries out no request twice", async () => {
      for (const verb of ["ping", "health"]) assert.equal((await client.agent({ verb })).status, 0);
      const content = Buffer.from(Array.from({ length: 30_000 }, (_, index) => index % 251));
      const chunk = 24 * 1024;
      for (let offset = 0; offset < content.length; offset += chunk) {
        const base64 = content.subarray(offset, offset + chunk).toString("base64");
        const file = { path: "/tmp/a file", mode: 0o640, totalBytes: content.length };
        assert.equal((await client.agent({ verb: "put", ...file, offset, base64 })).status, 0);
      }
      const { status, base64 } = await client.agent({ verb: "run", command: "cat '/tmp/a file'; exit 3", limitSeconds: RUN_LIMIT_SECONDS });
      assert.equal(status, 3);
      assert.ok(Buffer.from(base64, "base64").equals(content));
      const id = newAgentId();
      for (const time of ["first", "again"]) assert.equal(await run(client, "echo once >> /tmp/once; wc -l < /tmp/once", id), "0 1", time);
      assert.equal(await run(client, "wc -l < /tmp/once"), "0 1");
    });

    test("a request under way is answered once though the active I/O module, then the leading management module is lost", async () => {
      for (const kind of ["io", "management"] as const) {
        const victim = (await server.status()).modules.find((module) => module.kind === kind && (kind === "management" || module.isActive));
        assert.ok(victim !== undefined);
        const answered = run(client, `echo begun >> /tmp/${kind}; sleep 3; wc -l < /tmp/${kind}`);
        await untilBegun(server, `/tmp/${kind}`);
        process.kill(victim.pid, "SIGKILL");
        assert.equal(await answered, "0 1", kind);
        await server.untilTold(0, kind === "io" ? "IO_TAKEOVER" : "MANAGEMENT_TAKEOVER");
      }
      // Its age goes on under another leader.
      assert.notEqual((await server.status()).guestHeartbeatAgeMs, null);
      assert.match((await server.command(["status"])).out, /agent heard \d+\.\d s ago/);
      await server.untilDuplex();
    });

    test("a guest in which no program runs any more is power-cycled, and a request under way ends in an honest error", async () => {
      const since = (await server.status()).lastEventId;
      const id = newAgentId();
      const answered = run(client, "kill -STOP -1; sleep 60", id);
      const refused = assert.rejects(answered, (error) => error instanceof SteadfastError && error.code === "AGENT_UNANSWERED");
      const hung = await server.untilTold(since, "GUEST_HUNG");
      assert.deepEqual({ ...hung.data }, { fault: "guest", evidence: "heartbeat" });
      await server.untilTold(since, "GUEST_RESTARTED");
      await server.untilTold(since, "GUEST_READY");
      await refused;
      await server.until((report) => report.guestHeartbeatAgeMs !== null, "heard again");
      // The guest has forgotten it, and is not asked again.
      await assert.rejects(run(client, "echo again", id), (error) => error instanceof SteadfastError && error.code === "AGENT_UNANSWERED");
      assert.equal(await run(client, "echo well"), "0 well");
      const { guestFaults } = await server.status();
      assert.deepEqual([guestFaults.hangs, guestFaults.restarts], [1, 1]);
      await server.assertEqual();
    });
  });

  describe("a server that only reports", IN_ORDER, () => {
    const server = new RealServer("guest-report");

    before(async () => {
      await server.up(["--redundancy", "simplex", "--guest-watch", "report"]);
    });

    after(async () => {
      await server.remove();
    });

    test("says that the guest hangs and leaves it as it is, and says when it answers again", async () => {
      const since = (await server.status()).lastEventId;
      await server.type("ip link set eth0 down");
      await server.untilTold(since, "GUEST_HUNG");
      assert.equal((await server.status()).guest, "hung");
      await server.type("ip link set eth0 up");
      await server.untilTold(since, "GUEST_ANSWERS");
      await server.until((report) => report.guest === "ready", "ready");
      const told = (await server.events(since)).map((event) => event.code);
      assert.ok(!told.includes("GUEST_RESTARTED") && !told.includes("GUEST_RESET"), told.join(" "));
    });
  });
});
