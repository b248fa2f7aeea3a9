/** Management modules that watch and replace each other, and whole enclosures: real processes, SIGKILL and SIGSTOP, the toy machine. */
import assert from "node:assert/strict";
import { after, afterEach, describe, test } from "node:test";
import type { LoggedEvent } from "../dist/modules/management-events.js";
import type { ModuleReport, ServerReport } from "../dist/modules/management-status.js";
import { leadingManagement } from "./support/leading-management.js";
import { isAlive, ToyServers, type ToyServer } from "./support/toy-servers.js";

const servers = new ToyServers();
afterEach(() => servers.downAll());
after(() => servers.remove());

const isServing = (module: ModuleReport): boolean => module.kind !== "management";
const pids = (report: ServerReport): string[] => report.modules.filter(isServing).map(({ name, pid }) => `${name} ${pid}`);

async function leaderOf(server: ToyServer): Promise<string> {
  return leadingManagement(await server.status(), await server.events()).name;
}

describe("a duplex server's management modules", { timeout: 300_000 }, () => {
  for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
    test(`${signal} of the leading one and of the stand-by, time after time: no other module notices`, async () => {
      const server = await servers.up(`pair-${signal.toLowerCase()}`);
      await server.type("before");
      const before = await server.status();
      for (let round = 0; round < 2; round += 1) {
        const leader = await leaderOf(server);
        const standby = leader === "mgmt0" ? "mgmt1" : "mgmt0";
        for (const victim of round === 1 ? [standby, leader] : [leader]) {
          const pid = await server.kill(victim, signal);
          await server.until(`without ${victim}`, (now) => now.modules.every((module) => module.pid !== pid));
          await server.untilComplete();
          assert.ok(!isAlive(pid));
        }
      }
      await server.assertEqual();
      assert.match(await server.type("after"), /before[^]*after/, "what was printed before is still shown");
      const report = await server.status();
      assert.deepEqual(pids(report), pids(before));
      assert.equal(report.counters.outages, 0);
      assert.ok(report.uptimeMs > before.uptimeMs && report.counters.ticks >= before.counters.ticks);
      const events = await server.assertOneLog();
      assert.ok(events.filter((event) => event.code === "MANAGEMENT_TAKEOVER").length >= 2);
      await server.down();
    });
  }

  test("the leading one dies together with a CPU module, and with an I/O module", async () => {
    const server = await servers.up("both");
    for (const other of ["cpu0", "cpu1", "io0", "io1"]) {
      const { modules } = await server.status();
      const leader = await leaderOf(server);
      for (const { name, pid } of modules) if (name === other || name === leader) process.kill(pid, "SIGKILL");
      await server.until(`without them`, (now) =>
        modules.every(({ name, pid }) => (name !== other && name !== leader) || now.modules.every((each) => each.pid !== pid)),
      );
      await server.untilComplete();
      await server.assertEqual();
    }
    assert.equal((await server.status()).counters.outages, 0);
    await server.assertOneLog();
    await server.down();
  });

  test("a command that is under way when the leading one dies is carried out by the next one", async () => {
    const server = await servers.up("meanwhile");
    for (const command of [["verify"], ["status"], ["pull", "cpu1"], ["insert", "cpu1"]]) {
      const { pid } = await server.module(await leaderOf(server));
      process.kill(pid, "SIGSTOP");
      const underWay = server.must(command);
      await new Promise((resolve) => setTimeout(resolve, 300));
      process.kill(pid, "SIGKILL");
      await underWay;
      if (command[0] !== "pull") await server.untilComplete();
      else
        await server.until("two management modules", (now) =>
          now.modules.every((each) => each.name !== "mgmt0" || each.state === "DUPLEX"),
        );
    }
    await server.down();
  });

  test("what is held out or BROKEN stays so, and fault counts go on", async () => {
    const server = await servers.up("kept", ["faultThreshold: { count: 2 }"]);
    await server.must(["pull", "cpu1"]);
    const state = (report: ServerReport, name: string): string | undefined => report.modules.find((each) => each.name === name)?.state;
    // Neither SIGKILL nor SIGTERM: for management it crashed.
    const pid = await server.kill("io1", "SIGUSR2");
    await server.until("io1 again", (now) => now.modules.some((each) => each.name === "io1" && each.pid !== pid && each.pid !== 0));
    await server.kill("io1", "SIGUSR2");
    await server.until("io1 BROKEN", (now) => state(now, "io1") === "BROKEN");
    await server.must(["fault", "kill", "mgmt0"]);
    const report = await server.until("DUPLEX in management", (now) => state(now, "mgmt0") === "DUPLEX");
    assert.deepEqual([state(report, "cpu1"), state(report, "io1")], ["OFFLINE", "BROKEN"]);
    assert.equal(report.modules.find((each) => each.name === "io1")?.faults, 2);
    assert.equal((await server.command(["insert", "io1"])).code, 4);
    await server.must(["clear", "io1"]);
    await server.must(["insert", "cpu1"]);
    await server.untilComplete();
    await server.down();
  });

  test("pulling the leading one hands over, and it stays out until it is inserted", async () => {
    const server = await servers.up("handed");
    await server.must(["pull", "mgmt0"]);
    const report = await server.until("led by mgmt1", (now) => now.modules.some((each) => each.name === "mgmt0" && each.pid === 0));
    const [pulled, leader] = ["mgmt0", "mgmt1"].map((name) => report.modules.find((each) => each.name === name));
    assert.deepEqual([pulled?.state, pulled?.held, leader?.state, leader?.safeToPull], ["OFFLINE", true, "SIMPLEX", false]);
    const refused = await server.command(["pull", "mgmt1"]);
    assert.equal(refused.code, 4);
    assert.match(refused.error, /NOT_SAFE_TO_PULL/);
    const flip = await server.command(["fault", "flip", "mgmt1", "--random"]);
    assert.equal(flip.code, 2);
    assert.match(flip.error, /FAULT_CPU_ONLY/);
    await server.must(["insert", "mgmt0"]);
    await server.untilComplete();
    await server.down();
  });

  test("whoever follows the events hears each once, whoever leads", async () => {
    const server = await servers.up("followed");
    const following = server.command(["events", "--follow", "--json"]);
    for (const victim of ["mgmt0", "mgmt1"]) {
      await server.kill(victim);
      await server.untilComplete();
    }
    await server.down();
    const { out } = await following;
    const heard = out.split("\n").filter((line) => line !== "");
    assert.deepEqual(
      heard.map((line) => (JSON.parse(line) as LoggedEvent).id),
      heard.map((_, index) => index + 1),
    );
    assert.match(heard.at(-1) ?? "", /SERVER_STOPPED/);
  });

  test("both hang: `up` ends them and leads itself", async () => {
    const server = await servers.up("stuck");
    await server.must(["fault", "kill", "mgmt0"]);
    const before = await server.untilComplete();
    for (const { kind, pid } of before.modules) if (kind === "management") process.kill(pid, "SIGSTOP");
    await server.must(["up", "-d", server.file], false);
    const report = await server.untilComplete();
    assert.deepEqual(pids(report), pids(before));
    for (const { kind, name, pid } of before.modules) assert.equal(isAlive(pid), kind !== "management", name);
    await server.assertOneLog();
    await server.down();
  });

  test("both are killed: the modules serve on, and `up` brings management back without an interruption", async () => {
    const server = await servers.up("orphaned");
    const before = await server.status();
    await server.type("before");
    for (const { kind, pid } of before.modules) if (kind === "management") process.kill(pid, "SIGKILL");
    const unmanaged = await server.command(["status"]);
    assert.equal(unmanaged.code, 4);
    assert.match(unmanaged.error, /SERVER_UNMANAGED/);
    const again = await server.must(["up", "-d", server.file], false);
    assert.match(again.error, /ran on without management/);
    const report = await server.untilComplete();
    assert.deepEqual(pids(report), pids(before));
    assert.match(await server.type("after"), /before[^]*after/);
    assert.equal(report.counters.outages, 0);
    await server.assertOneLog();
    for (const { kind, pid } of report.modules) if (kind === "management") process.kill(pid, "SIGKILL");
    await server.must(["down"]);
    server.assertGone(report.modules);
  });

  test("a server that is going down goes down, whoever dies meanwhile", async () => {
    for (const [index, victim] of ["mgmt0", "mgmt1"].entries()) {
      const server = await servers.up(`going${index}`);
      const { modules } = await server.status();
      const down = server.command(["down"]);
      await new Promise((resolve) => setTimeout(resolve, 150));
      const pid = modules.find((module) => module.name === victim)?.pid ?? 0;
      if (isAlive(pid)) process.kill(pid, "SIGKILL");
      assert.equal((await down).code, 0);
      server.assertGone(modules);
      assert.equal((await server.command(["down"])).code, 4);
    }
  });

  test("a recording that is under way is cut, and that is said", async () => {
    const server = await servers.up("cut");
    await server.until("two found equal", (now) => now.counters.checkpoints > 0);
    const recording = server.command(["record", "--seconds", "3"]);
    for (let looks = 0; !(await server.events()).some((event) => event.code === "RECORDING_STARTED"); looks += 1) assert.ok(looks < 200);
    await server.kill("mgmt0");
    const outcome = await recording;
    assert.equal(outcome.code, 4);
    assert.match(outcome.error, /RECORDING_STATE: .*cut when another management module took the lead/);
    assert.ok((await server.events()).some((event) => event.code === "RECORDING_CUT"));
    await server.untilComplete();
    await server.must(["record", "--seconds", "1"]);
    await server.down();
  });
});

describe("the redundancy", { timeout: 120_000 }, () => {
  test("brings management modules and takes them away, the leading one too", async () => {
    const server = await servers.up("more", ["redundancy: simplex"]);
    assert.deepEqual(
      (await server.status()).modules.map((each) => `${each.name} ${each.state}`),
      ["cpu0 SIMPLEX", "io0 SIMPLEX", "mgmt0 SIMPLEX"],
    );
    await server.must(["redundancy", "triplex"]);
    await server.until("TRIPLEX", (now) => now.redundancy === "TRIPLEX" && now.modules.every((each) => each.state === "TRIPLEX"));
    await server.kill("mgmt0");
    await server.until("TRIPLEX", (now) => now.redundancy === "TRIPLEX" && now.modules.every((each) => each.state === "TRIPLEX"));
    const leader = await leaderOf(server);
    assert.notEqual(leader, "mgmt0");
    await server.must(["redundancy", "simplex"]);
    const report = await server.until(
      "SIMPLEX",
      (now) => now.modules.length === 3 && now.modules.every((each) => each.state === "SIMPLEX"),
    );
    assert.deepEqual(
      report.modules.map((each) => each.name),
      ["cpu0", "io0", "mgmt0"],
    );
    await server.assertOneLog();
    await server.down();
  });
});

test("two pairs have a management module in each enclosure", { timeout: 60_000 }, async () => {
  const server = await servers.up("pairs", ["redundancy: pair-and-spare"]);
  await server.must(["pull", "enclosure0"]);
  const report = await server.until("one pair", (now) =>
    now.modules.every((each) => (each.enclosure === "enclosure0") === (each.pid === 0)),
  );
  assert.deepEqual(
    report.modules.map((each) => `${each.name} ${each.enclosure}`),
    ["cpu0 enclosure0", "cpu1 enclosure0", "cpu2 enclosure1", "cpu3 enclosure1", "io0 enclosure0", "io1 enclosure1"].concat([
      "mgmt0 enclosure0",
      "mgmt1 enclosure1",
    ]),
  );
  await server.must(["insert", "enclosure0"]);
  await server.untilComplete();
  assert.equal((await server.status()).counters.outages, 0);
  await server.down();
});

describe("an enclosure", { timeout: 120_000 }, () => {
  const enclosureOf = (report: ServerReport, name: string): boolean | undefined =>
    report.enclosures.find((enclosure) => enclosure.name === name)?.safeToPull;

  test("is pulled and inserted as a whole, one after the other, and nothing is lost", async () => {
    const server = await servers.up("rack");
    for (const [enclosure, other] of [
      ["enclosure0", "enclosure1"],
      ["enclosure1", "enclosure0"],
      ["enclosure0", "enclosure1"],
    ] as const) {
      assert.equal(enclosureOf(await server.untilComplete(), enclosure), true);
      const echoed = await server.type(`before ${enclosure}`);
      assert.match(echoed, new RegExp(`before ${enclosure}`));
      await server.must(["pull", enclosure]);
      const report = await server.until("SIMPLEX", (now) => now.redundancy === "SIMPLEX");
      for (const module of report.modules) {
        const isOut = module.enclosure === enclosure;
        assert.deepEqual([module.held, module.pid === 0], [isOut, isOut], module.name);
      }
      assert.deepEqual([enclosureOf(report, enclosure), enclosureOf(report, other)], [true, false]);
      assert.equal((await server.command(["pull", other])).code, 4);
      assert.match(await server.type(`without ${enclosure}`), new RegExp(`without ${enclosure}`));
      await server.must(["insert", enclosure]);
      await server.untilComplete();
      await server.assertEqual();
    }
    assert.equal((await server.status()).counters.outages, 0);
    await server.assertOneLog();
    await server.down();
  });

  test("is not safe to pull where nothing else could carry on", async () => {
    const server = await servers.up("alone", ["redundancy: simplex"]);
    const refused = await server.command(["pull", "enclosure0"]);
    assert.equal(refused.code, 4);
    assert.match(refused.error, /NOT_SAFE_TO_PULL: enclosure0/);
    const unknown = await server.command(["pull", "enclosure7"]);
    assert.match(unknown.error, /MODULE_UNKNOWN/);
    await server.down();
  });
});
