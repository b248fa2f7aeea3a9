/** Speaks the control API of a running server. Whoever needs a server's facts or wants something of it uses this. */
import { existsSync } from "node:fs";
import { request, type IncomingMessage } from "node:http";
import { newAgentId } from "../modules/management-agent.js";
import type { Duplex } from "node:stream";
import { CONSOLE_PROTOCOL } from "../api/console-protocol.js";
import { openRequest, readAnswer, serverSentEvents, Unanswered, type Call } from "../client/transport.js";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";
import type { ChangeRequest } from "../modules/management-change.js";
import type { ChangeView, RollbackRequest } from "../modules/management-changes.js";
import type { UpgradeRequest } from "../modules/management-upgrade.js";
import type { VerifyAnswer } from "../modules/management-api.js";
import { LAST_EVENT, readEventFile, type LoggedEvent } from "../modules/management-events.js";
import type { FaultDetails, FaultDone, FaultKind } from "../modules/management-faults.js";
import { serverPaths, type ServerPaths } from "../modules/management-paths.js";
import { isAlive, livingManagement } from "../modules/management-process.js";
import type { MadeRecord } from "../modules/management-state.js";
import { readJsonFile } from "../modules/management-plan.js";
import type { PlannedRedundancy } from "../modules/redundancy.js";
import type { RecordingDone } from "../modules/management-recordings.js";
import type { ServerReport } from "../modules/management-status.js";

const ANSWER_LIMIT_MS = 10_000;
const VERIFY_LIMIT_MS = 70_000;
/** The longest command, and what an answer may take on top. */
const AGENT_LIMIT_MS = 700_000;
/** Two images are read and compared meanwhile. */
const CHANGE_LIMIT_MS = 120_000;
/** A guest's memory is compressed meanwhile. */
const RECORDING_LIMIT_MS = 300_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
/** Of an error whose exit code the server does not tell. */
const REMOTE_EXIT = 4;
/** Between attempts while another management module takes the lead. */
const RETRY_MS = 50;

interface CallOptions {
  readonly limitMs?: number;
  /** What is done twice if it is asked for twice: not asked again when a leader was lost with it. */
  readonly once?: boolean;
}

export class ServerClient {
  readonly server: string;
  readonly paths: ServerPaths;

  constructor(server: string) {
    this.server = server;
    this.paths = serverPaths(server);
  }

  status(): Promise<ServerReport> {
    return this.#call<ServerReport>("GET", "/status");
  }

  /** Null instead of an error when nobody answers. */
  async statusOrNull(): Promise<ServerReport | null> {
    try {
      return await this.status();
    } catch (error) {
      if (error instanceof SteadfastError && (error.code === "SERVER_NOT_RUNNING" || error.code === "SERVER_UNMANAGED")) return null;
      throw error;
    }
  }

  async events(since: number): Promise<LoggedEvent[]> {
    return (await this.#call<{ events: LoggedEvent[] }>("GET", `/events?since=${since}`)).events;
  }

  pull(module: string, force: boolean): Promise<unknown> {
    return this.#call("POST", `/modules/${encodeURIComponent(module)}/pull`, { force });
  }

  insert(module: string): Promise<unknown> {
    return this.#call("POST", `/modules/${encodeURIComponent(module)}/insert`, {});
  }

  clear(module: string): Promise<unknown> {
    return this.#call("POST", `/modules/${encodeURIComponent(module)}/clear`, {});
  }

  fault(kind: FaultKind, module: string, details: FaultDetails = {}): Promise<FaultDone> {
    return this.#call<FaultDone>("POST", "/faults", { kind, module, ...details }, { once: true });
  }

  power(action: "off" | "reset"): Promise<unknown> {
    return this.#call("POST", "/power", { action }, { once: true });
  }

  disk(action: "grow" | "scrub", sizeBytes = 0): Promise<unknown> {
    return this.#call("POST", "/disk", { action, sizeBytes });
  }

  /** One request to the agent in the guest, carried out once even if another management module takes the lead meanwhile. */
  agent(request: Readonly<Record<string, unknown>>, id = newAgentId()): Promise<{ id: string; status: number; base64: string }> {
    return this.#call("POST", "/agent", { request, id }, { limitMs: AGENT_LIMIT_MS });
  }

  changes(): Promise<ChangeView> {
    return this.#call<ChangeView>("GET", "/changes");
  }

  installChange(request: ChangeRequest): Promise<{ readonly id: string }> {
    return this.#call("POST", "/changes/install", request, { once: true, limitMs: CHANGE_LIMIT_MS });
  }

  rollBackChange(request: RollbackRequest): Promise<{ readonly id: string }> {
    return this.#call("POST", "/changes/rollback", request, { once: true, limitMs: CHANGE_LIMIT_MS });
  }

  upgradeChange(request: UpgradeRequest): Promise<{ readonly id: string }> {
    return this.#call("POST", "/changes/upgrade", request, { once: true, limitMs: CHANGE_LIMIT_MS });
  }

  upgradeStep(step: "cutover" | "abort" | "commit"): Promise<{ readonly id: string }> {
    return this.#call("POST", `/changes/${step}`, {}, { once: true });
  }

  verify(): Promise<VerifyAnswer> {
    return this.#call<VerifyAnswer>("POST", "/verify", {}, { limitMs: VERIFY_LIMIT_MS });
  }

  redundancy(redundancy: string): Promise<{ readonly redundancy: PlannedRedundancy }> {
    return this.#call("POST", "/redundancy", { redundancy });
  }

  startRecording(): Promise<{ readonly seq: number }> {
    return this.#call("POST", "/recording", { action: "start" }, { limitMs: RECORDING_LIMIT_MS, once: true });
  }

  stopRecording(): Promise<RecordingDone> {
    return this.#call("POST", "/recording", { action: "stop" }, { limitMs: RECORDING_LIMIT_MS, once: true });
  }

  down(graceMs: number): Promise<unknown> {
    return this.#call("POST", "/down", { graceMs });
  }

  /** Calls `onEvent` for each event after `since`, whichever management module leads; resolves when the server ends. */
  async follow(since: number, onEvent: (event: LoggedEvent) => void, signal?: AbortSignal): Promise<void> {
    let last = since;
    let isOver = false;
    const heard = (event: LoggedEvent): void => {
      last = event.id;
      isOver = event.code === LAST_EVENT;
      onEvent(event);
    };
    for (let isFirst = true; !isOver && signal?.aborted !== true; isFirst = false) {
      try {
        await this.#repeat({}, () => this.#followOnce(last, heard, signal));
      } catch (error) {
        // It was there when we began, and is not any more: the end that we wait for. What nobody could tell us is in the log.
        if (isFirst || !(error instanceof SteadfastError)) throw error;
        for (const event of readEventFile(this.paths.eventsFile)) if (event.id > last) heard(event);
        return;
      }
    }
  }

  async #followOnce(since: number, onEvent: (event: LoggedEvent) => void, signal?: AbortSignal): Promise<void> {
    const response = await this.#open({ method: "GET", path: `/events?since=${since}&follow=1`, ...(signal && { signal }) });
    for await (const data of serverSentEvents(response)) onEvent(JSON.parse(data) as LoggedEvent);
  }

  /** The serial console as a raw byte stream. */
  console(): Promise<Duplex> {
    return this.#repeat({}, () => this.#consoleOnce());
  }

  #consoleOnce(): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const headers = { connection: "Upgrade", upgrade: CONSOLE_PROTOCOL };
      const call = request({ socketPath: this.paths.controlSocket, method: "POST", path: "/console", headers });
      call.on("upgrade", (_response, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      call.on("response", () => reject(this.#absent()));
      call.on("error", (error) => reject(new Unanswered(false, error)));
      call.end();
    });
  }

  async #open(call: Call): Promise<IncomingMessage> {
    try {
      return await openRequest({ socketPath: this.paths.controlSocket }, call);
    } catch (error) {
      const isForbidden = error instanceof Unanswered && error.code === "EACCES";
      throw isForbidden ? new SteadfastError("SERVER_FORBIDDEN", { server: this.server }) : error;
    }
  }

  /** Tries until somebody answers, as long as a management module lives that may take the lead. */
  async #repeat<T>({ limitMs = ANSWER_LIMIT_MS, once = false }: CallOptions, attempt: () => Promise<T>): Promise<T> {
    const giveUpAt = Date.now() + limitMs;
    for (;;) {
      try {
        return await attempt();
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        if (livingManagement(this.paths).length === 0 || Date.now() >= giveUpAt) throw this.#absent();
        if (error.mayBeDone && once) throw new SteadfastError("MANAGEMENT_CHANGED", { server: this.server });
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  #call<T = unknown>(method: string, path: string, body?: unknown, options: CallOptions = {}): Promise<T> {
    return this.#repeat(options, () => this.#callOnce<T>(method, path, body, options.limitMs ?? ANSWER_LIMIT_MS));
  }

  async #callOnce<T>(method: string, path: string, body: unknown, limitMs: number): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const response = await this.#open({ method, path, headers, limitMs, ...(text !== undefined && { body: text }) });
    const bytes = await readAnswer(response, ANSWER_BYTES_MAX);
    const value = JSON.parse(bytes.toString("utf8")) as T & { error?: ReportedFacts };
    if (value.error !== undefined) throw reportedError({ exit: REMOTE_EXIT, ...value.error });
    return value;
  }

  /** Nobody answers: not there at all, or only its management is gone. */
  #absent(): SteadfastError {
    return new SteadfastError(this.hasProcesses ? "SERVER_UNMANAGED" : "SERVER_NOT_RUNNING", { server: this.server });
  }

  /** Any module of it is alive. */
  get hasProcesses(): boolean {
    const made = existsSync(this.paths.madeFile) ? readJsonFile<MadeRecord>(this.paths.madeFile) : null;
    return made !== null && [made.management, ...made.processes].some(isAlive);
  }
}
