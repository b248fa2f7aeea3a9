/**
 * Spawns real module processes (toy engine, no network) and supervises them as management does: restarts what died with the next
 * incarnation, and kills what the I/O module has shot.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ModuleConfig } from "../../dist/modules/config.js";
import { keepConnected, type Link, type Peer } from "../../dist/modules/transport.js";
import type { EventMessage, ManagementToIo, ServerStatus } from "../../dist/wire/control.js";

const MAIN = fileURLToPath(new URL("../../dist/modules/main.js", import.meta.url));

export interface ServerShape {
  readonly cpuModules?: readonly string[];
  readonly release?: "compared" | "logged";
  readonly ramBytes?: number;
  readonly commandLine?: string;
  readonly machine?: ModuleConfig["machine"];
}

interface Process {
  readonly config: ModuleConfig;
  child: ChildProcess;
  incarnation: number;
}

export class ModuleProcesses {
  readonly directory = mkdtempSync(join(tmpdir(), "steadfast-modules-"));
  readonly events: EventMessage[] = [];
  readonly problems: string[] = [];
  status: ServerStatus | null = null;
  console = "";
  readonly #processes = new Map<string, Process>();
  readonly #shape: ServerShape;
  readonly #cpuModules: readonly string[];
  #io: Peer | null = null;
  #link: Link | null = null;
  #stopping = false;
  #verified: ((digests: Readonly<Record<string, string>>) => void) | null = null;

  constructor(shape: ServerShape = {}) {
    this.#shape = shape;
    this.#cpuModules = shape.cpuModules ?? ["cpu0", "cpu1"];
    mkdirSync(join(this.directory, "arbiter"));
  }

  start(): void {
    for (const name of this.#cpuModules) this.#spawn(name, "cpu", 1);
    this.#spawn("io0", "io", 1);
    const self = { module: "management", name: "mgmt0", incarnation: 1 } as const;
    this.#link = keepConnected(join(this.directory, "io0.sock"), self, (peer) => {
      this.#io = peer;
      setImmediate(() => {
        if (this.#io === peer) this.send({ kind: "follow" });
      });
      return {
        onMessage: (message) => {
          if (message.kind === "control") this.#control(JSON.parse(message.text) as Record<string, unknown>);
        },
        onClose: () => {
          this.#io = null;
        },
      };
    });
  }

  pid(name: string): number {
    const pid = this.#processes.get(name)?.child.pid;
    if (pid === undefined) throw new Error(`${name} does not run`);
    return pid;
  }

  #config(name: string, kind: "cpu" | "io", incarnation: number): ModuleConfig {
    const { ramBytes = 4 * 1024 * 1024, commandLine = "timer=10", release = "compared", machine } = this.#shape;
    return {
      server: "test",
      name,
      kind,
      enclosure: name.endsWith("1") ? "enclosure1" : "enclosure0",
      runDirectory: this.directory,
      arbiterDirectory: join(this.directory, "arbiter"),
      incarnation,
      cpuModules: this.#cpuModules,
      ioModules: ["io0"],
      release,
      lagLimitMs: 250,
      machine: machine ?? { engine: "toy", kernelPath: "", initrdPath: "", commandLine, ramBytes, harts: 1, imageDigest: "00" },
      network: { kind: "none", device: "", bridge: "", macAddress: "" },
      epochNs: "1700000000000000000",
    };
  }

  #spawn(name: string, kind: "cpu" | "io", incarnation: number): void {
    const config = this.#config(name, kind, incarnation);
    const path = join(this.directory, `${name}.json`);
    writeFileSync(path, JSON.stringify(config));
    const child = spawn(process.execPath, [...(process.env["STEADFAST_TEST_NODE_OPTIONS"]?.split(" ") ?? []), MAIN, kind, path], {
      stdio: ["ignore", "inherit", "pipe"],
    });
    child.stderr.on("data", (chunk: Buffer) => this.problems.push(`${name}: ${chunk.toString()}`));
    child.on("exit", (code, signal) => {
      if (this.#stopping) return;
      if (signal !== "SIGKILL") this.problems.push(`${name} ended with ${code ?? signal}`);
      this.#spawn(name, kind, incarnation + 1);
    });
    this.#processes.set(name, { config, child, incarnation });
  }

  #control(message: Record<string, unknown>): void {
    switch (message["kind"]) {
      case "status":
        this.status = message["status"] as ServerStatus;
        return;
      case "event":
        this.events.push(message as unknown as EventMessage);
        return;
      case "console":
        this.console += Buffer.from(String(message["base64"]), "base64").toString();
        return;
      case "shoot":
        this.signal(String(message["module"]), "SIGKILL");
        return;
      case "verified":
        this.#verified?.(message["digests"] as Record<string, string>);
        this.#verified = null;
    }
  }

  signal(name: string, signal: NodeJS.Signals): void {
    process.kill(this.pid(name), signal);
  }

  send(message: ManagementToIo): void {
    if (this.#io === null) throw new Error("io0 is not connected");
    this.#io.send({ kind: "control", text: JSON.stringify(message) });
  }

  type(text: string): void {
    this.send({ kind: "console", base64: Buffer.from(text).toString("base64") });
  }

  async verify(): Promise<Readonly<Record<string, string>>> {
    const answer = new Promise<Readonly<Record<string, string>>>((resolve) => {
      this.#verified = resolve;
    });
    this.send({ kind: "verify" });
    return answer;
  }

  async until(what: string, condition: () => boolean, limitMs = 15_000): Promise<void> {
    const deadline = Date.now() + limitMs;
    while (!condition()) {
      if (Date.now() > deadline) {
        const told = this.events.map((event) => `${event.code} ${event.text}`).join("\n");
        throw new Error(
          `${what} did not happen within ${limitMs} ms\n${told}\n${JSON.stringify(this.status)}\n${this.problems.join("\n")}`,
        );
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  redundancy(value: string, limitMs?: number): Promise<void> {
    return this.until(value, () => this.status?.redundancy === value, limitMs);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#link?.close();
    const ended = [...this.#processes.values()].map(
      ({ child }) =>
        new Promise<void>((resolve) => {
          if (child.exitCode !== null || child.signalCode !== null) return resolve();
          child.once("exit", () => resolve());
          child.kill("SIGKILL");
        }),
    );
    await Promise.all(ended);
    rmSync(this.directory, { recursive: true, force: true });
  }
}
