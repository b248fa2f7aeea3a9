/** Sequencer, voter and membership one by one; and the transport against bad peers. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import {
  LONG_QUANTUM_MICROS,
  MAX_QUEUED_FRAMES,
  MOST_BUDGET,
  MOST_TIME_STEP_NS,
  QUANTUM_MICROS,
  QUIET_TICKS,
  WINDOW_TICKS,
} from "../dist/lockstep/limits.js";
import { Membership } from "../dist/lockstep/membership.js";
import { PanicWatch } from "../dist/lockstep/panic-watch.js";
import { Sequencer } from "../dist/lockstep/sequencer.js";
import { outputsDigest } from "../dist/lockstep/outputs-digest.js";
import { Voter, quorum } from "../dist/lockstep/voter.js";
import { Watchdog } from "../dist/lockstep/watchdog.js";
import type { ServerContext } from "../dist/lockstep/context.js";
import { IDLE_FOREVER, type MachineOutput } from "../dist/machine/machine.js";
import { ReconnectPace, connectPeer, keepConnected, listenForPeers, type Peer } from "../dist/modules/transport.js";
import { encodeMessage } from "../dist/wire/codec.js";
import { PROTOCOL_VERSION, type ResultMessage, type TickMessage } from "../dist/wire/messages.js";

const OUTPUTS: readonly MachineOutput[] = [{ kind: "console", bytes: Uint8Array.of(1) }];

function tick(seq: number): TickMessage {
  return {
    kind: "tick",
    configuration: 1,
    seq,
    committed: 0,
    floor: 0,
    nowNs: 0n,
    budget: 1,
    fullDigest: false,
    checkpoint: false,
    inputs: [],
  };
}

function result(seq: number, overrides: Partial<ResultMessage> = {}): ResultMessage {
  return {
    kind: "result",
    configuration: 1,
    seq,
    instructionCount: BigInt(seq) * 100_000n,
    timeNs: BigInt(seq),
    idleUntilNs: null,
    digest: 7n,
    runMicros: 1000,
    hasOutputs: false,
    outputs: null,
    outputsDigest: overrides.hasOutputs === true ? outputsDigest(OUTPUTS) : 0n,
    stateDigest: null,
    ...overrides,
  };
}

test("guest time never leaps: after a long pause it catches up in steps", () => {
  const sequencer = new Sequencer(0);
  const wallNs = 3_600_000_000_000n;
  assert.equal(sequencer.next(1000n).nowNs, 1000n);
  assert.equal(sequencer.next(wallNs).nowNs, 1000n + MOST_TIME_STEP_NS);
  let ticks = 0;
  while (sequencer.next(wallNs).nowNs < wallNs) ticks += 1;
  assert.equal(ticks, Number(wallNs / MOST_TIME_STEP_NS) - 2);
});

test("a guest that only computes gets longer quanta, and ordinary ones as soon as it hears or says something", () => {
  const sequencer = new Sequencer(0);
  let seq = 0;
  const run = (overrides: Partial<ResultMessage> = {}): number => {
    seq += 1;
    const { budget } = sequencer.next(0n);
    sequencer.result("a", result(seq, overrides), 0n);
    return budget;
  };
  run();
  run();
  const ordinary = run();
  for (let quiet = 0; quiet < QUIET_TICKS; quiet += 1) run();
  const long = run();
  assert.equal(long / ordinary, LONG_QUANTUM_MICROS / QUANTUM_MICROS);
  sequencer.input({ kind: "frame", port: 0, bytes: new Uint8Array(60) });
  assert.equal(run(), ordinary);
  for (let quiet = 0; quiet <= QUIET_TICKS; quiet += 1) run();
  assert.equal(run({ hasOutputs: true }), long);
  assert.equal(run(), ordinary);
});

test("a kernel panic is told from its last words, however the console output is cut", () => {
  const bytes = new TextEncoder().encode("login: \r\n[ 7.1] Kernel panic - not syncing: sysrq triggered crash\r\nCall Trace:\r\n");
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const watch = new PanicWatch();
    watch.console(bytes.subarray(0, cut));
    watch.console(bytes.subarray(cut));
    assert.equal(watch.reason, "sysrq triggered crash", `cut at ${cut}`);
  }
  const byByte = new PanicWatch();
  for (const byte of bytes) byByte.console(Uint8Array.of(byte));
  assert.equal(byByte.reason, "sysrq triggered crash");
  byByte.console(bytes.map((byte) => byte ^ 1));
  assert.equal(byByte.reason, "sysrq triggered crash", "the first panic is the cause");
  byByte.poweredOn();
  assert.equal(byByte.reason, null);
  byByte.console(Uint8Array.from({ length: 20_000 }, (_, index) => (index * 31) & 255));
  assert.equal(byByte.reason, null, "garbage is no panic");
});

test("a quorum is all of one or two, a majority of more", () => {
  assert.deepEqual([1, 2, 3, 4, 5].map(quorum), [1, 2, 2, 3, 3]);
});

test("duplex: nothing is released before both agree, and nothing twice", () => {
  const voter = new Voter("compared", 0);
  voter.issue(tick(1), 0);
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  voter.result("a", result(1, { hasOutputs: true, outputs: OUTPUTS }), 0);
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  voter.result("b", result(1, { hasOutputs: true }), 0);
  const decision = voter.decide(["a", "b"], 0);
  assert.ok(decision.kind === "release" && decision.outputs === OUTPUTS);
  assert.equal(voter.decide(["a", "b"], 0).kind, "agreed");
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  assert.equal(voter.released, 1);
});

test("a payload that is missing is asked for once, and again when the one who was asked is gone", () => {
  const voter = new Voter("compared", 0);
  voter.issue(tick(1), 0);
  for (const name of ["a", "b"]) voter.result(name, result(1, { hasOutputs: true }), 0);
  assert.deepEqual(voter.decide(["a", "b"], 0), { kind: "ask", module: "a", seq: 1 });
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  voter.discardModule("a");
  assert.deepEqual(voter.decide(["b"], 0), { kind: "ask", module: "b", seq: 1 });
  voter.payload("b", 1, OUTPUTS);
  assert.equal(voter.decide(["b"], 0).kind, "release");
});

test("every part of a result is compared", () => {
  for (const difference of [
    { digest: 8n },
    { instructionCount: 1n },
    { timeNs: 99n },
    { idleUntilNs: 5n },
    { hasOutputs: true },
  ] satisfies Partial<ResultMessage>[]) {
    const voter = new Voter("compared", 0);
    voter.issue(tick(1), 0);
    voter.result("a", result(1), 0);
    voter.result("b", result(1, difference), 0);
    assert.deepEqual(voter.decide(["a", "b"], 0), { kind: "miscompare", seq: 1, wrong: [], tied: [["a"], ["b"]] });
  }
});

test("triplex: a majority releases, names the odd one, and late contradiction is noticed", () => {
  const voter = new Voter("compared", 0);
  for (const seq of [1, 2]) voter.issue(tick(seq), 0);
  voter.result("a", result(1, { digest: 1n }), 0);
  voter.result("b", result(1), 0);
  assert.equal(voter.decide(["a", "b", "c"], 0).kind, "wait");
  voter.result("c", result(1), 0);
  assert.deepEqual(voter.decide(["a", "b", "c"], 0), { kind: "miscompare", seq: 1, wrong: ["a"], tied: [] });
  assert.equal(voter.decide(["a", "b", "c"], 0).kind, "release");
  assert.equal(voter.decide(["a", "b", "c"], 0).kind, "agreed");
  for (const name of ["b", "c"]) assert.ok(voter.result(name, result(2), 0));
  assert.equal(voter.decide(["a", "b", "c"], 0).kind, "release");
  assert.equal(voter.result("a", result(2, { digest: 1n }), 0), false);
});

test("outputs that are not what was voted are not released, wherever they were damaged", () => {
  const voter = new Voter("compared", 0);
  voter.issue(tick(1), 0);
  voter.result("a", result(1, { hasOutputs: true, outputs: [{ kind: "console", bytes: Uint8Array.of(9) }] }), 0);
  voter.result("b", result(1, { hasOutputs: true }), 0);
  assert.deepEqual(voter.decide(["a", "b"], 0), { kind: "miscompare", seq: 1, wrong: ["a"], tied: [] });
  voter.discardModule("a");
  assert.deepEqual(voter.decide(["b"], 0), { kind: "ask", module: "b", seq: 1 });
  voter.payload("b", 1, OUTPUTS);
  assert.equal(voter.decide(["b"], 0).kind, "release");
});

test("logged: released on receipt by all and one result; compared afterwards all the same", () => {
  const voter = new Voter("logged", 0);
  voter.issue(tick(1), 0);
  voter.result("a", result(1, { hasOutputs: true, outputs: OUTPUTS }), 0);
  voter.receipt("a", 1);
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  voter.receipt("b", 1);
  assert.equal(voter.decide(["a", "b"], 0).kind, "release");
  assert.equal(voter.decide(["a", "b"], 0).kind, "wait");
  voter.result("b", result(1, { hasOutputs: true, digest: 1n }), 0);
  assert.equal(voter.decide(["a", "b"], 0).kind, "miscompare");
});

test("what is not settled is never forgotten", () => {
  const voter = new Voter("compared", 0);
  for (const seq of [1, 2, 3]) voter.issue(tick(seq), 0);
  voter.forget(3);
  assert.equal(voter.keptTicks, 3);
  voter.result("a", result(1), 0);
  while (voter.decide(["a"], 0).kind !== "wait");
  voter.forget(3);
  assert.equal(voter.keptTicks, 2);
});

test("a busy guest has a window of ticks in flight, an idle one none before its deadline or an input", () => {
  const sequencer = new Sequencer(0);
  sequencer.poke();
  assert.equal(sequencer.due(0, 0n).kind, "now");
  sequencer.next(0n);
  sequencer.result("a", result(1), 0n);
  let issued = 1;
  while (sequencer.due(1, 0n).kind === "now") {
    sequencer.next(0n);
    issued += 1;
  }
  assert.equal(issued - 1, WINDOW_TICKS);
  sequencer.result("a", result(issued, { idleUntilNs: 5000n }), 0n);
  assert.deepEqual(sequencer.due(issued, 10n), { kind: "atNs", ns: 5000n });
  assert.equal(sequencer.due(issued, 5000n).kind, "now");
  sequencer.input({ kind: "console", bytes: Uint8Array.of(1) });
  assert.equal(sequencer.due(issued, 10n).kind, "now");
});

test("time given out never goes back and never falls behind the guest's", () => {
  const sequencer = new Sequencer(0);
  assert.equal(sequencer.next(100n).nowNs, 100n);
  assert.equal(sequencer.next(50n).nowNs, 100n);
  sequencer.result("a", result(2, { timeNs: 700n, idleUntilNs: IDLE_FOREVER }), 60n);
  assert.equal(sequencer.next(60n).nowNs, 700n);
});

test("budgets follow the slowest module and stay within their limits", () => {
  const sequencer = new Sequencer(0);
  const first = sequencer.next(0n).budget;
  for (let seq = 1; seq < 300; seq += 1) {
    sequencer.result("a", result(seq, { instructionCount: BigInt(seq) * 300_000n }), 0n);
    sequencer.result("b", result(seq, { instructionCount: BigInt(seq) * 200_000n }), 0n);
  }
  const { budget } = sequencer.next(0n);
  assert.ok(first !== budget && Math.abs(budget - 200_000) < 2000, String(budget));
  sequencer.gentle = true;
  assert.ok(sequencer.next(0n).budget < budget);
  sequencer.gentle = false;
  for (let seq = 300; seq < 600; seq += 1) {
    for (const name of ["a", "b"]) sequencer.result(name, result(seq, { instructionCount: BigInt(seq) * 10n ** 9n }), 0n);
  }
  assert.equal(sequencer.next(0n).budget, MOST_BUDGET);
});

test("frames beyond the queue are dropped and counted; order is kept", () => {
  const sequencer = new Sequencer(0);
  for (let index = 0; index < MAX_QUEUED_FRAMES + 5; index += 1) {
    sequencer.input({ kind: "frame", port: 0, bytes: Uint8Array.of(index & 0xff, index >> 8) });
  }
  assert.equal(sequencer.droppedFrames, 5);
  const seen: number[] = [];
  for (let batch = sequencer.next(0n).inputs; batch.length > 0; batch = sequencer.next(0n).inputs) {
    for (const input of batch) if (input.kind === "frame") seen.push((input.bytes[0] as number) | ((input.bytes[1] as number) << 8));
  }
  assert.deepEqual(
    seen,
    Array.from({ length: MAX_QUEUED_FRAMES }, (_, index) => index),
  );
});

test("membership acts on nothing but what it saw win", () => {
  const membership = new Membership("io0", ["a", "b"]);
  membership.learn({ number: 4, cpus: ["a", "b"], activeIo: "io0", mirrors: [] });
  assert.deepEqual(membership.voters, []);
  membership.setRole(membership.row("a"), "joining");
  const claim = membership.propose(["a"]);
  assert.equal(claim?.number, 5);
  assert.equal(membership.propose(["a", "b"]), null, "one claim at a time");
  assert.equal(membership.conclude({ number: 5, cpus: ["b"], activeIo: "io0", mirrors: [] }), false);
  assert.ok(!membership.hasWon);
  assert.deepEqual(membership.voters, [], "another's configuration names nobody for us");
  assert.equal(membership.propose(["a"])?.number, 6);
  assert.equal(membership.conclude({ number: 6, cpus: ["a"], activeIo: "io0", mirrors: [] }), true);
  assert.ok(membership.hasWon);
  membership.setRole(membership.row("a"), "member");
  assert.deepEqual(membership.live, ["a"]);
  assert.equal(membership.propose(["a"]), null);
});

const SELF = { module: "io", name: "io0", incarnation: 1 } as const;
const OTHER = { module: "cpu", name: "cpu0", incarnation: 2 } as const;

async function withSocket(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-transport-"));
  try {
    await body(join(directory, "s.sock"));
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test("transport: hello both ways, messages in order, connected again after a loss", async () => {
  await withSocket(async (path) => {
    const got: number[] = [];
    const peers: Peer[] = [];
    const listener = await listenForPeers(path, OTHER, (peer) => {
      peers.push(peer);
      return { onMessage: (message) => message.kind === "receipt" && got.push(message.seq), onClose: () => undefined };
    });
    let connections = 0;
    const link = keepConnected(path, SELF, (peer) => {
      connections += 1;
      assert.equal(peer.hello.name, "cpu0");
      assert.equal(peer.hello.incarnation, 2);
      const first = connections;
      queueMicrotask(() => {
        for (let seq = 0; seq < 100; seq += 1) peer.send({ kind: "receipt", configuration: 3, seq: first * 1000 + seq });
      });
      return { onMessage: () => undefined, onClose: () => undefined };
    });
    while (got.length < 100) await new Promise((resolve) => setTimeout(resolve, 5));
    peers[0]?.close("a test");
    while (got.length < 200) await new Promise((resolve) => setTimeout(resolve, 5));
    assert.deepEqual(
      got,
      Array.from({ length: 200 }, (_, index) => (index < 100 ? 1000 + index : 1900 + index)),
    );
    link.close();
    listener.close();
  });
});

test("transport: one that stays away is tried less often, until it is said to come", () => {
  const pace = new ReconnectPace(1000);
  const often = pace.delayMs(1000);
  assert.equal(pace.delayMs(2500), often);
  const seldom = pace.delayMs(3500);
  assert.ok(seldom > 10 * often, `${often} ms, later ${seldom} ms`);
  pace.soon(3600);
  assert.equal(pace.delayMs(3600), often);
  assert.equal(pace.delayMs(6000), seldom);
});

test("transport: one that refuses is tried again until the link is closed, and no more", async () => {
  await withSocket(async (path) => {
    let attempts = 0;
    let onAttempt = (): void => undefined;
    const server = createServer((socket) => {
      attempts += 1;
      socket.destroy();
      onAttempt();
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    const link = keepConnected(path, SELF, () => assert.fail("nobody said hello"));
    await new Promise<void>((resolve) => {
      onAttempt = () => attempts >= 5 && resolve();
    });
    link.close();
    // What was on its way when it was closed has come by the time a connection made afterwards comes.
    await new Promise<void>((resolve) => {
      onAttempt = resolve;
      createConnection(path).resume();
    });
    const soFar = attempts;
    await new Promise((resolve) => setTimeout(resolve, 500));
    server.close();
    assert.equal(attempts, soFar, "closed");
  });
});

test("transport: garbage, no hello, another protocol version: closed, and the listener lives on", async () => {
  await withSocket(async (path) => {
    let accepted = 0;
    const closed: string[] = [];
    const listener = await listenForPeers(path, OTHER, () => {
      accepted += 1;
      return { onMessage: () => undefined, onClose: (why) => closed.push(why) };
    });
    const hello = { kind: "hello", protocolVersion: PROTOCOL_VERSION, module: "io", name: "x", incarnation: 1, pid: 1 } as const;
    const tries: Uint8Array[] = [
      Buffer.from("GET / HTTP/1.1\r\n\r\n"),
      encodeMessage({ kind: "receipt", configuration: 3, seq: 1 }),
      encodeMessage({ ...hello, protocolVersion: PROTOCOL_VERSION + 1 }),
      Buffer.concat([encodeMessage(hello), Buffer.from([1, 0, 0, 0, 99])]),
    ];
    for (const bytes of tries) {
      await new Promise<void>((resolve) => {
        const socket: Socket = createConnection(path, () => socket.write(bytes));
        socket.on("close", () => resolve());
        socket.resume();
      });
    }
    assert.equal(accepted, 1);
    assert.equal(closed.length, 1);
    listener.close();
  });
});

test("transport: a peer that refuses, and a socket that is not there, are told once", async () => {
  await withSocket(async (path) => {
    const why = await new Promise<string>((resolve) => connectPeer(path, SELF, () => null, resolve));
    assert.match(why, /ENOENT/);
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    const link = connectPeer(
      path,
      SELF,
      () => assert.fail("no hello, no peer"),
      () => undefined,
    );
    link.close();
    mute.close();
  });
});

/** A watchdog over two modules that have answered up to tick 1; ticks 1 and 2 are issued at 0 ms. */
function watched(): {
  watchdog: Watchdog;
  voter: Voter;
  shot: string[];
  at: (ms: number) => void;
  answered: (name: string, seq: number, ms: number) => void;
} {
  const rows = new Map(["a", "b"].map((name) => [name, { name, lastSeq: 1, answeredAt: 0, expected: true, role: "member" }]));
  const voter = new Voter("compared", 0);
  const shot: string[] = [];
  const context = {
    membership: { live: ["a", "b"], rows, row: (name: string) => rows.get(name) },
    voter,
    waitedMs: 0,
    options: { lagLimitMs: 250 },
    event: () => undefined,
    shoot: (row: { name: string }) => shot.push(row.name),
  };
  for (const seq of [1, 2]) voter.issue(tick(seq), 0);
  return {
    watchdog: new Watchdog(context as unknown as ServerContext),
    voter,
    shot,
    at: (ms) => (context.waitedMs = ms),
    answered: (name, seq, ms) => Object.assign(rows.get(name) ?? {}, { lastSeq: seq, answeredAt: ms }),
  };
}

test("a tick counts as overdue only from the module's own last answer on, however long that one took", () => {
  const { watchdog, voter, shot, at, answered } = watched();
  // a has answered both ticks at 10 ms; b needed 1000 ms for the first one.
  voter.result("a", result(2), 10);
  answered("a", 2, 10);
  answered("b", 1, 1000);
  at(1200);
  assert.equal(watchdog.watch(false), false);
  at(1251);
  assert.equal(watchdog.watch(false), true);
  assert.deepEqual(shot, ["b"]);
});

test("outputs that were asked for count as overdue, though every tick was answered", () => {
  const { watchdog, voter, shot, at, answered } = watched();
  for (const name of ["a", "b"]) {
    for (const seq of [1, 2]) voter.result(name, { ...result(seq), hasOutputs: true }, 10);
    answered(name, 2, 10);
  }
  assert.deepEqual(voter.decide(["a", "b"], 10), { kind: "ask", module: "a", seq: 1 });
  assert.ok(watchdog.isOutstanding);
  at(260);
  assert.equal(watchdog.watch(false), false);
  at(261);
  assert.equal(watchdog.watch(false), true);
  assert.deepEqual(shot, ["a"]);
});

test("a module that lags from before a takeover is measured by the ticks since", () => {
  const { watchdog, voter, shot, at, answered } = watched();
  for (const name of ["a", "b"]) for (const seq of [1, 2]) voter.result(name, result(seq), 10);
  while (voter.decide(["a", "b"], 10).kind !== "wait") continue;
  // As after a takeover: b has yet to answer tick 2, which took effect before and is not kept.
  voter.forget(2);
  voter.issue(tick(3), 20);
  voter.result("a", result(3), 30);
  answered("a", 3, 30);
  at(280);
  assert.equal(watchdog.watch(false), false);
  at(281);
  assert.equal(watchdog.watch(false), true);
  assert.deepEqual(shot, ["b"]);
});
