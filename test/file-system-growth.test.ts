/** The program that grows a guest's file system: its words are what the assembler makes of their text, and its file is one that runs. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { SteadfastError } from "../dist/foundation/errors.js";
import { growFileSystem, isGrowthOwed } from "../dist/modules/file-system-growth.js";
import type { AgentAnswer } from "../dist/modules/management-agent.js";
import { INSTRUCTIONS, resizeProgram } from "../dist/modules/resize-program.js";
import { hostTool } from "./support/board-guest.js";

const EMULATOR = "qemu-riscv64-static";
const ENOENT = 2;
/** What the emulator says to ioctls that it does not know. */
const ENOSYS = 38;

let work = "";
before(() => (work = mkdtempSync(join(tmpdir(), "steadfast-resize-"))));
after(() => rmSync(work, { recursive: true, force: true }));

test("its words are what the assembler makes of their text", () => {
  const [source, object, flat] = ["resize.s", "resize.o", "resize.bin"].map((name) => join(work, name)) as [string, string, string];
  writeFileSync(source, INSTRUCTIONS.map(([, text]) => `${text}\n`).join(""));
  hostTool("riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu", ["-march=rv64im", "-mabi=lp64", "-c", source, "-o", object]);
  hostTool("riscv64-linux-gnu-objcopy", "binutils-riscv64-linux-gnu", ["-O", "binary", object, flat]);
  const bytes = readFileSync(flat);
  const words = Array.from({ length: bytes.length / 4 }, (_, at) => bytes.readUInt32LE(4 * at));
  assert.deepEqual(
    INSTRUCTIONS.map(([word]) => word),
    words,
  );
});

test("it ends with the kernel's error number", () => {
  const program = join(work, "resize");
  writeFileSync(program, resizeProgram());
  chmodSync(program, 0o700);
  const run = (directory: string): number | null => spawnSync(EMULATOR, [program, directory, "25600"]).status;
  assert.equal(run(join(work, "nowhere")), ENOENT);
  assert.equal(run("/proc"), ENOSYS);
});

test("the outcome is an event, whatever the guest does", async () => {
  const told: string[] = [];
  const grow = (answer: () => AgentAnswer, mayBeGrown = false): Promise<void> =>
    growFileSystem(
      () => new Promise((resolve) => resolve(answer())),
      (severity, code, text) => told.push(`${severity} ${code}: ${text}`),
      mayBeGrown,
    );
  await grow(() => ({ id: "1", status: 0, output: new Uint8Array(0) }));
  await grow(() => ({ id: "2", status: 1, output: Buffer.from("no ext4 on /dev/vda is mounted\n") }));
  await grow(() => {
    throw new SteadfastError("AGENT_UNANSWERED", { id: "3", why: "the guest was started anew" });
  });
  const hadSize = (): AgentAnswer => ({ id: "4", status: 3, output: Buffer.from("it had the size of the disk already\n") });
  await grow(hadSize);
  await grow(hadSize, true);
  assert.equal(told.length, 5);
  assert.match(told[0] ?? "", /^info FILE_SYSTEM_GROWN/);
  assert.match(told[1] ?? "", /^warning FILE_SYSTEM_NOT_GROWN: .*no ext4 on \/dev\/vda is mounted\.$/);
  assert.match(told[2] ?? "", /^warning FILE_SYSTEM_NOT_GROWN: .*started anew/);
  assert.match(told[3] ?? "", /^warning FILE_SYSTEM_NOT_GROWN: .*it had the size of the disk already\.$/);
  assert.match(told[4] ?? "", /^info FILE_SYSTEM_GROWN/);
  await assert.rejects(
    grow(() => {
      throw new TypeError("a defect");
    }),
    /a defect/,
  );
});

test("growth is owed from the event of the disk until the event of the file system", () => {
  assert.equal(isGrowthOwed([]), false);
  assert.equal(isGrowthOwed(["DISK_GROWN", "MODULE_ENDED"]), true);
  assert.equal(isGrowthOwed(["DISK_GROWN", "FILE_SYSTEM_GROWN"]), false);
  assert.equal(isGrowthOwed(["DISK_GROWN", "FILE_SYSTEM_NOT_GROWN", "DISK_GROWN"]), true);
});
