/** `steadfast bench …`: the payment workload and the figures. Every report can be had as JSON; a missed promise ends by exit code 1. */
import { Option, type Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { measureAll, measureGap, measureQemu, measureReintegration, measureTakeover } from "../bench/bench-all.js";
import { BenchContext } from "../bench/bench-context.js";
import { CHAOS_KINDS, runChaosUnderLoad, type ChaosKind } from "../bench/chaos.js";
import { brokenByErrors, ERROR_KINDS, runComputingErrors, type ComputingError } from "../bench/computing-errors.js";
import { demandRedis, parseAddress, REDIS_PORT, type Address } from "../bench/connection.js";
import type { FaultMix, FaultPlan, FaultTarget } from "../bench/faults.js";
import { figureTable, type Figure } from "../bench/figures.js";
import { hostFacts, hostLine } from "../bench/host.js";
import { runHttpFaults } from "../bench/http-run.js";
import { lockBenchmarks } from "../bench/lock.js";
import { measureFlips, measureMiscompares } from "../bench/measure-errors.js";
import { measureApi, measureStreams } from "../bench/measure-api.js";
import { measureConsole } from "../bench/measure-console.js";
import { measureDisk } from "../bench/measure-disk.js";
import { measureProtection } from "../bench/measure-protection.js";
import { measureBoot, measureIdle, measureMemory } from "../bench/measure-host.js";
import { measureCpu, measureHttpRate, measureLatency, measureRedis } from "../bench/measure-speed.js";
import { runPayments } from "../bench/payments.js";
import { chaosText, httpText, paymentText } from "../bench/report.js";
import type { DrillSource } from "../bench/server-view.js";
import { ServerClient } from "./client.js";
import { sourceOf } from "./drill-source.js";
import { whenReaderGone } from "./reader-gone.js";
import { chosenServer } from "./server-choice.js";
import { wholeNumber } from "./whole-number.js";

const DEFAULT_SECONDS = 30;
const SECONDS_LIMIT = 4 * 3600;
const DEFAULT_EVERY_SECONDS = 5;
const HTTP_PORT = 80;
const DEFAULT_ROUNDS = 3;
const MINUTES_LIMIT = 240;
const CHAOS_CLIENTS = 8;
const CHAOS_HTTP_CLIENTS = 4;
const CHAOS_ACCOUNTS = 100;
/** What shells give a program that SIGINT ended. */
const EXIT_INTERRUPTED = 130;

interface LoadFlags {
  readonly clients: number;
  readonly accounts?: number;
  readonly seconds?: number;
  readonly faults?: FaultMix;
  readonly target?: FaultTarget;
  readonly faultCount?: number;
  readonly every?: number;
  readonly server?: string;
  readonly address?: string;
  readonly json?: boolean;
  readonly seed?: number;
  readonly keep?: boolean;
}

interface ChaosFlags {
  readonly minutes?: number;
  readonly faultCount?: number;
  readonly kinds?: ChaosKind[];
  readonly server?: string;
  readonly seed?: number;
  readonly json?: boolean;
}

interface FigureFlags {
  readonly rounds: number;
  readonly json?: boolean;
  readonly seed?: number;
  readonly up: string[];
  readonly faultCount: number;
}

const progress =
  (json: boolean | undefined) =>
  (text: string): void => {
    if (json !== true) process.stdout.write(`${text}\n`);
  };

const newSeed = (): number => Math.floor(Math.random() * 0x7fff_ffff);

/** A whole number in a shell's hands: the pause in DUPLEX before each fault is random around the wanted interval. */
function faultPlan(flags: LoadFlags, seed: number): FaultPlan {
  const mix = flags.faults ?? (flags.address === undefined ? "mixed" : "none");
  if (mix !== "none" && flags.address !== undefined) {
    throw new SteadfastError("USAGE", {
      what: "Faults hit a server of ours: give `--server NAME`, or `--address` together with `--faults none`.",
    });
  }
  const everyMs = (flags.every ?? DEFAULT_EVERY_SECONDS) * 1000;
  // With a count, faults follow one another quickly; with an interval they are spread around it.
  const quick = flags.faultCount !== undefined && flags.every === undefined;
  return {
    mix,
    ...(flags.target !== undefined && { target: flags.target }),
    seed,
    pauseMinimumMs: quick ? 300 : everyMs / 2,
    pauseMaximumMs: quick ? 2000 : (everyMs * 3) / 2,
    count: flags.faultCount ?? Number.POSITIVE_INFINITY,
  };
}

interface Target {
  readonly address: Address;
  readonly source: DrillSource | undefined;
}

/** Where the payments go: nothing is counted before Redis answers. */
async function redisTarget(flags: LoadFlags): Promise<Target> {
  const found = await target(flags, REDIS_PORT);
  await demandRedis(found.address, found.source === undefined ? `at ${found.address.host}` : `in the guest of ${found.source.name}`);
  return found;
}

async function target(flags: LoadFlags, port: number): Promise<Target> {
  if (flags.address !== undefined) {
    try {
      return { address: parseAddress(flags.address, port), source: undefined };
    } catch (error) {
      throw new SteadfastError("USAGE", { what: `--address: ${(error as Error).message}.` });
    }
  }
  const source = sourceOf(chosenServer(flags));
  const { address } = await source.read();
  if (address === "") throw new SteadfastError("BENCH_SERVER", { server: source.name, why: "its status names no guest address" });
  return { address: { host: address, port }, source };
}

async function commonLoad(flags: LoadFlags, findTarget: () => Promise<Target>) {
  const seed = flags.seed ?? newSeed();
  const faults = faultPlan(flags, seed);
  const where = await findTarget();
  const errors: ComputingError[] = [];
  const { source } = where;
  const drive = (stopped: () => boolean): Promise<boolean> => {
    const plan = { kinds: ERROR_KINDS, count: flags.faultCount ?? Infinity, seed, pauseMostMs: faults.pauseMaximumMs };
    const tell = (error: ComputingError): void => progress(flags.json)(`${error.kind} ${error.module}: ${error.finding} ${error.why}`);
    return runComputingErrors(source as DrillSource, plan, errors, stopped, tell);
  };
  return {
    ...where,
    errors,
    ...(faults.mix === "errors" && { drive }),
    clients: flags.clients,
    seed,
    faults,
    seconds: flags.seconds ?? (flags.faultCount === undefined ? DEFAULT_SECONDS : 0),
    untilFaultsDone: flags.faultCount !== undefined && faults.mix !== "none",
    onProgress: progress(flags.json),
  };
}

async function payments(flags: LoadFlags): Promise<void> {
  const options = await commonLoad(flags, () => redisTarget(flags));
  progress(flags.json)(hostLine());
  const run = await runPayments({ ...options, accounts: flags.accounts ?? 100, keep: flags.keep ?? false });
  const report = { ...run.report, errors: options.errors, broken: [...run.report.broken, ...brokenByErrors(options.errors)] };
  const { timeline } = run;
  process.stdout.write(
    flags.json === true ? `${JSON.stringify({ host: hostFacts(), ...report })}\n` : `${paymentText(report, timeline)}\n`,
  );
  if (report.broken.length > 0) process.exitCode = 1;
}

async function httpLoad(flags: LoadFlags): Promise<void> {
  const options = await commonLoad(flags, () => target(flags, HTTP_PORT));
  progress(flags.json)(hostLine());
  const { report, timeline } = await runHttpFaults(options);
  process.stdout.write(flags.json === true ? `${JSON.stringify({ host: hostFacts(), ...report })}\n` : `${httpText(report, timeline)}\n`);
  if (report.broken.length > 0) process.exitCode = 1;
}

async function chaos(flags: ChaosFlags): Promise<void> {
  const seed = flags.seed ?? newSeed();
  const { address, source } = await redisTarget({ ...flags, clients: CHAOS_CLIENTS });
  progress(flags.json)(hostLine());
  const report = await runChaosUnderLoad({
    address,
    source: source as DrillSource,
    http: { host: address.host, port: HTTP_PORT },
    clients: CHAOS_CLIENTS,
    httpClients: CHAOS_HTTP_CLIENTS,
    accounts: CHAOS_ACCOUNTS,
    seed,
    seconds: 60 * (flags.minutes ?? (flags.faultCount === undefined ? 1 : 0)),
    faultCount: flags.faultCount ?? Infinity,
    kinds: flags.kinds ?? CHAOS_KINDS,
    keep: false,
    onProgress: progress(flags.json),
  });
  process.stdout.write(flags.json === true ? `${JSON.stringify({ host: hostFacts(), ...report })}\n` : `${chaosText(report)}\n`);
  if (report.broken.length > 0) process.exitCode = 1;
}

/** Runs a measurement on servers of its own and removes them, also when it fails or is interrupted. */
async function figures(flags: FigureFlags, measure: (context: BenchContext) => Promise<Figure[]>): Promise<void> {
  const unlock = await lockBenchmarks();
  const abort = new AbortController();
  const context = new BenchContext({
    signal: abort.signal,
    rounds: flags.rounds,
    faultCount: flags.faultCount,
    upParameters: flags.up,
    seed: flags.seed ?? newSeed(),
    openSource: (name) => sourceOf(new ServerClient(name)),
    onProgress: progress(flags.json),
  });
  progress(flags.json)(hostLine());
  let cleaning: Promise<void> | undefined;
  const interrupted = (): void => {
    abort.abort();
    cleaning ??= context.stopAll().finally(() => process.exit(EXIT_INTERRUPTED));
  };
  process.once("SIGINT", interrupted);
  process.once("SIGTERM", interrupted);
  const forget = whenReaderGone(interrupted);
  try {
    const measured = await measure(context);
    process.stdout.write(
      flags.json === true ? `${JSON.stringify({ host: hostFacts(), figures: measured })}\n` : `\n${figureTable(measured)}\n`,
    );
    if (measured.some((figure) => figure.verdict === "missed")) process.exitCode = 1;
  } finally {
    // After an interruption the measurement fails of itself; what it says then does not matter, but the clean-up must end.
    await (cleaning ?? context.stopAll());
    process.removeListener("SIGINT", interrupted);
    process.removeListener("SIGTERM", interrupted);
    forget();
    unlock();
  }
}

function addLoadCommand(parent: Command, name: string, summary: string, clients: number): Command {
  return parent
    .command(name)
    .summary(summary)
    .description(summary)
    .option("--clients <number>", "connections, each with one request at a time", wholeNumber(1, 512), clients)
    .option(
      "--seconds <number>",
      `length of the load (default ${DEFAULT_SECONDS}; with --fault-count: until all faults are done)`,
      wholeNumber(1, SECONDS_LIMIT),
    )
    .addOption(
      new Option("--faults <kind>", "what happens to modules meanwhile (default: mixed; none with --address)").choices([
        "kill",
        "hang",
        "mixed",
        "relapse",
        "errors",
        "none",
      ]),
    )
    .addOption(
      new Option("--target <kind>", "what is killed and hung: CPU modules (default), or the active I/O module").choices(["cpu", "io"]),
    )
    .option("--fault-count <number>", "inject this many faults, each after DUPLEX is back, then end", wholeNumber(1, 10_000))
    .option("--every <seconds>", `mean pause in DUPLEX before each fault (default ${DEFAULT_EVERY_SECONDS})`, wholeNumber(1, 3600))
    .option("--server <name>", "which server, if several run")
    .option("--address <host:port>", "any server that speaks the protocol, without faults")
    .option("--seed <number>", "seed of the load and of the faults' moments", wholeNumber(0, 0x7fff_ffff))
    .option("--json", "print the report as JSON");
}

function addFigureCommand(parent: Command, name: string, summary: string, measure: (context: BenchContext) => Promise<Figure[]>): void {
  parent
    .command(name)
    .summary(summary)
    .description(`${summary} Starts servers of its own (names bench-…) and removes them.`)
    .option("--rounds <number>", "interleaved rounds after the warm-up; medians are printed", wholeNumber(1, 100), DEFAULT_ROUNDS)
    .option("--up <parameter...>", "passed on to `steadfast up`, e.g. --up=--kernel --up=stock", [])
    .option("--fault-count <number>", "faults of each kind", wholeNumber(1, 1000), 4)
    .option("--seed <number>", "seed of the load and of the faults' moments", wholeNumber(0, 0x7fff_ffff))
    .option("--json", "print the figures as JSON")
    .action((flags: FigureFlags) => figures(flags, measure));
}

export function addBenchCommand(program: Command): void {
  const bench = program
    .command("bench")
    .summary("workloads and figures")
    .description("Workloads that prove that nothing is lost, and the figures of the project.");
  addLoadCommand(
    bench,
    "payments",
    "Clients move money in the guest's Redis while CPU modules are killed and hung; nothing may be lost or doubled.",
    16,
  )
    .option("--accounts <number>", "accounts that money moves between", wholeNumber(2, 100_000), 100)
    .option("--keep", "leave the ledger in Redis")
    .action(payments);
  addLoadCommand(bench, "http", "Keep-alive requests to the guest's nginx while CPU modules are killed and hung; none may fail.", 8).action(
    httpLoad,
  );
  bench
    .command("chaos")
    .summary("Modules and enclosures are killed, hung, pulled and flipped, one at a time, under payments and HTTP.")
    .description(
      "Modules and whole enclosures of a running server are killed, hung, pulled and made to compute wrongly, one fault at a time, each after full redundancy is back, under the payment workload and an HTTP load. Whatever the server says is not safe to pull is left alone.",
    )
    .option("--minutes <number>", "how long (default 1; with --fault-count: until all faults are done)", wholeNumber(1, MINUTES_LIMIT))
    .option("--fault-count <number>", "end after this many faults", wholeNumber(1, 10_000))
    .addOption(new Option("--kinds <kind...>", "which kinds of fault (default: all)").choices(CHAOS_KINDS))
    .option("--server <name>", "which server, if several run")
    .option("--seed <number>", "seed of the load and of the faults", wholeNumber(0, 0x7fff_ffff))
    .option("--json", "print the report as JSON")
    .action(chaos);
  addFigureCommand(bench, "all", "Every figure in one table.", (context) => measureAll(context));
  addFigureCommand(bench, "api", "The payment workload's p99 under a flood of the control API.", (context) => measureApi(context));
  addFigureCommand(bench, "boot", "From `up` to the first HTTP answer.", (context) => measureBoot(context));
  addFigureCommand(
    bench,
    "console",
    "The web console in a real browser: first load, and how far the screen is behind the facts.",
    (context) => measureConsole(context),
  );
  addFigureCommand(bench, "cpu", "A processor-bound guest job, duplex against unprotected.", (context) => measureCpu(context, false));
  addFigureCommand(bench, "disk", "The guest's disk, mirrored against a single copy, and the return of a mirror.", (context) =>
    measureDisk(context),
  );
  addFigureCommand(bench, "flips", "Single flipped bits of guest memory under the payment load: found, masked, missed.", (context) =>
    measureFlips(context),
  );
  addFigureCommand(bench, "miscompare", "Damaged outputs and wrong clocks: who was right, how long it took, what clients saw.", (context) =>
    measureMiscompares(context),
  );
  addFigureCommand(bench, "protection", "What checkpoints, digests and the memory check cost.", (context) => measureProtection(context));
  addFigureCommand(bench, "gap", "What clients see of a killed and of a hung CPU module.", (context) => measureGap(context));
  addFigureCommand(bench, "idle", "Processor share of each module while the guest idles.", (context) => measureIdle(context));
  addFigureCommand(bench, "latency", "Round trip of a small request to an idle guest, duplex against unprotected.", (context) =>
    measureLatency(context),
  );
  addFigureCommand(bench, "memory", "Memory of each module.", (context) => measureMemory(context));
  addFigureCommand(bench, "qemu", "Redis and HTTP rates beside the same image under qemu-system-riscv64.", (context) =>
    measureQemu(context),
  );
  addFigureCommand(bench, "redis", "redis-benchmark, duplex against unprotected, and the guest's MIPS.", (context) =>
    measureRedis(context, false),
  );
  addFigureCommand(bench, "reintegration", "Hold, time to DUPLEX and throughput while a killed CPU module comes back.", (context) =>
    measureReintegration(context),
  );
  addFigureCommand(bench, "streams", "The payment workload's p99 while ten thousand event streams are asked for.", (context) =>
    measureStreams(context),
  );
  addFigureCommand(bench, "takeover", "What clients see when the active I/O module is killed, also with a disk, and hangs.", (context) =>
    measureTakeover(context),
  );
  addFigureCommand(bench, "web", "HTTP rates, duplex against unprotected.", (context) => measureHttpRate(context, false));
}
