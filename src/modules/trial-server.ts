/**
 * The server on which an upgrade is tried, beside the one that serves: without redundancy and without a network, on a copy of the disk. It
 * is a whole server like any other, so its console and status can be looked at by its name; nothing of it is left when it is removed.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { AgentRequest } from "../agent/lines.js";
import { openRequest, readAnswer, Unanswered } from "../client/transport.js";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";
import { MIRROR_FILES } from "./block-files.js";
import type { AgentAnswer } from "./management-agent.js";
import { makeServerDirectories, serverPaths, TRIAL_SUFFIX, type ServerPaths } from "./management-paths.js";
import { mirrorDirectory, writeJsonFile, type PlannedImage, type ServerPlan } from "./management-plan.js";
import { cleanUpServer, livingManagement, waitUntilGone } from "./management-process.js";
import type { ServerReport } from "./management-status.js";
import { spawnManagement } from "./spawn-management.js";
import { yieldForGood } from "./start-priority.js";
import type { UpgradeEnd } from "./upgrade-records.js";

const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const ANSWER_LIMIT_MS = 5000;
/** On top of what a command in the guest may take. */
const AGENT_SLACK_MS = 60_000;
const STOP_LIMIT_MS = 10_000;
const ENCLOSURE = "enclosure0";
const COPY_NICENESS = "10";

export class TrialServer {
  readonly name: string;
  readonly paths: ServerPaths;
  /** A start under way: what it brings about is removed after it only. */
  #starting: Promise<void> = Promise.resolve();

  constructor(server: string) {
    this.name = `${server}${TRIAL_SUFFIX}`;
    this.paths = serverPaths(this.name);
  }

  /** Somebody's server of this name: not ours to touch. */
  get isTaken(): boolean {
    return existsSync(this.paths.runDirectory) || existsSync(this.paths.stateDirectory);
  }

  /** Like the server that serves, but for what must not be there twice. */
  planFor(plan: ServerPlan, image: PlannedImage, { memoryMiB, uncertified }: Pick<UpgradeEnd, "memoryMiB" | "uncertified">): ServerPlan {
    const { front: _front, firstImage: _first, disk, ...rest } = plan;
    const certification = { ...plan.certification, uncertified };
    const network = { kind: "none", bridge: "", hostAddress: "", guestAddress: "", publish: [] } as const;
    const own = {
      server: this.name,
      redundancy: "simplex",
      checkpoints: false,
      guestWatch: "off",
      image,
      memoryMiB,
      network,
      certification,
    } as const;
    return { ...rest, ...own, ...(disk !== undefined && { disk: { ...disk, diskId: "", directories: [] } }) };
  }

  /** Copies a mirror that nobody writes to. Resolves with what went wrong; null: nothing. `signal` ends it. */
  copyMirror(directory: string, plan: ServerPlan, signal: AbortSignal): Promise<string | null> {
    const { disk } = plan;
    if (disk === undefined) return Promise.resolve(null);
    const to = mirrorDirectory(this.paths, { ...disk, directories: [] }, ENCLOSURE);
    rmSync(to, { recursive: true, force: true });
    mkdirSync(to, { recursive: true, mode: 0o700 });
    const files = Object.values(MIRROR_FILES).map((name) => join(directory, name));
    const words = ["-n", COPY_NICENESS, "cp", "--sparse=always", "--reflink=auto", "--", ...files, to];
    return new Promise((resolve) => {
      const child = spawn("nice", words, { stdio: ["ignore", "ignore", "pipe"], signal });
      let error = "";
      child.stderr.on("data", (bytes: Buffer) => (error += bytes.toString("utf8")));
      child.once("error", (failure) => resolve(failure.message));
      child.once("close", (code) => resolve(code === 0 ? null : (error.trim().split("\n")[0] ?? `cp ended with ${code}`)));
    });
  }

  /** @throws SteadfastError why it does not start */
  start(plan: ServerPlan): Promise<void> {
    const starting = this.#start(plan);
    this.#starting = starting.catch(() => undefined);
    return starting;
  }

  async #start(plan: ServerPlan): Promise<void> {
    await cleanUpServer(this.name, this.paths);
    makeServerDirectories(this.paths);
    writeJsonFile(this.paths.planFile, plan);
    await spawnManagement(this.paths, plan, { standby: false, incarnation: 1 });
  }

  /** Null: nobody answers. Those who serve go first on this host. */
  async report(): Promise<ServerReport | null> {
    try {
      const report = await this.#call<ServerReport>("GET", "/status", undefined, ANSWER_LIMIT_MS);
      for (const { pid } of report.modules) if (pid !== 0) yieldForGood(pid);
      return report;
    } catch (error) {
      if (error instanceof Unanswered) return null;
      throw error;
    }
  }

  /** One request to the agent in its guest. */
  async ask(request: AgentRequest): Promise<AgentAnswer> {
    const asked =
      request.verb === "put" ? { ...request, bytes: undefined, base64: Buffer.from(request.bytes).toString("base64") } : request;
    const limitMs = AGENT_SLACK_MS + (request.verb === "run" ? request.limitSeconds * 1000 : 0);
    const { id, status, base64 } = await this.#call<{ id: string; status: number; base64: string }>(
      "POST",
      "/agent",
      { request: asked },
      limitMs,
    );
    return { id, status, output: new Uint8Array(Buffer.from(base64, "base64")) };
  }

  /** Ends it and removes all that it had. */
  async remove(): Promise<void> {
    await this.#starting;
    const managers = livingManagement(this.paths);
    try {
      await this.#call("POST", "/down", { graceMs: 0 }, ANSWER_LIMIT_MS);
      await waitUntilGone(managers, STOP_LIMIT_MS);
    } catch (error) {
      // Nobody is there who could end it, or it ends badly: what it noted is ended below.
      if (!(error instanceof Unanswered) && !(error instanceof SteadfastError)) throw error;
    }
    await cleanUpServer(this.name, this.paths);
    for (const directory of [this.paths.runDirectory, this.paths.stateDirectory]) rmSync(directory, { recursive: true, force: true });
  }

  async #call<T>(method: string, path: string, body: unknown, limitMs: number): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const call = { method, path, headers, limitMs, ...(text !== undefined && { body: text }) };
    const response = await openRequest({ socketPath: this.paths.controlSocket }, call);
    const value = JSON.parse((await readAnswer(response, ANSWER_BYTES_MAX)).toString("utf8")) as T & { readonly error?: ReportedFacts };
    if (value.error !== undefined) throw reportedError(value.error);
    return value;
  }
}
