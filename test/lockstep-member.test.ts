/** The core of a CPU module alone: what it does with messages that reach it in an order that is rare. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CHECKPOINT_FINISH_PAGES, CHECKPOINT_PREPARE_LIMIT_MS, CHECKPOINT_PREPARE_MS } from "../dist/lockstep/limits.js";
import { MemberCheckpoints } from "../dist/lockstep/member-checkpoints.js";
import { Member, type MemberEffect } from "../dist/lockstep/member.js";
import { ToyMachine } from "../dist/machine/toy.js";
import { MemoryCheckpoints } from "../dist/simulator/memory-checkpoints.js";
import type { TickMessage } from "../dist/wire/messages.js";

function memberWith(effects: MemberEffect[]): Member {
  const machine = new ToyMachine({ ramBytes: 16 * 4096, commandLine: "timer=10", epochNs: 0n, imageDigest: "00" });
  const store = new MemoryCheckpoints().storeFor("cpu1-1");
  const member = new Member(
    machine,
    (effect) => effects.push(effect),
    () => 0,
    false,
    store,
  );
  member.step({ kind: "ioConnected", io: "io0" });
  return member;
}

const powerOn: TickMessage = {
  kind: "tick",
  configuration: 1,
  seq: 7,
  committed: 6,
  floor: 6,
  nowNs: 5n,
  budget: 1000,
  fullDigest: false,
  checkpoint: false,
  inputs: [{ kind: "powerOn", entropy: new Uint8Array(64) }],
};

test("a blank module begins with a power-on", () => {
  const member = memberWith([]);
  member.step({ kind: "ioMessage", io: "io0", message: powerOn });
  assert.equal(member.hasWork, true);
});

test("a blank module that is to get an image does not begin with a power-on that overtook it", () => {
  const effects: MemberEffect[] = [];
  const member = memberWith(effects);
  member.step({ kind: "ioMessage", io: "io0", message: { kind: "expectImage", clone: 3, keep: true } });
  assert.ok(effects.some((effect) => effect.kind === "toIo" && effect.message.kind === "imageExpected"));
  member.step({ kind: "ioMessage", io: "io0", message: powerOn });
  assert.equal(member.hasWork, false, "it would run on a blank machine, and refuse the image that belongs before it");
});

/** How many slices a module takes until it calls itself ready, on a host where each takes that long; and what is left then. */
function slicesUntilReady(sliceMs: number, remaining: (slices: number) => number): { slices: number; left: number } {
  let slices = 0;
  let isReady = false;
  const machine = new ToyMachine({ ramBytes: 16 * 4096, commandLine: "", epochNs: 0n, imageDigest: "00" });
  const checkpointer = {
    get remainingPages() {
      return remaining(slices);
    },
    take: () => [],
    mark: () => assert.fail("nothing is marked here"),
    findDamage: () => null,
    stop: () => undefined,
  };
  machine.checkpointer = () => checkpointer;
  const store = new MemoryCheckpoints().storeFor("cpu1-1");
  const checkpoints = new MemberCheckpoints(
    machine,
    store,
    () => slices * sliceMs * 1000,
    ({ kind }) => (isReady ||= kind === "checkpointPrepared"),
  );
  checkpoints.prepare(false, false);
  for (checkpoints.slice(false); !isReady; checkpoints.slice(false)) slices += 1;
  return { slices, left: remaining(slices) };
}

test("on a slow host a newcomer takes all of its pages before the mark, however long that lasts", () => {
  const { slices, left } = slicesUntilReady(100, (taken) => 5000 - 128 * taken);
  assert.ok(slices * 100 > CHECKPOINT_PREPARE_MS, "as long as it gets ahead it is not late");
  assert.ok(left <= CHECKPOINT_FINISH_PAGES);
});

test("a guest that writes faster than pages are taken does not put the mark off for ever", () => {
  const { slices, left } = slicesUntilReady(100, () => 5000);
  assert.equal(left, 5000);
  assert.ok(Math.abs(slices * 100 - CHECKPOINT_PREPARE_MS) <= 200);
  const slow = slicesUntilReady(100, (taken) => 500_000 - taken);
  assert.ok(Math.abs(slow.slices * 100 - CHECKPOINT_PREPARE_LIMIT_MS) <= 200);
});
