/** Mirrors on real files, with a real controller: faults, restarts, resync, export and import. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync, openSync, writeSync, closeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { MIB } from "../dist/foundation/bytes.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { compareMirrors, createDisk, exportDisk, forgetConfigurations, importDisk, readHeader } from "../dist/modules/disk-files.js";
import { BlockStore } from "../dist/modules/block-store.js";
import { RealDisk } from "./support/real-disk.js";

const work = mkdtempSync(join(tmpdir(), "steadfast-storage-"));
after(() => rmSync(work, { recursive: true }));

let number = 0;
function freshDirectory(): string {
  return join(work, `mirror${(number += 1)}`);
}

/** A disk with two mirrors, of which the second is filled from the first. */
async function pair(sizeBytes: number, act: (disk: RealDisk, left: string, right: string) => Promise<void>): Promise<void> {
  const [left, right] = [freshDirectory(), freshDirectory()];
  await createDisk(left, "disk-a", sizeBytes);
  const disk = new RealDisk({ io0: left, io1: right });
  try {
    await disk.insert("io0");
    disk.begin();
    await disk.insert("io1");
    await disk.until(() => disk.stateOf("io1") === "in sync", "the second mirror comes in sync");
    await act(disk, left, right);
  } finally {
    await disk.end();
  }
}

function code(expected: string): (error: unknown) => boolean {
  return (error) => error instanceof SteadfastError && error.code === expected;
}

test("what is written is on both mirrors and is read back, also after both were closed", async () => {
  let directories = ["", ""];
  await pair(8 * MIB, async (disk, left, right) => {
    directories = [left, right];
    for (let block = 0; block < 200; block += 7) assert.ok(await disk.write(block * 4096, 4096 * (1 + (block % 5)), block + 1));
    assert.ok(await disk.flush());
    for (let block = 0; block < 200; block += 7) assert.deepEqual(await disk.read(block * 4096, 4096), disk.pattern(4096, block + 1));
    assert.deepEqual(await disk.read(4 * MIB, 8192), new Uint8Array(8192));
  });
  const compared = await compareMirrors(directories[0] as string, directories[1] as string);
  assert.deepEqual(compared, { blocks: 2048, differing: [], bad: [[], []] });
  const raw = join(work, "exported");
  await exportDisk(directories[1] as string, raw);
  assert.equal(statSync(raw).size, 8 * MIB);
  assert.ok(readFileSync(raw).equals(readFileSync(join(directories[0] as string, "data"))));
});

test("bit rot and unreadable blocks: the guest reads the good copy, the bad one is repaired", async () => {
  await pair(4 * MIB, async (disk, left, right) => {
    assert.ok(await disk.write(40960, 16384, 9));
    assert.ok(await disk.flush());
    const file = openSync(join(left, "data"), "r+");
    writeSync(file, "rot", 40960 + 5000);
    closeSync(file);
    disk.faultsOf("io0").unreadable.push({ offset: 40960 + 8192, lengthBytes: 4096 });
    assert.deepEqual(await disk.read(40960, 16384), disk.pattern(16384, 9));
    await disk.until(() => disk.counters.repairedBlocks === 2, "both blocks are repaired");
    assert.equal(disk.counters.errors, 0);
    assert.equal(disk.counters.badBlocks, 2);
    assert.equal(disk.faultsOf("io0").unreadable.length, 0);
    assert.deepEqual((await compareMirrors(left, right)).differing, []);
  });
});

for (const [what, arm] of [
  ["lost", { lostWrites: 1 }],
  ["torn", { tornWrites: 1 }],
  ["misdirected", { misdirectedWrites: 1 }],
] as const) {
  test(`a ${what} write is found by the scrubber and repaired from the other mirror`, async () => {
    await pair(4 * MIB, async (disk, left, right) => {
      assert.ok(await disk.write(0, 65536, 3));
      Object.assign(disk.faultsOf("io1"), arm);
      assert.ok(await disk.write(16384, 8192, 4));
      await disk.flush();
      disk.scrub();
      await disk.until(() => disk.counters.scrubbedBlocks >= 2 * 1024, "the scrubber has been through");
      assert.ok(disk.counters.repairedBlocks > 0);
      const { differing, bad } = await compareMirrors(left, right);
      assert.deepEqual([differing, bad], [[], [[], []]]);
      assert.deepEqual(await disk.read(16384, 8192), disk.pattern(8192, 4));
    });
  });
}

test("a mirror that cannot be written to, or is full, is dropped and comes back; the guest sees nothing of it", async () => {
  for (const fault of ["writeErrors", "isFull", "syncErrors"] as const) {
    await pair(4 * MIB, async (disk, left, right) => {
      disk.faultsOf("io1")[fault] = true;
      assert.ok(await disk.write(8192, 4096, 5));
      assert.ok(await disk.flush());
      assert.notEqual(disk.stateOf("io1"), "in sync");
      disk.faultsOf("io1")[fault] = false;
      await disk.until(() => disk.stateOf("io1") === "in sync", "it comes back");
      assert.equal(disk.counters.errors, 0);
      assert.deepEqual((await compareMirrors(left, right)).differing, []);
    });
  }
});

test("a slow mirror is dropped once the other one has answered; the last one's errors are the guest's, never wrong data", async () => {
  await pair(4 * MIB, async (disk, left) => {
    // Until it is dropped, however long that takes on a busy host: time in which the controller does not run does not count.
    disk.faultsOf("io1").slowMs = 60_000;
    assert.ok(await disk.write(0, 4096, 6));
    assert.ok(disk.hadEvent("MIRROR_DROPPED"));
    disk.faultsOf("io1").slowMs = 0;
    await disk.remove("io1");
    const file = openSync(join(left, "data"), "r+");
    writeSync(file, "rot", 100);
    closeSync(file);
    assert.equal(await disk.read(0, 4096), null);
    assert.equal(disk.counters.unrepairable, 1);
    disk.faultsOf("io0").writeErrors = true;
    assert.equal(await disk.write(4096, 4096, 7), false);
    disk.faultsOf("io0").writeErrors = false;
    assert.ok(await disk.write(0, 8192, 8));
    assert.deepEqual(await disk.read(0, 8192), disk.pattern(8192, 8));
  });
});

test("1 GiB: after a short absence the log says what to copy, at least ten times less than all", { timeout: 120_000 }, async () => {
  await pair(1024 * MIB, async (disk) => {
    // Every region has something; the rest is sparse.
    for (let region = 0; region < 1024; region += 1) assert.ok(await disk.write(region * MIB, 131072, region + 1));
    assert.ok(await disk.flush());
    await disk.remove("io1");
    for (let region = 0; region < 1024; region += 20) assert.ok(await disk.write(region * MIB, 65536, region + 2000));
    const before = disk.counters.copiedBytes;
    await disk.insert("io1");
    await disk.until(() => disk.stateOf("io1") === "in sync", "it comes back by the log");
    const byLog = disk.counters.copiedBytes - before;
    await disk.replaceByBlank("io1");
    await disk.until(() => disk.stateOf("io1") === "in sync", "a blank one is filled");
    const full = disk.counters.copiedBytes - before - byLog;
    assert.equal(byLog, 52 * 65536);
    assert.equal(full, 1024 * 131072);
    assert.ok(byLog * 10 <= full, `${byLog} of ${full}`);
  });
});

test("the disk grows online, on both mirrors", async () => {
  await pair(2 * MIB, async (disk, left, right) => {
    assert.equal(await disk.write(2 * MIB, 4096, 1), false);
    disk.grow(5 * MIB);
    await disk.until(() => disk.sizeBytes === 5 * MIB, "it grows");
    assert.ok(await disk.write(4 * MIB, 8192, 2));
    assert.deepEqual(await disk.read(4 * MIB, 8192), disk.pattern(8192, 2));
    assert.equal((await readHeader(left)).sizeBytes, 5 * MIB);
    assert.equal((await readHeader(right)).sizeBytes, 5 * MIB);
  });
});

test("import and export keep every byte; damage and misuse are told in one sentence", async () => {
  const raw = join(work, "raw");
  writeFileSync(raw, Buffer.alloc(300_000, 7));
  truncateSync(raw, 3_000_000);
  const directory = freshDirectory();
  await importDisk(directory, "disk-b", raw);
  const back = join(work, "back");
  await exportDisk(directory, back);
  assert.ok(readFileSync(back).subarray(0, 3_000_000).equals(readFileSync(raw)));
  await assert.rejects(importDisk(directory, "disk-c", raw), code("MIRROR_EXISTS"));
  await assert.rejects(importDisk(freshDirectory(), "disk-c", join(work, "absent")), code("DISK_FILE"));
  await assert.rejects(createDisk(freshDirectory(), "disk-c", 5000), code("DISK_SIZE"));
  await assert.rejects(exportDisk(freshDirectory(), back), code("MIRROR_BLANK"));
  const file = openSync(join(directory, "data"), "r+");
  writeSync(file, "rot", 12_288);
  closeSync(file);
  await assert.rejects(exportDisk(directory, back), code("DISK_DAMAGED"));
  await forgetConfigurations(directory, true);
  assert.equal((await readHeader(directory)).highest, 0);
});

test("one process a mirror; a directory that cannot be used is named", async () => {
  const directory = freshDirectory();
  const store = await BlockStore.open(directory);
  await assert.rejects(BlockStore.open(directory), code("MIRROR_BUSY"));
  await store.close();
  await (await BlockStore.open(directory)).close();
  const path = join(work, "a-file");
  writeFileSync(path, "");
  await assert.rejects(BlockStore.open(path), code("MIRROR_UNUSABLE"));
});

test("a formatted disk goes in and comes out whole", { skip: !hasMkfs() }, async () => {
  const raw = join(work, "ext4");
  execFileSync("truncate", ["-s", "16M", raw]);
  execFileSync("mkfs.ext4", ["-q", "-F", raw]);
  const directory = freshDirectory();
  await importDisk(directory, "disk-d", raw);
  execFileSync("e2fsck", ["-fn", join(directory, "data")], { stdio: "ignore" });
});

function hasMkfs(): boolean {
  try {
    execFileSync("mkfs.ext4", ["-V"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
