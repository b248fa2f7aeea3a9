/**
 * Active upgrades of a real server under load: refused, aborted without a trace, carried out for command line, memory and kernel, rolled back
 * on either disk, committed; the leading management module is killed while a change is tried.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { REDIS_PORT, redisReady } from "../dist/bench/connection.js";
import { findImage } from "../dist/image/index.js";
import type { PastInstallation } from "../dist/modules/change-records.js";
import type { ChangeView } from "../dist/modules/management-changes.js";
import type { UpgradeView } from "../dist/modules/management-upgrade.js";
import { ChangeWorkshop, refused, type MadeChange } from "./support/change-workshop.js";
import { RealServer } from "./support/real-server.js";
import { SteadyWriter } from "./support/steady-writer.js";

const LIMIT_MS = 600_000;
const PAUSE_MS = 50;
const REASON = "a test of ours";
const NETWORK = { kind: "tap", bridge: "sfupgr", hostAddress: "10.77.150.1/24", guestAddress: "10.77.150.2" };

const hasKernels = (["hardened", "stock"] as const).every((kernel) => findImage({ kernel }) !== undefined);
const workshop = new ChangeWorkshop("steadfast-upgrade-", LIMIT_MS);
const { base } = workshop;
const server = new RealServer("upgraded");
const TRIAL = "upgraded-upgrade";
const REDIS = { host: NETWORK.guestAddress, port: REDIS_PORT };

const changes = (): Promise<ChangeView> => server.facts<ChangeView>(["change", "status"]);

function upgrade({ file, certificate }: MadeChange, ...more: string[]): Promise<UpgradeView> {
  return server.facts<UpgradeView>(["change", "upgrade", file, "--certificate", certificate, ...more], LIMIT_MS);
}

/** What is left of the trial on this host. */
function traces(): string[] {
  const processes = readdirSync("/proc").filter((entry) => {
    if (!/^\d+$/.test(entry)) return false;
    try {
      return readFileSync(`/proc/${entry}/environ`, "utf8").includes(`/run/${TRIAL}/`);
    } catch {
      return false;
    }
  });
  const directories = [join(base, "state", TRIAL), join(base, "run", TRIAL)].filter((path) => existsSync(path));
  return [...processes, ...directories, ...Object.keys(networkInterfaces()).filter((name) => name.includes("upgrade"))];
}

/** Redis listens, and the guest is ready, while it still reads its file; until that is done it answers with an error. */
async function untilLoaded(): Promise<void> {
  assert.ok(await redisReady(REDIS, LIMIT_MS), "Redis has read its file");
}

async function redis(command: string): Promise<string> {
  await untilLoaded();
  return server.inGuest(`redis-cli ${command}`);
}

/** All answers that a writer got across an outage are kept by the guest. */
class Writing {
  readonly writer: SteadyWriter;

  constructor() {
    this.writer = new SteadyWriter(REDIS, PAUSE_MS);
    this.writer.start();
  }

  async end(): Promise<number> {
    await this.writer.stop();
    assert.ok(this.writer.count > 0);
    await untilLoaded();
    await this.writer.check(true);
    return this.writer.interruptions;
  }
}

describe(
  "an active upgrade of a server that runs",
  { skip: !hasKernels && "images with both kernels are needed: steadfast image build --kernel hardened, and stock" },
  () => {
    let line: MadeChange;

    before(async () => {
      const file = join(base, "server.yaml");
      writeFileSync(
        file,
        JSON.stringify({ name: server.name, network: NETWORK, disk: { sizeMiB: 32 }, image: { kernel: "hardened" }, lagLimitMs: 2000 }),
      );
      await server.up([file]);
      await workshop.makeKey();
      line = await workshop.make(
        server,
        "line",
        "commandLine: console=ttyS0 loglevel=4 panic=-1 tried.word=1\nchecks: [{ name: word, command: grep -q tried.word /proc/cmdline, timeoutSeconds: 60 }]\n",
      );
    });
    after(async () => {
      await server.command(["down", "--now"]);
      workshop.remove();
    });

    test("what cannot be is refused before anything happens", async () => {
      const since = (await server.status()).lastEventId;
      for (const step of ["cutover", "abort", "commit"]) refused(await server.command(["change", step]), "UPGRADE_NONE");
      refused(await server.command(["change", "rollback", "--former-disk"]), "UPGRADE_NONE");
      refused(await server.command(["change", "upgrade", line.file], "", LIMIT_MS), "CERTIFICATE_MISSING");
      refused(await server.command(["change", "install", line.file, "--certificate", line.certificate]), "CHANGE_NEEDS_START");
      assert.ok(!(await server.events(since)).some(({ code }) => code.startsWith("UPGRADE")));
      assert.deepEqual(traces(), []);
    });

    test("a change is tried under payments though the leading management module is killed; aborted, it leaves no trace", async () => {
      const [before, writing] = [await server.status(), new Writing()];
      const paying = server.command(["bench", "payments", "--clients", "2", "--seconds", "20", "--faults", "none"], "", LIMIT_MS);
      const trying = upgrade(line);
      for (;;) {
        const { upgrade: now } = await changes();
        if (now?.phase === "booting" || now?.phase === "checking") break;
        assert.notEqual(now?.phase, "tried", "it is killed meanwhile");
        await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      }
      process.kill((await server.module("mgmt0")).pid, "SIGKILL");
      const { phase, trial, allowed } = await trying;
      assert.deepEqual([phase, trial, allowed], ["tried", TRIAL, ["cutover", "abort"]]);
      const paid = await paying;
      assert.equal(paid.code, 0, paid.out + paid.error);
      assert.ok(traces().length > 0);
      refused(await server.command(["change", "install", line.file, "--certificate", line.certificate]), "CHANGE_");
      await server.facts(["change", "abort"], LIMIT_MS);
      assert.deepEqual(traces(), []);
      assert.equal(await writing.end(), 0, "no client noticed");
      const { image, disk } = await server.untilDuplex();
      assert.deepEqual([image, Object.keys(disk?.mirrors ?? {})], [before.image, ["io0", "io1"]]);
      const { upgrade: none, history } = await changes();
      assert.deepEqual([none, history.at(-1)?.outcome], [null, "aborted"]);
      await server.assertEqual();
    });

    test("a command line: the guest is started with it, is away once, keeps what it acknowledged, and goes back", async () => {
      const writing = new Writing();
      const since = (await server.status()).lastEventId;
      const { phase, outageMs, hasFormerDisk, allowed } = await upgrade(line, "--cutover");
      assert.deepEqual([phase, hasFormerDisk, allowed], ["uncommitted", true, ["commit", "rollback"]]);
      assert.ok(outageMs !== null && outageMs > 0);
      process.stdout.write(`# outage of the command line's cutover: ${outageMs} ms\n`);
      assert.match(await server.inGuest("cat /proc/cmdline"), /tried\.word=1 .*steadfast\.address=10\.77\.150\.2/);
      const interruptions = await writing.end();
      assert.ok(interruptions > 0, "its connection ended with the guest");
      assert.deepEqual(traces(), []);
      const log = await server.events(since);
      assert.equal(log.filter(({ code }) => code === "POWER_ON").length, 1);
      assert.ok(!log.some(({ code }) => code === "OUTAGE"));
      assert.equal((await server.status()).certification?.state, "certified");
      await server.until((report) => report.disk?.mirrors["io1"]?.state === "in sync", "whole");
      await server.assertEqual();
      const again = new Writing();
      const back = await server.facts<PastInstallation>(["change", "rollback"], LIMIT_MS);
      assert.deepEqual([back.outcome, back.outageMs], ["rolledBack", outageMs]);
      await again.end();
      await writing.writer.check(true);
      assert.doesNotMatch(await server.inGuest("cat /proc/cmdline"), /tried/);
      assert.equal((await server.status()).certification?.state, "base");
    });

    test("memory: the machines are made anew; the former disk has what was there at the cutover, and nothing since", async () => {
      const memory = await workshop.make(server, "memory", "memoryMiB: 320\n");
      await redis("set before 1");
      const { phase, outageMs, to } = await upgrade(memory, "--cutover");
      process.stdout.write(`# outage of the memory's cutover: ${outageMs} ms\n`);
      assert.deepEqual([phase, to.memoryMiB], ["uncommitted", 320]);
      assert.equal((await server.status()).memoryMiB, 320);
      const total = Number(/MemTotal:\s+(\d+)/.exec(await server.inGuest("cat /proc/meminfo"))?.[1]);
      assert.ok(total > 256 * 1024, `${total} KiB`);
      await redis("set since 1");
      await server.untilDuplex();
      await server.assertEqual();
      const back = await server.facts<PastInstallation>(["change", "rollback", "--former-disk"], LIMIT_MS);
      assert.equal(back.outcome, "rolledBack");
      assert.match(await redis("exists before"), /1/);
      assert.match(await redis("exists since"), /0/);
      assert.equal((await server.untilDuplex()).memoryMiB, 256);
      await server.until((report) => report.disk?.mirrors["io1"]?.state === "in sync", "whole");
      await server.assertEqual();
    });

    test("what is well in its trial only is taken back by itself", async () => {
      // The trial has no address.
      const checks = "checks: [{ name: alone, command: 'echo not alone; ! grep -q steadfast.address /proc/cmdline', timeoutSeconds: 60 }]";
      const sick = await workshop.make(server, "sick", `commandLine: console=ttyS0 loglevel=4 panic=-1 sick.word=1\n${checks}\n`);
      const since = (await server.status()).lastEventId;
      const outcome = await server.command(["change", "upgrade", sick.file, "--uncertified", REASON, "--cutover"], "", LIMIT_MS);
      refused(outcome, "UPGRADE_ENDED");
      assert.match(outcome.error, /own check alone failed: not alone/);
      const codes = (await server.events(since)).map(({ code }) => code);
      assert.ok(codes.includes("UPGRADE_UNHEALTHY") && codes.includes("UPGRADE_ROLLED_BACK"), codes.join(" "));
      assert.doesNotMatch(await server.inGuest("cat /proc/cmdline"), /sick/);
      assert.deepEqual(traces(), []);
      await server.untilDuplex();
      await server.until((report) => report.disk?.mirrors["io1"]?.state === "in sync", "whole");
    });

    test("a kernel: the guest runs Debian's own, and goes back to the hardened one with all that was acknowledged", async () => {
      const stock = await workshop.make(server, "stock", "kernel: { kind: stock }\n");
      const hardened = await server.inGuest("uname -r");
      const writing = new Writing();
      const { phase, outageMs } = await upgrade(stock, "--cutover");
      assert.equal(phase, "uncommitted");
      process.stdout.write(`# outage of the kernel's cutover: ${outageMs} ms\n`);
      assert.match(await server.inGuest("uname -r"), /deb/);
      await writing.end();
      const again = new Writing();
      const back = await server.facts<PastInstallation>(["change", "rollback"], LIMIT_MS);
      assert.equal(back.outcome, "rolledBack");
      await again.end();
      await writing.writer.check(true);
      assert.equal(await server.inGuest("uname -r"), hardened);
      assert.equal((await server.status()).certification?.state, "base");
      await server.untilDuplex();
      await server.until((report) => report.disk?.mirrors["io1"]?.state === "in sync", "whole");
      await server.assertEqual();
    });

    test("what is committed stays", async () => {
      const { to } = await upgrade(line, "--cutover");
      const done = await server.facts<PastInstallation>(["change", "commit"], LIMIT_MS);
      assert.deepEqual([done.outcome, done.why, (await changes()).running], ["upgraded", null, to.image]);
      for (const enclosure of ["enclosure0", "enclosure1"])
        assert.ok(!existsSync(join(base, "state", server.name, enclosure, "disk", "former")));
      await server.untilDuplex();
      await server.assertEqual();
    });
  },
);
