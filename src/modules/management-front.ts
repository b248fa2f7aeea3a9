/**
 * Keeps this management module's front (src/front): started with it, watched, replaced when it dies or hangs, and gone with it. Every
 * management module has one, whether it leads or stands by, and all listen on one address.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync } from "node:fs";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import { certificateFacts, keepSelfSigned, type CertificateFacts } from "../front/certificate.js";
import { HEARTBEAT_EVERY_MS, LIFELINE_DESCRIPTOR, type FrontConfig } from "../front/config.js";
import { assertListenFree, formatListen } from "../ports/shared-listener.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile, writeJsonFile, type PlannedFront, type ServerPlan } from "./management-plan.js";
import { MODULE_MARK_VARIABLE, recordProcess, signalIfAlive, type ProcessRecord } from "./management-process.js";
import { boundLog, openLog } from "./management-supervisor.js";
import { SilenceWatch } from "./silence-watch.js";
import { yieldForGood } from "./start-priority.js";

const MAIN_PATH = fileURLToPath(new URL("../front/main.js", import.meta.url));
/** In heartbeats. */
const SILENCE_LIMITS = { silentLooks: 10, startingLooks: 240 };
const RESTART_FIRST_MS = 100;
const RESTART_MOST_MS = 10_000;
/** One that ran so long begins anew with the shortest pause. */
const RAN_WELL_MS = 30_000;

/** How a server is asked from outside. */
export interface FrontReport extends CertificateFacts {
  /** "0.0.0.0:8443" */
  readonly listen: string;
}

/**
 * Before the first front starts: a certificate is there, and nobody else has the address.
 * @throws SteadfastError TLS_FILE, LISTEN_TAKEN
 */
export async function prepareFront(plan: ServerPlan): Promise<void> {
  const { front } = plan;
  if (front === undefined) return;
  await assertListenFree(front.listen);
  if (front.isSelfSigned) await keepSelfSigned(front, plan.server, front.listen.address, Date.now());
  certificateFacts(front);
}

/** Null: this server is asked over its Unix socket alone, or its certificate is gone. */
export function frontReport({ front }: ServerPlan): FrontReport | null {
  if (front === undefined) return null;
  try {
    return { listen: formatListen(front.listen), ...certificateFacts(front) };
  } catch {
    return null;
  }
}

function frontName(module: string): string {
  return `front-${module}`;
}

function recordPath(paths: ServerPaths, module: string): string {
  return `${paths.runDirectory}/${frontName(module)}.process.json`;
}

/** The front of a module that is gone ends by itself, unless it hangs too. */
export function endFrontOf(paths: ServerPaths, module: string): void {
  const record = readJsonFile<ProcessRecord>(recordPath(paths, module));
  if (record !== null) signalIfAlive(record);
}

/** Has one front running as long as this process lives. */
export class FrontKeeper {
  readonly #config: FrontConfig;
  readonly #paths: ServerPaths;
  readonly #module: string;
  #child: ChildProcess | null = null;
  #startedAtMs = 0;
  readonly #silence = new SilenceWatch(SILENCE_LIMITS);
  #pauseMs = RESTART_FIRST_MS;

  constructor(module: string, server: string, front: PlannedFront, paths: ServerPaths) {
    this.#module = module;
    this.#paths = paths;
    const { listen, certificateFile, keyFile, eventStreamsMax } = front;
    const { controlSocket, tokensFile } = paths;
    this.#config = { server, name: frontName(module), listen, certificateFile, keyFile, controlSocket, tokensFile, eventStreamsMax };
  }

  start(): void {
    endFrontOf(this.#paths, this.#module);
    this.#spawn();
    setInterval(() => this.#look(), HEARTBEAT_EVERY_MS).unref();
  }

  #spawn(): void {
    const configPath = `${this.#paths.runDirectory}/${this.#config.name}.json`;
    const logPath = this.#logPath;
    writeJsonFile(configPath, this.#config);
    const log = openLog(logPath);
    // A session of its own, so that Linux weighs it apart from management.
    const child = spawn(process.execPath, [MAIN_PATH, configPath], {
      detached: true,
      stdio: ["ignore", log, log, "pipe"],
      env: { ...process.env, [MODULE_MARK_VARIABLE]: configPath },
    });
    closeSync(log);
    this.#child = child;
    this.#startedAtMs = performance.now();
    this.#silence.started();
    const lifeline = child.stdio[LIFELINE_DESCRIPTOR] as Duplex;
    lifeline.on("data", () => {
      if (this.#silence.heard() && child.pid !== undefined) yieldForGood(child.pid);
    });
    lifeline.on("error", () => lifeline.destroy());
    child.once("error", () => this.#gone(child));
    child.once("exit", () => this.#gone(child));
    if (child.pid !== undefined) writeJsonFile(recordPath(this.#paths, this.#module), recordProcess(this.#config.name, child.pid));
  }

  get #logPath(): string {
    return `${this.#paths.logDirectory}/${this.#config.name}.log`;
  }

  #look(): void {
    boundLog(this.#logPath);
    if (this.#silence.look()) this.#child?.kill("SIGKILL");
  }

  #gone(child: ChildProcess): void {
    if (this.#child !== child) return;
    this.#child = null;
    const ranWell = performance.now() - this.#startedAtMs >= RAN_WELL_MS;
    const pauseMs = ranWell ? RESTART_FIRST_MS : this.#pauseMs;
    this.#pauseMs = Math.min(pauseMs * 2, RESTART_MOST_MS);
    setTimeout(() => this.#spawn(), pauseMs);
  }
}
