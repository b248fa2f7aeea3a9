/** How `change certify` shows its progress and its report. */
import cliProgress from "cli-progress";
import type { QualificationReport, Row } from "../qualification/grading/report.js";
import type { SuiteProgress } from "../qualification/suite.js";
import { paint, table } from "./output.js";

const NAME_WIDTH = 26;

function rowLine({ verdict, name, detail, seconds }: Row, stream: NodeJS.WriteStream): string {
  const colour = verdict === "PASSED" ? "green" : "red";
  return `${paint(verdict.padEnd(6), colour, stream)}  ${name.padEnd(NAME_WIDTH)}  ${detail} (${seconds.toFixed(1)} s)`;
}

export const PROGRESS_KINDS = ["text", "json"] as const;
export type ProgressKind = (typeof PROGRESS_KINDS)[number];

export interface ProgressShown {
  show(progress: SuiteProgress): void;
  end(): void;
}

export function progressOf(kind: ProgressKind, stream: NodeJS.WriteStream): ProgressShown {
  if (kind === "text") return new CertifyProgress(stream);
  return { show: (progress) => void stream.write(`${JSON.stringify(progress)}\n`), end: () => undefined };
}

/** On a terminal a bar of the check under way; elsewhere a line for each check that has ended. */
class CertifyProgress implements ProgressShown {
  #bar: cliProgress.SingleBar | undefined;

  constructor(private readonly stream: NodeJS.WriteStream) {}

  show({ position, count, name, text, fraction, row }: SuiteProgress): void {
    if (row !== undefined) {
      this.end();
      this.stream.write(`${rowLine(row, this.stream)}\n`);
    } else if (this.stream.isTTY) {
      const step = { step: `${position + 1}/${count} ${name}`.padEnd(NAME_WIDTH + 6), text };
      this.#bar ??= this.#newBar(step);
      this.#bar.update(Math.round(fraction * 100), step);
    }
  }

  end(): void {
    this.#bar?.stop();
    this.#bar = undefined;
  }

  #newBar(step: Readonly<Record<string, string>>): cliProgress.SingleBar {
    const options = {
      format: "{step} {bar} {duration_formatted} {text}",
      stream: this.stream,
      hideCursor: true,
      barsize: 24,
      clearOnComplete: true,
    };
    const bar = new cliProgress.SingleBar(options, cliProgress.Presets.shades_classic);
    bar.start(100, 0, step);
    return bar;
  }
}

/** After the lines of the checks. */
export function verdictLines(report: QualificationReport): string[] {
  const bad = report.rows.filter((row) => row.verdict !== "PASSED");
  const minutes = `${Math.floor(report.seconds / 60)} min ${Math.round(report.seconds % 60)} s`;
  const facts = table([
    ["image", report.imageDigest],
    ["base", report.baseDigest],
    ["policy", report.policyDigest],
    ["seed", String(report.seed)],
    ["Node", report.nodes.join(", ")],
  ]);
  const colour = report.verdict === "PASSED" ? "green" : "red";
  const scope = report.isComplete ? `level ${report.level}` : `level ${report.level}, some checks only`;
  const head = `${paint(report.verdict, colour)}: ${report.name}, ${report.rows.length - bad.length} of ${report.rows.length} checks, ${scope}, ${minutes}`;
  const again = bad.flatMap((row) => [`${row.id} (seed ${row.seed}), again: ${row.reproduce}`]);
  return ["", head, ...facts, ...again];
}
