/** Figures of wrong computing: flipped bits and damaged results under the payment load, and what checkpoints and the scrub cost. */
import { CHECKPOINT_BUSY_MICROS } from "../lockstep/limits.js";
import type { BenchContext } from "./bench-context.js";
import type { BenchServer } from "./bench-server.js";
import { runComputingErrors, type ComputingError, type ErrorKind } from "./computing-errors.js";
import { REDIS_PORT } from "./connection.js";
import { judge, type Figure } from "./figures.js";
import { runPayments, type PaymentRun } from "./payments.js";
import { formatMs } from "./plot.js";
import { maximum } from "../foundation/statistics.js";

const CLIENTS = 8;
const ACCOUNTS = 100;
/** At most, before each error: some fall into the time after a reintegration in which there is no verified checkpoint yet. */
const PAUSE_MOST_MS = 3000;
const ADJUDICATION_LIMIT_MS = 2000;
/** A new checkpoint is due after so much running time of the guest, and then takes a while to be made. */
const ORDINARY_CHECKPOINT_MS = (1.5 * CHECKPOINT_BUSY_MICROS) / 1000;
const CHECKPOINT_HOLD_LIMIT_MS = 20;
/** As with a killed module: beyond the ordinary latency of the load. */
const GAP_EXTRA_MS = 50;
/** A gap that begins this long after the finding belongs to it. */
const GAP_WINDOW_MS = 300;

interface ErrorRun {
  readonly run: PaymentRun;
  readonly errors: readonly ComputingError[];
  readonly worstCheckpointHoldMs: number;
}

async function errorRun(context: BenchContext, server: BenchServer, kinds: readonly ErrorKind[], count: number): Promise<ErrorRun> {
  const { seed, onProgress } = context.options;
  const errors: ComputingError[] = [];
  onProgress(`payment load on ${server.options.name}, ${count} times ${kinds.join(" or ")}`);
  const run = await runPayments({
    address: { host: server.host, port: REDIS_PORT },
    clients: CLIENTS,
    accounts: ACCOUNTS,
    seed,
    seconds: 0,
    untilFaultsDone: true,
    faults: { mix: "none", seed, pauseMinimumMs: 0, pauseMaximumMs: 0, count: 0 },
    drive: (stopped) =>
      runComputingErrors(server.source, { kinds, count, seed, pauseMostMs: PAUSE_MOST_MS }, errors, stopped, (error) =>
        onProgress(
          `${errors.length} of ${count}: ${error.kind} ${error.module}${error.address === undefined ? "" : ` at ${error.address}`}: ${error.finding} ${error.why}`,
        ),
      ),
    source: server.source,
    keep: false,
    onProgress,
  });
  const { counters } = await server.source.read();
  return { run, errors, worstCheckpointHoldMs: counters.worstCheckpointHoldMs };
}

function countFigures(label: string, errors: readonly ComputingError[], command: string): Figure[] {
  const found = (finding: ComputingError["finding"]): number => errors.filter((error) => error.finding === finding).length;
  const missed = found("missed");
  const accused = errors.filter((error) => error.isInnocentAccused).length;
  const parts = (["memory check", "re-execution", "majority", "record", "masked"] as const)
    .filter((finding) => found(finding) > 0)
    .map((finding) => `${found(finding)} ${finding}`);
  return [
    { name: `${label}: how they were found`, target: "-", measured: parts.join(", "), value: errors.length, verdict: "info", command },
    {
      name: `${label}: missed`,
      target: "0",
      measured: `${missed} of ${errors.length}`,
      value: missed,
      verdict: judge(missed, { atMost: 0 }),
      command,
    },
    {
      name: `${label}: an innocent module accused`,
      target: "0",
      measured: `${accused} of ${errors.length}`,
      value: accused,
      verdict: judge(accused, { atMost: 0 }),
      command,
    },
  ];
}

function brokenFigure(label: string, { report }: PaymentRun, command: string): Figure {
  const { broken } = report;
  return {
    name: `${label}: broken promises`,
    target: "0",
    measured: broken.length === 0 ? `0 in ${report.load.requests} requests` : broken.join("; "),
    value: broken.length,
    verdict: judge(broken.length, { atMost: 0 }),
    command,
  };
}

export async function measureFlips(context: BenchContext): Promise<Figure[]> {
  const command = "steadfast bench flips";
  const count = context.options.faultCount;
  const figures: Figure[] = [];
  for (const label of ["duplex", "triplex"] as const) {
    const server = await (label === "duplex" ? context.duplex() : context.triplex());
    const { run, errors } = await errorRun(context, server, ["flip"], count);
    figures.push(...countFigures(`flips, ${label}`, errors, command), brokenFigure(`flips, ${label}`, run, command));
    await context.stopAll();
  }
  return figures;
}

/** Longest time without an answer that clients saw around the findings. */
function worstGapMs({ timeline }: PaymentRun, errors: readonly ComputingError[]): number {
  const gaps = errors.map((error) => {
    const until = Math.min(timeline.endMs, (error.foundAtMs ?? error.atMs) + GAP_WINDOW_MS);
    return timeline.worstGap(error.atMs, until).lengthMs;
  });
  return maximum(gaps);
}

/** Just after a reintegration the checkpoint is from before it, and older than those that are made every so often. */
function adjudicationFigures(errors: readonly ComputingError[], command: string): Figure[] {
  const judged = errors.filter(({ finding }) => finding === "re-execution");
  const ordinary = judged.filter(({ checkpointBusyMs }) => checkpointBusyMs <= ORDINARY_CHECKPOINT_MS);
  const older = judged.filter((error) => !ordinary.includes(error));
  const heldMs = maximum(ordinary.map((error) => error.heldMs));
  const worstMs = maximum(older.map((error) => error.heldMs));
  return [
    {
      name: `adjudication held the guest (worst of ${ordinary.length})`,
      target: `<= ${ADJUDICATION_LIMIT_MS} ms`,
      measured: ordinary.length === 0 ? "none" : formatMs(heldMs),
      value: heldMs,
      verdict: ordinary.length === 0 ? "missed" : judge(heldMs, { atMost: ADJUDICATION_LIMIT_MS }),
      command,
    },
    {
      name: `the same from an older checkpoint, just after a reintegration (worst of ${older.length})`,
      target: "-",
      measured: older.length === 0 ? "none" : formatMs(worstMs),
      value: worstMs,
      verdict: "info",
      command,
    },
  ];
}

export async function measureMiscompares(context: BenchContext): Promise<Figure[]> {
  const command = "steadfast bench miscompare";
  const kinds: readonly ErrorKind[] = ["corrupt-output", "skew-clock"];
  const count = context.options.faultCount * kinds.length;
  const duplex = await errorRun(context, await context.duplex(), kinds, count);
  await context.stopAll();
  const triplex = await errorRun(context, await context.triplex(), kinds, count);
  const gapMs = worstGapMs(triplex.run, triplex.errors);
  const limitMs = triplex.run.report.load.latency.p999Ms + GAP_EXTRA_MS;
  return [
    ...countFigures("wrong results, duplex", duplex.errors, command),
    brokenFigure("wrong results, duplex", duplex.run, command),
    ...adjudicationFigures(duplex.errors, command),
    {
      name: "checkpoint held the guest (worst)",
      target: `<= ${CHECKPOINT_HOLD_LIMIT_MS} ms`,
      measured: formatMs(duplex.worstCheckpointHoldMs),
      value: duplex.worstCheckpointHoldMs,
      verdict: judge(duplex.worstCheckpointHoldMs, { atMost: CHECKPOINT_HOLD_LIMIT_MS }),
      command,
    },
    ...countFigures("wrong results, triplex", triplex.errors, command),
    brokenFigure("wrong results, triplex", triplex.run, command),
    {
      name: "worst client-visible gap, triplex",
      target: `<= p99.9 + ${GAP_EXTRA_MS} = ${formatMs(limitMs)}`,
      measured: formatMs(gapMs),
      value: gapMs,
      verdict: judge(gapMs, { atMost: limitMs }),
      command,
    },
  ];
}
