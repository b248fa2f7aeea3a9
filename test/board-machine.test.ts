/** The rv64 machine with a small real guest: boot, network, console, entropy, power, determinism, images. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { IDLE_FOREVER } from "../dist/machine/machine.js";
import type { Machine, MachineInput, MachineOutput } from "../dist/machine/machine.js";
import { consoleText, createGuest, Driver, frame, guestKernel, powerOn, typed } from "./support/board-guest.js";

const frames = (outputs: readonly MachineOutput[]): Uint8Array[] =>
  outputs.flatMap((output) => (output.kind === "frame" ? [output.bytes] : []));

function boot(machine: Machine = createGuest()): Driver {
  const driver = new Driver(machine);
  assert.match(consoleText(driver.tick([powerOn]).outputs), /^guest up, tree 0000000083ff0000\n$/);
  return driver;
}

test("a machine stands still until power-on, and time only goes forward", () => {
  const machine = createGuest();
  const before = machine.run({ nowNs: 500n, budget: 1000, inputs: [typed("x"), frame(1)] });
  assert.equal(before.idleUntilNs, IDLE_FOREVER);
  assert.equal(before.instructionCount, 0n);
  assert.equal(before.timeNs, 500n);
  assert.equal(machine.run({ nowNs: 100n, budget: 1000, inputs: [] }).timeNs, 500n);
  const on = machine.run({ nowNs: 600n, budget: 1000, inputs: [powerOn] });
  assert.equal(on.idleUntilNs, null, "the budget ends while the guest boots");
  assert.equal(on.instructionCount, 1000n);
  assert.equal(on.timeNs, 1600n);
});

test("an idle guest names its next timer and wakes exactly then", () => {
  const driver = boot();
  const idle = driver.tick();
  assert.notEqual(idle.idleUntilNs, null);
  assert.notEqual(idle.idleUntilNs, IDLE_FOREVER);
  const early = driver.machine.run({ nowNs: idle.idleUntilNs! - 1n, budget: 100_000, inputs: [] });
  assert.equal(early.instructionCount, idle.instructionCount);
  assert.equal(early.idleUntilNs, idle.idleUntilNs);
  const due = driver.machine.run({ nowNs: idle.idleUntilNs!, budget: 100_000, inputs: [] });
  assert.ok(due.instructionCount > idle.instructionCount);
});

test("frames come back with swapped addresses, in order, whatever their length", () => {
  const driver = boot();
  const lengths = [14, 60, 61, 1514, 1999];
  const inputs = lengths.map((length, index) => frame(index, length));
  const outputs = frames(driver.tick(inputs).outputs);
  assert.deepEqual(
    outputs.map((bytes) => bytes.length),
    lengths,
  );
  for (const [index, bytes] of outputs.entries()) {
    const sent = (inputs[index] as { bytes: Uint8Array }).bytes;
    assert.deepEqual(bytes.subarray(0, 6), sent.subarray(6, 12));
    assert.deepEqual(bytes.subarray(6, 12), sent.subarray(0, 6));
    if (bytes.length > 16) assert.deepEqual(bytes.subarray(16), sent.subarray(16));
  }
});

test("more frames than receive buffers: the rest waits, nothing is lost within the backlog", () => {
  const driver = boot();
  const many = Array.from({ length: 150 }, (_, index) => frame(index, 100));
  const first = frames(driver.tick(many, 1000).outputs).length;
  let total = first;
  for (let round = 0; round < 50 && total < 150; round++) total += frames(driver.tick().outputs).length;
  assert.equal(total, 150);
});

test("frames of impossible length are dropped, and a burst beyond the backlog does no harm", () => {
  const driver = boot();
  assert.deepEqual(frames(driver.tick([frame(1, 13), frame(2, 9217), frame(3, 0)]).outputs), []);
  driver.tick(
    Array.from({ length: 400 }, (_, index) => frame(index, 1500)),
    1,
  );
  let total = 0;
  for (let round = 0; round < 100; round++) total += frames(driver.tick().outputs).length;
  assert.ok(total > 64 && total < 400, `${total} frames`);
  assert.equal(frames(driver.tick([frame(9, 70)]).outputs).length, 1);
});

test("console input arrives by interrupt and output is one item a quantum", () => {
  const driver = boot();
  const { outputs } = driver.tick([typed("hello "), typed("world")]);
  assert.equal(consoleText(outputs), "HELLO WORLD");
  assert.equal(outputs.length, 1);
});

test("entropy is asked for as an output and answered as an input", () => {
  const driver = boot();
  const { outputs } = driver.tick([typed("E")]);
  assert.deepEqual(outputs, [{ kind: "entropyRequest", lengthBytes: 64 }]);
  const answered = driver.tick([{ kind: "entropy", bytes: Uint8Array.from({ length: 64 }, (_, index) => 0xa0 + index) }]);
  assert.equal(consoleText(answered.outputs), "a0a1a2a3a4a5a6a7\n");
  assert.deepEqual(driver.tick([{ kind: "entropy", bytes: new Uint8Array(64) }]).outputs, [], "an answer without a request is nothing");
});

test("power off, failure and reset are outputs; afterwards only power-on helps", () => {
  for (const [command, expected] of [
    ["P", { kind: "powerOff", failure: false }],
    ["F", { kind: "powerOff", failure: true }],
    ["R", { kind: "reset", failure: false }],
  ] as const) {
    const driver = boot();
    driver.tick([typed("B")]);
    const ended = driver.tick([typed(command)]);
    assert.deepEqual(ended.outputs, [expected]);
    assert.equal(ended.idleUntilNs, IDLE_FOREVER);
    const after = driver.tick([typed("x"), frame(1)]);
    assert.deepEqual(after.outputs, []);
    assert.equal(after.instructionCount, ended.instructionCount);
    const again = driver.tick([powerOn]);
    assert.match(consoleText(again.outputs), /guest up/);
    assert.ok(again.timeNs > ended.timeNs, "guest time goes on");
  }
});

test("a power cycle leaves nothing of the life before", () => {
  const used = boot();
  used.tick([typed("B")]);
  for (let index = 0; index < 20; index++) used.tick([frame(index)]);
  const fresh = new Driver(createGuest());
  fresh.machine.run({ nowNs: used.nowNs, budget: 1, inputs: [] });
  fresh.nowNs = used.nowNs;
  used.tick([powerOn]);
  fresh.tick([powerOn]);
  assert.equal(used.machine.fullDigest(), fresh.machine.fullDigest());
});

test("a power-on with another image makes the machine that was made with that image", () => {
  const initrd = new Uint8Array(9000).fill(5);
  const image = "ab".repeat(32);
  const asked: string[] = [];
  const bootFilesOf = (wanted: string) => {
    asked.push(wanted);
    return { kernel: guestKernel(), initrd };
  };
  const [changed, fresh] = [new Driver(createGuest({ bootFilesOf })), new Driver(createGuest({ initrd }))];
  for (const driver of [changed, fresh]) driver.nowNs = 1000n;
  const [on, off] = [changed.tick([{ ...powerOn, image } as MachineInput]), fresh.tick([powerOn])];
  assert.deepEqual(on.outputs, off.outputs);
  assert.equal(changed.machine.fullDigest(), fresh.machine.fullDigest());
  assert.deepEqual(asked, [image]);
  assert.notEqual(changed.machine.fullDigest(), boot().machine.fullDigest());
});

test("machines whose guests have different MAC addresses are not equal", () => {
  assert.notEqual(createGuest({ macAddress: "52:54:00:77:00:03" }).fullDigest(), createGuest().fullDigest());
  assert.equal(createGuest({ macAddress: "52:54:00:77:00:02" }).fullDigest(), createGuest().fullDigest());
});

test("machines with different disks are not equal; a disk that grows stays so over a power cycle", () => {
  const [none, small, large] = [createGuest(), createGuest({ diskBytes: 1 << 20 }), createGuest({ diskBytes: 2 << 20 })];
  assert.equal(createGuest({ diskBytes: 0 }).fullDigest(), none.fullDigest());
  assert.equal(new Set([none, small, large].map((machine) => machine.fullDigest())).size, 3);
  const grow: MachineInput = { kind: "diskSize", bytes: 2 << 20 };
  const [grown, before] = [new Driver(small), new Driver(large)];
  for (const driver of [grown, before]) driver.tick(driver === grown ? [grow] : []);
  assert.notEqual(small.fullDigest(), large.fullDigest(), "a driver could tell that it has grown");
  for (const driver of [grown, before]) driver.tick([powerOn]);
  assert.equal(small.fullDigest(), large.fullDigest());
  const restored = createGuest();
  for (const piece of small.capture().finish()) restored.restore(piece);
  const again = new Driver(restored);
  again.nowNs = grown.nowNs;
  assert.deepEqual(again.tick([powerOn]), grown.tick([powerOn]), "a restored machine has the disk of its image, and keeps it");
  assert.equal(restored.fullDigest(), small.fullDigest());
});

/** A history with everything in it; the same for every machine that is given the same numbers. */
function history(round: number): { inputs: MachineInput[]; budget: number } {
  const inputs: MachineInput[] = [];
  if (round === 0) inputs.push(powerOn);
  if (round % 3 === 1) inputs.push(frame(round, 60 + ((round * 37) % 1400)));
  if (round % 7 === 2) inputs.push(frame(round), frame(round + 1, 1514), frame(round + 2, 200));
  if (round % 11 === 3) inputs.push(typed("abc"));
  if (round % 50 === 10) inputs.push(typed("B"));
  if (round % 23 === 4) inputs.push(typed("E"));
  if (round % 23 === 6) inputs.push({ kind: "entropy", bytes: new Uint8Array(64).fill(round) });
  return { inputs, budget: 20_000 + ((round * 7919) % 90_000) };
}

function play(driver: Driver, from: number, to: number): void {
  for (let round = from; round < to; round++) {
    const { inputs, budget } = history(round);
    driver.tick(inputs, budget);
  }
}

test("two machines given the same ticks agree after every tick, whatever their quanta looked like before", () => {
  const first = new Driver(createGuest());
  const second = new Driver(createGuest());
  play(first, 0, 300);
  play(second, 0, 300);
  assert.deepEqual(second.results, first.results);
  assert.equal(second.machine.fullDigest(), first.machine.fullDigest());
});

test("a capture taken while the guest runs restores to an equal machine that goes on equally", () => {
  const donor = new Driver(createGuest());
  play(donor, 0, 100);
  const newcomer = createGuest();
  const capture = donor.machine.capture();
  assert.equal(capture.remainingPages, capture.totalPages);
  let round = 100;
  while (capture.remainingPages > 300 && round < 200) {
    for (const piece of capture.next(700)) newcomer.restore({ page: piece.page, bytes: piece.bytes.slice() });
    play(donor, round, round + 1);
    round++;
  }
  assert.ok(capture.remainingPages <= 300);
  const rest = capture.finish();
  assert.ok(rest.length <= 301);
  assert.equal(rest.at(-1)!.page, -1);
  for (const piece of rest) newcomer.restore({ page: piece.page, bytes: piece.bytes.slice() });
  assert.equal(newcomer.fullDigest(), donor.machine.fullDigest());
  const copy = new Driver(newcomer);
  copy.nowNs = donor.nowNs;
  play(donor, round, round + 100);
  play(copy, round, round + 100);
  assert.deepEqual(copy.results, donor.results.slice(-100));
  assert.equal(newcomer.fullDigest(), donor.machine.fullDigest());
});

test("a captured machine runs on exactly as one that never was captured", () => {
  const plain = new Driver(createGuest());
  const captured = new Driver(createGuest());
  play(plain, 0, 150);
  play(captured, 0, 50);
  const capture = captured.machine.capture();
  for (let round = 50; round < 100; round++) {
    capture.next(500);
    play(captured, round, round + 1);
  }
  capture.abort();
  captured.machine.capture().abort();
  play(captured, 100, 150);
  assert.deepEqual(captured.results, plain.results);
});

test("a power cycle in the middle of a capture still gives an exact image", () => {
  const donor = new Driver(createGuest());
  play(donor, 0, 60);
  const newcomer = createGuest();
  const capture = donor.machine.capture();
  const send = (pieces: readonly { page: number; bytes: Uint8Array }[]): void => {
    for (const piece of pieces) newcomer.restore({ page: piece.page, bytes: piece.bytes.slice() });
  };
  send(capture.next(10_000));
  donor.tick([powerOn]);
  send(capture.next(1000));
  donor.tick([frame(1)]);
  send(capture.finish());
  assert.equal(newcomer.fullDigest(), donor.machine.fullDigest());
});

test("a flipped bit changes the full digest at once and the digest of a quantum in time", () => {
  const good = boot();
  const bad = boot();
  good.tick([typed("B")]);
  bad.tick([typed("B")]);
  bad.machine.flipBit(0x123456, 3);
  assert.notEqual(bad.machine.fullDigest(), good.machine.fullDigest());
  let found = false;
  for (let index = 0; index < 20 && !found; index++) found = good.tick([], 1_000_000).digest !== bad.tick([], 1_000_000).digest;
  assert.ok(found);
});

test("images of another machine, cut or garbled ones are refused", () => {
  const donor = boot();
  const pieces = donor.machine.capture().finish();
  const state = pieces.at(-1)!.bytes;
  const refused = (machine: Machine, page: number, bytes: Uint8Array): void => {
    assert.throws(() => machine.restore({ page, bytes }), { code: "IMAGE_REFUSED" });
  };
  refused(createGuest({ imageDigest: "other" }), -1, state);
  refused(createGuest({ ramBytes: 65 << 20 }), -1, state);
  refused(createGuest(), 0, new Uint8Array(100));
  refused(createGuest(), 1 << 20, new Uint8Array(4096));
  refused(createGuest(), 0.5, new Uint8Array(4096));
  const target = createGuest();
  for (const length of [0, 3, 8, 40, 300, state.length - 1]) refused(target, -1, state.subarray(0, length));
  for (let index = 0; index < 120; index++) {
    const garbled = state.slice();
    garbled[index % 60]! ^= 1 << (index % 8);
    refused(target, -1, garbled);
  }
});

test("memory and kernel that make no machine are refused with a sentence", () => {
  assert.throws(() => createGuest({ ramBytes: 32 << 20 }), { code: "GUEST_MEMORY" });
  assert.throws(() => createGuest({ ramBytes: 4096 << 20 }), { code: "GUEST_MEMORY" });
  assert.throws(() => createGuest({ ramBytes: (64 << 20) + 1 }), { code: "GUEST_MEMORY" });
});
