// Test files as jobs: each is a process of its own, whose output is shown when it has ended, with the seconds that it took. For
// scripts/test.mjs.
import { spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { basename } from "node:path";

/** More than any file of tests takes: one that hangs fails then, and the others are run all the same. */
const FILE_LIMIT_MS = 10 * 60 * 1000;
/** Beside others a file has only what they leave. */
const FILE_BESIDE_LIMIT_MS = 25 * 60 * 1000;
const LONG_FILE_LIMIT_MS = 4 * 60 * 60 * 1000;
/** From the request to end to SIGKILL. */
const END_LIMIT_MS = 10_000;
const COUNTED = ["tests", "pass", "fail", "skipped"];
const COLOURS = /\u001b\[[0-9;]*m/g;

/** Jobs that run beside others, each the leader of a process group: they end with whoever ends this. */
const beside = new Set();
process.once("exit", () => {
  for (const { pid } of beside) {
    try {
      process.kill(-pid, "SIGKILL");
    } catch (error) {
      // It ended a moment ago.
      if (error.code !== "ESRCH") throw error;
    }
  }
});
for (const [signal, code] of [
  ["SIGINT", 130],
  ["SIGTERM", 143],
])
  process.once(signal, () => process.exit(code));

/**
 * The policy alone is not enough where Linux weighs sessions (sched(7), autogroup): the whole session of this job comes last. Elsewhere there
 * is no such file.
 */
function comeLast(child) {
  beside.add(child);
  child.once("exit", () => beside.delete(child));
  try {
    writeFileSync(`/proc/${child.pid}/autogroup`, "19");
  } catch (error) {
    if (!["ENOENT", "EACCES", "EPERM"].includes(error.code)) throw error;
  }
}

/** What the reporter says at its end of how many there were. */
function countsOf(output) {
  const counts = {};
  for (const line of output.replace(COLOURS, "").split("\n")) {
    const match = /^ℹ (\w+) (\d+)$/.exec(line.trim());
    if (match !== null && COUNTED.includes(match[1])) counts[match[1]] = Number(match[2]);
  }
  return counts;
}

function secondsSince(startMs) {
  return (performance.now() - startMs) / 1000;
}

/**
 * Runs one job, {file, node, major, place, long}, in `root`; its place "beside": it gets only the time of the cores that nobody else wants
 * (SCHED_IDLE). Its outcome: the job, how many tests, whether it failed, seconds, and `isHung` if it was ended for taking too long. Never
 * rejects.
 */
function runFile(root, job) {
  const startMs = performance.now();
  const node = [job.node, "--test-reporter=spec", job.file];
  const [program, ...parameters] = job.place === "beside" ? ["chrt", "--idle", "0", ...node] : node;
  const limitMs = job.long ? LONG_FILE_LIMIT_MS : job.place === "beside" ? FILE_BESIDE_LIMIT_MS : FILE_LIMIT_MS;
  const env = {
    ...process.env,
    STEADFAST_REQUIRE_IMAGES: "1",
    ...(job.long ? { STEADFAST_LONG: "1" } : {}),
    ...(process.stdout.isTTY ? { FORCE_COLOR: "1" } : {}),
  };
  return new Promise((resolve) => {
    const isBeside = job.place === "beside";
    const child = spawn(program, parameters, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"], detached: isBeside });
    if (isBeside && child.pid !== undefined) comeLast(child);
    const chunks = [];
    let isHung = false;
    let killer;
    const timer = setTimeout(() => {
      isHung = true;
      child.kill("SIGTERM");
      killer = setTimeout(() => child.kill("SIGKILL"), END_LIMIT_MS);
    }, limitMs);
    let startError = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => chunks.push(chunk));
    child.once("error", (error) => (startError = `${error.message}\n`));
    // Not "close": what a test leaves behind may hold the pipes open for ever.
    const ended = (code) => {
      clearTimeout(timer);
      clearTimeout(killer);
      const output = Buffer.concat(chunks).toString() + startError;
      const counts = countsOf(output);
      // A file that ends before its tests do, with exit code 0, has no counts.
      const failed = code !== 0 || isHung || !(counts.tests > 0);
      resolve({ job, counts, failed, isHung, limitMs, seconds: secondsSince(startMs), output });
    };
    child.once("exit", (code) => setImmediate(ended, code));
    child.once("error", () => ended(null));
  });
}

function tell({ job, counts, failed, isHung, limitMs, seconds, output }) {
  const verdict = isHung ? `HUNG (ended after ${limitMs / 60_000} minutes)` : failed ? "FAILED" : "ok";
  console.log(`\n── ${nameOf(job)}: ${verdict}, ${counts.tests ?? 0} tests, ${seconds.toFixed(1)} s`);
  process.stdout.write(output);
}

export function nameOf({ file, major }) {
  return `${basename(file, ".test.js")} (Node ${major})`;
}

/**
 * Runs jobs in their order, `slots` at a time. A job with `after`, a promise, waits for it while others go first. All outcomes.
 */
export async function runJobs(root, jobs, slots) {
  const waiting = [...jobs];
  const outcomes = [];
  const released = new Set();
  const waitedFor = [...new Set(jobs.flatMap(({ after }) => (after === undefined ? [] : [after])))].map(async (promise) => {
    await promise;
    released.add(promise);
  });
  const work = async () => {
    while (waiting.length > 0) {
      const at = waiting.findIndex(({ after }) => after === undefined || released.has(after));
      if (at < 0) await Promise.race(waitedFor);
      else {
        const [job] = waiting.splice(at, 1);
        const outcome = await runFile(root, job);
        tell(outcome);
        outcomes.push(outcome);
      }
    }
  };
  await Promise.all(Array.from({ length: slots }, work));
  return outcomes;
}

/** Where the time went: steps (name, seconds) and files, the longest first; then the sums. */
export function tellTimes(steps, outcomes, startMs) {
  console.log("\nSeconds by step:");
  for (const { name, seconds } of steps) console.log(`${seconds.toFixed(1).padStart(8)}  ${name}`);
  console.log("\nSeconds by test file (those beside run on what the others leave of the cores):");
  for (const { job, seconds, counts, failed } of [...outcomes].sort((left, right) => right.seconds - left.seconds))
    console.log(
      `${seconds.toFixed(1).padStart(8)}  ${job.place.padEnd(6)}  ${nameOf(job)}, ${counts.tests ?? 0} tests${failed ? ": FAILED" : ""}`,
    );
  const sums = COUNTED.map((name) => `${outcomes.reduce((sum, { counts }) => sum + (counts[name] ?? 0), 0)} ${name}`).join(", ");
  const failed = outcomes.filter((outcome) => outcome.failed).map(({ job }) => nameOf(job));
  console.log(`\n${outcomes.length} files, ${sums}; ${secondsSince(startMs).toFixed(0)} s in all`);
  console.log(failed.length === 0 ? "everything passed" : `failed: ${failed.join(", ")}`);
}
