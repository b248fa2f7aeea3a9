/** Whole servers on the network `user`: reached by published ports, before and after the I/O module that had them is gone. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";
import type { ServerReport } from "../dist/modules/management-status.js";
import { passtProcesses, until, whyNoPasst } from "./support/passt-processes.js";
import { RealServer, runProgram, steadfast } from "./support/real-server.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const NOBODY = 65534;
const WEB = 28080;
const PARAMETER = `${WEB}:80`;

async function page(): Promise<string> {
  return (await runProgram("curl", ["-s", "-m", "2", `http://127.0.0.1:${WEB}/`])).out;
}

interface Carrier {
  /** Name and process of the active I/O module, and of its passt, which is its child. */
  readonly name: string;
  readonly pid: number;
  readonly passt: number;
}

/** A module that is just being replaced may have a passt for a moment. */
async function carrier(server: RealServer): Promise<Carrier> {
  let found: Carrier | undefined;
  await until("one I/O module carries the network", async () => {
    const passts = passtProcesses(PARAMETER);
    const report: ServerReport = await server.status();
    const io = report.modules.find((module) => module.kind === "io" && module.pid === parentOf(passts[0] ?? 0));
    if (passts.length === 1 && io?.isActive === true) found = { name: io.name, pid: io.pid, passt: passts[0] as number };
    return found !== undefined;
  });
  return found as Carrier;
}

/** By the standby, which serves the published port from then on. */
async function isTakenOver(server: RealServer, former: Carrier): Promise<void> {
  await until("the first passt is gone", () => !passtProcesses(PARAMETER).includes(former.passt));
  await until("it answers", async () => /nginx/.test(await page()));
  const { name, passt } = await carrier(server);
  assert.notEqual(name, former.name, "the standby has taken over");
  assert.notEqual(passt, former.passt);
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? 0);
  } catch {
    return 0;
  }
}

describe("a server on the network user", { skip: whyNoPasst() }, () => {
  const server = new RealServer("user-net");

  before(async () => {
    await server.up(["--network", "user", "--publish", PARAMETER]);
  });

  after(async () => {
    await server.remove();
    await until("no passt is left", () => passtProcesses(PARAMETER).length === 0);
  });

  test("answers on its published port, and tells of ports and limit instead of an address", async () => {
    assert.match(await page(), /nginx/);
    const report = await server.status();
    assert.equal(report.address, "");
    assert.equal(report.network, "user");
    const { out } = await server.command(["status"]);
    assert.match(out, /28080 -> 80\/tcp, ready/);
    assert.match(out, /open connections through published ports end; new ones work at once/);
    assert.equal(passtProcesses(PARAMETER).length, 1, "a standby has none");
  });

  test("answers again after its active I/O module was killed, through the other one", async () => {
    for (let round = 0; round < 3; round += 1) {
      await server.untilDuplex();
      const former = await carrier(server);
      process.kill(former.pid, "SIGKILL");
      await isTakenOver(server, former);
    }
    assert.equal((await server.status()).counters.outages, 0);
  });

  test("a hung one keeps the ports only until it is ended; what was connected through it ends, on this host's side", async () => {
    await server.untilDuplex();
    const former = await carrier(server);
    const client = connect(WEB, "127.0.0.1");
    await once(client, "connect");
    const ended = new Promise((resolve) =>
      client
        .once("close", resolve)
        .on("error", () => undefined)
        .resume(),
    );
    process.kill(former.pid, "SIGSTOP");
    await isTakenOver(server, former);
    await ended;
    assert.equal((await server.status()).counters.outages, 0);
  });

  test("a second server cannot publish the same port: one sentence, and nothing is left of it", async () => {
    const outcome = await steadfast(["up", "-d", "--name", "user-two", "--publish", PARAMETER]);
    assert.equal(outcome.code, 3);
    assert.match(outcome.error, /PORT_TAKEN.*28080\/tcp/);
    assert.equal((await steadfast(["status", "--server", "user-two"])).code, 4);
    await new RealServer("user-two").remove();
  });

  test("when all its processes are killed at once, no passt is left", async () => {
    const report = await server.status();
    for (const module of report.modules) process.kill(module.pid, "SIGKILL");
    await until("passt is gone", () => passtProcesses(PARAMETER).length === 0);
    await server.down();
  });
});

describe("without privileges", { skip: process.getuid?.() === 0 ? whyNoPasst() : "needs root, to become somebody else" }, () => {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-user-"));
  const environment = { ...process.env, HOME: directory, STEADFAST_RUN: join(directory, "run"), STEADFAST_STATE: join(directory, "state") };
  const asNobody = (...parameters: string[]): ReturnType<typeof runProgram> => {
    const become = ["--reuid", String(NOBODY), "--regid", String(NOBODY), "--clear-groups", "--bounding-set=-all", "--inh-caps=-all"];
    return runProgram("setpriv", [...become, process.execPath, STEADFAST, ...parameters], "", 120_000, environment);
  };

  before(() => chownSync(directory, NOBODY, NOBODY));

  after(async () => {
    await asNobody("down", "--now", "--server", "plain");
    rmSync(directory, { recursive: true, force: true });
  });

  test("the network is chosen by itself, and that is said; with published ports it starts, as anybody", async () => {
    const file = join(directory, "server.yaml");
    writeFileSync(file, "engine: toy\nmemoryMiB: 64\n");
    const chosen = await asNobody("up", "-d", file, "--name", "plain", "--redundancy", "simplex");
    assert.equal(chosen.code, 0, chosen.out + chosen.error);
    assert.match(chosen.error, /network is `user` \(passt\), because TAP devices are not permitted here .*--publish/);
    assert.match(chosen.out, /no port is published/);
    await asNobody("down", "--now", "--server", "plain");
    const published = await asNobody("up", "-d", file, "--name", "plain", "--redundancy", "simplex", "--publish", PARAMETER);
    assert.equal(published.code, 0, published.out + published.error);
    await until("passt runs", () => passtProcesses(PARAMETER).length === 1);
    await asNobody("down", "--now", "--server", "plain");
    await until("no passt is left", () => passtProcesses(PARAMETER).length === 0);
    const tap = await asNobody("up", "-d", file, "--name", "plain", "--network", "tap");
    assert.equal(tap.code, 3);
    assert.match(tap.error, /TAP_PERMISSION.*--network user/);
  });
});
