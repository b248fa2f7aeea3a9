/** The simple devices of the rv64 board over plain memory: UART, PLIC, CLINT, clock, finisher, SBI. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  ACTIVE,
  DRAM,
  H_MIP,
  H_MTIMECMP,
  H_PC,
  H_STARTED,
  H_STIMECMP,
  H_X,
  HART0,
  HART_SIZE,
  RAM,
} from "../dist/machine/engines/rv64/layout.js";
import { Sbi } from "../dist/machine/engines/rv64/sbi.js";
import { stubBoard } from "./support/board-stub.js";

const UART = 0x10000000;
const POWER_PORT = 0x10009000;
const PLIC = 0xc000000;
const CLINT = 0x2000000;
const RTC = 0x101000;
const FINISHER = 0x100000;

function enableInterrupts(board: ReturnType<typeof stubBoard>["board"], ...sources: number[]): void {
  for (const source of sources) board.mmioWrite(PLIC + 4 * source, 4, 1);
  board.mmioWrite(
    PLIC + 0x2080,
    4,
    sources.reduce((bits, source) => bits | (1 << source), 0),
  );
}
const claim = (board: ReturnType<typeof stubBoard>["board"]): number => board.mmioRead(PLIC + 0x201004, 4);
const complete = (board: ReturnType<typeof stubBoard>["board"], source: number): void => board.mmioWrite(PLIC + 0x201004, 4, source);

test("UART: bytes go out at once, come in by interrupt, and the line status tells", () => {
  const { board, core } = stubBoard();
  enableInterrupts(board, 10);
  for (const byte of Buffer.from("ok\n")) board.mmioWrite(UART, 1, byte);
  assert.deepEqual(board.outputs.take(), [{ kind: "console", bytes: new Uint8Array(Buffer.from("ok\n")) }]);
  assert.equal(board.mmioRead(UART + 5, 1), 0x60);
  board.console.receive(Uint8Array.of(65, 66));
  assert.equal(core.interrupted, false, "not enabled yet");
  board.mmioWrite(UART + 1, 1, 1);
  assert.equal(core.interrupted, true);
  assert.equal(claim(board), 10);
  assert.equal(core.interrupted, false);
  assert.equal(board.mmioRead(UART + 2, 1) & 15, 4);
  assert.equal(board.mmioRead(UART + 5, 1), 0x61);
  assert.equal(board.mmioRead(UART, 1), 65);
  complete(board, 10);
  assert.equal(core.interrupted, true, "the line is still high");
  assert.equal(claim(board), 10);
  assert.equal(board.mmioRead(UART, 1), 66);
  complete(board, 10);
  assert.equal(core.interrupted, false);
  assert.equal(board.mmioRead(UART + 2, 1) & 15, 1);
});

test("UART: the transmitter interrupt as Linux's driver uses it", () => {
  const { board, core } = stubBoard();
  enableInterrupts(board, 10);
  board.mmioWrite(UART + 1, 1, 2);
  assert.equal(core.interrupted, true, "switching it on raises it");
  assert.equal(board.mmioRead(UART + 2, 1) & 15, 2);
  assert.equal(core.interrupted, false, "reading the cause clears it");
  board.mmioWrite(UART, 1, 88);
  assert.equal(core.interrupted, true, "sent: empty again");
  board.mmioWrite(UART + 1, 1, 0);
  assert.equal(core.interrupted, false);
});

test("UART: divisor latch, scratch, loopback, FIFO reset, overrun", () => {
  const { board } = stubBoard();
  board.mmioWrite(UART + 3, 1, 0x83);
  board.mmioWrite(UART, 1, 2);
  board.mmioWrite(UART + 1, 1, 1);
  assert.deepEqual([board.mmioRead(UART, 1), board.mmioRead(UART + 1, 1)], [2, 1]);
  board.mmioWrite(UART + 3, 1, 3);
  assert.equal(board.mmioRead(UART + 1, 1), 0);
  board.mmioWrite(UART + 7, 1, 0x5a);
  assert.equal(board.mmioRead(UART + 7, 1), 0x5a);
  board.mmioWrite(UART + 4, 1, 0x1a);
  assert.equal(board.mmioRead(UART + 6, 1), 0x90);
  board.mmioWrite(UART, 1, 77);
  assert.equal(board.mmioRead(UART, 1), 77);
  board.mmioWrite(UART + 4, 1, 0);
  board.console.receive(new Uint8Array(5000).fill(1));
  assert.equal(board.mmioRead(UART + 5, 1) & 3, 3);
  assert.equal(board.mmioRead(UART + 5, 1) & 3, 1, "reading clears the overrun");
  board.mmioWrite(UART + 2, 1, 7);
  assert.equal(board.mmioRead(UART + 5, 1) & 1, 0);
  assert.equal(board.mmioRead(UART + 2, 1) >> 6, 3, "FIFOs are on");
});

test("the power button is a line on the second port", () => {
  const { board, core } = stubBoard();
  enableInterrupts(board, 12);
  board.mmioWrite(POWER_PORT + 1, 1, 1);
  board.pressPowerButton();
  assert.equal(claim(board), 12);
  let text = "";
  while ((board.mmioRead(POWER_PORT + 5, 1) & 1) !== 0) text += String.fromCharCode(board.mmioRead(POWER_PORT, 1));
  assert.equal(text, "poweroff\n");
  board.mmioWrite(POWER_PORT, 1, 65);
  assert.deepEqual(board.outputs.take(), []);
  assert.equal(core.faults, 0);
});

test("PLIC: priorities, thresholds, enables and contexts", () => {
  const { board, core } = stubBoard(2);
  enableInterrupts(board, 10, 11, 12);
  board.mmioWrite(PLIC + 4 * 12, 4, 5);
  for (const source of [10, 11, 12]) board.plic.setLevel(source, true);
  assert.equal(board.mmioRead(PLIC + 0x1000, 4), 0x1c00);
  assert.equal(claim(board), 12, "the highest priority");
  assert.equal(claim(board), 10, "then the lowest number");
  board.mmioWrite(PLIC + 0x201000, 4, 1);
  assert.equal(core.interrupted, false, "the threshold masks priority 1");
  board.mmioWrite(PLIC + 0x201000, 4, 0);
  assert.equal(core.interrupted, true);
  assert.equal(claim(board), 11);
  assert.equal(claim(board), 0);
  complete(board, 13); // not enabled: ignored
  board.plic.setLevel(12, false);
  complete(board, 12);
  assert.equal(core.interrupted, false);
  // The machine-mode context of hart 1.
  board.mmioWrite(PLIC + 0x2100, 4, 1 << 12);
  board.plic.setLevel(12, true);
  assert.equal(core.lines.get("1:11"), 1);
  assert.equal(board.mmioRead(PLIC + 0x202004, 4), 12);
  assert.equal(core.lines.get("1:11"), 0);
  board.mmioWrite(PLIC, 4, 7);
  assert.equal(board.mmioRead(PLIC, 4), 0, "source 0 does not exist");
  board.mmioRead(PLIC + 1, 1);
  assert.equal(core.faults, 1);
});

test("CLINT: software interrupts, compare values where the core keeps them, time", () => {
  const { board, core, memory } = stubBoard(2);
  board.mmioWrite(CLINT + 4, 4, 1);
  assert.equal(core.lines.get("1:3"), 1);
  assert.equal(board.mmioRead(CLINT + 4, 4), 1);
  board.mmioWrite(CLINT + 0x4008, 4, 0x11223344);
  board.mmioWrite(CLINT + 0x400c, 4, 0x55);
  assert.equal(memory.view.getBigUint64(HART0 + HART_SIZE + H_MTIMECMP, true), 0x55_1122_3344n);
  assert.equal(board.mmioRead(CLINT + 0x400c, 4), 0x55);
  board.running = true; // hart 0 runs: its record is at ACTIVE
  board.mmioWrite(CLINT + 0x4000, 4, 7);
  assert.equal(memory.view.getUint32(ACTIVE + H_MTIMECMP, true), 7);
  core.timeNs = 0x9_8765_4321n;
  assert.deepEqual([board.mmioRead(CLINT + 0xbff8, 4) >>> 0, board.mmioRead(CLINT + 0xbffc, 4)], [0x87654321, 9]);
});

test("clock: epoch and guest time, settable, with an alarm", () => {
  const { board, core } = stubBoard();
  enableInterrupts(board, 11);
  const read = (): bigint => BigInt(board.mmioRead(RTC, 4) >>> 0) | (BigInt(board.mmioRead(RTC + 4, 4) >>> 0) << 32n);
  const write = (register: number, value: bigint): void => {
    board.mmioWrite(RTC + register + 4, 4, Number(value >> 32n));
    board.mmioWrite(RTC + register, 4, Number(value & 0xffff_ffffn));
  };
  core.timeNs = 123n;
  assert.equal(read(), 1_000_000_000_123n);
  write(0, 5_000_000_000_000n);
  core.timeNs = 223n;
  assert.equal(read(), 5_000_000_000_100n);
  board.mmioWrite(RTC + 0x10, 4, 1);
  write(8, 5_000_000_000_500n);
  assert.equal(board.rtc.deadlineNs(), 623n);
  board.beginQuantum();
  assert.equal(core.interrupted, false);
  core.timeNs = 623n;
  board.beginQuantum();
  assert.equal(core.interrupted, true);
  board.mmioWrite(RTC + 0x1c, 4, 0);
  assert.equal(claim(board), 0, "cleared before it was claimed");
  assert.equal(board.rtc.deadlineNs(), 0x7fff_ffff_ffff_ffffn);
});

test("finisher: pass, failure with its code, reset; once only", () => {
  for (const [value, end] of [
    [0x5555, { kind: "powerOff", failure: false, code: 0 }],
    [0x73333, { kind: "powerOff", failure: true, code: 7 }],
    [0x7777, { kind: "reset", failure: false, code: 0 }],
  ] as const) {
    const { board, core } = stubBoard();
    board.mmioWrite(FINISHER, 4, 1);
    assert.equal(board.end, null);
    board.mmioWrite(FINISHER, 4, value);
    board.mmioWrite(FINISHER, 4, 0x7777);
    assert.deepEqual(board.end, end);
    assert.equal(core.stops, 1);
    assert.deepEqual(board.outputs.take(), [{ kind: end.kind, failure: end.failure }]);
  }
});

test("addresses without a device fault", () => {
  const { board, core } = stubBoard();
  const nowhere = [0, 0x80000, 0x102000, 0x10000100, 0x10002000, 0x10004000, 0x1000a000, 0xc600000, 0x2010000, 0x7fffffff, 0xfffffffc | 0];
  for (const address of nowhere) {
    assert.equal(board.mmioRead(address, 4), 0);
    board.mmioWrite(address, 4, 1);
  }
  assert.equal(core.faults, 2 * nowhere.length);
});

function sbiFixture(harts = 1) {
  const fixture = stubBoard(harts);
  fixture.board.running = true;
  const sbi = new Sbi(fixture.board);
  const register = (index: number): bigint => fixture.memory.view.getBigInt64(ACTIVE + H_X + 8 * index, true);
  const call = (extension: number, called: number, ...values: bigint[]): [bigint, bigint] => {
    const set = (index: number, value: bigint): void => fixture.memory.view.setBigInt64(ACTIVE + H_X + 8 * index, value, true);
    for (let index = 0; index < 6; index++) set(10 + index, values[index] ?? 0n);
    set(16, BigInt(called));
    set(17, BigInt(extension));
    sbi.call(0);
    return [register(10), register(11)];
  };
  return { ...fixture, call };
}

test("SBI: base, extensions, timer, reset", () => {
  const { call, memory, board } = sbiFixture();
  assert.deepEqual(call(0x10, 0), [0n, 0x0200_0000n]);
  assert.deepEqual(call(0x10, 3, 0x54494d45n), [0n, 1n]);
  assert.deepEqual(call(0x10, 3, 0x504d55n), [0n, 0n], "no performance counters");
  assert.deepEqual(call(0x10, 9), [-2n, 0n]);
  assert.deepEqual(call(0x123456, 0), [-2n, 0n]);
  call(0x54494d45, 0, 777n);
  assert.equal(memory.view.getBigUint64(ACTIVE + H_STIMECMP, true), 777n);
  assert.deepEqual(call(0x53525354, 0, 9n), [-3n, 0n]);
  call(0x53525354, 0, 1n, 1n);
  assert.deepEqual(board.end, { kind: "reset", failure: true, code: 0 });
});

test("SBI: console by bytes and from memory, bounded by RAM and by call", () => {
  const { call, memory, board } = sbiFixture();
  memory.bytes.set(Buffer.from("hello"), RAM + 100);
  assert.deepEqual(call(0x4442434e, 0, 5n, BigInt(DRAM + 100)), [0n, 5n]);
  assert.deepEqual(call(0x4442434e, 2, 33n), [0n, 0n]);
  call(1, 0, 46n);
  assert.equal(Buffer.from((board.outputs.take()[0] as { bytes: Uint8Array }).bytes).toString(), "hello!.");
  assert.deepEqual(call(0x4442434e, 0, 1n << 40n, BigInt(DRAM)), [0n, 4096n]);
  assert.deepEqual(call(0x4442434e, 0, 5n, 0x1000n), [-3n, 0n]);
  assert.deepEqual(call(0x4442434e, 0, 5n, BigInt(DRAM + (1 << 20) - 4)), [-3n, 0n]);
  assert.deepEqual(call(0x4442434e, 0, 5n, BigInt(DRAM), 1n), [-3n, 0n]);
  board.console.receive(Buffer.from("in"));
  assert.deepEqual(call(0x4442434e, 1, 10n, BigInt(DRAM + 200)), [0n, 2n]);
  assert.equal(Buffer.from(memory.bytes.slice(RAM + 200, RAM + 202)).toString(), "in");
  assert.equal(call(2, 0)[0], -1n, "the legacy call finds nothing more");
});

test("SBI: harts start, stop and get interrupts", () => {
  const { call, memory } = sbiFixture(2);
  assert.deepEqual(call(0x48534d, 2, 1n), [0n, 1n]);
  assert.deepEqual(call(0x48534d, 0, 1n, 0x1000n, 5n), [-5n, 0n]);
  assert.deepEqual(call(0x48534d, 0, 1n, BigInt(DRAM + 64), 5n), [0n, 0n]);
  const record = HART0 + HART_SIZE;
  assert.equal(memory.view.getBigUint64(record + H_PC, true), BigInt(DRAM + 64));
  assert.deepEqual(
    [10, 11].map((index) => memory.view.getBigUint64(record + H_X + 8 * index, true)),
    [1n, 5n],
  );
  assert.deepEqual(call(0x48534d, 0, 1n, BigInt(DRAM), 5n), [-6n, 0n]);
  assert.deepEqual(call(0x48534d, 2, 1n), [0n, 0n]);
  assert.deepEqual(call(0x48534d, 2, 7n), [-3n, 0n]);
  assert.deepEqual(call(0x735049, 0, 2n, 0n), [0n, 0n]);
  assert.equal(memory.view.getBigUint64(record + H_MIP, true), 2n);
  assert.deepEqual(call(0x735049, 0, 4n, 0n), [-3n, 0n]);
  assert.deepEqual(call(0x735049, 0, -1n, -1n), [0n, 0n]);
  assert.deepEqual(call(0x52464e43, 1, 3n, 0n, 0n, 4096n), [0n, 0n]);
  assert.deepEqual(call(0x52464e43, 1, 1n, 5n), [-3n, 0n]);
  call(0x48534d, 1);
  assert.equal(memory.view.getBigUint64(ACTIVE + H_STARTED, true), 0n);
});
