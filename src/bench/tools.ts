/** The public load generators that the figures quote: redis-benchmark and wrk, run as processes, their output read. */
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import type { Address } from "./connection.js";

const OUTPUT_LIMIT_BYTES = 1024 * 1024;

export interface ToolResult {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program to its end, or ends it at the limit (killed) or when `signal` says so (asked to end). */
export function runTool(program: string, parameters: readonly string[], limitMs: number, signal?: AbortSignal): Promise<ToolResult> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, parameters, { stdio: ["ignore", "pipe", "pipe"] });
    let output = "";
    let errors = "";
    const timer = setTimeout(() => child.kill("SIGKILL"), limitMs);
    const abort = (): void => void child.kill("SIGTERM");
    signal?.addEventListener("abort", abort);
    if (signal?.aborted === true) abort();
    const over = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", abort);
    };
    child.stdout.on("data", (bytes: Buffer) => {
      if (output.length < OUTPUT_LIMIT_BYTES) output += bytes.toString();
    });
    child.stderr.on("data", (bytes: Buffer) => {
      if (errors.length < OUTPUT_LIMIT_BYTES) errors += bytes.toString();
    });
    child.on("error", (error) => {
      over();
      reject(error);
    });
    child.on("close", (code) => {
      over();
      resolve({ code: code ?? -1, output, errors });
    });
  });
}

export function toolInstalled(name: string): boolean {
  return (process.env["PATH"] ?? "/usr/bin:/bin").split(":").some((folder) => existsSync(`${folder}/${name}`));
}

export function requireTool(name: string, debianPackage: string): void {
  if (!toolInstalled(name)) throw new SteadfastError("BENCH_TOOL_MISSING", { tool: name, package: debianPackage });
}

export interface RedisRates {
  readonly set: number;
  readonly get: number;
}

/** Reads the CSV that redis-benchmark prints: "SET","1234.56",… */
export function parseRedisBenchmark(output: string): RedisRates {
  const rate = (name: string): number => Number(new RegExp(`^"${name}","([0-9.]+)"`, "m").exec(output)?.[1] ?? Number.NaN);
  return { set: rate("SET"), get: rate("GET") };
}

export async function redisBenchmark(host: string, clients: number, requests: number): Promise<RedisRates> {
  requireTool("redis-benchmark", "redis-tools");
  const result = await runTool(
    "redis-benchmark",
    ["-h", host, "-c", String(clients), "-n", String(requests), "-t", "set,get", "--csv"],
    300_000,
  );
  const rates = parseRedisBenchmark(result.output);
  if (result.code !== 0 || Number.isNaN(rates.set) || Number.isNaN(rates.get)) {
    throw new SteadfastError("BENCH_FAILED", {
      what: `redis-benchmark against ${host}`,
      why: (result.errors || result.output).trim().slice(0, 300),
    });
  }
  return rates;
}

export interface WrkResult {
  readonly perSecond: number;
  readonly socketErrors: string | undefined;
}

export function parseWrk(output: string): WrkResult {
  const errors = /^\s*(Socket errors:.*|Non-2xx.*)$/m.exec(output)?.[1];
  return { perSecond: Number(/^Requests\/sec:\s+([0-9.]+)/m.exec(output)?.[1] ?? Number.NaN), socketErrors: errors };
}

export async function wrk(address: Address, connections: number, seconds: number): Promise<WrkResult> {
  requireTool("wrk", "wrk");
  const url = `http://${address.host}:${address.port}/`;
  const result = await runTool("wrk", ["-t", "1", "-c", String(connections), "-d", `${seconds}s`, url], seconds * 1000 + 60_000);
  const parsed = parseWrk(result.output);
  if (result.code !== 0 || Number.isNaN(parsed.perSecond))
    throw new SteadfastError("BENCH_FAILED", { what: `wrk against ${url}`, why: result.errors.trim().slice(0, 300) });
  return parsed;
}
