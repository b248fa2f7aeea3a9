/** The virtual port of the guest's agent over plain memory: what the driver is told, bytes both ways, bounds, and nonsense. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { AGENT_PORT_NAME } from "../dist/machine/engines/rv64/virtio-console.js";
import { AGENT_BACKLOG_BYTES } from "../dist/machine/engines/rv64/device-layout.js";
import { DRAM, RAM } from "../dist/machine/engines/rv64/layout.js";
import { OUTPUT_LIMIT_BYTES } from "../dist/machine/engines/rv64/outputs.js";
import { MAX_AGENT_BYTES, type MachineOutput } from "../dist/machine/machine.js";
import { AGENT, stubBoard, StubDriver } from "./support/board-stub.js";

const MULTIPORT = 2;
const STATUS_NEEDS_RESET = 64;
const WRITE = 2;
const [RECEIVE, TRANSMIT, CONTROL_RECEIVE, CONTROL_TRANSMIT] = [0, 1, 2, 3];
const BUFFERS = 0x40000;
const BUFFER_BYTES = 4096;
const [DEVICE_READY, PORT_ADD, PORT_READY, PORT_OPEN, PORT_NAME] = [0, 1, 3, 6, 7];

/** A driver as Linux's: all queues set up, buffers offered where it receives. */
class PortDriver {
  readonly fixture = stubBoard(1, 0, true);
  readonly queues: StubDriver[];

  constructor() {
    const { board, memory } = this.fixture;
    StubDriver.start(board, AGENT, MULTIPORT);
    this.queues = [0, 1, 2, 3].map((queue) => new StubDriver(board, memory, AGENT, queue, 0x2000 * queue));
    for (const queue of this.queues) queue.setUp();
    board.mmioWrite(AGENT + 0x70, 4, 15);
    for (let index = 0; index < 8; index++) this.offer(CONTROL_RECEIVE!, index);
  }

  private bufferOf(queue: number, index: number): number {
    return BUFFERS + (queue * 16 + index) * BUFFER_BYTES;
  }

  offer(queue: number, index: number): void {
    const driver = this.queues[queue]!;
    driver.descriptor(index, DRAM + this.bufferOf(queue, index), BUFFER_BYTES, WRITE);
    driver.offer(index);
    driver.notify();
  }

  send(queue: number, bytes: Uint8Array, address = DRAM + this.bufferOf(queue, 0)): void {
    const driver = this.queues[queue]!;
    this.fixture.memory.bytes.set(bytes, RAM + address - DRAM);
    driver.descriptor(0, address, bytes.length, 0);
    driver.offer(0);
    driver.notify();
    assert.notEqual(driver.take(), null);
  }

  control(event: number, value: number, port = 0): void {
    const message = new DataView(new ArrayBuffer(8));
    message.setUint32(0, port, true);
    message.setUint16(4, event, true);
    message.setUint16(6, value, true);
    this.send(CONTROL_TRANSMIT!, new Uint8Array(message.buffer));
  }

  received(queue: number): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (let done = this.queues[queue]!.take(); done !== null; done = this.queues[queue]!.take()) {
      const start = RAM + this.bufferOf(queue, done.id);
      all.push(this.fixture.memory.bytes.slice(start, start + done.length));
    }
    return all;
  }

  /** Opened by a program in the guest, after everything that a driver says before. */
  opened(): this {
    this.control(DEVICE_READY!, 1);
    this.control(PORT_READY!, 1);
    this.control(PORT_OPEN!, 1);
    this.received(CONTROL_RECEIVE!);
    return this;
  }

  get needsReset(): boolean {
    return (this.fixture.board.mmioRead(AGENT + 0x70, 4) & STATUS_NEEDS_RESET) !== 0;
  }
}

const numbered = (length: number): Uint8Array => Uint8Array.from({ length }, (_, index) => index % 251);
const sent = (outputs: readonly MachineOutput[]): number[] =>
  outputs.map((output) => (output.kind === "agent" ? output.bytes.length : assert.fail(output.kind)));

test("the driver is told of one port, its name and that the host has it open", () => {
  const driver = new PortDriver();
  assert.equal(driver.fixture.board.mmioRead(AGENT + 8, 4), 3);
  assert.equal(driver.fixture.board.mmioRead(AGENT + 0x104, 4), 1, "one port");
  driver.control(DEVICE_READY!, 1);
  const events = (messages: Uint8Array[]): number[] => messages.map((each) => each[4]!);
  assert.deepEqual(events(driver.received(CONTROL_RECEIVE!)), [PORT_ADD]);
  driver.control(PORT_READY!, 1);
  const [name, open] = driver.received(CONTROL_RECEIVE!);
  assert.deepEqual(events([name!, open!]), [PORT_NAME, PORT_OPEN]);
  assert.equal(new TextDecoder().decode(name!.subarray(8)), AGENT_PORT_NAME);
  assert.equal(open![6], 1);
});

test("a board without the port has no such device, and takes no bytes for it", () => {
  const { board, core } = stubBoard();
  board.mmioRead(AGENT, 4);
  assert.equal(core.faults, 1);
  board.agentPort.receive(numbered(10));
  assert.deepEqual(board.agentPort.dropped, { received: 0, sent: 0 });
});

test("the port stays over a power cycle, closed", () => {
  const driver = new PortDriver().opened();
  const { board } = driver.fixture;
  board.clear();
  assert.equal(board.mmioRead(AGENT + 8, 4), 3);
  board.agentPort.receive(numbered(10));
  assert.equal(board.agentPort.dropped.received, 10);
});

test("each write is one output; one of an impossible length is none", () => {
  const driver = new PortDriver().opened();
  const { board } = driver.fixture;
  driver.send(TRANSMIT!, new TextEncoder().encode("beat 1 5\n"));
  driver.send(TRANSMIT!, numbered(3000));
  const outputs = board.outputs.take();
  assert.deepEqual(outputs[0], { kind: "agent", bytes: new Uint8Array(Buffer.from("beat 1 5\n")) });
  assert.deepEqual(sent(outputs), [9, 3000]);
  driver.send(TRANSMIT!, numbered(MAX_AGENT_BYTES + 1), DRAM + 0x80000);
  assert.deepEqual(board.outputs.take(), []);
  assert.equal(board.agentPort.dropped.sent, MAX_AGENT_BYTES + 1);
});

test("what the output limit holds back comes out in the next quantum", () => {
  const driver = new PortDriver().opened();
  const { board } = driver.fixture;
  board.outputs.add({ kind: "entropyRequest", lengthBytes: 1 }, OUTPUT_LIMIT_BYTES);
  const transmit = driver.queues[TRANSMIT!]!;
  transmit.descriptor(0, DRAM + BUFFERS, 7, 0);
  transmit.offer(0);
  transmit.notify();
  assert.equal(transmit.take(), null);
  board.outputs.take();
  board.beginQuantum();
  assert.deepEqual(sent(board.outputs.take()), [7]);
  assert.notEqual(transmit.take(), null);
});

test("bytes for the guest wait for buffers, in order; what finds no room is dropped as a whole", () => {
  const driver = new PortDriver().opened();
  const { board } = driver.fixture;
  board.agentPort.receive(numbered(10_000));
  assert.deepEqual(driver.received(RECEIVE!), []);
  for (let index = 0; index < 3; index++) driver.offer(RECEIVE!, index);
  const parts = driver.received(RECEIVE!);
  assert.deepEqual(
    parts.map((part) => part.length),
    [4096, 4096, 1808],
  );
  assert.deepEqual(Buffer.concat(parts), Buffer.from(numbered(10_000)));
  board.agentPort.receive(numbered(AGENT_BACKLOG_BYTES - 100));
  board.agentPort.receive(numbered(101));
  assert.equal(board.agentPort.dropped.received, 101);
  board.agentPort.receive(numbered(100));
  for (let index = 0; index < 13; index++) driver.offer(RECEIVE!, index);
  const rest = Buffer.concat(driver.received(RECEIVE!));
  assert.deepEqual(rest, Buffer.concat([numbered(AGENT_BACKLOG_BYTES - 100), numbered(100)]));
});

test("nothing is kept for a program that has closed the port", () => {
  const driver = new PortDriver().opened();
  const { board } = driver.fixture;
  board.agentPort.receive(numbered(50));
  driver.control(PORT_OPEN!, 0);
  board.agentPort.receive(numbered(60));
  driver.control(PORT_OPEN!, 1);
  driver.offer(RECEIVE!, 0);
  assert.deepEqual(driver.received(RECEIVE!), []);
  assert.equal(board.agentPort.dropped.received, 60);
});

test("control messages of other ports, of unknown kinds and cut ones are passed over", () => {
  const driver = new PortDriver();
  driver.control(PORT_OPEN!, 1, 5);
  driver.control(99, 1);
  driver.send(CONTROL_TRANSMIT!, Uint8Array.of(0, 0, 0, 0, PORT_OPEN!));
  driver.fixture.board.agentPort.receive(numbered(5));
  assert.equal(driver.fixture.board.agentPort.dropped.received, 5, "nobody opened it");
  assert.equal(driver.needsReset, false);
});

test("buffers too small for a message or of no size at all do no harm", () => {
  const driver = new PortDriver().opened();
  const receive = driver.queues[RECEIVE!]!;
  receive.descriptor(0, DRAM + BUFFERS, 0, WRITE);
  receive.offer(0);
  driver.fixture.board.agentPort.receive(numbered(3));
  assert.deepEqual(receive.take(), { id: 0, length: 0 });
  driver.offer(RECEIVE!, 1);
  assert.deepEqual(
    driver.received(RECEIVE!).map((part) => part.length),
    [3],
  );
});

test("a broken ring only needs a reset, and a reset forgets what waited", () => {
  for (const queue of [RECEIVE!, TRANSMIT!, CONTROL_RECEIVE!, CONTROL_TRANSMIT!]) {
    const driver = new PortDriver().opened();
    const { board } = driver.fixture;
    board.agentPort.receive(numbered(10));
    driver.queues[queue]!.offer(5000);
    driver.queues[queue]!.notify();
    if (queue === CONTROL_RECEIVE) driver.control(PORT_READY!, 1);
    assert.equal(driver.needsReset || queue === CONTROL_RECEIVE, true, `queue ${queue}`);
    board.mmioWrite(AGENT + 0x70, 4, 0);
    assert.equal(driver.needsReset, false);
    board.agentPort.receive(numbered(10));
    assert.equal(board.agentPort.dropped.received, 10);
  }
});
