/** The payment run as text for a terminal. Pure. */
import type { ChaosReport } from "./chaos.js";
import { formatLatency, formatMs, formatNumber, latencyPlot, strip } from "./plot.js";
import type { FaultView } from "./gap.js";
import type { HttpReport } from "./http-run.js";
import type { LoadSummary } from "./load.js";
import type { ServerSide } from "./load-run.js";
import type { PaymentReport } from "./payments.js";
import type { Timeline } from "./timeline.js";

const PLOT_BEFORE_MS = 200;
const PLOT_AFTER_MS = 1000;
const PLOTS_LIMIT = 12;
const STRIP_COLUMNS = 60;

const perSecond = (value: number): string => `${formatNumber(value)}/s`;

/** One fault: facts, a plot of the takeover, a strip of the throughput until DUPLEX. */
export function faultText(timeline: Timeline, fault: FaultView, number: number, plot: boolean): string {
  const at = timeline.startMs + fault.atMs;
  const lines = [
    `Fault ${number}: ${fault.kind} ${fault.module} at ${(fault.atMs / 1000).toFixed(2)} s: takeover gap ${formatMs(fault.takeoverGapMs)}; ` +
      (fault.duplexAfterMs === null
        ? "NOT back in DUPLEX"
        : `DUPLEX after ${(fault.duplexAfterMs / 1000).toFixed(2)} s, worst gap meanwhile ${formatMs(fault.reintegrationGapMs)}, guest held ${fault.holdMs === null ? "-" : formatMs(fault.holdMs)}`) +
      `; ${perSecond(fault.perSecondBefore)} before, ${perSecond(fault.perSecondMeanwhile)} meanwhile`,
  ];
  if (!plot) return lines.join("\n");
  const moments = [{ atMs: at, text: fault.kind }];
  const until = Math.max(Math.min(timeline.endMs, at + PLOT_AFTER_MS), at + 100);
  lines.push("  slowest request in flight:", latencyPlot(timeline, at - PLOT_BEFORE_MS, until, at, moments));
  if (fault.duplexAfterMs !== null) {
    const span = fault.duplexAfterMs + 1000;
    const slice = timeline.slice(at - 500, Math.min(timeline.endMs, at + span), STRIP_COLUMNS);
    lines.push(
      `  replies from -0.5 s to ${((Math.min(timeline.endMs, at + span) - at) / 1000).toFixed(1)} s: |${strip(slice.completions)}|`,
    );
  }
  return lines.join("\n");
}

function faultsText(faults: readonly FaultView[], timeline: Timeline): string[] {
  return faults.map((fault, index) => `${faultText(timeline, fault, index + 1, index < PLOTS_LIMIT)}\n`);
}

function loadText(load: LoadSummary, quietGapMs: number, what: string): string[] {
  return [
    `throughput       ${perSecond(load.perSecond)} (${load.requests} ${what} answered)`,
    `latency          ${formatLatency(load.latency)}`,
    `worst gap        ${formatMs(load.worstGapMs)} without any reply; away from faults ${formatMs(quietGapMs)} (own longest stall of this load generator: ${formatMs(load.ownStallMs)})`,
    `failed requests  ${load.failures}`,
    `lost connections ${load.lostConnections}`,
  ];
}

function serverText(server: ServerSide | null): string[] {
  if (server === null) return [];
  const unasked =
    (server.unaskedFaults ?? 0) > 0 ? `; ${server.unaskedFaults} modules were lost or shot that we had not hit (an overloaded host?)` : "";
  return [
    `server           ${server.reintegrations} reintegrations, ${server.outages} outages, ${server.miscompares} miscompares${unasked}`,
  ];
}

export function paymentText(report: PaymentReport, timeline: Timeline): string {
  const { load, ledger, idle } = report;
  const lines = [
    "",
    ...faultsText(report.faults, timeline),
    `${report.clients} clients, ${report.accounts} accounts, ${report.seconds.toFixed(1)} s, ${report.faults.length} faults, seed ${report.seed}`,
    ...loadText(load, report.quietGapMs, "transfers"),
    `idle connection  ${idle.lostBecause === null ? `alive, ${idle.pings} pings, slowest ${formatMs(idle.slowestMs)}` : `LOST: ${idle.lostBecause}`}`,
    `money            ${ledger.moneyFound} of ${ledger.moneyExpected}`,
    `transfers        ${ledger.acknowledged} acknowledged, ${ledger.recorded} in the ledger, ${ledger.refused} refused for want of money, ${ledger.unacknowledged} never answered`,
    ...serverText(report.server),
    ...ledger.violations.map((violation) => `  ${violation.kind}: ${violation.text}`),
    ...load.errors.map((error) => `  ${error}`),
    report.broken.length === 0 ? "ALL HELD: nothing failed, nothing lost, nothing doubled" : `BROKEN: ${report.broken.join("; ")}`,
  ];
  return lines.join("\n");
}

export function httpText(report: HttpReport, timeline: Timeline): string {
  const lines = [
    "",
    ...faultsText(report.faults, timeline),
    `${report.clients} connections, ${report.seconds.toFixed(1)} s, ${report.faults.length} faults, seed ${report.seed}`,
    ...loadText(report.load, report.quietGapMs, "requests"),
    ...serverText(report.server),
    ...report.load.errors.map((error) => `  ${error}`),
    report.broken.length === 0 ? "ALL HELD: no request failed, no connection was lost" : `BROKEN: ${report.broken.join("; ")}`,
  ];
  return lines.join("\n");
}

export function chaosText(report: ChaosReport): string {
  const { payments, http } = report;
  const rows = report.figures.map(({ kind, what, count, worstGapMs, worstWellMs }) => {
    const well = `well again after ${(worstWellMs / 1000).toFixed(2)} s`;
    return `  ${`${kind} ${what}`.padEnd(20)} ${String(count).padStart(4)} times, worst gap ${formatMs(worstGapMs)}, ${well} at the latest`;
  });
  const lines = [
    "",
    `${report.faults} faults in ${payments.seconds.toFixed(0)} s, seed ${report.seed}`,
    ...rows,
    `payments: ${payments.load.requests} transfers, ${payments.load.failures} failed, ${payments.load.lostConnections} connections lost`,
    ...payments.ledger.violations.map((violation) => `  ${violation.kind}: ${violation.text}`),
    ...payments.load.errors.map((error) => `  ${error}`),
    `HTTP:     ${http.requests} requests, ${http.failures} failed, ${http.lostConnections} connections lost`,
    ...serverText(payments.server),
    report.broken.length === 0 ? "ALL HELD: nothing failed, nothing lost, nothing doubled" : `BROKEN: ${report.broken.join("; ")}`,
  ];
  return lines.join("\n");
}
