/** Runs any load beside a fault plan: quiet stretch, faults, quiet stretch; ends at the first failed request. */
import { pause, runFaults, type Fault, type FaultPlan } from "./faults.js";
import type { LoadRecorder } from "./load.js";
import type { Address } from "./connection.js";
import type { ServerSource } from "./server-view.js";

export interface LoadOptions {
  readonly address: Address;
  readonly clients: number;
  readonly seed: number;
  /** Length of the load; with `untilFaultsDone` it lasts as long as the faults need instead. */
  readonly seconds: number;
  readonly untilFaultsDone: boolean;
  readonly faults: FaultPlan;
  /** Faults of another kind than the plan's, in its place; false: the server did not come back. Miscompares are its doing then. */
  readonly drive?: (stopped: () => boolean) => Promise<boolean>;
  /** Needed for faults. */
  readonly source: ServerSource | undefined;
  readonly onProgress: (text: string) => void;
}

/** Load before the first fault and after the last, so that each fault has a quiet stretch to compare with. */
const MARGIN_MS = 2000;

function progressLine(fault: Fault, recorder: LoadRecorder): string {
  const at = `${((fault.atMs - recorder.timeline.startMs) / 1000).toFixed(1)} s`;
  if (fault.duplexAtMs === undefined) return `${at}: ${fault.kind} ${fault.module} (pid ${fault.pid})`;
  const again = fault.relapseAtMs === undefined ? "" : `, killed once more after ${((fault.relapseAtMs - fault.atMs) / 1000).toFixed(2)} s`;
  return `${at}: ${fault.module} back in DUPLEX after ${((fault.duplexAtMs - fault.atMs) / 1000).toFixed(2)} s${again}, ${recorder.failures} failures so far`;
}

/** Waits, but not beyond a failure. */
async function quietly(milliseconds: number, recorder: LoadRecorder): Promise<void> {
  const until = performance.now() + milliseconds;
  while (performance.now() < until && recorder.failures === 0) await pause(Math.min(100, Math.max(1, until - performance.now())));
}

/** What the server counted during the load. */
export interface ServerSide {
  readonly outages: number;
  readonly miscompares: number;
  readonly reintegrations: number;
  /** Modules that the server lost or shot although we did nothing to them. Absent: whoever drove the faults did not count its own. */
  readonly unaskedFaults?: number;
}

export interface LoadOutcome {
  readonly faults: readonly Fault[];
  /** Undefined: no server of ours. */
  readonly server: ServerSide | undefined;
  /** Promises broken as far as the server itself can tell. */
  readonly broken: readonly string[];
}

async function readSide(options: LoadOptions, faults: number): Promise<ServerSide | undefined> {
  if (options.source === undefined) return undefined;
  const { modules, counters } = await options.source.read();
  const hit = options.faults.target ?? "cpu";
  const lost = modules.filter((module) => module.kind === hit).reduce((sum, module) => sum + module.faults, 0);
  return {
    outages: counters.outages,
    miscompares: counters.miscompares,
    reintegrations: counters.reintegrations,
    ...(options.drive === undefined && { unaskedFaults: lost - faults }),
  };
}

function difference(after: ServerSide | undefined, before: ServerSide | undefined): ServerSide | undefined {
  if (after === undefined || before === undefined) return undefined;
  return {
    outages: after.outages - before.outages,
    miscompares: after.miscompares - before.miscompares,
    reintegrations: after.reintegrations - before.reintegrations,
    ...(after.unaskedFaults !== undefined && { unaskedFaults: after.unaskedFaults - (before.unaskedFaults ?? 0) }),
  };
}

function brokenByServer(server: ServerSide | undefined, cameBack: boolean, mayMiscompare: boolean): string[] {
  const broken: string[] = [];
  if (!cameBack) broken.push("the server did not come back to DUPLEX");
  if (server !== undefined && server.outages > 0) broken.push(`the guest was lost ${server.outages} times`);
  if (server !== undefined && server.miscompares > 0 && !mayMiscompare)
    broken.push(`the CPU modules disagreed ${server.miscompares} times`);
  return broken;
}

/** `run` starts the clients and resolves when they have all ended, which they do soon after `stopped()` is true. */
export async function runLoad(
  options: LoadOptions,
  recorder: LoadRecorder,
  run: (stopped: () => boolean) => Promise<unknown>,
): Promise<LoadOutcome> {
  const before = await readSide(options, 0);
  const faults: Fault[] = [];
  const cameBack = await driveLoad(options, recorder, run, faults);
  const hits = faults.length + faults.filter((fault) => fault.relapseAtMs !== undefined).length;
  const server = difference(await readSide(options, hits), before);
  return { faults, server, broken: brokenByServer(server, cameBack, options.drive !== undefined) };
}

/** False when the server did not come back to DUPLEX after a fault. */
async function driveLoad(
  options: LoadOptions,
  recorder: LoadRecorder,
  run: (stopped: () => boolean) => Promise<unknown>,
  faults: Fault[],
): Promise<boolean> {
  let stopped = false;
  const work = run(() => stopped);
  try {
    const end = recorder.timeline.startMs + options.seconds * 1000;
    const timeIsUp = (): boolean => recorder.failures > 0 || (!options.untilFaultsDone && performance.now() > end - MARGIN_MS);
    await quietly(options.untilFaultsDone ? MARGIN_MS : Math.min(MARGIN_MS, options.seconds * 250), recorder);
    const cameBack =
      options.source === undefined ||
      (options.drive !== undefined && (await options.drive(timeIsUp))) ||
      (options.drive === undefined &&
        (await runFaults(options.source, options.faults, faults, timeIsUp, (fault) => options.onProgress(progressLine(fault, recorder)))));
    await quietly(Math.max(options.untilFaultsDone ? 0 : end - performance.now(), faults.length > 0 ? MARGIN_MS : 0), recorder);
    return cameBack;
  } finally {
    stopped = true;
    await work;
  }
}
