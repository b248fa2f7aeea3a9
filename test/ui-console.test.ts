/** The web console as its users see it: Debian's Chromium, one real server with a real guest, both of its fronts. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium, type Browser, type BrowserContext, type Page } from "playwright-core";
import { freePort } from "../dist/bench/api-seat.js";
import { serverPaths } from "../dist/modules/management-paths.js";
import type { ServerReport } from "../dist/modules/management-status.js";
import { Prometheus } from "./support/prometheus.js";
import { RealServer } from "./support/real-server.js";

const CHROMIUM = "/usr/bin/chromium";
const BUNDLE = fileURLToPath(new URL("../dist/ui/", import.meta.url));
const FIRST_LOAD_BYTES_MAX = 300 * 1024;
const STEP_MS = 60_000;
/** A browser beside the server: nothing is to be taken for hung on a busy host. */
const LAG_LIMIT_MS = "5000";
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What the page itself asks for before anybody does something: files that index.html names. */
function firstLoad(): string[] {
  const page = readFileSync(join(BUNDLE, "index.html"), "utf8");
  return ["index.html", ...[...page.matchAll(/(?:src|href)="([^"]+)"/g)].map((match) => match[1] ?? "")];
}

describe("the console's files", () => {
  test("are at most 300 KiB at the first load, compressed, and the terminal is not among them", () => {
    const files = firstLoad();
    assert.deepEqual(files.map((name) => extname(name)).sort(), [".css", ".html", ".js", ".svg"]);
    for (const encoding of ["br", "gz"]) {
      const bytes = files.reduce((sum, name) => sum + statSync(join(BUNDLE, `${name}.${encoding}`)).size, 0);
      assert.ok(bytes <= FIRST_LOAD_BYTES_MAX, `${bytes} bytes (${encoding})`);
    }
    assert.ok(readdirSync(BUNDLE).some((name) => /^terminal-.*\.js$/.test(name)));
  });

  test("need no other place than the server, and have names of their contents", () => {
    const [page = "", ...parts] = firstLoad();
    const html = readFileSync(join(BUNDLE, page), "utf8");
    assert.doesNotMatch(html, /https?:|<style|style=|<script>|\son[a-z]+=/);
    for (const name of parts) assert.match(name, /^[a-z]+-[A-Za-z0-9]{8}\.[a-z]+$/);
    const style = readFileSync(join(BUNDLE, parts.find((name) => name.endsWith(".css")) ?? ""), "utf8");
    assert.doesNotMatch(style, /url\(|@import/);
  });
});

interface Finding {
  readonly id: string;
  readonly impact: string;
  readonly nodes: readonly { readonly html: string }[];
}

async function assertAccessible(page: Page, what: string): Promise<void> {
  await page.evaluate(AXE);
  const run = `axe.run(document, { resultTypes: ["violations"] }).then((found) => found.violations)`;
  const violations = (await page.evaluate(run)) as Finding[];
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  assert.deepEqual(told, [], what);
}

/** Runs in the page: what a reader would have missed if it were lost. */
async function shownEventIds(page: Page): Promise<number[]> {
  const ids = await page.locator("[data-event]").evaluateAll((rows) => rows.map((row) => Number(row.getAttribute("data-event"))));
  return ids.reverse();
}

const moduleSlot = (page: Page, name: string) => page.locator(`[data-module="${name}"]`);
const stateOf = (page: Page, name: string) => moduleSlot(page, name).locator(".state strong");

async function signIn(page: Page, base: string, token: string): Promise<void> {
  await page.goto(`${base}/ui/`);
  await page.getByLabel("Access token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.locator("[data-redundancy]").waitFor({ timeout: STEP_MS });
}

describe("the console of a real server", { timeout: 400_000 }, () => {
  const server = new RealServer("ui-console");
  const { stateDirectory } = serverPaths(server.name);
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let base = "";
  let operator = "";
  let guestUrl = "";
  const problems: string[] = [];
  const prometheus = new Prometheus();

  async function untilShown(redundancy: string): Promise<void> {
    await page.locator(`[data-redundancy="${redundancy}"]`).waitFor({ timeout: STEP_MS });
  }

  async function makeToken(name: string, role: string): Promise<string> {
    const { token } = await server.facts<{ token: string }>(["tokens", "create", name, "--role", role]);
    return token;
  }

  before(async () => {
    // Its disk and its tokens outlive a server; a run that was cut may have left some.
    rmSync(stateDirectory, { recursive: true, force: true });
    const port = await freePort();
    const report: ServerReport = await server.up([
      "--listen",
      `127.0.0.1:${port}`,
      "--kernel",
      "hardened",
      "--disk",
      "64",
      "--lag-limit",
      LAG_LIMIT_MS,
    ]);
    base = `https://127.0.0.1:${port}`;
    guestUrl = `http://${report.address}/`;
    operator = await makeToken("anna", "operate");
    const certificateFile = join(stateDirectory, "tls", "certificate.pem");
    await prometheus.start({ address: base.replace("https://", ""), token: await makeToken("prometheus", "view"), certificateFile });
    browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
    // The certificate is the server's own.
    context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: { width: 1360, height: 900 }, colorScheme: "dark" });
    page = await context.newPage();
    page.setDefaultTimeout(STEP_MS);
    page.on("pageerror", (error) => problems.push(error.message));
    page.on("console", (message) => {
      if (/Content Security Policy/.test(message.text())) problems.push(message.text());
    });
  });

  after(async () => {
    prometheus.stop();
    await browser?.close();
    await server.remove();
  });

  test("lets nobody in without a token that is good", async () => {
    await page.goto(`${base}/ui/`);
    await page.getByLabel("Access token").fill("wrong");
    await page.getByRole("button", { name: "Sign in" }).click();
    await page.getByText(/^Not signed in:/).waitFor();
    await assertAccessible(page, "sign-in");
  });

  test("shows DUPLEX, and everything by keyboard", async () => {
    await signIn(page, base, operator);
    await untilShown("DUPLEX");
    for (const name of ["cpu0", "cpu1", "io0", "io1", "mgmt0", "mgmt1"]) assert.equal(await stateOf(page, name).textContent(), "DUPLEX");
    await assertAccessible(page, "dark");
    const pull = moduleSlot(page, "cpu1").getByRole("button", { name: "Pull cpu1" });
    await pull.focus();
    await page.keyboard.press("Enter");
    await page.getByRole("dialog", { name: "Pull cpu1?" }).waitFor();
    await assertAccessible(page, "dialog");
    for (let press = 0; press < 6; press += 1) {
      await page.keyboard.press("Tab");
      const isOutside = await page.evaluate(
        `document.activeElement !== document.body && document.activeElement.closest("dialog") === null`,
      );
      assert.equal(isOutside, false, "the focus stays in the dialog");
    }
    await page.keyboard.press("Escape");
    assert.equal(await pull.evaluate((button) => button === button.ownerDocument.activeElement), true, "the focus is back");
  });

  test("a module is pulled while another tab keeps loading from the guest, and comes back", async () => {
    const visitor = await context.newPage();
    let loads = 0;
    let isPulling = true;
    const visits = (async () => {
      while (isPulling) {
        const answer = await visitor.goto(guestUrl, { timeout: STEP_MS });
        assert.equal(answer?.status(), 200);
        loads += 1;
      }
    })();
    await moduleSlot(page, "cpu1").getByRole("button", { name: "Pull cpu1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Pull cpu1" }).click();
    await untilShown("SIMPLEX");
    assert.equal(await stateOf(page, "cpu1").textContent(), "PULLED");
    assert.match((await moduleSlot(page, "cpu0").textContent()) ?? "", /Do not pull/);
    await moduleSlot(page, "cpu1").getByRole("button", { name: "Insert cpu1" }).click();
    await page.getByRole("dialog").getByRole("button", { name: "Insert cpu1" }).click();
    await untilShown("DUPLEX");
    isPulling = false;
    await visits;
    await visitor.close();
    assert.ok(loads > 0, "the guest was loaded from meanwhile");
  });

  test("the events say what it was, in plain words", async () => {
    const pulled = page.locator('[data-code="MODULE_PULLED"]').first();
    await pulled.locator("summary").click();
    await pulled.getByText("It is held out until it is inserted again.").waitFor();
    await page.getByLabel("Words").fill("back in lockstep");
    await page.locator('[data-code="REINTEGRATED"]').first().waitFor();
    assert.equal(await page.locator('[data-code="MODULE_PULLED"]').count(), 0);
    await page.getByLabel("Words").fill("");
  });

  test("a line typed at the guest's console is answered", async () => {
    await page.getByRole("button", { name: "Open the console" }).click();
    await page.getByText("connected", { exact: true }).waitFor();
    await page.locator(".terminal-place textarea").focus();
    // The sum is the guest's: the echo of the line does not have it.
    await page.keyboard.type("echo sum=$((40+2))\n");
    await page.locator(".terminal-place .xterm-rows").getByText("sum=42").waitFor();
    await page.keyboard.press("F6");
    const name = await page.evaluate("document.activeElement.textContent");
    assert.equal(name, "Close the console", "F6 leaves the terminal");
    await page.keyboard.press("Enter");
  });

  test("it lives on when the management module that served it is lost, and misses no event", async () => {
    // What this counts is gone if the page is loaded again.
    await page.evaluate(`{
      window.banners = 0;
      const count = () => { window.banners += document.querySelectorAll(".banner p").length; };
      new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
    }`);
    // Its streams may be served by either: each is lost once.
    for (const name of ["mgmt0", "mgmt1"]) {
      const { pid, incarnation } = await server.module(name);
      process.kill(pid, "SIGKILL");
      const isBack = (report: ServerReport): boolean =>
        report.modules.every((module) => module.state === "DUPLEX" && (module.name !== name || module.incarnation > incarnation));
      await server.until(isBack, `complete after the loss of ${name}`);
    }
    await page.locator(".link.is-connected").waitFor();
    await page.locator('[data-code="MANAGEMENT_TAKEOVER"]').first().waitFor();
    const { lastEventId } = await server.status();
    await page.locator(`[data-event="${lastEventId}"]`).waitFor();
    const banners = (await page.evaluate("window.banners")) as number | undefined;
    assert.ok(banners !== undefined, "the page was not loaded again");
    assert.ok(banners > 0, "it said that it reconnects");
    const ids = await shownEventIds(page);
    assert.deepEqual(
      ids,
      ids.map((_, index) => lastEventId - ids.length + 1 + index),
      "every event once",
    );
  });

  test("it is as accessible in light, and on a phone", async () => {
    await page.getByLabel("Colours").selectOption("light");
    await assertAccessible(page, "light");
    await page.setViewportSize({ width: 360, height: 740 });
    assert.equal(await page.evaluate("document.documentElement.scrollWidth"), 360, "nothing is wider than the phone");
    await assertAccessible(page, "phone");
    await page.setViewportSize({ width: 1360, height: 900 });
  });

  test("all panels of the Grafana dashboard have data of it in Prometheus", async () => {
    const text = readFileSync(fileURLToPath(new URL("../docs/grafana/steadfast.json", import.meta.url)), "utf8");
    const { panels } = JSON.parse(text) as { panels: { title: string; targets: { expr: string }[] }[] };
    assert.ok(panels.length > 10);
    const empty: string[] = [];
    for (const { title, targets } of panels) {
      let series = 0;
      // As Grafana fills them in with all servers chosen.
      for (const { expr } of targets) series += (await prometheus.query(expr.replaceAll("$server", ".*"))).length;
      if (series === 0) empty.push(title);
    }
    // A mirror this small is in sync between two looks, and the base certificate does not expire.
    assert.deepEqual(
      empty.filter((title) => !["Resync", "Certificate expires in"].includes(title)),
      [],
    );
  });

  test("who may only view has nothing to press", async () => {
    await page.getByRole("button", { name: "Sign out" }).click();
    await signIn(page, base, await makeToken("viewer", "view"));
    await stateOf(page, "cpu0").waitFor();
    assert.equal(await page.getByRole("button", { name: /Pull|Insert|Drill|Clear|Power|console/ }).count(), 0);
    assert.deepEqual(problems, [], "no script failed, and the content security policy had nothing to refuse");
  });
});
