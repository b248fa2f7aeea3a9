/**
 * `npm run sim`: simulated servers under random faults, many seeds side by side in worker threads. Exit codes: 0 everything held, 2 bad
 * usage, 10 safety violated, 11 liveness violated, 12 the protocol code crashed; of several violations the one with the lowest seed.
 */
import { availableParallelism } from "node:os";
import { Worker, isMainThread, parentPort, workerData } from "node:worker_threads";
import cliProgress from "cli-progress";
import { Command, InvalidArgumentError } from "commander";
import { runSeed, type SeedOutcome } from "./run.js";

const EXIT_BAD_USAGE = 2;
const EXIT_CODES = { safety: 10, liveness: 11, crash: 12 } as const;
const TICKS_DEFAULT = 2500;
const TICKS_MAX = 10_000_000;
const SEEDS_MAX = 10_000_000;
const JOBS_MAX = 256;
/** Seeds that a worker is given at a time. */
const BATCH_SEEDS = 5;
/** Nearly all that a simulated server makes is soon garbage: with room for more of it, less lives long enough to be copied. */
const YOUNG_GENERATION_MB = 64;
const MS_PER_HOUR = 3_600_000;

/** Moments that a long enough run must have been hit in, or its faults are not what they claim to be. */
const EXPECTED_MARKS = [
  ...["arbiterOutage during a claim", "clockJump with ticks in flight", "corruptOutput with ticks in flight", "cut during a reintegration"],
  ...["flip with ticks in flight", "kill during a claim", "kill during a reintegration", "kill during a takeover"],
  ...["kill during an adjudication", "kill during an outage", "kill while the sequencer is down", "kill with ticks in flight"],
  ...["overtakeIo with ticks in flight", "powerLoss at rest", "pullEnclosure with ticks in flight", "restartIo during a claim"],
  ...["restartIo during a reintegration", "restartIo during a takeover", "restartIo during an adjudication"],
  ...[
    "restartIo with ticks in flight",
    "stop during a reintegration",
    "stop during an adjudication",
    "wallClock while the sequencer is down",
  ],
  ...["server: duplex", "server: triplex", "server: pair-and-spare", "double fault: the truth was lost"],
  ...[
    "ADJUDICATION_STARTED",
    "CHECKPOINT_FAILED",
    "CHECKPOINT_VERIFIED",
    "FENCED",
    "GUEST_PANIC",
    "GUEST_RESET",
    "JUDGE_PROMOTED",
    "MEMORY_DAMAGED",
  ],
  ...["MISCOMPARE", "MISCOMPARE_UNADJUDICATED", "MODULE_HUNG", "MODULE_RETIRED", "MODULE_STALE", "NEWCOMER_PROMOTED", "OUTAGE"],
  ...["PAIR_DROPPED", "REINTEGRATION_FAILED", "RESUMED", "STALLED"],
] as const;

interface Flags {
  readonly seed?: number;
  readonly seeds?: readonly [number, number];
  readonly ticks: number;
  readonly jobs: number;
  readonly json?: boolean;
}

interface Totals {
  readonly marks: Map<string, number>;
  seeds: number;
  simulatedMs: number;
  faults: number;
  /** The one with the lowest seed so far. */
  violated: SeedOutcome | null;
}

function parseCount(most: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (!/^\d+$/.test(text) || value < 1 || value > most) throw new InvalidArgumentError(`give a whole number from 1 to ${most}.`);
    return value;
  };
}

function parseRange(text: string): readonly [number, number] {
  const match = /^(\d+)\.\.(\d+)$/.exec(text);
  const [from, to] = [Number(match?.[1]), Number(match?.[2])];
  if (match === null || from < 1 || to < from || to > SEEDS_MAX)
    throw new InvalidArgumentError(`give a range such as 1..1000, up to ${SEEDS_MAX}.`);
  return [from, to];
}

function tellViolation(outcome: SeedOutcome, ticks: number): void {
  const { seed, violation, trace } = outcome;
  console.error(`\n${violation?.kind} violated with seed ${seed}: ${violation?.text}\n\nthe last that happened (ms, what):`);
  for (const line of trace) console.error(`  ${line}`);
  console.error(`\nreplay: npm run sim -- --seed ${seed} --ticks ${ticks}`);
}

function add(totals: Totals, outcome: SeedOutcome): void {
  totals.seeds += 1;
  totals.simulatedMs += outcome.simulatedMs;
  totals.faults += outcome.faults;
  for (const [name, count] of outcome.marks) totals.marks.set(name, (totals.marks.get(name) ?? 0) + count);
  const lowest = totals.violated?.seed ?? Infinity;
  if (outcome.violation !== null && outcome.seed < lowest) totals.violated = outcome;
}

/** Hands out batches of seeds until there are none left or one was violated. */
async function runAll(from: number, to: number, flags: Flags, noted: (outcome: SeedOutcome) => boolean): Promise<void> {
  let next = from;
  let goesOn = true;
  const batch = (): readonly number[] => {
    const seeds: number[] = [];
    while (goesOn && next <= to && seeds.length < BATCH_SEEDS) seeds.push(next++);
    return seeds;
  };
  const work = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_GENERATION_MB };
      const worker = new Worker(new URL(import.meta.url), { workerData: flags.ticks, resourceLimits });
      worker.once("error", reject);
      worker.on("message", (outcomes: readonly SeedOutcome[]) => {
        for (const outcome of outcomes) goesOn = noted(outcome) && goesOn;
        worker.postMessage(batch());
      });
      worker.once("exit", () => resolve());
    });
  await Promise.all(Array.from({ length: Math.min(flags.jobs, Math.ceil((to - from + 1) / BATCH_SEEDS)) }, work));
}

/** In a worker: runs the seeds that it is given; none: it ends. */
function serve(ticks: number): void {
  const port = parentPort;
  port?.postMessage([]);
  port?.on("message", (seeds: readonly number[]) => {
    if (seeds.length === 0) port.close();
    else port.postMessage(seeds.map((seed) => runSeed(seed, ticks)));
  });
}

async function main(flags: Flags): Promise<number> {
  const [from, to] = flags.seed === undefined ? (flags.seeds ?? [1, 100]) : [flags.seed, flags.seed];
  const totals: Totals = { marks: new Map(), seeds: 0, simulatedMs: 0, faults: 0, violated: null };
  const bar = process.stderr.isTTY
    ? new cliProgress.SingleBar({ format: "{bar} {value} of {total} seeds, {eta_formatted} left", clearOnComplete: true })
    : null;
  bar?.start(to - from + 1, 0);
  await runAll(from, to, flags, (outcome) => {
    add(totals, outcome);
    bar?.update(totals.seeds);
    return totals.violated === null;
  });
  bar?.stop();
  return tell(totals, flags);
}

function tell(totals: Totals, flags: Flags): number {
  const { marks, seeds, faults, violated } = totals;
  if (violated !== null && violated.violation !== null) {
    if (flags.json === true) console.log(JSON.stringify({ seed: violated.seed, ...violated.violation, trace: violated.trace }));
    else tellViolation(violated, flags.ticks);
    return EXIT_CODES[violated.violation.kind];
  }
  const missing = EXPECTED_MARKS.filter((name) => !marks.has(name));
  const hours = totals.simulatedMs / MS_PER_HOUR;
  if (flags.json === true) {
    console.log(JSON.stringify({ seeds, simulatedHours: hours, faults, marks: Object.fromEntries(marks), missing }));
    return 0;
  }
  for (const [name, count] of [...marks].sort(([left], [right]) => (left < right ? -1 : 1)))
    console.log(`${String(count).padStart(8)}  ${name}`);
  console.log(`${seeds} seeds, ${hours.toFixed(2)} simulated hours, ${faults} faults: everything held`);
  console.log(missing.length === 0 ? "every expected rare moment was reached" : `never reached: ${missing.join(", ")}`);
  return 0;
}

const command = new Command("npm run sim --")
  .description("Runs simulated servers of the real protocol code under random faults and holds them to what they promise.")
  .option("--seed <number>", "run this seed only", parseCount(SEEDS_MAX))
  .option("--seeds <range>", "run these seeds, such as 1..1000 (default: 1..100)", parseRange)
  .option("--ticks <number>", "how long faults befall each server, in quanta of a millisecond", parseCount(TICKS_MAX), TICKS_DEFAULT)
  .option("--jobs <number>", "how many seeds at a time", parseCount(JOBS_MAX), availableParallelism())
  .option("--json", "one line of JSON")
  .addHelpText("after", "\nExamples:\n  npm run sim -- --seeds 1..10000\n  npm run sim -- --seed 77 --ticks 2500\n")
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_BAD_USAGE));
if (isMainThread) process.exitCode = await main(command.parse().opts<Flags>());
else serve(workerData as number);
