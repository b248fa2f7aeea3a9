/**
 * Linux with a disk: a guest boots in this process with an ext4 disk held in the test's memory, writes and reads it, is replaced by a copy
 * of itself and has its I/O module replaced while requests are out, sees the disk grow, and loses its power. Needs an image in the cache of
 * this host: without one it is skipped aloud, or fails if STEADFAST_REQUIRE_IMAGES is set.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { SeededRandom } from "../dist/foundation/random.js";
import { findImage, type ImageRecord } from "../dist/image/index.js";
import { createRv64Machine } from "../dist/machine/engines/rv64/index.js";
import type { Machine, MachineInput } from "../dist/machine/machine.js";
import { consoleText, guestCore, hostTool } from "./support/board-guest.js";
import { MemoryDisk } from "./support/memory-disk.js";

const DISK_BYTES = 48 << 20;
const BUDGET = 400_000;
const MAX_IDLE_NS = 20_000_000n;
/** A guest that says nothing of what is expected for so many ticks will not say it any more. */
const MOST_TICKS = 40_000;
const TIME_LIMIT_MS = 600_000;

const folder = mkdtempSync(join(tmpdir(), "steadfast-disk-"));
after(() => rmSync(folder, { recursive: true, force: true }));

function newFileSystem(): Uint8Array {
  const path = join(folder, "new.img");
  writeFileSync(path, "");
  truncateSync(path, DISK_BYTES);
  hostTool("mkfs.ext4", "e2fsprogs", ["-q", "-F", "-b", "4096", "-L", "data", path]);
  return new Uint8Array(readFileSync(path));
}

/** Checks a file system without changing it, and takes a file out of it. */
function fileOn(content: Uint8Array, name: string): Buffer {
  const [image, copy] = [join(folder, "check.img"), join(folder, "copy")];
  writeFileSync(image, content);
  hostTool("e2fsck", "e2fsprogs", ["-fn", image]);
  hostTool("debugfs", "e2fsprogs", ["-R", `dump ${name} ${copy}`, image]);
  return readFileSync(copy);
}

class Guest {
  console = "";
  machine: Machine;
  #nowNs = 0n;

  constructor(
    private readonly image: ImageRecord,
    readonly disk: MemoryDisk,
  ) {
    this.machine = this.create();
  }

  create(): Machine {
    const { image } = this;
    return createRv64Machine({
      core: guestCore(),
      kernel: readFileSync(image.kernelPath),
      initrd: readFileSync(image.initrdPath),
      commandLine: `${image.commandLine} steadfast.hostname=disk`,
      ramBytes: image.memoryMiB << 20,
      harts: 1,
      epochNs: 1_790_000_000_000_000_000n,
      imageDigest: "disk",
      diskBytes: DISK_BYTES,
    });
  }

  tick(inputs: MachineInput[] = []): void {
    const result = this.machine.run({ nowNs: this.#nowNs, budget: BUDGET, inputs: [...inputs, ...this.disk.answers()] });
    this.disk.take(result.outputs);
    this.console += consoleText(result.outputs);
    const latest = result.timeNs + MAX_IDLE_NS;
    const { idleUntilNs } = result;
    if (this.disk.waiting > 0 || idleUntilNs === null) this.#nowNs = result.timeNs + 50_000n;
    else this.#nowNs = idleUntilNs < latest ? idleUntilNs : latest;
  }

  powerOn(): void {
    this.tick([{ kind: "powerOn", entropy: new Uint8Array(64).fill(7) }]);
  }

  type(line: string): void {
    this.tick([{ kind: "console", bytes: new TextEncoder().encode(line + "\n") }]);
  }

  /** Runs until the console matches from where it was `after`; returns the match. */
  sees(pattern: RegExp, after = 0): RegExpExecArray {
    for (let ticks = 0; ticks < MOST_TICKS; ticks++) {
      const match = pattern.exec(this.console.slice(after));
      if (match !== null) return match;
      this.tick();
    }
    throw new Error(`no ${String(pattern)} on the console:\n${this.console.slice(-4000)}`);
  }

  /** Runs a command line in the guest's shell; returns what it printed. */
  shell(command: string): string {
    const from = this.console.length;
    // Divided, so that the echo of what was typed is not taken for its end.
    this.type(`{ ${command}; } 2>&1; echo "=end""=$?="`);
    this.sees(/=end=(\d+)=/, from);
    return this.console.slice(from);
  }

  /** Runs until requests are out that nobody answered. */
  untilWaiting(count: number): void {
    for (let ticks = 0; this.disk.waiting < count; ticks++) {
      assert.ok(ticks < MOST_TICKS, "the guest asks nothing of its disk");
      this.tick();
    }
  }
}

function writesAndReads(guest: Guest): string {
  assert.match(guest.shell("mount"), /\/dev\/vda on \/data type ext4 \([^)]*noatime[^)]*\)/);
  assert.match(guest.shell("cat /sys/block/vda/serial /sys/block/vda/queue/logical_block_size"), /steadfast-disk0\s*4096/);
  assert.match(guest.shell("cat /sys/block/vda/queue/write_cache"), /write back/);
  const first = guest.shell("dd if=/dev/urandom of=/data/file bs=64k count=60 conv=fsync && sha256sum /data/file");
  const digest = /([0-9a-f]{64})/.exec(first)?.[1];
  assert.ok(digest !== undefined, first);
  const again = guest.shell("echo 3 > /proc/sys/vm/drop_caches; sha256sum /data/file");
  assert.ok(again.includes(digest), again);
  const held = fileOn(replayed(guest.disk.content()), "/file");
  assert.equal(createHash("sha256").update(held).digest("hex"), digest, "what the guest wrote is what its disk holds");
  return digest;
}

/** A file system that is mounted has a journal to be replayed before it can be checked. */
function replayed(content: Uint8Array): Uint8Array {
  const path = join(folder, "replay.img");
  writeFileSync(path, content);
  hostTool("e2fsck", "e2fsprogs", ["-p", path]);
  return new Uint8Array(readFileSync(path));
}

/** A copy takes the guest's place while requests are out, and the I/O module that had them is lost. */
function isReplaced(guest: Guest): void {
  guest.type("rm -f /data/big; dd if=/dev/zero of=/data/big bs=128k count=80 conv=fsync; sync; echo copi''ed");
  guest.untilWaiting(3);
  const copy = guest.create();
  for (const piece of guest.machine.capture().finish()) copy.restore(piece);
  assert.equal(copy.fullDigest(), guest.machine.fullDigest());
  guest.machine = copy;
  guest.disk.forget();
  guest.tick([{ kind: "diskRepeat" }]);
  assert.ok(guest.disk.waiting > 0, "what was out is put out again");
  guest.sees(/copied/);
}

function grows(guest: Guest): void {
  guest.disk.grow(2 * DISK_BYTES);
  guest.tick([{ kind: "diskSize", bytes: 2 * DISK_BYTES }]);
  const sectors = String((2 * DISK_BYTES) / 512);
  assert.ok(guest.shell("sleep 1; cat /sys/block/vda/size").includes(sectors));
}

/** All power is lost in the middle of writing; what was acknowledged before is there afterwards. */
function losesPower(guest: Guest, digest: string): void {
  guest.shell("echo acknow''ledged > /data/note; sync");
  guest.type("while :; do dd if=/dev/urandom of=/data/junk bs=16k count=20 2>/dev/null; mv /data/junk /data/old; done");
  guest.untilWaiting(2);
  for (let ticks = 0; ticks < 200; ticks++) guest.tick();
  guest.disk.losePower();
  assert.equal(fileOn(replayed(guest.disk.content()), "/note").toString(), "acknowledged\n");
  guest.console = "";
  guest.powerOn();
  guest.sees(/steadfast: ready after/);
  const found = guest.shell("cat /data/note; sha256sum /data/file; dmesg | grep -i ext4");
  assert.ok(found.includes("acknowledged") && found.includes(digest), found);
  assert.doesNotMatch(found, /error/i);
  assert.match(guest.shell("cat /sys/block/vda/size"), new RegExp(String((2 * DISK_BYTES) / 512)));
}

function image(kernel: "hardened" | "stock"): ImageRecord {
  const found = findImage({ kernel });
  assert.ok(found !== undefined, missing(kernel));
  return found;
}

function missing(kernel: string): string {
  return `no ${kernel} image here; make it with: steadfast image build --kernel ${kernel}`;
}

function optionsFor(kernel: "hardened" | "stock"): { skip: string } | { timeout: number } {
  const required = (process.env["STEADFAST_REQUIRE_IMAGES"] ?? "") !== "";
  return findImage({ kernel }) === undefined && !required ? { skip: missing(kernel) } : { timeout: TIME_LIMIT_MS };
}

for (const kernel of ["hardened", "stock"] as const) {
  test(`Linux (${kernel}) keeps what it wrote over a copy, an I/O module's loss, growth and a power loss`, optionsFor(kernel), (t) => {
    const guest = new Guest(image(kernel), new MemoryDisk(newFileSystem(), new SeededRandom(4)));
    guest.powerOn();
    guest.sees(/steadfast: ready after/);
    const digest = writesAndReads(guest);
    isReplaced(guest);
    grows(guest);
    losesPower(guest, digest);
    assert.doesNotMatch(guest.console, /I\/O error|Buffer I\/O|cannot load/);
    const { read, write, flush } = guest.disk.served;
    t.diagnostic(`${read} reads, ${write} writes, ${flush} flushes`);
    assert.ok(read > 10 && write > 50 && flush > 5);
  });
}

test("a disk without a file system is left alone; one that is broken leaves /data read-only", optionsFor("hardened"), () => {
  for (const [first, second, started, expected] of [
    [0, 0, /steadfast: ready after/, /no mount\s+written/],
    // Redis does not keep in memory what belongs on the disk.
    [0x53, 0xef, /so \/data is read-only[^]*service redis ended/, /tmpfs on \/data type tmpfs \(ro[^]*Read-only file system/],
  ] as const) {
    const content = new Uint8Array(DISK_BYTES);
    content.set([first, second], 1080);
    const guest = new Guest(image("hardened"), new MemoryDisk(content, new SeededRandom(5)));
    guest.powerOn();
    guest.sees(started);
    assert.match(guest.shell("mount | grep /data || echo no mount; echo writ''ten > /data/x; cat /data/x"), expected);
    assert.deepEqual(guest.disk.content(), content);
    assert.match(guest.shell("mke2fs -q /dev/vda; sync; dd if=/dev/vda bs=2 skip=540 count=1 | od -An -tx1"), /53 ef/);
    assert.deepEqual([...guest.disk.content().subarray(1080, 1082)], [0x53, 0xef]);
  }
});
