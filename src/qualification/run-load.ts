/** Measures the changed image against the base, by turns, under the web and the payment workload. */
import { REDIS_PORT } from "../bench/connection.js";
import { NO_FAULTS, pause } from "../bench/faults.js";
import { runHttpFaults } from "../bench/http-run.js";
import type { LoadSummary } from "../bench/load.js";
import { runPayments } from "../bench/payments.js";
import { isClearlyWithin, MARGINS, type Comparison, type Margin } from "./grading/regression.js";
import type { Amounts } from "./grading/checks.js";
import type { Side, SuiteServer } from "./suite-servers.js";

export const HTTP_PORT = 80;
export const CLIENTS = 8;
export const HTTP_CLIENTS = 4;
export const ACCOUNTS = 100;
/** Modules tell their counts about once a second; by then a module of a guest that rests has told all. */
const SETTLED_MS = 1500;
const WARM_UP_SECONDS = 0.5;

export type Servers = Readonly<Record<Side, SuiteServer>>;

interface Round {
  readonly load: LoadSummary;
  readonly broken: readonly string[];
}

type Workload = (server: SuiteServer, seconds: number, seed: number) => Promise<Round>;

export function commonLoad(seconds: number, seed: number) {
  const onProgress = (): void => undefined;
  return { seconds, seed, untilFaultsDone: false, faults: NO_FAULTS, source: undefined, onProgress };
}

const payments: Workload = async (server, seconds, seed) => {
  const address = { host: server.host, port: REDIS_PORT };
  const { report } = await runPayments({ ...commonLoad(seconds, seed), address, clients: CLIENTS, accounts: ACCOUNTS, keep: false });
  return report;
};

const pages: Workload = async (server, seconds, seed) => {
  const address = { host: server.host, port: HTTP_PORT };
  const { report } = await runHttpFaults({ ...commonLoad(seconds, seed), address, clients: HTTP_CLIENTS });
  return report;
};

/** What the machine that has run longest in this server has run: the guest's instructions, as long as no module is lost. */
async function instructionsOf(server: SuiteServer): Promise<number> {
  const { modules } = await server.source.read();
  return Math.max(...modules.map((module) => module.instructions ?? Number.NaN).filter((count) => !Number.isNaN(count)));
}

interface Measured {
  readonly rounds: Record<Side, LoadSummary[]>;
  /** By round. */
  readonly instructions: Record<Side, number[]>;
  readonly broken: string[];
}

interface Plan {
  readonly servers: Servers;
  readonly amounts: Amounts;
  readonly seed: number;
  readonly onRound: (text: string, fraction: number) => void;
}

const SIDES = ["base", "changed"] as const;

/** One round of each side. An idle side's count of instructions has settled while the other one was measured. */
async function turn(plan: Plan, workload: Workload, round: number, measured: Measured, counts: Record<Side, number>): Promise<void> {
  for (const side of SIDES) {
    const server = plan.servers[side];
    const { load, broken } = await workload(server, plan.amounts.roundSeconds, plan.seed + round);
    measured.rounds[side].push(load);
    measured.broken.push(...broken.map((text) => `${side === "base" ? "the base" : "the image"} under load: ${text}`));
    const other = side === "base" ? "changed" : "base";
    if (round > 0 || side === "changed") await note(plan.servers[other], other, measured, counts);
  }
}

/** The instructions of this side's last round, now that they are all told. */
async function note(server: SuiteServer, side: Side, measured: Measured, counts: Record<Side, number>): Promise<void> {
  const count = await instructionsOf(server);
  if (measured.instructions[side].length < measured.rounds[side].length) measured.instructions[side].push(count - counts[side]);
  counts[side] = count;
}

/** Instructions do not drift with the host, but each round has a fixed share of them: all rounds together say more than each. */
function pooled(rounds: readonly LoadSummary[], instructions: readonly number[]): number[] {
  const requests = rounds.slice(0, instructions.length).reduce((sum, load) => sum + load.requests, 0);
  return [instructions.reduce((sum, count) => sum + count, 0) / 1000 / Math.max(1, requests)];
}

function comparisonsOf(
  { rounds, instructions }: Measured,
  margins: Readonly<Record<"rate" | "cost" | "middle" | "tail", Margin>>,
): Comparison[] {
  const compare = (margin: Margin, value: (load: LoadSummary) => number): Comparison => {
    return { margin, base: rounds.base.map(value), changed: rounds.changed.map(value) };
  };
  return [
    compare(margins.rate, (load) => load.perSecond),
    { margin: margins.cost, base: pooled(rounds.base, instructions.base), changed: pooled(rounds.changed, instructions.changed) },
    compare(margins.middle, (load) => load.latency.p50Ms),
    compare(margins.tail, (load) => load.latency.p99Ms),
  ];
}

async function measure(plan: Plan, name: string, workload: Workload, margins: Parameters<typeof comparisonsOf>[1]): Promise<Measured> {
  const { amounts, servers, onRound } = plan;
  const measured: Measured = { rounds: { base: [], changed: [] }, instructions: { base: [], changed: [] }, broken: [] };
  for (const side of SIDES) await workload(servers[side], WARM_UP_SECONDS, plan.seed);
  await pause(SETTLED_MS);
  const counts = { base: await instructionsOf(servers.base), changed: await instructionsOf(servers.changed) };
  for (let round = 0; round < amounts.mostRounds && measured.broken.length === 0; round += 1) {
    if (round >= amounts.rounds && comparisonsOf(measured, margins).every(isClearlyWithin)) break;
    onRound(`${name}, round ${round + 1}`, round / amounts.rounds);
    await turn(plan, workload, round, measured, counts);
  }
  await pause(SETTLED_MS);
  await note(servers.changed, "changed", measured, counts);
  return measured;
}

const PAYMENT_MARGINS = {
  ...{ rate: MARGINS.payments, cost: MARGINS.paymentInstructions },
  ...{ middle: MARGINS.paymentMedian, tail: MARGINS.paymentTail },
};
const PAGE_MARGINS = { rate: MARGINS.pages, cost: MARGINS.pageInstructions, middle: MARGINS.pageMedian, tail: MARGINS.pageTail };

export interface LoadMeasurement {
  readonly comparisons: readonly Comparison[];
  readonly broken: readonly string[];
}

export async function measureLoads(plan: Plan): Promise<LoadMeasurement> {
  const paid = await measure({ ...plan, onRound: (text, part) => plan.onRound(text, part / 2) }, "payments", payments, PAYMENT_MARGINS);
  const served = await measure({ ...plan, onRound: (text, part) => plan.onRound(text, 0.5 + part / 2) }, "pages", pages, PAGE_MARGINS);
  return {
    comparisons: [...comparisonsOf(paid, PAYMENT_MARGINS), ...comparisonsOf(served, PAGE_MARGINS)],
    broken: [...paid.broken, ...served.broken],
  };
}

/** Both workloads at once, for whoever wants to see them run; the promises that were broken. */
export async function runBothLoads(server: SuiteServer, seconds: number, seed: number): Promise<readonly string[]> {
  const rounds = await Promise.all([payments(server, seconds, seed), pages(server, seconds, seed)]);
  return rounds.flatMap((round) => round.broken);
}
