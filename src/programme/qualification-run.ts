/**
 * One qualification as a process of its own, with a process group of its own: `steadfast change certify`. What a submitted change does to it
 * does not reach the programme, and no signing key is in it.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";
import { lockBenchmarks } from "../bench/lock.js";
import { HOUR_MS } from "../foundation/durations.js";
import { SteadfastError } from "../foundation/errors.js";
import type { ReportedFacts } from "../foundation/reported-error.js";
import { isAlive, recordProcess, waitUntilGone, type ProcessRecord } from "../modules/management-process.js";
import type { Level } from "../qualification/grading/checks.js";
import type { QualificationReport } from "../qualification/grading/report.js";
import type { Command } from "./intake.js";
import {
  HOST_BUSY_RETRY_MS,
  PROGRESS_LINE_CHARACTERS_MAX,
  REPORT_BYTES_MAX,
  RUN_LIMIT_MS,
  SAID_CHARACTERS_MAX,
  STOP_LIMIT_MS,
} from "./limits.js";
import type { Progress } from "./queue/submission.js";

export interface RunOptions {
  readonly command: Command;
  readonly packageFile: string;
  readonly reportPage: string;
  readonly reportFile: string;
  readonly level: Level;
  /** Only these checks; empty: all of the level. */
  readonly checks: readonly string[];
  readonly policy: string | undefined;
  readonly onProcess: (record: ProcessRecord) => void;
  readonly onProgress: (progress: Progress) => void;
}

export type RunEnd = { readonly report: QualificationReport } | { readonly why: string };

export class QualificationRun {
  readonly #options: RunOptions;
  readonly ended: Promise<RunEnd>;
  #record: ProcessRecord | null = null;
  #isStopping = false;
  #why = "";
  /** Its servers may be left: it could not take them down itself. */
  wasKilled = false;

  constructor(options: RunOptions) {
    this.#options = options;
    this.ended = this.#run();
  }

  /** Asks it to end, and ends it. `ended` follows, and says why unless it found something before. */
  stop(why: string): void {
    if (this.#isStopping) return;
    this.#isStopping = true;
    this.#why = why;
    if (this.#record !== null) void this.#end(this.#record);
  }

  async #end(record: ProcessRecord): Promise<void> {
    signalGroup(record, "SIGTERM");
    if (await waitUntilGone([record], STOP_LIMIT_MS)) return;
    this.wasKilled = true;
    signalGroup(record, "SIGKILL");
  }

  async #run(): Promise<RunEnd> {
    if (!(await this.#hostIsFree())) return { why: this.#why };
    const child = this.#start();
    const limitMs = RUN_LIMIT_MS[this.#options.level];
    const limit = setTimeout(() => this.stop(`Its qualification took longer than ${limitMs / HOUR_MS} hours.`), limitMs);
    const said = { out: "", rest: "" };
    this.#listen(child, said);
    // Something of its group may be left when it was ended from outside, and holds its output open.
    child.once("exit", () => this.#record !== null && signalGroup(this.#record, "SIGKILL", true));
    const how = await new Promise<string>((resolve) => {
      child.once("error", (error) => resolve(error.message));
      child.once("close", (code, signal) => resolve(signal ?? `exit code ${code}`));
    });
    clearTimeout(limit);
    if (!/^exit code [0-9]$/.test(how)) this.wasKilled = true;
    const end = endOf(said.out, said.rest, how);
    return "why" in end && this.#isStopping ? { why: this.#why } : end;
  }

  /** One benchmark or qualification at a time on a host, whoever starts it. */
  async #hostIsFree(): Promise<boolean> {
    for (;;) {
      if (this.#isStopping) return false;
      try {
        (await lockBenchmarks())();
        return true;
      } catch (error) {
        if (!(error instanceof SteadfastError)) throw error;
        this.#options.onProgress({ position: 0, count: 1, name: "waiting", text: "for another one on this host to end", fraction: 0 });
        await new Promise((resolve) => setTimeout(resolve, HOST_BUSY_RETRY_MS));
      }
    }
  }

  #start(): ChildProcess {
    const { command, packageFile, level, checks, policy, reportPage, reportFile } = this.#options;
    const parameters = [
      ...[...command.parameters, "change", "certify", packageFile, "--level", level, "--json", "--progress", "json"],
      ...["--html", reportPage, "--report", reportFile],
      ...checks.flatMap((check) => ["--check", check]),
      ...(policy === undefined ? [] : ["--policy", policy]),
    ];
    const child = spawn(command.program, parameters, { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    if (child.pid !== undefined) {
      this.#record = recordProcess("qualification", child.pid);
      this.#options.onProcess(this.#record);
    }
    return child;
  }

  #listen(child: ChildProcess, said: { out: string; rest: string }): void {
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      if (said.out.length + text.length > REPORT_BYTES_MAX) this.stop(`Its report is longer than ${REPORT_BYTES_MAX} bytes.`);
      else said.out += text;
    });
    if (child.stderr === null) return;
    createInterface(child.stderr).on("line", (line) => {
      const progress = line.length > PROGRESS_LINE_CHARACTERS_MAX ? null : progressIn(line);
      if (progress === null) said.rest = `${said.rest}${line}\n`.slice(-SAID_CHARACTERS_MAX);
      else this.#options.onProgress(progress);
    });
  }
}

/** Ends what a former programme left behind. True: there was something. */
export async function endFormerRun(record: ProcessRecord | null): Promise<boolean> {
  if (record === null || !isAlive(record)) return record !== null;
  signalGroup(record, "SIGKILL");
  await waitUntilGone([record]);
  return true;
}

/** `leaderMayBeGone`: right after its end, before its number can be another's while its group lives. */
function signalGroup(record: ProcessRecord, signal: NodeJS.Signals, leaderMayBeGone = false): void {
  if (!leaderMayBeGone && !isAlive(record)) return;
  try {
    process.kill(-record.pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}

/** Null: the line says something else. */
function progressIn(line: string): Progress | null {
  if (!line.startsWith("{")) return null;
  try {
    const { position, count, name, text, fraction } = JSON.parse(line) as Partial<Progress>;
    if (typeof position !== "number" || typeof count !== "number" || typeof fraction !== "number") return null;
    return { position, count, name: String(name), text: String(text), fraction };
  } catch {
    return null;
  }
}

function endOf(out: string, rest: string, how: string): RunEnd {
  try {
    const said = JSON.parse(out) as Partial<QualificationReport> & { readonly error?: ReportedFacts };
    if (said.error !== undefined) return { why: said.error.message };
    if (said.verdict !== undefined) return { report: said as QualificationReport };
  } catch {
    // It ended before it said anything whole.
  }
  const last = rest.trim().split("\n").at(-1) ?? "";
  return { why: `The qualification ended without a report (${how}${last === "" ? "" : `: ${last}`}).` };
}
