/** Figures of what a server costs its host: boot time, idle processor share, memory. */
import type { BenchContext } from "./bench-context.js";
import { faultRun } from "./measure-faults.js";
import { pause } from "./faults.js";
import { judge, type Figure } from "./figures.js";
import { cpuSeconds, processMemory } from "./host.js";
import { formatNumber } from "./plot.js";
import type { ServerSource } from "./server-view.js";
import { maximum, median } from "../foundation/statistics.js";
import { redisBenchmark } from "./tools.js";

const BOOT_LIMIT_SECONDS = 5;
const IDLE_LIMIT_SHARE = 0.05;
const MEMORY_EXTRA_MIB = 250;
/** After a boot or a load, before idleness is measured. */
const SETTLE_MS = 5000;
const IDLE_SAMPLE_MS = 10_000;
const MEMORY_REQUESTS = 20_000;

export async function measureBoot(context: BenchContext): Promise<Figure[]> {
  const times = { duplex: [] as number[], simplex: [] as number[] };
  const ups: number[] = [];
  const mips: number[] = [];
  for (let round = 0; round < context.options.rounds; round++) {
    for (const cpuModules of [2, 1] as const) {
      const label = cpuModules === 2 ? "duplex" : "simplex";
      const server = await context.startFresh(cpuModules);
      const view = await server.source.read();
      await server.stop();
      times[label].push(server.firstAnswerMs / 1000);
      if (cpuModules === 2) ups.push(server.upMs / 1000);
      mips.push(view.mips);
      context.options.onProgress(
        `boot ${label}: first HTTP answer after ${(server.firstAnswerMs / 1000).toFixed(2)} s, \`up\` returned after ${(server.upMs / 1000).toFixed(2)} s`,
      );
    }
  }
  const command = "steadfast bench boot";
  const duplex = median(times.duplex);
  return [
    {
      name: "`up` to first HTTP answer, duplex",
      target: `<= ${BOOT_LIMIT_SECONDS} s`,
      measured: `${duplex.toFixed(2)} s`,
      value: duplex,
      verdict: judge(duplex, { atMost: BOOT_LIMIT_SECONDS }),
      command,
    },
    {
      name: "`up` to first HTTP answer, unprotected",
      target: "-",
      measured: `${median(times.simplex).toFixed(2)} s`,
      value: median(times.simplex),
      verdict: "info",
      command,
    },
    { name: "`up -d` returns, duplex", target: "-", measured: `${median(ups).toFixed(2)} s`, value: median(ups), verdict: "info", command },
    {
      name: "guest speed at the end of boot",
      target: "-",
      measured: `${formatNumber(median(mips))} MIPS`,
      value: median(mips),
      verdict: "info",
      command,
    },
  ];
}

interface Usage {
  readonly module: string;
  readonly kind: string;
  readonly share: number;
}

async function processorShares(source: ServerSource, forMs: number): Promise<Usage[]> {
  const { modules } = await source.read();
  const before = modules.map((module) => cpuSeconds(module.pid));
  const start = performance.now();
  await pause(forMs);
  const seconds = (performance.now() - start) / 1000;
  return modules.map((module, index) => ({
    module: module.name,
    kind: module.kind,
    share: (cpuSeconds(module.pid) - (before[index] ?? Number.NaN)) / seconds,
  }));
}

export async function measureIdle(context: BenchContext): Promise<Figure[]> {
  const server = await context.duplex();
  await pause(SETTLE_MS);
  const ticksBefore = (await server.source.read()).counters.ticks;
  const shares = await processorShares(server.source, IDLE_SAMPLE_MS);
  const ticks = (((await server.source.read()).counters.ticks - ticksBefore) * 1000) / IDLE_SAMPLE_MS;
  const command = "steadfast bench idle";
  const figures = shares.map((usage): Figure => {
    const measured = `${(usage.share * 100).toFixed(1)} % of a core`;
    const name = `idle guest, ${usage.module}`;
    if (usage.kind !== "cpu") return { name, target: "-", measured, value: usage.share, verdict: "info", command };
    return {
      name,
      target: `<= ${IDLE_LIMIT_SHARE * 100} %`,
      measured,
      value: usage.share,
      verdict: judge(usage.share, { atMost: IDLE_LIMIT_SHARE }),
      command,
    };
  });
  return [
    ...figures,
    { name: "idle guest, ticks", target: "-", measured: `${formatNumber(ticks)}/s`, value: ticks, verdict: "info", command },
  ];
}

export async function measureMemory(context: BenchContext): Promise<Figure[]> {
  const server = await context.duplex();
  await redisBenchmark(server.host, 8, MEMORY_REQUESTS);
  // Peaks come when images are sent and received: both modules get their turn at both.
  await faultRun(context, "kill", "cpu", 2);
  const view = await server.source.read();
  const command = "steadfast bench memory";
  const guest = view.memoryMiB;
  const figures = view.modules.map((module): Figure => {
    const memory = processMemory(module.pid);
    const measured = `${formatNumber(memory.residentMiB)} MiB (peak ${formatNumber(memory.peakMiB)})`;
    const name = `memory, ${module.name}`;
    if (module.kind !== "cpu") return { name, target: "-", measured, value: memory.residentMiB, verdict: "info", command };
    return {
      name,
      target: `<= ${guest} + ${MEMORY_EXTRA_MIB} MiB`,
      measured,
      value: memory.peakMiB,
      verdict: judge(memory.peakMiB, { atMost: guest + MEMORY_EXTRA_MIB }),
      command,
    };
  });
  const largest = maximum(figures.filter((figure) => figure.target !== "-").map((figure) => figure.value)) - guest;
  const extra: Figure = {
    name: "memory, largest CPU module minus guest RAM",
    target: "-",
    measured: `${formatNumber(largest)} MiB`,
    value: largest,
    verdict: "info",
    command,
  };
  return [...figures, extra];
}
