/** `steadfast install` on a machine whose init is systemd: started at boot, shut down with the host, back after a loss of power, removed. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import type { ServerReport } from "../dist/modules/management-status.js";
import { SYSTEMD, SystemdMachine } from "./support/systemd-machine.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const UNIT = "steadfast-bank.service";
const READY_LIMIT_MS = 180_000;

const isPossible = process.getuid?.() === 0 && existsSync(SYSTEMD);

describe("a server that systemd starts", { skip: !isPossible && "needs root, and systemd's files" }, () => {
  const machine = new SystemdMachine();
  after(() => machine.remove());

  async function untilReady(): Promise<ServerReport> {
    const giveUpAt = Date.now() + READY_LIMIT_MS;
    for (;;) {
      const { code, out } = await machine.run(STEADFAST, "status", "--server", "bank", "--json");
      const report = code === 0 ? (JSON.parse(out) as ServerReport) : null;
      if (report?.redundancy === "DUPLEX" && report.guest === "ready") return report;
      assert.ok(Date.now() < giveUpAt, `ready: ${out}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }

  const redis = async (...words: readonly string[]): Promise<string> =>
    (await machine.must("redis-cli", "-h", (await untilReady()).address ?? "", ...words)).trim();

  test("is installed, started, and serves", async () => {
    await machine.boot();
    await machine.must(STEADFAST, "install", "--name", "bank", "--kernel", "hardened", "--disk", "48");
    assert.equal((await machine.must("systemctl", "is-enabled", UNIT)).trim(), "enabled");
    await machine.must("systemctl", "start", UNIT);
    assert.equal(await redis("set", "kept", "one"), "OK");
  });

  test("goes down with the host in good order, and comes up at the next boot with its data", async () => {
    await machine.powerOff();
    await machine.boot();
    assert.equal(await redis("get", "kept"), "one");
    const events = await machine.must(STEADFAST, "events", "--server", "bank");
    assert.match(events, /GUEST_POWERED_OFF[^]*POWER_ON/, "the guest was shut down, not cut off");
  });

  test("comes up by itself after a loss of power, with what was acknowledged", async () => {
    assert.equal(await redis("set", "kept", "two"), "OK");
    await machine.losePower();
    await machine.boot();
    assert.equal(await redis("get", "kept"), "two");
  });

  test("is followed again when the unit's own process is killed, without an interruption", async () => {
    const before = await untilReady();
    const main = (await machine.must("systemctl", "show", "-p", "MainPID", "--value", UNIT)).trim();
    await machine.must("kill", "-9", main);
    const giveUpAt = Date.now() + READY_LIMIT_MS;
    const mainNow = async (): Promise<string> => (await machine.must("systemctl", "show", "-p", "MainPID", "--value", UNIT)).trim();
    while (["0", main].includes(await mainNow())) assert.ok(Date.now() < giveUpAt, "systemd starts it again");
    const after = await untilReady();
    assert.deepEqual(
      after.modules.map(({ name, pid }) => [name, pid]),
      before.modules.map(({ name, pid }) => [name, pid]),
    );
  });

  test("is stopped and removed by uninstall", async () => {
    await machine.must(STEADFAST, "uninstall", "--server", "bank");
    assert.notEqual((await machine.run("systemctl", "cat", UNIT)).code, 0);
    assert.notEqual((await machine.run(STEADFAST, "status", "--server", "bank")).code, 0);
    assert.doesNotMatch(await machine.must("ps", "-eo", "args"), /steadfast bank/);
    assert.doesNotMatch(await machine.must("ip", "-o", "link"), /sf/);
  });
});
