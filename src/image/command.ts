/** Runs the tools of the host that a build needs (apt, dpkg-deb, tar, make) and turns their failures into one sentence. */

import { spawn, type ChildProcess } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";

export interface CommandOptions {
  readonly directory?: string;
  readonly environment?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Called with each piece of standard output; without it the output is collected. A promise holds the program back until it settles. */
  readonly onOutput?: (chunk: Buffer) => void | Promise<unknown>;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly output: string;
  /** The last part of standard error. */
  readonly errors: string;
}

/** What we keep of a tool's output: enough for any list that we ask for, never without end. */
const OUTPUT_BYTES_LIMIT = 64 * 1024 * 1024;
const ERRORS_CHARACTERS_LIMIT = 64 * 1024;
/** From asking a tool to end to making it end. */
const TERMINATION_LIMIT_MS = 2000;

/** Debian's own tools stay reachable when a user's PATH lacks the system directories. */
const SYSTEM_DIRECTORIES = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

function searchPath(): string {
  const own = (process.env["PATH"] ?? "").split(delimiter).filter((directory) => directory !== "");
  return [...own, ...SYSTEM_DIRECTORIES.filter((directory) => !own.includes(directory))].join(delimiter);
}

export function findProgram(name: string): string | undefined {
  for (const directory of searchPath().split(delimiter)) {
    const path = join(directory, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // Not in this directory: look in the next.
    }
  }
  return undefined;
}

/** Runs a program to its end. Never throws for its exit code; throws when it cannot start, when it is aborted, or when the disk is full. */
export async function runCommand(program: string, parameters: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  // The child dies with us even when we are killed: nothing of ours may go on writing into a directory that the next build clears.
  const guard = findProgram("setpriv");
  const argv = guard === undefined ? [program, ...parameters] : [guard, "--pdeathsig", "TERM", program, ...parameters];
  const child = spawn(argv[0] ?? program, argv.slice(1), {
    cwd: options.directory,
    env: { ...process.env, PATH: searchPath(), LC_ALL: "C", ...options.environment },
    stdio: ["ignore", "pipe", "pipe"],
    // A group of its own, so that an interrupted build ends with all that its tools have started.
    detached: true,
  });
  const stop = () => endGroup(child);
  options.signal?.addEventListener("abort", stop, { once: true });
  if (options.signal?.aborted === true) stop();
  const chunks: Buffer[] = [];
  let kept = 0;
  let errors = "";
  child.stdout.on("data", (chunk: Buffer) => {
    if (options.onOutput !== undefined) {
      const pause = options.onOutput(chunk);
      if (pause === undefined) return;
      child.stdout.pause();
      void pause.catch(() => undefined).then(() => child.stdout.resume());
    } else if (kept < OUTPUT_BYTES_LIMIT) {
      chunks.push(chunk);
      kept += chunk.length;
    }
  });
  child.stderr.on("data", (chunk: Buffer) => {
    errors = (errors + chunk.toString("utf8")).slice(-ERRORS_CHARACTERS_LIMIT);
  });
  const exitCode = await new Promise<number>((resolve, reject) => {
    child.once("error", () => reject(new SteadfastError("HOST_TOOL_MISSING", { tool: program, packages: program })));
    // Even an interrupted child is waited for: its directory may be removed only after it has ended.
    child.once("close", (code) => resolve(code ?? 128));
  }).finally(() => options.signal?.removeEventListener("abort", stop));
  if (options.signal?.aborted === true) throw new SteadfastError("IMAGE_INTERRUPTED");
  return { exitCode, output: Buffer.concat(chunks).toString("utf8"), errors };
}

/** Asks a child and its descendants to end, and makes them end soon after. */
function endGroup(child: ChildProcess): void {
  const kill = (signal: NodeJS.Signals) => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal);
    } catch {
      // All of them have ended already.
    }
  };
  kill("SIGTERM");
  const late = setTimeout(() => kill("SIGKILL"), TERMINATION_LIMIT_MS);
  child.once("close", () => clearTimeout(late));
}

/** Like `runCommand`, for tools that must succeed: anything else ends the build by a sentence that names the step. */
export async function runStep(step: string, program: string, parameters: readonly string[], options: CommandOptions = {}): Promise<string> {
  const result = await runCommand(program, parameters, options);
  if (result.exitCode !== 0) throw stepError(step, result, options.directory);
  return result.output;
}

export function stepError(step: string, result: CommandResult, directory = "the cache directory"): SteadfastError {
  const text = result.errors + result.output;
  if (isDiskFull(text)) return new SteadfastError("DISK_FULL", { directory });
  const lines = text.split("\n").filter((line) => line.trim() !== "");
  const telling =
    [...lines].reverse().find((line) => /error|fail|cannot|unable/i.test(line)) ?? lines.at(-1) ?? `exit code ${result.exitCode}`;
  return new SteadfastError("IMAGE_STEP_FAILED", { step, detail: telling.trim() });
}

export function isDiskFull(text: string): boolean {
  return /No space left on device|Disk quota exceeded|ENOSPC|EDQUOT|don't have enough free space/.test(text);
}
