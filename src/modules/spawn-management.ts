/** Starts the first management module of a server as a process of its own, which then starts all others. */
import { spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";
import type { ServerPaths } from "./management-paths.js";
import { FIRST_MANAGEMENT, moduleConfigFor, writeJsonFile, type ServerPlan } from "./management-plan.js";
import { MODULE_MARK_VARIABLE } from "./management-process.js";
import { openLog } from "./management-supervisor.js";

/** A descriptor in the environment of a management module, where it says how its start went. */
export const STARTUP_DESCRIPTOR_VARIABLE = "STEADFAST_STARTUP_DESCRIPTOR";
const MAIN_PATH = fileURLToPath(new URL("./main.js", import.meta.url));
const STARTUP_LIMIT_MS = 30_000;

/** Resolves once it runs; throws the one error that kept it from starting. */
export async function spawnManagement(
  paths: ServerPaths,
  plan: ServerPlan,
  own: { readonly standby: boolean; readonly incarnation: number },
): Promise<void> {
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
  const outcome = line === null ? null : (JSON.parse(line) as { error?: ReportedFacts });
  if (outcome === null) throw new SteadfastError("START_FAILED", { log: logPath });
  if (outcome.error === undefined) return;
  const error = reportedError(outcome.error);
  throw error instanceof SteadfastError ? error : new SteadfastError("START_FAILED", { log: logPath });
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
