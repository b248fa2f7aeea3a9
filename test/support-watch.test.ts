/** A real server loses a module, and everybody hears of it: a webhook that fails at first, a mail server, the journal. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SMTPServer } from "smtp-server";
import { makeChannels, signatureOf } from "../dist/cli/support-channels.js";
import { readWatchConfig } from "../dist/cli/support-config.js";
import type { Notice } from "../dist/support/alerts.js";
import { ToyServers } from "./support/toy-servers.js";

const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
const SECRET = "0123456789abcdef-secret";
const LIMIT_MS = 30_000;

async function until(what: string, wanted: () => boolean): Promise<void> {
  const giveUpAt = Date.now() + LIMIT_MS;
  while (!wanted()) {
    assert.ok(Date.now() < giveUpAt, `never ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Refuses the first call; then keeps what comes with a right signature. */
async function webhookReceiver() {
  const notices: Notice[] = [];
  const refused: string[] = [];
  const server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8");
    request.on("data", (text: string) => (body += text));
    request.on("end", () => {
      const timestamp = String(request.headers["steadfast-timestamp"]);
      assert.equal(request.headers["steadfast-signature"], `sha256=${signatureOf(SECRET, timestamp, body)}`);
      assert.ok(Math.abs(Number(timestamp) * 1000 - Date.now()) < 60_000);
      const notice = JSON.parse(body) as Notice;
      assert.equal(request.headers["steadfast-delivery"], notice.id);
      const isFirst = refused.length === 0;
      if (isFirst) refused.push(notice.id);
      else notices.push(notice);
      response.writeHead(isFirst ? 503 : 204).end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { notices, refused, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`, server };
}

async function mailReceiver() {
  const mails: string[] = [];
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ["STARTTLS", "AUTH"],
    onData: (stream, _session, done) => {
      let text = "";
      stream.setEncoding("utf8");
      stream.on("data", (part: string) => (text += part));
      stream.on("end", () => {
        mails.push(text);
        done();
      });
    },
  });
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  return { mails, port: (server.server.address() as AddressInfo).port, server };
}

describe("support watch", () => {
  const servers = new ToyServers();
  const children: ChildProcess[] = [];
  const closing: (() => void)[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
    for (const close of closing.splice(0)) close();
    await servers.downAll();
  });
  after(() => servers.remove());

  test("tells of SIMPLEX and of DUPLEX, across the loss of the leading management module", { timeout: 120_000 }, async () => {
    const [hook, mail] = [await webhookReceiver(), await mailReceiver()];
    closing.push(
      () => hook.server.close(),
      () => mail.server.close(),
    );
    const server = await servers.up("watched");
    writeFileSync(join(servers.base, "hook.secret"), `${SECRET}\n`);
    const config = join(servers.base, "support.yaml");
    writeFileSync(
      config,
      `server: watched
rules: { simplexForSeconds: 0 }
webhooks: [{ url: "${hook.url}", secretFile: hook.secret }]
mail: [{ host: 127.0.0.1, port: ${mail.port}, from: server@example.test, to: [operator@example.test] }]
journals: [{ path: journal.jsonl }]
`,
    );
    const environment = { ...process.env, STEADFAST_RUN: servers.run, STEADFAST_STATE: join(servers.base, "state") };
    const watch = spawn(process.execPath, [STEADFAST, "support", "watch", "--config", config], { env: environment });
    children.push(watch);
    let said = "";
    watch.stderr.on("data", (bytes: Buffer) => (said += bytes.toString()));
    await until("watching", () => said.includes("Watching server watched"));

    // A module that was killed may be back between two looks; one that is held out stays away until it was seen.
    await server.kill("cpu1");
    await server.untilComplete();
    await server.must(["pull", "cpu1"]);
    await until("raised", () => hook.notices.some(({ code, state }) => code === "SIMPLEX" && state === "raised"));
    assert.equal(hook.refused.length, 1);
    assert.equal(hook.notices[0]?.id, hook.refused[0], "what was refused comes again, first");
    assert.match(said, /webhook did not take .* \(attempt 1\): it answered 503/);

    // One of the two leads; the other one is back before the leader goes.
    for (const module of ["mgmt0", "mgmt1"]) {
      await server.kill(module);
      await server.until(`whole without ${module}`, ({ modules }) =>
        modules.every(({ kind, state }) => kind !== "management" || state === "DUPLEX"),
      );
    }
    await server.must(["insert", "cpu1"]);
    await server.untilComplete();
    await until("cleared", () => hook.notices.some(({ code, state }) => code === "SIMPLEX" && state === "cleared"));
    await until("mailed", () => mail.mails.some((text) => text.includes("cleared: SIMPLEX")));
    assert.ok(
      mail.mails.some((text) => /Subject: \[steadfast watched\] raised: SIMPLEX \(warning\)/.test(text)),
      mail.mails.join("\n"),
    );
    const journal = readFileSync(join(servers.base, "journal.jsonl"), "utf8").trimEnd().split("\n");
    const states = journal.map((line) => JSON.parse(line) as Notice).filter(({ code }) => code === "SIMPLEX");
    for (const [index, { state }] of states.entries()) assert.equal(state, index % 2 === 0 ? "raised" : "cleared");

    watch.kill("SIGTERM");
    const [code] = (await once(watch, "exit")) as [number | null];
    assert.equal(code, 0, said);
  });
});

describe("support file and journal", () => {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-support-"));
  const file = join(directory, "support.yaml");
  after(() => rmSync(directory, { recursive: true, force: true }));

  test("a wrong file is one sentence that says where", () => {
    writeFileSync(join(directory, "short"), "abc");
    const cases: [string, RegExp][] = [
      ["", /it names nobody to tell/],
      ["a: [", /line 1: is not YAML/],
      ["journals: [{ path: a }, { path: b }]", /two channels are named journal/],
      ["journals: [{ path: a }]\nrules: { simplexForSeconds: soon }", /field rules\.simplexForSeconds \(line 2\): /],
      ["journals: [{ path: a }]\nbogus: 1", /bogus/],
      ["webhooks: [{ url: 'ftp://a/', secretFile: short }]", /webhooks\[0\]\.url \(line 1\): must be an http or https address/],
      ["webhooks: [{ url: 'http://a/', secretFile: none }]", /cannot be read \(ENOENT\)/],
      ["webhooks: [{ url: 'http://a/', secretFile: short }]", /shorter than 16 bytes/],
      ["mail: [{ host: a, port: 25, from: a@b, to: [c@d], user: x }]", /user and passwordFile go together/],
    ];
    for (const [text, message] of cases) {
      writeFileSync(file, text);
      assert.throws(
        () => readWatchConfig(file),
        (error: Error) => message.test(error.message) && !error.message.includes("\n"),
        text,
      );
    }
    assert.throws(() => readWatchConfig(join(directory, "nothing")), /the file cannot be read \(ENOENT\)/);
  });

  test("the journal keeps to its size", async () => {
    writeFileSync(file, "journals: [{ path: journal, sizeMiB: 1 }]");
    const [journal] = makeChannels(readWatchConfig(file));
    const text = "x".repeat(50_000);
    const rest = { server: "s", code: "C", subject: "", severity: "warning", state: "raised", atMs: 1, sinceMs: 1, support: null } as const;
    for (let round = 0; round < 40; round += 1) await journal?.send({ id: String(round), text, ...rest });
    const path = join(directory, "journal");
    assert.ok(existsSync(`${path}.1`));
    assert.ok(statSync(path).size + statSync(`${path}.1`).size <= 1024 * 1024);
    assert.equal((JSON.parse(readFileSync(path, "utf8").trimEnd().split("\n").at(-1) ?? "") as Notice).id, "39");
  });
});
