/**
 * `npm run sim`: simulated servers under random faults, one seed after the other. Exit codes: 0 everything held, 2 bad usage, 10
 * safety violated, 11 liveness violated, 12 the protocol code crashed.
 */
import { Command, InvalidArgumentError } from "commander";
import { runSeed, type SeedOutcome } from "./run.js";

const EXIT_BAD_USAGE = 2;
const EXIT_CODES = { safety: 10, liveness: 11, crash: 12 } as const;
const TICKS_DEFAULT = 2500;
const TICKS_MAX = 10_000_000;
const SEEDS_MAX = 10_000_000;
const SHOW_EVERY_MS = 200;
const MS_PER_HOUR = 3_600_000;

/** Moments that a long enough run must have been hit in, or its faults are not what they claim to be. */
const EXPECTED_MARKS = [
  "kill during a claim",
  "kill during a reintegration",
  "kill during a takeover",
  "kill while the sequencer is down",
  "kill with ticks in flight",
  "restartIo during a claim",
  "restartIo during a reintegration",
  "restartIo with ticks in flight",
  "arbiterOutage during a claim",
  "stop during a reintegration",
  "flip with ticks in flight",
  "MISCOMPARE",
  "MODULE_HUNG",
  "MODULE_STALE",
  "NEWCOMER_PROMOTED",
  "OUTAGE",
  "REINTEGRATION_FAILED",
  "RESUMED",
  "STALLED",
  "GUEST_RESET",
  "GUEST_PANIC",
] as const;

interface Flags {
  readonly seed?: number;
  readonly seeds?: readonly [number, number];
  readonly ticks: number;
  readonly json?: boolean;
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

function main(flags: Flags): number {
  const [from, to] = flags.seed === undefined ? (flags.seeds ?? [1, 100]) : [flags.seed, flags.seed];
  const marks = new Map<string, number>();
  let simulatedMs = 0;
  let faults = 0;
  let shownAtMs = 0;
  for (let seed = from; seed <= to; seed += 1) {
    const outcome = runSeed(seed, flags.ticks);
    simulatedMs += outcome.simulatedMs;
    faults += outcome.faults;
    for (const [name, count] of outcome.marks) marks.set(name, (marks.get(name) ?? 0) + count);
    if (outcome.violation !== null) {
      if (flags.json === true) console.log(JSON.stringify({ seed, ...outcome.violation, trace: outcome.trace }));
      else tellViolation(outcome, flags.ticks);
      return EXIT_CODES[outcome.violation.kind];
    }
    if (process.stderr.isTTY && Date.now() - shownAtMs > SHOW_EVERY_MS) {
      shownAtMs = Date.now();
      process.stderr.write(`\rseed ${seed} of ${from}..${to}`);
    }
  }
  if (process.stderr.isTTY) process.stderr.write("\r\u001b[K");
  const missing = EXPECTED_MARKS.filter((name) => !marks.has(name));
  const hours = simulatedMs / MS_PER_HOUR;
  if (flags.json === true) {
    console.log(JSON.stringify({ seeds: to - from + 1, simulatedHours: hours, faults, marks: Object.fromEntries(marks), missing }));
    return 0;
  }
  for (const [name, count] of [...marks].sort(([left], [right]) => (left < right ? -1 : 1)))
    console.log(`${String(count).padStart(8)}  ${name}`);
  console.log(`${to - from + 1} seeds, ${hours.toFixed(2)} simulated hours, ${faults} faults: everything held`);
  console.log(missing.length === 0 ? "every expected rare moment was reached" : `never reached: ${missing.join(", ")}`);
  return 0;
}

const command = new Command("npm run sim --")
  .description("Runs simulated servers of the real protocol code under random faults and holds them to what they promise.")
  .option("--seed <number>", "run this seed only", parseCount(SEEDS_MAX))
  .option("--seeds <range>", "run these seeds, such as 1..1000 (default: 1..100)", parseRange)
  .option("--ticks <number>", "how long faults befall each server, in quanta of a millisecond", parseCount(TICKS_MAX), TICKS_DEFAULT)
  .option("--json", "one line of JSON")
  .addHelpText("after", "\nExamples:\n  npm run sim -- --seeds 1..10000\n  npm run sim -- --seed 77 --ticks 2500\n")
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : EXIT_BAD_USAGE))
  .parse();
process.exitCode = main(command.opts<Flags>());
