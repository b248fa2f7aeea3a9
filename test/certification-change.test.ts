/** Change packages: made and read again, the same directory the same digest, and everything that is refused. */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { chmodSync, linkSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { decodePackage, encodePackage, readPackage } from "../dist/certification/change-package.js";
import { createChange } from "../dist/certification/create.js";
import { MEMBER_BYTES_LIMIT, PACKAGE_BYTES_LIMIT } from "../dist/certification/limits.js";
import type { Manifest } from "../dist/certification/manifest.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { sha256 } from "../dist/image/store.js";
import { writeTar } from "../dist/foundation/tar-writer.js";

const BASE = sha256("base");

const YAML = `
name: limits
description: Limits requests
packages:
  add: [sqlite3, "curl=8.14.1-2"]
  remove: [nano]
files:
  - { path: /etc/secret, mode: "0600", owner: 33 }
services:
  - { name: exporter, command: /usr/bin/exporter, ports: [9100] }
kernel:
  kind: hardened
  config: |
    CONFIG_PREEMPT=y
    # CONFIG_SWAP is not set
commandLine: console=ttyS0 quiet
memoryMiB: 512
diskMiB: 1024
checks:
  - { name: sums, command: "true", timeoutSeconds: 5 }
`;

function temporary(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-change-"));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

function write(directory: string, path: string, content: string | Uint8Array, mode = 0o644): void {
  const file = join(directory, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
  chmodSync(file, mode);
}

/** A change with one of everything; the order and the umask vary. */
function sampleChange(directory: string, isOther = false): string {
  const work = [
    () => write(directory, "change.yaml", YAML),
    () => write(directory, "files/etc/secret", "secret", isOther ? 0o666 : 0o600),
    () => write(directory, "files/usr/local/bin/tool", "#!/bin/sh\n", isOther ? 0o775 : 0o700),
    () => symlinkSync("../local/bin/tool", join(directory, "files/usr/bin/tool")),
    () => write(directory, "debs/tool_1.0_riscv64.deb", "!<arch>\nrest"),
  ];
  mkdirSync(join(directory, "files/usr/bin"), { recursive: true });
  mkdirSync(join(directory, "files/srv/empty"), { recursive: true });
  for (const step of isOther ? work.reverse() : work) step();
  return directory;
}

/** A directory with only a `change.yaml`. */
function yamlChange(context: TestContext, yaml: string): string {
  const directory = temporary(context);
  write(directory, "change.yaml", yaml);
  return directory;
}

function refused(code: string, work: () => unknown, sentence = /\.$/): void {
  assert.throws(work, (error) => {
    assert.ok(error instanceof SteadfastError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, sentence);
    assert.doesNotMatch(error.message, /[{}\n]/);
    return true;
  });
}

test("a change comes back as it was made", (context) => {
  const directory = sampleChange(temporary(context));
  const made = createChange(directory, `sha256:${BASE}`);
  const { manifest, contents, digest } = decodePackage(made.bytes, "sample");
  assert.equal(digest, made.digest);
  assert.equal(digest, sha256(made.bytes));
  assert.deepEqual(manifest.base, { sha256: BASE });
  assert.deepEqual(manifest.packages, { add: ["curl=8.14.1-2", "sqlite3"], remove: ["nano"] });
  assert.deepEqual(manifest.kernel, { kind: "hardened", config: "CONFIG_PREEMPT=y\n# CONFIG_SWAP is not set\n" });
  assert.deepEqual([manifest.memoryMiB, manifest.diskMiB, manifest.commandLine], [512, 1024, "console=ttyS0 quiet"]);
  assert.deepEqual(
    manifest.files.map((file) => [file.path, file.kind, file.kind === "link" ? file.target : file.mode]),
    [
      ["/etc/secret", "file", 0o600],
      ["/srv/empty", "directory", 0o755],
      ["/usr/bin/tool", "link", "../local/bin/tool"],
      ["/usr/local/bin/tool", "file", 0o755],
    ],
  );
  assert.equal(Buffer.from(contents.get(sha256("secret")) ?? []).toString(), "secret");
  assert.deepEqual(
    manifest.debs.map((deb) => deb.file),
    ["tool_1.0_riscv64.deb"],
  );
});

test("the same directory twice gives the same digest, and another base another one; tar reads the file", (context) => {
  const first = createChange(sampleChange(temporary(context)), BASE);
  const second = createChange(sampleChange(temporary(context), true), BASE);
  assert.equal(second.digest, first.digest);
  assert.notEqual(createChange(sampleChange(temporary(context)), sha256("other")).digest, first.digest);
  const file = join(temporary(context), "change.tar");
  writeFileSync(file, first.bytes);
  const manifest = execFileSync("tar", ["-xOf", file, "manifest.json"], { encoding: "utf8" });
  assert.equal((JSON.parse(manifest) as Manifest).name, "limits");
});

test("refused at creation: an empty change, no digest as base, what is unknown or wrong", (context) => {
  const create = (yaml: string, base = BASE) => createChange(yamlChange(context, yaml), base);
  refused("CHANGE_EMPTY", () => create("name: nothing"));
  refused("CHANGE_EMPTY", () => create("name: nothing\nchecks: [{ name: a, command: 'true', timeoutSeconds: 1 }]"));
  for (const base of ["", "latest", BASE.slice(1), `${BASE}0`, BASE.toUpperCase(), `md5:${BASE}`])
    refused("CHANGE_BASE", () => create(YAML, base));
  refused("CHANGE_WRONG", () => create("name: a\nmemory: 512"), /field memory \(line 2\) is not a field/);
  refused("CHANGE_WRONG", () => create("name: a\nkernel: { sort: stock }"), /kernel\.sort/);
  refused("CHANGE_WRONG", () => create("name: a\npackages: { add: ['UP; rm'] }"), /name of a Debian package/);
  refused("CHANGE_WRONG", () => create("name: a\npackages: { add: [nano], remove: [nano=1] }"), /names nano twice/);
  refused("CHANGE_WRONG", () => create("name: a\nkernel: { config: 'rm -rf' }"), /CONFIG_X=y/);
  refused("CHANGE_WRONG", () => create("name: [", BASE), /is not YAML/);
  refused("CHANGE_WRONG", () => create("name: a\nfiles: [{ path: /etc/none }]"), /not in files/);
  refused("CHANGE_UNREADABLE", () => createChange(temporary(context), BASE));
});

test("refused at creation: paths that leave the root, hard links, pipes, what is no package", (context) => {
  const withFiles = (prepare: (files: string) => void): (() => unknown) => {
    const directory = yamlChange(context, "name: a\nmemoryMiB: 512");
    mkdirSync(join(directory, "files/etc"), { recursive: true });
    prepare(join(directory, "files"));
    return () => createChange(directory, BASE);
  };
  for (const target of ["../../outside", "../../../etc", "x/../../../y", "/../etc", "/etc/../../x", "/etc//passwd"]) {
    refused(
      "CHANGE_PATH",
      withFiles((files) => symlinkSync(target, join(files, "etc/link"))),
      /is a link to/,
    );
  }
  for (const target of ["../srv", "/usr/bin/tool", "passwd", "../usr/../etc/passwd"])
    withFiles((files) => symlinkSync(target, join(files, "etc/link")))();
  for (const path of ["/../etc/passwd", "/etc/../../x", "etc/passwd", "/etc/./x", "/etc//x", "/"])
    refused("CHANGE_PATH", () => createChange(yamlChange(context, `name: a\nmemoryMiB: 512\nfiles: [{ path: "${path}" }]`), BASE));
  const hardLinked = withFiles((files) => {
    writeFileSync(join(files, "etc/a"), "a");
    linkSync(join(files, "etc/a"), join(files, "etc/b"));
  });
  refused("CHANGE_PATH", hardLinked, /hard link/);
  refused(
    "CHANGE_PATH",
    withFiles((files) => execFileSync("mkfifo", [join(files, "etc/pipe")])),
    /device, pipe or socket/,
  );
  refused(
    "CHANGE_PATH",
    withFiles((files) => writeFileSync(join(files, "etc/new\nline"), "")),
    /has characters/,
  );
  refused(
    "CHANGE_PATH",
    withFiles((files) => write(dirname(files), "debs/tool.deb", "no package")),
    /not a Debian package/,
  );
  refused(
    "CHANGE_UNREADABLE",
    withFiles((files) => {
      rmSync(files, { recursive: true });
      symlinkSync("/etc", files);
    }),
  );
});

test("refused: what is larger than its limit, before it is read", (context) => {
  const directory = yamlChange(context, "name: large");
  write(directory, "files/large", "");
  truncateSync(join(directory, "files/large"), MEMBER_BYTES_LIMIT + 1);
  refused("CHANGE_TOO_LARGE", () => createChange(directory, BASE));
  const file = join(directory, "large.tar");
  writeFileSync(file, "");
  truncateSync(file, PACKAGE_BYTES_LIMIT + 1);
  refused("CHANGE_TOO_LARGE", () => readPackage(file));
});

test("refused: every byte flipped, every cut, and garbage", (context) => {
  const directory = temporary(context);
  write(directory, "change.yaml", "name: small");
  write(directory, "files/etc/motd", "hello");
  const { bytes } = createChange(directory, BASE);
  for (let at = 0; at < bytes.length; at += 1) {
    const flipped = Uint8Array.from(bytes);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << (at % 8));
    refused("CHANGE_DAMAGED", () => decodePackage(flipped, "flipped"));
  }
  for (let length = 0; length < bytes.length; length += 97)
    refused("CHANGE_DAMAGED", () => decodePackage(bytes.subarray(0, length), "cut"));
  for (const extra of [1, 512, 1024]) {
    const longer = Buffer.concat([bytes, Buffer.alloc(extra)]);
    refused("CHANGE_DAMAGED", () => decodePackage(longer, "longer"));
  }
  for (let seed = 0; seed < 200; seed += 1) {
    const garbage = Uint8Array.from({ length: seed * 11 }, (_, at) => Number.parseInt(sha256(`${seed} ${at >> 4}`).slice(0, 2), 16));
    refused("CHANGE_DAMAGED", () => decodePackage(garbage, "garbage"));
  }
});

/** A package as an attacker would build it: all digests are right. */
function crafted(manifest: unknown, others: readonly { name: string; data: Uint8Array }[] = []): Uint8Array {
  const text = Buffer.from(`${JSON.stringify(manifest, null, 1)}\n`);
  const members = [{ name: "manifest.sha256", data: Buffer.from(`${sha256(text)}\n`) }, { name: "manifest.json", data: text }, ...others];
  return writeTar(members);
}

test("refused: packages whose digests are right and whose manifest is not", (context) => {
  const file = readPackageOf(context);
  const { manifest } = file;
  const read = (changed: unknown, others: { name: string; data: Uint8Array }[] = []) => decodePackage(crafted(changed, others), "crafted");
  assert.equal(read(manifest).manifest.name, "small");
  const link = (path: string, target = "motd") => ({ path, kind: "link", target });
  for (const path of ["/../etc/passwd", "/etc/../../x", "etc/x", "", "/", "/etc/", "/a\0b", `/${"x".repeat(1100)}`])
    refused("CHANGE_PATH", () => read({ ...manifest, files: [link(path)] }));
  refused("CHANGE_PATH", () => read({ ...manifest, files: [link("/etc/x", "../../y")] }));
  refused("CHANGE_PATH", () => read({ ...manifest, files: [link("/etc", "/srv"), link("/etc/x")] }), /leads through a link/);
  refused("CHANGE_WRONG", () => read({ ...manifest, files: [link("/etc/x"), link("/etc/x")] }), /twice/);
  refused("CHANGE_WRONG", () => read({ ...manifest, files: [{ path: "/dev/x", kind: "device", mode: 0, owner: 0 }] }));
  refused("CHANGE_WRONG", () => read({ ...manifest, surprise: 1 }), /field surprise/);
  refused("CHANGE_WRONG", () => read({ ...manifest, format: 2 }));
  refused("CHANGE_WRONG", () => read({ ...manifest, base: { sha256: "latest" } }));
  refused("CHANGE_EMPTY", () => read({ ...manifest, files: [] }));
  refused("CHANGE_DAMAGED", () => read(manifest, [{ name: "stowaway", data: Buffer.from("x") }]));
  const missing = { path: "/x", kind: "file", mode: 0o644, owner: 0, size: 5, sha256: sha256("hello") };
  refused("CHANGE_DAMAGED", () => read({ ...manifest, files: [missing] }), /is missing/);
  const { name, ...rest } = manifest;
  refused("CHANGE_DAMAGED", () => read({ ...rest, name }), /not the archive/);
  assert.throws(() => encodePackage({ ...manifest, files: [] }, new Map(), "empty"), /changes nothing/);
});

/** Of a change that brings one link. */
function readPackageOf(context: TestContext): { manifest: Manifest } {
  const directory = yamlChange(context, "name: small");
  mkdirSync(join(directory, "files/etc"), { recursive: true });
  symlinkSync("passwd", join(directory, "files/etc/link"));
  const file = join(directory, "small.tar");
  writeFileSync(file, createChange(directory, BASE).bytes);
  assert.deepEqual(readPackage(file).manifest, decodePackage(readFileSync(file), file).manifest);
  return readPackage(file);
}
