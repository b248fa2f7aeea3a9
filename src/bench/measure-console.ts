/**
 * What an operator at the web console waits for, in a real browser at a real server: from nothing to a console that can be used, and from
 * what happens to what is on the screen.
 */
import { existsSync } from "node:fs";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { SteadfastError } from "../foundation/errors.js";
import { maximum, median } from "../foundation/statistics.js";
import { freePort, LOOPBACK, newToken } from "./api-seat.js";
import type { BenchContext } from "./bench-context.js";
import { pause } from "./faults.js";
import { judge, type Figure } from "./figures.js";
import { formatMs } from "./plot.js";
import type { DrillSource } from "./server-view.js";

const CHROMIUM = "/usr/bin/chromium";
const LOADS = 20;
/** Each brings at least two events and two changes of a state. */
const PULLS = 10;
const LOAD = { mostMs: 1000, by: "median" } as const;
const FACT = { mostMs: 250, by: "worst" } as const;
const STEP_LIMIT_MS = 60_000;
const LOOK_EVERY_MS = 100;
const VIEWPORT = { width: 1360, height: 900 };
const COMMAND = "steadfast bench console";
/** Between a fact and the next, so that none is drawn together with another. */
const FACT_PAUSE_MS = 700;

/** Runs in the page before anything else: when what can be used was drawn first, by the page's own clock. */
const WATCH_LOAD = `{
  const note = (name) => { window[name] ??= 0; if (window[name] === 0) requestAnimationFrame(() => { window[name] ||= performance.now(); }); };
  const look = () => {
    if (document.querySelector("form input:not([disabled])") !== null) note("formAtMs");
    if (document.querySelector("[data-redundancy]") !== null && document.querySelector("[data-module] button:not([disabled])") !== null) note("panelAtMs");
  };
  new MutationObserver(look).observe(document, { childList: true, subtree: true, attributes: true });
}`;

/** When each event and each state of cpu1 was drawn, by the clock of this host. */
const WATCH_FACTS = `{
  window.seenEvents = {}; window.seenStates = [];
  const drawn = (note) => requestAnimationFrame(() => note(Date.now()));
  let shown = "";
  const look = () => {
    for (const row of document.querySelectorAll("[data-event]")) {
      const id = row.getAttribute("data-event");
      if (id in window.seenEvents) continue;
      window.seenEvents[id] = 0;
      drawn((atMs) => { window.seenEvents[id] = atMs; });
    }
    const state = document.querySelector('[data-module="cpu1"] .state strong')?.textContent ?? "";
    if (state !== shown) {
      shown = state;
      drawn((atMs) => { window.seenStates.push({ state, atMs }); });
    }
  };
  look();
  new MutationObserver(look).observe(document.body, { childList: true, subtree: true, characterData: true, attributes: true });
}`;

interface SeenFacts {
  readonly events: Readonly<Record<string, number>>;
  readonly states: readonly { readonly state: string; readonly atMs: number }[];
}

async function launch(): Promise<Browser> {
  if (!existsSync(CHROMIUM)) throw new SteadfastError("BENCH_TOOL_MISSING", { tool: "chromium", package: "chromium" });
  try {
    const { chromium } = await import("playwright-core");
    return await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox"] });
  } catch (error) {
    throw new SteadfastError("BENCH_FAILED", { what: "The browser", why: (error as Error).message.split("\n")[0] ?? "" });
  }
}

/** Nothing of an earlier load is left in it. */
async function freshContext(browser: Browser, token: string | null): Promise<BrowserContext> {
  const context = await browser.newContext({ ignoreHTTPSErrors: true, viewport: VIEWPORT });
  context.setDefaultTimeout(STEP_LIMIT_MS);
  if (token !== null) await context.addInitScript(`sessionStorage.setItem("steadfast-token", ${JSON.stringify(token)})`);
  return context;
}

/** From the beginning of the navigation, TLS handshake included, to the first frame with it. */
async function loadMs(browser: Browser, url: string, token: string | null): Promise<number> {
  const context = await freshContext(browser, token);
  try {
    await context.addInitScript(WATCH_LOAD);
    const page = await context.newPage();
    await page.goto(url);
    return await drawnAtMs(page, token === null ? "formAtMs" : "panelAtMs");
  } finally {
    await context.close();
  }
}

/** Asked for now and then: the content security policy lets no other way of waiting into the page. */
async function drawnAtMs(page: Page, name: string): Promise<number> {
  const giveUpAt = performance.now() + STEP_LIMIT_MS;
  for (;;) {
    const atMs = Number(await page.evaluate(`window.${name} ?? 0`));
    if (atMs > 0) return atMs;
    if (performance.now() > giveUpAt) throw new SteadfastError("BENCH_FAILED", { what: "The console", why: "it did not become usable" });
    await pause(LOOK_EVERY_MS);
  }
}

async function pullAndInsert(source: DrillSource): Promise<void> {
  const until = async (state: string): Promise<void> => {
    const giveUpAt = performance.now() + STEP_LIMIT_MS;
    while ((await source.read()).modules.find(({ name }) => name === "cpu1")?.state !== state) {
      if (performance.now() > giveUpAt) throw new SteadfastError("BENCH_FAILED", { what: "The drill", why: `cpu1 is not ${state}` });
      await pause(100);
    }
  };
  await source.pull("cpu1");
  await pause(FACT_PAUSE_MS);
  await source.insert("cpu1");
  await until("DUPLEX");
  await pause(FACT_PAUSE_MS);
}

async function seenFacts(page: Page): Promise<SeenFacts> {
  return (await page.evaluate("({ events: window.seenEvents, states: window.seenStates })")) as SeenFacts;
}

interface Delays {
  /** From an event's time in the log to the frame that shows it. */
  readonly events: readonly number[];
  /** From the event of a pull to the frame that shows the module as pulled. */
  readonly states: readonly number[];
}

async function factDelays(
  browser: Browser,
  url: string,
  token: string,
  source: DrillSource,
  onProgress: (text: string) => void,
): Promise<Delays> {
  const context = await freshContext(browser, token);
  try {
    const page = await context.newPage();
    await page.goto(url);
    await page.locator("[data-redundancy]").waitFor();
    await page.locator("[data-event]").first().waitFor();
    const { lastEventId } = await source.read();
    await page.locator(`[data-event="${lastEventId}"]`).waitFor();
    await page.evaluate(WATCH_FACTS);
    for (let round = 1; round <= PULLS; round += 1) {
      await pullAndInsert(source);
      onProgress(`facts: module pulled and back, ${round} of ${PULLS}`);
    }
    const facts = await source.events(lastEventId);
    const seen = await seenFacts(page);
    const events = facts.map(({ id, atMs }) =>
      seen.events[id] === undefined || seen.events[id] === 0 ? Number.NaN : seen.events[id] - atMs,
    );
    const pulled = seen.states.filter(({ state }) => state === "PULLED");
    const states = facts
      .filter(({ code }) => code === "MODULE_PULLED")
      .map(({ atMs }) => (pulled.find((each) => each.atMs >= atMs)?.atMs ?? Number.NaN) - atMs);
    return { events, states };
  } finally {
    await context.close();
  }
}

/** Loads are judged by their median, since each begins a process of the browser's; facts by the worst. */
function delayFigure(
  name: string,
  delays: readonly number[],
  target: { readonly mostMs: number; readonly by: "median" | "worst" },
): Figure {
  const isWhole = delays.length > 0 && !delays.some(Number.isNaN);
  const found = { median: isWhole ? median(delays) : Number.NaN, worst: isWhole ? maximum(delays) : Number.NaN };
  const value = found[target.by];
  return {
    ...{ name, target: `${target.by} <= ${target.mostMs} ms`, value, command: COMMAND },
    measured: `median ${formatMs(found.median)}, worst ${formatMs(found.worst)} of ${delays.length}`,
    verdict: judge(value, { atMost: target.mostMs }),
  };
}

export async function measureConsole(context: BenchContext): Promise<Figure[]> {
  const { onProgress } = context.options;
  const port = await freePort();
  const server = await context.listening(`${LOOPBACK}:${port}`);
  const [token, url] = [newToken(server, "console", "operate"), `https://${LOOPBACK}:${port}/ui/`];
  const browser = await launch();
  try {
    // What the browser itself does for the first time is not the console's.
    await loadMs(browser, url, null);
    const forms: number[] = [];
    const panels: number[] = [];
    for (let load = 1; load <= LOADS; load += 1) {
      forms.push(await loadMs(browser, url, null));
      panels.push(await loadMs(browser, url, token));
      onProgress(
        `load ${load} of ${LOADS}: sign-in after ${formatMs(forms.at(-1) ?? 0)}, the whole console after ${formatMs(panels.at(-1) ?? 0)}`,
      );
    }
    const { events, states } = await factDelays(browser, url, token, server.source, onProgress);
    return [
      delayFigure("console: cold first load, until one can sign in", forms, LOAD),
      delayFigure("console: cold first load of who is signed in, until all buttons are there", panels, LOAD),
      delayFigure("console: from an event to the frame that shows it", events, FACT),
      delayFigure("console: from a pulled module to the frame that shows its lamp", states, FACT),
    ];
  } finally {
    await browser.close();
    await context.stopAll();
  }
}
