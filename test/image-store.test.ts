/** The image cache: atomic, deterministic, locked; kernels that are none; full and unwritable disks. */

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { SteadfastError } from "../dist/foundation/errors.js";
import { clearDirectory, writeDurably } from "../dist/image/files.js";
import { importKernel, listImages } from "../dist/image/index.js";
import { flatKernel, kernelRelease } from "../dist/image/kernel-image.js";
import { takeLock } from "../dist/image/lock.js";
import { cachePaths, cacheRoot } from "../dist/image/paths.js";
import { imageDigest, readImages, storeImage, type ImageContent } from "../dist/image/store.js";

const area = mkdtempSync(join(tmpdir(), "steadfast-image-test-"));
after(() => rmSync(area, { recursive: true, force: true }));

function code(work: () => unknown): string {
  try {
    work();
  } catch (error) {
    assert.ok(error instanceof SteadfastError, String(error));
    return error.code;
  }
  return "none";
}

function sampleKernel(): Uint8Array {
  const kernel = new Uint8Array(4096);
  kernel.set(Buffer.from("RSC\x05"), 0x38);
  kernel[0x12] = 0x10;
  kernel.set(Buffer.from("Linux version %s (%s)\0Linux version 6.12.1-test (a@b) (gcc)\0"), 1024);
  return kernel;
}

function sampleContent(): ImageContent {
  const packages = [{ name: "nginx", version: "1", sha256: "ab" }];
  const facts = { name: "sample", kernelKind: "own" as const, kernelRelease: "6", commandLine: "console=ttyS0", memoryMiB: 128, packages };
  return { ...facts, recipeKey: "r", inputsKey: "i", kernel: sampleKernel(), initrd: new Uint8Array(100) };
}

test("kernels: flat and gzip are taken, others are refused with the reason", () => {
  assert.equal(flatKernel(sampleKernel(), "k").length, 4096);
  assert.deepEqual(new Uint8Array(flatKernel(gzipSync(sampleKernel()), "k")), sampleKernel());
  assert.equal(kernelRelease(sampleKernel()), "6.12.1-test");
  const message = (bytes: Uint8Array) => {
    try {
      flatKernel(bytes, "/boot/x");
    } catch (error) {
      assert.ok(error instanceof SteadfastError && error.code === "NOT_A_KERNEL");
      return error.message;
    }
    assert.fail("accepted");
  };
  assert.match(message(new Uint8Array(10)), /only 10 bytes/);
  assert.match(message(new Uint8Array(4096)), /mark is missing/);
  assert.match(message(Uint8Array.from([0x7f, 0x45, 0x4c, 0x46, ...new Uint8Array(100)])), /ELF file/);
  assert.match(message(gzipSync(sampleKernel()).subarray(0, 30)), /gzip data is damaged/);
  assert.match(message(gzipSync(new Uint8Array(300 * 1024 * 1024), { level: 1 })), /gzip data/);
});

test("images: stored whole, found again, the same content the same digest", () => {
  const paths = cachePaths(join(area, "store"));
  const first = storeImage(paths, sampleContent());
  const again = storeImage(paths, { ...sampleContent(), inputsKey: "newer" });
  assert.equal(again.digest, first.digest);
  assert.equal(readImages(paths).length, 1);
  assert.equal(readImages(paths)[0]?.inputsKey, "newer");
  assert.deepEqual(new Uint8Array(readFileSync(first.kernelPath)), sampleKernel());
  assert.deepEqual(readdirSync(paths.temporary), []);
  const base = imageDigest(sampleContent());
  assert.notEqual(imageDigest({ ...sampleContent(), memoryMiB: 129 }), base);
  assert.notEqual(imageDigest({ ...sampleContent(), commandLine: "quiet" }), base);
  assert.notEqual(imageDigest({ ...sampleContent(), initrd: Uint8Array.from([1]) }), base);
});

test("images: half of one is not one", () => {
  const paths = cachePaths(join(area, "half"));
  const record = storeImage(paths, sampleContent());
  rmSync(record.initrdPath);
  mkdirSync(join(paths.images, "garbage"));
  writeFileSync(join(paths.images, "garbage", "image.json"), "{");
  assert.deepEqual(readImages(paths), []);
});

test("a user's own kernel and initrd become an image", async () => {
  const before = process.env["STEADFAST_CACHE"];
  process.env["STEADFAST_CACHE"] = join(area, "own");
  try {
    writeFileSync(join(area, "Image"), sampleKernel());
    writeFileSync(join(area, "initrd"), "cpio");
    const record = await importKernel({ kernelPath: join(area, "Image"), initrdPath: join(area, "initrd"), commandLine: "quiet" });
    assert.equal(record.kernelKind, "own");
    assert.equal(record.commandLine, "quiet");
    assert.equal(listImages()[0]?.digest, record.digest);
    await assert.rejects(importKernel({ kernelPath: join(area, "initrd"), initrdPath: join(area, "initrd") }), { code: "NOT_A_KERNEL" });
    await assert.rejects(importKernel({ kernelPath: join(area, "none"), initrdPath: join(area, "initrd") }), { code: "KERNEL_UNREADABLE" });
    await assert.rejects(importKernel({ kernelPath: join(area, "Image"), initrdPath: join(area, "none") }), { code: "KERNEL_UNREADABLE" });
  } finally {
    if (before === undefined) delete process.env["STEADFAST_CACHE"];
    else process.env["STEADFAST_CACHE"] = before;
  }
});

test("the lock lets one build in, and ends with the process that held it", async () => {
  const path = join(area, "locks", "lock");
  const lock = await takeLock(path);
  await assert.rejects(takeLock(path, undefined, undefined, 0), { code: "IMAGE_BUSY" });
  lock.release();
  const module = new URL("../dist/image/lock.js", import.meta.url).href;
  const script = `const { takeLock } = await import(${JSON.stringify(module)}); await takeLock(${JSON.stringify(path)}); console.log("held"); setInterval(() => {}, 1000);`;
  const holder = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
  await once(holder.stdout, "data");
  let told = "";
  const waiting = takeLock(path, (pid) => (told = pid));
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.equal(told, String(holder.pid));
  holder.kill("SIGKILL");
  (await waiting).release();
});

test("what a dead build left is cleared", () => {
  const directory = join(area, "left");
  mkdirSync(join(directory, "build-abc", "deep"), { recursive: true });
  writeFileSync(join(directory, "build-abc", "deep", "file"), "x");
  clearDirectory(directory);
  assert.deepEqual(readdirSync(directory), []);
});

test("the cache directory: chosen, root's, the user's", () => {
  assert.equal(cacheRoot({ STEADFAST_CACHE: "/x" }, true), "/x");
  assert.equal(cacheRoot({}, true), "/var/cache/steadfast");
  assert.equal(cacheRoot({ XDG_CACHE_HOME: "/home/a/.c" }, false), "/home/a/.c/steadfast");
});

test("a full disk is one sentence and leaves nothing", (context) => {
  const place = join(area, "full");
  mkdirSync(place);
  const mounted = process.getuid?.() === 0 && spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", place]).status === 0;
  if (!mounted) return context.skip("needs the right to mount a small tmpfs");
  try {
    const paths = cachePaths(join(place, "cache"));
    const large = { ...sampleContent(), initrd: new Uint8Array(1024 * 1024) };
    assert.equal(
      code(() => storeImage(paths, large)),
      "DISK_FULL",
    );
    assert.deepEqual(readImages(paths), []);
    clearDirectory(paths.temporary);
    assert.ok(!existsSync(join(paths.images, imageDigest(large))));
  } finally {
    spawnSync("umount", [place]);
  }
});

test("a place that cannot be a directory is explained", () => {
  writeFileSync(join(area, "a-file"), "");
  assert.equal(
    code(() => writeDurably(join(area, "a-file", "x"), "y")),
    "CACHE_UNWRITABLE",
  );
});
