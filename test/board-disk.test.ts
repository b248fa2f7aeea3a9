/** The virtio block device against a driver made for the test, and against rings full of garbage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { DEVICES, DEVICES_END, DRAM, RAM } from "../dist/machine/engines/rv64/layout.js";
import {
  DISK_BLOCK_BYTES,
  MAX_DISK_REQUEST_BYTES,
  MAX_DISK_REQUESTS,
  type DiskRequest,
  type MachineOutput,
} from "../dist/machine/machine.js";
import { DISK, randomSource, STUB_RAM_BYTES, stubBoard, StubDriver } from "./support/board-stub.js";

const NEXT = 1;
const WRITE = 2;
const INDIRECT = 4;
const FLUSH_FEATURE = 1 << 9;
const INDIRECT_FEATURE = 1 << 28;
const EVENT_INDEX = 1 << 29;
const OFFERED = (1 << 1) | (1 << 2) | (1 << 6) | FLUSH_FEATURE;

const READ = 0;
const WRITE_OUT = 1;
const FLUSH = 4;
const GET_ID = 8;
const [OK, IO_ERROR, UNSUPPORTED] = [0, 1, 2];
/** What a status byte is before the device writes it. */
const UNWRITTEN = 0xee;

const DISK_BYTES = 64 << 20;
const SECTORS = DISK_BYTES / 512;
/** Places in guest RAM. */
const HEADERS = 0x4000;
const STATUSES = 0x5000;
const TABLES = 0x8000;
const DATA = 0x40000;

type Part = readonly [offset: number, length: number, flags: number];

function disk(features = INDIRECT_FEATURE, diskBytes = DISK_BYTES) {
  const fixture = stubBoard(1, diskBytes);
  const driver = new StubDriver(fixture.board, fixture.memory, DISK, 0, 0x10000);
  const start = (): void => {
    StubDriver.start(fixture.board, DISK, FLUSH_FEATURE | features);
    driver.setUp();
    fixture.board.mmioWrite(DISK + 0x70, 4, 15);
  };
  start();
  const { memory, board } = fixture;
  const header = (at: number, type: number, sector: number): void => {
    memory.view.setUint32(RAM + at, type, true);
    memory.view.setUint32(RAM + at + 4, 0, true);
    memory.view.setBigUint64(RAM + at + 8, BigInt(sector), true);
  };
  /** Offers a chain of parts as request `slot` (0..15) through an indirect table. */
  const offerParts = (slot: number, parts: readonly Part[]): void => {
    const table = TABLES + slot * 0x800;
    parts.forEach(([offset, length, flags], index) => {
      const more = index + 1 < parts.length ? NEXT : 0;
      driver.descriptor(index, DRAM + offset, length, flags | more, index + 1, table);
    });
    driver.descriptor(slot, DRAM + table, 16 * parts.length, INDIRECT);
    memory.bytes[RAM + STATUSES + slot] = UNWRITTEN;
    driver.offer(slot);
  };
  /** An ordinary request; data lies at DATA + slot * 32 KiB. */
  const offer = (slot: number, type: number, sector: number, length = 0): void => {
    const head: Part = [HEADERS + slot * 16, 16, 0];
    header(head[0], type, sector);
    const data: Part[] = length === 0 ? [] : [[DATA + slot * 0x8000, length, type === WRITE_OUT ? 0 : WRITE]];
    offerParts(slot, [head, ...data, [STATUSES + slot, 1, WRITE]]);
  };
  const ask = (slot: number, type: number, sector: number, length = 0): MachineOutput[] => {
    offer(slot, type, sector, length);
    driver.notify();
    return board.outputs.take();
  };
  const status = (slot: number): number => memory.bytes[RAM + STATUSES + slot]!;
  const data = (slot: number, length: number): Uint8Array => memory.bytes.subarray(RAM + DATA + slot * 0x8000).subarray(0, length);
  const deviceStatus = (): number => board.mmioRead(DISK + 0x70, 4);
  return { ...fixture, driver, start, header, offerParts, offer, ask, status, data, deviceStatus };
}

const bytesOf = (length: number, seed = 1): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8) + seed) & 0xff);
const none: Uint8Array = new Uint8Array(0);
const request = (id: number, operation: DiskRequest["operation"], offset: number, lengthBytes: number, bytes = none): DiskRequest => ({
  kind: "disk",
  id,
  operation,
  offset,
  lengthBytes,
  bytes,
});
const requests = (outputs: readonly MachineOutput[]): DiskRequest[] =>
  outputs.map((output) => {
    assert.ok(output.kind === "disk");
    return output;
  });

test("identity, features, configuration; without a disk there is nothing at its place", () => {
  const { board, core } = stubBoard(1, 5 * 2 ** 40);
  const read = (offset: number): number => board.mmioRead(DISK + offset, 4) >>> 0;
  assert.deepEqual([read(0), read(4), read(8), read(0x34)], [0x74726976, 2, 2, 1024]);
  assert.equal(read(0x10), (OFFERED | INDIRECT_FEATURE | EVENT_INDEX) >>> 0);
  const sectors = (5 * 2 ** 40) / 512;
  assert.deepEqual([read(0x100), read(0x104)], [sectors % 2 ** 32, Math.floor(sectors / 2 ** 32)]);
  const [segmentBytes, segments] = [read(0x108), read(0x10c)];
  assert.equal(segmentBytes * segments, MAX_DISK_REQUEST_BYTES, "a driver that obeys cannot ask for too much");
  assert.equal(read(0x114), DISK_BLOCK_BYTES);
  assert.equal(core.faults, 0);
  const without = stubBoard();
  without.board.mmioRead(DISK, 4);
  without.board.mmioWrite(DISK + 0x70, 4, 1);
  assert.equal(without.core.faults, 2);
});

test("a driver that cannot flush is refused", () => {
  const { board } = stubBoard(1, DISK_BYTES);
  StubDriver.start(board, DISK, 0);
  assert.equal(board.mmioRead(DISK + 0x70, 4) & 8, 0);
  StubDriver.start(board, DISK, OFFERED);
  assert.equal(board.mmioRead(DISK + 0x70, 4) & 8, 8);
});

test("write, read and flush are outputs; each is complete when its answer comes, in whatever order", () => {
  const fixture = disk();
  const { board, ask, status, data, driver } = fixture;
  data(0, 8192).set(bytesOf(8192));
  assert.deepEqual(ask(0, WRITE_OUT, 16, 8192), [request(1, "write", 8192, 8192, bytesOf(8192))]);
  assert.deepEqual(ask(1, READ, 8, 4096), [request(2, "read", 4096, 4096)]);
  assert.deepEqual(ask(2, FLUSH, 7), [request(3, "flush", 0, 0)]);
  assert.deepEqual([status(0), status(1), status(2), driver.usedIndex], [UNWRITTEN, UNWRITTEN, UNWRITTEN, 0]);
  board.disk.answer(2, true, bytesOf(4096, 5));
  assert.deepEqual(driver.take(), { id: 1, length: 4097 });
  assert.equal(status(1), OK);
  assert.deepEqual(data(1, 4096), bytesOf(4096, 5));
  assert.equal(board.mmioRead(DISK + 0x60, 4), 1, "an interrupt");
  board.disk.answer(3, true, none);
  board.disk.answer(1, true, none);
  assert.deepEqual(
    [driver.take(), driver.take()],
    [
      { id: 2, length: 1 },
      { id: 0, length: 1 },
    ],
  );
  assert.deepEqual([status(0), status(2)], [OK, OK]);
  for (const id of [0, 1, 2, 3, 4, 99]) board.disk.answer(id, true, none);
  assert.equal(driver.take(), null, "answers that nobody waits for are nothing");
  assert.equal(fixture.deviceStatus(), 15);
});

test("a failed request, and a read with more or fewer bytes than asked for, are I/O errors and leave the buffer alone", () => {
  const { board, ask, status, data, driver } = disk();
  ask(0, WRITE_OUT, 0, 4096);
  ask(1, READ, 0, 8192);
  ask(2, READ, 0, 8192);
  ask(3, FLUSH, 0);
  ask(4, READ, 0, 4096);
  data(1, 8192).fill(7);
  board.disk.answer(1, false, none);
  board.disk.answer(2, true, new Uint8Array(4096));
  board.disk.answer(3, true, new Uint8Array(12288));
  board.disk.answer(4, false, none);
  board.disk.answer(5, false, new Uint8Array(4096));
  assert.deepEqual([0, 1, 2, 3, 4].map(status), [IO_ERROR, IO_ERROR, IO_ERROR, IO_ERROR, IO_ERROR]);
  assert.ok(data(1, 8192).every((byte) => byte === 7));
  assert.deepEqual(
    [driver.take(), driver.take()],
    [
      { id: 0, length: 1 },
      { id: 1, length: 0 },
    ],
  );
});

test("direct chains, and headers, data and status in as many pieces as the driver likes", () => {
  const { board, memory, driver, header, status } = disk(0);
  header(0x4000, WRITE_OUT, 8);
  memory.bytes.set(bytesOf(4096), RAM + 0x6000);
  // Header in two pieces, the second of which begins the data.
  memory.bytes.copyWithin(RAM + 0x6000 - 6, RAM + 0x4000 + 10, RAM + 0x4000 + 16);
  driver.descriptor(3, DRAM + 0x4000, 10, NEXT, 4);
  driver.descriptor(4, DRAM + 0x6000 - 6, 6 + 4000, NEXT, 5);
  driver.descriptor(5, DRAM + 0x6000 + 4000, 96, NEXT, 6);
  driver.descriptor(6, DRAM + STATUSES, 1, WRITE);
  driver.offer(3);
  driver.notify();
  assert.deepEqual(board.outputs.take(), [request(1, "write", 4096, 4096, bytesOf(4096))]);
  board.disk.answer(1, true, none);
  assert.equal(status(0), OK);
  // The status right behind the data of a read, in one buffer with its end.
  header(0x4000, READ, 8);
  driver.descriptor(3, DRAM + 0x4000, 16, NEXT, 4);
  driver.descriptor(4, DRAM + 0x7000, 1, WRITE | NEXT, 5);
  driver.descriptor(5, DRAM + 0x8000, 4096, WRITE);
  driver.offer(3);
  driver.notify();
  board.disk.answer(2, true, bytesOf(4096, 3));
  assert.equal(memory.bytes[RAM + 0x7000], bytesOf(1, 3)[0]);
  assert.deepEqual(memory.bytes.slice(RAM + 0x8000, RAM + 0x8000 + 4095), bytesOf(4096, 3).slice(1));
  assert.equal(memory.bytes[RAM + 0x8000 + 4095], OK);
});

test("the serial number, and requests of other types, are answered at once", () => {
  const { ask, status, data, driver } = disk();
  data(0, 20).fill(0xff);
  assert.deepEqual(ask(0, GET_ID, 0, 20), []);
  assert.equal(Buffer.from(data(0, 20)).toString("latin1"), "steadfast-disk0\0\0\0\0\0");
  data(1, 20).fill(0xff);
  ask(1, GET_ID, 0, 4);
  assert.equal(Buffer.from(data(1, 5)).toString("latin1"), "stea\xff");
  const others = [2, 3, 5, 6, 7, 9, 11, 13, 0x7fffffff];
  for (const type of others) assert.deepEqual(ask(2, type, 0, 4096), []);
  assert.deepEqual([status(0), status(1), status(2)], [OK, OK, UNSUPPORTED]);
  assert.deepEqual(
    [driver.take(), driver.take(), driver.take()],
    [
      { id: 0, length: 21 },
      { id: 1, length: 5 },
      { id: 2, length: 0 },
    ],
  );
  assert.equal(driver.usedIndex, 2 + others.length);
});

test("what is no whole blocks, too long, nothing or beyond the end is an I/O error of that request alone", () => {
  const { ask, status, deviceStatus, offerParts, header, driver, board } = disk();
  const impossible: [type: number, sector: number, length: number][] = [
    [READ, 1, 4096],
    [READ, 8, 512],
    [READ, 8, 4095],
    [WRITE_OUT, 8, 4097],
    [READ, 8, 0],
    [WRITE_OUT, 8, 0],
    [READ, SECTORS, 4096],
    [READ, SECTORS - 8, 8192],
    [WRITE_OUT, 2 ** 53, 4096],
    [READ, 8, MAX_DISK_REQUEST_BYTES + 4096],
  ];
  for (const [type, sector, length] of impossible) {
    assert.deepEqual(ask(0, type, sector, length), [], `${type} ${sector} ${length}`);
    assert.equal(status(0), IO_ERROR, `${type} ${sector} ${length}`);
  }
  // Data in the wrong direction.
  const wrong: Record<string, [type: number, flags: number]> = {
    "written to be read": [READ, 0],
    "read to be written": [WRITE_OUT, WRITE],
  };
  for (const [name, [type, flags]] of Object.entries(wrong)) {
    header(HEADERS, type, 8);
    offerParts(0, [
      [HEADERS, 16, 0],
      [DATA, 4096, flags],
      [STATUSES, 1, WRITE],
    ]);
    driver.notify();
    assert.deepEqual(board.outputs.take(), [], name);
    assert.equal(status(0), IO_ERROR, name);
  }
  assert.equal(ask(1, READ, SECTORS - 8, 4096).length, 1, "the last block is one");
  assert.equal(ask(2, READ, 0, MAX_DISK_REQUEST_BYTES).length, 1, "the largest request is one");
  assert.equal(deviceStatus(), 15);
});

test("without a header or a place for the status the device needs a reset, and a reset heals it", () => {
  const cases: Record<string, Part[]> = {
    "no header": [[STATUSES, 1, WRITE]],
    "half a header": [
      [HEADERS, 15, 0],
      [STATUSES, 1, WRITE],
    ],
    "no status": [[HEADERS, 16, 0]],
    "an empty status": [
      [HEADERS, 16, 0],
      [STATUSES, 0, WRITE],
    ],
    "address outside of RAM": [
      [HEADERS, 16, 0],
      [STUB_RAM_BYTES - 10, 4096, WRITE],
      [STATUSES, 1, WRITE],
    ],
  };
  for (const [name, parts] of Object.entries(cases)) {
    const fixture = disk();
    const { board, driver, offerParts, header, deviceStatus, start, ask } = fixture;
    header(HEADERS, READ, 0);
    offerParts(0, parts);
    driver.notify();
    assert.equal(deviceStatus() & 64, 64, name);
    assert.deepEqual(board.outputs.take(), [], name);
    board.disk.answer(1, true, none);
    board.disk.repeat();
    board.disk.grow(2 * DISK_BYTES);
    fixture.memory.bytes.fill(0, RAM + driver.rings, RAM + driver.rings + 0x2000);
    start();
    assert.equal(ask(1, FLUSH, 0).length, 1, name);
  }
});

test("a chain that the guest changes while its request is out needs a reset too", () => {
  const changes: ((fixture: ReturnType<typeof disk>) => void)[] = [
    ({ driver }) => driver.descriptor(0, 0x1000, 64, 0),
    ({ driver }) => driver.descriptor(1, DRAM + DATA, 8192, WRITE | NEXT, 2, TABLES),
    ({ driver }) => driver.descriptor(1, DRAM + DATA, 4096, NEXT, 2, TABLES),
  ];
  for (const change of changes) {
    for (const act of ["answer", "repeat"] as const) {
      const fixture = disk();
      fixture.ask(0, READ, 0, 4096);
      change(fixture);
      if (act === "answer") fixture.board.disk.answer(1, true, new Uint8Array(4096));
      else fixture.board.disk.repeat();
      assert.equal(fixture.deviceStatus() & 64, 64);
      assert.deepEqual([fixture.board.outputs.take(), fixture.driver.usedIndex, fixture.board.disk.isHeld], [[], 0, false]);
    }
  }
});

test("so many requests are out at most; the rest waits in the ring until an answer makes room", () => {
  const { board, driver, offer, ask } = disk(INDIRECT_FEATURE | EVENT_INDEX);
  let out = 0;
  for (let round = 0; round < 5; round++) {
    for (let slot = 0; slot < 16; slot++) offer(slot, READ, 8 * slot, 4096);
    driver.notify();
    out += board.outputs.take().length;
  }
  assert.equal(out, MAX_DISK_REQUESTS);
  assert.notEqual(driver.availableEvent, MAX_DISK_REQUESTS, "no more telling needed");
  board.disk.answer(10, true, new Uint8Array(4096));
  assert.deepEqual(
    requests(board.outputs.take()).map(({ id }) => id),
    [65],
  );
  for (let id = 11; id <= 60; id++) board.disk.answer(id, false, none);
  assert.equal(board.outputs.take().length, 15);
  assert.equal(driver.availableEvent, 80);
  assert.deepEqual(
    requests(ask(3, READ, 24, 4096)).map(({ id }) => id),
    [81],
  );
});

test("output beyond the limit of a quantum waits for the next one, new or repeated", () => {
  const { board, core, driver, offer } = disk();
  for (let slot = 0; slot < 16; slot++) offer(slot, WRITE_OUT, 256 * slot, MAX_DISK_REQUEST_BYTES);
  driver.notify();
  const first = requests(board.outputs.take());
  assert.equal(first.length, 8);
  assert.ok(core.stops > 0 && board.disk.isHeld);
  board.beginQuantum();
  const second = requests(board.outputs.take());
  assert.deepEqual(
    [...first, ...second].map(({ id }) => id),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16],
  );
  board.beginQuantum();
  assert.equal(board.disk.isHeld, false);
  board.disk.repeat();
  const repeated = requests(board.outputs.take());
  board.disk.answer(12, true, none);
  board.disk.answer(2, true, none);
  offer(1, FLUSH, 0);
  driver.notify();
  repeated.push(...requests(board.outputs.take()));
  for (let quantum = 0; board.disk.isHeld; quantum++) {
    assert.ok(quantum < 5);
    board.beginQuantum();
    repeated.push(...requests(board.outputs.take()));
  }
  assert.deepEqual(
    repeated.map(({ id }) => id),
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17],
  );
  assert.deepEqual(repeated[10], [...first, ...second][10]);
});

test("a repeat puts out what is unanswered, oldest first, the same again; a reset drops it, and ids go on", () => {
  const { board, ask, data, start, driver, memory, status } = disk();
  data(0, 4096).set(bytesOf(4096));
  const outputs = [...ask(0, WRITE_OUT, 80, 4096), ...ask(1, READ, 0, 8192), ...ask(2, FLUSH, 0)];
  board.disk.repeat();
  assert.deepEqual(board.outputs.take(), outputs);
  board.disk.answer(2, true, bytesOf(8192));
  board.disk.repeat();
  assert.deepEqual(board.outputs.take(), [outputs[0], outputs[2]]);
  memory.bytes.fill(0, RAM + driver.rings, RAM + driver.rings + 0x2000);
  start();
  board.disk.repeat();
  board.disk.answer(1, true, none);
  assert.deepEqual([board.outputs.take(), status(0), driver.usedIndex], [[], UNWRITTEN, 0]);
  assert.deepEqual(ask(0, FLUSH, 0), [request(4, "flush", 0, 0)]);
});

test("a board made anew over the same memory goes on where the old one was", () => {
  const old = disk();
  old.data(0, 4096).set(bytesOf(4096));
  const outputs = [...old.ask(0, WRITE_OUT, 80, 4096), ...old.ask(1, READ, 0, 8192)];
  const { board, memory } = stubBoard(1, 0);
  memory.bytes.set(old.memory.bytes.subarray(DEVICES, DEVICES_END), DEVICES);
  memory.bytes.set(old.memory.bytes.subarray(RAM), RAM);
  assert.equal(board.disk.sizeBytes, DISK_BYTES);
  board.disk.repeat();
  assert.deepEqual(board.outputs.take(), outputs);
  for (const each of [board, old.board]) {
    each.disk.answer(2, true, bytesOf(8192, 9));
    each.disk.answer(1, true, none);
    each.outputs.take();
  }
  assert.deepEqual(memory.bytes.subarray(RAM), old.memory.bytes.subarray(RAM));
});

test("a disk grows online: new capacity, another generation, a configuration interrupt; it never shrinks", () => {
  const { board, ask, status } = disk();
  const read = (offset: number): number => board.mmioRead(DISK + offset, 4) >>> 0;
  const generation = read(0xfc);
  for (const bytes of [DISK_BYTES, DISK_BYTES / 2, 0, 2 * DISK_BYTES + 512, Number.MAX_VALUE]) board.disk.grow(bytes);
  assert.deepEqual([read(0x100), read(0xfc), read(0x60)], [SECTORS, generation, 0]);
  ask(0, READ, SECTORS, 4096);
  assert.equal(status(0), IO_ERROR);
  board.mmioWrite(DISK + 0x64, 4, 3);
  board.disk.grow(2 * DISK_BYTES);
  assert.deepEqual([read(0x100), read(0x60)], [2 * SECTORS, 2]);
  assert.notEqual(read(0xfc), generation);
  assert.equal(ask(0, READ, SECTORS, 4096).length, 1);
  const without = stubBoard();
  without.board.disk.grow(DISK_BYTES);
  assert.equal(without.board.disk.isPresent, false);
});

test("the event index silences interrupts until the driver wants one", () => {
  const { board, ask, driver } = disk(INDIRECT_FEATURE | EVENT_INDEX);
  for (let slot = 0; slot < 4; slot++) ask(slot, FLUSH, 0);
  driver.setUsedEvent(2);
  const interrupts = [1, 2, 3, 4].map((id) => {
    board.disk.answer(id, true, none);
    const pending = board.mmioRead(DISK + 0x60, 4);
    board.mmioWrite(DISK + 0x64, 4, pending);
    return pending;
  });
  assert.deepEqual(interrupts, [0, 0, 1, 0]);
});

test("rings full of garbage never throw, whatever is done with them", () => {
  const random = randomSource(20261125);
  let out = 0;
  for (let round = 0; round < 600; round++) {
    const { board, memory, driver, offer } = disk(random(2) === 0 ? INDIRECT_FEATURE | EVENT_INDEX : INDIRECT_FEATURE);
    for (let slot = 0; slot < 6; slot++) offer(slot, [READ, WRITE_OUT, FLUSH, GET_ID][random(4)]!, 8 * random(9), 4096 * random(4));
    for (let damage = random(6); damage > 0; damage--) {
      const at = [driver.rings + random(0x2000), TABLES + random(0x3000), HEADERS + random(96)][random(3)]!;
      memory.bytes[RAM + at] = random(3) === 0 ? random(256) : random(8);
    }
    for (let action = 0; action < 16; action++) {
      const choice = random(8);
      if (choice === 0) board.disk.repeat();
      else if (choice === 1) board.beginQuantum();
      else if (choice === 2) board.disk.grow(random(1 << 28) & ~0xfff);
      else if (choice === 3) driver.notify();
      else if (choice === 4) memory.view.setUint32(RAM + TABLES + random(0x3000), random(0x7fffffff), true);
      else if (choice === 5 && random(4) === 0) board.mmioWrite(DISK + 0x44, 4, random(2));
      else board.disk.answer(random(10), random(3) > 0, new Uint8Array(4096 * random(4)));
      for (const output of board.outputs.take()) {
        assert.ok(output.kind === "disk");
        out++;
        assert.ok(output.lengthBytes <= MAX_DISK_REQUEST_BYTES && output.offset + output.lengthBytes <= 1 << 28);
        assert.ok(output.offset % DISK_BLOCK_BYTES === 0 && output.lengthBytes % DISK_BLOCK_BYTES === 0);
        assert.equal(output.bytes.length, output.operation === "write" ? output.lengthBytes : 0);
      }
    }
  }
  assert.ok(out > 1000, "the garbage is plausible enough to get somewhere");
});
