/**
 * CPU modules that compute wrongly, on a real server under the payment workload: damaged outputs, wrong clocks and flipped bits of guest
 * memory. Nothing wrong leaves, the right module is named, the proof can be run again, and so can any stretch of the server's life.
 */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { ComputingError } from "../dist/bench/computing-errors.js";
import type { PaymentReport } from "../dist/bench/payments.js";
import type { LoggedEvent } from "../dist/modules/management-events.js";
import { RealServer, steadfast } from "./support/real-server.js";

const ERRORS = 6;
const server = new RealServer("test-errors");
const folder = mkdtempSync(join(tmpdir(), "steadfast-errors-"));

async function eventsOf(code: string): Promise<LoggedEvent[]> {
  const outcome = await server.command(["events", "--json"]);
  const lines = outcome.out.split("\n").filter((line) => line !== "");
  return lines.map((line) => JSON.parse(line) as LoggedEvent).filter((event) => event.code === code);
}

describe("a duplex server whose modules compute wrongly", { timeout: 10 * 60_000 }, () => {
  before(async () => {
    await server.up(["--kernel", "hardened"]);
  });
  after(async () => {
    await server.remove();
    rmSync(folder, { recursive: true });
  });

  test("nothing wrong is released, nobody innocent is taken out, no client notices", async () => {
    const parameters = ["bench", "payments", "--clients", "8", "--faults", "errors", "--fault-count", String(ERRORS), "--json"];
    const outcome = await server.command(parameters, "", ERRORS * 60_000);
    assert.equal(outcome.code, 0, outcome.out + outcome.error);
    const report = JSON.parse(outcome.out) as PaymentReport & { errors: ComputingError[] };
    assert.deepEqual(report.broken, []);
    assert.equal(report.load.failures + report.load.lostConnections, 0);
    assert.equal(report.errors.length, ERRORS);
    for (const error of report.errors) assert.notEqual(error.finding, "missed", JSON.stringify(error));
    await server.untilDuplex();
    await server.assertEqual();
    const proven = (await eventsOf("MISCOMPARE")).filter((event) => event.data?.["by"] === "re-execution");
    assert.ok(proven.length > 0, "a third machine told who was right");
  });

  test("each proof can be run again, to the same verdict", async () => {
    const reports = (await eventsOf("MISCOMPARE_REPORT")).map((event) => event.data?.["path"]).filter((path) => typeof path === "string");
    assert.ok(reports.length > 0);
    for (const path of reports.slice(-3)) {
      const outcome = await steadfast(["replay", path], "", 60_000);
      assert.equal(outcome.code, 0, `${path}: ${outcome.out}${outcome.error}`);
      assert.match(outcome.out, /the same\.$/m);
    }
  });

  test("a stretch of the server's life is recorded, and runs again to the same digests", async () => {
    const path = join(folder, "stretch.steadfast");
    const recorded = await server.command(["record", "--seconds", "2", "--output", path, "--json"], "", 60_000);
    assert.equal(recorded.code, 0, recorded.out + recorded.error);
    const { ticks } = JSON.parse(recorded.out) as { ticks: number };
    assert.ok(ticks > 0);
    const replayed = await steadfast(["replay", path, "--json"], "", 60_000);
    assert.equal(replayed.code, 0, replayed.out + replayed.error);
    assert.equal((JSON.parse(replayed.out) as { outcome: { ticks: number } }).outcome.ticks, ticks);
  });
});
