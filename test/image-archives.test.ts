/** The archive codecs of the image builder: cpio writer, tar reader, ELF needs; with splits and garbage. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { writeCpio, type GuestEntry, type GuestTree } from "../dist/image/cpio.js";
import { readElfNeeds } from "../dist/image/elf-needed.js";
import { TarError, TarReader, type TarMember } from "../dist/image/tar.js";
import { readCpio } from "./support/cpio-reader.js";

const encode = (text: string) => new TextEncoder().encode(text);

function sampleTree(): GuestTree {
  return new Map<string, GuestEntry>([
    ["/usr/bin/tool", { kind: "file", mode: 0o755, data: encode("binary") }],
    ["/init", { kind: "link", target: "usr/bin/tool" }],
    ["/dev/console", { kind: "device", mode: 0o600, major: 5, minor: 1 }],
    ["/var/lib/redis", { kind: "directory", mode: 0o755, owner: 101 }],
    ["/empty", { kind: "file", mode: 0o644, data: new Uint8Array(0) }],
  ]);
}

test("cpio: the kernel's rules (parents first, sorted, time zero) and every kind of entry", () => {
  const members = readCpio(writeCpio(sampleTree()));
  assert.deepEqual(
    members.map((member) => member.name),
    ["dev", "dev/console", "empty", "init", "usr", "usr/bin", "usr/bin/tool", "var", "var/lib", "var/lib/redis"],
  );
  const tool = members.find((member) => member.name === "usr/bin/tool");
  assert.deepEqual(tool, { name: "usr/bin/tool", mode: 0o100755, owner: 0, time: 0, data: "binary" });
  assert.equal(members.find((member) => member.name === "init")?.mode, 0o120777);
  assert.equal(members.find((member) => member.name === "dev/console")?.mode, 0o020600);
  assert.equal(members.find((member) => member.name === "var/lib/redis")?.owner, 101);
  assert.ok(members.every((member) => member.time === 0));
});

test("cpio: the same entries in another order give the same bytes", () => {
  const straight = writeCpio(sampleTree());
  const reversed = writeCpio(new Map([...sampleTree().entries()].reverse()));
  assert.deepEqual(reversed, straight);
  assert.equal(straight.length % 512, 0);
});

test("cpio: a path below a file is a defect, not an archive", () => {
  const tree = sampleTree();
  tree.set("/empty/child", { kind: "directory", mode: 0o755 });
  assert.throws(() => writeCpio(tree), /invariant broken/);
});

/** A tar archive with a long name, a hard link and a link, written by hand. */
function sampleTar(): Uint8Array {
  const longName = "./usr/share/" + "deep/".repeat(30) + "file.txt";
  return joined([
    ...tarMember("././@LongLink", "L", encode(longName + "\0")),
    ...tarMember("truncated", "0", encode("long")),
    ...tarMember("./usr/bin/a", "0", encode("x".repeat(1000))),
    ...tarMember("./usr/bin/b", "1", new Uint8Array(0), "./usr/bin/a"),
    ...tarMember("./usr/bin/c", "2", new Uint8Array(0), "a"),
    ...tarMember("./usr/lib/", "5", new Uint8Array(0)),
    new Uint8Array(1024),
  ]);
}

function tarMember(name: string, type: string, data: Uint8Array, link = ""): Uint8Array[] {
  const header = new Uint8Array(512);
  header.set(encode(name), 0);
  header.set(encode("0000755\0"), 100);
  header.set(encode(data.length.toString(8).padStart(11, "0") + "\0"), 124);
  header.set(encode("        "), 148);
  header.set(encode(type), 156);
  header.set(encode(link), 157);
  header.set(encode("ustar  \0"), 257);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.set(encode(sum.toString(8).padStart(6, "0") + "\0 "), 148);
  const padded = new Uint8Array(Math.ceil(data.length / 512) * 512);
  padded.set(data);
  return [header, padded];
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

function readTar(chunks: readonly Uint8Array[], wanted: (path: string) => boolean = () => true): TarMember[] {
  const members: TarMember[] = [];
  const reader = new TarReader(wanted, (member) => members.push(member));
  for (const chunk of chunks) reader.push(chunk);
  reader.end();
  return members;
}

test("tar: long names, links, hard links, directories", () => {
  const members = readTar([sampleTar()]);
  assert.equal(members[0]?.path, "/usr/share/" + "deep/".repeat(30) + "file.txt");
  assert.equal(members[1]?.data.length, 1000);
  assert.deepEqual(members[2] && [members[2].kind, members[2].path, members[2].target], ["hardLink", "/usr/bin/b", "/usr/bin/a"]);
  assert.deepEqual(members[3] && [members[3].kind, members[3].target], ["link", "a"]);
  assert.deepEqual(members[4] && [members[4].kind, members[4].path], ["directory", "/usr/lib"]);
});

test("tar: any split of the input gives the same members", () => {
  const archive = sampleTar();
  const whole = readTar([archive]);
  for (const size of [1, 7, 511, 512, 513, 1000]) {
    const chunks: Uint8Array[] = [];
    for (let at = 0; at < archive.length; at += size) chunks.push(archive.subarray(at, at + size));
    assert.deepEqual(readTar(chunks), whole);
  }
});

test("tar: what is not wanted is not kept, and the rest still arrives", () => {
  const members = readTar([sampleTar()], (path) => path.startsWith("/usr/bin/"));
  assert.deepEqual(
    members.map((member) => member.path),
    ["/usr/bin/a", "/usr/bin/b", "/usr/bin/c"],
  );
});

test("tar: cut, damaged and hostile archives end in a TarError", () => {
  const archive = sampleTar();
  assert.throws(() => readTar([archive.subarray(0, 700)]), TarError);
  const damaged = archive.slice();
  damaged[3] = (damaged[3] ?? 0) ^ 1;
  assert.throws(() => readTar([damaged]), TarError);
  assert.throws(() => readTar(tarMember("../etc/passwd", "0", encode("x"))), TarError);
  let seed = 12345;
  for (let round = 0; round < 300; round++) {
    const noisy = archive.slice();
    for (let flips = 0; flips < 4; flips++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      noisy[seed % noisy.length] = seed >>> 24;
    }
    try {
      readTar([noisy]);
    } catch (error) {
      assert.ok(error instanceof TarError);
    }
  }
});

/** A RISC-V ELF file with a loader name and two needed libraries, as small as it gets. */
function sampleElf(): Uint8Array {
  const file = new Uint8Array(1024);
  const view = new DataView(file.buffer);
  file.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(18, 243, true);
  view.setUint32(32, 64, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, 3, true);
  const segment = (index: number, type: number, offset: number, address: number, bytes: number) => {
    const at = 64 + index * 56;
    view.setUint32(at, type, true);
    view.setUint32(at + 8, offset, true);
    view.setUint32(at + 16, address, true);
    view.setUint32(at + 32, bytes, true);
  };
  segment(0, 1, 0, 0x10000, 1024);
  segment(1, 3, 256, 0x10100, 16);
  segment(2, 2, 320, 0x10140, 64);
  file.set(encode("/lib/ld.so\0"), 256);
  const tag = (index: number, name: number, value: number) => {
    view.setUint32(320 + index * 16, name, true);
    view.setUint32(328 + index * 16, value, true);
  };
  tag(0, 1, 1);
  tag(1, 1, 11);
  tag(2, 5, 0x10200);
  file.set(encode("\0libc.so.6\0libm.so.6\0"), 512);
  return file;
}

test("ELF: loader and libraries of a RISC-V program; nothing of anything else", () => {
  assert.deepEqual(readElfNeeds(sampleElf()), { interpreter: "/lib/ld.so", libraries: ["libc.so.6", "libm.so.6"] });
  assert.equal(readElfNeeds(encode("#!/bin/sh\n".repeat(20))), undefined);
  const foreign = sampleElf();
  foreign[18] = 62;
  assert.equal(readElfNeeds(foreign), undefined);
});

test("ELF: garbage never throws", () => {
  let seed = 99;
  for (let round = 0; round < 2000; round++) {
    const file = sampleElf().subarray(0, 200 + (round % 824));
    for (let flips = 0; flips < 8; flips++) {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      file[8 + (seed % (file.length - 8))] = seed >>> 24;
    }
    assert.doesNotThrow(() => readElfNeeds(file));
  }
});
