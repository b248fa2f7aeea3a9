/**
 * The payment workload: many clients move money between accounts held in the guest's Redis while CPU modules are killed and hung.
 * At the end nothing may have failed, and the ledger must agree with everything that the clients were told.
 */
import { Connection } from "./connection.js";
import { faultViews, quietGapMs, type FaultView } from "./gap.js";
import { checkLedger, INITIAL_BALANCE, type LedgerReport } from "./ledger.js";
import { LedgerStore } from "./ledger-store.js";
import { LoadRecorder, type LoadSummary } from "./load.js";
import { runLoad, type LoadOptions, type LoadOutcome, type ServerSide } from "./load-run.js";
import { IdleConnection, PaymentClient, type IdleSummary } from "./payment-clients.js";
import type { Timeline } from "./timeline.js";

export interface PaymentOptions extends LoadOptions {
  readonly accounts: number;
  /** Leave the ledger in Redis. */
  readonly keep: boolean;
  /**
   * The faults end all connections, as a loss of power does: what is unanswered at their end is given up at once. Its client would hear of
   * that only when TCP repeats the request, up to half a minute later.
   */
  readonly endsConnections?: boolean;
}

export interface PaymentReport {
  readonly seed: number;
  readonly clients: number;
  readonly accounts: number;
  readonly seconds: number;
  readonly load: LoadSummary;
  readonly idle: IdleSummary;
  readonly ledger: LedgerReport;
  readonly faults: readonly FaultView[];
  /** Worst gap away from all faults. */
  readonly quietGapMs: number;
  /** Null: not a server of ours. */
  readonly server: ServerSide | null;
  /** One sentence for each promise that was broken; empty: all held. */
  readonly broken: readonly string[];
}

const WATCH_INTERVAL_MS = 1000;

/** All clients and the idle connection, with a watch over requests that have had no answer for too long. */
async function runClients(
  clients: readonly PaymentClient[],
  idle: IdleConnection,
  stopped: () => boolean,
  endsConnections: boolean,
): Promise<void> {
  const watch = setInterval(() => {
    if (endsConnections && stopped()) for (const each of [...clients, idle]) each.giveUp();
    else for (const client of clients) client.watch(performance.now());
  }, WATCH_INTERVAL_MS);
  await Promise.all([...clients.map((client) => client.run(stopped)), idle.run(stopped)]);
  clearInterval(watch);
}

function brokenPromises(load: LoadSummary, idle: IdleSummary, ledger: LedgerReport, outcome: LoadOutcome): string[] {
  const broken: string[] = [...outcome.broken];
  if (load.requests === 0) broken.push("no request was answered at all");
  if (load.failures > 0) broken.push(`${load.failures} requests failed`);
  if (load.lostConnections > 0) broken.push(`${load.lostConnections} connections were lost`);
  if (idle.lostBecause !== null) broken.push(`the idle connection was lost: ${idle.lostBecause}`);
  if (ledger.violationCount > 0) broken.push(`the ledger breaks ${ledger.violationCount} invariants`);
  return broken;
}

export interface PaymentRun {
  readonly report: PaymentReport;
  readonly timeline: Timeline;
}

export async function runPayments(options: PaymentOptions): Promise<PaymentRun> {
  const control = await Connection.open(options.address);
  const store = new LedgerStore(`steadfast:payments:${options.seed}:${Date.now()}`, options.accounts);
  await store.create(control);
  const connections = await Promise.all(Array.from({ length: options.clients }, () => Connection.open(options.address)));
  const idle = await IdleConnection.open(options.address);
  const recorder = new LoadRecorder();
  const clients = connections.map((connection, number) => new PaymentClient(number, options.seed, store, connection, recorder));
  const outcome = await runLoad(options, recorder, (stopped) => runClients(clients, idle, stopped, options.endsConnections === true));
  const load = recorder.finish();
  const seconds = (recorder.timeline.endMs - recorder.timeline.startMs) / 1000;
  for (const client of clients) await client.close();
  const summary = { ...load, lostConnections: recorder.lostConnections };
  const idleSummary = await idle.close();

  options.onProgress("reading the ledger back");
  // A connection of its own, opened only now: the audit must not depend on the control connection having survived.
  const auditor = await Connection.open(options.address);
  const sent = clients.map((client) => client.outcomes.length);
  const snapshot = await store.read(auditor, sent);
  const outcomes = clients.map((client) => client.outcomes);
  const ledger = checkLedger({ seed: options.seed, accounts: options.accounts, initialBalance: INITIAL_BALANCE, outcomes }, snapshot);
  if (!options.keep) await store.remove(auditor, sent);
  await auditor.close();
  await control.close();
  const report: PaymentReport = {
    seed: options.seed,
    clients: options.clients,
    accounts: options.accounts,
    seconds,
    load: summary,
    idle: idleSummary,
    ledger,
    faults: faultViews(recorder.timeline, outcome.faults),
    quietGapMs: quietGapMs(recorder.timeline, outcome.faults),
    server: outcome.server ?? null,
    broken: brokenPromises(summary, idleSummary, ledger, outcome),
  };
  return { report, timeline: recorder.timeline };
}
