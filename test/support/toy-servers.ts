/** Whole servers with the toy machine and no network, through the command line: cheap enough to start one for each test. */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { LoggedEvent } from "../../dist/modules/management-events.js";
import { processStateOf } from "../../dist/modules/management-process.js";
import type { ModuleReport, ServerReport } from "../../dist/modules/management-status.js";
import { runProgram, type Outcome } from "./real-server.js";

const STEADFAST = fileURLToPath(new URL("../../bin/steadfast", import.meta.url));
const LIMIT_MS = 60_000;

/** A zombie is not alive: its parent was ended too, and whoever inherits it may take its time. */
export function isAlive(pid: number): boolean {
  const state = processStateOf(pid);
  return state !== null && state !== "Z";
}

/** A place of its own for servers, removed with everything in it. */
export class ToyServers {
  readonly base = mkdtempSync(join(tmpdir(), "steadfast-toy-"));
  readonly run = join(this.base, "run");

  steadfast(parameters: readonly string[], input = ""): Promise<Outcome> {
    const environment = { ...process.env, STEADFAST_RUN: this.run, STEADFAST_STATE: join(this.base, "state"), NO_COLOR: "1" };
    return runProgram(process.execPath, [STEADFAST, ...parameters], input, LIMIT_MS, environment);
  }

  async up(name: string, lines: readonly string[] = []): Promise<ToyServer> {
    const file = join(this.base, `${name}.yaml`);
    writeFileSync(file, [`name: ${name}`, "engine: toy", "network: { kind: none }", "memoryMiB: 64", ...lines, ""].join("\n"));
    const server = new ToyServer(this, name, file);
    await server.must(["up", "-d", file], false);
    await server.untilComplete();
    return server;
  }

  /** After each test: what a failed one left must not make the next ones fail. */
  async downAll(): Promise<void> {
    for (const server of existsSync(this.run) ? readdirSync(this.run) : []) await this.steadfast(["down", "--now", "--server", server]);
  }

  remove(): void {
    rmSync(this.base, { recursive: true, force: true });
  }
}

export class ToyServer {
  readonly file: string;
  readonly #servers: ToyServers;
  readonly #name: string;

  constructor(servers: ToyServers, name: string, file: string) {
    this.#servers = servers;
    this.#name = name;
    this.file = file;
  }

  get runDirectory(): string {
    return join(this.#servers.run, this.#name);
  }

  command(parameters: readonly string[], input = ""): Promise<Outcome> {
    return this.#servers.steadfast([...parameters, "--server", this.#name], input);
  }

  /** A command that must succeed: what it printed. */
  async must(parameters: readonly string[], withServer = true): Promise<Outcome> {
    const outcome = await (withServer ? this.command(parameters) : this.#servers.steadfast(parameters));
    assert.equal(outcome.code, 0, `${parameters.join(" ")}: ${outcome.out}${outcome.error}`);
    return outcome;
  }

  async status(): Promise<ServerReport> {
    return JSON.parse((await this.must(["status", "--json"])).out) as ServerReport;
  }

  async module(name: string): Promise<ModuleReport> {
    const found = (await this.status()).modules.find((module) => module.name === name);
    assert.ok(found, `${name} is a module`);
    return found;
  }

  async kill(name: string, signal: NodeJS.Signals = "SIGKILL"): Promise<number> {
    const { pid } = await this.module(name);
    process.kill(pid, signal);
    return pid;
  }

  async until(what: string, wanted: (report: ServerReport) => boolean): Promise<ServerReport> {
    const giveUpAt = Date.now() + LIMIT_MS;
    for (;;) {
      const report = await this.status();
      if (wanted(report)) return report;
      assert.ok(Date.now() < giveUpAt, `${this.#name} never was ${what}: ${JSON.stringify(report)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Every module that should be there is there and has another one ready to take its place. */
  untilComplete(): Promise<ServerReport> {
    return this.until("complete", (report) => {
      const wanted = report.wantedRedundancy === "PAIR_AND_SPARE" ? "DUPLEX" : report.wantedRedundancy;
      const rest = report.modules.filter((module) => module.kind !== "cpu");
      return report.redundancy === report.wantedRedundancy && rest.every((module) => module.state === wanted);
    });
  }

  async events(): Promise<LoggedEvent[]> {
    const lines = (await this.must(["events", "--json"])).out.split("\n").filter((line) => line !== "");
    return lines.map((line) => JSON.parse(line) as LoggedEvent);
  }

  /** Every event once, none left out. */
  async assertOneLog(): Promise<LoggedEvent[]> {
    const events = await this.events();
    assert.deepEqual(
      events.map((event) => event.id),
      events.map((_, index) => index + 1),
    );
    const messages = events.flatMap(({ from }) => (from === undefined ? [] : [`${from.incarnation}:${from.number}`]));
    assert.equal(new Set(messages).size, messages.length, "no message of an I/O module is in there twice");
    return events;
  }

  async assertEqual(): Promise<void> {
    assert.match((await this.must(["verify"])).out, /equal/);
  }

  async type(line: string): Promise<string> {
    const outcome = await this.command(["console", "--quiet", "300"], `${line}\n`);
    assert.equal(outcome.code, 0, outcome.error);
    return outcome.out;
  }

  /** Stops it, and nothing is left. */
  async down(parameters: readonly string[] = []): Promise<void> {
    const { modules } = await this.status();
    await this.must(["down", ...parameters]);
    this.assertGone(modules);
  }

  assertGone(modules: readonly ModuleReport[]): void {
    for (const { name, pid } of modules) assert.ok(pid === 0 || !isAlive(pid), `${name} has ended`);
    assert.ok(!existsSync(this.runDirectory), "the run directory is removed");
  }
}
