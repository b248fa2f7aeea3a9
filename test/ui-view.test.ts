/** What the web console shows, asked without a browser. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { FAULT_KINDS } from "../dist/modules/management-faults.js";
import { clearModule, drillModule, drillsFor, DRILLS, pullEnclosure, pullModule } from "../dist/view/actions.js";
import { certificationCard, enclosureCards, guestHeadline, headline, lampOf, supportText } from "../dist/view/chassis.js";
import { reconnectPauseMs } from "../dist/view/connection.js";
import { durationText } from "../dist/view/duration.js";
import { eventDetails, EVERYTHING, filterEvents, announcement } from "../dist/view/event-log.js";
import { EMPTY_STREAM, MESSAGE_CHARACTERS_MAX, readStream } from "../dist/view/event-stream.js";
import { EXPLAINED_CODES, explanationOf } from "../dist/view/explanations.js";
import { addSample, chartsOf, EMPTY_HISTORY, formatNumber, latestText, SAMPLES_MAX } from "../dist/view/history.js";
import type { EventView, ReportView } from "../dist/view/report.js";
import { EVENTS_MAX, hear, INITIAL_STATE, lastEventId } from "../dist/view/state.js";
import { SAMPLE_REPORT } from "./support/sample-report.js";

/** Does not compile when the server's report no longer has what the console shows. */
const REPORT: ReportView = SAMPLE_REPORT;

function moduleOf(name: string, changes: Partial<ReportView["modules"][number]> = {}): ReportView["modules"][number] {
  const found = REPORT.modules.find((module) => module.name === name);
  assert.ok(found);
  return { ...found, ...changes };
}

function event(id: number, changes: Partial<EventView> = {}): EventView {
  return { id, atMs: 1000 * id, severity: "info", code: "POWER_ON", text: `event ${id}`, ...changes };
}

describe("a stream of server-sent events", () => {
  const STREAM = ': hello\n\nid: 1\ndata: {"a":1}\n\ndata: two\r\ndata: lines\r\n\r\n:\n\ndata:bare\n\nretry: 5\n\n';
  const DATA = ['{"a":1}', "two\nlines", "bare"];

  test("is read the same however it is cut", () => {
    for (let size = 1; size <= STREAM.length; size += 1) {
      let state = EMPTY_STREAM;
      const found: string[] = [];
      for (let at = 0; at < STREAM.length; at += size) {
        const step = readStream(state, STREAM.slice(at, at + size));
        state = step.state;
        found.push(...step.data);
      }
      assert.deepEqual(found, DATA, `in pieces of ${size}`);
    }
  });

  test("whose message does not end is refused", () => {
    assert.throws(() => readStream(EMPTY_STREAM, `data: ${"x".repeat(MESSAGE_CHARACTERS_MAX)}`), RangeError);
  });
});

describe("what was heard", () => {
  test("holds each event once, in order, and no more than the limit", () => {
    let state = INITIAL_STATE;
    for (const id of [1, 2, 2, 1, 3]) state = hear(state, { kind: "event", event: event(id) });
    assert.deepEqual(
      state.events.map(({ id }) => id),
      [1, 2, 3],
    );
    for (let id = 4; id < EVENTS_MAX + 10; id += 1) state = hear(state, { kind: "event", event: event(id) });
    assert.equal(state.events.length, EVENTS_MAX);
    assert.equal(lastEventId(state), EVENTS_MAX + 9);
  });

  test("keeps the last report while it reconnects", () => {
    const before = hear(INITIAL_STATE, { kind: "report", report: REPORT });
    const after = hear(before, { kind: "connection", connection: { kind: "reconnecting", attempt: 1, why: "lost" } });
    assert.equal(after.report, REPORT);
  });

  test("is asked for again at growing, spread intervals", () => {
    for (let attempt = 1; attempt < 100; attempt += 1) {
      const [least, most] = [reconnectPauseMs(attempt, 0), reconnectPauseMs(attempt, 1)];
      assert.ok(least * 2 === most && most <= 5000 && least >= 50, `${attempt}: ${least} to ${most}`);
      assert.ok(reconnectPauseMs(attempt + 1, 0) >= least);
    }
  });
});

describe("the chassis", () => {
  test("has every module and mirror in its enclosure", () => {
    const [enclosure] = enclosureCards(REPORT);
    assert.ok(enclosure);
    assert.deepEqual(
      enclosure.modules.map((card) => card.module.name),
      ["cpu0", "cpu1", "io0", "mgmt0"],
    );
    assert.deepEqual(
      enclosure.mirrors.map((mirror) => [mirror.name, mirror.lamp]),
      [["io0", "good"]],
    );
    const copying = enclosure.modules[1];
    assert.equal(copying?.lamp, "working");
    assert.equal(copying?.progress?.share, 5 / 11);
    assert.equal(enclosure.modules[2]?.badge, "drives the guest");
  });

  test("shows how far a mirror's resync is", () => {
    const modules = [...REPORT.modules, moduleOf("io0", { name: "io1", isActive: false })];
    const mirror = enclosureCards({ ...REPORT, modules })[0]?.mirrors[1];
    assert.deepEqual([mirror?.name, mirror?.stateText, mirror?.progress?.share], ["io1", "RESYNC", 0.5]);
  });

  test("says of a module that was pulled that it is out", () => {
    const modules = [moduleOf("cpu0", { held: true, state: "OFFLINE", pid: 0 })];
    const [enclosure] = enclosureCards({ ...REPORT, modules, disk: null });
    assert.equal(enclosure?.isOut, true);
    assert.equal(enclosure?.modules[0]?.stateText, "PULLED");
    assert.match(enclosure?.modules[0]?.note ?? "", /insert/);
  });

  test("tells hardware and guest apart", () => {
    assert.deepEqual([headline(REPORT).word, headline(REPORT).lamp], ["SIMPLEX", "alone"]);
    assert.match(headline(REPORT).sentence, /should be DUPLEX/);
    assert.equal(headline({ ...REPORT, redundancy: "DUPLEX" }).lamp, "good");
    const starting: ReportView = { ...REPORT, redundancy: "OUTAGE" };
    assert.equal(headline(starting).word, "STARTING");
    assert.equal(headline({ ...starting, counters: { ...REPORT.counters, outages: 1 } }).word, "OUTAGE");
    const hung = guestHeadline({ ...REPORT, redundancy: "DUPLEX", guest: "hung" });
    assert.deepEqual([hung.lamp, /No module is to blame/.test(hung.sentence)], ["fault", true]);
  });

  test("has a light for every state", () => {
    assert.equal(lampOf("BROKEN"), "fault");
    assert.equal(lampOf("SIMPLEX"), "alone");
    assert.equal(lampOf("EMPTY"), "off");
  });

  test("shows certified changes only of servers that tell of them", () => {
    assert.equal(certificationCard({ ...REPORT, certification: null }), null);
    const since = "2026-11-27T10:00:00.000Z";
    const certified = { state: "certified", level: "quick", expiresAt: "2027-11-27T10:00:00.000Z", since } as const;
    const card = certificationCard({ ...REPORT, certification: certified });
    const details = [
      ["Level", "quick"],
      ["Valid until", "2027-11-27"],
      ["Since", "2026-11-27"],
    ];
    assert.deepEqual(card, { lamp: "good", word: "certified", details });
    assert.equal(certificationCard({ ...REPORT, certification: { state: "base", since } })?.lamp, "good");
    assert.equal(certificationCard({ ...REPORT, certification: { state: "uncertified", reason: "trial", since } })?.lamp, "alone");
    assert.equal(certificationCard({ ...REPORT, certification: { state: "altered", since } })?.lamp, "fault");
  });

  test("shows what support was bought", () => {
    const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);
    const support = { level: "premium", warranty: "running", warrantyFromMs: 0, warrantyUntilMs: 86_400_000, contact: "desk" } as const;
    assert.equal(supportText({ ...REPORT, support }, day), "premium, warranty until 1970-01-02, desk");
    assert.equal(supportText({ ...REPORT, support: null }, day), null);
  });
});

describe("what is asked before something is done", () => {
  test("forces nothing that is safe, and warns of what is not", () => {
    const safe = pullModule(moduleOf("cpu0"), REPORT);
    assert.deepEqual([safe.risk, safe.action], [null, { path: "/modules/cpu0/pull", body: { force: false } }]);
    const unsafe = pullModule(moduleOf("cpu0", { safeToPull: false }), REPORT);
    assert.match(unsafe.risk ?? "", /may stop/);
    assert.deepEqual(unsafe.action.body, { force: true });
    const [enclosure] = enclosureCards(REPORT);
    assert.ok(enclosure);
    assert.deepEqual(pullEnclosure(enclosure).action, { path: "/modules/enclosure0/pull", body: { force: true } });
    assert.match(clearModule(moduleOf("cpu0", { state: "BROKEN" })).consequences.join(" "), /started again/);
  });

  test("knows every drill of the server, and no other", () => {
    assert.deepEqual(DRILLS.map((drill) => drill.kind).sort(), [...FAULT_KINDS].sort());
  });

  test("offers a module only the drills that it can take", () => {
    const kinds = (name: string, report = REPORT): string[] => drillsFor(moduleOf(name), report).map((drill) => drill.kind);
    assert.ok(kinds("cpu0").includes("flip") && !kinds("cpu0").includes("bit-rot"));
    assert.ok(kinds("io0").includes("bit-rot") && !kinds("io0").includes("flip"));
    assert.deepEqual(kinds("io0", { ...REPORT, disk: null }), ["kill", "hang"]);
    assert.deepEqual(kinds("mgmt0"), ["kill", "hang"]);
    const flip = DRILLS.find((drill) => drill.kind === "flip");
    assert.ok(flip);
    assert.deepEqual(drillModule(flip, moduleOf("cpu0"), REPORT).action.body, { kind: "flip", module: "cpu0", random: true });
  });
});

describe("the charts", () => {
  test("have rates between samples, and a gap where nothing was heard or a counter began anew", () => {
    // A request is answered with every tick, 2 ms after it came.
    const report = (committed: number): ReportView => {
      const counters = { ...REPORT.counters, requests: committed, answerMs: 2 * committed };
      return { ...REPORT, committed, counters };
    };
    let history = addSample(EMPTY_HISTORY, 1000, report(100));
    history = addSample(history, 1500, report(600));
    history = addSample(history, 2000, null);
    history = addSample(history, 2500, report(900));
    history = addSample(history, 3000, report(10));
    history = addSample(history, 3500, report(20));
    const [requests, latency, ticks, lag, mips] = chartsOf(history);
    assert.deepEqual(ticks?.series[0]?.values, [null, 1000, null, null, null, 20]);
    assert.deepEqual(requests?.series[0]?.values, [null, 1000, null, null, null, 20]);
    assert.deepEqual(latency?.series[0]?.values, [null, 2, null, null, null, 2]);
    assert.deepEqual(
      lag?.series.map((series) => series.label),
      ["cpu0", "cpu1", "not committed"],
    );
    assert.deepEqual(mips?.series[0]?.values, [12.5, 12.5, null, 12.5, 12.5, 12.5]);
    assert.ok(ticks);
    assert.equal(latestText(ticks), "committed 20");
    for (let at = 4000; at < 4000 + 500 * SAMPLES_MAX; at += 500) history = addSample(history, at, report(at));
    assert.equal(history.samples.length, SAMPLES_MAX);
  });

  test("write numbers and times for people", () => {
    assert.deepEqual([formatNumber(1234567), formatNumber(3.14159), formatNumber(12.7)], ["1\u202f234\u202f567", "3.1", "13"]);
    assert.deepEqual(
      [durationText(59_000), durationText(61_000), durationText(3_700_000), durationText(90_000_000)],
      ["59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h"],
    );
  });
});

describe("the event log", () => {
  const EVENTS = [
    event(1),
    event(2, { severity: "warning", code: "MODULE_LOST", module: "cpu1", text: "cpu1 is lost" }),
    event(3, { severity: "error", code: "MISCOMPARE", module: "cpu0", text: "cpu0 computed wrongly" }),
  ];
  const ids = (filter: Partial<typeof EVERYTHING>): number[] => filterEvents(EVENTS, { ...EVERYTHING, ...filter }).map(({ id }) => id);

  test("is filtered by severity, module and words, newest first", () => {
    assert.deepEqual(ids({}), [3, 2, 1]);
    assert.deepEqual(ids({ severity: "warning" }), [3, 2]);
    assert.deepEqual(ids({ severity: "error" }), [3]);
    assert.deepEqual(ids({ module: "cpu1" }), [2]);
    assert.deepEqual(ids({ words: " LOST " }), [2]);
    assert.deepEqual(ids({ words: "powered on" }), [1]);
  });

  test("explains every code in sentences, and one of a newer server by its text", () => {
    assert.ok(EXPLAINED_CODES.length > 50);
    for (const code of EXPLAINED_CODES) {
      const { title, meaning, advice } = explanationOf(code);
      assert.match(title, /^[A-Z].*[a-z]$/, code);
      assert.match(meaning, /^[A-Za-z].*\.$/, code);
      assert.match(advice, /^$|[.?`]$/, code);
    }
    assert.equal(explanationOf("constructor").title, "constructor");
    assert.match(explanationOf("NEWER").meaning, /does not know/);
  });

  test("says of a miscompare who is blamed, by what proof", () => {
    const found = eventDetails(
      event(4, { code: "MISCOMPARE", module: "cpu0", data: { seq: 7, by: "re-execution", right: ["cpu1"], heldMs: 40 } }),
    );
    const facts = Object.fromEntries(found.facts);
    assert.deepEqual([facts["Blamed"], facts["Believed"], facts["The guest waited"], facts["Tick"]], ["cpu0", "cpu1", "40 ms", "7"]);
    assert.match(facts["Proof"] ?? "", /third machine/);
    const unproven = Object.fromEntries(
      eventDetails(event(5, { code: "MISCOMPARE_UNADJUDICATED", module: "cpu1", data: { trusted: "cpu0", why: "w" } })).facts,
    );
    assert.match(unproven["Proof"] ?? "", /no proof/);
  });

  test("says where the report of a miscompare is", () => {
    const data = {
      path: "/r/miscompare.steadfast",
      seq: 7,
      what: "results",
      differs: ["digest"],
      verdict: { by: "majority", right: ["a", "b"], wrong: ["c"] },
    };
    const facts = Object.fromEntries(eventDetails(event(6, { code: "MISCOMPARE_REPORT", data })).facts);
    assert.deepEqual([facts["Report"], facts["Blamed"], facts["Believed"]], [data.path, "c", "a, b"]);
    const without = Object.fromEntries(eventDetails(event(6, { code: "MISCOMPARE_REPORT", data: { path: null, verdict: 3 } })).facts);
    assert.match(without["Report"] ?? "", /no checkpoint/);
  });

  test("speaks of what is worth an interruption", () => {
    assert.equal(announcement(event(1)), "");
    assert.match(announcement(EVENTS[1] ?? event(0)), /^warning: A module is lost\. cpu1 is lost$/);
  });
});
