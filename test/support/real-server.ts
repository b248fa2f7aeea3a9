/** Whole servers for tests: the command line as an operator uses it, a real guest, a real TAP. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { guestShell } from "../../dist/bench/guest-shell.js";
import { ServerClient } from "../../dist/cli/client.js";
import type { LoggedEvent } from "../../dist/modules/management-events.js";
import { serverPaths } from "../../dist/modules/management-paths.js";
import type { ModuleReport, ServerReport } from "../../dist/modules/management-status.js";

const STEADFAST = fileURLToPath(new URL("../../bin/steadfast", import.meta.url));
const POLL_MS = 50;
const EVENT_POLL_MS = 200;
const GUEST_LIMIT_MS = 60_000;

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly error: string;
}

/** Runs a program to its end; what it printed, and its exit code. */
export function runProgram(
  program: string,
  parameters: readonly string[],
  input = "",
  limitMs = 120_000,
  environment: NodeJS.ProcessEnv = process.env,
): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, { env: environment });
    let out = "";
    let error = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    child.stdout.on("data", (bytes: Buffer) => (out += bytes.toString()));
    child.stderr.on("data", (bytes: Buffer) => (error += bytes.toString()));
    child.on("error", reject);
    child.on("close", (code) => {
      clearTimeout(timer);
      resolve({ code, out, error });
    });
    child.stdin.on("error", () => undefined);
    child.stdin.end(input);
  });
}

/** A command about no server. */
export function steadfast(parameters: readonly string[], input = "", limitMs?: number): Promise<Outcome> {
  return runProgram(process.execPath, [STEADFAST, ...parameters], input, limitMs);
}

export class RealServer {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** A command about this server. */
  command(parameters: readonly string[], input = "", limitMs?: number): Promise<Outcome> {
    return steadfast([...parameters, "--server", this.name], input, limitMs);
  }

  async facts<T>(parameters: readonly string[], limitMs?: number): Promise<T> {
    const outcome = await this.command([...parameters, "--json"], "", limitMs);
    assert.equal(outcome.code, 0, `${parameters.join(" ")}: ${outcome.out}${outcome.error}`);
    return JSON.parse(outcome.out) as T;
  }

  async up(parameters: readonly string[]): Promise<ServerReport> {
    const outcome = await steadfast(["up", "-d", "--name", this.name, ...parameters, "--json"], "", 240_000);
    assert.equal(outcome.code, 0, outcome.out + outcome.error);
    return this.until((report) => report.redundancy === report.wantedRedundancy && report.guest === "ready", "ready");
  }

  /** Those after an event. */
  async events(since: number): Promise<LoggedEvent[]> {
    const { out } = await this.command(["events", "--since", String(since), "--json"]);
    return out
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as LoggedEvent);
  }

  /** The first event of this code after an event. */
  async untilTold(since: number, code: string, limitMs = 150_000): Promise<LoggedEvent> {
    const giveUpAt = Date.now() + limitMs;
    for (;;) {
      const all = await this.events(since);
      const found = all.find((event) => event.code === code);
      if (found !== undefined) return found;
      assert.ok(Date.now() < giveUpAt, `${code} was not told within ${limitMs} ms: ${all.map((event) => event.code).join(" ")}`);
      await new Promise((resolve) => setTimeout(resolve, EVENT_POLL_MS));
    }
  }

  status(): Promise<ServerReport> {
    return this.facts<ServerReport>(["status"]);
  }

  async until(wanted: (report: ServerReport) => boolean, what: string, limitMs = 120_000): Promise<ServerReport> {
    const giveUpAt = Date.now() + limitMs;
    for (;;) {
      const report = await this.status();
      if (wanted(report)) return report;
      assert.ok(Date.now() < giveUpAt, `${this.name} did not become ${what}: ${JSON.stringify(report)}`);
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  untilDuplex(): Promise<ServerReport> {
    return this.until((report) => report.redundancy === "DUPLEX", "DUPLEX");
  }

  async module(name: string): Promise<ModuleReport> {
    const found = (await this.status()).modules.find((module) => module.name === name);
    assert.ok(found, `${name} is a module`);
    return found;
  }

  /** Types a line at the guest's console. */
  async type(line: string): Promise<void> {
    const outcome = await this.command(["console"], `${line}\n`);
    assert.equal(outcome.code, 0, outcome.error);
  }

  /** Runs a command line in the guest to its end, however slow the host is; what it printed. It must succeed. */
  inGuest(line: string): Promise<string> {
    return guestShell(() => new ServerClient(this.name).console(), line, GUEST_LIMIT_MS);
  }

  /** The complete state of all machines at one tick. */
  async assertEqual(): Promise<void> {
    const outcome = await this.command(["verify"]);
    assert.equal(outcome.code, 0, outcome.out + outcome.error);
    assert.match(outcome.out, /equal/);
  }

  /** At a test's end: nothing of it is left, its logs and its disk neither. */
  async remove(): Promise<void> {
    await this.down();
    rmSync(serverPaths(this.name).stateDirectory, { recursive: true, force: true });
  }

  /** True if it was still there. */
  async down(): Promise<boolean> {
    return (await this.command(["down"])).code === 0;
  }
}
