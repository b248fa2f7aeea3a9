/** The command line end to end with the toy machine and no network: servers, drills, crashes of management, bad input. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { FileArbiter } from "../dist/arbiters/file.js";
import { parseServerFile } from "../dist/cli/server-file.js";
import { processStateOf } from "../dist/modules/management-process.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { runProgram, type Outcome } from "./support/real-server.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const LIMIT_MS = 60_000;

let base = "";
let environment: NodeJS.ProcessEnv = {};

function steadfast(parameters: readonly string[], input = "", more: NodeJS.ProcessEnv = {}): Promise<Outcome> {
  return runProgram(process.execPath, [STEADFAST, ...parameters], input, LIMIT_MS, { ...environment, ...more });
}

async function facts<T>(parameters: readonly string[]): Promise<T> {
  const outcome = await steadfast([...parameters, "--json"]);
  assert.equal(outcome.code, 0, `${parameters.join(" ")}: ${outcome.out}${outcome.error}`);
  return JSON.parse(outcome.out) as T;
}

const status = (server: string): Promise<ServerReport> => facts<ServerReport>(["status", "--server", server]);

async function until(server: string, wanted: (report: ServerReport) => boolean, what: string): Promise<ServerReport> {
  const giveUpAt = Date.now() + LIMIT_MS;
  for (;;) {
    const report = await status(server);
    if (wanted(report)) return report;
    assert.ok(Date.now() < giveUpAt, `${server} never became ${what}: ${JSON.stringify(report.modules)}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const pidOf = (report: ServerReport, name: string): number => report.modules.find((module) => module.name === name)?.pid ?? 0;

/** A zombie is not alive: its parent was ended too, and whoever inherits it may take its time. */
function alive(pid: number): boolean {
  const state = processStateOf(pid);
  return state !== null && state !== "Z";
}

function serverFile(name: string, lines: readonly string[] = []): string {
  const path = join(base, `${name}.yaml`);
  writeFileSync(path, [`name: ${name}`, "engine: toy", "network: { kind: none }", "memoryMiB: 64", ...lines, ""].join("\n"));
  return path;
}

before(() => {
  base = mkdtempSync(join(tmpdir(), "steadfast-cli-"));
  environment = { ...process.env, STEADFAST_RUN: join(base, "run"), STEADFAST_STATE: join(base, "state"), NO_COLOR: "1" };
});

// A test that failed half way must not make the next ones fail.
afterEach(async () => {
  const run = join(base, "run");
  for (const server of existsSync(run) ? readdirSync(run) : []) await steadfast(["down", "--now", "--server", server]);
});

after(() => rmSync(base, { recursive: true, force: true }));

describe("a server", () => {
  test("comes up in lockstep, says what it is, and leaves nothing behind", async () => {
    const report = await facts<ServerReport>(["up", "-d", serverFile("one")]);
    assert.equal(report.server, "one");
    assert.equal(report.redundancy, "DUPLEX");
    assert.deepEqual(
      report.modules.map((module) => `${module.name} ${module.kind} ${module.enclosure}`),
      [
        "cpu0 cpu enclosure0",
        "cpu1 cpu enclosure1",
        "io0 io enclosure0",
        "io1 io enclosure1",
        "mgmt0 management enclosure0",
        "mgmt1 management enclosure1",
      ],
    );
    for (const module of report.modules) assert.ok(alive(module.pid), module.name);
    for (const field of ["configuration", "seq", "guestTimeMs", "committed"] as const) assert.equal(typeof report[field], "number", field);
    const again = await steadfast(["up", "-d", serverFile("one")]);
    assert.equal(again.code, 4);
    assert.match(again.error, /SERVER_RUNNING: .*one is running already/);
    const stopped = await steadfast(["down"]);
    assert.equal(stopped.code, 0, stopped.error);
    assert.deepEqual(readdirSync(join(base, "run")), []);
    for (const module of report.modules) assert.ok(!alive(module.pid), module.name);
    const past = await steadfast(["events", "--server", "one"]);
    assert.match(past.out, /SERVER_STOPPED/);
    assert.equal((await steadfast(["down", "--server", "one"])).code, 4);
  });

  test("outlives kills, hangs and pulls, and its machines stay equal", async () => {
    const file = serverFile("drill");
    let report = await facts<ServerReport>(["up", "-d", file]);
    for (const module of ["cpu0", "cpu1", "cpu1"]) {
      const pid = pidOf(report, module);
      process.kill(pid, "SIGKILL");
      report = await until("drill", (now) => now.redundancy === "DUPLEX" && pidOf(now, module) !== pid, "DUPLEX again");
    }
    const hung = pidOf(report, "cpu0");
    assert.equal((await steadfast(["fault", "hang", "cpu0", "--server", "drill"])).code, 0);
    report = await until("drill", (now) => now.redundancy === "DUPLEX" && pidOf(now, "cpu0") !== hung, "DUPLEX after a hang");
    const told = (await steadfast(["events", "--server", "drill"])).out;
    assert.match(told, /process of cpu0 is gone: .*SIGKILL; in its last \d+ ms it computed for \d+ ms .*; it was stopped/);
    assert.equal((await steadfast(["pull", "cpu0", "--server", "drill"])).code, 0);
    report = await until("drill", (now) => now.redundancy === "SIMPLEX", "SIMPLEX");
    const pulled = report.modules.find((module) => module.name === "cpu0");
    assert.deepEqual([pulled?.state, pulled?.pid, pulled?.held], ["OFFLINE", 0, true]);
    const unsafe = await steadfast(["pull", "cpu1", "--server", "drill", "--json"]);
    assert.equal(unsafe.code, 4);
    assert.equal((JSON.parse(unsafe.out) as { error: { code: string } }).error.code, "NOT_SAFE_TO_PULL");
    assert.equal((await steadfast(["insert", "cpu0", "--server", "drill"])).code, 0);
    await until("drill", (now) => now.redundancy === "DUPLEX", "DUPLEX after the insert");
    const answer = await facts<{ equal: boolean; digests: Record<string, string> }>(["verify", "--server", "drill"]);
    assert.equal(answer.equal, true);
    assert.deepEqual(Object.keys(answer.digests).sort(), ["cpu0", "cpu1"]);
    const echoed = await steadfast(["console", "--server", "drill", "--quiet", "300"], "hello\n");
    assert.match(echoed.out, /toy: ready[^]*hello/);
    assert.equal((await status("drill")).counters.outages, 0);
    assert.equal((await steadfast(["down", "--server", "drill", "--now"])).code, 0);
  });

  test("of which every process was killed is started anew, with nothing of it left", async () => {
    const file = serverFile("dead");
    const first = await facts<ServerReport>(["up", "-d", file]);
    for (const module of first.modules) process.kill(module.pid, "SIGKILL");
    const second = await facts<ServerReport>(["up", "-d", file]);
    assert.equal(second.redundancy, "DUPLEX");
    for (const module of first.modules) assert.ok(!alive(module.pid), `${module.name} of the first start`);
    assert.match((await steadfast(["events", "--server", "dead"])).out, /LEFTOVERS_REMOVED/);
    assert.equal((await steadfast(["down", "--server", "dead"])).code, 0);
  });

  test("whose I/O module lost a claim starts another one, which takes over the living guest", async () => {
    await facts(["up", "-d", serverFile("fenced")]);
    const { configuration, modules } = await status("fenced");
    const before = modules.find((module) => module.name === "io0")?.pid;
    // Somebody else takes the next number, so that the claim that follows the loss of a module is lost.
    await new FileArbiter(join(base, "state", "fenced", "arbiter")).claim({
      number: configuration + 1,
      cpus: ["cpu1"],
      activeIo: "io9",
      mirrors: [],
    });
    process.kill(pidOf(await status("fenced"), "cpu0"), "SIGKILL");
    const after = await until("fenced", (report) => report.redundancy === "DUPLEX" && report.configuration > configuration + 2, "DUPLEX");
    assert.notEqual(after.modules.find((module) => module.name === "io0")?.pid, before);
    assert.equal(after.counters.outages, 0);
    assert.equal((await steadfast(["verify", "--server", "fenced"])).code, 0);
    assert.equal((await steadfast(["down", "--server", "fenced"])).code, 0);
  });

  test("a module that never gets there is BROKEN until it is cleared", async () => {
    const file = serverFile("flaky", ["redundancy: simplex", "faultThreshold: { count: 1 }"]);
    const report = await facts<ServerReport>(["up", "-d", file]);
    process.kill(pidOf(report, "io0"), "SIGKILL");
    const isBroken = (now: ServerReport): boolean => now.modules.some((module) => module.name === "io0" && module.state === "BROKEN");
    const broken = await until("flaky", isBroken, "BROKEN");
    assert.equal(pidOf(broken, "io0"), 0);
    assert.equal((await steadfast(["insert", "io0", "--server", "flaky"])).code, 4);
    assert.equal((await steadfast(["clear", "io0", "--server", "flaky"])).code, 0);
    await until("flaky", (now) => pidOf(now, "io0") !== 0, "cleared");
    assert.equal((await steadfast(["down", "--server", "flaky", "--now"])).code, 0);
  });

  test("runs in the foreground until it is interrupted, beside another one", async () => {
    await facts<ServerReport>(["up", "-d", serverFile("beside", ["redundancy: simplex"])]);
    const child = spawn(process.execPath, [STEADFAST, "up", serverFile("front")], { env: environment });
    let out = "";
    child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
    const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
    const giveUpAt = Date.now() + LIMIT_MS;
    while (!out.includes("POWER_ON") && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 50));
    const unnamed = await steadfast(["status"]);
    assert.equal(unnamed.code, 2);
    assert.match(unnamed.error, /SERVER_CHOOSE: .*beside, front/);
    child.kill("SIGINT");
    assert.equal(await ended, 0);
    assert.match(out, /SERVER_STOPPED/);
    assert.equal((await status("beside")).redundancy, "SIMPLEX");
    assert.equal((await steadfast(["down", "--server", "beside"])).code, 0);
  });
});

test("an installed server gets every setting that it was installed with", async () => {
  const given = ["--memory", "256", "--disk", "64", "--network", "user", "--publish", "127.0.0.1:8080:80", "--publish", "5353:53/udp"];
  given.push("--guest-watch", "report", "--lag-limit", "300", "--no-checkpoints");
  const { code, out, error } = await steadfast(["install", "--print", "--name", "boot", ...given]);
  assert.equal(code, 0, error);
  const words = /^ExecStart=.*/m.exec(out)?.[0].split(" ") ?? [];
  for (const word of given) assert.ok(words.includes(word), `${word} is in ${words.join(" ")}`);
  assert.match(words.join(" "), /--publish 127\.0\.0\.1:8080:80 --publish 5353:53\/udp/);
});

describe("bad input", () => {
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ["a typing error", "memoryMb: 256\n", /line 1: there is no field memoryMb; remove it or write one of .*memoryMiB/],
    ["too little memory", "name: a\nmemoryMiB: 32\n", /line 2: memoryMiB is 32; it must be a whole number of MiB from 64 to 3072/],
    ["too much memory", "memoryMiB: 4096\n", /line 1: memoryMiB is 4096/],
    [
      "a nested field",
      "name: a\nnetwork:\n  bridge: b0\n  hostAddress: 10.0.0.1\n",
      /line 4: network.hostAddress is "10.0.0.1"; it must be .*10.77.0.1\/24/,
    ],
    ["an unknown nested field", "network:\n  bridg: b0\n", /line 2: there is no field network.bridg; .*bridge/],
    ["a redundancy that is none", "# odd\nredundancy: quadruplex\n", /line 2: redundancy is "quadruplex"; it must be simplex, duplex/],
    ["no mapping", "- a\n- b\n", /line 1: the file must be a YAML mapping/],
    ["no YAML", "name: [a\nmemoryMiB: 3\n", /this is not YAML/],
    ["the same field twice", "name: a\nname: b\n", /line 2: this is not YAML/],
    ["an empty field", "lagLimitMs:\n", /line 1: lagLimitMs is empty; it must be/],
  ];
  for (const [what, content, expected] of cases) {
    test(`a server file with ${what} gets one sentence`, () => {
      assert.throws(
        () => parseServerFile(content, "x.yaml"),
        (error: Error) => {
          assert.match(error.message, expected);
          assert.ok(!error.message.includes("\n"));
          return true;
        },
      );
    });
  }

  test("an empty server file means the defaults", () => assert.deepEqual(parseServerFile("# nothing\n", "x.yaml"), {}));

  const commands: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ["a missing server file", ["up", "nowhere.yaml"], 2, /SERVER_FILE_UNREADABLE: .*nowhere\.yaml .*no such file/],
    ["too much memory", ["up", "--memory", "4G"], 2, /MEMORY_RANGE: --memory 4096 is out of range/],
    ["no memory size", ["up", "--memory", "lots"], 2, /must be a number of MiB/],
    ["a bad name", ["up", "--name", "Bad Name"], 2, /SERVER_NAME/],
    ["an initrd alone", ["up", "--initrd", "/x"], 2, /--initrd goes with --kernel/],
    ["a redundancy that is none", ["up", "--redundancy", "5"], 2, /simplex, duplex, triplex or pair-and-spare/],
    ["a kernel that is none", ["up", "--kernel", STEADFAST, "--initrd", STEADFAST], 5, /NOT_A_KERNEL/],
    ["a server that is not there", ["status", "--server", "nobody"], 4, /SERVER_NOT_RUNNING: No server named nobody/],
    ["an unknown command", ["frobnicate"], 2, /unknown command/],
    ["an unknown drill", ["fault", "tickle", "cpu0"], 2, /hang, kill/],
  ];
  for (const [what, parameters, code, expected] of commands) {
    test(`${what}: one sentence, exit code ${code}, nothing left behind`, async () => {
      const outcome = await steadfast(parameters);
      assert.equal(outcome.code, code, outcome.error);
      assert.match(outcome.error, expected);
      const run = join(base, "run");
      assert.deepEqual(existsSync(run) ? readdirSync(run) : [], []);
      const json = await steadfast([...parameters, "--json"]);
      assert.equal(json.code, code);
      assert.equal(typeof (JSON.parse(json.out) as { error: { code: string; message: string } }).error.message, "string");
      assert.equal(json.error, "");
    });
  }

  test("an unknown module is named together with those that exist", async () => {
    await facts<ServerReport>(["up", "-d", serverFile("known", ["redundancy: simplex"])]);
    for (const parameters of [
      ["pull", "cpu9"],
      ["insert", "cpu9"],
      ["clear", "cpu9"],
      ["fault", "kill", "cpu9"],
    ]) {
      const outcome = await steadfast(parameters);
      assert.equal(outcome.code, 2);
      assert.match(outcome.error, /MODULE_UNKNOWN: Server known has no module cpu9; it has cpu0, io0, mgmt0\./);
    }
    assert.equal((await steadfast(["down", "--now"])).code, 0);
  });

  test("a run directory with too long a path is refused", async () => {
    const long = join(base, "x".repeat(100));
    const outcome = await steadfast(["up", "-d", serverFile("long")], "", { STEADFAST_RUN: long });
    assert.equal(outcome.code, 2);
    assert.match(outcome.error, /RUN_DIRECTORY_LONG/);
    assert.ok(!existsSync(long));
  });

  test("a state directory that cannot be made is one sentence too", async () => {
    const blocked = join(base, "blocked");
    writeFileSync(blocked, "a file");
    const outcome = await steadfast(["up", "-d", serverFile("blocked")], "", { STEADFAST_STATE: blocked });
    assert.equal(outcome.code, 3);
    assert.match(outcome.error, /DIRECTORY_FAILED/);
    mkdirSync(join(base, "run"), { recursive: true });
    for (const server of readdirSync(join(base, "run"))) assert.deepEqual(readdirSync(join(base, "run", server)), []);
  });
});

/** Exit code of a program that writes for ever to a reader that goes away; `first`: what it says of that beforehand. */
function endWithoutReader(first: string): Promise<number | null> {
  const home = new URL("../dist/cli/reader-gone.js", import.meta.url).href;
  const program = `import { endWithoutReader, whenReaderGone } from ${JSON.stringify(home)};
    process.stdout.on("error", endWithoutReader);
    ${first}
    setInterval(() => process.stdout.write("more\\n"), 1);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  child.stdout.once("data", () => child.stdout.destroy());
  return new Promise((resolve) => child.once("close", resolve));
}

test("a command whose output nobody reads any more ends well, and cleans up first if it has to", async () => {
  assert.equal(await endWithoutReader(""), 0);
  const cleanUp = "whenReaderGone(() => { console.log('not read'); setTimeout(() => process.exit(7), 50); })";
  assert.equal(await endWithoutReader(`${cleanUp};`), 7);
  assert.equal(await endWithoutReader(`${cleanUp}();`), 0, "when there is nothing left to clean up");
});
