/** Speaks the control API of a running server. Whoever needs a server's facts or wants something of it uses this. */
import { existsSync } from "node:fs";
import { request, type IncomingMessage, type RequestOptions } from "node:http";
import type { Duplex } from "node:stream";
import { ERRORS, SteadfastError, type ErrorCode } from "../foundation/errors.js";
import { CONSOLE_PROTOCOL, type VerifyAnswer } from "../modules/management-api.js";
import type { LoggedEvent } from "../modules/management-events.js";
import type { FaultDetails, FaultDone, FaultKind } from "../modules/management-faults.js";
import { serverPaths, type ServerPaths } from "../modules/management-paths.js";
import type { MadeRecord } from "../modules/management-process.js";
import { isAlive } from "../modules/management-process.js";
import { readJsonFile } from "../modules/management-plan.js";
import type { PlannedRedundancy } from "../modules/redundancy.js";
import type { RecordingDone } from "../modules/management-recordings.js";
import type { ServerReport } from "../modules/management-status.js";

const ANSWER_LIMIT_MS = 10_000;
const VERIFY_LIMIT_MS = 70_000;
/** A guest's memory is compressed meanwhile. */
const RECORDING_LIMIT_MS = 300_000;
const ANSWER_BYTES_MAX = 16 * 1024 * 1024;

/** An error that management reported: same code, sentence and exit code as if it had happened here. */
class RemoteError extends SteadfastError {
  override readonly message: string;
  override readonly exit: number;

  constructor(code: ErrorCode, message: string, exit: number) {
    super(code);
    this.message = message;
    this.exit = exit;
  }
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
    return this.#call<FaultDone>("POST", "/faults", { kind, module, ...details });
  }

  power(action: "off" | "reset"): Promise<unknown> {
    return this.#call("POST", "/power", { action });
  }

  verify(): Promise<VerifyAnswer> {
    return this.#call<VerifyAnswer>("POST", "/verify", {}, VERIFY_LIMIT_MS);
  }

  redundancy(redundancy: string): Promise<{ readonly redundancy: PlannedRedundancy }> {
    return this.#call("POST", "/redundancy", { redundancy });
  }

  startRecording(): Promise<{ readonly seq: number }> {
    return this.#call("POST", "/recording", { action: "start" }, RECORDING_LIMIT_MS);
  }

  stopRecording(): Promise<RecordingDone> {
    return this.#call("POST", "/recording", { action: "stop" }, RECORDING_LIMIT_MS);
  }

  down(graceMs: number): Promise<unknown> {
    return this.#call("POST", "/down", { graceMs });
  }

  /** Calls `onEvent` for each event after `since`; resolves when the server ends the stream. */
  async follow(since: number, onEvent: (event: LoggedEvent) => void, signal?: AbortSignal): Promise<void> {
    const response = await this.#open({ method: "GET", path: `/events?since=${since}&follow=1`, ...(signal && { signal }) });
    let text = "";
    response.setEncoding("utf8");
    try {
      for await (const chunk of response as AsyncIterable<string>) {
        text += chunk;
        const blocks = text.split("\n\n");
        text = blocks.pop() ?? "";
        for (const block of blocks) {
          const data = block.split("\n").find((line) => line.startsWith("data: "));
          if (data !== undefined) onEvent(JSON.parse(data.slice("data: ".length)) as LoggedEvent);
        }
      }
    } catch {
      // A server that ends cuts the stream; that is the end that we wait for.
    }
  }

  /** The serial console as a raw byte stream. */
  console(): Promise<Duplex> {
    return new Promise((resolve, reject) => {
      const headers = { connection: "Upgrade", upgrade: CONSOLE_PROTOCOL };
      const call = request({ socketPath: this.paths.controlSocket, method: "POST", path: "/console", headers });
      call.on("upgrade", (_response, socket, head) => {
        if (head.length > 0) socket.unshift(head);
        resolve(socket);
      });
      call.on("response", () => reject(this.#absent()));
      call.on("error", () => reject(this.#absent()));
      call.end();
    });
  }

  #open(options: RequestOptions, body?: string, limitMs?: number): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const call = request({ socketPath: this.paths.controlSocket, ...options }, resolve);
      call.on("error", (error: NodeJS.ErrnoException) => {
        reject(error.code === "EACCES" ? new SteadfastError("SERVER_FORBIDDEN", { server: this.server }) : this.#absent());
      });
      if (limitMs !== undefined) call.setTimeout(limitMs, () => call.destroy(new Error("no answer")));
      call.end(body);
    });
  }

  async #call<T = unknown>(method: string, path: string, body?: unknown, limitMs = ANSWER_LIMIT_MS): Promise<T> {
    const text = body === undefined ? undefined : JSON.stringify(body);
    const headers = text === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(text) };
    const response = await this.#open({ method, path, headers }, text, limitMs);
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        length += chunk.length;
        if (length > ANSWER_BYTES_MAX) throw new Error("too long");
        chunks.push(chunk);
      }
    } catch {
      throw this.#absent();
    }
    const value = JSON.parse(Buffer.concat(chunks).toString("utf8")) as T & { error?: { code: string; message: string; exit?: number } };
    if (value.error !== undefined) {
      const { code, message, exit } = value.error;
      throw code in ERRORS ? new RemoteError(code as ErrorCode, message, exit ?? 4) : new Error(message);
    }
    return value;
  }

  /** Nobody answers: not there at all, or only its management is gone. */
  #absent(): SteadfastError {
    const made = existsSync(this.paths.madeFile) ? readJsonFile<MadeRecord>(this.paths.madeFile) : null;
    const unmanaged = made?.processes.some(isAlive) === true;
    return new SteadfastError(unmanaged ? "SERVER_UNMANAGED" : "SERVER_NOT_RUNNING", { server: this.server });
  }
}
