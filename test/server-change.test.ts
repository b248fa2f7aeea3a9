/** Changes on a real server that runs: installed with their certificates while clients go on, refused, taken back, and through the loss of management. */
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { findImage, loadRecipe, DEFAULT_RECIPE_PATH } from "../dist/image/index.js";
import { cachePaths } from "../dist/image/paths.js";
import { sha256 } from "../dist/image/store.js";
import type { PastInstallation } from "../dist/modules/change-records.js";
import type { ChangeView } from "../dist/modules/management-change.js";
import type { LoggedEvent } from "../dist/modules/management-events.js";
import { RealServer, steadfast, type Outcome } from "./support/real-server.js";
import { sampleStatement } from "./support/sample-statement.js";
import { SteadyWriter } from "./support/steady-writer.js";

const LIMIT_MS = 240_000;
const LIFETIME = { issuedAt: "2020-01-01T00:00:00.000Z", expiresAt: "2999-01-01T00:00:00.000Z" };
/** Between two requests of a client: what is to be seen is that none fails, and not how slow a full guest is. */
const PAUSE_MS = 50;
const REASON = "a test of ours";

const hasHardened = findImage({ kernel: "hardened" }) !== undefined;
const base = mkdtempSync(join(tmpdir(), "steadfast-change-"));
// Keys, servers, images and certificates of our own; what images are made of is this host's.
const shared = cachePaths();
const own = cachePaths(join(base, "cache"));
mkdirSync(own.root);
for (const part of ["packages", "kernels"] as const) symlinkSync(shared[part], own[part]);
cpSync(shared.apt, own.apt, { recursive: true });
process.env["STEADFAST_CACHE"] = own.root;
process.env["STEADFAST_STATE"] = join(base, "state");
process.env["STEADFAST_RUN"] = join(base, "run");
const server = new RealServer("change");

/** A client of the web server: a connection for each request, and each has to be answered. */
class SteadyReader {
  readonly #agent = new Agent({ keepAlive: false });
  readonly #url: string;
  #isOver = false;
  #running: Promise<void> | null = null;
  answers = 0;
  readonly failures: string[] = [];

  constructor(address: string) {
    this.#url = `http://${address}/`;
  }

  start(): void {
    this.#running = this.#run();
  }

  async stop(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  /** What the server says in its header of a change. */
  once(): Promise<string> {
    return new Promise((resolve, reject) => {
      const call = get(this.#url, { agent: this.#agent, timeout: 30_000 }, (response) => {
        response.resume();
        response.on("end", () =>
          response.statusCode === 200
            ? resolve(String(response.headers["x-change"] ?? "none"))
            : reject(new Error(`status ${response.statusCode}`)),
        );
        response.on("error", reject);
      });
      call.on("timeout", () => call.destroy(new Error("no answer")));
      call.on("error", reject);
    });
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      try {
        await this.once();
        this.answers += 1;
      } catch (error) {
        this.failures.push((error as Error).message);
      }
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  }
}

async function facts<T>(...words: string[]): Promise<T> {
  const { code, out, error } = await steadfast([...words, "--json"], "", LIMIT_MS);
  assert.equal(code, 0, `${words.join(" ")}: ${out}${error}`);
  return JSON.parse(out) as T;
}

async function events(since: number): Promise<LoggedEvent[]> {
  const { out } = await server.command(["events", "--since", String(since), "--json"]);
  return out
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as LoggedEvent);
}

interface Made {
  readonly file: string;
  readonly certificate: string;
}

/** A change for the image that runs, with a certificate of a key that is trusted here. */
async function make(name: string, yaml: string, files: Readonly<Record<string, string>> = {}): Promise<Made> {
  const directory = join(base, name);
  mkdirSync(directory);
  writeFileSync(join(directory, "change.yaml"), `name: ${name}\n${yaml}`);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, "files", path)), { recursive: true });
    writeFileSync(join(directory, "files", path), content);
  }
  const { running } = await server.facts<ChangeView>(["change", "status"]);
  const [file, certificate] = [`${directory}.tar`, `${directory}.cert`];
  const { digest: change } = await facts<{ digest: string }>("change", "create", directory, "--base", running, "--out", file);
  const { digest: image } = await facts<{ digest: string }>("change", "build", file);
  const statement = sampleStatement({ image, change, base: running, policy: sha256("p") }, LIFETIME);
  writeFileSync(`${directory}.json`, JSON.stringify(statement));
  await facts("certificate", "sign", `${directory}.json`, "--key", "vendor", "--out", certificate);
  return { file, certificate };
}

function install({ file, certificate }: Made): Promise<PastInstallation> {
  return server.facts<PastInstallation>(["change", "install", file, "--certificate", certificate], LIMIT_MS);
}

function refused(outcome: Outcome, code: string): void {
  assert.notEqual(outcome.code, 0, outcome.out);
  assert.match(outcome.error, new RegExp(code));
}

/** A file of the recipe, with an edit. */
function edited(path: string, edit: (text: string) => string): Record<string, string> {
  const found = loadRecipe(DEFAULT_RECIPE_PATH).files.find((file) => file.path === path);
  return { [path]: edit(found?.content ?? "") };
}

const withHeader = (value: string): Record<string, string> =>
  edited("/etc/nginx/nginx.conf", (text) => text.replace("server_name _;", `server_name _; add_header X-Change ${value};`));

describe(
  "changes on a server that runs",
  { skip: !hasHardened && "no hardened image here: steadfast image build --kernel hardened" },
  () => {
    let reader: SteadyReader;
    let writer: SteadyWriter;
    let header: Made;

    before(async () => {
      const { address } = await server.up(["--kernel", "hardened"]);
      const { publicFile } = await facts<{ publicFile: string }>("keys", "create", "vendor");
      await facts("keys", "trust", publicFile);
      reader = new SteadyReader(address);
      writer = new SteadyWriter({ host: address, port: 6379 }, PAUSE_MS);
      reader.start();
      writer.start();
      header = await make("header", "checks: [{ name: syntax, command: nginx -t, timeoutSeconds: 60 }]\n", withHeader("one"));
    });
    after(async () => {
      await reader.stop();
      await writer.stop();
      await server.command(["down", "--now"]);
      rmSync(base, { recursive: true, force: true });
    });

    test("what is not certified, or was touched, is refused before anything happens", async () => {
      const since = (await server.status()).lastEventId;
      const attempt = (file: string, ...more: string[]): Promise<Outcome> =>
        server.command(["change", "install", file, ...more], "", LIMIT_MS);
      refused(await attempt(header.file), "CERTIFICATE_MISSING");
      const bytes = readFileSync(header.file);
      const middle = Math.floor(bytes.length / 2);
      bytes.writeUInt8(bytes.readUInt8(middle) ^ 1, middle);
      writeFileSync(join(base, "tampered.tar"), bytes);
      refused(await attempt(join(base, "tampered.tar"), "--certificate", header.certificate), "CHANGE_DAMAGED");
      const forged = readFileSync(header.certificate, "utf8").replace(
        /"sig":\s*"(.)/,
        (text, first: string) => text.slice(0, -1) + (first === "A" ? "B" : "A"),
      );
      writeFileSync(join(base, "forged.cert"), forged);
      refused(await attempt(header.file, "--certificate", join(base, "forged.cert")), "CERTIFICATE_FORGED");
      mkdirSync(join(base, "memory"));
      writeFileSync(join(base, "memory", "change.yaml"), "name: memory\nmemoryMiB: 512\n");
      const { running } = await server.facts<ChangeView>(["change", "status"]);
      await facts("change", "create", join(base, "memory"), "--base", running, "--out", join(base, "memory.tar"));
      refused(await attempt(join(base, "memory.tar"), "--uncertified", REASON), "CHANGE_NEEDS_START");
      assert.ok(!(await events(since)).some(({ code }) => code.startsWith("CHANGE")));
      assert.equal(await reader.once(), "none");
    });

    test("nginx' and Redis' configurations are replaced without a failed request", async () => {
      const done = await install(header);
      assert.deepEqual([done.outcome, done.services], ["installed", [{ name: "nginx", deed: "reload" }]]);
      assert.equal(await reader.once(), "one");
      const { certification, image } = await server.status();
      assert.deepEqual([certification?.state, certification?.image], ["certified", done.to]);
      assert.equal(image.digest, done.to);
      const memory = await make(
        "memory-limit",
        "",
        edited("/etc/redis/redis.conf", (text) => `${text}maxmemory 48mb\nmaxmemory-policy allkeys-lru\n`),
      );
      const limited = await install(memory);
      assert.deepEqual(limited.services, [{ name: "redis", deed: "reload" }]);
      assert.match(await server.inGuest("redis-cli config get maxmemory"), /50331648/);
      refused(await server.command(["change", "install", header.file, "--certificate", header.certificate]), "CHANGE_OTHER_BASE");
    });

    test("a change whose own check fails is taken back", async () => {
      const bad = await make("bad", "checks: [{ name: never, command: 'echo too bad; false', timeoutSeconds: 60 }]\n", withHeader("two"));
      const since = (await server.status()).lastEventId;
      const outcome = await server.command(["change", "install", bad.file, "--certificate", bad.certificate], "", LIMIT_MS);
      refused(outcome, "CHANGE_NOT_INSTALLED");
      assert.match(outcome.error, /own check never failed: too bad/);
      assert.ok((await events(since)).some(({ code }) => code === "CHANGE_ROLLED_BACK"));
      assert.equal(await reader.once(), "one");
      assert.match(await server.inGuest("[ -e /run/steadfast/change ] || echo gone"), /gone/);
    });

    test("a Debian package is installed though the leading management module is killed meanwhile", async () => {
      const sqlite = await make(
        "sqlite",
        "packages: { add: [sqlite3] }\nchecks: [{ name: runs, command: sqlite3 -version, timeoutSeconds: 60 }]\n",
      );
      const installing = install(sqlite);
      for (;;) {
        const { current } = await server.facts<ChangeView>(["change", "status"]);
        if (current?.phase === "staging" && current.sentBytes > 0) break;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      const { modules } = await server.status();
      process.kill(
        (modules.find(({ kind, name }) => kind === "management" && name === "mgmt0") as (typeof modules)[number]).pid,
        "SIGKILL",
      );
      assert.equal((await installing).outcome, "installed");
      assert.match(await server.inGuest("sqlite3 :memory: 'select 40 + 2'"), /42/);
      await server.assertEqual();
    });

    test("a rollback takes back the last change; a power cycle boots what is recorded", async () => {
      const back = await server.facts<PastInstallation>(["change", "rollback"], LIMIT_MS);
      assert.deepEqual([back.kind, back.outcome], ["rollback", "installed"]);
      assert.match(await server.inGuest("[ -e /usr/bin/sqlite3 ] || echo gone"), /gone/);
      assert.ok(reader.answers > 0 && writer.count > 0);
      await reader.stop();
      await writer.stop();
      assert.deepEqual([reader.failures, writer.interruptions], [[], 0]);
      const since = (await server.status()).lastEventId;
      await server.command(["power", "reset"]);
      await server.until((report) => report.guest !== "ready", "off");
      await server.until((report) => report.guest === "ready", "ready again");
      assert.ok((await events(since)).some(({ code }) => code === "POWER_ON"));
      assert.equal(await reader.once(), "one");
      assert.match(await server.inGuest("redis-cli config get maxmemory; [ -e /usr/bin/sqlite3 ] || echo gone"), /"50331648"\s+gone/);
      await server.assertEqual();
    });
  },
);
