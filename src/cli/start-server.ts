/** Starts management for a plan, and waits for what the operator wants to see: all modules in lockstep and the guest ready. */
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";
import { ERRORS, SteadfastError, type ErrorCode } from "../foundation/errors.js";
import { STARTUP_DESCRIPTOR_VARIABLE } from "../modules/management.js";
import { makeServerDirectories } from "../modules/management-paths.js";
import { FIRST_MANAGEMENT, moduleConfigFor, readJsonFile, writeJsonFile, type ServerPlan } from "../modules/management-plan.js";
import { MODULE_MARK_VARIABLE } from "../modules/management-process.js";
import type { MadeRecord } from "../modules/management-state.js";
import type { ServerReport } from "../modules/management-status.js";
import { openLog } from "../modules/management-supervisor.js";
import { ServerClient } from "./client.js";
import { parseListen } from "./listen-choice.js";

const MAIN_PATH = fileURLToPath(new URL("../modules/main.js", import.meta.url));
const STARTUP_LIMIT_MS = 30_000;
const POLL_MS = 50;
/** A guest whose init does not announce itself counts as ready when its network has answered for this long. */
const REACHABLE_IS_READY_MS = 3000;

/** Returns once management runs; throws the one error that kept it from starting, with nothing left behind. */
export async function startServer(plan: ServerPlan): Promise<ServerClient> {
  const client = new ServerClient(plan.server);
  if ((await client.statusOrNull()) !== null) throw new SteadfastError("SERVER_RUNNING", { server: plan.server });
  makeServerDirectories(client.paths);
  writeJsonFile(client.paths.planFile, plan);
  await spawnManagement(client, plan, { standby: false, incarnation: 1 });
  return client;
}

/**
 * Starts management again for a server that serves on without it; the guest does not notice. False: there is no such server. Returns
 * once management leads.
 */
export async function resumeManagement(client: ServerClient): Promise<boolean> {
  if (!client.hasProcesses) return false;
  const plan = readJsonFile<ServerPlan>(client.paths.planFile);
  const made = readJsonFile<MadeRecord>(client.paths.madeFile);
  if (plan === null || made === null) return false;
  const incarnation = (made.state.modules[FIRST_MANAGEMENT.name]?.incarnation ?? 0) + 1;
  await spawnManagement(client, plan, { standby: true, incarnation });
  return true;
}

async function spawnManagement(
  client: ServerClient,
  plan: ServerPlan,
  own: { readonly standby: boolean; readonly incarnation: number },
): Promise<void> {
  const { paths } = client;
  const configPath = `${paths.runDirectory}/${FIRST_MANAGEMENT.name}.json`;
  const logPath = `${paths.logDirectory}/${FIRST_MANAGEMENT.name}.log`;
  const context = { plan, paths, network: null, epochNs: 0n };
  writeJsonFile(configPath, { ...moduleConfigFor(context, FIRST_MANAGEMENT, own.incarnation), standby: own.standby });
  const log = openLog(logPath);
  // A session of its own: the terminal from which the server was started may go away.
  const child = spawn(process.execPath, [MAIN_PATH, "management", configPath], {
    detached: true,
    cwd: "/",
    stdio: ["ignore", log, log, "pipe"],
    env: { ...process.env, [MODULE_MARK_VARIABLE]: configPath, [STARTUP_DESCRIPTOR_VARIABLE]: "3" },
  });
  closeSync(log);
  const line = await firstLine(child.stdio[3] as NodeJS.ReadableStream, STARTUP_LIMIT_MS);
  child.unref();
  const outcome = line === null ? null : (JSON.parse(line) as { error?: { code: string; message: string } });
  if (outcome === null) throw new SteadfastError("START_FAILED", { log: logPath });
  if (outcome.error === undefined) return;
  const { code, message } = outcome.error;
  if (!(code in ERRORS)) throw new SteadfastError("START_FAILED", { log: logPath });
  const error = new SteadfastError(code as ErrorCode);
  error.message = message;
  throw error;
}

/** Null: the stream ended, or the limit passed, without a line. */
function firstLine(stream: NodeJS.ReadableStream, limitMs: number): Promise<string | null> {
  return new Promise((resolve) => {
    let text = "";
    const finish = (line: string | null): void => {
      clearTimeout(timer);
      (stream as Partial<{ destroy(): void }>).destroy?.();
      resolve(line);
    };
    const timer = setTimeout(() => finish(null), limitMs);
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString("utf8");
      if (text.includes("\n")) finish(text.slice(0, text.indexOf("\n")));
    });
    stream.on("end", () => finish(null));
    stream.on("error", () => finish(null));
  });
}

/** Fronts start after the modules, at low priority. */
function isListening(listen: string): Promise<boolean> {
  const to = parseListen(listen);
  if (to === null) return Promise.resolve(false);
  return new Promise((resolve) => {
    // An address that stands for all of them leads to this host.
    const socket = connect({ host: to.address, port: to.port }, () => resolve(true));
    socket.setTimeout(POLL_MS * 10, () => resolve(false));
    socket.on("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

export interface Standing {
  readonly report: ServerReport;
  /** All modules in lockstep, and the guest ready (or its network answers, if its init says nothing). */
  readonly complete: boolean;
}

/** Waits until the server stands as wanted or the limit passed. Throws if the server ended meanwhile. */
export async function waitUntilStanding(
  client: ServerClient,
  limitMs: number,
  onReport: (report: ServerReport) => void,
): Promise<Standing> {
  const giveUpAt = Date.now() + limitMs;
  let reachableSince: number | null = null;
  for (;;) {
    const report = await client.statusOrNull();
    if (report === null) throw new SteadfastError("SERVER_ENDED", { server: client.server });
    onReport(report);
    const now = Date.now();
    reachableSince = report.guest === "reachable" ? (reachableSince ?? now) : null;
    const answered = reachableSince !== null && now - reachableSince >= REACHABLE_IS_READY_MS;
    // The toy machine and a server without network have no guest that could say more.
    const ready = report.guest === "ready" || answered || report.network === "none" || report.engine === "toy";
    const standing = report.redundancy === report.wantedRedundancy && ready;
    const complete = standing && (report.front === null || (await isListening(report.front.listen)));
    if (complete || now >= giveUpAt) return { report, complete };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
