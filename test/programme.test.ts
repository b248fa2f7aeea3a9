/**
 * A certification programme as its operator and its submitters use it: a real server process, real packages, the real suite with one cheap
 * check. It is killed in the middle and goes on. Needs the hardened image.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { createChange } from "../dist/certification/create.js";
import { KeyStore } from "../dist/certification/keys.js";
import { openRequest, readAnswer, type Call } from "../dist/client/transport.js";
import { createToken } from "../dist/front/token-file.js";
import { findImage } from "../dist/image/index.js";
import { knownServers } from "../dist/modules/management-paths.js";
import type { SubmissionAnswer } from "../dist/programme/answers.js";
import { runProgram, type Outcome } from "./support/real-server.js";

const folder = mkdtempSync(join(tmpdir(), "steadfast-programme-"));
const directory = join(folder, "programme");
const base = findImage({ kernel: "hardened" });
const options = { skip: base === undefined && process.env["STEADFAST_REQUIRE_IMAGES"] === undefined ? "no hardened image" : false };
const STEADFAST = fileURLToPath(new URL("../bin/steadfast", import.meta.url));
/** Keys and servers of this test are its own; images are the host's. */
const environment = { ...process.env, STEADFAST_STATE: join(folder, "state") };
const PACKAGE_BYTES_LIMIT = 256 * 1024 * 1024;
const CHUNK = Buffer.alloc(1024 * 1024);
const LIMIT_MS = 240_000;
const POLL_MS = 200;

interface Served {
  readonly child: ChildProcess;
  readonly url: string;
  readonly fingerprint: string;
}

let port = 0;
let served: Served | undefined;
const tokens = new Map<string, string>();
const steadfast = (parameters: readonly string[]): Promise<Outcome> =>
  runProgram(process.execPath, [STEADFAST, ...parameters], "", LIMIT_MS, environment);

async function facts<T>(parameters: readonly string[]): Promise<T> {
  const { code, out, error } = await steadfast([...parameters, "--json"]);
  assert.equal(code, 0, `${parameters.join(" ")}: ${out}${error}`);
  return JSON.parse(out) as T;
}

/** `steadfast certify …` with somebody's token. */
function programme(who: string, parameters: readonly string[]): readonly string[] {
  assert.ok(served);
  return ["certify", ...parameters, "--to", served.url, "--fingerprint", served.fingerprint, "--token-file", join(folder, `${who}.token`)];
}

async function refused(who: string, parameters: readonly string[]): Promise<string> {
  const { code, out } = await steadfast([...programme(who, parameters), "--json"]);
  assert.notEqual(code, 0, out);
  return (JSON.parse(out) as { error: { code: string } }).error.code;
}

async function ask(who: string, call: Call): Promise<{ status: number; body: string; policy: string }> {
  assert.ok(served);
  const response = await openRequest({ url: served.url, fingerprint: served.fingerprint, token: tokens.get(who) ?? "none" }, call);
  const body = (await readAnswer(response, PACKAGE_BYTES_LIMIT)).toString("utf8");
  return { status: response.statusCode ?? 0, body, policy: String(response.headers["content-security-policy"]) };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, "127.0.0.1", resolve));
  const address = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

async function serve(): Promise<Served> {
  const parameters = ["certify", "serve", "--listen", `127.0.0.1:${port}`, "--key", "vendor", "--check", "hardening"];
  const child = spawn(process.execPath, [STEADFAST, ...parameters, "--directory", directory, "--json"], { env: environment });
  let [out, error] = ["", ""];
  child.stderr.on("data", (bytes: Buffer) => (error += bytes.toString()));
  return new Promise((resolve, reject) => {
    child.stdout.on("data", (bytes: Buffer) => {
      out += bytes.toString();
      if (out.endsWith("}\n")) resolve({ child, ...(JSON.parse(out) as { url: string; fingerprint: string }) });
    });
    child.once("exit", () => reject(new Error(`it ended: ${out}${error}`)));
  });
}

function makeChange(name: string, yaml: string, motd: string): string {
  const source = join(folder, name);
  mkdirSync(join(source, "files/etc"), { recursive: true });
  writeFileSync(join(source, "change.yaml"), `name: ${name}\n${yaml}`);
  writeFileSync(join(source, "files/etc/motd"), motd);
  const out = join(folder, `${name}.tar`);
  writeFileSync(out, createChange(source, base?.digest ?? "").bytes);
  return out;
}

const post = (body: Buffer | Readable, query = "", length?: number): Call => {
  const headers = { "content-type": "application/x-tar", ...(length !== undefined && { "content-length": length }) };
  return { method: "POST", path: `/submissions${query}`, headers, body, limitMs: LIMIT_MS };
};

const exitOf = (child: ChildProcess): Promise<number | null> =>
  child.exitCode !== null || child.signalCode !== null
    ? Promise.resolve(child.exitCode)
    : new Promise((resolve) => child.once("exit", (code) => resolve(code)));

before(async () => {
  if (options.skip !== false) return;
  const keys = new KeyStore(join(folder, "state", "_keys"));
  keys.trust(keys.create("vendor").publicFile);
  for (const [who, role] of Object.entries({ anna: "operate", bert: "operate", viewer: "view" } as const)) {
    const token = createToken(join(directory, "tokens.json"), who, role, null, Date.now());
    tokens.set(who, token);
    writeFileSync(join(folder, `${who}.token`), `${token}\n`, { mode: 0o600 });
  }
  port = await freePort();
  served = await serve();
});

after(async () => {
  if (served !== undefined) {
    served.child.kill("SIGTERM");
    await exitOf(served.child);
  }
  rmSync(folder, { recursive: true, force: true });
});

test("what is too long, cut, damaged, of another digest or by somebody who may not is refused", options, async () => {
  const bytes = readFileSync(makeChange("refused", "", "never\n"));
  const codeOf = ({ status, body }: { status: number; body: string }): [number, string] => {
    return [status, (JSON.parse(body) as { error: { code: string } }).error.code];
  };
  assert.deepEqual(codeOf(await ask("anna", post(Buffer.from("x"), "", PACKAGE_BYTES_LIMIT + 1))), [413, "CHANGE_TOO_LARGE"]);
  const endless = Readable.from(Array.from({ length: 257 }, () => CHUNK));
  assert.deepEqual(codeOf(await ask("anna", post(endless))), [413, "CHANGE_TOO_LARGE"]);
  const tampered = Buffer.from(bytes);
  tampered[bytes.length - 1024] = (tampered[bytes.length - 1024] ?? 0) ^ 1;
  assert.deepEqual(codeOf(await ask("anna", post(tampered))), [400, "CHANGE_DAMAGED"]);
  assert.deepEqual(codeOf(await ask("anna", post(bytes, `?digest=${"0".repeat(64)}`))), [400, "SUBMISSION_DIGEST"]);
  assert.deepEqual(codeOf(await ask("viewer", post(bytes))), [403, "API_FORBIDDEN"]);
  assert.deepEqual(codeOf(await ask("nobody", post(bytes))), [401, "API_UNAUTHORIZED"]);
  assert.deepEqual(codeOf(await ask("anna", { method: "GET", path: "/submissions/..%2f..%2ftokens.json" })), [404, "SUBMISSION_UNKNOWN"]);
  assert.deepEqual(codeOf(await ask("anna", { method: "GET", path: "/changes/..%2f..%2ftokens.json" })), [404, "PROGRAMME_NOTHING"]);
  assert.deepEqual(await facts(programme("viewer", ["status"])), []);
  assert.equal((await ask("nobody", { method: "GET", path: "/health/live" })).status, 200);
  const document = JSON.parse((await ask("viewer", { method: "GET", path: "/openapi.json" })).body) as { openapi: string; paths: object };
  assert.equal(document.openapi, "3.1.0");
  assert.ok("/catalogue" in document.paths);
});

test("a killed programme goes on: a good change is certified, a bad one is not, one is cancelled", options, async () => {
  assert.ok(served);
  const good = makeChange("greeting", "", "hello\n");
  const commandLine = '"console=ttyS0 loglevel=4 panic=0 oops=panic softlockup_panic=1 hung_task_panic=1 watchdog_thresh=30"';
  const bad = makeChange("panics", `commandLine: ${commandLine}\n`, "hello\n");
  const never = makeChange("regretted", "", "good bye\n");
  const first = await facts<SubmissionAnswer>(programme("anna", ["submit", good]));
  assert.equal(await refused("bert", ["submit", good]), "SUBMISSION_THERE");
  const third = await facts<SubmissionAnswer>(programme("anna", ["submit", never]));
  const second = await facts<SubmissionAnswer>(programme("bert", ["submit", bad]));
  assert.deepEqual([third.state, second.state, second.position], ["queued", "queued", 1], "bert was served less than anna");
  assert.equal(await refused("bert", ["cancel", String(third.id)]), "SUBMISSION_OTHERS");
  assert.equal((await facts<SubmissionAnswer>(programme("anna", ["cancel", String(third.id)]))).state, "cancelled");

  await until(async () => {
    const { body } = await ask("viewer", { method: "GET", path: `/submissions/${first.id}` });
    return (JSON.parse(body) as SubmissionAnswer).progress?.name === "Hardening policy";
  });
  served.child.kill("SIGKILL");
  await exitOf(served.child);
  served = await serve();
  const certified = await facts<SubmissionAnswer>(programme("viewer", ["status", String(first.id), "--follow"]));
  assert.deepEqual([certified.state, certified.attempts, certified.finding?.level], ["passed", 2, "partial"]);
  const { code, out } = await steadfast([...programme("bert", ["status", String(second.id), "--follow"]), "--json"]);
  assert.equal(code, 1, out);
  assert.deepEqual((JSON.parse(out) as SubmissionAnswer).finding?.failedChecks, ["hardening"]);
});

async function until(holds: () => Promise<boolean>): Promise<void> {
  const giveUpAt = Date.now() + LIMIT_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < giveUpAt, "it came to it");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

test("the catalogue gives package, certificate and report, and who did what is written down", options, async () => {
  interface Catalogue {
    readonly changes: readonly { change: string; image: string; policy: string; base: string; submission: number }[];
  }
  const { changes } = await facts<Catalogue>(programme("viewer", ["catalogue", "--base", base?.digest ?? ""]));
  assert.equal(changes.length, 1);
  const [{ change, image, policy, base: changed, submission }] = changes as [Catalogue["changes"][number]];
  const elsewhere = await facts<Catalogue>(programme("viewer", ["catalogue", "--base", "0".repeat(64)]));
  assert.deepEqual(elsewhere.changes, []);

  const out = join(folder, "fetched", "deep");
  mkdirSync(dirname(out), { recursive: true });
  const { files } = await facts<{ files: string[] }>(programme("viewer", ["fetch", change, "--out", out]));
  assert.deepEqual(files.map((file) => file.slice(join(out, change).length + 1)).sort(), ["cert", "report.html", "report.json", "tar"]);
  assert.equal(
    createHash("sha256")
      .update(readFileSync(join(out, `${change}.tar`)))
      .digest("hex"),
    change,
  );
  const digests = ["--image", image, "--change", change, "--base", changed, "--policy", policy];
  const verify = ["certificate", "verify", join(out, `${change}.cert`), ...digests];
  assert.equal((await facts<{ verified: boolean }>([...verify, "--partial"])).verified, true);
  const whole = await steadfast([...verify, "--json"]);
  assert.equal((JSON.parse(whole.out) as { error: { code: string } }).error.code, "CERTIFICATE_PARTIAL");

  const page = await ask("viewer", { method: "GET", path: `/submissions/${submission}/report.html` });
  assert.match(page.body, /Qualification of greeting/);
  assert.match(page.policy, /^default-src 'none';.*; sandbox; style-src 'sha256-[A-Za-z0-9+/=]+'$/);
  const [, style = ""] = /<style>([^]*?)<\/style>/.exec(page.body) ?? [];
  assert.ok(page.policy.includes(createHash("sha256").update(style).digest("base64")), "the page's own styles are those that are allowed");

  assert.equal((await ask("viewer", { method: "DELETE", path: `/submissions/${submission}` })).status, 403);
  const audit = await steadfast(["audit", "--directory", directory, "--json"]);
  const entries = audit.out
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { who: string; what: string; outcome: string });
  const done = entries.filter((entry) => entry.outcome === "done").map(({ who, what }) => `${who} ${what.split(" ")[0]}`);
  assert.deepEqual(done, ["anna POST", "anna POST", "bert POST", "anna DELETE"]);
  assert.ok(entries.some(({ who, outcome }) => who === "viewer" && outcome === "API_FORBIDDEN"));
});

test("it ends when it is asked to, and leaves nothing that runs", options, async () => {
  assert.ok(served);
  served.child.kill("SIGTERM");
  assert.equal(await exitOf(served.child), 0);
  assert.deepEqual(
    knownServers().filter((name) => name.startsWith("certify-")),
    [],
  );
});
