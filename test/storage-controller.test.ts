/** Mirrored disks under random faults by seed: nothing acknowledged is lost, nothing wrong is read; and planted bugs are found. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { isLong } from "./support/long.js";
import { BUG_SEEDS, STORAGE_BUGS } from "./support/storage-bugs.js";
import { runStorageSeed } from "./support/storage-run.js";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** 0.2 s each. */
const SEEDS = Number(process.env["STEADFAST_STORAGE_SEEDS"] ?? (isLong ? 2000 : 100));
/** What a run of that many seeds has to come across. */
const MOMENTS = [
  "MIRROR_FAILED",
  "MIRROR_DROPPED",
  "MIRROR_IN_SYNC",
  "MIRROR_RECREATED",
  "MIRRORS_SETTLED",
  "RESYNC_STOPPED",
  "BLOCK_BAD",
  "BLOCK_REPAIRED",
  "BLOCK_LOST",
  "DISK_ERROR",
  "DISK_WITHOUT_MIRROR",
  "SCRUB_DONE",
];

test("one seed is one run", () => {
  assert.deepEqual(runStorageSeed(5), runStorageSeed(5));
});

test(`${SEEDS} mirrored disks under mixed faults: everything holds, and every moment was met`, () => {
  const met = new Set<string>();
  for (let seed = 1; seed <= SEEDS; seed += 1) {
    const { violation, trace, events, profile } = runStorageSeed(seed);
    assert.equal(violation, null, `seed ${seed} (${profile}): ${violation}\n${trace.slice(-40).join("\n")}`);
    for (const code of Object.keys(events)) met.add(code);
  }
  if (SEEDS >= 100)
    assert.deepEqual(
      MOMENTS.filter((code) => !met.has(code)),
      [],
    );
});

describe("planted bugs", () => {
  let copy = "";
  before(() => {
    copy = mkdtempSync(join(tmpdir(), "steadfast-storage-mutant-"));
    for (const directory of ["dist", "dist-test"]) cpSync(join(root, directory), join(copy, directory), { recursive: true });
    cpSync(join(root, "package.json"), join(copy, "package.json"));
    symlinkSync(join(root, "node_modules"), join(copy, "node_modules"));
  });
  after(() => rmSync(copy, { recursive: true }));

  for (const bug of STORAGE_BUGS) {
    test(`a disk that ${bug.name} is found out`, () => {
      const path = join(copy, "dist/storage", bug.file);
      const original = readFileSync(path, "utf8");
      assert.equal(original.split(bug.find).length, 2, "the place to plant it is there, once");
      writeFileSync(path, original.replace(bug.find, bug.replace));
      try {
        const outcome = spawnSync(process.execPath, [join(copy, "dist-test/support/storage-run.js"), "1", String(BUG_SEEDS)], {
          encoding: "utf8",
        });
        assert.equal(outcome.status, 1, outcome.stdout + outcome.stderr);
        assert.match(outcome.stdout, /^seed \d+ \(\w+\): /m);
      } finally {
        writeFileSync(path, original);
      }
    });
  }
});
