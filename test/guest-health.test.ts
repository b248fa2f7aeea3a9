/** What is made of a guest that does not answer: a pure judge of rounds, and probes of real sockets. */
import assert from "node:assert/strict";
import { createServer, type Server, type Socket } from "node:net";
import { describe, test } from "node:test";
import fc from "fast-check";
import {
  GuestHealth,
  MAX_RESTARTS_PER_HOUR,
  RESTART_PAUSE_MS,
  SERVICE_FAILURES_LIMIT,
  SILENT_ROUNDS_LIMIT,
  type HealthFinding,
  type HealthRecord,
  type HealthRound,
} from "../dist/modules/guest-health.js";
import { GUEST_ITSELF, guestProbesFor, probeGuest, serviceProbesFor, type ProbeOutcome } from "../dist/modules/guest-probe.js";
import type { ServerPlan } from "../dist/modules/management-plan.js";
import { parsePublished, type PublishedPort } from "../dist/ports/published-port.js";
import { holds } from "./support/properties.js";

const ROUND_MS = 5000;
const HOUR_MS = 3_600_000;

class Course {
  readonly health: GuestHealth;
  atMs = 0;

  constructor(policy: "report" | "restart", record?: HealthRecord) {
    this.health = new GuestHealth(policy);
    if (record !== undefined) this.health.resume(record);
  }

  round(services: Record<string, ProbeOutcome[] | null>, more: Partial<HealthRound> = {}): string[] {
    this.atMs += ROUND_MS;
    const quiet = { isAlive: true, isSilent: false, heartbeat: "none" as const, reported: [] };
    const round = { services: new Map(Object.entries(services)), ...quiet, atMs: this.atMs, ...more };
    return this.health
      .round(round)
      .map((finding: HealthFinding) => ("service" in finding ? `${finding.kind} ${finding.service}` : finding.kind));
  }

  silent(rounds: number): string[] {
    return Array.from({ length: rounds }, () => this.round({ web: ["silent"] }, { isAlive: false, isSilent: true })).flat();
  }
}

describe("a guest whose agent was heard", () => {
  const missed = { heartbeat: "missed" as const };

  /** Rounds in a row, each like this. */
  function rounds(course: Course, count: number, outcome: ProbeOutcome, more: Partial<HealthRound>): string[] {
    return Array.from({ length: count }, () => course.round({ web: [outcome] }, more)).flat();
  }

  test("hangs when its heartbeats have stopped and no service answers, though its kernel does", () => {
    const course = new Course("report");
    course.round({ web: ["open"] }, { heartbeat: "heard" });
    assert.deepEqual(rounds(course, SILENT_ROUNDS_LIMIT - 1, "accepted", missed), ["serviceDown web"]);
    assert.deepEqual(rounds(course, 3, "accepted", missed), ["hung"]);
    assert.equal(course.health.record.hungBy, "heartbeat");
    assert.deepEqual(course.round({ web: ["open"] }, { heartbeat: "heard" }), ["serviceUp web", "answers"]);
    assert.equal(course.health.faults.hangs, 1);
  });

  test("is restarted by policy, and another management module goes on counting", () => {
    const course = new Course("restart");
    course.round({}, { heartbeat: "heard" });
    rounds(course, SILENT_ROUNDS_LIMIT - 1, "accepted", { ...missed, isAlive: false });
    const other = new Course("restart", course.health.record);
    assert.deepEqual(other.round({}, { ...missed, isAlive: false }), ["hung", "restart"]);
    other.health.started();
    assert.equal(other.health.isHung, false);
    assert.deepEqual(rounds(other, 20, "open", { heartbeat: "none" }), [], "a guest without an agent misses nothing");
  });

  test("with a service that answers is not hung: its agent is", () => {
    const course = new Course("restart");
    course.round({ web: ["open"] }, { heartbeat: "heard" });
    assert.deepEqual(rounds(course, 20, "open", missed), ["agentSilent"]);
    assert.equal(course.health.isHung, false);
    assert.deepEqual(course.round({ web: ["open"] }, { heartbeat: "heard" }), ["agentHeard"]);
    assert.equal(course.health.faults.hangs, 0);
  });

  test("one late heartbeat is no matter", () => {
    const course = new Course("restart");
    for (let each = 0; each < 10; each += 1) {
      assert.deepEqual(rounds(course, SILENT_ROUNDS_LIMIT - 1, "open", missed), []);
      assert.deepEqual(course.round({ web: ["open"] }, { heartbeat: "heard" }), []);
    }
  });

  test("a service that loops is down, even if it answers in between or was never seen up", () => {
    const course = new Course("report");
    const looping = { heartbeat: "heard" as const, reported: [{ name: "web", condition: "looping" as const, failures: 4 }] };
    assert.deepEqual(rounds(course, SERVICE_FAILURES_LIMIT, "open", looping), ["serviceDown web"]);
    const up = { heartbeat: "heard" as const, reported: [{ name: "web", condition: "up" as const, failures: 0 }] };
    assert.deepEqual(course.round({ web: ["open"] }, up), ["serviceUp web"]);
  });

  test("a service that nobody can probe is known by the agent alone; one that ended may be meant to", () => {
    const course = new Course("report");
    const said = (condition: "up" | "ended" | "looping"): Partial<HealthRound> => ({
      heartbeat: "heard",
      reported: [{ name: "worker", condition, failures: 0 }],
    });
    course.round({}, said("up"));
    assert.deepEqual(course.health.services, { worker: "up" });
    for (let each = 0; each < 10; each += 1) assert.deepEqual(course.round({}, said("ended")), []);
    for (let each = 1; each < SERVICE_FAILURES_LIMIT; each += 1) course.round({}, said("looping"));
    assert.deepEqual(course.round({}, said("looping")), ["serviceDown worker"]);
  });
});

describe("a guest's health", () => {
  test("a service is down after some failures in a row, once, and up again at the first answer", () => {
    const course = new Course("restart");
    course.round({ web: ["open"], db: ["open", "open"] });
    for (let each = 1; each < SERVICE_FAILURES_LIMIT; each += 1)
      assert.deepEqual(course.round({ web: ["refused"], db: ["open", "open"] }), []);
    assert.deepEqual(course.round({ web: ["refused"], db: ["open", "silent"] }), ["serviceDown web"]);
    assert.deepEqual(course.round({ web: ["accepted"], db: ["open", "open"] }), [], "accepting is not answering, for one that did answer");
    assert.deepEqual(course.health.services, { web: "down", db: "up" });
    assert.deepEqual(course.round({ web: null, db: ["open", "open"] }), [], "not asked: nothing is known");
    assert.deepEqual(course.round({ web: ["open"], db: ["open", "open"] }), ["serviceUp web"]);
    assert.deepEqual(course.health.services, { web: "up", db: "up" });
    assert.equal(course.health.faults.serviceFailures, 1);
  });

  test("nothing is said of a service that was never seen up, and nothing more is asked of one than it ever did", () => {
    const course = new Course("restart");
    for (let each = 0; each < 10; each += 1) assert.deepEqual(course.round({ odd: ["refused"] }), []);
    assert.deepEqual(course.health.services, { odd: "unknown" });
    course.round({ odd: ["accepted"] });
    for (let each = 0; each < 10; each += 1) assert.deepEqual(course.round({ odd: ["accepted"] }), []);
    assert.deepEqual(
      [1, 2, 3].flatMap(() => course.round({ odd: ["refused"] })),
      ["serviceDown odd"],
    );
  });

  test("whoever takes over goes on with the counts, not from nothing", () => {
    const former = new Course("restart");
    former.round({ web: ["open"], db: ["open"] });
    for (let each = 1; each < SERVICE_FAILURES_LIMIT; each += 1) former.round({ web: ["refused"], db: ["open"] });
    former.health.panicked();
    former.silent(SILENT_ROUNDS_LIMIT - 1);
    const course = new Course("restart", JSON.parse(JSON.stringify(former.health.record)) as HealthRecord);
    assert.deepEqual(course.health.record, former.health.record);
    course.atMs = former.atMs;
    assert.deepEqual(course.silent(1), ["hung", "restart"], "one round of silence was all that lacked");
    assert.equal(course.health.faults.panics, 1);
    const next = new Course("restart", course.health.record);
    next.atMs = course.atMs;
    assert.deepEqual(next.silent(RESTART_PAUSE_MS / ROUND_MS - 1), [], "neither said nor done again");
    assert.deepEqual(next.silent(1), ["restart"]);
    assert.deepEqual(course.health.faults, { ...next.health.faults, restarts: 1 }, "the former one's record is its own");
  });

  test("silence hangs a guest after some rounds; a sign of life or a round without question in between does not count", () => {
    const course = new Course("report");
    course.silent(SILENT_ROUNDS_LIMIT - 1);
    course.round({ web: ["silent"] });
    assert.deepEqual(course.silent(SILENT_ROUNDS_LIMIT - 1), []);
    assert.deepEqual(course.round({ web: null }, { isAlive: false }), []);
    assert.deepEqual(course.silent(1), ["hung"]);
    assert.deepEqual(course.silent(20), [], "report: nothing else follows");
    assert.deepEqual(course.round({ web: ["open"] }), ["answers"]);
    assert.equal(course.health.isHung, false);
  });

  test("a guest that hangs after every start is restarted with growing pauses, a few times an hour", () => {
    const course = new Course("restart");
    const restartsAtMs: number[] = [];
    let usedUp = 0;
    while (course.atMs < HOUR_MS) {
      for (const finding of course.silent(1)) {
        if (finding === "restartsUsedUp") usedUp += 1;
        if (finding !== "restart") continue;
        restartsAtMs.push(course.atMs);
        course.health.started();
      }
    }
    assert.equal(restartsAtMs.length, MAX_RESTARTS_PER_HOUR);
    restartsAtMs.slice(1).forEach((at, index) => assert.ok(at - (restartsAtMs[index] as number) >= RESTART_PAUSE_MS * 2 ** index));
    assert.equal(usedUp, 1, "said once");
    const later = course.silent(HOUR_MS / ROUND_MS);
    assert.ok(later.includes("restart"), "the hour passes");
  });

  test("in no course of outcomes are there more restarts than allowed, or two equal words about one service", () => {
    const outcome = fc.constantFrom<ProbeOutcome>("open", "accepted", "refused", "silent");
    const round = fc.record({
      web: fc.option(fc.array(outcome, { minLength: 1, maxLength: 2 })),
      life: fc.constantFrom("alive", "silent", "unknown"),
    });
    holds(fc.array(round, { maxLength: 200 }), (rounds) => {
      const course = new Course("restart");
      const said = rounds.flatMap(({ web, life }) => course.round({ web }, { isAlive: life === "alive", isSilent: life === "silent" }));
      assert.ok(said.filter((each) => each === "restart").length <= MAX_RESTARTS_PER_HOUR);
      const ofWeb = said.filter((each) => each.endsWith(" web"));
      ofWeb.forEach((each, index) => assert.equal(each, index % 2 === 0 ? "serviceDown web" : "serviceUp web"));
    });
  });
});

describe("probes", () => {
  async function outcomeOf(onConnection: ((socket: Socket) => void) | null, isForwarded: boolean): Promise<string> {
    const sockets: Socket[] = [];
    const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
      sockets.push(socket);
      socket.on("error", () => undefined);
      onConnection?.(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as { port: number };
    if (onConnection === null) await new Promise((resolve) => server.close(resolve));
    const outcome = await probeGuest({ host: "127.0.0.1", port, guestPort: 80, isForwarded }, 200);
    for (const socket of sockets) socket.destroy();
    server.close();
    return outcome;
  }

  test("tell a service that answers from one that is only listened for, refused, or not asked at all", async () => {
    const closes = (socket: Socket): unknown => socket.on("end", () => socket.end()).resume();
    assert.equal(await outcomeOf(closes, false), "open");
    assert.equal(await outcomeOf(closes, true), "open");
    assert.equal(await outcomeOf((socket) => socket.write("220 hello"), true), "open");
    assert.equal(await outcomeOf(() => undefined, false), "accepted");
    assert.equal(await outcomeOf(() => undefined, true), "silent", "the forwarder accepts whatever the guest does");
    assert.equal(await outcomeOf((socket) => socket.resetAndDestroy(), true), "refused");
    assert.equal(await outcomeOf(null, false), "refused");
    assert.equal(await outcomeOf(null, true), "unasked");
  });

  test("go to the services of the image, where the network leads to them", () => {
    const network = { bridge: "", devices: {}, guestAddress: "10.77.0.2", prefixLength: 24 };
    const services = [
      { name: "web", ports: [80, 443] },
      { name: "db", ports: [6379] },
    ];
    const publish = [parsePublished("8080:80"), parsePublished("127.0.0.1:53:6379/udp")] as PublishedPort[];
    const plan = (kind: "tap" | "user"): ServerPlan => {
      const planned = { kind, bridge: "", hostAddress: "10.77.0.1/24", guestAddress: "", publish: kind === "user" ? publish : [] };
      return { image: { services }, network: planned } as unknown as ServerPlan;
    };
    const shown = (kind: "tap" | "user"): string[] => {
      return [...serviceProbesFor(plan(kind), network)].map(
        ([name, probes]) => `${name} ${probes.map(({ host, port }) => `${host}:${port}`).join(" ")}`,
      );
    };
    assert.deepEqual(shown("tap"), ["web 10.77.0.2:80 10.77.0.2:443", "db 10.77.0.2:6379"]);
    assert.deepEqual(shown("user"), ["web 127.0.0.1:8080"]);
    assert.deepEqual(guestProbesFor(plan("tap").network, null), []);
    const bare = { ...plan("tap"), image: { services: [] } } as unknown as ServerPlan;
    assert.deepEqual([...serviceProbesFor(bare, network).keys()], [GUEST_ITSELF]);
  });
});
