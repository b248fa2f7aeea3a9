/** The virtio transport, network and entropy devices against a driver made for the test, and against rings full of garbage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DRAM, RAM } from "../dist/machine/engines/rv64/layout.js";
import { NET, randomSource, RNG, STUB_RAM_BYTES, stubBoard, StubDriver } from "./support/board-stub.js";

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const MERGEABLE = 1 << 15;
const EVENT_INDEX = 1 << 29;
const INDIRECT_FEATURE = 1 << 28;

function network(features: number) {
  const fixture = stubBoard();
  StubDriver.start(fixture.board, NET, features);
  const receive = new StubDriver(fixture.board, fixture.memory, NET, 0, 0x10000);
  const transmit = new StubDriver(fixture.board, fixture.memory, NET, 1, 0x20000);
  receive.setUp();
  transmit.setUp();
  fixture.board.mmioWrite(NET + 0x70, 4, 15);
  const status = (): number => fixture.board.mmioRead(NET + 0x70, 4);
  const deliver = (frame: Uint8Array): void => {
    fixture.board.network.receive(frame);
    fixture.board.network.flush();
  };
  return { ...fixture, receive, transmit, status, deliver };
}

const bytesOf = (length: number, seed = 1): Uint8Array => Uint8Array.from({ length }, (_, index) => (index * 31 + seed) & 0xff);

test("identity, features and configuration", () => {
  const { board, core } = stubBoard();
  const read = (offset: number): number => board.mmioRead(NET + offset, 4) >>> 0;
  assert.deepEqual([read(0), read(4), read(8), read(0x34)], [0x74726976, 2, 1, 1024]);
  assert.equal(read(0x10) & MERGEABLE, MERGEABLE);
  board.mmioWrite(NET + 0x14, 4, 1);
  assert.equal(read(0x10), 1);
  assert.deepEqual(
    [0, 1, 2, 3, 4, 5].map((index) => board.mmioRead(NET + 0x100 + index, 1)),
    [0x52, 0x54, 0, 0x77, 0, 2],
  );
  assert.equal(board.mmioRead(NET + 0x106, 2), 1);
  assert.equal(board.mmioRead(NET + 0x1fc, 4), 0);
  assert.equal(read(0xb0), 0xffff_ffff);
  assert.equal(board.mmioRead(RNG + 8, 4), 4);
  assert.equal(core.faults, 0);
  board.mmioRead(NET, 1);
  board.mmioRead(NET + 2, 2);
  board.mmioRead(NET + 0x200, 4);
  assert.equal(core.faults, 3);
});

test("features that were not offered, or no VERSION_1, are refused", () => {
  const { board } = stubBoard();
  StubDriver.start(board, NET, 1);
  assert.equal(board.mmioRead(NET + 0x70, 4) & 8, 0);
  const write = (offset: number, value: number): void => board.mmioWrite(NET + offset, 4, value);
  for (const status of [0, 1, 3]) write(0x70, status);
  write(0x70, 11);
  assert.equal(board.mmioRead(NET + 0x70, 4) & 8, 0);
});

test("a chain of descriptors, direct or indirect, is one frame", () => {
  for (const indirect of [false, true]) {
    const { board, memory, transmit } = network(MERGEABLE | (indirect ? INDIRECT_FEATURE : 0));
    const content = bytesOf(100);
    memory.bytes.set(content, RAM + 0x5000);
    const table = indirect ? 0x6000 : transmit.rings;
    const first = indirect ? 0 : 3;
    transmit.descriptor(first, DRAM + 0x4000, 10, NEXT, first + 1, table);
    transmit.descriptor(first + 1, DRAM + 0x4100, 2, NEXT, first + 2, table);
    transmit.descriptor(first + 2, DRAM + 0x5000, 60, NEXT, first + 3, table);
    transmit.descriptor(first + 3, DRAM + 0x5000 + 60, 40, 0, 0, table);
    if (indirect) transmit.descriptor(9, DRAM + table, 64, INDIRECT);
    transmit.offer(indirect ? 9 : first);
    transmit.notify();
    assert.deepEqual(board.outputs.take(), [{ kind: "frame", port: 0, bytes: content }]);
    assert.deepEqual(transmit.take(), { id: indirect ? 9 : 3, length: 0 });
    assert.equal(board.mmioRead(NET + 0x60, 4), 1);
    board.mmioWrite(NET + 0x64, 4, 1);
    assert.equal(board.mmioRead(NET + 0x60, 4), 0);
  }
});

test("a received frame is spread over as many buffers as it takes, the count in its header", () => {
  const { memory, receive, deliver } = network(MERGEABLE);
  const sizes = [11, 5, 40, 100]; // the header itself is torn over two buffers
  sizes.forEach((size, index) => {
    receive.descriptor(index, DRAM + 0x4000 + 0x100 * index, size, WRITE);
    receive.offer(index);
  });
  const content = bytesOf(60, 9);
  memory.bytes.fill(0xee, RAM + 0x4000, RAM + 0x4400);
  deliver(content);
  const parts: number[] = [];
  for (let index = 0; index < 4; index++) {
    const done = receive.take();
    assert.equal(done!.id, index);
    parts.push(...memory.bytes.slice(RAM + 0x4000 + 0x100 * index, RAM + 0x4000 + 0x100 * index + done!.length));
  }
  assert.deepEqual(parts.slice(0, 12), [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0]);
  assert.deepEqual(Uint8Array.from(parts.slice(12)), content);
  assert.equal(parts.length, 72);
});

test("without room a frame waits, and comes when buffers do", () => {
  const { memory, receive, deliver } = network(MERGEABLE | EVENT_INDEX);
  receive.descriptor(0, DRAM + 0x4000, 30, WRITE);
  receive.offer(0);
  deliver(bytesOf(50));
  assert.equal(receive.usedIndex, 0, "half a frame is not delivered");
  assert.equal(receive.availableEvent, 0, "the driver shall tell about the next buffer");
  receive.descriptor(1, DRAM + 0x4100, 100, WRITE);
  receive.offer(1);
  receive.notify();
  assert.equal(receive.usedIndex, 2);
  assert.equal(receive.availableEvent, 1, "no more telling needed");
  assert.deepEqual(memory.bytes.slice(RAM + 0x4000 + 12, RAM + 0x4000 + 30), bytesOf(50).subarray(0, 18));
  assert.deepEqual(memory.bytes.slice(RAM + 0x4100, RAM + 0x4100 + 32), bytesOf(50).subarray(18));
});

test("without mergeable buffers a frame that is too long for one is dropped", () => {
  const { receive, deliver, board } = network(0);
  for (const index of [0, 1]) {
    receive.descriptor(index, DRAM + 0x4000 + 0x1000 * index, 100, WRITE);
    receive.offer(index);
  }
  deliver(bytesOf(89));
  assert.deepEqual(receive.take(), { id: 0, length: 0 });
  assert.equal(board.network.dropped.received, 1);
  deliver(bytesOf(88));
  assert.deepEqual(receive.take(), { id: 1, length: 100 });
});

test("the event index silences interrupts until the driver wants one", () => {
  const { board, transmit } = network(MERGEABLE | EVENT_INDEX);
  for (let index = 0; index < 4; index++) transmit.descriptor(index, DRAM + 0x4000, 72, 0);
  transmit.setUsedEvent(2);
  const interrupts = [0, 1, 2, 3].map((head) => {
    transmit.offer(head);
    transmit.notify();
    const status = board.mmioRead(NET + 0x60, 4);
    board.mmioWrite(NET + 0x64, 4, status);
    return status;
  });
  assert.deepEqual(interrupts, [0, 0, 1, 0]);
});

test("output beyond the limit of a quantum waits for the next one", () => {
  const { board, core, transmit } = network(MERGEABLE | INDIRECT_FEATURE);
  transmit.descriptor(0, DRAM + 0x4000, 9000, 0);
  let frames = 0;
  for (let round = 0; round < 12; round++) {
    for (let index = 0; index < 16; index++) transmit.offer(0);
    transmit.notify();
    if (core.stops > 0) break;
  }
  assert.ok(core.stops > 0);
  frames += board.outputs.take().length;
  const before = transmit.usedIndex;
  assert.equal(frames, before);
  assert.ok(frames * 9000 <= (1 << 20) + 9000);
  board.beginQuantum();
  frames += board.outputs.take().length;
  assert.ok(transmit.usedIndex > before);
  assert.equal(frames, transmit.usedIndex);
});

test("a ring that makes no sense needs a reset, and a reset heals it", () => {
  type Fixture = ReturnType<typeof network>;
  const nonsense: Record<string, (fixture: Fixture) => void> = {
    "head beyond the table": ({ transmit }) => transmit.offer(16),
    "address outside of RAM": ({ transmit }) => {
      transmit.descriptor(0, 0x1000, 64, 0);
      transmit.offer(0);
    },
    "end outside of RAM": ({ transmit }) => {
      transmit.descriptor(0, DRAM + STUB_RAM_BYTES - 10, 64, 0);
      transmit.offer(0);
    },
    "address that wraps": ({ transmit, memory }) => {
      transmit.descriptor(0, 0, 64, 0);
      memory.view.setBigUint64(RAM + transmit.rings, 0xffff_ffff_ffff_fff0n, true);
      transmit.offer(0);
    },
    "a loop": ({ transmit }) => {
      transmit.descriptor(0, DRAM, 1, NEXT, 1);
      transmit.descriptor(1, DRAM, 1, NEXT, 0);
      transmit.offer(0);
    },
    "readable after writable": ({ transmit }) => {
      transmit.descriptor(0, DRAM, 64, WRITE | NEXT, 1);
      transmit.descriptor(1, DRAM, 64, 0);
      transmit.offer(0);
    },
    "indirect in indirect": ({ transmit }) => {
      transmit.descriptor(0, DRAM + 0x6000, 32, INDIRECT);
      transmit.descriptor(0, DRAM + 0x6000, 32, INDIRECT, 0, 0x6000);
      transmit.offer(0);
    },
    "indirect with next": ({ transmit }) => {
      transmit.descriptor(0, DRAM + 0x6000, 32, INDIRECT | NEXT);
      transmit.offer(0);
    },
    "crooked indirect table": ({ transmit }) => {
      transmit.descriptor(0, DRAM + 0x6000, 33, INDIRECT);
      transmit.offer(0);
    },
    "more requests than places": ({ transmit }) => {
      for (let index = 0; index < 17; index++) transmit.offer(0);
    },
  };
  for (const [name, make] of Object.entries(nonsense)) {
    const fixture = network(MERGEABLE | INDIRECT_FEATURE);
    make(fixture);
    fixture.transmit.notify();
    assert.equal(fixture.status() & 64, 64, name);
    assert.equal(fixture.board.mmioRead(NET + 0x60, 4) & 2, 2, name);
    assert.deepEqual(fixture.board.outputs.take(), [], name);
    fixture.transmit.notify();
    fixture.deliver(bytesOf(60));
    fixture.board.mmioWrite(NET + 0x70, 4, 0);
    assert.equal(fixture.status(), 0, name);
    assert.equal(fixture.board.mmioRead(NET + 0x60, 4), 0, name);
  }
});

test("queues that lie nowhere, crooked or with an impossible size are not made ready", () => {
  const cases = [
    [17, DRAM, DRAM + 0x1000, DRAM + 0x2000],
    [0, DRAM, DRAM + 0x1000, DRAM + 0x2000],
    [2048, DRAM, DRAM + 0x1000, DRAM + 0x2000],
    [16, 0x1000, DRAM + 0x1000, DRAM + 0x2000],
    [16, DRAM, DRAM + STUB_RAM_BYTES - 8, DRAM + 0x2000],
    [16, DRAM, DRAM + 0x1000, DRAM + STUB_RAM_BYTES - 8],
    [16, DRAM + 8, DRAM + 0x1000, DRAM + 0x2000],
    [16, DRAM, DRAM + 0x1001, DRAM + 0x2000],
    [16, DRAM, DRAM + 0x1000, DRAM + 0x2002],
  ];
  for (const [size, descriptors, available, used] of cases) {
    const { board } = stubBoard();
    StubDriver.start(board, NET, MERGEABLE);
    const write = (offset: number, value: number): void => board.mmioWrite(NET + offset, 4, value);
    write(0x30, 0);
    write(0x38, size!);
    write(0x80, descriptors!);
    write(0x90, available!);
    write(0xa0, used!);
    write(0x44, 1);
    assert.equal(board.mmioRead(NET + 0x44, 4), 0);
    assert.equal(board.mmioRead(NET + 0x70, 4) & 64, 64);
  }
});

test("rings full of garbage never throw, whatever is done with them", () => {
  const random = randomSource(20261123);
  for (let round = 0; round < 400; round++) {
    const { board, memory, receive, transmit } = network(
      random(2) === 0 ? MERGEABLE | INDIRECT_FEATURE | EVENT_INDEX : random(2) === 0 ? MERGEABLE : 0,
    );
    // Plausible numbers among the garbage, so that walks go deep.
    for (let at = 0; at < 0x2000; at += 2) {
      for (const rings of [receive.rings, transmit.rings])
        memory.view.setUint16(RAM + rings + at, random(3) === 0 ? random(65536) : random(32), true);
    }
    for (let index = 0; index < 16; index++) {
      for (const driver of [receive, transmit]) {
        if (random(4) === 0) continue;
        const length = random(5) === 0 ? random(1 << 30) : random(200);
        driver.descriptor(index, DRAM + random(STUB_RAM_BYTES + (random(8) === 0 ? 4096 : 0)), length, random(8), random(18));
      }
    }
    for (const driver of [receive, transmit]) memory.view.setUint16(RAM + driver.rings + 0x1002, random(20), true);
    for (let action = 0; action < 12; action++) {
      const choice = random(6);
      if (choice === 0) board.network.receive(bytesOf(random(2000)));
      else if (choice === 1) board.network.flush();
      else if (choice === 2) board.beginQuantum();
      else if (choice === 3) receive.notify();
      else if (choice === 4) transmit.notify();
      else memory.view.setUint32(RAM + transmit.rings + random(0x2000), random(0x7fffffff), true);
    }
    board.outputs.take();
  }
});

test("entropy: at most eight requests are out, answers fill the oldest, surplus answers are nothing", () => {
  const { board, memory } = stubBoard();
  StubDriver.start(board, RNG, 0);
  const driver = new StubDriver(board, memory, RNG, 0, 0x10000);
  driver.setUp();
  board.mmioWrite(RNG + 0x70, 4, 15);
  for (let index = 0; index < 12; index++) {
    driver.descriptor(index, DRAM + 0x4000 + 0x100 * index, 40, WRITE);
    driver.offer(index);
  }
  driver.notify();
  driver.notify();
  assert.equal(board.outputs.take().length, 8);
  board.entropy.provide(bytesOf(64));
  assert.deepEqual(driver.take(), { id: 0, length: 40 });
  assert.deepEqual(memory.bytes.slice(RAM + 0x4000, RAM + 0x4000 + 40), bytesOf(40));
  assert.equal(board.outputs.take().length, 1, "one more may go out");
  for (let index = 0; index < 20; index++) board.entropy.provide(bytesOf(8));
  assert.equal(driver.usedIndex, 12);
  board.mmioWrite(RNG + 0x70, 4, 0);
  board.entropy.provide(bytesOf(8));
  assert.equal(driver.usedIndex, 12);
});
