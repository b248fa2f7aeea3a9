/** The rules of alerts and the course of deliveries, without a server: time and chance come by event. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  Alerts,
  ATTEMPTS_MAX,
  QUEUE_NOTICES_MAX,
  RETRY_LAST_MS,
  retryDelayMs,
  type AlertEffect,
  type AlertEvent,
  type Notice,
  type Observation,
} from "../dist/support/alerts.js";

const WELL: Observation = {
  redundancy: "DUPLEX",
  wantedRedundancy: "DUPLEX",
  isStarting: false,
  brokenModules: [],
  failedMirrors: [],
  diskErrors: 0,
  scrubErrors: 0,
  isGuestHung: false,
  guestServicesDown: [],
  certification: null,
  fullness: [],
};

function alerts(channels: readonly string[] = ["a"], callHome: readonly string[] = []): Alerts {
  const limits = { simplexForMs: 1000, unreachableForMs: 500, fullShare: 0.9, quietMs: 10_000, certificateMs: 5000 };
  return new Alerts({ server: "bank", run: "r", channels, callHome, ...limits });
}

/** Delivers at once whatever is to be delivered: "raised SIMPLEX", "cleared SIMPLEX" ... */
function heard(subject: Alerts, event: AlertEvent): string[] {
  const found: Notice[] = [];
  let effects = subject.step(event);
  for (;;) {
    const next = effects.find((effect) => effect.kind === "deliver");
    if (next === undefined) break;
    found.push(next.notice);
    effects = subject.step({ kind: "delivered", atMs: event.atMs, channel: next.channel, id: next.notice.id });
  }
  return found.map(({ state, code, subject: about }) => `${state} ${code} ${about}`.trimEnd());
}

const observed = (atMs: number, change: Partial<Observation> = {}): AlertEvent => {
  return { kind: "observed", atMs, plan: null, observation: { ...WELL, ...change } };
};

describe("rules", () => {
  test("SIMPLEX is worth a word only when it lasts, once, and DUPLEX ends it", () => {
    const subject = alerts();
    assert.deepEqual(heard(subject, observed(0, { redundancy: "SIMPLEX" })), []);
    assert.deepEqual(heard(subject, observed(500)), []);
    assert.deepEqual(heard(subject, observed(600, { redundancy: "SIMPLEX" })), []);
    assert.deepEqual(heard(subject, observed(1599, { redundancy: "SIMPLEX" })), []);
    assert.deepEqual(heard(subject, observed(1600, { redundancy: "SIMPLEX" })), ["raised SIMPLEX"]);
    assert.deepEqual(heard(subject, observed(9000, { redundancy: "SIMPLEX" })), []);
    assert.deepEqual(heard(subject, observed(9001)), ["cleared SIMPLEX"]);
    assert.deepEqual(heard(subject, observed(9002)), []);
  });

  test("an outage is told at once, also one between two reports; a start is none", () => {
    const subject = alerts();
    assert.deepEqual(heard(subject, observed(0, { redundancy: "OUTAGE", isStarting: true })), []);
    assert.deepEqual(heard(subject, observed(1, { redundancy: "OUTAGE" })), ["raised OUTAGE"]);
    assert.deepEqual(heard(subject, observed(2)), ["cleared OUTAGE"]);
    assert.deepEqual(heard(subject, { kind: "logged", atMs: 3, code: "OUTAGE", text: "t", module: "" }), ["raised OUTAGE"]);
    assert.deepEqual(heard(subject, observed(4)), ["cleared OUTAGE"]);
  });

  test("a certificate that expires soon, and whatever else lets an image run without one", () => {
    const subject = alerts();
    const standing = (state: string, expiresAtMs: number | null = null) => ({ certification: { state, reason: "r", expiresAtMs } });
    assert.deepEqual(heard(subject, observed(0, standing("certified", 6000))), []);
    assert.deepEqual(heard(subject, observed(999, standing("certified", 6000))), []);
    assert.deepEqual(heard(subject, observed(1000, standing("certified", 6000))), ["raised CERTIFICATE_EXPIRING image"]);
    assert.deepEqual(heard(subject, observed(2000, standing("certified", 60_000))), ["cleared CERTIFICATE_EXPIRING image"]);
    assert.deepEqual(heard(subject, observed(3000, standing("base"))), []);
    const course = ["expired", "altered", "uncertified"].map((state, index) => heard(subject, observed(4000 + index, standing(state))));
    assert.deepEqual(course, [
      ["raised CERTIFICATE_EXPIRED image"],
      ["raised IMAGE_ALTERED image", "cleared CERTIFICATE_EXPIRED image"],
      ["raised UNCERTIFIED image", "cleared IMAGE_ALTERED image"],
    ]);
    assert.deepEqual(heard(subject, observed(5000, standing("base"))), ["cleared UNCERTIFIED image"]);
  });

  test("modules, mirrors, services and full file systems, each for itself", () => {
    const subject = alerts();
    const bad = { brokenModules: ["cpu0", "cpu1"], failedMirrors: ["io1"], guestServicesDown: ["nginx"], isGuestHung: true };
    const full = { fullness: [{ directory: "/d", usedShare: 0.9 }] };
    assert.deepEqual(heard(subject, observed(0, { ...bad, ...full })), [
      "raised GUEST_HUNG",
      "raised GUEST_SERVICE nginx",
      "raised BROKEN cpu0",
      "raised BROKEN cpu1",
      "raised MIRROR_FAILED io1",
      "raised DISK_NEARLY_FULL /d",
    ]);
    assert.deepEqual(heard(subject, observed(1, { ...bad, brokenModules: ["cpu1"], fullness: [{ directory: "/d", usedShare: 0.89 }] })), [
      "cleared BROKEN cpu0",
    ]);
    assert.equal(heard(subject, observed(2)).length, 5);
    assert.deepEqual(subject.raised, []);
  });

  test("faults at moments are raised once and end after quiet", () => {
    const subject = alerts();
    assert.deepEqual(heard(subject, observed(0, { diskErrors: 1 })), ["raised DISK_ERRORS"]);
    assert.deepEqual(heard(subject, observed(5000, { diskErrors: 2, scrubErrors: 1 })), ["raised SCRUB_ERRORS"]);
    assert.deepEqual(heard(subject, { kind: "clock", atMs: 14_999 }), []);
    assert.deepEqual(heard(subject, observed(15_000, { diskErrors: 0 })), ["cleared DISK_ERRORS", "cleared SCRUB_ERRORS"]);
    assert.deepEqual(heard(subject, { kind: "logged", atMs: 15_001, code: "GUEST_PANIC", text: "t", module: "" }), ["raised GUEST_FAULT"]);
    assert.deepEqual(heard(subject, { kind: "logged", atMs: 15_002, code: "SCRUB_DONE", text: "t", module: "" }), []);
  });

  test("a server that is gone is told of, unless its operator stopped it", () => {
    const subject = alerts();
    assert.deepEqual(heard(subject, observed(0, { brokenModules: ["cpu0"] })), ["raised BROKEN cpu0"]);
    assert.deepEqual(heard(subject, { kind: "absent", atMs: 1, plan: null, why: "unmanaged" }), []);
    assert.deepEqual(heard(subject, { kind: "absent", atMs: 501, plan: null, why: "unmanaged" }), ["raised SERVER_UNMANAGED"]);
    assert.deepEqual(heard(subject, { kind: "absent", atMs: 502, plan: null, why: "down" }), ["cleared SERVER_UNMANAGED"]);
    assert.deepEqual(heard(subject, { kind: "absent", atMs: 1002, plan: null, why: "down" }), ["raised SERVER_DOWN"]);
    assert.deepEqual(heard(subject, observed(1003, { brokenModules: ["cpu0"] })), ["cleared SERVER_DOWN"]);
    assert.deepEqual(heard(subject, { kind: "absent", atMs: 1004, plan: null, why: "stopped" }), ["cleared BROKEN cpu0"]);
  });
});

describe("deliveries", () => {
  const deliveries = (effects: readonly AlertEffect[]) => effects.flatMap((effect) => (effect.kind === "deliver" ? [effect] : []));

  test("a channel that fails is tried again, later and later; the other one is not held up", () => {
    const subject = alerts(["a", "b"]);
    const [a, b] = deliveries(subject.step(observed(0, { redundancy: "OUTAGE" })));
    assert.ok(a !== undefined && b !== undefined);
    subject.step({ kind: "failed", atMs: 0, channel: "a", id: a.notice.id, jitter: 1 });
    subject.step({ kind: "delivered", atMs: 0, channel: "b", id: b.notice.id });
    assert.deepEqual(
      deliveries(subject.step(observed(999))).map(({ channel }) => channel),
      ["b"],
    );
    const [again] = deliveries(subject.step({ kind: "clock", atMs: 1000 }));
    assert.deepEqual([again?.channel, again?.notice.id, again?.attempt], ["a", a.notice.id, 2]);
  });

  test("delays grow, are bounded and never nothing", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 10_000 }), fc.double({ min: 0, max: 1, noNaN: true }), (attempts, jitter) => {
        const delay = retryDelayMs(attempts, jitter);
        assert.ok(delay >= 500 && delay <= RETRY_LAST_MS);
      }),
    );
  });

  test("a channel that hangs for ever costs a bounded queue, and every notice that goes is told", () => {
    const subject = alerts();
    let dropped = 0;
    let raised = 0;
    for (let round = 0; round < 1000; round += 1) {
      const before = new Set(subject.raised);
      dropped += subject
        .step(observed(round, round % 2 === 0 ? { redundancy: "OUTAGE" } : {}))
        .filter(({ kind }) => kind === "dropped").length;
      if (before.size !== subject.raised.length) raised += 1;
    }
    assert.equal(raised, 1000);
    assert.equal(dropped, 1000 - QUEUE_NOTICES_MAX);
  });

  test("a channel that fails for ever gives a notice up in the end", () => {
    const subject = alerts();
    let [next] = deliveries(subject.step(observed(0, { redundancy: "OUTAGE" })));
    let atMs = 0;
    let attempts = 0;
    let given: AlertEffect[] = [];
    while (next !== undefined) {
      attempts += 1;
      given = subject.step({ kind: "failed", atMs, channel: "a", id: next.notice.id, jitter: 0.5 });
      atMs += RETRY_LAST_MS;
      [next] = deliveries(subject.step({ kind: "clock", atMs }));
    }
    assert.equal(attempts, ATTEMPTS_MAX);
    assert.deepEqual(
      given.map(({ kind }) => kind),
      ["dropped"],
    );
  });

  test("whatever comes, raised and cleared of each alert take turns", () => {
    const change = fc.record({
      redundancy: fc.constantFrom("DUPLEX", "SIMPLEX", "OUTAGE"),
      brokenModules: fc.subarray(["cpu0", "cpu1"]),
      diskErrors: fc.nat(3),
      isGuestHung: fc.boolean(),
    });
    const step = fc.oneof(
      change.map((value) => ({ kind: "observed", value }) as const),
      fc.constantFrom("down", "unmanaged", "stopped").map((value) => ({ kind: "absent", value }) as const),
      fc.constantFrom("OUTAGE", "DISK_ERROR", "GUEST_PANIC").map((value) => ({ kind: "logged", value }) as const),
    );
    fc.assert(
      fc.property(fc.array(fc.tuple(step, fc.nat(4000)), { maxLength: 60 }), (steps) => {
        const subject = alerts();
        const open = new Set<string>();
        let atMs = 0;
        for (const [{ kind, value }, passed] of steps) {
          atMs += passed;
          const event: AlertEvent =
            kind === "observed"
              ? observed(atMs, value)
              : kind === "absent"
                ? { kind, atMs, plan: null, why: value as "down" }
                : { kind, atMs, code: value, text: "t", module: "" };
          for (const line of heard(subject, event)) {
            const [state = "", ...key] = line.split(" ");
            assert.equal(open.has(key.join(" ")), state === "cleared", line);
            if (state === "raised") open.add(key.join(" "));
            else open.delete(key.join(" "));
          }
        }
        assert.deepEqual([...open].sort(), subject.raised.sort());
      }),
    );
  });
});
