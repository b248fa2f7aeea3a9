/** Parts of mirrored disks: checksums, what is read from files and wires, the order of operations, and what a store refuses. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MIB } from "../dist/foundation/bytes.js";
import { Admission, type Operation } from "../dist/storage/admission.js";
import { checksumBlocks, wordsOf } from "../dist/storage/block-checksum.js";
import { DiskController } from "../dist/storage/disk-controller.js";
import { FaultyFile, noFaults } from "../dist/storage/faulty-file.js";
import {
  BLOCK_BYTES,
  MAX_COMMAND_BYTES,
  MIRROR_LAG_MS,
  MIRROR_SILENT_MS,
  MIRROR_SLOW_MS,
  MOST_CREDITED_MS,
  REGION_BYTES,
} from "../dist/storage/limits.js";
import { MemoryFile } from "../dist/storage/memory-file.js";
import { parseStoreCommand, parseStoreReply, storeText } from "../dist/storage/messages.js";
import { BLANK_HEADER, decodeHeader, encodeHeader, HeaderFile, SLOT_BYTES } from "../dist/storage/mirror-header.js";
import { MirrorRow } from "../dist/storage/mirror-rows.js";
import { MirrorStore } from "../dist/storage/mirror-store.js";
import { RegionLog, SECTOR_BYTES } from "../dist/storage/region-log.js";
import { RegionSet } from "../dist/storage/region-set.js";
import type { DiskOptions } from "../dist/storage/context.js";
import type { MirrorFiles, StoreFile } from "../dist/storage/store-file.js";
import type { DiskEffect, DiskEvent, MirrorHeader, StoreCommand, StoreOperation, StoreReply } from "../dist/storage/types.js";
import { anyBytes, anyDamage, damaged, holds } from "./support/properties.js";

const damages = fc.array(anyDamage, { minLength: 1, maxLength: 4 });
const NO_BYTES = new Uint8Array(0);

function block(seed: number): Uint8Array {
  return Uint8Array.from({ length: BLOCK_BYTES }, (_, at) => Math.imul(at + 1, seed * 2 + 1) >>> 7);
}

test("checksums: of bytes that lie anywhere, as a payload in a message does", () => {
  const bytes = block(3);
  for (const shift of [0, 1, 2, 3, 4]) {
    const message = Buffer.alloc(BLOCK_BYTES + shift);
    message.set(bytes, shift);
    assert.deepEqual(checksumBlocks(message.subarray(shift), 9), checksumBlocks(bytes, 9), `at ${shift}`);
  }
});

test("checksums: any change of a byte shows, the same data elsewhere have another one, zeros have none", () => {
  holds(
    fc.tuple(fc.nat(1000), fc.nat(BLOCK_BYTES - 1), fc.integer({ min: 1, max: 255 }), fc.nat(1 << 24)),
    ([seed, at, change, number]) => {
      const bytes = block(seed + 1);
      const before = checksumBlocks(bytes, number);
      assert.notDeepEqual(checksumBlocks(bytes, number + 1), before);
      // Not aligned in memory: the same.
      const shifted = new Uint8Array(BLOCK_BYTES + 1);
      shifted.set(bytes, 1);
      assert.deepEqual(checksumBlocks(shifted.subarray(1), number), before);
      bytes[at] = (bytes[at] as number) ^ change;
      assert.notDeepEqual(checksumBlocks(bytes, number), before);
    },
  );
  assert.deepEqual(checksumBlocks(new Uint8Array(2 * BLOCK_BYTES), 7), new Uint32Array(4));
});

test("the stored form of checksums does not change by accident", () => {
  assert.deepEqual([...checksumBlocks(block(1), 12)], [339921047, 1423345497]);
});

const anyHeader: fc.Arbitrary<MirrorHeader> = fc
  .record({ diskId: fc.string({ maxLength: 40 }), sizeBytes: fc.nat(), highest: fc.nat(), syncedAt: fc.nat(), clearedAt: fc.nat() })
  .map((header) => ({ ...header }));

test("headers: what goes in comes out; a damaged slot is none", () => {
  holds(fc.tuple(anyHeader, fc.nat(), damages), ([header, generation, list]) => {
    const slot = encodeHeader(header, generation);
    assert.deepEqual(decodeHeader(slot), { header, generation });
    const decoded = decodeHeader(damaged(slot, list));
    if (decoded !== null) assert.deepEqual(decoded, { header, generation });
  });
  holds(anyBytes(SLOT_BYTES), (garbage) => assert.equal(decodeHeader(garbage), null));
});

function loaded(file: MemoryFile): { failure: string | null; header: MirrorHeader } {
  let result: { failure: string | null; header: MirrorHeader } | null = null;
  new HeaderFile(file).load((failure, header) => (result = { failure, header }));
  return result as unknown as { failure: string | null; header: MirrorHeader };
}

test("a header that is torn while it is written leaves the one before; one of another version is not taken for blank", () => {
  const file = new MemoryFile();
  const header = new HeaderFile(file);
  header.load(() => undefined);
  const first = { ...BLANK_HEADER, diskId: "a", highest: 1 };
  header.save(first, () => undefined);
  header.save({ ...first, highest: 2 }, () => undefined);
  assert.equal(loaded(file).header.highest, 2);
  file.contents.fill(0, 40, 60);
  assert.deepEqual(loaded(file), { failure: null, header: first });
  file.contents[3] = 9;
  assert.match(loaded(file).failure ?? "", /format 9/);
});

test("sets of regions are sets", () => {
  const step = fc.tuple(fc.boolean(), fc.nat(99));
  holds(fc.array(step, { maxLength: 60 }), (steps) => {
    const [set, model] = [new RegionSet(100), new Set<number>()];
    for (const [isAdded, region] of steps) {
      if (isAdded) assert.equal(set.add(region), !model.has(region));
      else assert.equal(set.delete(region), model.has(region));
      if (isAdded) model.add(region);
      else model.delete(region);
    }
    assert.equal(set.size, model.size);
    assert.deepEqual(
      [...set],
      [...model].sort((left, right) => left - right),
    );
    assert.deepEqual([...new RegionSet(100, set.bits)], [...set]);
  });
});

test("the log: what is marked is there after a loss of power; a damaged sector counts as full", () => {
  const sizeBytes = 9000 * REGION_BYTES;
  holds(fc.tuple(fc.array(fc.nat(8999), { minLength: 1, maxLength: 20 }), damages), ([regions, list]) => {
    const file = new MemoryFile();
    const log = new RegionLog(file);
    log.reset(sizeBytes, () => undefined);
    log.mark(regions, (failure) => assert.equal(failure, null));
    const again = new RegionLog(file);
    again.load(sizeBytes, () => undefined);
    assert.deepEqual([...again.logged], [...log.logged]);
    for (const region of regions) assert.ok(again.logged.has(region));
    for (const { at, value } of list) file.contents[at % (3 * SECTOR_BYTES)] = value;
    again.load(sizeBytes, () => undefined);
    for (const region of regions) assert.ok(again.logged.has(region), `region ${region}`);
    again.keepOnly([regions[0] as number], () => undefined);
    assert.deepEqual([...again.logged], [regions[0]]);
  });
});

test("operations: the guest's side by side, what has a region for itself waits for those before and holds up those after", () => {
  const admission = new Admission();
  const begun: string[] = [];
  const make = (name: string, offset: number, lengthBytes: number, isExclusive = false): Operation => ({
    offset,
    lengthBytes,
    isExclusive,
    begin: () => begun.push(name),
  });
  const [one, two, job, after, flush, far] = [
    make("one", 0, 8),
    make("two", 4, 8),
    make("job", 0, 16, true),
    make("after", 8, 4),
    make("flush", 0, 0),
    make("far", 16, 8),
  ] as const;
  for (const operation of [one, two, job, after, flush, far]) admission.add(operation as Operation);
  assert.deepEqual(begun, ["one", "two", "flush", "far"]);
  admission.remove(one as Operation);
  assert.equal(begun.length, 4);
  admission.remove(two as Operation);
  assert.deepEqual(begun.slice(4), ["job"]);
  admission.remove(job as Operation);
  assert.deepEqual(begun.slice(5), ["after"]);
});

class Bench {
  readonly replies: StoreReply[] = [];
  readonly store: MirrorStore;
  #tickets = 0;

  constructor(
    files: MirrorFiles = { data: new MemoryFile(), checksums: new MemoryFile(), log: new MemoryFile(), header: new MemoryFile() },
  ) {
    this.store = new MirrorStore(files, (reply) => this.replies.push(reply));
    this.store.open(() => undefined);
  }

  ask(configuration: number, operation: StoreOperation, bytes: Uint8Array = NO_BYTES): StoreReply {
    this.store.submit({ ticket: ++this.#tickets, configuration, operation, bytes });
    return this.replies.at(-1) as StoreReply;
  }
}

test("a store refuses what comes from a lower configuration, and what makes no sense", () => {
  const bench = new Bench();
  assert.equal(bench.ask(0, { kind: "recreate", diskId: "a", sizeBytes: 2 * MIB }).outcome, "ok");
  assert.equal(bench.ask(5, { kind: "configure", isInSync: true }).header.syncedAt, 5);
  assert.equal(bench.ask(4, { kind: "write", offset: 0, lengthBytes: 4096 }, new Uint8Array(4096)).outcome, "refused");
  assert.equal(bench.ask(4, { kind: "configure", isInSync: true }).outcome, "refused");
  assert.equal(bench.ask(6, { kind: "flush" }).outcome, "failed");
  for (const operation of [
    { kind: "read", offset: 1, lengthBytes: 4096 },
    { kind: "read", offset: 2 * MIB, lengthBytes: 4096 },
    { kind: "read", offset: 0, lengthBytes: MAX_COMMAND_BYTES + 4096 },
    { kind: "write", offset: 0, lengthBytes: 8192 },
    { kind: "poison", blocks: [512] },
    { kind: "settle", region: 0, adopt: [-1] },
    { kind: "grow", sizeBytes: 4096 },
    { kind: "recreate", diskId: "b", sizeBytes: 100 },
  ] as const)
    assert.equal(bench.ask(5, operation).outcome, "failed", JSON.stringify(operation));
  assert.equal(bench.ask(5, { kind: "write", offset: 4096, lengthBytes: 4096 }, block(3)).outcome, "ok");
  const read = bench.ask(5, { kind: "read", offset: 0, lengthBytes: 8192 });
  assert.deepEqual(read.bytes.subarray(4096), block(3));
  // What is known to be older than the disk is never taken for good again but by a write.
  assert.equal(bench.ask(5, { kind: "poison", blocks: [1] }).outcome, "ok");
  assert.equal(bench.ask(5, { kind: "settle", region: 0, adopt: [1] }).outcome, "ok");
  assert.deepEqual(bench.ask(5, { kind: "read", offset: 0, lengthBytes: 8192 }).bad, [1]);
});

test("a block to which writes failed holds what it held before, as on any disk, or the last of them", () => {
  const faults = noFaults();
  const files = { data: new MemoryFile(), checksums: new MemoryFile(), log: new MemoryFile(), header: new MemoryFile() };
  const later = (_: number, run: () => void): void => run();
  const bench = new Bench({
    ...files,
    data: new FaultyFile(files.data, faults, later),
    checksums: new FaultyFile(files.checksums, faults, later),
  });
  const read = (): StoreReply => bench.ask(0, { kind: "read", offset: 4096, lengthBytes: 4096 });
  const write = (seed: number): StoreReply => bench.ask(0, { kind: "write", offset: 4096, lengthBytes: 4096 }, block(seed));
  assert.equal(bench.ask(0, { kind: "recreate", diskId: "a", sizeBytes: MIB }).outcome, "ok");
  write(1);
  for (const fault of ["writeErrors", "isFull"] as const) {
    faults[fault] = true;
    assert.deepEqual([write(2).outcome, write(3).outcome], ["failed", "failed"]);
    faults[fault] = false;
    const digest = bench.ask(0, { kind: "digest", offset: 4096, lengthBytes: 4096, mustRead: false });
    assert.deepEqual(wordsOf(digest.bytes), checksumBlocks(block(1), 1), "and its checksum is told only when that is known");
    assert.deepEqual([read().bad, read().bytes], [[], block(1)]);
  }
  files.checksums.write = (_offset, _bytes, done) => done("EIO");
  assert.equal(write(4).outcome, "failed");
  assert.deepEqual([read().bad, read().bytes], [[], block(4)]);
  files.data.contents[4096 + 77] = 0;
  assert.deepEqual(read().bad, [1], "anything else is damage");
});

test("a process that ends while it begins a mirror anew leaves a blank one", () => {
  const files = { data: new MemoryFile(), checksums: new MemoryFile(), log: new MemoryFile(), header: new MemoryFile() };
  const data = files.data;
  const store = new MirrorStore({ ...files, data: endsInResize(data) }, () => assert.fail("the process ended"));
  store.open(() => undefined);
  store.submit({ ticket: 1, configuration: 0, operation: { kind: "recreate", diskId: "a", sizeBytes: MIB }, bytes: NO_BYTES });
  const next = new MirrorStore(files, () => undefined);
  next.open((failure, header) => assert.deepEqual([failure, header], [null, BLANK_HEADER]));
});

/** The file for a process that ends when it resizes it. */
function endsInResize(file: MemoryFile): StoreFile {
  return {
    read: (offset, lengthBytes, done) => file.read(offset, lengthBytes, done),
    write: (offset, bytes, done) => file.write(offset, bytes, done),
    sync: (done) => file.sync(done),
    resize: () => undefined,
  };
}

test("messages: what goes in comes out; damaged ones are refused or are other messages", () => {
  const command: StoreCommand = {
    ticket: 7,
    configuration: 3,
    operation: { kind: "settle", region: 2, adopt: [512, 513] },
    bytes: NO_BYTES,
  };
  const reply: StoreReply = { ticket: 7, configuration: 3, outcome: "ok", why: "", bad: [4], header: BLANK_HEADER, bytes: NO_BYTES };
  assert.deepEqual(parseStoreCommand(storeText(command), NO_BYTES), command);
  assert.deepEqual(parseStoreReply(storeText(reply), NO_BYTES), reply);
  const texts = fc.oneof(
    fc.json(),
    fc.string({ unit: "binary", maxLength: 100 }),
    fc.tuple(fc.constantFrom(storeText(command), storeText(reply)), damages).map(([text, list]) => {
      return new TextDecoder().decode(damaged(new TextEncoder().encode(text), list));
    }),
  );
  holds(texts, (text) => {
    const parsed = parseStoreCommand(text, NO_BYTES) ?? parseStoreReply(text, NO_BYTES);
    if (parsed !== null) assert.ok(Number.isSafeInteger(parsed.ticket) && Number.isSafeInteger(parsed.configuration));
  });
});

test("slowness: late answers add up to the limit of one, however short each is, and are forgotten slowly", () => {
  /** Every answer takes so long, and the next request comes at once; until the limit, or an hour. */
  const dropsAfter = (answerMs: number): number => {
    const row = new MirrorRow("io1");
    for (let atMs = MOST_CREDITED_MS; atMs < 3_600_000; atMs += MOST_CREDITED_MS)
      if (row.account(atMs, atMs % answerMs > MIRROR_SLOW_MS) > MIRROR_LAG_MS) return atMs;
    return Infinity;
  };
  assert.equal(dropsAfter(MIRROR_SLOW_MS), Infinity);
  // Two answers of a disk that takes two seconds for each, not one of each request's five.
  assert.ok(dropsAfter(2000) > 2000 && dropsAfter(2000) <= 2 * 2000, String(dropsAfter(2000)));
  assert.ok(dropsAfter(1000) < 5000, String(dropsAfter(1000)));
  const row = new MirrorRow("io1");
  for (let atMs = 0; atMs <= MIRROR_LAG_MS; atMs += MOST_CREDITED_MS) row.account(atMs, true);
  const after = row.account(100 * MIRROR_LAG_MS, false);
  assert.equal(after, 0);
  // It was away: that is not time in which it was slow.
  assert.equal(row.account(1000 * MIRROR_LAG_MS, true), MOST_CREDITED_MS);
});

const GRACE_MS = 100;

/** A controller of two mirrors of which the test plays both, at its own time. */
class TwoMirrors {
  atMs = 0;
  readonly #effects: DiskEffect[] = [];
  readonly #controller: DiskController;
  readonly #header: MirrorHeader = { ...BLANK_HEADER, diskId: "d", sizeBytes: MIB, highest: 1, syncedAt: 1 };

  constructor(known: Pick<DiskOptions, "isSilent" | "isLost">) {
    const options = { diskId: "d", sizeBytes: MIB, mirrors: ["io0", "io1"], local: "io0", graceMs: GRACE_MS, ...known };
    this.#controller = new DiskController(options, (effect) => this.#effects.push(effect));
  }

  step(event: Record<string, unknown>): void {
    this.#controller.step({ ...event, atMs: this.atMs } as unknown as DiskEvent);
  }

  up(...names: readonly string[]): void {
    for (const name of names) this.step({ kind: "mirrorUp", name, header: this.#header });
  }

  /** All that these were asked so far is done. */
  answer(...names: readonly string[]): void {
    for (const effect of this.#effects.splice(0)) {
      if (effect.kind !== "command" || !names.includes(effect.mirror)) continue;
      const { ticket, configuration } = effect.command;
      const reply = { ticket, configuration, outcome: "ok", why: "", bad: [], header: this.#header, bytes: new Uint8Array(2) };
      this.step({ kind: "reply", name: effect.mirror, reply });
    }
  }

  /** When io1 is to be dropped; Infinity: not within twice the longest limit. */
  droppedAtMs(): number {
    const isDropped = (): boolean => this.#effects.some((effect) => effect.kind === "wantMirrors" && !effect.mirrors.includes("io1"));
    while (!isDropped() && this.atMs < 2 * MIRROR_LAG_MS) {
      this.atMs += 10;
      this.step({ kind: "wake" });
    }
    return isDropped() ? this.atMs : Infinity;
  }
}

/** How long a write waits until the mirror that does not answer is to be dropped. */
function droppedAfterMs(isSilent: boolean): number {
  const disk = new TwoMirrors({ isSilent: (name) => isSilent && name === "io1" });
  disk.up("io0", "io1");
  disk.step({ kind: "configured", number: 1, mirrors: ["io0", "io1"] });
  disk.answer("io0", "io1");
  disk.step({ kind: "request", request: { id: 1, operation: "write", offset: 0, lengthBytes: BLOCK_BYTES, bytes: block(1) } });
  disk.answer("io0");
  return disk.droppedAtMs();
}

test("a mirror that does not answer is dropped after 2 s, and after 300 ms if its I/O module is silent too", () => {
  assert.equal(droppedAfterMs(false), MIRROR_LAG_MS + 10);
  assert.equal(droppedAfterMs(true), MIRROR_SILENT_MS + 10);
});

test("at the start a mirror in sync is waited for, but not one whose I/O module was lost a moment ago; without any other nothing is dropped", () => {
  const begin = (isLost: boolean): TwoMirrors => {
    const disk = new TwoMirrors({ isLost: (name) => isLost && name === "io1" });
    disk.up("io0");
    disk.step({ kind: "configured", number: 1, mirrors: ["io0", "io1"] });
    return disk;
  };
  const [waiting, taking, alone] = [begin(false), begin(true), begin(true)];
  waiting.answer("io0");
  assert.equal(waiting.droppedAtMs(), GRACE_MS);
  taking.answer("io0");
  assert.ok(taking.droppedAtMs() <= 10);
  assert.equal(alone.droppedAtMs(), Infinity);
});
