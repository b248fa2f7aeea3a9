/**
 * Images from a base and a change, with Debian's real packages: twice the same in different directories, what is refused, and what the
 * policy finds. Needs an image of this host as base; without one it is skipped aloud, or fails if STEADFAST_REQUIRE_IMAGES is set.
 */

import assert from "node:assert/strict";
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { after, test } from "node:test";
import { buildChangedImage, decodeLock, encodeLock } from "../dist/certification/build-changed.js";
import { decodePackage, type ChangePackage } from "../dist/certification/change-package.js";
import { createFromRecipes } from "../dist/certification/create-from.js";
import { createChange } from "../dist/certification/create.js";
import { imageFacts } from "../dist/certification/policy-facts.js";
import { policyViolations } from "../dist/certification/policy-rules.js";
import { loadPolicy } from "../dist/certification/policy.js";
import { SteadfastError } from "../dist/foundation/errors.js";
import { PrivateApt, type AptPackage } from "../dist/image/apt.js";
import { readCpio } from "../dist/image/cpio-reader.js";
import { findImage, type ImageLock } from "../dist/image/index.js";
import { planPackages, type PackageEdit } from "../dist/image/package-edit.js";
import { fetchPackages, packagePath } from "../dist/image/packages.js";
import { cachePaths, DEFAULT_RECIPE_PATH, type CachePaths } from "../dist/image/paths.js";
import { readSource } from "../dist/image/source.js";
import { readImages, type ImageRecord } from "../dist/image/store.js";
import { readFileSync } from "node:fs";

const area = mkdtempSync(join(tmpdir(), "steadfast-build-changed-"));
after(() => rmSync(area, { recursive: true, force: true }));

const base = findImage({ kernel: "hardened" }) ?? findImage({ kernel: "stock" });
const source = base === undefined ? undefined : readSource(base.directory);
const isRequired = (process.env["STEADFAST_REQUIRE_IMAGES"] ?? "") !== "";
const options = source === undefined && !isRequired ? { skip: "no image with a record here; make it with: steadfast image build" } : {};
const NO_PACKAGES: PackageEdit = { add: [], remove: [], debs: [] };

/** A cache of its own with the base and its packages, so that the host's stays as it is. */
function cacheWithBase(name: string): CachePaths {
  assert.ok(base !== undefined && source !== undefined);
  const [host, paths] = [cachePaths(), cachePaths(join(area, name))];
  cpSync(base.directory, join(paths.images, base.digest), { recursive: true });
  mkdirSync(paths.packages, { recursive: true });
  mkdirSync(paths.temporary, { recursive: true });
  for (const entry of source.packages) copyFileSync(packagePath(host, entry), packagePath(paths, entry));
  return paths;
}

function changeOf(name: string, yaml: string, files: Record<string, string> = {}, on: ImageRecord | undefined = base): ChangePackage {
  const directory = join(area, "changes", name);
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, "change.yaml"), `name: ${name}\n${yaml}`);
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(dirname(join(directory, "files", path)), { recursive: true });
    writeFileSync(join(directory, "files", path), content);
  }
  return decodePackage(createChange(directory, on?.digest ?? "").bytes, name);
}

async function refused(code: string, work: Promise<unknown>, sentence: RegExp): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof SteadfastError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, sentence);
    return true;
  });
}

async function planned(apt: PrivateApt, paths: CachePaths, edit: Partial<PackageEdit>): Promise<AptPackage[]> {
  assert.ok(source !== undefined);
  const directory = mkdtempSync(join(area, "plan-"));
  const facts = { paths, base: source.packages, wanted: source.recipe.packages, change: "planned", directory };
  return planPackages({ apt, ...facts, edit: { ...NO_PACKAGES, ...edit } });
}

const fileIn = (image: ImageRecord, path: string): string => {
  const entry = readCpio(readFileSync(image.initrdPath)).get(path);
  assert.equal(entry?.kind, "file", path);
  return entry.kind === "file" ? Buffer.from(entry.data).toString("latin1") : "";
};

test("packages, files and settings: refused, resolved, locked, and twice the same image in different directories", options, async () => {
  assert.ok(base !== undefined && source !== undefined);
  const [first, second] = [cacheWithBase("first"), cacheWithBase("second")];
  cpSync(cachePaths().apt, first.apt, { recursive: true });
  const apt = await PrivateApt.open({ directory: first.apt, onProgress: () => undefined }, false);
  await refused("CHANGE_PACKAGE_UNKNOWN", planned(apt, first, { add: ["no-such-package"] }), /no-such-package/);
  await refused("CHANGE_PACKAGE_UNKNOWN", planned(apt, first, { add: ["sqlite3=0.0.1"] }), /sqlite3=0.0.1/);
  await refused("CHANGE_PACKAGE_ABSENT", planned(apt, first, { remove: ["sqlite3"] }), /removes sqlite3/);
  await refused("CHANGE_PACKAGE_NEEDED", planned(apt, first, { remove: ["libssl3t64"] }), /removes libssl3t64, on which .*nginx/);
  const fewer = (await planned(apt, first, { remove: ["nginx"] })).map(({ name }) => name);
  assert.ok(!fewer.includes("nginx") && !fewer.includes("nginx-common") && fewer.includes("redis-server"), fewer.join(" "));

  const packages = await planned(apt, first, { add: ["sqlite3"] });
  assert.ok(packages.some(({ name }) => name === "libsqlite3-0"));
  await fetchPackages(apt, first, packages);
  for (const entry of packages) copyFileSync(packagePath(first, entry), packagePath(second, entry));
  const lock: ImageLock = { packages, kernelPackages: source.kernelPackages };
  const sqlite = changeOf("sqlite", "packages: { add: [sqlite3] }\nmemoryMiB: 320\n", { "/etc/motd": "changed\n" });
  const made = await buildChangedImage(sqlite, { paths: first, lock });
  const text = encodeLock(made, lock);
  const again = await buildChangedImage(sqlite, { paths: second, lock: decodeLock(text, sqlite, "lock") });
  assert.equal(again.digest, made.digest);
  assert.deepEqual(readFileSync(again.initrdPath), readFileSync(made.initrdPath));
  assert.deepEqual(made.provenance, { base: base.digest, change: sqlite.digest });
  assert.equal(made.memoryMiB, 320);
  assert.match(fileIn(made, "/usr/bin/sqlite3"), /^\x7fELF/);
  assert.equal(fileIn(made, "/etc/motd"), "changed\n");
  assert.equal(fileIn(made, "/usr/sbin/nginx"), fileIn(base, "/usr/sbin/nginx"));
  assert.deepEqual(policyViolations(loadPolicy(), imageFacts(made)), []);
  const other = changeOf("other", "memoryMiB: 512\n");
  assert.throws(() => decodeLock(text, other, "lock"), /another change/);

  // A change of a changed image: its files stay, and the mirror is not asked for what has no packages.
  const configuration = { "/etc/nginx/nginx.conf": "events {}\n", "/etc/redis/redis.conf": "port 6379\n" };
  const settings = changeOf("settings", "commandLine: console=ttyS0 panic=0\n", configuration, made);
  const changed = await buildChangedImage(settings, { paths: second });
  assert.equal(fileIn(changed, "/etc/nginx/nginx.conf"), "events {}\n");
  assert.equal(fileIn(changed, "/etc/redis/redis.conf"), "port 6379\n");
  assert.equal(fileIn(changed, "/etc/motd"), "changed\n");
  const found = policyViolations(loadPolicy(), imageFacts(changed)).map(({ rule, what }) => `${rule} ${what}`);
  assert.ok(found.includes("command-line.required panic=-1") && found.includes("command-line.required oops=panic"), found.join("; "));
});

test("set-user-ID files, other ports and dropped drivers are found; other bases and lost programs are refused", options, async () => {
  assert.ok(base !== undefined);
  const paths = cacheWithBase("third");
  const build = (change: ChangePackage): Promise<ImageRecord> => buildChangedImage(change, { paths });
  const opened = 'files: [{ path: /usr/bin/tool, mode: "4755" }, { path: /etc/open, mode: "0666" }]\n';
  const service = "services: [{ name: job, command: /usr/bin/tool, ports: [9100], restart: never }]\n";
  const bad = await build(
    changeOf("bad", opened + service, { "/usr/bin/tool": "#!/bin/sh\n", "/etc/open": "", "/usr/lib/steadfast/ready": "#!/bin/sh\n" }),
  );
  const facts = imageFacts(bad);
  assert.deepEqual(
    policyViolations(loadPolicy(), facts).map(({ rule, what }) => `${rule} ${what}`),
    [
      ...["port.undeclared 9100", "service.unsupervised job", "file.world-writable /etc/open"],
      ...["file.set-user-id /usr/bin/tool", "file.protected /usr/lib/steadfast/ready"],
    ],
  );
  const dropped = {
    ...facts,
    modules: [],
    configuration: (facts.configuration ?? "").replace(/^CONFIG_VIRTIO_NET=.*$/m, "# CONFIG_VIRTIO_NET is not set"),
  };
  assert.ok(policyViolations(loadPolicy(), dropped).some(({ rule, what }) => rule === "driver.missing" && what === "virtio_net"));

  await refused(
    "CHANGE_BASE_UNKNOWN",
    build(changeOf("elsewhere", "memoryMiB: 512\n", {}, { ...base, digest: "0".repeat(64) })),
    /no image 0000/,
  );
  await refused(
    "CHANGE_SERVICE_PROGRAM",
    build(changeOf("lost", "removals: { files: [/usr/sbin/nginx] }\n")),
    /lack its program \/usr\/sbin\/nginx/,
  );
  await refused("CHANGE_ABSENT", build(changeOf("absent", "removals: { services: [mysql] }\n")), /the service mysql/);
  await refused("CHANGE_PATH", build(changeOf("through", "", { "/var/run/x": "" })), /leads through the link \/var\/run/);
  await refused("CHANGE_FILE_NEEDED", build(changeOf("busybox", "removals: { files: [/usr/bin/busybox] }\n")), /cannot do without/);
  if (base.kernelKind === "stock")
    await refused("CHANGE_KERNEL", build(changeOf("config", "kernel: { config: 'CONFIG_X=y\n\n' }\n")), /kind: hardened/);

  const source = join(paths.images, base.digest, "source.json");
  writeFileSync(
    source,
    readFileSync(source, "utf8")
      .replace('"worker', '"w')
      .replace(/"mode": 420/, '"mode": 436'),
  );
  await refused("CHANGE_BASE_DIFFERENT", build(changeOf("tampered", "memoryMiB: 512\n")), /does not consist/);
  rmSync(source);
  await refused("CHANGE_BASE_OPAQUE", build(changeOf("opaque", "memoryMiB: 512\n")), /nothing tells/);
  assert.ok(readImages(paths).every((image) => existsSync(image.kernelPath) && basename(image.directory) === image.digest));
});

test("what differs between two recipes is a change", () => {
  const old = readFileSync(DEFAULT_RECIPE_PATH, "utf8");
  const file = join(area, "new.yaml");
  const changed = old
    .replace("memoryMiB: 256", "memoryMiB: 384")
    .replace("  - redis-tools\n", "  - redis-tools\n  - sqlite3\n")
    .replace("hz 1", "hz 2");
  writeFileSync(file, changed.replace("name: redis\n    # With", "name: redis2\n    # With"));
  const { manifest } = decodePackage(createFromRecipes(DEFAULT_RECIPE_PATH, file, "0".repeat(64), "both").bytes, "both");
  assert.deepEqual([manifest.name, manifest.packages, manifest.memoryMiB], ["both", { add: ["sqlite3"], remove: [] }, 384]);
  assert.deepEqual(
    manifest.files.map(({ path }) => path),
    ["/etc/redis/redis.conf"],
  );
  assert.deepEqual([manifest.removals.services, manifest.services.map(({ name }) => name)], [["redis"], ["redis2"]]);
  writeFileSync(file, old.replace("  - /usr/bin/redis-cli\n", ""));
  assert.throws(() => createFromRecipes(DEFAULT_RECIPE_PATH, file, "0".repeat(64)), /include/);
  assert.throws(() => createFromRecipes(DEFAULT_RECIPE_PATH, DEFAULT_RECIPE_PATH, "0".repeat(64)), /changes nothing/);
});
