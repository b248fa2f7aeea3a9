/**
 * The promise, for real: Debian's kernel and programs, SIGKILL and SIGSTOP, the payment workload, wrk and curl over a TAP.
 * STEADFAST_FAULTS sets how many kills and how many hangs: 3 of each for every commit, 20 with `npm run test:long`.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, describe, test } from "node:test";
import type { PaymentReport } from "../dist/bench/payments.js";
import { isLong } from "./support/long.js";
import { RealServer, runProgram, type Outcome } from "./support/real-server.js";

const FAULTS = Number(process.env["STEADFAST_FAULTS"] ?? (isLong ? 20 : 3));
const SECONDS_PER_FAULT = 7;
const SECONDS_PER_IO_FAULT = 5;
const server = new RealServer("test-faults");

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** Has the process run an endless loop, through Node's own debugger: its state stays "running", only it answers nobody any more. */
async function loopForEver(pid: number): Promise<void> {
  const debug = spawn(process.execPath, ["inspect", "-p", String(pid)], { stdio: ["pipe", "pipe", "inherit"] });
  let said = "";
  debug.stdout.setEncoding("utf8").on("data", (text: string) => (said += text));
  const giveUpAt = Date.now() + 20_000;
  while (!said.includes("debug>")) {
    assert.ok(Date.now() < giveUpAt, `the debugger attached: ${said}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  debug.stdin.write("exec for (;;) {}\n");
  await new Promise((resolve) => setTimeout(resolve, 1000));
  debug.kill("SIGKILL");
}

/** wrk over the whole time of some work; its verdict. */
async function underWrk<T>(address: string, seconds: number, work: () => Promise<T>): Promise<T> {
  const load = runProgram("wrk", ["-t1", "-c4", `-d${seconds}s`, "--timeout", "10s", `http://${address}/`], "", (seconds + 60) * 1000);
  const result = await work();
  const outcome: Outcome = await load;
  assert.equal(outcome.code, 0, outcome.error);
  assert.match(outcome.out, /requests in/);
  assert.doesNotMatch(outcome.out, /Socket errors|Non-2xx/, outcome.out);
  return result;
}

async function payments(kind: "kill" | "hang" | "relapse", count: number, target = "cpu"): Promise<PaymentReport> {
  const faults = ["--faults", kind, "--target", target, "--fault-count", String(count), "--every", "1"];
  const outcome = await server.command(["bench", "payments", "--clients", "8", ...faults, "--json"], "", count * 60_000);
  assert.equal(outcome.code, 0, outcome.out + outcome.error);
  return JSON.parse(outcome.out) as PaymentReport;
}

function assertNothingLost(report: PaymentReport, faults: number): void {
  assert.deepEqual(report.broken, []);
  assert.equal(report.faults.length, faults);
  assert.equal(report.load.failures, 0);
  assert.equal(report.load.lostConnections, 0);
  assert.equal(report.idle.lostBecause, null, "a long-lived connection survives");
}

describe("a duplex server with the hardened kernel", { timeout: 25 * 60_000 }, () => {
  let address = "";
  before(async () => {
    address = (await server.up(["--kernel", "hardened"])).address;
  });
  after(async () => {
    await server.remove();
  });

  test("serves Debian's own nginx and redis", async () => {
    const page = await runProgram("curl", ["-sf", `http://${address}/`]);
    assert.match(page.out, /Welcome to nginx!/);
    const info = await runProgram("redis-cli", ["-h", address, "info", "server"]);
    assert.match(info.out, /redis_version:8\.\d+\.\d+/);
    assert.match(info.out, /os:Linux 6\.12\.\d+-steadfast riscv64/);
  });

  test("a killed CPU module costs nobody anything, time after time", async () => {
    const report = await underWrk(address, FAULTS * SECONDS_PER_FAULT, () => payments("kill", FAULTS));
    assertNothingLost(report, FAULTS);
    await server.untilDuplex();
    await server.assertEqual();
  });

  test("a hung CPU module costs nobody anything, time after time", async () => {
    const report = await underWrk(address, FAULTS * SECONDS_PER_FAULT, () => payments("hang", FAULTS));
    assertNothingLost(report, FAULTS);
    await server.untilDuplex();
    await server.assertEqual();
  });

  test("an active I/O module that is killed costs nobody anything: another one takes its place, time after time", async () => {
    const before = await server.status();
    const report = await underWrk(address, FAULTS * SECONDS_PER_IO_FAULT, () => payments("kill", FAULTS, "io"));
    assertNothingLost(report, FAULTS);
    assert.equal((await server.untilDuplex()).counters.outages, before.counters.outages);
    await server.assertEqual();
  });

  test("an active I/O module that hangs has its place taken too", async () => {
    const before = await server.status();
    const report = await underWrk(address, FAULTS * SECONDS_PER_IO_FAULT, () => payments("hang", FAULTS, "io"));
    assertNothingLost(report, FAULTS);
    assert.equal((await server.untilDuplex()).counters.outages, before.counters.outages);
    await server.assertEqual();
  });

  test("the older module, the first donor, can be the one that dies", async () => {
    for (const name of ["cpu0", "cpu1", "cpu0"]) {
      process.kill((await server.module(name)).pid, "SIGKILL");
      await server.until((report) => report.redundancy === "SIMPLEX", "SIMPLEX");
      await server.untilDuplex();
      await server.assertEqual();
    }
  });

  test("a module that dies in the middle of its reintegration changes nothing for clients", async () => {
    const report = await payments("relapse", 2);
    assertNothingLost(report, 2);
    await server.untilDuplex();
    await server.assertEqual();
  });

  test("the guest's own reboot and panic are acted on by both modules alike, without losing either", async () => {
    for (const [line, event] of [
      ["reboot", "GUEST_RESET"],
      ["echo c > /proc/sysrq-trigger", "GUEST_PANIC"],
    ] as const) {
      const before = await server.status();
      await server.type(line);
      // By the log: a reboot may be over before a look at the status could see it.
      const giveUpAt = Date.now() + 120_000;
      while (!(await server.command(["events", "--since", String(before.lastEventId)])).out.includes("GUEST_READY"))
        assert.ok(Date.now() < giveUpAt, `the guest came back after: ${line}`);
      const afterwards = await server.until((report) => report.guest === "ready", "ready again");
      assert.deepEqual(
        afterwards.modules.map(({ name, pid }) => [name, pid]),
        before.modules.map(({ name, pid }) => [name, pid]),
      );
      assert.equal(afterwards.redundancy, "DUPLEX");
      const events = await server.command(["events", "--since", String(before.lastEventId)]);
      assert.ok(events.out.includes(event), events.out);
      await server.assertEqual();
    }
  });

  test("an active I/O module in an endless loop is found silent; another one takes its place, and the guest goes on", async () => {
    const before = await server.status();
    const io = before.modules.find((module) => module.isActive === true);
    assert.ok(io, "somebody drives the guest");
    await loopForEver(io.pid);
    const afterwards = await server.until(
      (report) => report.modules.every((module) => module.pid !== io.pid) && report.modules.some((module) => module.isActive === true),
      "driven by another one",
    );
    assert.equal(afterwards.counters.outages, before.counters.outages);
    await server.untilDuplex();
    const events = await server.command(["events", "--since", String(before.lastEventId)]);
    assert.match(events.out, /RESUMED/);
    assert.doesNotMatch(events.out, /POWER_ON/);
    await server.assertEqual();
  });

  test("the loss of both CPU modules at once is an honest outage", async () => {
    const before = await server.status();
    for (const { kind, pid } of before.modules) if (kind === "cpu") process.kill(pid, "SIGKILL");
    const afterwards = await server.until(
      (report) => report.counters.outages > before.counters.outages && report.guest === "ready" && report.redundancy === "DUPLEX",
      "back after the outage",
    );
    assert.equal(afterwards.counters.outages, before.counters.outages + 1);
    const events = await server.command(["events", "--since", String(before.lastEventId)]);
    assert.match(events.out, /OUTAGE/);
    await server.assertEqual();
  });

  test("a second server runs beside it, and ends with its guest's power-off, leaving nothing behind", async () => {
    const second = new RealServer("test-second");
    const report = await second.up(["--kernel", "hardened"]);
    assert.notEqual(report.address, address);
    const page = await runProgram("curl", ["-sf", "-m", "5", `http://${report.address}/`]);
    assert.match(page.out, /Welcome to nginx!/);
    await second.type("poweroff");
    const giveUpAt = Date.now() + 60_000;
    while ((await second.command(["status"])).code === 0) assert.ok(Date.now() < giveUpAt, "the server ends with its guest");
    for (const { pid, name } of report.modules)
      while (isAlive(pid)) {
        assert.ok(Date.now() < giveUpAt, `${name} ends too`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    const links = await runProgram("ip", ["-o", "link"]);
    assert.ok(!links.out.includes("test-secon"), links.out);
    await second.remove();
    assert.equal((await server.status()).redundancy, "DUPLEX");
  });
});

describe("Debian's stock kernel", { timeout: 10 * 60_000 }, () => {
  const stock = new RealServer("test-stock");
  after(async () => {
    await stock.remove();
  });

  test("boots in lockstep and outlives a module", async () => {
    const { address } = await stock.up(["--kernel", "stock"]);
    process.kill((await stock.module("cpu0")).pid, "SIGKILL");
    const info = await runProgram("redis-cli", ["-h", address, "info", "server"]);
    assert.match(info.out, /os:Linux 6\.12\.\S*deb13-riscv64/);
    await stock.untilDuplex();
    await stock.assertEqual();
  });
});
