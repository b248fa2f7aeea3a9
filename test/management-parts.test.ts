/** The parts of the management pair without processes: the log after a takeover, what is remembered, the systemd unit, requests. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { makeUnit, unitName } from "../dist/cli/systemd-unit.js";
import { EventLog, FIRST_EVENT, readEventFile } from "../dist/modules/management-events.js";
import { ManagementFeed } from "../dist/modules/management-feed.js";
import { IoView } from "../dist/modules/management-io.js";
import { lockServer } from "../dist/modules/management-lock.js";
import { StandbyView } from "../dist/modules/management-standbys.js";
import { EndingWatch } from "../dist/modules/ending-watch.js";
import { ActivityWatch, describeActivity, type RecentActivity } from "../dist/modules/process-activity.js";
import { SilenceWatch } from "../dist/modules/silence-watch.js";
import { NO_COUNTERS } from "../dist/modules/management-status.js";
import { VerifyRequests } from "../dist/modules/management-verify.js";
import type { Peer } from "../dist/modules/transport.js";
import { MessageDecoder } from "../dist/wire/codec.js";
import type { EventMessage, ServerStatus } from "../dist/wire/control.js";

const folder = mkdtempSync(join(tmpdir(), "steadfast-parts-"));
after(() => rmSync(folder, { recursive: true }));

const EVENT: EventMessage = { kind: "event", atMs: 1, severity: "info", code: "SAID", text: "something" };

test("a process may take its time until it is first heard; then silence is short", () => {
  const watch = new SilenceWatch({ silentLooks: 2, startingLooks: 5 });
  const looks = (count: number): boolean[] => Array.from({ length: count }, () => watch.look());
  watch.started();
  assert.deepEqual(looks(6), [false, false, false, false, false, true]);
  watch.started();
  assert.deepEqual(looks(5).includes(true), false);
  assert.deepEqual([watch.heard(), watch.heard()], [true, false]);
  assert.deepEqual(looks(3), [false, false, true]);
  // One that was adopted has started long ago.
  assert.deepEqual(new SilenceWatch({ silentLooks: 0, startingLooks: 5 }).look(), true);
});

test("what a process did lately is told apart: it computed, it waited for something, it was stopped, it is gone", async () => {
  const watch = new ActivityWatch();
  const [busy, idle] = [
    ["-e", "for (;;) {}"],
    ["-e", "setInterval(() => {}, 60000)"],
  ].map((parameters) => spawn(process.execPath, parameters));
  const recent = async (pid: number): Promise<ReturnType<ActivityWatch["recent"]>> => {
    watch.started();
    assert.equal(watch.recent(pid), null, "nothing to compare with yet");
    for (let sample = 0; sample < 3; sample += 1) {
      watch.sample(pid);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    return watch.recent(pid);
  };
  const [busyPid, idlePid] = [busy?.pid ?? 0, idle?.pid ?? 0];
  try {
    await new Promise((resolve) => setTimeout(resolve, 500));
    let computed = await recent(busyPid);
    // Beside real servers it may wait for a core for long, and the kernel counts that when the wait is over.
    const isWhole = (it: RecentActivity): boolean => it.computedMs + it.queuedMs > 0.9 * it.overMs;
    for (let looks = 0; looks < 100 && computed !== null && !isWhole(computed); looks += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      computed = watch.recent(busyPid);
    }
    const waited = await recent(idlePid);
    assert.ok(computed !== null && waited !== null);
    // Back to the second of three samples, and never to the first.
    assert.ok(computed.overMs >= 390, `${computed.overMs} ms`);
    assert.ok(isWhole(computed), describeActivity(computed));
    assert.ok(waited.computedMs < 0.5 * waited.overMs && waited.state === "S", describeActivity(waited));
    process.kill(idlePid, "SIGSTOP");
    const stopped = await recent(idlePid);
    assert.ok(stopped !== null && stopped.computedMs === 0);
    assert.match(describeActivity(stopped), /^in its last \d+ ms it computed for 0 ms and waited for a core for \d+ ms; it was stopped/);
  } finally {
    busy?.kill("SIGKILL");
    idle?.kill("SIGKILL");
  }
  await new Promise((resolve) => idle?.once("exit", resolve));
  assert.equal(watch.recent(idlePid), null);
});

test("a process that was killed is seen to end, once; one that is stopped, or that nobody cares for, is not", async () => {
  const started = [0, 1, 2].map(() => spawn(process.execPath, ["-e", "setInterval(() => {}, 60000)"], { stdio: "ignore" }));
  const pids = started.map((child) => child.pid ?? 0);
  const gone = Promise.all(started.map((child) => new Promise((resolve) => child.once("exit", resolve))));
  const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
  const watch = new EndingWatch();
  const seen: number[] = [];
  try {
    const forgets = pids.map((pid) => watch.watch(pid, () => seen.push(pid)));
    process.kill(pids[0] ?? 0, "SIGSTOP");
    watch.care();
    await pause(100);
    assert.deepEqual([...seen], [], "it only stopped");
    process.kill(pids[0] ?? 0, "SIGKILL");
    forgets[1]?.();
    process.kill(pids[1] ?? 0, "SIGKILL");
    for (let looks = 0; seen.length === 0; looks += 1) {
      assert.ok(looks < 500, "it is seen");
      // On a starved host it may be long since somebody cared.
      watch.care();
      await pause(10);
    }
    assert.deepEqual(seen, [pids[0]]);
    // Longer than anybody cares.
    await pause(1200);
    process.kill(pids[2] ?? 0, "SIGKILL");
    await pause(100);
    assert.deepEqual(seen, [pids[0]]);
    for (let looks = 0; seen.length === 1; looks += 1) {
      assert.ok(looks < 500, "it is seen as soon as somebody cares");
      watch.care();
      await pause(10);
    }
    assert.deepEqual(seen, [pids[0], pids[2]]);
  } finally {
    for (const child of started) child.kill("SIGKILL");
  }
  await gone;
  // What is gone already, or never was, is not watched.
  const late = watch.watch(pids[0] ?? 0, () => seen.push(0));
  watch.care();
  await pause(50);
  late();
  assert.equal(seen.length, 2);
});

describe("the event log of whoever takes the lead", () => {
  test("goes on after a line that was cut in half, and loses nothing that follows", () => {
    const path = join(folder, "cut.jsonl");
    new EventLog(path).add("info", "POWER", "first");
    appendFileSync(path, '{"id":2,"atMs":1,"sev');
    new EventLog(path).add("info", "OUTAGE", "second");
    assert.deepEqual(
      readEventFile(path).map(({ id, code }) => [id, code]),
      [
        [1, "POWER"],
        [2, "OUTAGE"],
      ],
    );
  });

  test("knows which messages of which I/O module of this run are in it", () => {
    const path = join(folder, "relayed.jsonl");
    const log = new EventLog(path);
    log.relay(EVENT, { incarnation: "io0#1", number: 9 });
    log.add("info", FIRST_EVENT, "another run");
    assert.deepEqual([...new EventLog(path).relayed()], []);
    for (const [incarnation, number] of [
      ["io0#1", 3],
      ["io1#1", 1],
      ["io0#1", 5],
      ["io0#2", 1],
    ] as const)
      log.relay(EVENT, { incarnation, number });
    assert.deepEqual(Object.fromEntries(new EventLog(path).relayed()), { "io0#1": 5, "io1#1": 1, "io0#2": 1 });
  });
});

test("an I/O module tells a new follower again what it told lately, with the same numbers, but at most a thousand messages", () => {
  const heard = (): { readonly peer: Peer; readonly numbers: number[] } => {
    const numbers: number[] = [];
    const decoder = new MessageDecoder((message) => {
      if (message.kind === "control") numbers.push((JSON.parse(message.text) as { number: number }).number);
    });
    const sendPieces = (pieces: readonly Uint8Array[]): void => pieces.forEach((piece) => decoder.push(piece));
    return { peer: { sendPieces } as unknown as Peer, numbers };
  };
  const feed = new ManagementFeed();
  const [first, second, late] = [heard(), heard(), heard()];
  feed.tell(EVENT);
  feed.follow(first.peer);
  feed.tell(EVENT);
  feed.leave(first.peer);
  assert.equal(feed.isFollowed, false);
  feed.tell(EVENT);
  feed.follow(second.peer);
  assert.deepEqual(
    [first.numbers, second.numbers],
    [
      [1, 2],
      [1, 2, 3],
    ],
  );
  for (let count = 0; count < 1500; count += 1) feed.tell(EVENT);
  feed.follow(late.peer);
  assert.deepEqual([late.numbers.length, late.numbers[0], late.numbers.at(-1)], [1000, 504, 1503]);
});

test("what I/O modules had counted is neither lost nor doubled by a takeover", () => {
  const status = (role: "active" | "standby", ticks: number): ServerStatus =>
    ({ role, configuration: 1, counters: { ...NO_COUNTERS, ticks } }) as ServerStatus;
  const former = new IoView("io0");
  former.reported("io0", status("active", 10));
  former.reported("io1", status("standby", 1));
  former.gone("io1");
  former.reported("io1", status("standby", 2));
  assert.equal(former.counters.ticks, 13);
  const view = new IoView("io0");
  view.adopt(former.record);
  assert.equal(view.counters.ticks, 13);
  assert.equal(view.status, null, "nobody has reported to this one");
  view.reported("io0", status("active", 20));
  assert.equal(view.counters.ticks, 23);
  view.gone("io1");
  view.gone("io1");
  assert.equal(view.counters.ticks, 23);
});

test("a stand-by counts as ready only while it answers", () => {
  const view = new StandbyView();
  assert.deepEqual(view.ready, []);
  view.heard("mgmt1");
  for (let turns = 0; turns < 10; turns += 1) view.turn();
  assert.deepEqual(view.ready, ["mgmt1"]);
  view.turn();
  assert.deepEqual(view.ready, []);
  view.heard("mgmt1");
  assert.deepEqual(view.ready, ["mgmt1"]);
  view.gone("mgmt1");
  assert.deepEqual(view.ready, []);
});

test("only one has the lock, and the next one when it is free", async () => {
  const first = await lockServer(folder);
  assert.ok(first !== null);
  assert.equal(await lockServer(folder), null);
  await new Promise((resolve) => first.close(resolve));
  const second = await lockServer(folder);
  assert.ok(second !== null);
  second.close();
});

test("all who ask for a comparison at the same time get one answer, and an error if nobody can give it", async () => {
  let asked = 0;
  let isThere = true;
  const requests = new VerifyRequests(() => {
    asked += 1;
    return isThere;
  });
  const both = Promise.all([requests.add(), requests.add()]);
  requests.answered(7, { cpu0: "a", cpu1: "a" });
  assert.deepEqual(
    (await both).map(({ seq, equal }) => [seq, equal]),
    [
      [7, true],
      [7, true],
    ],
  );
  assert.equal(asked, 1);
  isThere = false;
  await assert.rejects(requests.add(), /VERIFY_FAILED|could not be compared/);
});

test("the systemd unit is one that systemd accepts, whatever is in its words", (context) => {
  const text = makeUnit({
    server: "bank",
    node: process.execPath,
    program: "/opt/a place/steadfast",
    parameters: ['/etc/100% "sure"/$HOME.yaml', "--name", "bank"],
    environment: { STEADFAST_STATE: '/srv/50% "x"' },
  });
  assert.match(text, /^ExecStart=\S+ "\/opt\/a place\/steadfast" up "\/etc\/100%% \\"sure\\"\/\$\$HOME\.yaml" --name bank --attach$/m);
  assert.match(text, /^Environment="STEADFAST_STATE=\/srv\/50%% \\"x\\""$/m);
  const path = join(folder, unitName("bank"));
  // The program of the unit need not be there for the rest to be checked.
  writeFileSync(path, text.replaceAll(process.execPath, "/bin/true"));
  const verdict = spawnSync("systemd-analyze", ["verify", path], { encoding: "utf8" });
  if (verdict.error !== undefined) return context.skip("systemd-analyze is not installed");
  assert.equal(verdict.stderr.trim(), "");
  assert.equal(verdict.status, 0);
});
