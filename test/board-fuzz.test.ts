/** A guest must never be able to make the board throw: random accesses to every device, and random machine code on the real core. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ACTIVE, H_X, RAM } from "../dist/machine/engines/rv64/layout.js";
import { createRv64Machine } from "../dist/machine/engines/rv64/index.js";
import type { MachineInput, MachineResult } from "../dist/machine/machine.js";
import { Sbi } from "../dist/machine/engines/rv64/sbi.js";
import { buildProgram, guestCore, powerOn, sourceFile } from "./support/board-guest.js";
import { randomSource, STUB_RAM_BYTES, stubBoard } from "./support/board-stub.js";

const REGIONS = [
  0x100000, 0x101000, 0x2000000, 0x2004000, 0xc000000, 0xc002000, 0xc200000, 0x10000000, 0x10001000, 0x10002000, 0x10003000, 0x10004000,
  0x10009000,
];
const SIZES = [1, 2, 4];

test("random register accesses never throw and stay 32 bits wide", () => {
  for (const seed of [1, 2, 3, 4]) {
    const random = randomSource(seed);
    const { board, memory, core } = stubBoard(1 + (seed % 4), seed === 4 ? 0 : 1 << 20, seed !== 3);
    const value = (): number => {
      const kind = random(5);
      if (kind === 0) return random(256);
      if (kind === 1) return (0x80000000 + random(STUB_RAM_BYTES)) | 0;
      if (kind === 2) return 1 << random(32);
      if (kind === 3) return [0, 1, 3, 11, 15, 16, 1024][random(7)]!;
      return random(0x7fffffff) * 2 + random(2);
    };
    for (let index = 0; index < 300_000; index++) {
      const near = REGIONS[random(REGIONS.length)]! + random(0x200);
      const address = random(10) === 0 ? value() : random(3) === 0 ? near : near & ~3;
      const size = SIZES[random(3)]!;
      if (random(2) === 0) {
        const read = board.mmioRead(address | 0, size);
        assert.equal(read, read | 0);
      } else {
        board.mmioWrite(address | 0, size, value() | 0);
      }
      if (random(50) === 0) memory.view.setUint32(RAM + random(STUB_RAM_BYTES - 4), value() >>> 0, true);
      if (random(100) === 0) board.network.receive(new Uint8Array(random(2000)));
      if (random(100) === 0) board.entropy.provide(new Uint8Array(random(100)));
      if (random(100) === 0) board.disk.answer(random(100), random(2) === 0, new Uint8Array(4096 * random(3)));
      if (random(100) === 0) board.agentPort.receive(new Uint8Array(random(40_000)));
      if (random(500) === 0) board.disk.repeat();
      if (random(500) === 0) board.disk.grow(random(1 << 22));
      if (random(200) === 0) board.console.receive(new Uint8Array(random(100)));
      if (random(300) === 0) {
        core.timeNs += BigInt(random(1000000));
        board.beginQuantum();
        board.rtc.deadlineNs();
        board.outputs.take();
      }
    }
  }
});

test("random SBI calls never throw", () => {
  const random = randomSource(77);
  const { board, memory } = stubBoard(4);
  board.running = true;
  const sbi = new Sbi(board);
  const extensions = [0, 1, 2, 3, 4, 5, 6, 7, 8, 0x10, 0x54494d45, 0x735049, 0x52464e43, 0x48534d, 0x53525354, 0x4442434e, 0x504d55];
  const interesting = [0n, 1n, 2n, 3n, 4n, 0xffffn, 0x80000000n, 0x80000fffn, -1n, 1n << 62n, -(1n << 63n)];
  for (let index = 0; index < 200_000; index++) {
    const set = (register: number, value: bigint): void => memory.view.setBigInt64(ACTIVE + H_X + 8 * register, value, true);
    for (let register = 10; register < 16; register++) set(register, interesting[random(interesting.length)]!);
    set(16, BigInt(random(10)));
    set(17, random(50) === 0 ? interesting[random(interesting.length)]! : BigInt(extensions[random(extensions.length)]!));
    sbi.call(random(4));
    if (random(20) === 0) board.outputs.take();
  }
});

/** The handler of board-fuzz.S followed by random bytes. */
function randomKernel(seed: number): Uint8Array {
  const { flat } = buildProgram(sourceFile("board-guest.ld"), [sourceFile("board-fuzz.S")]);
  const random = randomSource(seed);
  const kernel = new Uint8Array(flat.length + (1 << 18));
  kernel.set(flat);
  for (let at = flat.length; at < kernel.length; at++) kernel[at] = random(256);
  return kernel;
}

test("random machine code with random device addresses never leaves the machine, and machines agree on what it does", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const options = {
      core: guestCore(),
      kernel: randomKernel(seed * 7919),
      initrd: new Uint8Array(0),
      commandLine: "",
      ramBytes: 64 << 20,
      harts: 1 + (seed % 2),
      epochNs: 0n,
      imageDigest: "fuzz",
      diskBytes: seed % 3 === 0 ? 0 : 1 << 20,
      agentPort: seed % 2 === 0,
    };
    const machine = createRv64Machine(options);
    let other = createRv64Machine(options);
    const random = randomSource(seed);
    let nowNs = 0n;
    let off = true;
    for (let round = 0; round < 60; round++) {
      const inputs: MachineInput[] = off ? [powerOn] : [{ kind: "frame" as const, port: 0, bytes: new Uint8Array(60 + random(100)) }];
      if (!off) inputs.push({ kind: "agent", bytes: new Uint8Array(random(5000)) });
      const tick = { nowNs, budget: 20_000, inputs };
      const result: MachineResult = machine.run(tick);
      assert.deepEqual(other.run(tick), result, `seed ${seed} round ${round}`);
      nowNs = result.timeNs + 1000n;
      // Random code may switch the machine off: then it is switched on again.
      off = result.outputs.some(({ kind }) => kind === "reset" || kind === "powerOff");
      if (round % 20 === 10) other.capture().abort(); // write tracking must not show
      if (round % 20 === 15) {
        const restored = createRv64Machine(options);
        for (const piece of machine.capture().finish()) restored.restore(piece);
        other = restored;
      }
    }
    assert.equal(other.fullDigest(), machine.fullDigest(), `seed ${seed}`);
  }
});
