/**
 * A second fault while the server still recovers from a first one, in the other enclosure: each pair of kinds once (`npm run test:long`; each
 * kind first and second for every commit), under writes that must be there whatever happens. Either nobody notices, or there is an outage that is counted and explained, and the guest starts again.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { REDIS_PORT, redisReady } from "../dist/bench/connection.js";
import { ServerClient } from "../dist/cli/client.js";
import { serverPaths } from "../dist/modules/management-paths.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { isLong } from "./support/long.js";
import { RealServer } from "./support/real-server.js";
import { SteadyWriter } from "./support/steady-writer.js";

/** What is done to an enclosure; the answer undoes it. */
type Strike = (enclosure: string, report: ServerReport) => Promise<() => Promise<unknown>>;

const SECOND_AFTER_MS = 100;
/** From the end of both faults until writes are acknowledged again: a start of the guest, and Redis reading its file. */
const WRITES_AGAIN_MS = 30_000;
/** The same where the guest had I/O errors: it may have got over them; if not, its file system stays as it is until a new start. */
const OVER_ERRORS_MS = 5000;
/** With these the last good copy of the disk may go: the guest then gets errors, never wrong data, and may need a new start. */
const TAKES_MIRRORS = ["disk failing", "I/O killed", "I/O hung", "enclosure pulled"];

const server = new RealServer("test-second");
const client = new ServerClient(server.name);
const { stateDirectory } = serverPaths(server.name);

function signal(prefix: string, name: "SIGKILL" | "SIGSTOP"): Strike {
  return (enclosure, report) => {
    const victim = report.modules.find((module) => module.name.startsWith(prefix) && module.enclosure === enclosure);
    assert.ok(victim !== undefined);
    // One that is just being replaced has no process; then its loss is still the first one's.
    if (victim.pid > 0) process.kill(victim.pid, name);
    return Promise.resolve(() => Promise.resolve());
  };
}

const STRIKES: Readonly<Record<string, Strike>> = {
  "CPU killed": signal("cpu", "SIGKILL"),
  "CPU hung": signal("cpu", "SIGSTOP"),
  "I/O killed": signal("io", "SIGKILL"),
  "I/O hung": signal("io", "SIGSTOP"),
  "management killed": signal("mgmt", "SIGKILL"),
  "enclosure pulled": async (enclosure) => {
    await client.pull(enclosure, true);
    return () => client.insert(enclosure);
  },
  "disk failing": async (enclosure, report) => {
    const io = report.modules.find((module) => module.kind === "io" && module.enclosure === enclosure)?.name ?? "";
    await client.fault("disk-errors", io);
    // Nothing to heal where a new process has opened the disk meanwhile.
    return () => client.fault("disk-heal", io).catch(() => undefined);
  },
};

const isWhole = ({ redundancy, disk, modules }: ServerReport): boolean =>
  redundancy === "DUPLEX" &&
  modules.every(({ pid, state }) => pid > 0 && state === "DUPLEX") &&
  disk !== null &&
  Object.values(disk.mirrors).filter(({ state }) => state === "in sync").length === 2;

/** In the ring of kinds: those pairs have every kind twice. */
const areNeighbours = (first: number, second: number, count: number): boolean => [1, count - 1].includes(second - first);

/** True: writes are acknowledged again by themselves. */
async function writesGoOn(writer: SteadyWriter, limitMs = WRITES_AGAIN_MS): Promise<boolean> {
  const before = writer.count;
  const giveUpAt = Date.now() + limitMs;
  while (writer.count === before && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 50));
  return writer.count > before;
}

describe("a second fault during the recovery from the first", { timeout: 20 * 60_000 }, () => {
  const address = { host: "", port: REDIS_PORT };
  let writer: SteadyWriter | null = null;
  before(async () => {
    rmSync(stateDirectory, { recursive: true, force: true });
    address.host = (await server.up(["--kernel", "hardened", "--disk", "64", "--guest-watch", "report"])).address;
    assert.ok(await redisReady(address, 60_000), "Redis answers");
    writer = new SteadyWriter(address);
    writer.start();
  });
  after(async () => {
    await writer?.stop();
    await server.remove();
  });

  async function strike(firstKind: string, secondKind: string): Promise<string> {
    const steady = writer as SteadyWriter;
    const start = await server.until(isWhole, "whole");
    await steady.check();
    const interruptions = steady.interruptions;
    // The first one hits where the active I/O module is not said to be: both orders come up, since it moves with every loss.
    const undoFirst = await (STRIKES[firstKind] as Strike)("enclosure0", start);
    await new Promise((resolve) => setTimeout(resolve, SECOND_AFTER_MS));
    const undoSecond = await (STRIKES[secondKind] as Strike)("enclosure1", start);
    await new Promise((resolve) => setTimeout(resolve, SECOND_AFTER_MS));
    await undoFirst();
    await undoSecond();
    const end = await server.until(isWhole, `whole after ${firstKind} and ${secondKind}`);
    const outages = end.counters.outages - start.counters.outages;
    const errors = (end.disk?.counters.errors ?? 0) - (start.disk?.counters.errors ?? 0);
    const isServing = await writesGoOn(steady, errors > 0 ? OVER_ERRORS_MS : WRITES_AGAIN_MS);
    if (!isServing) {
      await client.power("reset");
      assert.ok(await writesGoOn(steady), "after a new start the guest serves");
    }
    await steady.check();
    if (outages > 0) {
      const events = await client.events(start.lastEventId);
      assert.ok(events.some(({ code, text }) => code === "OUTAGE" && text.length > 0));
      return "an outage, counted and explained";
    }
    if (isServing && steady.interruptions === interruptions) return "nobody noticed";
    assert.ok(
      [firstKind, secondKind].every((kind) => TAKES_MIRRORS.includes(kind)),
      `nobody notices ${firstKind}, ${secondKind}: there was no outage, and a good copy of the disk`,
    );
    return `no good copy of the disk was left: ${errors} I/O errors${isServing ? "" : ", and the guest had to be started anew"}`;
  }

  const kinds = Object.keys(STRIKES);
  for (const [index, first] of kinds.entries()) {
    for (const second of kinds.slice(index)) {
      // The loss of everything, management too: server-disk.test.ts.
      if (first === "enclosure pulled" && second === first) continue;
      if (!isLong && !areNeighbours(index, kinds.indexOf(second), kinds.length)) continue;
      test(`${first}, then ${second}: no acknowledged write is lost`, async (context) => {
        context.diagnostic(await strike(first, second));
      });
    }
  }

  test("in the end everything that was ever acknowledged is there, and the machines are equal", async () => {
    await writer?.stop();
    await server.until(isWhole, "whole");
    await writer?.check(true);
    await server.assertEqual();
  });
});
