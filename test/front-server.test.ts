/** One server that listens for the outside, asked well and badly, while it loses the management module that leads. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { Agent, get as httpsGet } from "node:https";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { connect as tlsConnect } from "node:tls";
import { after, before, describe, test } from "node:test";
import { WebSocket } from "ws";
import { statusSchema } from "../dist/api/answers.js";
import { ControlClient, type ServerEvent } from "../dist/client/index.js";
import { readAudit } from "../dist/modules/management-audit.js";
import { runProgram } from "./support/real-server.js";
import { isAlive, ToyServers, type ToyServer } from "./support/toy-servers.js";

const servers = new ToyServers();
const LIMIT_MS = 20_000;
/** Of each of two fronts. */
const STREAMS_MAX = 6;
let server: ToyServer;
let port = 0;
let operator = "";
let viewer = "";
let client: ControlClient;

interface Answer {
  readonly status: number;
  readonly head: string;
  readonly text: string;
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const { port: free } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return free;
}

async function curl(path: string, token: string | null, parameters: readonly string[] = [], input = ""): Promise<Answer> {
  const sign = token === null ? [] : ["-H", `authorization: Bearer ${token}`];
  const form = ["-sSk", "-i", "--path-as-is", "--max-time", "15", "-w", "\n%{http_code}", ...sign, ...parameters];
  const { code, out, error } = await runProgram("curl", [...form, `https://127.0.0.1:${port}${path}`], input, LIMIT_MS);
  assert.equal(code, 0, `${path}: ${error}`);
  const end = out.lastIndexOf("\n");
  const [head = "", ...rest] = out.slice(0, end).split("\r\n\r\n");
  return { status: Number(out.slice(end + 1)), head, text: rest.join("\r\n\r\n") };
}

async function assertRefused(answered: Promise<Answer>, status: number, code: string): Promise<void> {
  const { status: found, text } = await answered;
  const { error } = JSON.parse(text) as { error: { code: string; message: string } };
  assert.deepEqual([found, error.code], [status, code], text);
}

async function token(name: string, role: string): Promise<string> {
  return (await server.must(["tokens", "create", name, "--role", role])).out.trim();
}

function front(module: string): number {
  return (JSON.parse(readFileSync(join(server.runDirectory, `front-${module}.process.json`), "utf8")) as { pid: number }).pid;
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + LIMIT_MS;
  while (!(await isSo())) {
    assert.ok(Date.now() < giveUpAt, what);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Opens a stream and leaves it: its status. */
function idleStream(streams: { destroy(): void }[], bearer: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const options = { port, host: "127.0.0.1", path: "/events?follow=1", rejectUnauthorized: false, agent: false } as const;
    const call = httpsGet({ ...options, headers: { authorization: `Bearer ${bearer}` } }, (response) => {
      response.on("error", () => undefined);
      response.resume();
      resolve(response.statusCode ?? 0);
    });
    streams.push(call);
    call.on("error", reject);
  });
}

/** What comes over a connection that says only this. */
function saying(text: string): Promise<string> {
  return new Promise((resolve) => {
    let heard = "";
    const socket = tlsConnect({ port, host: "127.0.0.1", rejectUnauthorized: false }, () => socket.write(text));
    socket.on("data", (bytes: Buffer) => (heard += bytes.toString()));
    socket.on("error", () => undefined);
    socket.on("close", () => resolve(heard));
  });
}

function consoleSocket(ticket: string, origin: string): Promise<{ readonly socket: WebSocket | null; readonly heard: () => string }> {
  return new Promise((resolve) => {
    const url = `wss://127.0.0.1:${port}/console/socket?ticket=${ticket}`;
    const socket = new WebSocket(url, { headers: { origin }, rejectUnauthorized: false });
    let heard = "";
    socket.on("message", (bytes: Buffer, isBinary: boolean) => (heard += isBinary ? bytes.toString() : "TEXT"));
    socket.on("open", () => resolve({ socket, heard: () => heard }));
    socket.on("error", () => resolve({ socket: null, heard: () => heard }));
  });
}

describe("the control API over TLS", { timeout: 180_000 }, () => {
  before(async () => {
    port = await freePort();
    server = await servers.up("front", [`api: { listen: "127.0.0.1:${port}", eventStreams: ${STREAMS_MAX} }`]);
    operator = await token("anna", "operate");
    viewer = await token("grafana", "view");
    const { front: facts } = await server.status();
    assert.ok(facts);
    client = new ControlClient({ url: `https://127.0.0.1:${port}`, token: viewer, fingerprint: facts.fingerprint });
  });
  after(async () => {
    await servers.downAll();
    servers.remove();
  });

  test("lets in whoever has a token, as far as its role goes", async () => {
    await assertRefused(curl("/status", null), 401, "API_UNAUTHORIZED");
    await assertRefused(curl("/status", `${viewer}x`), 401, "API_UNAUTHORIZED");
    assert.deepEqual(JSON.parse((await curl("/whoami", viewer)).text), { name: "grafana", role: "view" });
    const status: unknown = JSON.parse((await curl("/status", viewer)).text);
    assert.deepEqual(statusSchema.parse(status), status);
    await assertRefused(curl("/modules/cpu1/clear", viewer, ["-d", "{}"]), 403, "API_FORBIDDEN");
    assert.equal((await curl("/modules/cpu1/clear", operator, ["-d", "{}"])).status, 200);
    const spoofed = ["-H", "x-steadfast-actor: root", "-H", "x-steadfast-role: operate"];
    assert.deepEqual(JSON.parse((await curl("/whoami", viewer, spoofed)).text), { name: "grafana", role: "view" });
    await assertRefused(curl("/modules/cpu1/clear", viewer, [...spoofed, "-d", "{}"]), 403, "API_FORBIDDEN");
  });

  test("gives a revoked token up at once, and what it had open", async () => {
    const brief = await token("brief", "view");
    const ended = curl("/events?follow=1", brief, ["-N"]);
    await until("the stream is open", async () => (await curl("/whoami", brief)).status === 200);
    await server.must(["tokens", "revoke", "brief"]);
    await assertRefused(curl("/whoami", brief), 401, "API_UNAUTHORIZED");
    assert.equal((await ended).status, 200);
  });

  test("refuses what other sites cause, what is too long, and every way to other files", async () => {
    const post = ["-d", "{}"];
    await assertRefused(curl("/verify", operator, [...post, "-H", "origin: https://evil.example"]), 403, "API_FOREIGN_SITE");
    await assertRefused(curl("/verify", operator, [...post, "-H", "sec-fetch-site: cross-site"]), 403, "API_FOREIGN_SITE");
    assert.equal((await curl("/verify", operator, [...post, "-H", `origin: https://127.0.0.1:${port}`])).status, 200);
    await assertRefused(curl("/verify", operator, ["--data-binary", "@-"], "x".repeat(100_000)), 400, "API_BODY");
    assert.equal((await curl("/status", operator, ["-H", `x: ${"y".repeat(20_000)}`])).status, 431);
    await assertRefused(curl("/nothing", operator), 400, "API_UNKNOWN");
    await assertRefused(curl("/status", operator, ["-X", "DELETE"]), 400, "API_UNKNOWN");
    for (const path of ["/ui/../../package.json", "/ui/%2e%2e/%2e%2e/package.json", "/ui/..%2f..%2fpackage.json", "/ui//etc/passwd"]) {
      const { status, text } = await curl(path, null);
      assert.equal(status, 404, path);
      assert.doesNotMatch(text, /"version"|root:/);
    }
    const { status, head } = await curl("/", null);
    assert.equal(status, 302);
    for (const header of [
      "content-security-policy: default-src 'self'",
      "x-content-type-options: nosniff",
      "strict-transport-security:",
      "referrer-policy:",
    ])
      assert.ok(head.toLowerCase().includes(header), header);
    assert.doesNotMatch(head, /access-control/i);
  });

  test("does not wait for slow clients, and speaks TLS only", async () => {
    const late = saying("GET /status HTTP/1.1\r\nhost: x\r\n");
    const plain = await runProgram("curl", ["-sS", "--max-time", "5", `http://127.0.0.1:${port}/status`], "", LIMIT_MS);
    assert.notEqual(plain.code, 0);
    assert.match(await late, /^HTTP\/1\.1 408 /);
  });

  test("bounds event streams and goes on as before", async () => {
    const streams: { destroy(): void }[] = [];
    const answers = [];
    for (let number = 0; number < 4 * STREAMS_MAX; number += 1)
      answers.push(await idleStream(streams, number % 2 === 0 ? viewer : operator));
    const open = answers.filter((status) => status === 200).length;
    assert.ok(open >= STREAMS_MAX / 2 && open <= 2 * STREAMS_MAX, `${open} streams`);
    assert.ok(answers.every((status) => status === 200 || status === 503));
    assert.ok(answers.includes(503));
    assert.equal((await curl("/whoami", viewer)).status, 200);
    for (const stream of streams) stream.destroy();
  });

  test("answers too many requests, and wrong tokens sooner, with the time to wait", async () => {
    // Over one connection, so that one front counts them all.
    const agent = new Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
    const guess = (): Promise<{ status: number; wait: number }> =>
      new Promise((resolve, reject) => {
        const headers = { authorization: "Bearer guess" };
        const call = httpsGet({ port, host: "127.0.0.1", path: "/whoami", agent, headers }, (response) => {
          response.resume();
          response.on("end", () => resolve({ status: response.statusCode ?? 0, wait: Number(response.headers["retry-after"] ?? 0) }));
        });
        call.on("error", reject);
      });
    const answers = [];
    for (let number = 0; number < 40; number += 1) answers.push(await guess());
    agent.destroy();
    assert.equal(answers[0]?.status, 401);
    const late = answers.filter(({ status }) => status === 429);
    assert.ok(late.length > 0 && late.every(({ wait }) => wait >= 1), JSON.stringify(answers));
    assert.equal((await curl("/whoami", viewer)).status, 200, "a right token is not kept out by wrong ones");
  });

  test("gives the console to the holder of a ticket, once", async () => {
    const origin = `https://127.0.0.1:${port}`;
    const ticket = async (): Promise<string> =>
      (JSON.parse((await curl("/console-ticket", operator, ["-d", "{}"])).text) as { ticket: string }).ticket;
    await assertRefused(curl("/console-ticket", viewer, ["-d", "{}"]), 403, "API_FORBIDDEN");
    const good = await ticket();
    assert.equal((await consoleSocket(good, "https://evil.example")).socket, null);
    assert.equal((await consoleSocket("guess", origin)).socket, null);
    const { socket, heard } = await consoleSocket(good, origin);
    assert.ok(socket);
    assert.equal((await consoleSocket(good, origin)).socket, null);
    socket.send(Buffer.from("hello over there\n"));
    await until("the guest's echo", () => heard().includes("hello over there"));
    socket.close();
  });

  test("follows status and events through the loss of the leading management module, by kill and by stop", async () => {
    const stop = new AbortController();
    const events: ServerEvent[] = [];
    const followed = (async () => {
      for await (const event of client.followEvents(0, stop.signal)) events.push(event);
    })();
    for (const [index, signal] of (["SIGKILL", "SIGSTOP"] as const).entries()) {
      await server.untilComplete();
      const takeovers = (): number => events.filter((event) => event.code === "MANAGEMENT_TAKEOVER").length;
      const leader = takeovers() % 2 === 0 ? "mgmt0" : "mgmt1";
      const itsFront = front(leader);
      await server.kill(leader, signal);
      const { redundancy } = await client.get("/status");
      assert.equal(redundancy, "DUPLEX");
      await until("another one leads", () => takeovers() === index + 1);
      await until("the front of what is gone is gone", () => !isAlive(itsFront));
      assert.equal((await client.get("/whoami")).name, "grafana");
    }
    await server.untilComplete();
    const told: string[] = [];
    for await (const report of client.followStatus(stop.signal)) {
      told.push(report.redundancy);
      if (told.length === 3) break;
    }
    assert.equal(told.length, 3);
    stop.abort();
    await followed;
    assert.deepEqual(
      events.map((event) => event.id),
      events.map((_, index) => index + 1),
      "every event once",
    );
  });

  test("replaces a front that hangs", async () => {
    const hung = front("mgmt0");
    process.kill(hung, "SIGSTOP");
    await until("another front", () => front("mgmt0") !== hung && !isAlive(hung));
    await until("it answers", async () => (await client.get("/whoami")).role === "view");
  });

  test("has every change in the audit log, and ends without a trace", async () => {
    await server.must(["clear", "cpu0"]);
    const entries = readAudit(join(servers.base, "state", "front", "audit.jsonl"));
    const said = entries.map(({ who, from, what, outcome }) => `${who} ${from} ${what} ${outcome}`);
    for (const wanted of [
      "anna 127.0.0.1 POST /modules/cpu1/clear done",
      "anna 127.0.0.1 POST /console-ticket done",
      "anna 127.0.0.1 POST /console done",
      "a ticket 127.0.0.1 POST /console API_TICKET",
      `local uid ${process.getuid?.() ?? 0} unix socket POST /modules/cpu0/clear done`,
    ])
      assert.ok(said.includes(wanted), `${wanted}\n${said.join("\n")}`);
    assert.equal(said.filter((each) => each === "anna 127.0.0.1 POST /verify done").length, 1);
    const shown = (await server.must(["audit", "--json"])).out.trim().split("\n");
    assert.equal(shown.length, entries.length);
    const fronts = [front("mgmt0"), front("mgmt1")];
    await server.down();
    for (const pid of fronts) await until("no front is left", () => !isAlive(pid));
    assert.ok(!existsSync(server.runDirectory));
    assert.deepEqual(readdirSync(join(servers.base, "state", "front", "tls")).sort(), ["certificate.pem", "key.pem"]);
  });
});
