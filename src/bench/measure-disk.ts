/** Figures of the guest's disk: mirrored against a single copy, and how much quicker the log makes the return of a mirror. */
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { assert } from "../foundation/assert.js";
import { SteadfastError } from "../foundation/errors.js";
import { serverPaths } from "../modules/management-paths.js";
import { CLEAR_EVERY_MS } from "../storage/limits.js";
import type { BenchContext } from "./bench-context.js";
import type { BenchServer } from "./bench-server.js";
import { pause } from "./faults.js";
import { judge, type Figure } from "./figures.js";
import { guestShell } from "./guest-shell.js";
import { hostFacts } from "./host.js";
import { findHierarchy, ProcessorShares, SHARE_NAME } from "./processor-share.js";
import { median, pairedRatio } from "../foundation/statistics.js";

const COMMAND = "steadfast bench disk";
const RATIO = 0.8;
const TIMES_QUICKER = 10;
/** Two CPU modules and two I/O modules. */
const MODULES_TOGETHER = 4;
/** What is written and read in a round. */
const PATTERN_MIB = 8;
const ROUND_MIB = 128;
const SHELL_LIMIT_MS = 180_000;
/** Of the disk of the resync; most of it is filled, and this much changes while a mirror is away. */
const RESYNC_DISK_MIB = 1024;
const FILLED_MIB = 900;
const CHANGED_MIB = 51;
const RESYNC_LIMIT_MS = 300_000;
const POLL_MS = 100;
/** After this long without a write the logs are empty: then only what changes while the mirror is away is dirty. */
const CLEARED_MS = 3 * CLEAR_EVERY_MS;
/** A pulled module's process is gone by then, and its mirror closed. */
const GONE_MS = 1000;

const MAKE_PATTERN = `dd if=/dev/urandom of=/run/pattern bs=1M count=${PATTERN_MIB} 2>/dev/null`;

/** The command that makes a file of so many MiB on the disk. */
function filling(file: string, mebibytes: number): string {
  const source = `for i in $(seq ${Math.ceil(mebibytes / PATTERN_MIB)}); do cat /run/pattern; done`;
  return `${source} | dd of=/data/${file} bs=1M count=${mebibytes} iflag=fullblock conv=fsync 2>/dev/null`;
}

function run(server: BenchServer, command: string): Promise<string> {
  return guestShell(() => server.source.console(), command, SHELL_LIMIT_MS);
}

/** How long a command takes, by the guest's clock, which has hundredths. */
async function timed(server: BenchServer, command: string): Promise<number> {
  const clock = "cut -d' ' -f1 /proc/uptime";
  const printed = await run(server, `from=$(${clock}); ${command}; echo "from $from to $(${clock})"`);
  const match = /from ([\d.]+) to ([\d.]+)/.exec(printed);
  return Number(match?.[2]) - Number(match?.[1]);
}

/** MiB/s of one round. */
async function writeAndRead(server: BenchServer): Promise<{ readonly write: number; readonly read: number }> {
  const written = await timed(server, filling("bench", ROUND_MIB));
  await run(server, "echo 3 > /proc/sys/vm/drop_caches");
  const read = await timed(server, "dd if=/data/bench of=/dev/null bs=1M 2>/dev/null");
  await run(server, "rm /data/bench; sync");
  return { write: ROUND_MIB / written, read: ROUND_MIB / read };
}

const ONE_MIRROR = "duplex with one mirror";
const WITH_SHARES = `, ${SHARE_NAME} for each module`;

type Way = "write" | "read";
type Rates = Record<Way, number[]>;
type Servers = ReadonlyMap<string, BenchServer>;

/** One round more than asked for: the first one only warms up. `remark`: how this is measured. */
async function measureRates(context: BenchContext, servers: Servers, remark = ""): Promise<Map<string, Rates>> {
  const rates = new Map([...servers.keys()].map((label): [string, Rates] => [label, { write: [], read: [] }]));
  for (const server of servers.values()) await run(server, MAKE_PATTERN);
  for (let round = 0; round <= context.options.rounds; round += 1) {
    for (const [label, server] of servers) {
      const { write, read } = await writeAndRead(server);
      context.options.onProgress(
        `${label}${remark}: write ${write.toFixed(1)} MiB/s, read ${read.toFixed(1)} MiB/s${round === 0 ? " (warm-up)" : ""}`,
      );
      if (round === 0) continue;
      rates.get(label)?.write.push(write);
      rates.get(label)?.read.push(read);
    }
  }
  return rates;
}

/** The same with an equal share of a processor for each module; null: this host cannot give shares. */
async function measureWithShares(context: BenchContext, servers: Servers): Promise<Map<string, Rates> | null> {
  const hierarchy = findHierarchy(readFileSync("/proc/mounts", "utf8"));
  if (hierarchy === null) return null;
  const shares = new ProcessorShares(hierarchy);
  try {
    for (const server of servers.values()) {
      for (const { name, kind, pid } of (await server.source.read()).modules) {
        if (kind !== "management" && pid !== undefined) shares.limit(`${server.options.name}-${name}`, pid);
      }
    }
    return await measureRates(context, servers, WITH_SHARES);
  } finally {
    await shares.release();
  }
}

const WAYS: readonly Way[] = ["write", "read"];
const nameOf = (way: Way): string => `sequential ${way} of the guest's disk`;

/** `why`: the ratio is not judged, and says more about the host than about us. */
function ratioFigure(way: Way, mirrored: Rates, other: Rates, label: string, why: string | null = null): Figure {
  const ratio = pairedRatio(mirrored[way], other[way]);
  const name = `${nameOf(way)}, mirrored / ${label}`;
  const figure = { name, measured: ratio.toFixed(3), value: ratio, command: COMMAND };
  if (why !== null) return { ...figure, target: "-", verdict: "info", note: why };
  return { ...figure, target: `>= ${RATIO}`, verdict: judge(ratio, { atLeast: RATIO }) };
}

function rateFigures(rates: ReadonlyMap<string, Rates>, remark = ""): Figure[] {
  return WAYS.flatMap((way) =>
    [...rates].map(([label, ways]): Figure => {
      const value = median(ways[way]);
      const name = `${nameOf(way)}, ${label}${remark}`;
      return { name, target: "-", measured: `${value.toFixed(1)} MiB/s`, value, verdict: "info", command: COMMAND };
    }),
  );
}

/**
 * Against a server of one module of each kind, and against the same server without its second I/O module, which tells what mirroring costs
 * from what the second CPU module does.
 */
async function measureSpeed(context: BenchContext): Promise<Figure[]> {
  const mirrored = await context.withDisk(2);
  const single = await context.withDisk(1);
  const servers = new Map([
    ["mirrored", mirrored],
    ["single", single],
  ]);
  await untilInSync(mirrored, 2);
  const both = await measureRates(context, servers);
  const shared = await measureWithShares(context, servers);
  await mirrored.source.pull((await standbyOf(mirrored)).name);
  await pause(GONE_MS);
  const alone = await measureRates(context, new Map([[ONE_MIRROR, mirrored]]));
  const of = (rates: ReadonlyMap<string, Rates>, label: string): Rates => rates.get(label) as Rates;
  const { cores } = hostFacts();
  const isCrowded = shared !== null && cores < MODULES_TOGETHER;
  const why = isCrowded
    ? `not judged: ${cores} processors for ${MODULES_TOGETHER} modules; judged is an equal share of one for each`
    : null;
  return WAYS.flatMap((way) => [
    ratioFigure(way, of(both, "mirrored"), of(both, "single"), "single", why),
    ...(shared === null ? [] : [ratioFigure(way, of(shared, "mirrored"), of(shared, "single"), `single${WITH_SHARES}`)]),
    ratioFigure(way, of(both, "mirrored"), of(alone, ONE_MIRROR), ONE_MIRROR),
  ]).concat(rateFigures(new Map([...both, ...alone])), shared === null ? [] : rateFigures(shared, WITH_SHARES));
}

async function untilInSync(server: BenchServer, mirrors: number): Promise<void> {
  const giveUpAt = performance.now() + RESYNC_LIMIT_MS;
  for (;;) {
    const { disk } = await server.source.read();
    if (Object.values(disk?.mirrors ?? {}).filter(({ state }) => state === "in sync").length === mirrors) return;
    if (performance.now() > giveUpAt) {
      const why = `there were no ${mirrors} mirrors in sync within ${RESYNC_LIMIT_MS} ms`;
      throw new SteadfastError("BENCH_FAILED", { what: `the disk of ${server.options.name}`, why });
    }
    await pause(POLL_MS);
  }
}

interface Resync {
  /** From its beginning to its end. */
  readonly seconds: number;
  /** As the event says it: from what, and how many regions. */
  readonly what: string;
}

async function lastResync(server: BenchServer, since: number): Promise<Resync> {
  const events = await server.source.events(since);
  const last = (code: string): (typeof events)[number] | undefined => events.filter((event) => event.code === code).at(-1);
  const started = last("RESYNC_STARTED");
  const ended = last("MIRROR_IN_SYNC");
  return { seconds: ((ended?.atMs ?? Number.NaN) - (started?.atMs ?? Number.NaN)) / 1000, what: started?.text ?? "" };
}

async function standbyOf(server: BenchServer): Promise<{ readonly name: string; readonly enclosure: string }> {
  const { modules } = await server.source.read();
  const standby = modules.find((module) => module.kind === "io" && module.isActive !== true);
  assert(standby !== undefined, "a mirrored disk has two I/O modules");
  return standby;
}

/** `away`: what happens while the enclosure's I/O module is out. */
async function resyncAfter(server: BenchServer, away: (enclosure: string) => Promise<unknown>): Promise<Resync> {
  await pause(CLEARED_MS);
  const { lastEventId } = await server.source.read();
  const standby = await standbyOf(server);
  await server.source.pull(standby.name);
  await pause(GONE_MS);
  await away(standby.enclosure);
  await server.source.insert(standby.name);
  await pause(POLL_MS);
  await untilInSync(server, 2);
  return lastResync(server, lastEventId);
}

async function measureResync(context: BenchContext): Promise<Figure[]> {
  const server = await context.withDisk(2, RESYNC_DISK_MIB);
  await untilInSync(server, 2);
  await run(server, MAKE_PATTERN);
  context.options.onProgress(`filling ${FILLED_MIB} MiB of the disk`);
  await run(server, filling("filled", FILLED_MIB));
  const change = `dd if=/dev/urandom of=/data/filled bs=1M count=${CHANGED_MIB} conv=notrunc,fsync 2>/dev/null`;
  const byLog = await resyncAfter(server, () => run(server, change));
  context.options.onProgress(`${byLog.what}: ${byLog.seconds.toFixed(2)} s`);
  const { stateDirectory } = serverPaths(server.options.name);
  const full = await resyncAfter(server, (enclosure) => rm(`${stateDirectory}/${enclosure}/disk`, { recursive: true }));
  context.options.onProgress(`${full.what}: ${full.seconds.toFixed(2)} s`);
  const ratio = full.seconds / byLog.seconds;
  return [
    {
      name: `resync of a disk of ${RESYNC_DISK_MIB} MiB, full / after ${CHANGED_MIB} MiB changed`,
      target: `>= ${TIMES_QUICKER}`,
      measured: `${ratio.toFixed(1)} (${full.seconds.toFixed(2)} s / ${byLog.seconds.toFixed(2)} s)`,
      value: ratio,
      verdict: judge(ratio, { atLeast: TIMES_QUICKER }),
      command: COMMAND,
    },
  ];
}

export async function measureDisk(context: BenchContext): Promise<Figure[]> {
  const speed = await measureSpeed(context);
  await context.stopAll();
  return [...speed, ...(await measureResync(context))];
}
