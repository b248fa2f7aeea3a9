/**
 * What any machine engine must show (DESIGN sections 3 and 8). An engine's tests call `machineConformance` with a way to make
 * fresh machines of one description; the guest in them must react to console input and frames, and have a timer.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../../dist/foundation/random.js";
import {
  IDLE_FOREVER,
  type ImagePiece,
  type Machine,
  type MachineInput,
  type MachineResult,
  type MachineTick,
} from "../../dist/machine/machine.js";

const STEP_NS = 1_000_000n;
const ENTROPY = Uint8Array.from({ length: 64 }, (_, index) => index * 3);

export interface ConformanceOptions {
  /** Ticks of the long runs. */
  readonly ticks?: number;
  readonly budget?: number;
  /** Ticks until the guest has booted and idles. */
  readonly bootTicks?: number;
  /** An input that makes the guest compute. */
  readonly work?: (index: number) => MachineInput;
}

interface Course {
  readonly ticks: readonly MachineTick[];
}

/** A course of ticks as a sequencer might issue: power-on, then bursts of input, silence, varying budgets. */
function course(options: Required<ConformanceOptions>, seed: number): Course {
  const random = new SeededRandom(seed);
  const ticks: MachineTick[] = [];
  for (let index = 0; index < options.ticks; index += 1) {
    const inputs: MachineInput[] = index === 0 ? [{ kind: "powerOn", entropy: ENTROPY }] : [];
    if (index > options.bootTicks) for (let count = random.below(3); count > 0; count -= 1) inputs.push(options.work(random.below(1000)));
    ticks.push({ nowNs: BigInt(index) * STEP_NS, budget: options.budget / 2 + random.below(options.budget), inputs });
  }
  return { ticks };
}

function same(left: MachineResult, right: MachineResult, what: string): void {
  assert.equal(left.instructionCount, right.instructionCount, `instruction count ${what}`);
  assert.equal(left.timeNs, right.timeNs, `time ${what}`);
  assert.equal(left.idleUntilNs, right.idleUntilNs, `idle deadline ${what}`);
  assert.deepEqual(left.outputs, right.outputs, `outputs ${what}`);
  assert.equal(left.digest, right.digest, `digest ${what}`);
}

/** A capture's pieces are views that the next run changes: a test keeps copies. */
function copy(piece: ImagePiece): ImagePiece {
  return { page: piece.page, bytes: piece.bytes.slice() };
}

export function machineConformance(name: string, create: () => Machine, given: ConformanceOptions = {}): void {
  const options: Required<ConformanceOptions> = {
    ticks: 300,
    budget: 50_000,
    bootTicks: 20,
    work: (index) => ({ kind: "console", bytes: Uint8Array.of(97 + (index % 26), 10) }),
    ...given,
  };

  test(`${name}: before power-on it idles for ever, whatever comes in, and time moves on`, () => {
    const machine = create();
    const result = machine.run({ nowNs: 5n, budget: 1000, inputs: [options.work(1), { kind: "powerButton" }] });
    assert.equal(result.idleUntilNs, IDLE_FOREVER);
    assert.equal(result.instructionCount, 0n);
    assert.equal(result.timeNs, 5n);
    assert.deepEqual(result.outputs, []);
  });

  test(`${name}: two machines given the same ticks are equal after each`, () => {
    const [left, right] = [create(), create()];
    let outputs = 0;
    for (const [index, tick] of course(options, 1).ticks.entries()) {
      const result = left.run(tick);
      same(result, right.run(tick), `at tick ${index}`);
      outputs += result.outputs.length;
    }
    assert.ok(outputs > 0, "the guest did something");
    assert.equal(left.fullDigest(), right.fullDigest());
  });

  test(`${name}: how the course is cut into budgets of the same total changes nothing that the guest computed`, () => {
    const machine = create();
    const result = machine.run({ nowNs: 0n, budget: 1000, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    assert.equal(result.idleUntilNs, null, "busy: the budget ran out");
    assert.equal(result.instructionCount, 1000n, "a budget is used exactly");
    const other = create();
    other.run({ nowNs: 0n, budget: 400, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    assert.equal(other.run({ nowNs: 0n, budget: 600, inputs: [] }).instructionCount, 1000n);
  });

  test(`${name}: time is the later of the tick's and its own, and never goes back`, () => {
    const machine = create();
    let last = 0n;
    for (const tick of course(options, 2).ticks.slice(0, 60)) {
      const result = machine.run({ ...tick, nowNs: tick.nowNs / 3n });
      assert.ok(result.timeNs >= last && result.timeNs >= tick.nowNs / 3n);
      last = result.timeNs;
    }
    assert.ok(machine.run({ nowNs: 0n, budget: 1000, inputs: [] }).timeNs >= last);
  });

  test(`${name}: an idle guest names a deadline in the future, does nothing before it and something at it`, () => {
    const machine = create();
    let result = machine.run({ nowNs: 0n, budget: options.budget, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    for (let tries = 0; result.idleUntilNs === null && tries < 10_000; tries += 1) {
      result = machine.run({ nowNs: result.timeNs, budget: options.budget, inputs: [] });
    }
    const deadline = result.idleUntilNs;
    assert.ok(deadline !== null && deadline !== IDLE_FOREVER && deadline > result.timeNs);
    const early = machine.run({ nowNs: deadline - 1n, budget: options.budget, inputs: [] });
    assert.equal(early.instructionCount, result.instructionCount);
    const due = machine.run({ nowNs: deadline, budget: options.budget, inputs: [] });
    assert.ok(due.instructionCount > result.instructionCount);
  });

  for (const seed of [1, 2, 3]) {
    test(`${name}: captured while running and restored, it goes on equal (seed ${seed})`, () => {
      const { ticks } = course(options, seed);
      const random = new SeededRandom(seed);
      const donor = create();
      const newcomer = create();
      const captureAt = options.bootTicks + random.below(options.ticks / 3);
      const finishAt = captureAt + 1 + random.below(options.ticks / 3);
      for (let index = 0; index < captureAt; index += 1) donor.run(ticks[index] as MachineTick);
      const capture = donor.capture();
      for (let index = captureAt; index < finishAt; index += 1) {
        for (const piece of capture.next(1 + random.below(400)).map(copy)) newcomer.restore(piece);
        donor.run(ticks[index] as MachineTick);
      }
      const rest = capture.finish();
      assert.equal(rest.at(-1)?.page, -1, "the state record is the last piece");
      assert.ok(rest.slice(0, -1).every((piece) => piece.page >= 0));
      for (const piece of rest) newcomer.restore(copy(piece));
      assert.equal(newcomer.fullDigest(), donor.fullDigest());
      for (let index = finishAt; index < ticks.length; index += 1) {
        const tick = ticks[index] as MachineTick;
        same(newcomer.run(tick), donor.run(tick), `at tick ${index} after the restore at ${finishAt}`);
      }
      assert.equal(newcomer.fullDigest(), donor.fullDigest());
    });
  }

  test(`${name}: a capture that is watched or given up leaves no trace`, () => {
    const { ticks } = course(options, 4);
    const [plain, watched] = [create(), create()];
    let capture = null as ReturnType<Machine["capture"]> | null;
    for (const [index, tick] of ticks.entries()) {
      same(plain.run(tick), watched.run(tick), `at tick ${index}`);
      if (index % 40 === 10) capture = watched.capture();
      if (index % 40 > 10 && index % 40 < 30) capture?.next(16);
      if (index % 40 === 30) capture?.abort();
    }
    assert.equal(plain.fullDigest(), watched.fullDigest());
  });

  test(`${name}: pages come once, and again only when they changed`, () => {
    const machine = create();
    machine.run({ nowNs: 0n, budget: options.budget, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    const capture = machine.capture();
    const seen = new Set<number>();
    while (capture.remainingPages > 0) {
      for (const piece of capture.next(1000)) {
        assert.ok(!seen.has(piece.page), `page ${piece.page} twice in a machine that stands still`);
        assert.ok(piece.bytes.length === 0 || piece.bytes.length === 4096);
        seen.add(piece.page);
      }
    }
    assert.equal(seen.size, capture.totalPages);
    assert.equal(capture.totalPages, machine.description.ramBytes / 4096);
    assert.equal(capture.finish().length, 1, "only the state record is left");
  });

  test(`${name}: any flipped bit of RAM shows in the full digest, and flipped back does not`, () => {
    const machine = create();
    machine.run({ nowNs: 0n, budget: options.budget, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    const before = machine.fullDigest();
    assert.match(before, /^[0-9a-f]{64}$/);
    const random = new SeededRandom(5);
    for (let count = 0; count < 10; count += 1) {
      const address = random.below(machine.description.ramBytes);
      const bit = random.below(8);
      machine.flipBit(address, bit);
      assert.notEqual(machine.fullDigest(), before, `address ${address} bit ${bit}`);
      machine.flipBit(address, bit);
      assert.equal(machine.fullDigest(), before);
    }
  });

  test(`${name}: checkpoints of equal machines are equal, whenever their pages were taken, and a restored one is the machine`, () => {
    const { ticks } = course(options, 4);
    const random = new SeededRandom(9);
    const [left, right, third, fourth] = [create(), create(), create(), create()];
    const [first, second] = [left.checkpointer(), right.checkpointer()];
    const image = new Map<number, ImagePiece>();
    const keep = (pieces: readonly ImagePiece[]): void => pieces.forEach((piece) => image.set(piece.page, copy(piece)));
    const markAt = options.bootTicks + 40;
    for (const [index, tick] of ticks.entries()) {
      same(left.run(tick), right.run(tick), `at tick ${index}`);
      if (index < markAt) keep(first.take(random.below(300)));
      if (index % 7 === 0) second.take(random.below(90));
      if (index % 20 === 0) assert.equal(first.findDamage(50), null);
      if (index !== markAt && index !== markAt + 30) continue;
      const [mine, other] = [first.mark(), second.mark()];
      assert.equal(mine.digest, other.digest, `checkpoint at tick ${index}`);
      assert.equal(first.remainingPages, 0);
      keep(mine.pieces);
    }
    const state = image.get(-1) as ImagePiece;
    const early = fourth.checkpointer();
    for (const piece of image.values()) {
      if (piece === state) continue;
      third.restore(piece);
      fourth.restore(piece);
      early.take(random.below(3));
    }
    third.restore(state);
    fourth.restore(state);
    const whole = create();
    const checked = third.checkpointer().mark();
    for (const tick of ticks.slice(0, markAt + 31)) whole.run(tick);
    assert.equal(third.fullDigest(), whole.fullDigest());
    const beside = whole.checkpointer();
    assert.equal(checked.digest, beside.mark().digest);
    assert.equal(early.mark().digest, checked.digest, "of a checkpointer that was there before the image came in");
    for (const [index, tick] of ticks.slice(markAt + 31).entries()) {
      const expected = whole.run(tick);
      same(third.run(tick), expected, `${index} ticks after the restore`);
      same(fourth.run(tick), expected, `${index} ticks after the restore with a checkpointer`);
    }
    assert.equal(early.findDamage(fourth.description.ramBytes / 4096), null);
    assert.equal(early.mark().digest, beside.mark().digest);
  });

  test(`${name}: a bit that flips by itself is found where nothing was written since, and leaves the digest of a checkpoint alone`, () => {
    const machine = create();
    machine.run({ nowNs: 0n, budget: options.budget, inputs: [{ kind: "powerOn", entropy: ENTROPY }] });
    const checkpointer = machine.checkpointer();
    const { digest } = checkpointer.mark();
    const pages = machine.description.ramBytes / 4096;
    assert.equal(checkpointer.findDamage(pages), null);
    const address = machine.description.ramBytes - 5;
    machine.flipBit(address, 3);
    assert.equal(checkpointer.findDamage(pages), pages - 1);
    assert.equal(checkpointer.mark().digest, digest, "what was written is what counts");
    machine.flipBit(address, 3);
    assert.equal(checkpointer.findDamage(pages), null);
    checkpointer.stop();
    machine.checkpointer().stop();
  });

  test(`${name}: power-on after a life of its own gives the same machine as power-on of a fresh one`, () => {
    const used = create();
    for (const tick of course(options, 6).ticks) used.run(tick);
    const fresh = create();
    const nowNs = 10n ** 12n;
    const inputs: MachineInput[] = [{ kind: "powerOn", entropy: ENTROPY }];
    for (let index = 0; index < options.bootTicks; index += 1) {
      const tick: MachineTick = { nowNs: nowNs + BigInt(index) * STEP_NS, budget: options.budget, inputs: index === 0 ? inputs : [] };
      const [left, right] = [used.run(tick), fresh.run(tick)];
      assert.deepEqual(left.outputs, right.outputs);
      assert.equal(left.instructionCount, right.instructionCount);
    }
    assert.equal(used.fullDigest(), fresh.fullDigest());
  });
}
