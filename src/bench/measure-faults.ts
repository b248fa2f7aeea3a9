/** Figures of faults: what a client sees of a killed and a hung CPU module, and of the way back to DUPLEX. */
import type { BenchContext } from "./bench-context.js";
import type { BenchServer } from "./bench-server.js";
import { REDIS_PORT } from "./connection.js";
import type { FaultKind, FaultTarget } from "./faults.js";
import { IO_SILENCE_MS } from "../lockstep/limits.js";
import { judge, type Figure } from "./figures.js";
import { runPayments, type PaymentReport } from "./payments.js";
import { formatMs } from "./plot.js";
import { maximum, median } from "../foundation/statistics.js";

const KILL_EXTRA_MS = 50;
const HANG_EXTRA_MS = 50;
const HOLD_LIMIT_MS = 10;
const DUPLEX_LIMIT_SECONDS = 5;
const MEANWHILE_SHARE = 0.5;
/** What QEMU's own fault tolerance (COLO) stalls clients for at a failover and at re-protection, from the issue: beat these. */
const COLO_FAILOVER_MS = 230;
const COLO_REPROTECTION_MS = 325;
const CLIENTS = 8;
const ACCOUNTS = 100;

/** The payment load on the duplex server with faults of one kind. */
export async function faultRun(
  context: BenchContext,
  kind: FaultKind,
  target: FaultTarget = "cpu",
  count = context.options.faultCount,
  from: Promise<BenchServer> = context.duplex(),
): Promise<PaymentReport> {
  const server = await from;
  context.options.onProgress(
    `payment load on ${server.options.name}, ${count} times ${kind} of ${target === "io" ? "the active I/O" : "a CPU"} module`,
  );
  const { report } = await runPayments({
    address: { host: server.host, port: REDIS_PORT },
    clients: CLIENTS,
    accounts: ACCOUNTS,
    seed: context.options.seed,
    seconds: 0,
    untilFaultsDone: true,
    faults: { mix: kind, target, seed: context.options.seed, pauseMinimumMs: 1500, pauseMaximumMs: 2500, count },
    source: server.source,
    keep: false,
    onProgress: context.options.onProgress,
  });
  return report;
}

function brokenFigure(report: PaymentReport, kind: string, command: string): Figure {
  const measured =
    report.broken.length === 0 ? `0 in ${report.load.requests} over ${report.faults.length} faults` : report.broken.join("; ");
  return {
    name: `broken promises, ${kind}`,
    target: "0",
    measured,
    value: report.broken.length,
    verdict: judge(report.broken.length, { atMost: 0 }),
    command,
  };
}

export function gapFigures(kind: FaultKind, report: PaymentReport, lagLimitMs: number): Figure[] {
  const command = "steadfast bench gap";
  const worst = maximum(report.faults.map((fault) => fault.takeoverGapMs));
  const limit = kind === "kill" ? report.load.latency.p999Ms + KILL_EXTRA_MS : lagLimitMs + HANG_EXTRA_MS;
  const target =
    kind === "kill" ? `<= p99.9 + ${KILL_EXTRA_MS} = ${formatMs(limit)}` : `<= lag limit + ${HANG_EXTRA_MS} = ${formatMs(limit)}`;
  const reprotection = maximum(report.faults.map((fault) => fault.reintegrationGapMs));
  return [
    {
      name: `worst client-visible gap, ${kind}`,
      target,
      measured: formatMs(worst),
      value: worst,
      verdict: judge(worst, { atMost: limit }),
      command,
    },
    {
      name: `median client-visible gap, ${kind}`,
      target: "-",
      measured: formatMs(median(report.faults.map((fault) => fault.takeoverGapMs))),
      value: worst,
      verdict: "info",
      command,
    },
    ...(kind === "kill"
      ? [
          {
            name: "failover stall against COLO",
            target: `< ${COLO_FAILOVER_MS} ms`,
            measured: formatMs(worst),
            value: worst,
            verdict: judge(worst, { atMost: COLO_FAILOVER_MS }),
            command,
          },
          {
            name: "re-protection stall against COLO",
            target: `< ${COLO_REPROTECTION_MS} ms`,
            measured: formatMs(reprotection),
            value: reprotection,
            verdict: judge(reprotection, { atMost: COLO_REPROTECTION_MS }),
            command,
          },
        ]
      : []),
    brokenFigure(report, kind, command),
  ];
}

/** What clients see when the active I/O module goes and another one takes its place. */
export function takeoverFigures(kind: FaultKind, report: PaymentReport, module = "active I/O module"): Figure[] {
  const command = "steadfast bench takeover";
  const gaps = report.faults.map((fault) => fault.takeoverGapMs);
  const worst = maximum(gaps);
  const limit = kind === "kill" ? KILL_EXTRA_MS : IO_SILENCE_MS + HANG_EXTRA_MS;
  const target = kind === "kill" ? `<= ${KILL_EXTRA_MS} ms` : `<= heartbeat + ${HANG_EXTRA_MS} = ${formatMs(limit)}`;
  return [
    {
      name: `worst client-visible gap, ${module}, ${kind}`,
      target,
      measured: `${formatMs(worst)} (median ${formatMs(median(gaps))})`,
      value: worst,
      verdict: judge(worst, { atMost: limit }),
      command,
    },
    {
      name: `longest gap away from faults, ${kind} of the ${module}`,
      target: "-",
      measured: formatMs(report.quietGapMs),
      value: report.quietGapMs,
      verdict: "info",
      command,
    },
    brokenFigure(report, `${kind} of the ${module}`, command),
  ];
}

export function reintegrationFigures(report: PaymentReport): Figure[] {
  const command = "steadfast bench reintegration";
  const holds = report.faults.map((fault) => fault.holdMs ?? Number.NaN);
  const hold = holds.some(Number.isNaN) ? Number.NaN : maximum(holds);
  const times = report.faults.map((fault) => (fault.duplexAfterMs ?? Number.NaN) / 1000);
  const time = times.some(Number.isNaN) ? Number.NaN : maximum(times);
  const share = median(report.faults.map((fault) => fault.perSecondMeanwhile / fault.perSecondBefore));
  return [
    {
      name: "guest held by the exact image (worst)",
      target: `<= ${HOLD_LIMIT_MS} ms`,
      measured: formatMs(hold),
      value: hold,
      verdict: judge(hold, { atMost: HOLD_LIMIT_MS }),
      command,
    },
    {
      name: "from fault to DUPLEX (worst)",
      target: `<= ${DUPLEX_LIMIT_SECONDS} s`,
      measured: `${time.toFixed(2)} s`,
      value: time,
      verdict: judge(time, { atMost: DUPLEX_LIMIT_SECONDS }),
      command,
    },
    {
      name: "from fault to DUPLEX (median)",
      target: "-",
      measured: `${median(times).toFixed(2)} s`,
      value: median(times),
      verdict: "info",
      command,
    },
    {
      name: "throughput meanwhile / before (median)",
      target: `>= ${MEANWHILE_SHARE}`,
      measured: share.toFixed(3),
      value: share,
      verdict: judge(share, { atLeast: MEANWHILE_SHARE }),
      command,
    },
  ];
}
