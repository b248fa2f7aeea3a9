/** `steadfast bench all`: every figure in one run, in an order in which no measurement disturbs the next. */
import type { BenchContext } from "./bench-context.js";
import type { Figure } from "./figures.js";
import { faultRun, gapFigures, reintegrationFigures, takeoverFigures } from "./measure-faults.js";
import { measureBoot, measureIdle, measureMemory } from "./measure-host.js";
import { measureDisk } from "./measure-disk.js";
import { measureProtection } from "./measure-protection.js";
import { measureCpu, measureHttpRate, measureLatency, measureRedis } from "./measure-speed.js";
import { toolInstalled } from "./tools.js";

export async function measureGap(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  const { lagLimitMs } = await (await context.duplex()).source.read();
  for (const kind of ["kill", "hang"] as const) figures.push(...gapFigures(kind, await faultRun(context, kind), lagLimitMs));
  return figures;
}

export async function measureTakeover(context: BenchContext): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const kind of ["kill", "hang"] as const) figures.push(...takeoverFigures(kind, await faultRun(context, kind, "io")));
  await context.stopAll();
  // Each write of the guest is acknowledged when it is on the mirrors, of which one goes with its module.
  const { faultCount } = context.options;
  const report = await faultRun(context, "kill", "io", faultCount, context.withDisk(2));
  figures.push(...takeoverFigures("kill", report, "active I/O module with a mirror"));
  return figures;
}

export async function measureReintegration(context: BenchContext): Promise<Figure[]> {
  return reintegrationFigures(await faultRun(context, "kill"));
}

export async function measureQemu(context: BenchContext): Promise<Figure[]> {
  return [...(await measureRedis(context, true)), ...(await measureHttpRate(context, true))];
}

/** One measurement that fails is told and judged as missed; the others still run. */
async function attempt(name: string, context: BenchContext, measure: () => Promise<Figure[]>): Promise<Figure[]> {
  try {
    return await measure();
  } catch (error) {
    context.options.signal.throwIfAborted();
    const why = (error as Error).message;
    context.options.onProgress(`${name} failed: ${why}`);
    return [{ name, target: "-", measured: "failed", value: Number.NaN, verdict: "missed", command: `steadfast bench ${name}`, note: why }];
  }
}

export async function measureAll(context: BenchContext): Promise<Figure[]> {
  const withQemu = toolInstalled("qemu-system-riscv64");
  const figures: Figure[] = [];
  const add = async (name: string, measure: () => Promise<Figure[]>): Promise<void> => {
    figures.push(...(await attempt(name, context, measure)));
  };
  await add("boot", () => measureBoot(context));
  // Idleness first, while nothing else runs and nothing ran; memory after loads and faults; then pairs of servers; QEMU's guest last.
  await add("idle", () => measureIdle(context));
  await add("gap", async () => {
    const kill = await faultRun(context, "kill");
    const hang = await faultRun(context, "hang");
    const { lagLimitMs } = await (await context.duplex()).source.read();
    return [...gapFigures("kill", kill, lagLimitMs), ...gapFigures("hang", hang, lagLimitMs), ...reintegrationFigures(kill)];
  });
  await add("takeover", () => measureTakeover(context));
  await add("memory", () => measureMemory(context));
  await add("latency", () => measureLatency(context));
  await add("cpu", () => measureCpu(context, false));
  await add("redis", () => measureRedis(context, false));
  await add("protection", () => measureProtection(context));
  await add("disk", () => measureDisk(context));
  await add("web", () => measureHttpRate(context, false));
  if (withQemu) await add("qemu", () => measureQemu(context));
  else context.options.onProgress("qemu-system-riscv64 is not installed (apt-get install qemu-system-misc): no figures beside it");
  return figures;
}
