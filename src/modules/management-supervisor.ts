/**
 * One supervised module: its process, its restarts, and whether it is wanted. Decides nothing about lockstep; it turns "this process
 * ended" and "shoot this module" into restarts under the policy. The process need not be a child of ours: whoever takes the lead adopts
 * those that the one before had started.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, openSync, renameSync, statSync, truncateSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { ModuleConfig } from "./config.js";
import { JUDGE, writeJsonFile, type FaultThreshold, type PlannedModule } from "./management-plan.js";
import { judgeLoss, noteLockstep, NO_FAULTS, type FaultRecord, type LossCause } from "./management-policy.js";
import {
  isAlive,
  MODULE_MARK_VARIABLE,
  processStateOf,
  recordProcess,
  signalIfAlive,
  waitUntilGone,
  type ProcessRecord,
} from "./management-process.js";
import type { ModulePresence, ModuleRecord } from "./management-state.js";
import { ActivityWatch, describeActivity, type RecentActivity } from "./process-activity.js";
import { SilenceWatch } from "./silence-watch.js";
import { computeFirst, yieldWhileStarting } from "./start-priority.js";

const MAIN_PATH = fileURLToPath(new URL("./main.js", import.meta.url));
/** A module's standard error; one older file is kept. */
const LOG_BYTES_MAX = 1024 * 1024;
/** A process stopped (SIGSTOP, a debugger) for this long is ended, if the vote has not noticed before. */
const STOPPED_LIMIT_MS = 3000;

/** Checks of a second each: an I/O or management module that says nothing for so long hangs, though its process runs. Nobody votes on it. */
const SILENCE_LIMITS = { silentLooks: 5, startingLooks: 60 };

/** A lost I/O module does not start while another one takes its place: that has what the guest's clients wait for. */
const TAKEOVER_FIRST_MS = 250;

/** Between asking modules to end and ending them. */
const SHUTDOWN_GRACE_MS = 300;

export interface SupervisorHooks {
  /** Configuration of the next incarnation. */
  configure(module: PlannedModule, incarnation: number): ModuleConfig;
  /** The set of processes or the presence of this module changed. */
  changed(supervisor: ModuleSupervisor): void;
  /** Whether another one takes its place when it is lost. */
  isReplaced(module: PlannedModule): boolean;
  /** `activity`: of one that was taken for hung, up to its end. */
  lost(supervisor: ModuleSupervisor, cause: LossCause, detail: string, activity: RecentActivity | null): void;
  becameBroken(supervisor: ModuleSupervisor): void;
}

export class ModuleSupervisor {
  readonly module: PlannedModule;
  readonly #hooks: SupervisorHooks;
  readonly #threshold: FaultThreshold;
  readonly #logPath: string;
  readonly #runDirectory: string;
  /** Null: it is not a child of ours. */
  #child: ChildProcess | null = null;
  #process: ProcessRecord | null = null;
  #presence: ModulePresence = "present";
  #faults: FaultRecord = NO_FAULTS;
  #incarnation = 0;
  /** Why we are about to kill it, so that its end is not taken for a loss of another kind. */
  #plannedCause: LossCause | null = null;
  #restartTimer: NodeJS.Timeout | null = null;
  #stoppedSinceMs: number | null = null;
  readonly #silence = new SilenceWatch(SILENCE_LIMITS);
  readonly #activity = new ActivityWatch();
  #lastActivity: RecentActivity | null = null;
  #ended = false;

  constructor(module: PlannedModule, threshold: FaultThreshold, runDirectory: string, logDirectory: string, hooks: SupervisorHooks) {
    this.module = module;
    this.#threshold = threshold;
    this.#hooks = hooks;
    this.#runDirectory = runDirectory;
    this.#logPath = `${logDirectory}/${module.name}.log`;
  }

  get name(): string {
    return this.module.name;
  }

  get process(): ProcessRecord | null {
    return this.#process;
  }

  get presence(): ModulePresence {
    return this.#presence;
  }

  get faults(): FaultRecord {
    return this.#faults;
  }

  get incarnation(): number {
    return this.#incarnation;
  }

  /** What another one needs to go on from here. */
  get record(): ModuleRecord {
    return {
      presence: this.#presence,
      faults: this.#faults,
      incarnation: this.#incarnation,
      process: this.#process,
      plannedCause: this.#plannedCause,
    };
  }

  canTakeOver(lost: PlannedModule): boolean {
    return lost.kind === "io" && this.module.kind === "io" && this.name !== lost.name && this.#process !== null;
  }

  /** It is this very process. */
  get #isSelf(): boolean {
    return this.#process?.pid === process.pid;
  }

  /**
   * Goes on from what another one wrote down, also with the end of a process that it was about to end. What has ended since is seen at
   * the next `look`.
   */
  adopt(record: ModuleRecord): void {
    this.#presence = record.presence;
    this.#faults = record.faults;
    this.#incarnation = record.incarnation;
    this.#process = record.process;
    this.#plannedCause = record.plannedCause;
    if (record.process === null || !isAlive(record.process)) return;
    if (record.plannedCause !== null) signalIfAlive(record.process);
    else if (this.module.kind === "cpu") computeFirst(record.process.pid);
  }

  /** This process is the module, and is there, whatever was wanted of it before. A former one of that name hangs, if it lives. */
  adoptSelf(incarnation: number): void {
    if (this.#process !== null && !this.#isSelf) signalIfAlive(this.#process);
    this.#presence = "present";
    this.#incarnation = incarnation;
    this.#process = recordProcess(this.name, process.pid);
    this.#plannedCause = null;
  }

  /** Is a process that is no child of ours still there? Nobody but us would tell. */
  look(): void {
    if (this.#child !== null || this.#process === null || isAlive(this.#process)) return;
    this.#gone("killed", "nobody saw how it ended, since who had started it was gone");
  }

  start(): void {
    if (this.#ended || this.#process !== null || this.#presence !== "present") return;
    this.#clearTimer();
    this.#incarnation += 1;
    this.#plannedCause = null;
    this.#stoppedSinceMs = null;
    this.#silence.started();
    this.#activity.started();
    const configPath = `${this.#runDirectory}/${this.name}.json`;
    writeJsonFile(configPath, this.#hooks.configure(this.module, this.#incarnation));
    const log = openLog(this.#logPath);
    // A session of its own: neither a terminal's signals nor the end of management may reach it.
    const child = spawn(process.execPath, [MAIN_PATH, this.module.kind, configPath], {
      detached: true,
      stdio: ["ignore", log, log],
      env: { ...process.env, [MODULE_MARK_VARIABLE]: configPath },
    });
    closeSync(log);
    this.#child = child;
    const gone = (cause: LossCause, detail: string): void => {
      if (this.#child === child) this.#gone(cause, detail);
    };
    child.once("error", (error) => gone("crashed", error.message));
    child.once("exit", (code, signal) => gone(causeOf(code, signal), describeEnd(code, signal)));
    if (child.pid !== undefined) this.#process = recordProcess(this.name, child.pid);
    // Others wait for the judge: it takes what it can get.
    const weigh = this.name === JUDGE.name ? computeFirst : yieldWhileStarting;
    if (child.pid !== undefined && this.module.kind === "cpu") weigh(child.pid);
    this.#hooks.changed(this);
  }

  /** SIGKILL; what follows depends on the cause. The first cause counts: a drill stays one when the vote then finds it. */
  kill(cause: LossCause): boolean {
    if (this.#process === null) return false;
    this.#plannedCause ??= cause;
    if (cause === "hung") this.#lastActivity ??= this.#activity.recent(this.#process.pid);
    return this.#signal("SIGKILL");
  }

  /** SIGSTOP, as a drill. What follows is for the vote to find. */
  hang(): boolean {
    if (this.#process === null) return false;
    this.#plannedCause = "drill";
    return this.#signal("SIGSTOP");
  }

  /** Out, and not restarted until it is inserted. */
  hold(): void {
    this.#presence = "held";
    this.#clearTimer();
    if (!this.kill("drill")) this.#hooks.changed(this);
  }

  insert(): void {
    this.#presence = "present";
    this.#hooks.changed(this);
    this.start();
  }

  /** Forgets the faults; a BROKEN module comes back. */
  clear(): void {
    this.#faults = NO_FAULTS;
    if (this.#presence === "broken") this.insert();
    else this.#hooks.changed(this);
  }

  /** The module was heard of. */
  noteAlive(): void {
    this.#silence.heard();
  }

  noteLockstep(): void {
    const before = this.#faults;
    this.#faults = noteLockstep(before);
    if (this.#faults !== before) this.#hooks.changed(this);
  }

  /** Called about once a second: ends a process that has been stopped or silent for long, and bounds its log. */
  check(nowMs: number): void {
    if (this.#process === null) return;
    this.#activity.sample(this.#process.pid);
    const state = processStateOf(this.#process.pid);
    if (state !== "T" && state !== "t") this.#stoppedSinceMs = null;
    else this.#stoppedSinceMs ??= nowMs;
    if (this.#stoppedSinceMs !== null && nowMs - this.#stoppedSinceMs >= STOPPED_LIMIT_MS) this.kill(this.#plannedCause ?? "hung");
    const isSilent = this.#silence.look();
    if (isSilent && this.module.kind !== "cpu" && !this.#isSelf) this.kill("hung");
    boundLog(this.#logPath);
  }

  /** No more restarts; the process stays as it is. */
  end(): void {
    this.#ended = true;
    this.#clearTimer();
  }

  /** One's own end comes at the next turn, when whoever asked for it has been answered and the others know. */
  #signal(signal: "SIGKILL" | "SIGSTOP"): boolean {
    const record = this.#process;
    if (record === null || !isAlive(record)) return false;
    this.#hooks.changed(this);
    if (this.#isSelf) setImmediate(() => process.kill(process.pid, signal));
    else signalIfAlive(record, signal);
    return true;
  }

  #gone(cause: LossCause, detail: string): void {
    const actual = this.#plannedCause ?? cause;
    const activity = this.#lastActivity;
    this.#lastActivity = null;
    this.#child = null;
    this.#process = null;
    this.#plannedCause = null;
    if (this.#ended) return;
    const isWanted = this.#presence === "present";
    const verdict = judgeLoss(this.#faults, actual, Date.now(), this.#threshold);
    if (isWanted) this.#faults = verdict.record;
    if (isWanted && verdict.broken) this.#presence = "broken";
    const told = activity === null ? detail : `${detail}; ${describeActivity(activity)}`;
    this.#hooks.lost(this, actual, told, activity);
    this.#hooks.changed(this);
    if (!isWanted) return;
    if (verdict.broken) return this.#hooks.becameBroken(this);
    const pauseMs = Math.max(verdict.restartDelayMs, this.#hooks.isReplaced(this.module) ? TAKEOVER_FIRST_MS : 0);
    if (pauseMs === 0) this.start();
    else this.#restartTimer = setTimeout(() => this.start(), pauseMs);
  }

  #clearTimer(): void {
    if (this.#restartTimer !== null) clearTimeout(this.#restartTimer);
    this.#restartTimer = null;
  }
}

/** Asks modules to end, and ends them. */
export async function endModules(supervisors: readonly ModuleSupervisor[], ask: (module: string) => void): Promise<void> {
  for (const supervisor of supervisors) supervisor.end();
  const processes = supervisors.flatMap((each) => each.process ?? []);
  for (const { name } of processes) ask(name);
  await waitUntilGone(processes, SHUTDOWN_GRACE_MS);
  for (const supervisor of supervisors) supervisor.kill("drill");
  await waitUntilGone(processes);
}

function causeOf(code: number | null, signal: NodeJS.Signals | null): LossCause {
  if (code === null && (signal === "SIGKILL" || signal === "SIGTERM")) return "killed";
  return "crashed";
}

function describeEnd(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`;
}

export function openLog(path: string): number {
  if (sizeOf(path) > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  return openSync(path, "a", 0o600);
}

/** The module appends, so after the cut it goes on at the start of the file. */
export function boundLog(path: string): void {
  if (sizeOf(path) > 2 * LOG_BYTES_MAX) truncateSync(path, 0);
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
