/** The suite: runs the checks of a level one after another and grades what they find. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { areEqual } from "../bench/chaos.js";
import { SteadfastError } from "../foundation/errors.js";
import {
  AMOUNTS,
  CHECKS,
  LEAST_MACHINES,
  LEAST_TICKS,
  OWN_CHECK_PREFIX,
  type Amounts,
  type Check,
  type CheckId,
  type Level,
} from "./grading/checks.js";
import { grade, overallVerdict, reproducingCommand, type Grade, type QualificationReport, type Row } from "./grading/report.js";
import {
  gradeCampaign,
  gradeComputingErrors,
  gradeDisk,
  gradePowerLoss,
  gradeServices,
  reintegrationFigures,
  reintegrationProblems,
} from "./grading/campaign.js";
import { flipProblems, gradeCourses } from "./grading/determinism.js";
import { gradeComparisons, MARGINS, regressionProblem } from "./grading/regression.js";
import { scriptInGuest, serviceFacts, serviceStarts, untilServing, usedMemoryMiB, type ServiceStarts } from "./guest.js";
import { nodePrograms, runSideBySide, type Courses, type NodeProgram } from "./machines.js";
import { runBothLoads, measureLoads, type Servers } from "./run-load.js";
import { runCampaign, runDiskFaults, runErrors, runPowerLosses, runReintegrations, untilInSync, type Tell } from "./run-faults.js";
import type { Subject, SuiteServer, SuiteServers } from "./suite-servers.js";

export interface OwnCheck {
  readonly name: string;
  readonly command: string;
  readonly timeoutSeconds: number;
}

export interface SuiteProgress {
  /** Of all checks of this run: which one, from 0. */
  readonly position: number;
  readonly count: number;
  readonly name: string;
  readonly text: string;
  /** Of this check, 0 to 1, as far as it knows. */
  readonly fraction: number;
  /** Present: the check has ended. */
  readonly row?: Row;
}

export interface SuiteOptions {
  readonly name: string;
  readonly changed: Subject;
  readonly base: Subject;
  readonly changeDigest: string;
  readonly policyDigest: string;
  /** Grades the image, and the running guest of the server that `start` gives, unless it does not stand. */
  readonly hardening: (start: () => Promise<SuiteServer | null>) => Promise<Grade>;
  readonly ownChecks: readonly OwnCheck[];
  readonly level: Level;
  readonly seed: number;
  /** Only these checks; empty: all of the level. */
  readonly only: readonly string[];
  /** Paths of further Node programs. */
  readonly nodes: readonly string[];
  readonly servers: SuiteServers;
  readonly versions: { readonly engine: string; readonly suite: string };
  readonly host: string;
  /** Parameters of `change certify` that name what is qualified. */
  readonly parameters: readonly string[];
  readonly signal: AbortSignal;
  readonly onProgress: (progress: SuiteProgress) => void;
}

/** The checks of this run. Errors: USAGE, when one that was asked for is not known. */
export function plannedChecks(level: Level, ownChecks: readonly OwnCheck[], only: readonly string[]): readonly Check[] {
  const own = ownChecks.map(({ name }): Check => {
    const id = `${OWN_CHECK_PREFIX}${name}`;
    return { id, name: `The change's own: ${name}`, proves: `The change's own check ${name} passes in the guest.`, levels: [level] };
  });
  const of = CHECKS.filter((check) => check.levels.includes(level));
  const before = of.findIndex((check) => check.id === "load-regression");
  const all: readonly Check[] = [...of.slice(0, before), ...own, ...of.slice(before)];
  const unknown = only.find((id) => !all.some((check) => check.id === id));
  if (unknown !== undefined)
    throw new SteadfastError("USAGE", { what: `There is no check ${unknown}; choose of ${all.map((check) => check.id).join(", ")}.` });
  return only.length === 0 ? all : all.filter((check) => only.includes(check.id));
}

export async function runSuite(options: SuiteOptions): Promise<QualificationReport> {
  const checks = plannedChecks(options.level, options.ownChecks, options.only);
  const startedAt = new Date();
  const run = new Run(options);
  const rows: Row[] = [];
  try {
    for (const [position, check] of checks.entries()) {
      const tell = (text: string, fraction = 0): void =>
        options.onProgress({ position, count: checks.length, name: check.name, text, fraction: Math.min(1, fraction) });
      tell("");
      const row = await runRow(run, check, tell);
      rows.push(row);
      options.onProgress({ position, count: checks.length, name: check.name, text: row.detail, fraction: 1, row });
    }
  } finally {
    run.close();
  }
  const { level, seed, name, changeDigest, policyDigest, versions, host, changed, base } = options;
  return {
    ...{ level, seed, name, changeDigest, policyDigest, ...versions, host, rows },
    ...{ verdict: overallVerdict(rows), isComplete: options.only.length === 0 },
    ...{ imageDigest: changed.image.digest, baseDigest: base.image.digest },
    ...{ nodes: run.nodes.map((node) => node.version), startedAt: startedAt.toISOString() },
    seconds: (Date.now() - startedAt.getTime()) / 1000,
  };
}

async function runRow(run: Run, check: Check, tell: Tell): Promise<Row> {
  const { level, seed, parameters, signal } = run.options;
  const from = performance.now();
  let graded: Grade;
  try {
    graded = await run.check(check.id, tell);
  } catch (error) {
    // What ends a run is no finding of a check.
    signal.throwIfAborted();
    if (!(error instanceof Error)) throw error;
    graded = { verdict: "ERROR", detail: `it could not be carried out: ${error.message}`, figures: [], plots: [] };
  }
  signal.throwIfAborted();
  const { id, name, proves } = check;
  const seconds = (performance.now() - from) / 1000;
  return { ...graded, id, name, proves, level, seed, seconds, reproduce: reproducingCommand(parameters, level, id, seed) };
}

/** In the directory for temporary files; the run that was killed leaves its own there. */
export const RUN_FOLDER_PREFIX = "steadfast-certify-";

/** What the checks of one run share: servers, boots, the services' first start. */
class Run {
  readonly nodes: readonly NodeProgram[];
  readonly #amounts: Amounts;
  readonly #folder = mkdtempSync(join(tmpdir(), RUN_FOLDER_PREFIX));
  #changedBoot: Promise<Courses> | undefined;
  #changedServer: Promise<SuiteServer> | undefined;
  #baseServer: Promise<SuiteServer> | undefined;
  #starts: ServiceStarts = new Map();

  constructor(readonly options: SuiteOptions) {
    this.nodes = nodePrograms(options.nodes);
    this.#amounts = AMOUNTS[options.level];
  }

  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  check(id: string, tell: Tell): Promise<Grade> {
    if (id.startsWith(OWN_CHECK_PREFIX)) return this.#ownCheck(id.slice(OWN_CHECK_PREFIX.length), tell);
    const checks: Readonly<Record<CheckId, () => Promise<Grade>>> = {
      hardening: () => this.#hardening(tell),
      "boot-determinism": () => this.#bootDeterminism(tell),
      "boot-regression": () => this.#bootRegression(tell),
      start: () => this.#start(tell),
      "memory-regression": () => this.#memoryRegression(tell),
      "load-regression": () => this.#loadRegression(tell),
      "workload-determinism": () => this.#workloadDeterminism(tell),
      faults: () => this.#faults(tell),
      "computing-errors": () => this.#computingErrors(tell),
      "disk-faults": () => this.#diskFaults(tell),
      reintegration: () => this.#reintegration(tell),
      services: () => this.#services(tell),
      "power-loss": () => this.#powerLoss(tell),
    };
    return checks[id as CheckId]();
  }

  #sideBySide(tell: Tell, ticks: number, leastMachines: number, machinesPerNode: number, nodes = this.nodes) {
    const { signal } = this.options;
    return { nodes, machinesPerNode, leastMachines, folder: this.#folder, signal, onTicks: (at: number) => tell(`tick ${at}`, at / ticks) };
  }

  #bootOf(tell: Tell): Promise<Courses> {
    const { changed, seed } = this.options;
    const job = { kind: "boot", image: changed.image, seed } as const;
    this.#changedBoot ??= runSideBySide(job, this.#sideBySide(tell, EXPECTED_BOOT_TICKS, LEAST_MACHINES, this.#amounts.machinesPerNode));
    return this.#changedBoot;
  }

  async #bootDeterminism(tell: Tell): Promise<Grade> {
    const { courses, divergence } = await this.#bootOf(tell);
    return gradeCourses("the boot", courses, divergence);
  }

  async #bootRegression(tell: Tell): Promise<Grade> {
    const { changed, base, seed } = this.options;
    const boots = await this.#bootOf(tell);
    const isSame = changed.image.digest === base.image.digest;
    const job = { kind: "boot", image: base.image, seed } as const;
    const own = isSame ? boots : await runSideBySide(job, this.#sideBySide(tell, EXPECTED_BOOT_TICKS, 1, 1, this.nodes.slice(0, 1)));
    const millions = ({ courses }: Courses): number => (courses[0]?.isWhole === true ? courses[0].instructions / 1e6 : Number.NaN);
    return gradeComparisons([{ margin: MARGINS.bootInstructions, base: [millions(own)], changed: [millions(boots)] }]);
  }

  #changed(tell: Tell): Promise<SuiteServer> {
    tell("starting a server with the image");
    this.#changedServer ??= this.options.servers.start("changed", this.options.changed).then(async (server) => {
      await untilInSync(server);
      await untilServing(server, this.options.changed.services);
      this.#starts = await serviceStarts(server);
      return server;
    });
    return this.#changedServer;
  }

  async #both(tell: Tell): Promise<Servers> {
    const changed = await this.#changed(tell);
    tell("starting a server with the base");
    this.#baseServer ??= this.options.servers.start("base", this.options.base).then(async (server) => {
      await untilInSync(server);
      await untilServing(server, this.options.base.services);
      return server;
    });
    return { changed, base: await this.#baseServer };
  }

  /** Nothing is held against it any more; a check that does so starts it again. */
  async #endBase(): Promise<void> {
    this.#baseServer = undefined;
    await this.options.servers.stop("base");
  }

  async #start(tell: Tell): Promise<Grade> {
    let server: SuiteServer;
    try {
      server = await this.#changed(tell);
    } catch (error) {
      if (error instanceof SteadfastError) return grade([error.message], "");
      throw error;
    }
    const equal = await areEqual(server.source);
    const figures = [{ name: "from start to DUPLEX and ready", value: server.upMs / 1000, unit: "s" }];
    return grade(equal ? [] : ["its machines are not equal"], "DUPLEX, its services answer, its machines are equal", figures);
  }

  #hardening(tell: Tell): Promise<Grade> {
    // A guest that does not stand is judged by its image alone; that it does not is the finding of another check.
    return this.options.hardening(() => this.#changed(tell).catch(() => null));
  }

  async #memoryRegression(tell: Tell): Promise<Grade> {
    const { changed, base } = await this.#both(tell);
    return gradeComparisons([{ margin: MARGINS.memory, base: [await usedMemoryMiB(base)], changed: [await usedMemoryMiB(changed)] }]);
  }

  async #loadRegression(tell: Tell): Promise<Grade> {
    const servers = await this.#both(tell);
    const measured = await measureLoads({ servers, amounts: this.#amounts, seed: this.options.seed, onRound: tell });
    return gradeComparisons(measured.comparisons, measured.broken);
  }

  async #workloadDeterminism(tell: Tell): Promise<Grade> {
    const { seed } = this.options;
    const { recordSeconds, machinesPerNode, flips } = this.#amounts;
    const server = await this.#changed(tell);
    tell("recording");
    const broken: string[] = [];
    const { path, ticks } = await server.source.record(async () => {
      const { seq: first } = await server.source.read();
      // How many ticks a second has depends on the host.
      for (let turn = 0; turn < RECORD_TURNS_MAX && broken.length === 0; turn += 1) {
        broken.push(...(await runBothLoads(server, recordSeconds, seed + turn)));
        if ((await server.source.read()).seq - first > LEAST_TICKS) return;
      }
    });
    try {
      const job = { kind: "replay", recording: path, flips, flipTicks: ticks, seed } as const;
      const { courses, answers, divergence } = await runSideBySide(job, this.#sideBySide(tell, ticks, LEAST_MACHINES, machinesPerNode));
      const graded = gradeCourses("the recorded workload", courses, divergence);
      const problems = [...broken, ...answers.flatMap((answer) => flipProblems(answer.flips, flips))];
      const isPassed = graded.verdict === "PASSED";
      return grade(
        isPassed ? problems : [graded.detail, ...problems],
        `${graded.detail}; ${flips} flipped bits were found on each`,
        graded.figures,
      );
    } finally {
      rmSync(path, { force: true });
    }
  }

  async #faults(tell: Tell): Promise<Grade> {
    return gradeCampaign(await runCampaign(await this.#changed(tell), this.#amounts, this.options.seed, tell));
  }

  async #computingErrors(tell: Tell): Promise<Grade> {
    return gradeComputingErrors(await runErrors(await this.#changed(tell), this.#amounts, this.options.seed, tell));
  }

  async #diskFaults(tell: Tell): Promise<Grade> {
    return gradeDisk(await runDiskFaults(await this.#changed(tell), this.options.level, this.options.seed, tell));
  }

  async #reintegration(tell: Tell): Promise<Grade> {
    const servers = await this.#both(tell);
    tell("of the base", 0);
    const base = await runReintegrations(servers.base, this.#amounts, this.options.seed);
    tell("of the image", 0.5);
    const changed = await runReintegrations(servers.changed, this.#amounts, this.options.seed);
    await this.#endBase();
    const holds = [base, changed].map(({ times }) => times.map((time) => time.holdMs ?? Number.NaN)) as [number[], number[]];
    const comparison = { margin: MARGINS.hold, base: holds[0], changed: holds[1] };
    const problems = reintegrationProblems(changed);
    const worse = problems.length === 0 ? regressionProblem(comparison) : undefined;
    const own = reintegrationFigures(changed);
    const compared = gradeComparisons([comparison]);
    const detail = `${changed.times.length} modules came back under payments, to equal machines`;
    const all = worse === undefined ? problems : [...problems, worse];
    return grade(all, detail, [...own.figures, ...compared.figures], [...own.plots, ...compared.plots]);
  }

  async #services(tell: Tell): Promise<Grade> {
    const server = await this.#changed(tell);
    const { guestFaults } = await server.source.read();
    const counted = Object.entries(guestFaults).filter(([, count]) => count > 0);
    const faults = counted.map(([kind, count]) => `the guest's own software failed: ${kind} ${count}`);
    return gradeServices(await serviceFacts(server, this.options.changed.services, this.#starts), faults);
  }

  async #powerLoss(tell: Tell): Promise<Grade> {
    return gradePowerLoss(await runPowerLosses(await this.#changed(tell), this.#amounts, this.options.seed, tell));
  }

  async #ownCheck(name: string, tell: Tell): Promise<Grade> {
    const check = this.options.ownChecks.find((each) => each.name === name) as OwnCheck;
    const server = await this.#changed(tell);
    tell(check.command);
    try {
      await scriptInGuest(server, check.command, check.timeoutSeconds);
      return grade([], `\`${check.command}\` ended well`);
    } catch (error) {
      if (error instanceof SteadfastError && error.code === "BENCH_FAILED") return grade([error.message], "");
      throw error;
    }
  }
}

/** For the progress only. */
const EXPECTED_BOOT_TICKS = 4000;
/** A recording goes on until it has ticks enough, but no longer than so many times its length. */
const RECORD_TURNS_MAX = 6;
