/**
 * The mirrored disk, for real: the payment ledger in Redis' append-only file on ext4, modules and enclosures lost under load, and a loss
 * of everything at once, after which every acknowledged transfer must be there.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { MIB } from "../dist/foundation/bytes.js";
import { Connection, REDIS_PORT, redisReady } from "../dist/bench/connection.js";
import { checkLedger, INITIAL_BALANCE } from "../dist/bench/ledger.js";
import { LedgerStore } from "../dist/bench/ledger-store.js";
import { LoadRecorder } from "../dist/bench/load.js";
import { PaymentClient } from "../dist/bench/payment-clients.js";
import type { DiskStatus } from "../dist/wire/control.js";
import { serverPaths } from "../dist/modules/management-paths.js";
import { areMirrorsInSync as areInSync, type ServerReport } from "../dist/modules/management-status.js";
import { BLOCK_BYTES, CLEAR_EVERY_MS } from "../dist/storage/limits.js";
import { leadingManagement } from "./support/leading-management.js";
import { isLong } from "./support/long.js";
import { RealServer } from "./support/real-server.js";
import { SteadyWriter } from "./support/steady-writer.js";

const server = new RealServer("test-disk");
const { stateDirectory } = serverPaths(server.name);
const ACCOUNTS = 50;
const CLIENTS = 4;
const SEED = 11;
const SECTOR_BYTES = 512;
const SIZE_MIB = 48;
const GROWN_MIB = 96;
const GROWN_AGAIN_MIB = 160;
const DISK = ["--kernel", "hardened", "--disk", String(SIZE_MIB)];
const LOSSES = isLong ? 4 : 1;
const CHAOS_FAULTS = isLong ? 40 : 6;
/** 48 MiB take 12 s at the scrubber's own pace. */
const SCRUB_LIMIT_MS = 180_000;
const GROWTH_LIMIT_MS = 60_000;

let work = "";
before(() => {
  rmSync(stateDirectory, { recursive: true, force: true });
  work = mkdtempSync(join(tmpdir(), "steadfast-disk-"));
});
after(async () => {
  await server.remove();
  rmSync(work, { recursive: true, force: true });
});

/** SIGKILL to every process of the server, management too, as when the power goes. */
async function losePower(): Promise<void> {
  const { modules } = await server.status();
  const pids = modules.map((module) => module.pid).filter((pid) => pid > 0);
  // Stopped first, so that none of them sees another one go.
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const giveUpAt = Date.now() + 10_000;
  while (pids.some((pid) => existsSync(`/proc/${pid}/exe`))) {
    assert.ok(Date.now() < giveUpAt, "all processes end");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The file system of the disk of a stopped server, looked at by the host's own tools. */
async function checkFileSystem(): Promise<void> {
  const raw = join(work, "exported.raw");
  const exported = await server.command(["disk", "export", raw]);
  assert.equal(exported.code, 0, exported.error);
  // The journal is replayed by whoever mounts it; after that there must be nothing to mend.
  spawnSync("e2fsck", ["-fp", "-E", "journal_only", raw]);
  const checked = spawnSync("e2fsck", ["-fn", raw], { encoding: "utf8" });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  rmSync(raw);
}

/** Under writes, faults of a disk that tell of themselves cost its mirror its place until they are over. */
async function failsLoudly(mirror: string): Promise<void> {
  for (const drill of ["disk-errors", "disk-full", "disk-slow"]) {
    assert.equal((await server.command(["fault", drill, mirror])).code, 0);
    await server.until(({ disk }) => disk?.mirrors[mirror]?.state !== "in sync", `without ${mirror} after ${drill}`);
    assert.equal((await server.command(["fault", "disk-heal", mirror])).code, 0);
    await server.until(areInSync, "with both mirrors in sync");
  }
}

async function lastEvent(): Promise<number> {
  return (await server.events(0)).at(-1)?.id ?? 0;
}

async function assertFileSystemFills(mebibytes: number): Promise<void> {
  const [, blocks] = /blocks=(\d+)/.exec(await server.inGuest("echo blocks=$(stat -f -c %b /data)")) ?? [];
  // Its own structures take the rest: a fifth, of a disk so small.
  assert.ok((Number(blocks) * BLOCK_BYTES) / MIB > 0.8 * mebibytes, `${blocks} blocks`);
}

/** What a disk does wrong without a word is found by looking through all of it. */
async function failsSilently(mirror: string): Promise<void> {
  for (const drill of ["bit-rot", "torn-write", "lost-write", "misdirected-write"])
    assert.equal((await server.command(["fault", drill, mirror])).code, 0);
  const since = await lastEvent();
  assert.equal((await server.command(["disk", "scrub"])).code, 0);
  await server.untilTold(since, "SCRUB_DONE", SCRUB_LIMIT_MS);
  await server.until(areInSync, "with both mirrors in sync");
}

describe("a server with a mirrored disk", { timeout: 40 * 60_000 }, () => {
  test("brings both mirrors in sync, and the guest mounts it", async () => {
    const report = await server.up(DISK);
    await server.until(areInSync, "with both mirrors in sync");
    assert.equal(report.disk?.sizeBytes, SIZE_MIB * MIB);
    assert.match(await server.inGuest("grep ' /data ' /proc/mounts"), /\/dev\/vda \/data ext4 rw/);
  });

  test("modules and enclosures are lost under payments, and the mirrors are equal afterwards", async () => {
    const outcome = await server.command(
      ["bench", "chaos", "--fault-count", String(CHAOS_FAULTS), "--kinds", "kill", "enclosure", "--json"],
      "",
      20 * 60_000,
    );
    assert.equal(outcome.code, 0, outcome.out + outcome.error);
    await server.until(areInSync, "with both mirrors in sync");
  });

  test("disks fail below the mirrors, and the guest sees nothing of it", async () => {
    const writer = new SteadyWriter({ host: (await server.status()).address, port: REDIS_PORT });
    writer.start();
    try {
      const mirrors = (await server.status()).modules.filter((module) => module.kind === "io").map((module) => module.name);
      for (const mirror of mirrors) await failsLoudly(mirror);
      // One mirror after the other: the same block damaged on both could not be mended by anybody.
      const silent = isLong ? mirrors : mirrors.slice(0, 1);
      for (const mirror of silent) await failsSilently(mirror);
      const { counters } = (await server.until(areInSync, "with both mirrors in sync")).disk as DiskStatus;
      assert.deepEqual([counters.errors, counters.unrepairable], [0, 0]);
      assert.ok(counters.repairedBlocks >= silent.length, JSON.stringify(counters));
    } finally {
      await writer.stop();
    }
    assert.equal(writer.interruptions, 0);
    await writer.check(true);
    assert.doesNotMatch(await server.inGuest("dmesg"), /i\/o error|ext4-fs error/i);
  });

  test("a mirror that was pulled comes back from the log, and another one comes and goes with the redundancy", async () => {
    const { modules } = await server.status();
    const { name } = modules.find((module) => module.kind === "io" && module.isActive !== true) as { name: string };
    const since = await lastEvent();
    assert.equal((await server.command(["pull", name])).code, 0);
    await server.inGuest("date > /data/while-it-is-out; sync");
    // Long enough for logs to be emptied, which they must not be now.
    await new Promise((resolve) => setTimeout(resolve, 2.5 * CLEAR_EVERY_MS));
    assert.equal((await server.command(["insert", name])).code, 0);
    await server.until(areInSync, "with both mirrors in sync");
    const copies = (await server.events(since)).filter(({ code }) => code === "RESYNC_STARTED");
    assert.equal(copies.length, 1);
    assert.match(copies[0]?.text ?? "", /from the log/);
    for (const [redundancy, mirrors] of [
      ["triplex", 3],
      ["duplex", 2],
    ] as const) {
      assert.equal((await server.command(["redundancy", redundancy])).code, 0);
      const isWhole = (report: ServerReport): boolean =>
        report.redundancy === redundancy.toUpperCase() && areInSync(report) && Object.keys(report.disk?.mirrors ?? {}).length === mirrors;
      await server.until(isWhole, `with ${mirrors} mirrors in sync`);
    }
    // What the third enclosure holds now is out of date.
    rmSync(join(stateDirectory, "enclosure2"), { recursive: true });
  });

  test("grows online, up to the guest's file system", async () => {
    const since = await lastEvent();
    assert.equal((await server.command(["disk", "grow", `${GROWN_MIB}M`])).code, 0);
    const report = await server.until((now) => now.disk?.sizeBytes === GROWN_MIB * MIB, "grown");
    assert.equal(report.redundancy, "DUPLEX");
    assert.match(await server.inGuest("cat /sys/block/vda/size"), new RegExp(`\\b${(GROWN_MIB * MIB) / SECTOR_BYTES}\\b`));
    await server.untilTold(since, "FILE_SYSTEM_GROWN", GROWTH_LIMIT_MS);
    await assertFileSystemFills(GROWN_MIB);
    const refused = await server.command(["disk", "grow", `${SIZE_MIB}M`]);
    assert.equal(refused.code, 2);
    assert.match(refused.error, /DISK_GROWTH/);
  });

  test("grows up to the file system though the leading management is lost before the guest has answered", async () => {
    const events = await server.events(0);
    const since = events.at(-1)?.id ?? 0;
    const { pid } = leadingManagement(await server.status(), events);
    assert.ok(pid > 0);
    assert.equal((await server.command(["disk", "grow", `${GROWN_AGAIN_MIB}M`])).code, 0);
    process.kill(pid, "SIGKILL");
    await server.until((now) => now.disk?.sizeBytes === GROWN_AGAIN_MIB * MIB && now.modules.every((each) => each.pid !== pid), "grown");
    await server.untilTold(since, "FILE_SYSTEM_GROWN", GROWTH_LIMIT_MS);
    const codes = (await server.events(since)).map(({ code }) => code);
    assert.ok(codes.includes("MANAGEMENT_TAKEOVER") && !codes.includes("FILE_SYSTEM_NOT_GROWN"), codes.join(" "));
    await assertFileSystemFills(GROWN_AGAIN_MIB);
  });

  for (let round = 1; round <= LOSSES; round += 1) {
    test(`every acknowledged transfer outlives the loss of all power (${round})`, async () => {
      const { address: host } = await server.status();
      const address = { host, port: REDIS_PORT };
      assert.ok(await redisReady(address, 60_000), "Redis answers");
      const store = new LedgerStore(`steadfast:power:${round}`, ACCOUNTS);
      const control = await Connection.open(address);
      await store.create(control);
      const recorder = new LoadRecorder();
      const connections = await Promise.all(Array.from({ length: CLIENTS }, () => Connection.open(address)));
      const clients = connections.map((connection, number) => new PaymentClient(number, SEED, store, connection, recorder));
      let isOver = false;
      const load = Promise.all(clients.map((client) => client.run(() => isOver)));
      await new Promise((resolve) => setTimeout(resolve, 2000 + 700 * round));
      await losePower();
      isOver = true;
      // Their packets go nowhere: they would wait for the limit of a request.
      for (const connection of connections) connection.destroy();
      await load;
      assert.ok(recorder.requests > 50, `${recorder.requests} transfers before the loss`);
      await checkFileSystem();
      const report = await server.up(DISK);
      const again = { host: report.address, port: REDIS_PORT };
      assert.ok(await redisReady(again, 60_000), "Redis has read its file");
      const auditor = await Connection.open(again);
      const outcomes = clients.map((client) => client.outcomes);
      const snapshot = await store.read(
        auditor,
        outcomes.map((each) => each.length),
      );
      const ledger = checkLedger({ seed: SEED, accounts: ACCOUNTS, initialBalance: INITIAL_BALANCE, outcomes }, snapshot);
      assert.deepEqual(ledger.violations, []);
      await auditor.close();
      control.destroy();
      await server.until(areInSync, "with both mirrors in sync");
    });
  }

  test("leaves two equal mirrors, of which one can be exported and imported", async () => {
    assert.equal(await server.down(), true);
    const compared = await server.command(["disk", "compare", "--json"]);
    assert.equal(compared.code, 0, compared.out + compared.error);
    assert.deepEqual((JSON.parse(compared.out) as { differing: number; bad: number[] }).differing, 0);
    await checkFileSystem();
    const raw = join(work, "again.raw");
    assert.equal((await server.command(["disk", "export", raw])).code, 0);
    const refused = await server.command(["disk", "import", raw]);
    assert.equal(refused.code, 2);
    assert.match(refused.error, /MIRROR_EXISTS/);
    rmSync(stateDirectory, { recursive: true });
    assert.equal((await server.command(["disk", "import", raw])).code, 0);
    const again = join(work, "again2.raw");
    assert.equal((await server.command(["disk", "export", again])).code, 0);
    assert.equal(spawnSync("cmp", [raw, again]).status, 0);
  });
});
