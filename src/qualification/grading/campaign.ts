/** Grades what happened under faults: the invariants of the workloads, the way back, the services at the end. */
import { maximum } from "../../foundation/statistics.js";
import { grade, type CheckFigure, type Grade, type Plot } from "./report.js";

/** A row of faults of one kind. */
export interface FaultFigure {
  readonly kind: string;
  readonly what: string;
  readonly count: number;
  readonly worstGapMs: number;
  readonly worstWellMs: number;
}

export interface CampaignFacts {
  /** One sentence for each promise that the workloads found broken. */
  readonly broken: readonly string[];
  readonly wanted: number;
  readonly faults: number;
  readonly payments: number;
  readonly pages: number;
  readonly figures: readonly FaultFigure[];
}

export function gradeCampaign(facts: CampaignFacts): Grade {
  const problems = [...facts.broken];
  if (facts.faults < facts.wanted) problems.push(`only ${facts.faults} of ${facts.wanted} faults could be made`);
  const detail = `${facts.faults} faults under ${facts.payments} payments and ${facts.pages} pages; none failed, none was lost or doubled`;
  const label = ({ kind, what }: FaultFigure): string => (kind === what ? kind : `${kind} of ${what}`);
  const figures = facts.figures.flatMap((figure): CheckFigure[] => [
    { name: `worst time to full redundancy, ${label(figure)}`, value: figure.worstWellMs / 1000, unit: "s" },
    { name: `worst gap seen by clients, ${label(figure)}`, value: figure.worstGapMs, unit: "ms" },
  ]);
  const bars = (title: string, unit: string, value: (figure: FaultFigure) => number): Plot => {
    return { kind: "bars", title, unit, bars: facts.figures.map((figure) => ({ name: label(figure), value: value(figure) })) };
  };
  return grade(problems, detail, figures, [
    bars("worst time to full redundancy", "s", (figure) => figure.worstWellMs / 1000),
    bars("worst gap seen by clients", "ms", (figure) => figure.worstGapMs),
  ]);
}

export interface ComputingErrorFacts {
  /** One sentence for each promise that the workload found broken. */
  readonly broken: readonly string[];
  readonly wanted: number;
  readonly payments: number;
  readonly errors: readonly {
    readonly kind: string;
    readonly module: string;
    /** How it was found; `missed` and `masked`: it was not. */
    readonly finding: string;
    readonly isInnocentAccused: boolean;
  }[];
}

/** Without a checkpoint to prove it by ("record") the wrong module may be taken for the right one; that is told by the server itself. */
export function gradeComputingErrors({ broken, wanted, payments, errors }: ComputingErrorFacts): Grade {
  const problems = [...broken];
  if (errors.length < wanted) problems.push(`only ${errors.length} of ${wanted} errors could be made`);
  for (const { kind, module, finding, isInnocentAccused } of errors) {
    if (finding === "missed" || finding === "masked") problems.push(`${kind} of ${module} was not found`);
    else if (isInnocentAccused && finding !== "record") problems.push(`${kind} of ${module}: another module was accused by ${finding}`);
  }
  const found = errors.map(({ kind, module, finding }) => `${kind} of ${module} by ${finding}`).join(", ");
  return grade(problems, `under ${payments} payments, found: ${found}`);
}

export interface ReintegrationFacts {
  readonly broken: readonly string[];
  readonly wanted: number;
  /** Null: it did not come back. */
  readonly times: readonly { readonly holdMs: number | null; readonly duplexAfterMs: number | null }[];
  readonly isEqual: boolean;
}

/** Problems of the reintegrations of one server. */
export function reintegrationProblems({ broken, wanted, times, isEqual }: ReintegrationFacts): string[] {
  const problems = [...broken];
  const back = times.filter((time) => time.duplexAfterMs !== null).length;
  if (back < wanted) problems.push(`only ${back} of ${wanted} modules came back`);
  if (!isEqual) problems.push("the machines are not equal afterwards");
  return problems;
}

export function reintegrationFigures({ times }: ReintegrationFacts): { figures: CheckFigure[]; plots: Plot[] } {
  const holds = times.map((time) => time.holdMs ?? Number.NaN);
  const backs = times.map((time) => (time.duplexAfterMs ?? Number.NaN) / 1000);
  return {
    figures: [
      { name: "worst hold", value: maximum(holds), unit: "ms" },
      { name: "worst time to DUPLEX", value: maximum(backs), unit: "s" },
    ],
    plots: [{ kind: "rounds", title: "time to DUPLEX", unit: "s", series: [{ name: "changed", values: backs }] }],
  };
}

/** A service of the guest at the end of the run. */
export interface ServiceFacts {
  readonly name: string;
  /** Of those with a port: whether it answers; undefined: it has none that could be asked. */
  readonly answers: boolean | undefined;
  /** Times that the guest's init had to start it again. */
  readonly restarts: number;
  readonly isRunning: boolean;
}

/** `faults`: what the server counted against the guest's own software (panics, hangs, services down). */
export function gradeServices(services: readonly ServiceFacts[], faults: readonly string[]): Grade {
  const problems = [...faults];
  if (services.length === 0) problems.push("the image names no service");
  for (const { name, answers, restarts, isRunning } of services) {
    if (!isRunning) problems.push(`service ${name} does not run any more`);
    else if (answers === false) problems.push(`service ${name} does not answer`);
    if (restarts > 0) problems.push(`service ${name} ended by itself and was started again`);
  }
  return grade(problems, `${services.map((service) => service.name).join(", ")}: up, and never started again`);
}

export interface DiskFacts {
  /** Drills that were made, and whether the mirror was in sync again afterwards. */
  readonly drills: readonly { readonly drill: string; readonly mirror: string; readonly isMended: boolean }[];
  readonly wanted: number;
  /** Errors that the guest saw; blocks that nobody could repair; blocks that were repaired. */
  readonly guestErrors: number;
  readonly unrepairable: number;
  readonly repaired: number;
  /** What the guest wrote under the faults is what it reads afterwards. */
  readonly isContentRight: boolean;
}

export function gradeDisk(facts: DiskFacts): Grade {
  const problems = facts.drills
    .filter((each) => !each.isMended)
    .map(({ drill, mirror }) => `${mirror} did not come back in sync after ${drill}`);
  if (facts.drills.length < facts.wanted) problems.push(`only ${facts.drills.length} of ${facts.wanted} faults could be made`);
  if (facts.guestErrors > 0) problems.push(`the guest saw ${facts.guestErrors} errors of its disk`);
  if (facts.unrepairable > 0) problems.push(`${facts.unrepairable} blocks could not be repaired`);
  if (!facts.isContentRight) problems.push("the guest reads something else than it wrote");
  if (facts.repaired === 0) problems.push("silent damage was not found by the scrub");
  const drills = facts.drills.map(({ drill, mirror }) => `${drill} of ${mirror}`).join(", ");
  return grade(problems, `${drills}: found and mended`, [
    { name: "blocks repaired", value: facts.repaired, unit: "", limit: "at least 1" },
  ]);
}

export interface PowerLossFacts {
  readonly wanted: number;
  /** By loss: transfers acknowledged before it, and what the ledger breaks afterwards. */
  readonly losses: readonly { readonly acknowledged: number; readonly violations: readonly string[] }[];
}

export function gradePowerLoss({ wanted, losses }: PowerLossFacts): Grade {
  const problems = losses.flatMap(({ violations }, index) => violations.map((text) => `loss ${index + 1}: ${text}`));
  if (losses.length < wanted) problems.push(`only ${losses.length} of ${wanted} losses of power were made`);
  losses.forEach(({ acknowledged }, index) => {
    if (acknowledged === 0) problems.push(`loss ${index + 1}: no transfer was acknowledged before it`);
  });
  const acknowledged = losses.reduce((sum, loss) => sum + loss.acknowledged, 0);
  const detail = `${acknowledged} acknowledged transfers are there after ${losses.length} losses of all power`;
  return grade(problems, detail, [{ name: "transfers acknowledged before the loss", value: acknowledged, unit: "" }]);
}
