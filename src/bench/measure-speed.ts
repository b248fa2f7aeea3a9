/** Figures of speed: lockstep tax on processor, Redis and HTTP; idle round trip; each in interleaved rounds within one run. */
import { Connection, REDIS_PORT } from "./connection.js";
import type { BenchContext, Subject } from "./bench-context.js";
import { pause } from "./faults.js";
import { judge, type Figure } from "./figures.js";
import { runHttpClients } from "./http-load.js";
import { LoadRecorder } from "./load.js";
import { formatNumber } from "./plot.js";
import { median, pairedRatio, percentile } from "../foundation/statistics.js";
import { redisBenchmark, toolInstalled, wrk } from "./tools.js";

const CPU_RATIO = 0.95;
const REDIS_RATIO = 0.85;
const LATENCY_EXTRA_MS = 1;
const MIPS_TARGET = 200;
const REDIS_CLIENTS = 8;
/** Requests of each kind in a round: what the slowest subject does in about this time, within bounds. */
const REDIS_ROUND_SECONDS = 5;
const REDIS_REQUESTS_MINIMUM = 2_000;
const REDIS_REQUESTS_MAXIMUM = 50_000;
const REDIS_WARM_UP_REQUESTS = 2_000;
const HTTP_CONNECTIONS = 8;
const HTTP_SECONDS = 4;
const PINGS = 200;
/** Between pings the guest must have gone idle. */
const PING_PAUSE_MS = 5;
/** Rough length of the processor-bound job. */
const JOB_SECONDS = 2;
const JOB_FIRST_ITERATIONS = 30_000;

/** Adds, multiplies, compares and branches in the guest's Lua interpreter; no I/O until the end. */
const JOB_SCRIPT =
  "local x = 1 for i = 1, tonumber(ARGV[1]) do x = x * 3 + i if x > 1000000 then x = x - 999983 * math.floor(x / 999983) end end return x";

type Series = Record<Subject["label"], number[]>;
const series = (): Series => ({ duplex: [], simplex: [], qemu: [], unchecked: [] });

/** Runs `measure` for each subject, round by round: A B (C) A B (C) …, after one round that does not count. */
export async function interleave(
  subjects: readonly Subject[],
  rounds: number,
  measure: (subject: Subject, warmUp: boolean) => Promise<void>,
): Promise<void> {
  for (let round = 0; round <= rounds; round++) for (const subject of subjects) await measure(subject, round === 0);
}

async function subjects(context: BenchContext, withQemu: boolean): Promise<Subject[]> {
  const [duplex, simplex] = await context.pair();
  const both: Subject[] = [
    { label: "duplex", host: duplex.host },
    { label: "simplex", host: simplex.host },
  ];
  return withQemu ? [...both, { label: "qemu", host: (await context.qemu()).host }] : both;
}

/** Samples the server's own MIPS figure while something runs. */
async function sampleMips<T>(context: BenchContext, label: Subject["label"], work: Promise<T>, samples: number[]): Promise<T> {
  if (label === "qemu") return work;
  const server = await context[label]();
  let over = false;
  const sampling = (async () => {
    while (!over) {
      await pause(500);
      const { mips } = await server.source.read();
      if (!over && mips > 0) samples.push(mips);
    }
  })();
  try {
    return await work;
  } finally {
    over = true;
    await sampling;
  }
}

export interface RedisRates {
  readonly set: Series;
  readonly get: Series;
  readonly mips: Series;
}

/** Rates of redis-benchmark against each subject, in interleaved rounds. */
export async function redisRates(context: BenchContext, all: readonly Subject[]): Promise<RedisRates> {
  const set = series();
  const get = series();
  const mips: Series = series();
  let requests = REDIS_REQUESTS_MAXIMUM;
  await interleave(all, context.options.rounds, async (subject, warmUp) => {
    const work = redisBenchmark(subject.host, REDIS_CLIENTS, warmUp ? REDIS_WARM_UP_REQUESTS : requests);
    const rates = await sampleMips(context, subject.label, work, warmUp ? [] : mips[subject.label]);
    context.options.onProgress(
      `redis-benchmark ${subject.label}: SET ${formatNumber(rates.set)}/s, GET ${formatNumber(rates.get)}/s${warmUp ? " (warm-up)" : ""}`,
    );
    if (warmUp) {
      requests = Math.min(requests, Math.max(REDIS_REQUESTS_MINIMUM, Math.round(REDIS_ROUND_SECONDS * Math.min(rates.set, rates.get))));
      return;
    }
    set[subject.label].push(rates.set);
    get[subject.label].push(rates.get);
  });
  return { set, get, mips };
}

export async function measureRedis(context: BenchContext, withQemu: boolean): Promise<Figure[]> {
  const { set, get, mips } = await redisRates(context, await subjects(context, withQemu));
  const command = "steadfast bench redis";
  const figures: Figure[] = [];
  for (const [name, rates] of [
    ["SET", set],
    ["GET", get],
  ] as const) {
    const ratio = pairedRatio(rates.duplex, rates.simplex);
    figures.push({
      name: `redis ${name}, duplex / unprotected`,
      target: `>= ${REDIS_RATIO}`,
      measured: ratio.toFixed(3),
      value: ratio,
      verdict: judge(ratio, { atLeast: REDIS_RATIO }),
      command,
    });
    for (const label of ["duplex", "simplex", "qemu"] as const) {
      if (rates[label].length > 0) figures.push(orientation(`redis ${name}, ${label}`, median(rates[label]), "/s", command));
    }
  }
  const speed = median(mips.simplex);
  figures.push({
    name: "guest speed over the redis load, unprotected",
    target: `>= ${MIPS_TARGET} MIPS`,
    measured: `${formatNumber(speed)} MIPS`,
    value: speed,
    verdict: judge(speed, { atLeast: MIPS_TARGET }),
    command,
  });
  figures.push(orientation("guest speed over the redis load, duplex", median(mips.duplex), " MIPS", command));
  return figures;
}

function orientation(name: string, value: number, unit: string, command: string): Figure {
  return { name, target: "-", measured: `${formatNumber(value)}${unit}`, value, verdict: "info", command };
}

/** wrk where it is installed, else our own keep-alive load. */
async function httpRate(host: string, seconds: number): Promise<number> {
  const address = { host, port: 80 };
  if (toolInstalled("wrk")) return (await wrk(address, HTTP_CONNECTIONS, seconds)).perSecond;
  const recorder = new LoadRecorder();
  const end = performance.now() + seconds * 1000;
  await runHttpClients(address, HTTP_CONNECTIONS, recorder, () => performance.now() > end);
  return recorder.finish().perSecond;
}

export async function measureHttpRate(context: BenchContext, withQemu: boolean): Promise<Figure[]> {
  const rates = series();
  await interleave(await subjects(context, withQemu), context.options.rounds, async (subject, warmUp) => {
    const rate = await httpRate(subject.host, warmUp ? 1 : HTTP_SECONDS);
    context.options.onProgress(`http ${subject.label}: ${formatNumber(rate)}/s${warmUp ? " (warm-up)" : ""}`);
    if (!warmUp) rates[subject.label].push(rate);
  });
  const command = "steadfast bench web";
  const figures = [orientation("http, duplex / unprotected", pairedRatio(rates.duplex, rates.simplex), "", command)];
  for (const label of ["duplex", "simplex", "qemu"] as const)
    if (rates[label].length > 0) figures.push(orientation(`http, ${label}`, median(rates[label]), "/s", command));
  return figures;
}

async function pings(host: string, count: number): Promise<number[]> {
  const connection = await Connection.open({ host, port: REDIS_PORT });
  const times: number[] = [];
  for (let index = 0; index < count; index++) {
    await pause(PING_PAUSE_MS);
    const sent = performance.now();
    await connection.command(["PING"]);
    times.push(performance.now() - sent);
  }
  await connection.close();
  return times;
}

export async function measureLatency(context: BenchContext): Promise<Figure[]> {
  const medians = series();
  const tails = series();
  await interleave(await subjects(context, false), context.options.rounds, async (subject, warmUp) => {
    const times = await pings(subject.host, warmUp ? 50 : PINGS);
    context.options.onProgress(`idle PING ${subject.label}: median ${formatNumber(median(times))} ms`);
    if (warmUp) return;
    medians[subject.label].push(median(times));
    tails[subject.label].push(percentile(times, 0.99));
  });
  const extra = median(medians.duplex.map((value, index) => value - (medians.simplex[index] ?? Number.NaN)));
  const command = "steadfast bench latency";
  return [
    {
      name: "idle round trip, duplex minus unprotected",
      target: `<= ${LATENCY_EXTRA_MS} ms`,
      measured: `${extra.toFixed(2)} ms`,
      value: extra,
      verdict: judge(extra, { atMost: LATENCY_EXTRA_MS }),
      command,
    },
    orientation("idle round trip, duplex (median)", median(medians.duplex), " ms", command),
    orientation("idle round trip, unprotected (median)", median(medians.simplex), " ms", command),
    orientation("idle round trip, duplex (p99)", median(tails.duplex), " ms", command),
    orientation("idle round trip, unprotected (p99)", median(tails.simplex), " ms", command),
  ];
}

async function job(host: string, iterations: number): Promise<number> {
  const connection = await Connection.open({ host, port: REDIS_PORT });
  const start = performance.now();
  await connection.command(["EVAL", JOB_SCRIPT, "0", String(iterations)]);
  const seconds = (performance.now() - start) / 1000;
  await connection.close();
  return seconds;
}

export async function measureCpu(context: BenchContext, withQemu: boolean): Promise<Figure[]> {
  const all = await subjects(context, withQemu);
  const simplex = (await context.simplex()).host;
  await job(simplex, JOB_FIRST_ITERATIONS);
  const iterations = Math.max(
    JOB_FIRST_ITERATIONS,
    Math.round((JOB_FIRST_ITERATIONS * JOB_SECONDS) / (await job(simplex, JOB_FIRST_ITERATIONS))),
  );
  const times = series();
  await interleave(all, context.options.rounds, async (subject, warmUp) => {
    const seconds = await job(subject.host, iterations);
    context.options.onProgress(`processor-bound job ${subject.label}: ${seconds.toFixed(2)} s${warmUp ? " (warm-up)" : ""}`);
    if (!warmUp) times[subject.label].push(seconds);
  });
  // Speed is the inverse of time, so unprotected time over duplex time.
  const ratio = pairedRatio(times.simplex, times.duplex);
  const command = "steadfast bench cpu";
  const figures: Figure[] = [
    {
      name: "processor-bound job, duplex / unprotected",
      target: `>= ${CPU_RATIO}`,
      measured: ratio.toFixed(3),
      value: ratio,
      verdict: judge(ratio, { atLeast: CPU_RATIO }),
      command,
    },
  ];
  for (const label of ["duplex", "simplex", "qemu"] as const)
    if (times[label].length > 0) figures.push(orientation(`processor-bound job, ${label}`, median(times[label]), " s", command));
  return figures;
}
