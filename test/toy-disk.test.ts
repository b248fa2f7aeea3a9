/** The toy's use of a disk: what it says on its console is what the disk holds, over repeats, images and power cycles; lies are found. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "../dist/foundation/random.js";
import { utf8Decode } from "../dist/foundation/bytes.js";
import type { DiskRequest, MachineInput, MachineOutput } from "../dist/machine/machine.js";
import { toyBlock, toyGeneration } from "../dist/machine/toy-disk.js";
import { createToyMachine } from "../dist/machine/toy.js";

const BLOCKS = 5;
const powerOn: MachineInput = { kind: "powerOn", entropy: new Uint8Array(64).fill(4) };

function toy() {
  return createToyMachine({ ramBytes: 16 * 4096, commandLine: `timer=1 disk=${BLOCKS}`, epochNs: 0n, imageDigest: "" });
}

/** A disk of blocks; writes take place at once, answers come when they are asked for. */
class Disk {
  readonly blocks = Array.from({ length: BLOCKS }, () => new Uint8Array(4096));
  waiting: DiskRequest[] = [];

  take(outputs: readonly MachineOutput[]): string {
    let console = "";
    for (const output of outputs) {
      if (output.kind === "console") console += utf8Decode(output.bytes);
      if (output.kind === "disk") this.waiting.push(output);
    }
    return console;
  }

  answer(request: DiskRequest): MachineInput {
    const block = request.offset / 4096;
    if (request.operation === "write") this.blocks[block]!.set(request.bytes);
    const bytes = request.operation === "read" ? this.blocks[block]!.slice() : new Uint8Array(0);
    return { kind: "diskDone", id: request.id, isOk: true, bytes };
  }

  answerSome(random: SeededRandom): MachineInput[] {
    const chosen = this.waiting.filter(() => random.chance(0.4));
    this.waiting = this.waiting.filter((request) => !chosen.includes(request));
    return chosen.map((request) => this.answer(request));
  }
}

test("what was written is read again, with repeats, restored images and power cycles in between", () => {
  for (const seed of [1, 2, 3]) {
    const random = new SeededRandom(seed);
    const disk = new Disk();
    let machine = toy();
    let console = disk.take(machine.run({ nowNs: 0n, budget: 50_000, inputs: [powerOn] }).outputs);
    for (let tick = 1; tick < 1500; tick++) {
      let inputs = disk.answerSome(random);
      if (tick % 100 === 50) {
        // A new I/O module: it knows nothing of what waits, and is told everything again. Answers of the old one may still come.
        disk.waiting = [];
        inputs.push({ kind: "diskRepeat" }, { kind: "diskDone", id: 999_999, isOk: true, bytes: new Uint8Array(0) });
      }
      if (tick % 400 === 399) {
        disk.waiting = [];
        inputs = [powerOn];
      }
      if (tick % 130 === 70) {
        const restored = toy();
        for (const { page, bytes } of machine.capture().finish()) restored.restore({ page, bytes: bytes.slice() });
        machine = restored;
      }
      console += disk.take(machine.run({ nowNs: BigInt(tick) * 1_000_000n, budget: 50_000, inputs }).outputs);
    }
    assert.doesNotMatch(console, /WRONG|failed/);
    assert.match(console, /disk: block 4 generation 20 written\n/);
    assert.match(console, /disk: flushed\n/);
    for (let block = 0; block < BLOCKS; block++) {
      const said = [...console.matchAll(new RegExp(`block ${block} generation (\\d+) written`, "g"))].map((match) => Number(match[1]));
      const held = toyGeneration(block, disk.blocks[block]!)!;
      assert.ok(held >= said.at(-1)! && held <= said.at(-1)! + 1);
      assert.match(console, new RegExp(`block ${block} holds generation [1-9]`));
    }
  }
});

test("lost, garbled and misdirected writes and failures are said", () => {
  const disk = new Disk();
  const machine = toy();
  let console = disk.take(machine.run({ nowNs: 0n, budget: 50_000, inputs: [powerOn] }).outputs);
  for (let tick = 1; tick < 400; tick++) {
    const inputs: MachineInput[] = disk.waiting.map((request) =>
      tick === 150 ? { kind: "diskDone", id: request.id, isOk: false, bytes: new Uint8Array(0) } : disk.answer(request),
    );
    disk.waiting = [];
    if (tick >= 60) {
      disk.blocks[1]!.set(toyBlock(1, 1, 5)); // an old one, as if no write since had taken place
      disk.blocks[2]!.set(disk.blocks[3]!);
      disk.blocks[4]!.fill(9, 4000);
    }
    console += disk.take(machine.run({ nowNs: BigInt(tick) * 1_000_000n, budget: 50_000, inputs }).outputs);
  }
  assert.match(console, /block 1 is WRONG \(1 instead of \d+\)/);
  assert.match(console, /block 2 is WRONG \(garbled\)/);
  assert.match(console, /block 4 is WRONG \(garbled\)/);
  assert.match(console, /failed\n/);
});
