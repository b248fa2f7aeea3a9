/**
 * Determinism of the rv64 engine over the boot of a real kernel: equal digests after every tick for machines given the same ticks, with
 * cold and warm caches, under captures, after a restore, and on another version of Node. Needs an image in the cache of this host: without
 * one it is skipped aloud, or fails if STEADFAST_REQUIRE_IMAGES is set. STEADFAST_BOOT_INSTRUCTIONS sets the length.
 */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { findImage } from "../dist/image/index.js";
import { cacheRoot } from "../dist/image/paths.js";
import { coldCaches, replacing, runBootCourse, sweeping, type BootPlan, type Course } from "./support/rv64-boot-course.js";

/** The hardened kernel boots to its services within this; of the stock kernel it is the first eighth. */
const DEFAULT_INSTRUCTIONS = 240_000_000;
const OUTPUT_LIMIT_BYTES = 64 << 20;
const TIME_LIMIT_MS = 600_000;

const image = findImage({ kernel: "hardened" }) ?? findImage({ kernel: "stock" });
const required = (process.env["STEADFAST_REQUIRE_IMAGES"] ?? "") !== "";
const reason = "no image here; make one with: steadfast image build";
const options = image === undefined && !required ? { skip: reason } : { timeout: TIME_LIMIT_MS };

function planned(): BootPlan {
  assert.ok(image !== undefined, reason);
  const instructions = Number(process.env["STEADFAST_BOOT_INSTRUCTIONS"] ?? DEFAULT_INSTRUCTIONS);
  const { kernelPath, initrdPath, commandLine, memoryMiB } = image;
  return { kernelPath, initrdPath, commandLine, memoryMiB, instructions };
}

let plain: Course | undefined;
function reference(): Course {
  plain ??= runBootCourse(planned());
  return plain;
}

function assertEqual(course: Pick<Course, "lines" | "fullDigest">, what: string): void {
  const expected = reference();
  const first = expected.lines.findIndex((line, index) => line !== course.lines[index]);
  assert.equal(first, -1, `${what}: tick ${first} gave ${String(course.lines[first])} instead of ${String(expected.lines[first])}`);
  assert.equal(course.lines.length, expected.lines.length, what);
  assert.equal(course.fullDigest, expected.fullDigest, what);
}

test("two machines given the same ticks of a boot agree after every tick", options, (t) => {
  const course = reference();
  t.diagnostic(`${course.lines.length} ticks, ${course.instructions} instructions, ${course.ready ? "booted" : "still booting"}`);
  assert.ok(course.lines.length > 300);
  assertEqual(runBootCourse(planned()), "a second machine");
});

test("caches are invisible: a machine that loses them again and again agrees after every tick", options, () => {
  assertEqual(runBootCourse(planned(), coldCaches), "a machine with cold caches");
});

test("captures are invisible: a machine under sweeps agrees after every tick", options, () => {
  assertEqual(runBootCourse(planned(), sweeping()), "a captured machine");
});

test("copies taken with pre-copy while the guest runs go on and agree after every tick", options, (t) => {
  let copies = 0;
  assertEqual(
    runBootCourse(
      planned(),
      replacing(planned(), () => (copies += 1)),
    ),
    "a restored machine",
  );
  t.diagnostic(`${copies} copies, each of the one before`);
  assert.ok(copies > 2);
});

/** Another Node from the npm registry, kept in the cache directory. */
function otherNode(major: number): string {
  const directory = join(cacheRoot(), "test", `node-${major}`);
  const program = join(directory, "node_modules", `node-linux-${process.arch}`, "bin", "node");
  if (existsSync(program)) return program;
  mkdirSync(join(cacheRoot(), "test"), { recursive: true });
  const unfinished = mkdtempSync(join(cacheRoot(), "test", "unfinished-"));
  try {
    const what = `node-linux-${process.arch}@${major}`;
    execFileSync("npm", ["install", "--prefix", unfinished, "--no-save", "--ignore-scripts", what], { stdio: "pipe" });
    rmSync(directory, { recursive: true, force: true });
    renameSync(unfinished, directory);
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
  return program;
}

test("Node 20 and Node 24 agree after every tick", options, (t) => {
  const own = Number(process.versions.node.split(".")[0]);
  const program = otherNode(own === 24 ? 20 : 24);
  const script = fileURLToPath(new URL("support/rv64-boot-course.js", import.meta.url));
  const output = execFileSync(program, [script, JSON.stringify(planned())], { maxBuffer: OUTPUT_LIMIT_BYTES });
  const course = JSON.parse(output.toString()) as { lines: string[]; fullDigest: string; node: string };
  t.diagnostic(`${process.version} and ${course.node}`);
  assert.notEqual(course.node, process.version);
  assertEqual(course, course.node);
});
