/**
 * The control API: HTTP with JSON over a Unix socket that only the server's owner may open. Every command of the CLI goes through it.
 *
 *   GET /status                              ServerReport
 *   GET /openapi.json                        all of this as OpenAPI 3.1; src/api has the schemas that bodies are checked with
 *   GET /metrics                             Prometheus text
 *   GET /health/live | /health/ready         200, or 503 when the guest is not there for its users
 *   GET /events?since=ID                     { events }
 *   GET /events?since=ID&follow=1            server-sent events, one LoggedEvent each
 *   POST /modules/NAME/pull|insert|clear     { ok, module }; pull takes { force }; pull and insert: enclosures too
 *   POST /faults { kind, module }            kind: hang | kill | corrupt-output | skew-clock
 *   POST /faults { kind: "flip", module, address, bit } or { kind: "flip", module, random: true }: answers with the place
 *   POST /power { action }                   off (the power button) | reset (a power cycle)
 *   POST /disk { action, sizeBytes }         grow | scrub
 *   GET /changes                             what runs, the installation under way, those that were
 *   POST /changes/install|rollback           { id }; begins it, and says nothing of its end: GET /changes does
 *   POST /verify                             { seq, digests, equal }
 *   POST /console                            with `Upgrade: steadfast-console`: raw bytes of the serial console both ways
 *   POST /down { graceMs }                   { ok }; the power button first if graceMs > 0
 *
 * Errors: status 4xx or 5xx with { error: { code, message } }.
 */
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import * as bodies from "../api/bodies.js";
import { CONSOLE_PROTOCOL } from "../api/console-protocol.js";
import { liveAnswer, readyAnswer } from "../api/health.js";
import { renderMetrics } from "../api/metrics.js";
import { openApiDocument } from "../api/openapi.js";
import { PACKAGE_VERSION } from "../api/version.js";
import { SteadfastError } from "../foundation/errors.js";
import type { AgentLink } from "./management-agent.js";
import type { ChangeInstaller } from "./management-change.js";
import type { LoggedEvent } from "./management-events.js";
import type { FaultDetails, FaultDone } from "./management-faults.js";
import type { RecordingDone } from "./management-recordings.js";
import type { PlannedRedundancy } from "./redundancy.js";
import type { ServerReport } from "./management-status.js";

const BODY_BYTES_MAX = 64 * 1024;
const BYTES_PER_MIB = 1024 * 1024;
const FOLLOWER_BUFFER_BYTES_MAX = 1024 * 1024;

export interface VerifyAnswer {
  readonly seq: number;
  readonly digests: Readonly<Record<string, string>>;
  /** At least two members answered and all digests agree. */
  readonly equal: boolean;
}

/** What the API can ask of management. */
export interface ManagementActions {
  report(): ServerReport;
  eventsSince(since: number): LoggedEvent[];
  followEvents(listener: (event: LoggedEvent) => void): () => void;
  /** A module, or all of an enclosure. */
  pull(target: string, force: boolean): void;
  insert(target: string): void;
  clear(module: string): void;
  setRedundancy(redundancy: string): PlannedRedundancy;
  /** Resolves with the tick that the recording begins after. */
  startRecording(): Promise<number>;
  stopRecording(): Promise<RecordingDone>;
  fault(kind: string, module: string, details: FaultDetails): FaultDone;
  power(action: string): void;
  /** `grow` to a size, or `scrub`: look through all of it. */
  disk(action: string, sizeBytes: number): void;
  readonly agent: Pick<AgentLink, "request">;
  readonly changes: Pick<ChangeInstaller, "install" | "rollback" | "view">;
  verify(): Promise<VerifyAnswer>;
  attachConsole(viewer: Duplex): void;
  down(graceMs: number): void;
}

/** What is still to be said when the server ends (its last events) gets this long. */
const CLOSE_LIMIT_MS = 500;

export interface ControlApi {
  close(): Promise<void>;
}

export async function serveControlApi(path: string, actions: ManagementActions): Promise<ControlApi> {
  const streams = new Set<ServerResponse>();
  const server = createServer((request, response) => {
    void answer(request, response, actions, streams).catch((error: unknown) => sendError(response, error));
  });
  server.on("upgrade", (request, socket, head) => upgrade(request, socket, head, actions));
  server.on("clientError", (_error, socket) => socket.destroy());
  await listen(server, path);
  return {
    close: async () => {
      rmSync(path, { force: true });
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      for (const stream of streams) stream.end();
      server.closeIdleConnections();
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, CLOSE_LIMIT_MS))]);
      server.closeAllConnections();
    },
  };
}

function listen(server: Server, path: string): Promise<void> {
  rmSync(path, { force: true });
  return new Promise((resolve, reject) => {
    server.once("error", (error) => reject(new SteadfastError("DIRECTORY_FAILED", { path, why: error.message })));
    server.listen(path, () => {
      chmodSync(path, 0o600);
      resolve();
    });
  });
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  actions: ManagementActions,
  streams: Set<ServerResponse>,
): Promise<void> {
  const url = urlOf(request);
  const parts = url.pathname.split("/").filter((part) => part !== "");
  if (request.method === "GET") return answerGet(url, parts, response, actions, streams);
  if (request.method !== "POST") throw new SteadfastError("API_UNKNOWN", { what: `${request.method} ${url.pathname}` });
  const body = await readBody(request);
  sendJson(response, 200, await post(parts, body, actions));
}

/** @throws SteadfastError API_UNKNOWN: it is none, such as `//` */
function urlOf(request: IncomingMessage): URL {
  const [path, base] = [request.url ?? "/", "http://server"];
  if (!URL.canParse(path, base)) throw new SteadfastError("API_UNKNOWN", { what: `the path ${path}` });
  return new URL(path, base);
}

async function answerGet(
  url: URL,
  parts: readonly string[],
  response: ServerResponse,
  actions: ManagementActions,
  streams: Set<ServerResponse>,
): Promise<void> {
  switch (parts.join("/")) {
    case "openapi.json":
      return sendJson(response, 200, openApiDocument(PACKAGE_VERSION));
    case "metrics": {
      const { text, contentType } = await renderMetrics(actions.report(), PACKAGE_VERSION);
      response.writeHead(200, { "content-type": contentType });
      response.end(text);
      return;
    }
    case "health/live":
      return sendJson(response, 200, liveAnswer(actions.report()));
    case "health/ready": {
      const found = readyAnswer(actions.report());
      return sendJson(response, found.ready ? 200 : 503, found);
    }
  }
  if (parts[0] === "changes" && parts.length === 1) return sendJson(response, 200, actions.changes.view);
  if (parts[0] === "status" && parts.length === 1) return sendJson(response, 200, actions.report());
  if (parts[0] === "events" && parts.length === 1) {
    const since = Number(url.searchParams.get("since") ?? 0);
    const from = Number.isFinite(since) ? since : 0;
    const follow = url.searchParams.get("follow");
    if (follow === null || follow === "0" || follow === "false") return sendJson(response, 200, { events: actions.eventsSince(from) });
    streams.add(response);
    response.on("close", () => streams.delete(response));
    return streamEvents(response, from, actions);
  }
  throw new SteadfastError("API_UNKNOWN", { what: `GET ${url.pathname}` });
}

function streamEvents(response: ServerResponse, since: number, actions: ManagementActions): void {
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.flushHeaders();
  const send = (event: LoggedEvent): void => {
    response.write(`id: ${event.id}\ndata: ${JSON.stringify(event)}\n\n`);
    if (response.writableLength > FOLLOWER_BUFFER_BYTES_MAX) response.destroy();
  };
  for (const event of actions.eventsSince(since)) send(event);
  const stop = actions.followEvents(send);
  response.on("close", stop);
  response.on("error", stop);
}

async function post(parts: readonly string[], body: bodies.Body, actions: ManagementActions): Promise<unknown> {
  const [resource, module, verb] = parts;
  const path = `/${parts.join("/")}`;
  if (resource === "modules" && parts.length === 3 && module !== undefined) {
    if (verb === "pull") actions.pull(module, bodies.checkBody(bodies.pullSchema, body, path).force === true);
    else if (verb === "insert" || verb === "clear") {
      bodies.checkBody(bodies.emptySchema, body, path);
      actions[verb](module);
    } else throw new SteadfastError("API_UNKNOWN", { what: `POST ${path}` });
    return { ok: true, module };
  }
  if (resource === "changes" && parts.length === 2) {
    if (module === "install")
      return { ok: true, ...(await actions.changes.install(bodies.checkBody(bodies.changeInstallSchema, body, path))) };
    if (module === "rollback")
      return { ok: true, ...(await actions.changes.rollback(bodies.checkBody(bodies.changeRollbackSchema, body, path).uncertified)) };
  }
  switch (parts.length === 1 ? (resource ?? "") : "") {
    case "faults":
      return fault(body, actions);
    case "redundancy": {
      const refuse = (redundancy: string): SteadfastError => new SteadfastError("REDUNDANCY_UNKNOWN", { redundancy });
      const { redundancy } = bodies.checkBody(bodies.redundancyBodySchema, body, path, { redundancy: refuse });
      return { ok: true, redundancy: actions.setRedundancy(redundancy) };
    }
    case "power": {
      const refuse = (action: string): SteadfastError => new SteadfastError("POWER_ACTION_UNKNOWN", { action });
      actions.power(bodies.checkBody(bodies.powerSchema, body, path, { action: refuse }).action);
      return { ok: true };
    }
    case "disk": {
      const refuse = (action: string): SteadfastError => new SteadfastError("DISK_ACTION_UNKNOWN", { action });
      const { action, sizeBytes } = bodies.checkBody(bodies.diskBodySchema, body, path, { action: refuse });
      actions.disk(action, sizeBytes ?? 0);
      return { ok: true };
    }
    case "agent":
      return agent(body, actions);
    case "verify":
      bodies.checkBody(bodies.emptySchema, body, path);
      return actions.verify();
    case "recording": {
      const { action } = bodies.checkBody(bodies.recordingBodySchema, body, path);
      return { ok: true, ...(action === "start" ? { seq: await actions.startRecording() } : await actions.stopRecording()) };
    }
    case "down":
      actions.down(bodies.checkBody(bodies.downSchema, body, path).graceMs ?? 0);
      return { ok: true };
    case "console":
      throw new SteadfastError("API_UNKNOWN", { what: `POST /console without \`Upgrade: ${CONSOLE_PROTOCOL}\`` });
  }
  throw new SteadfastError("API_UNKNOWN", { what: `POST ${path}` });
}

async function agent(body: bodies.Body, actions: ManagementActions): Promise<unknown> {
  const { id, request } = bodies.checkBody(bodies.agentBodySchema, body, "/agent");
  const asked = request.verb === "put" ? { ...request, bytes: new Uint8Array(Buffer.from(request.base64, "base64")) } : request;
  const answered = await actions.agent.request(asked, id);
  return { id: answered.id, status: answered.status, base64: Buffer.from(answered.output).toString("base64") };
}

function fault(body: bodies.Body, actions: ManagementActions): unknown {
  const refusePlace = (): SteadfastError => new SteadfastError("FAULT_ADDRESS", { bytes: actions.report().memoryMiB * BYTES_PER_MIB });
  const { kind, module, ...details } = bodies.checkBody(bodies.faultSchema, body, "/faults", {
    kind: (wrong) => new SteadfastError("FAULT_UNKNOWN", { kind: wrong }),
    address: refusePlace,
    bit: refusePlace,
  });
  return { ok: true, module, ...actions.fault(kind, module, details) };
}

function upgrade(request: IncomingMessage, socket: Duplex, head: Buffer, actions: ManagementActions): void {
  socket.on("error", () => socket.destroy());
  if (request.url !== "/console" || request.headers.upgrade !== CONSOLE_PROTOCOL) {
    socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: ${CONSOLE_PROTOCOL}\r\n\r\n`);
  if (head.length > 0) socket.unshift(head);
  actions.attachConsole(socket);
}

async function readBody(request: IncomingMessage): Promise<bodies.Body> {
  const chunks: Buffer[] = [];
  let length = 0;
  await new Promise<void>((resolve, reject) => {
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      // The rest is thrown away: whoever sends it can still read the answer, after which the connection ends.
      if (length <= BODY_BYTES_MAX) chunks.push(chunk);
      else reject(new SteadfastError("API_BODY", { limit: BODY_BYTES_MAX }));
    });
    request.once("end", resolve);
    request.once("error", reject);
    request.once("close", resolve);
  });
  if (length === 0) return {};
  try {
    const value: unknown = JSON.parse(Buffer.concat(chunks).toString("utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as bodies.Body;
  } catch {
    // Falls through to the one error for all of it.
  }
  throw new SteadfastError("API_BODY", { limit: BODY_BYTES_MAX });
}

function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(`${JSON.stringify(value)}\n`);
}

function sendError(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  // What is left of a request that was refused is not waited for.
  if (!response.req.complete) response.setHeader("connection", "close");
  if (error instanceof SteadfastError) {
    sendJson(response, error.exit === 2 ? 400 : 409, { error: { code: error.code, message: error.message, exit: error.exit } });
    return;
  }
  const message = error instanceof Error ? error.message : String(error);
  sendJson(response, 500, { error: { code: "INTERNAL", message, exit: 1 } });
}
