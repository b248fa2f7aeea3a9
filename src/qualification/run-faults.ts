/** The fault campaign, reintegration, faults of disks and losses of power, on the server with the changed image. */
import { areEqual, CHAOS_KINDS, runChaosUnderLoad } from "../bench/chaos.js";
import { runComputingErrors, type ComputingError } from "../bench/computing-errors.js";
import { REDIS_LIMIT_MS, REDIS_PORT, redisReady } from "../bench/connection.js";
import { pause } from "../bench/faults.js";
import { runPayments, type PaymentOptions } from "../bench/payments.js";
import { SteadfastError } from "../foundation/errors.js";
import { SeededRandom } from "../foundation/random.js";
import { areMirrorsInSync } from "../modules/management-status.js";
import type { DiskDrill } from "../storage/faulty-file.js";
import type { Amounts, Level } from "./grading/checks.js";
import type { CampaignFacts, ComputingErrorFacts, DiskFacts, PowerLossFacts, ReintegrationFacts } from "./grading/campaign.js";
import { inGuest } from "./guest.js";
import { ACCOUNTS, CLIENTS, commonLoad, HTTP_CLIENTS, HTTP_PORT } from "./run-load.js";
import type { SuiteServer } from "./suite-servers.js";

export type Tell = (text: string, fraction?: number) => void;

const POLL_MS = 100;
const IN_SYNC_LIMIT_MS = 120_000;
/** A fault of a disk that shows with the next write costs the mirror its place within this. */
const NOTICED_LIMIT_MS = 15_000;
const SCRUB_LIMIT_MS = 120_000;
const WRITTEN_KIB = 512;
/** Transfers go on for so long before the power is lost, and up to as long again by chance. */
const BEFORE_LOSS_MS = 1500;

export async function runCampaign(server: SuiteServer, amounts: Amounts, seed: number, tell: Tell): Promise<CampaignFacts> {
  const { host, source } = server;
  await untilInSync(server);
  const report = await runChaosUnderLoad({
    ...commonLoad(0, seed),
    ...{ source, address: { host, port: REDIS_PORT }, http: { host, port: HTTP_PORT } },
    ...{ clients: CLIENTS, httpClients: HTTP_CLIENTS, accounts: ACCOUNTS, keep: false, kinds: CHAOS_KINDS },
    faultCount: amounts.faults,
    onProgress: (text) => tell(text, Number(/^\d+/.exec(text)?.[0] ?? 0) / amounts.faults),
  });
  const { broken, faults, figures } = report;
  return { broken, wanted: amounts.faults, faults, payments: report.payments.load.requests, pages: report.http.requests, figures };
}

/** Outputs and clocks only: whether a flipped bit is found is another check. */
const COMPUTING_KINDS = ["corrupt-output", "skew-clock"] as const;
const ERROR_PAUSE_MOST_MS = 1000;

export async function runErrors(server: SuiteServer, amounts: Amounts, seed: number, tell: Tell): Promise<ComputingErrorFacts> {
  await untilInSync(server);
  const count = amounts.computingErrors;
  const errors: ComputingError[] = [];
  const plan = { kinds: COMPUTING_KINDS, count, seed, pauseMostMs: ERROR_PAUSE_MOST_MS };
  const onError = ({ kind, module }: ComputingError): void => tell(`${kind} of ${module}`, errors.length / count);
  const drive = (stopped: () => boolean): Promise<boolean> => runComputingErrors(server.source, plan, errors, stopped, onError);
  const { report } = await runPayments({ ...paymentsOn(server, seed), source: server.source, untilFaultsDone: true, drive });
  return { broken: report.broken, wanted: count, payments: report.load.requests, errors };
}

export async function runReintegrations(server: SuiteServer, amounts: Amounts, seed: number): Promise<ReintegrationFacts> {
  await untilInSync(server);
  const faults = { mix: "kill", seed, pauseMinimumMs: 300, pauseMaximumMs: 1000, count: amounts.reintegrations } as const;
  const { report } = await runPayments({ ...paymentsOn(server, seed), source: server.source, faults, untilFaultsDone: true });
  return { broken: report.broken, wanted: amounts.reintegrations, times: report.faults, isEqual: await areEqual(server.source) };
}

function paymentsOn(server: SuiteServer, seed: number): PaymentOptions {
  const address = { host: server.host, port: REDIS_PORT };
  return { ...commonLoad(0, seed), address, clients: CLIENTS, accounts: ACCOUNTS, keep: false };
}

async function until(holds: () => Promise<boolean>, limitMs: number): Promise<boolean> {
  const giveUpAt = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > giveUpAt) return false;
    await pause(POLL_MS);
  }
  return true;
}

const stateOf = async (server: SuiteServer, mirror: string): Promise<string> =>
  (await server.source.read()).disk?.mirrors[mirror]?.state ?? "absent";

async function areInSync(server: SuiteServer): Promise<boolean> {
  const report = await server.source.read();
  return report.redundancy === report.wantedRedundancy && areMirrorsInSync(report);
}

/** Errors: QUALIFICATION_STATE. */
export async function untilInSync(server: SuiteServer): Promise<void> {
  if (await until(() => areInSync(server), IN_SYNC_LIMIT_MS)) return;
  const what = `have all modules and mirrors together within ${IN_SYNC_LIMIT_MS / 1000} s`;
  throw new SteadfastError("QUALIFICATION_STATE", { server: server.name, what });
}

/** Tell of themselves; the mirror loses its place until they are over. */
const LOUD: readonly DiskDrill[] = ["disk-errors", "disk-full", "disk-slow"];
/** Say nothing; found by looking through the whole disk. */
const SILENT: readonly DiskDrill[] = ["bit-rot", "torn-write", "lost-write", "misdirected-write"];

/** `full`: every fault on every mirror. `quick`: one of each sort, on a mirror by chance. */
function plannedDrills(mirrors: readonly string[], level: Level, seed: number): { readonly mirror: string; readonly drill: DiskDrill }[] {
  if (level === "full") return mirrors.flatMap((mirror) => [...LOUD, ...SILENT].map((drill) => ({ mirror, drill })));
  const random = new SeededRandom(seed);
  return [random.pick(LOUD), random.pick(SILENT)].map((drill) => ({ mirror: random.pick(mirrors), drill }));
}

const FILE = "/data/certify";
const WRITE = `dd if=/dev/urandom of=${FILE} bs=1k count=${WRITTEN_KIB} conv=fsync 2>/dev/null && sha256sum < ${FILE}`;
const DIGEST = /[0-9a-f]{64}/;

async function makeDrill(server: SuiteServer, mirror: string, drill: DiskDrill): Promise<boolean> {
  const { source } = server;
  await source.fault(drill, mirror, {});
  await inGuest(server, WRITE);
  if (LOUD.includes(drill)) {
    const isNoticed = await until(async () => (await stateOf(server, mirror)) !== "in sync", NOTICED_LIMIT_MS);
    await source.fault("disk-heal", mirror, {});
    return isNoticed && (await until(() => areInSync(server), IN_SYNC_LIMIT_MS));
  }
  const since = (await source.read()).lastEventId;
  await source.scrub();
  const isScrubbed = await until(async () => (await source.events(since)).some(({ code }) => code === "SCRUB_DONE"), SCRUB_LIMIT_MS);
  return isScrubbed && (await until(() => areInSync(server), IN_SYNC_LIMIT_MS));
}

export async function runDiskFaults(server: SuiteServer, level: Level, seed: number, tell: Tell): Promise<DiskFacts> {
  await untilInSync(server);
  const { modules } = await server.source.read();
  const mirrors = modules.filter((module) => module.kind === "io").map((module) => module.name);
  const planned = plannedDrills(mirrors, level, seed);
  const drills: { drill: string; mirror: string; isMended: boolean }[] = [];
  for (const { mirror, drill } of planned) {
    tell(`${drill} of ${mirror}`, drills.length / planned.length);
    const isMended = await makeDrill(server, mirror, drill);
    drills.push({ drill, mirror, isMended });
    if (!isMended) break;
  }
  const written = DIGEST.exec(await inGuest(server, WRITE))?.[0];
  const read = DIGEST.exec(await inGuest(server, `echo 3 > /proc/sys/vm/drop_caches; sha256sum < ${FILE}; rm ${FILE}`))?.[0];
  const counters = (await server.source.read()).disk?.counters;
  return {
    ...{ drills, wanted: planned.length, isContentRight: written !== undefined && written === read },
    ...{ guestErrors: counters?.errors ?? 0, unrepairable: counters?.unrepairable ?? 0, repaired: counters?.repairedBlocks ?? 0 },
  };
}

/** Transfers until all is lost at once; then the server starts on what its disk holds, and the ledger is read back. */
export async function runPowerLosses(server: SuiteServer, amounts: Amounts, seed: number, tell: Tell): Promise<PowerLossFacts> {
  const random = new SeededRandom(seed);
  const losses: { acknowledged: number; violations: readonly string[] }[] = [];
  for (let loss = 0; loss < amounts.powerLosses; loss += 1) {
    await untilInSync(server);
    tell(`loss ${loss + 1}`, loss / amounts.powerLosses);
    const drive = async (): Promise<boolean> => {
      await pause(BEFORE_LOSS_MS + random.below(BEFORE_LOSS_MS));
      await server.losePowerAndStart();
      return redisReady({ host: server.host, port: REDIS_PORT }, REDIS_LIMIT_MS);
    };
    const load = { ...paymentsOn(server, seed + loss), source: server.source, untilFaultsDone: true, endsConnections: true, drive };
    const { report } = await runPayments(load);
    losses.push({ acknowledged: report.ledger.acknowledged, violations: report.ledger.violations.map(({ text }) => text) });
  }
  return { wanted: amounts.powerLosses, losses };
}
