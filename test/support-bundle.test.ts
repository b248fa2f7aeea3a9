/** What leaves a server for support: everything that helps, and no secret. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { after, afterEach, describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { TarReader } from "../dist/image/tar.js";
import { isSecretName, redactText, redactValue } from "../dist/support/redaction.js";
import { writeTar } from "../dist/foundation/tar-writer.js";
import { ToyServers } from "./support/toy-servers.js";

function readTar(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  const reader = new TarReader(
    () => true,
    (member) => found.set(member.path, Buffer.from(member.data).toString("utf8")),
  );
  reader.push(bytes);
  reader.end();
  return found;
}

describe("redaction", () => {
  test("knows the names of secrets, and what only looks like one", () => {
    for (const name of [
      "password",
      "smtpPassword",
      "API_KEY",
      "apiKey",
      "key",
      "keys",
      "x-auth-token",
      "dbpassword",
      "clientSecret",
      "Authorization",
    ])
      assert.ok(isSecretName(name), name);
    for (const name of ["monkey", "keyboard", "passt", "author", "tick", "bypassed", "module"]) assert.ok(!isSecretName(name), name);
  });

  test("removes credentials from addresses, headers, assignments and PEM blocks, and leaves the rest", () => {
    const pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIabc\ndef\n-----END RSA PRIVATE KEY-----";
    const cases = [
      "redis://user:hunter2@host/0 and more",
      "Authorization: Bearer hunter2",
      "x bearer hunter2",
      "password=hunter2 quiet",
      'sent {"token":"hunter2","tick":4}',
      'sent {\\"token\\":\\"hunter2\\"}',
      "apiKey: 'hunter2 with blanks'",
      pem.replace("MIIabc", "hunter2"),
      `${pem.replace("def", "hunter2").slice(0, -10)}`,
      `${pem.slice(10).replace("def", "hunter2")} after`,
    ];
    for (const text of cases) assert.ok(!redactText(text).includes("hunter2"), redactText(text));
    const plain = "tick=4 io0 is active: see http://10.77.0.2/ at 12:30:01";
    assert.equal(redactText(plain), plain);
  });

  test("no secret gets through wherever it is in a value", () => {
    const secret = "S3CR3Tvalue";
    const leaf = fc.constantFrom(
      { password: secret },
      { nested: { apiKey: [secret] } },
      `url https://a:${secret}@b/`,
      `-----BEGIN KEY-----\n${secret}\n-----END KEY-----`,
      `token=${secret}`,
      JSON.stringify({ a: { secret } }),
    );
    const { tree } = fc.letrec((tie) => ({
      tree: fc.oneof({ depthSize: "medium" }, leaf, fc.jsonValue(), fc.array(tie("tree")), fc.dictionary(fc.string(), tie("tree"))),
    }));
    fc.assert(fc.property(tree, (value) => !JSON.stringify(redactValue(value)).includes(secret)));
  });
});

test("the archive is read back as it was written", () => {
  const files = [
    { name: "empty", data: new Uint8Array(0) },
    { name: "a/block", data: new Uint8Array(512).fill(65) },
    { name: "a/more", data: Buffer.from("text") },
  ];
  const found = readTar(writeTar(files, { modifiedAtMs: 1_700_000_000_000 }));
  assert.deepEqual(
    [...found],
    [
      ["/empty", ""],
      ["/a/block", "A".repeat(512)],
      ["/a/more", "text"],
    ],
  );
});

describe("support bundle", () => {
  const servers = new ToyServers();
  afterEach(() => servers.downAll());
  after(() => servers.remove());

  test("of a running server, and of the same one when it is down", async () => {
    const server = await servers.up("bundle");
    const logs = join(servers.base, "state/bundle/logs");
    mkdirSync(logs, { recursive: true });
    writeFileSync(join(logs, "extra.log"), `${"x".repeat(2_000_000)}\nsmtp password=hunter2\nlast line\n`);
    const first = join(servers.base, "first.tar.gz");
    assert.match((await server.must(["support", "bundle", "--out", first])).out, /support bundle of server bundle/);
    assert.equal(statSync(first).mode & 0o777, 0o600);
    const files = readTar(gunzipSync(readFileSync(first)));
    assert.equal((JSON.parse(files.get("/status.json") ?? "") as { redundancy: string }).redundancy, "DUPLEX");
    assert.equal((JSON.parse(files.get("/versions.json") ?? "") as { node: string }).node, process.version);
    assert.ok(files.has("/configuration/server.json"), [...files.keys()].join());
    assert.match(files.get("/events.jsonl") ?? "", /SERVER_STARTED/);
    assert.equal(files.get("/logs/extra.log"), "smtp password=[removed]\nlast line\n");
    const again = await server.command(["support", "bundle", "--out", first]);
    assert.equal(again.code, 3);
    assert.match(again.error, /SUPPORT_FILE/);
    await server.down();
    const second = join(servers.base, "second.tar.gz");
    await server.must(["support", "bundle", "--out", second]);
    const down = readTar(gunzipSync(readFileSync(second)));
    assert.match(down.get("/events.jsonl") ?? "", /SERVER_STOPPED/);
    assert.match(down.get("/manifest.json") ?? "", /status.json: No server named bundle is running/);
  });

  test("top: the same truth as status, on a terminal until q, and one sentence without a terminal", async () => {
    const server = await servers.up("seen");
    assert.match((await server.must(["top", "--once"])).out, /seen {2}DUPLEX/);
    const without = await server.command(["top"]);
    assert.equal(without.code, 2);
    assert.match(without.error, /NO_TERMINAL: This view needs a terminal/);
    const environment = { ...process.env, STEADFAST_RUN: servers.run, STEADFAST_STATE: join(servers.base, "state"), NO_COLOR: "1" };
    const command = `${process.execPath} ${fileURLToPath(new URL("../bin/steadfast", import.meta.url))} top --server seen`;
    const terminal = spawn("script", ["-qec", command, "/dev/null"], { env: environment });
    try {
      let shown = "";
      const limit = setTimeout(() => terminal.kill("SIGKILL"), 20_000);
      terminal.stdout.on("data", (bytes: Buffer) => {
        if (!shown.includes("q ends the view") && (shown + bytes.toString()).includes("q ends the view")) terminal.stdin.write("q");
        shown += bytes.toString();
      });
      const [code] = (await once(terminal, "exit")) as [number | null];
      clearTimeout(limit);
      assert.equal(code, 0, shown);
      assert.match(shown, /DUPLEX/);
    } finally {
      terminal.kill("SIGKILL");
    }
    await server.down();
  });

  test("of a server that never was: one sentence", async () => {
    const outcome = await servers.steadfast(["support", "bundle", "--server", "nobody", "--out", join(servers.base, "none")]);
    assert.equal(outcome.code, 4);
    assert.match(outcome.error, /SUPPORT_NOTHING: Nothing is known of a server named nobody/);
    assert.ok(!existsSync(join(servers.base, "none")));
  });
});
