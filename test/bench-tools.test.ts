/** Readers of foreign output (HTTP, redis-benchmark, wrk, /proc), verdicts and the figure table. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createServer } from "node:http";
import { test } from "node:test";
import { parseAddress } from "../dist/bench/connection.js";
import { figureTable, judge, type Figure } from "../dist/bench/figures.js";
import { cpuSeconds, processMemory } from "../dist/bench/host.js";
import { firstAnswer, ResponseReader } from "../dist/bench/http-load.js";
import { runHttpFaults } from "../dist/bench/http-run.js";
import type { LoadOptions } from "../dist/bench/load-run.js";
import { lockBenchmarks } from "../dist/bench/lock.js";
import { parseRedisBenchmark, parseWrk, runTool } from "../dist/bench/tools.js";
import { SeededRandom } from "../dist/foundation/random.js";

const RESPONSES = Buffer.from(
  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello" +
    "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n" +
    "HTTP/1.1 200 OK\r\nServer: nginx\r\nConnection: close\r\nContent-Length: 3\r\n\r\n\r\n\r",
);

test("HTTP responses are read whatever the splits", () => {
  for (let step = 1; step <= RESPONSES.length; step++) {
    const reader = new ResponseReader();
    const ended: string[] = [];
    for (let offset = 0; offset < RESPONSES.length; offset += step)
      for (const { status, isLast } of reader.push(RESPONSES.subarray(offset, offset + step))) ended.push(`${status} ${isLast}`);
    assert.deepEqual(ended, ["200 false", "404 false", "200 true"], `split every ${step} bytes`);
  }
});

test("what is not HTTP is refused, and nothing grows without bound", () => {
  assert.throws(() => new ResponseReader().push(Buffer.from("SSH-2.0-x\r\n\r\n")), /not HTTP/);
  assert.throws(() => new ResponseReader().push(Buffer.from("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")), /Content-Length/);
  assert.throws(() => {
    const reader = new ResponseReader();
    for (let index = 0; index < 100; index++) reader.push(Buffer.alloc(1000, 65));
  }, /too long/);
  const random = new SeededRandom(3);
  for (let round = 0; round < 300; round++) {
    const garbage = Buffer.from(RESPONSES);
    for (let flips = 0; flips < 4; flips++) garbage[random.below(garbage.length)] = random.below(256);
    try {
      new ResponseReader().push(garbage);
    } catch (error) {
      assert.match((error as Error).message, /response/);
    }
  }
});

test("the figures of redis-benchmark and wrk are read", () => {
  const csv = '"test","rps","avg_latency_ms"\n"SET","1722.95","4.6"\n"GET","2416.63","3.3"\n';
  assert.deepEqual(parseRedisBenchmark(csv), { set: 1722.95, get: 2416.63 });
  assert.ok(Number.isNaN(parseRedisBenchmark("Could not connect").set));
  const output = "Running 4s test\n  Socket errors: connect 0, read 3, write 0, timeout 0\nRequests/sec:   1234.50\n";
  assert.deepEqual(parseWrk(output), { perSecond: 1234.5, socketErrors: "Socket errors: connect 0, read 3, write 0, timeout 0" });
  assert.equal(parseWrk("Requests/sec: 7\n").socketErrors, undefined);
});

test("addresses are read", () => {
  assert.deepEqual(parseAddress("10.77.0.2", 6379), { host: "10.77.0.2", port: 6379 });
  assert.deepEqual(parseAddress("localhost:1", 6379), { host: "localhost", port: 1 });
  for (const wrong of ["", ":1", "a:0", "a:65536", "a:b", "a:1:2"]) assert.throws(() => parseAddress(wrong, 1), /HOST/);
});

test("a figure that could not be measured is missed, never met", () => {
  assert.equal(judge(0.95, { atLeast: 0.95 }), "met");
  assert.equal(judge(0.949, { atLeast: 0.95 }), "missed");
  assert.equal(judge(5.01, { atMost: 5 }), "missed");
  assert.equal(judge(Number.NaN, { atMost: 5 }), "missed");
  const figure: Figure = {
    name: "boot",
    target: "<= 5 s",
    measured: "6.10 s",
    value: 6.1,
    verdict: "missed",
    command: "steadfast bench boot",
    note: "why",
  };
  const text = figureTable([figure]);
  assert.match(text, /boot +<= 5 s +6\.10 s +MISSED +steadfast bench boot/);
  assert.match(text, /boot: why/);
});

test("processor time and memory of a process, and of one that is gone", async () => {
  const start = cpuSeconds(process.pid);
  const until = performance.now() + 120;
  while (performance.now() < until);
  assert.ok(cpuSeconds(process.pid) - start >= 0.02);
  const memory = processMemory(process.pid);
  assert.ok(memory.residentMiB > 10 && memory.peakMiB >= memory.residentMiB * 0.5);
  const child = spawn("true");
  await new Promise((resolve) => child.on("close", resolve));
  assert.ok(Number.isNaN(cpuSeconds(child.pid ?? 0)));
  assert.ok(Number.isNaN(processMemory(child.pid ?? 0).peakMiB));
});

test("a tool that does not end is ended", async () => {
  const start = performance.now();
  const result = await runTool("sleep", ["30"], 200);
  assert.equal(result.code, -1);
  assert.ok(performance.now() - start < 5000);
});

function loadOptions(port: number): LoadOptions {
  return {
    address: { host: "127.0.0.1", port },
    clients: 3,
    seed: 1,
    seconds: 1,
    untilFaultsDone: false,
    faults: { mix: "none", seed: 1, pauseMinimumMs: 0, pauseMaximumMs: 0, count: 0 },
    source: undefined,
    onProgress: () => undefined,
  };
}

test("HTTP load: a good server holds, one that resets or errs is caught", async () => {
  let mood: "good" | "reset" | "error" = "good";
  const server = createServer((request, response) => {
    if (mood === "reset") return void request.socket.destroy();
    response.statusCode = mood === "good" ? 200 : 500;
    response.end("hello");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  const good = (await runHttpFaults(loadOptions(address.port))).report;
  assert.deepEqual(good.broken, []);
  assert.ok(good.load.requests > 50);
  assert.ok((await firstAnswer({ host: "127.0.0.1", port: address.port }, "127.0.0.1", performance.now(), 2000, () => false)) < 2000);
  const nowhere = await firstAnswer({ host: "127.0.0.1", port: address.port }, "10.77.250.1", performance.now(), 200, () => false);
  assert.ok(Number.isNaN(nowhere), "the guest's network does not exist yet, so nobody may be taken for the guest");
  for (const wrong of ["reset", "error"] as const) {
    const run = runHttpFaults(loadOptions(address.port));
    setTimeout(() => (mood = wrong), 300);
    const { report } = await run;
    mood = "good";
    assert.ok(report.load.failures > 0, wrong);
    assert.equal(report.load.lostConnections > 0, wrong === "reset");
    assert.ok(report.broken.length > 0);
  }
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  assert.ok(Number.isNaN(await firstAnswer({ host: "127.0.0.1", port: address.port }, "127.0.0.1", performance.now(), 200, () => false)));
});

test("only one benchmark runs at a time", async () => {
  const name = `\0steadfast-bench-test-${process.pid}`;
  const unlock = await lockBenchmarks(name);
  await assert.rejects(lockBenchmarks(name), /another one is running/);
  unlock();
  (await lockBenchmarks(name))();
});
