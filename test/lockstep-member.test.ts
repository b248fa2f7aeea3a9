/** The core of a CPU module alone: what it does with messages that reach it in an order that is rare. */
import assert from "node:assert/strict";
import { test } from "node:test";
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
  member.step({ kind: "ioMessage", io: "io0", message: { kind: "expectImage", clone: 3 } });
  assert.ok(effects.some((effect) => effect.kind === "toIo" && effect.message.kind === "imageExpected"));
  member.step({ kind: "ioMessage", io: "io0", message: powerOn });
  assert.equal(member.hasWork, false, "it would run on a blank machine, and refuse the image that belongs before it");
});
