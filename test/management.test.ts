/** Management's parts without processes: fault policy, event log, console, naming and addresses. */
import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { describe, test } from "node:test";
import { ConsoleHub, READY_LINE } from "../dist/modules/management-console.js";
import { EventLog, readEventFile } from "../dist/modules/management-events.js";
import { commandLineFor, cpusInUse, moduleConfigFor, plannedModules, type ServerPlan } from "../dist/modules/management-plan.js";
import { judgeLoss, noteLockstep, NO_FAULTS, type FaultRecord } from "../dist/modules/management-policy.js";
import { isAlive, recordProcess, startTicksOf } from "../dist/modules/management-process.js";
import { validateModuleConfig } from "../dist/modules/config.js";
import { serverPaths } from "../dist/modules/management-paths.js";
import { formatAddress, macAddressFor, parseAddress, parseSubnet, tapName } from "../dist/ports/network-host.js";

const THRESHOLD = { count: 6, windowHours: 24 };
const HOUR_MS = 3_600_000;

const PLAN: ServerPlan = {
  server: "unit",
  engine: "rv64",
  redundancy: "duplex",
  memoryMiB: 256,
  release: "compared",
  lagLimitMs: 250,
  checkpoints: true,
  image: {
    name: "i",
    digest: "d",
    kernelKind: "stock",
    kernelRelease: "6",
    kernelPath: "/k",
    initrdPath: "/i",
    commandLine: "quiet",
    services: [],
  },
  certification: { threshold: 1, keys: null, bases: null, policies: null, uncertified: null },
  network: { kind: "tap", bridge: "b0", hostAddress: "10.9.0.1/24", guestAddress: "", publish: [] },
  faultThreshold: THRESHOLD,
  guestWatch: "restart",
};

describe("fault policy", () => {
  test("a module that is killed twenty times and always comes back never breaks", () => {
    let record: FaultRecord = NO_FAULTS;
    for (let round = 0; round < 20; round += 1) {
      const verdict = judgeLoss(record, round % 2 === 0 ? "killed" : "hung", round * 1000, THRESHOLD);
      assert.equal(verdict.broken, false);
      assert.equal(verdict.restartDelayMs, 0);
      record = noteLockstep(verdict.record);
    }
    assert.equal(record.total, 20);
  });

  test("one that never gets back into lockstep is given up at the threshold, with growing pauses", () => {
    let record: FaultRecord = NO_FAULTS;
    const pauses: number[] = [];
    for (let round = 1; round <= 6; round += 1) {
      const verdict = judgeLoss(record, "killed", round, THRESHOLD);
      pauses.push(verdict.restartDelayMs);
      assert.equal(verdict.broken, round === 6);
      record = verdict.record;
    }
    assert.deepEqual(pauses.slice(0, 4), [0, 100, 200, 400]);
  });

  test("wrong computations count within the window even if it always comes back", () => {
    let record: FaultRecord = NO_FAULTS;
    for (let round = 1; round <= 6; round += 1) {
      const verdict = judgeLoss(record, "miscompared", round * HOUR_MS, THRESHOLD);
      assert.equal(verdict.broken, round === 6);
      record = noteLockstep(verdict.record);
    }
    const later = judgeLoss(record, "crashed", 40 * HOUR_MS, THRESHOLD);
    assert.equal(later.broken, false, "older faults leave the window");
  });

  test("drills never count", () => {
    let record: FaultRecord = NO_FAULTS;
    for (let round = 0; round < 50; round += 1) record = judgeLoss(record, "drill", round, THRESHOLD).record;
    assert.equal(record, NO_FAULTS);
  });
});

describe("event log", () => {
  test("survives a restart and a line that a crash cut in half", () => {
    const directory = mkdtempSync(join(tmpdir(), "steadfast-events-"));
    try {
      const path = join(directory, "events.jsonl");
      const first = new EventLog(path);
      first.add("info", "POWER", "first");
      first.add("warning", "OUTAGE", "second", { module: "cpu0" });
      appendFileSync(path, '{"id":3,"atMs":1,"sev');
      const second = new EventLog(path);
      assert.equal(second.lastId, 2);
      const heard: string[] = [];
      const stop = second.follow((event) => heard.push(event.code));
      second.add("info", "MODULE_PULLED", "third");
      stop();
      second.add("info", "MODULE_SHOT", "fourth");
      assert.deepEqual(heard, ["MODULE_PULLED"]);
      assert.deepEqual(
        second.since(1).map((event) => event.code),
        ["OUTAGE", "MODULE_PULLED", "MODULE_SHOT"],
      );
      assert.equal(readEventFile(path).at(-1)?.code, "MODULE_SHOT");
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test("stays bounded on disk and in memory", () => {
    const directory = mkdtempSync(join(tmpdir(), "steadfast-events-"));
    try {
      const path = join(directory, "events.jsonl");
      const log = new EventLog(path);
      const text = "x".repeat(2000);
      for (let round = 0; round < 5000; round += 1) log.add("info", "FAULT_DRILL", text);
      assert.ok(statSync(path).size <= 4 * 1024 * 1024);
      assert.ok(statSync(`${path}.1`).size <= 4 * 1024 * 1024);
      assert.equal(log.since(0).length, 2000);
      assert.equal(log.lastId, 5000);
      assert.ok(readFileSync(path, "utf8").endsWith("\n"));
    } finally {
      rmSync(directory, { recursive: true });
    }
  });
});

describe("console", () => {
  test("replays a bounded scrollback, fans out, and hears the ready line across pieces", async () => {
    let ready = 0;
    const input: string[] = [];
    const hub = new ConsoleHub(
      (bytes) => input.push(bytes.toString()),
      () => (ready += 1),
    );
    hub.print(Buffer.alloc(100_000, "a"));
    hub.print(Buffer.from(`b${READY_LINE.slice(0, 7)}`));
    hub.print(Buffer.from(`${READY_LINE.slice(7)} after 1 s\n`));
    assert.equal(ready, 1);
    const output = new PassThrough();
    let seen = "";
    const viewer = new PassThrough();
    // A duplex whose two sides are apart: what the hub writes and what the viewer types.
    const { Duplex } = await import("node:stream");
    const duplex = Duplex.from({ readable: viewer, writable: output });
    output.on("data", (bytes: Buffer) => (seen += bytes.toString()));
    hub.attach(duplex);
    viewer.write("x".repeat(3000));
    hub.print(Buffer.from("live"));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(seen.endsWith(`${READY_LINE} after 1 s\nlive`));
    assert.ok(seen.length < 70_000);
    assert.equal(input.join("").length, 3000);
    assert.ok(input.every((piece) => piece.length <= 1024));
    hub.close();
  });
});

describe("plan", () => {
  test("gives every module a configuration that the modules accept, and the guest its address", () => {
    const network = { bridge: "b0", devices: { io0: "sf-unit-io0", io1: "sf-unit-io1" }, guestAddress: "10.9.0.7", prefixLength: 24 };
    assert.equal(
      commandLineFor(PLAN, network),
      "console=ttyS0 quiet steadfast.address=10.9.0.7/24 steadfast.gateway=10.9.0.1 steadfast.hostname=unit",
    );
    const modules = plannedModules(PLAN);
    assert.deepEqual(
      modules.map((module) => `${module.name}@${module.enclosure}`),
      ["cpu0@enclosure0", "cpu1@enclosure1", "cpu2@enclosure2", "io0@enclosure0", "io1@enclosure1", "io2@enclosure2"],
    );
    assert.deepEqual(cpusInUse(PLAN), ["cpu0", "cpu1"]);
    assert.deepEqual(cpusInUse({ ...PLAN, redundancy: "triplex" }), ["cpu0", "cpu1", "cpu2"]);
    const paired = plannedModules({ ...PLAN, redundancy: "pair-and-spare" });
    assert.deepEqual(
      paired.map((module) => `${module.name}@${module.enclosure}`),
      ["cpu0@enclosure0", "cpu1@enclosure0", "cpu2@enclosure1", "cpu3@enclosure1", "io0@enclosure0", "io1@enclosure1"],
    );
    for (const module of modules) {
      const config = moduleConfigFor({ plan: PLAN, paths: serverPaths("unit"), network, epochNs: 5n }, module, 1);
      assert.deepEqual(validateModuleConfig(JSON.parse(JSON.stringify(config))), config);
    }
  });
});

describe("addresses and names", () => {
  test("subnets", () => {
    assert.deepEqual(parseSubnet("10.77.0.1/24"), { address: 0x0a4d0001, prefixLength: 24, first: 0x0a4d0001, last: 0x0a4d00fe });
    for (const bad of [
      "",
      "10.77.0.1",
      "10.77.0.0/24",
      "10.77.0.255/24",
      "10.77.0.1/31",
      "10.77.0.1/7",
      "10.77.0.256/24",
      "a/24",
      "10.77.0.1/x",
    ]) {
      assert.equal(parseSubnet(bad), null, bad);
    }
    assert.equal(formatAddress(parseAddress("192.168.254.3") ?? 0), "192.168.254.3");
    assert.equal(macAddressFor("10.77.0.2"), "52:54:00:77:00:02");
  });

  test("device names fit into 15 characters and differ", () => {
    assert.equal(tapName("main", "io0"), "sf-main-io0");
    const long = ["a-rather-long-name", "a-rather-long-nama", "another-long-name"].map((server) => tapName(server, "io0"));
    assert.ok(
      long.every((name) => name.length <= 15),
      long.join(),
    );
    assert.equal(new Set(long).size, 3);
  });
});

test("a process is known by pid and start time", () => {
  const self = recordProcess("self", process.pid);
  assert.equal(isAlive(self), true);
  assert.equal(isAlive({ ...self, startTicks: startTicksOf(process.pid) - 1 }), false, "another process with the same pid");
  assert.equal(isAlive({ name: "none", pid: 0x7fff_fffe, startTicks: 1 }), false);
});
