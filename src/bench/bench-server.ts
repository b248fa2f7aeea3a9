/** Starts and removes the servers that the figures are measured on, through the same command that an operator uses. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { assert } from "../foundation/assert.js";
import { SteadfastError } from "../foundation/errors.js";
import { serverPaths } from "../modules/management-paths.js";
import { demandRedis, REDIS_PORT, type Address } from "./connection.js";
import { firstAnswer } from "./http-load.js";
import type { OpenSource, DrillSource } from "./server-view.js";
import { runTool } from "./tools.js";

const STEADFAST = fileURLToPath(new URL("../../bin/steadfast", import.meta.url));
/** Includes a first start that builds the stock image. */
const UP_LIMIT_MS = 600_000;
const DOWN_LIMIT_MS = 60_000;
const HTTP_PORT = 80;

export type CpuModuleCount = 1 | 2 | 3;

export interface BenchServerOptions {
  readonly name: string;
  readonly cpuModules: CpuModuleCount;
  /** The server gets a bridge and the network 10.77.<subnet>.0/24 of its own, so that nobody else's traffic is measured or disturbed. */
  readonly subnet: number;
  /** Passed on to `up`, e.g. --kernel stock. */
  readonly upParameters: readonly string[];
  readonly openSource: OpenSource;
  /** Ends a start that is under way. */
  readonly signal: AbortSignal;
}

export class BenchServer {
  private constructor(
    readonly options: BenchServerOptions,
    readonly source: DrillSource,
    /** From the start of `up` to the first answer of the guest's nginx. */
    readonly firstAnswerMs: number,
    /** From the start of `up` to its end (DUPLEX and reachable). */
    readonly upMs: number,
  ) {}

  get host(): string {
    return guestAddress(this.options);
  }

  get http(): Address {
    return { host: this.host, port: HTTP_PORT };
  }

  static async start(options: BenchServerOptions): Promise<BenchServer> {
    await down(options.name);
    const folder = mkdtempSync(join(tmpdir(), "steadfast-bench-"));
    const file = join(folder, "server.yaml");
    writeFileSync(file, serverFile(options));
    try {
      return await BenchServer.up(options, file);
    } catch (error) {
      // It may stand halfway: the guest up, Redis not.
      await down(options.name);
      throw error;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }

  private static async up(options: BenchServerOptions, file: string): Promise<BenchServer> {
    const address = guestAddress(options);
    const start = performance.now();
    const parameters = ["up", file, "-d", "--json", "--redundancy", String(options.cpuModules), ...options.upParameters];
    let ended = false;
    let upMs = Number.NaN;
    const up = runTool(process.execPath, [STEADFAST, ...parameters], UP_LIMIT_MS, options.signal).then((result) => {
      upMs = performance.now() - start;
      // A failed `up` ends the polling; a good one only returns when the guest answers.
      ended = result.code !== 0;
      return result;
    });
    const [firstAnswerMs, result] = await Promise.all([
      firstAnswer({ host: address, port: HTTP_PORT }, hostAddress(options), start, UP_LIMIT_MS, () => ended),
      up,
    ]);
    if (result.code !== 0)
      throw new SteadfastError("BENCH_FAILED", {
        what: `steadfast ${parameters.join(" ")}`,
        why: (result.errors || result.output).trim().slice(-500),
      });
    // redis-benchmark spins for ever on a refused connection, so nothing is measured before Redis answers.
    await demandRedis({ host: address, port: REDIS_PORT }, `in the guest of ${options.name}`);
    return new BenchServer(options, options.openSource(options.name), firstAnswerMs, upMs);
  }

  async stop(): Promise<void> {
    await down(this.options.name);
  }
}

const hostAddress = (options: BenchServerOptions): string => `10.77.${options.subnet}.1`;
const guestAddress = (options: BenchServerOptions): string => `10.77.${options.subnet}.2`;

function serverFile(options: BenchServerOptions): string {
  const { name, subnet } = options;
  return `name: ${name}\nnetwork:\n  bridge: sfbench${subnet}\n  hostAddress: ${hostAddress(options)}/24\n  guestAddress: ${guestAddress(options)}\n`;
}

/** Removes a bench server with its state directory, also one left by a broken run; silent when there is none. */
async function down(name: string): Promise<void> {
  assert(name.startsWith("bench-"), "only servers of a benchmark are removed with what they stored");
  await runDown(name);
  rmSync(serverPaths(name).stateDirectory, { recursive: true, force: true });
}

async function runDown(name: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const child = spawn(process.execPath, [STEADFAST, "down", "--server", name], { stdio: "ignore" });
    const timer = setTimeout(() => child.kill("SIGKILL"), DOWN_LIMIT_MS);
    child.on("error", () => resolve());
    child.on("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
