/** The control API of a running server, asked by curl over its Unix socket, with what a client may get wrong or mean badly. */
import assert from "node:assert/strict";
import { request } from "node:http";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { eventsSchema, liveSchema, readySchema, statusSchema } from "../dist/api/answers.js";
import { METRICS } from "../dist/api/metrics.js";
import { readAudit } from "../dist/modules/management-audit.js";
import { localUserName, ownUser } from "../dist/ports/peer-user.js";
import { freePort } from "../dist/bench/api-seat.js";
import { runProgram } from "./support/real-server.js";
import { ToyServers, type ToyServer } from "./support/toy-servers.js";

const servers = new ToyServers();
const LIMIT_MS = 10_000;
const BODY_BYTES_MAX = 64 * 1024;
/** Beside what was compiled of the tests, so that packages are found. */
const GENERATED = fileURLToPath(new URL("./generated-client/", import.meta.url));
const PACKAGES = fileURLToPath(new URL("../node_modules/", import.meta.url));
const stateDirectory = join(servers.base, "state", "api");
let server: ToyServer;
let port = 0;

interface Answer {
  readonly status: number;
  readonly type: string;
  readonly text: string;
}

/** What a user of the generated client writes. */
const USE_OF_CLIENT = `
import * as api from "./client.js";
api.defaults.baseUrl = process.env["URL"] ?? "";
api.defaults.headers = { authorization: "Bearer " + process.env["TOKEN"] };
const status = await api.status();
const events = await api.events({ since: 0 });
const verified = await api.verify();
const refused = await api.pull("cpu9", { force: false });
process.stdout.write(JSON.stringify({
  redundancy: "redundancy" in status.data ? status.data.redundancy : status.data.error.code,
  firstEvent: "events" in events.data ? events.data.events[0]?.code : events.data.error.code,
  equal: "equal" in verified.data ? verified.data.equal : verified.data.error.code,
  refused: [refused.status, "error" in refused.data ? refused.data.error.code : "done"],
}));
`;

async function curl(path: string, parameters: readonly string[] = [], input = ""): Promise<Answer> {
  const form = ["-sS", "--path-as-is", "-w", "\n%{http_code} %{content_type}", "--unix-socket", join(server.runDirectory, "control.sock")];
  const { code, out, error } = await runProgram("curl", [...form, ...parameters, `http://localhost${path}`], input, LIMIT_MS, process.env);
  assert.equal(code, 0, `${path}: ${error}`);
  const end = out.lastIndexOf("\n");
  const [status = "", type = ""] = out.slice(end + 1).split(/ (.*)/);
  return { status: Number(status), type, text: out.slice(0, end) };
}

async function json(path: string): Promise<unknown> {
  return JSON.parse((await curl(path)).text) as unknown;
}

async function assertRefused(answered: Promise<Answer>, status: number, code: string): Promise<void> {
  const { status: found, text } = await answered;
  const { error } = JSON.parse(text) as { error: { code: string; message: string } };
  assert.deepEqual([found, error.code], [status, code], text);
  assert.doesNotMatch(error.message, /\n/);
}

describe("the control API", { timeout: 60_000 }, () => {
  before(async () => {
    port = await freePort();
    server = await servers.up("api", [`api: { listen: "127.0.0.1:${port}" }`]);
  });
  after(async () => {
    await servers.downAll();
    servers.remove();
    rmSync(GENERATED, { recursive: true, force: true });
  });

  test("answers as its schemas say", async () => {
    const status = await json("/status");
    assert.deepEqual(statusSchema.parse(status), status);
    const events = await json("/events");
    assert.deepEqual(eventsSchema.parse(events), events);
    const { openapi, paths } = (await json("/openapi.json")) as { openapi: string; paths: Record<string, unknown> };
    assert.equal(openapi, "3.1.0");
    assert.ok("/health/ready" in paths);
  });

  test("a client that somebody else's generator makes of its description compiles, and works", { timeout: 120_000 }, async () => {
    rmSync(GENERATED, { recursive: true, force: true });
    mkdirSync(GENERATED, { recursive: true });
    writeFileSync(join(GENERATED, "openapi.json"), (await curl("/openapi.json")).text);
    writeFileSync(join(GENERATED, "use.ts"), USE_OF_CLIENT);
    const node = async (parameters: readonly string[], environment: NodeJS.ProcessEnv = process.env): Promise<string> => {
      const { code, out, error } = await runProgram(process.execPath, parameters, "", LIMIT_MS * 6, environment);
      assert.equal(code, 0, out + error);
      return out;
    };
    await node([join(PACKAGES, "oazapfts/dist/cli.js"), join(GENERATED, "openapi.json"), join(GENERATED, "client.ts")]);
    const strict = ["--strict", "--module", "nodenext", "--target", "es2022", "--lib", "es2023,dom", "--types", "node"];
    await node([join(PACKAGES, "typescript/bin/tsc"), ...strict, join(GENERATED, "use.ts")]);
    const token = (await server.must(["tokens", "create", "generated", "--role", "operate"])).out.trim();
    const certificate = join(stateDirectory, "tls", "certificate.pem");
    assert.ok(existsSync(certificate));
    const environment = { ...process.env, NODE_EXTRA_CA_CERTS: certificate, URL: `https://127.0.0.1:${port}`, TOKEN: token };
    const found = JSON.parse(await node([join(GENERATED, "use.js")], environment)) as Record<string, unknown>;
    assert.deepEqual(found, { redundancy: "DUPLEX", firstEvent: "SERVER_STARTED", equal: true, refused: [400, "MODULE_UNKNOWN"] });
  });

  test("notes who started the server and who made a token", () => {
    const entries = readAudit(join(stateDirectory, "audit.jsonl")).filter(({ from }) => from === "command line");
    for (const { who } of entries) assert.equal(who, localUserName(ownUser()));
    assert.deepEqual(
      entries.map(({ what, details, outcome }) => [what, details, outcome]),
      [
        ["up", { image: "toy", redundancy: "duplex" }, "done"],
        ["tokens create", { name: "generated", role: "operate", expiresAtMs: null }, "done"],
      ],
    );
    assert.doesNotMatch(readFileSync(join(stateDirectory, "audit.jsonl"), "utf8"), /steadfast_/);
  });

  test("gives metrics that Prometheus' own check accepts", async () => {
    const { status, type, text } = await curl("/metrics");
    assert.equal(status, 200);
    assert.match(type, /^text\/plain; version=0\.0\.4/);
    const checked = await runProgram("promtool", ["check", "metrics"], text, LIMIT_MS, process.env);
    assert.deepEqual([checked.code, checked.out + checked.error], [0, ""]);
    assert.match(text, /^steadfast_redundancy\{redundancy="DUPLEX",server="api"\} 1$/m);
    assert.match(text, /^steadfast_module_state\{module="cpu0",kind="cpu",enclosure="enclosure0",state="DUPLEX",server="api"\} 1$/m);
    const names = new Set(METRICS.map((metric) => metric.name));
    for (const [, name = ""] of text.matchAll(/^# TYPE (\S+)/gm)) assert.ok(names.has(name), name);
  });

  test("says whether it lives and whether its guest is there", async () => {
    const live = await curl("/health/live");
    assert.equal(live.status, 200);
    assert.equal(liveSchema.parse(JSON.parse(live.text)).server, "api");
    const found = await curl("/health/ready");
    const ready = readySchema.parse(JSON.parse(found.text));
    const { guest, redundancy } = await server.status();
    assert.deepEqual([ready.guest, ready.redundancy], [guest, redundancy]);
    assert.equal(ready.ready, guest === "ready" || guest === "reachable");
    assert.equal(found.status, ready.ready ? 200 : 503);
  });

  test("refuses bodies that it cannot read", async () => {
    const long = JSON.stringify({ force: "x".repeat(BODY_BYTES_MAX * 16) });
    const sent = ["-H", "Expect:", "--data-binary", "@-"];
    await assertRefused(curl("/modules/cpu0/pull", sent, long), 400, "API_BODY");
    await assertRefused(curl("/modules/cpu0/pull", ["-H", "transfer-encoding: chunked", ...sent], long), 400, "API_BODY");
    for (const garbage of ["{", "[]", "null", "7", "\0\u0001", '{"force":true'])
      await assertRefused(curl("/modules/cpu0/pull", sent, garbage), 400, "API_BODY");
  });

  test("refuses fields that it does not know or that are of another kind", async () => {
    const post = (path: string, body: unknown): Promise<Answer> => curl(path, ["-d", JSON.stringify(body)]);
    await assertRefused(post("/modules/cpu0/pull", { force: 1 }), 400, "API_FIELD");
    await assertRefused(post("/modules/cpu0/insert", { force: true }), 400, "API_FIELD");
    await assertRefused(post("/faults", { kind: "burn", module: "cpu0" }), 400, "FAULT_UNKNOWN");
    await assertRefused(post("/faults", { kind: "kill", module: "cpu9" }), 400, "MODULE_UNKNOWN");
    await assertRefused(post("/faults", { kind: "flip", module: "cpu0", address: -1, bit: 0 }), 400, "FAULT_ADDRESS");
    await assertRefused(post("/power", { action: "explode" }), 400, "POWER_ACTION_UNKNOWN");
    await assertRefused(post("/redundancy", { redundancy: "quadruplex" }), 400, "REDUNDANCY_UNKNOWN");
    await assertRefused(post("/recording", {}), 400, "API_FIELD");
    await assertRefused(post("/down", { graceMs: "soon" }), 400, "API_FIELD");
  });

  test("knows no other paths, methods or ways out", async () => {
    for (const path of [
      "/",
      "//",
      "/nothing",
      "/status/x",
      "/health",
      "/metrics/../../etc/passwd",
      "/%2e%2e/%2e%2e/etc/passwd",
      "/events/../..",
    ])
      await assertRefused(curl(path), 400, "API_UNKNOWN");
    await assertRefused(curl("/modules/../../../etc/pull", ["-d", "{}"]), 400, "API_UNKNOWN");
    await assertRefused(curl("/modules/%2e%2e%2fcpu0/pull", ["-d", "{}"]), 400, "MODULE_UNKNOWN");
    await assertRefused(curl("/status", ["-X", "DELETE"]), 400, "API_UNKNOWN");
    const upgrade = ["-H", "connection: Upgrade", "-H", "upgrade: steadfast-console", "-X", "POST"];
    assert.equal((await curl("//", upgrade)).status, 404);
  });

  test("lets go of a client that leaves within its request, and goes on as before", async () => {
    await new Promise<void>((resolve) => {
      const call = request({ socketPath: join(server.runDirectory, "control.sock"), method: "POST", path: "/verify" });
      call.on("error", () => resolve());
      call.write('{"half');
      setTimeout(() => call.destroy(new Error("gone")), 20);
    });
    const { redundancy, counters, modules } = await server.status();
    assert.deepEqual([redundancy, counters.outages], ["DUPLEX", 0]);
    assert.ok(
      modules.every((module) => module.incarnation === 1),
      "nothing was restarted by any of this",
    );
    await server.assertEqual();
    await server.down();
  });
});
