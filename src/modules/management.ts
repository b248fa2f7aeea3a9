/**
 * The management module's process. One of a server's management modules leads (management-leader.ts): it starts, watches and replaces
 * the other modules and serves the control API. The others stand by (management-standby.ts), and one of them takes the lead when the
 * leader dies or hangs. The guest does not depend on any of them: without management the modules serve on, unwatched.
 */
import { closeSync, writeSync } from "node:fs";
import type { Server } from "node:net";
import { SteadfastError } from "../foundation/errors.js";
import type { ModuleConfig } from "./config.js";
import { FrontKeeper } from "./management-front.js";
import { Leader } from "./management-leader.js";
import { lockServer } from "./management-lock.js";
import { makeServerDirectories, serverPaths, type ServerPaths } from "./management-paths.js";
import { readJsonFile, type ServerPlan } from "./management-plan.js";
import { Standby } from "./management-standby.js";
import type { MadeRecord } from "./management-state.js";

/** Descriptor on which the starter waits for one line: what became of the start. */
export const STARTUP_DESCRIPTOR_VARIABLE = "STEADFAST_STARTUP_DESCRIPTOR";

/** Runs until the server is stopped; then the process ends with exit code 0. */
export async function runManagement(config: ModuleConfig): Promise<void> {
  const paths = serverPaths(config.server);
  try {
    if (config.standby === true) await standBy(config, paths);
    else await startServer(config, paths);
    reportStartup({ ok: true });
  } catch (error) {
    reportStartup({ error: describeError(error) });
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    // Nothing may keep a failed one alive: it may hold the lock.
    process.exit(error instanceof SteadfastError ? error.exit : 1);
  }
}

function readPlan(config: ModuleConfig, paths: ServerPaths): ServerPlan {
  const plan = readJsonFile<ServerPlan>(paths.planFile);
  if (plan === null || plan.server !== config.server) throw new SteadfastError("PLAN_MISSING", { path: paths.planFile });
  return plan;
}

async function startServer(config: ModuleConfig, paths: ServerPaths): Promise<void> {
  const plan = readPlan(config, paths);
  makeServerDirectories(paths);
  const lock: Server | null = await lockServer(paths.runDirectory);
  if (lock === null) throw new SteadfastError("SERVER_RUNNING", { server: config.server });
  await new Leader(plan, paths, config).startServer();
  keepFront(config, plan, paths);
}

async function standBy(config: ModuleConfig, paths: ServerPaths): Promise<void> {
  keepFront(config, readPlan(config, paths), paths);
  const { wasSilent } = await new Standby(config, paths, () => reportStartup({ ok: true })).waitForLead();
  // The plan may have changed since we were started.
  const made = readJsonFile<MadeRecord>(paths.madeFile);
  if (made === null) throw new SteadfastError("PLAN_MISSING", { path: paths.madeFile });
  await new Leader(readPlan(config, paths), paths, config).takeOver(made, wasSilent);
}

function keepFront(config: ModuleConfig, { server, front }: ServerPlan, paths: ServerPaths): void {
  if (front !== undefined) new FrontKeeper(config.name, server, front, paths).start();
}

function describeError(error: unknown): { code: string; message: string; exit: number } {
  if (error instanceof SteadfastError) return { code: error.code, message: error.message, exit: error.exit };
  return { code: "INTERNAL", message: error instanceof Error ? error.message : String(error), exit: 1 };
}

/** Once: later calls do nothing. */
function reportStartup(value: unknown): void {
  const descriptor = Number(process.env[STARTUP_DESCRIPTOR_VARIABLE]);
  if (!Number.isInteger(descriptor) || descriptor < 3) return;
  delete process.env[STARTUP_DESCRIPTOR_VARIABLE];
  try {
    writeSync(descriptor, `${JSON.stringify(value)}\n`);
    closeSync(descriptor);
  } catch {
    // Whoever started us is gone; the server does not need it.
  }
}
