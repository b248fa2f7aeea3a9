/**
 * The control API: HTTP with JSON over a Unix socket that only the server's owner may open. Every command of the CLI goes through it.
 *
 *   GET /status                              ServerReport
 *   GET /status?follow=1                     server-sent events, a ServerReport whenever it changed
 *   GET /whoami                              { name, role }
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
 *   POST /changes/install|upgrade|rollback   { id }; begins it, and says nothing of its end: GET /changes does
 *   POST /changes/cutover|abort|commit       { id }; of the upgrade under way
 *   POST /verify                             { seq, digests, equal }
 *   POST /console                            with `Upgrade: steadfast-console`: raw bytes of the serial console both ways
 *   POST /console-ticket                     { ticket, expiresInSeconds }: for one console over a front
 *   POST /down { graceMs }                   { ok }; the power button first if graceMs > 0
 *
 * Errors: status 4xx or 5xx with { error: { code, message } }. Each POST leaves a line in the audit log. Fronts (src/front) serve the same
 * to the outside and say in headers whom they ask for.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, rmSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { mayAsk, ROLES, type Caller } from "../access/roles.js";
import { Tickets } from "../access/tickets.js";
import { readBody } from "../api/body.js";
import * as bodies from "../api/bodies.js";
import { ACTOR_HEADER, FROM_HEADER, ROLE_HEADER, TICKET_HEADER } from "../api/caller-headers.js";
import { CONSOLE_PROTOCOL } from "../api/console-protocol.js";
import { EventStream } from "../api/event-stream.js";
import { liveAnswer, readyAnswer } from "../api/health.js";
import { errorAnswer } from "../api/http-status.js";
import { renderMetrics } from "../api/metrics.js";
import { openApiDocument } from "../api/openapi.js";
import { PACKAGE_VERSION } from "../api/version.js";
import { MIB } from "../foundation/bytes.js";
import { SteadfastError } from "../foundation/errors.js";
import { localUserName, peerUser } from "../ports/peer-user.js";
import type { AuditLog } from "./management-audit.js";
import type { AgentLink } from "./management-agent.js";
import type { Changes } from "./management-changes.js";
import type { LoggedEvent } from "./management-events.js";
import type { FaultDetails, FaultDone } from "./management-faults.js";
import type { RecordingDone } from "./management-recordings.js";
import type { PlannedRedundancy } from "./redundancy.js";
import type { ServerReport } from "./management-status.js";
import { StatusFeed } from "./management-status-feed.js";

const TICKET_LIFETIME_MS = 30_000;
const TICKETS_MAX = 64;
const TICKET_BYTES = 32;
const MS_PER_SECOND = 1000;

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
  readonly changes: Pick<Changes, "install" | "upgrade" | "upgradeStep" | "rollback" | "view">;
  verify(): Promise<VerifyAnswer>;
  attachConsole(viewer: Duplex): void;
  down(graceMs: number): void;
}

/** What is still to be said when the server ends (its last events) gets this long. */
const CLOSE_LIMIT_MS = 500;

export interface ControlApi {
  close(): Promise<void>;
}

export async function serveControlApi(path: string, actions: ManagementActions, audit: AuditLog): Promise<ControlApi> {
  const api = new Api(actions, audit);
  const server = createServer((request, response) => {
    void api.answer(request, response).catch((error: unknown) => sendError(response, error));
  });
  server.on("upgrade", (request, socket, head) => api.upgrade(request, socket, head));
  server.on("clientError", (_error, socket) => socket.destroy());
  await listen(server, path);
  return {
    close: async () => {
      rmSync(path, { force: true });
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      api.endStreams();
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

class Api {
  readonly #actions: ManagementActions;
  readonly #audit: AuditLog;
  readonly #status: StatusFeed;
  readonly #streams = new Set<EventStream>();
  /** Known to this process only: whoever takes the lead knows none, and viewers ask again. */
  readonly #tickets = new Tickets<Caller>(TICKET_LIFETIME_MS, TICKETS_MAX);

  constructor(actions: ManagementActions, audit: AuditLog) {
    this.#actions = actions;
    this.#audit = audit;
    this.#status = new StatusFeed(() => actions.report());
  }

  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = urlOf(request);
    const parts = url.pathname.split("/").filter((part) => part !== "");
    if (request.method === "GET") return this.#get(request, response, url, parts);
    if (request.method !== "POST") throw new SteadfastError("API_UNKNOWN", { what: `${request.method} ${url.pathname}` });
    sendJson(response, 200, await this.#change(request, url, parts));
  }

  endStreams(): void {
    for (const stream of this.#streams) stream.end();
  }

  async #get(request: IncomingMessage, response: ServerResponse, url: URL, parts: readonly string[]): Promise<void> {
    const { searchParams } = url;
    switch (parts.join("/")) {
      case "openapi.json":
        return sendJson(response, 200, openApiDocument(PACKAGE_VERSION));
      case "metrics": {
        const { text, contentType } = await renderMetrics(this.#actions.report(), PACKAGE_VERSION);
        response.writeHead(200, { "content-type": contentType });
        response.end(text);
        return;
      }
      case "health/live":
        return sendJson(response, 200, liveAnswer(this.#actions.report()));
      case "health/ready": {
        const found = readyAnswer(this.#actions.report());
        return sendJson(response, found.ready ? 200 : 503, found);
      }
      case "changes":
        return sendJson(response, 200, this.#actions.changes.view);
      case "whoami": {
        const { name, role } = callerOf(request);
        return sendJson(response, 200, { name, role });
      }
      case "status":
        if (!isFollowing(searchParams)) return sendJson(response, 200, this.#actions.report());
        return this.#stream(response, (stream) => this.#status.follow((text) => stream.sendLatest(text)));
      case "events": {
        const since = Number(searchParams.get("since") ?? 0);
        const from = Number.isFinite(since) ? since : 0;
        if (!isFollowing(searchParams)) return sendJson(response, 200, { events: this.#actions.eventsSince(from) });
        return this.#stream(response, (stream) => this.#followEvents(stream, from));
      }
    }
    throw new SteadfastError("API_UNKNOWN", { what: `GET ${url.pathname}` });
  }

  /** `follow` begins and returns what ends it. */
  #stream(response: ServerResponse, follow: (stream: EventStream) => () => void): void {
    const stream = new EventStream(response);
    this.#streams.add(stream);
    stream.onClose(() => this.#streams.delete(stream));
    stream.onClose(follow(stream));
  }

  #followEvents(stream: EventStream, since: number): () => void {
    const send = (event: LoggedEvent): void => stream.send(JSON.stringify(event), event.id);
    for (const event of this.#actions.eventsSince(since)) send(event);
    return this.#actions.followEvents(send);
  }

  async #change(request: IncomingMessage, url: URL, parts: readonly string[]): Promise<unknown> {
    const caller = callerOf(request);
    const what = `POST ${url.pathname}`;
    let body: bodies.Body = {};
    try {
      body = await readBody(request);
      if (!mayAsk(caller.role, "POST")) throw new SteadfastError("API_FORBIDDEN", { name: caller.name, role: caller.role });
      const done = parts.join("/") === "console-ticket" ? this.#issueTicket(caller, body) : await post(parts, body, this.#actions);
      this.#audit.add(caller, what, body, "done");
      return done;
    } catch (error) {
      this.#audit.add(caller, what, body, outcomeOf(error));
      throw error;
    }
  }

  #issueTicket(caller: Caller, body: bodies.Body): { readonly ticket: string; readonly expiresInSeconds: number } {
    bodies.checkBody(bodies.emptySchema, body, "/console-ticket");
    const ticket = randomBytes(TICKET_BYTES).toString("base64url");
    this.#tickets.issue(ticket, caller, performance.now());
    return { ticket, expiresInSeconds: TICKET_LIFETIME_MS / MS_PER_SECOND };
  }

  /** The console: raw bytes both ways. */
  upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    if (request.url !== "/console" || request.headers.upgrade !== CONSOLE_PROTOCOL) {
      socket.end("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    const ticket = request.headers[TICKET_HEADER];
    const caller = typeof ticket === "string" ? this.#tickets.redeem(ticket, performance.now()) : callerOf(request);
    const what = "POST /console";
    if (caller === null || !mayAsk(caller.role, "POST")) {
      this.#audit.add(caller ?? callerOf(request), what, {}, caller === null ? "API_TICKET" : "API_FORBIDDEN");
      socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
      return;
    }
    this.#audit.add(caller, what, {}, "done");
    const names = `upgrade: ${CONSOLE_PROTOCOL}\r\n${ACTOR_HEADER}: ${caller.name}`;
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n${names}\r\n\r\n`);
    if (head.length > 0) socket.unshift(head);
    this.#actions.attachConsole(socket);
  }
}

/** @throws SteadfastError API_UNKNOWN: it is none, such as `//` */
function urlOf(request: IncomingMessage): URL {
  const [path, base] = [request.url ?? "/", "http://server"];
  if (!URL.canParse(path, base)) throw new SteadfastError("API_UNKNOWN", { what: `the path ${path}` });
  return new URL(path, base);
}

function isFollowing(query: URLSearchParams): boolean {
  const follow = query.get("follow");
  return follow !== null && follow !== "0" && follow !== "false";
}

/** A front says whom it asks for; everyone else asks for himself. */
function callerOf(request: IncomingMessage): Caller {
  const said = (name: string): string | undefined => request.headers[name] as string | undefined;
  const [actor, role, from] = [said(ACTOR_HEADER), ROLES.find((each) => each === said(ROLE_HEADER)), said(FROM_HEADER)];
  if (actor !== undefined) return { name: actor, role: role ?? "view", from: from ?? "unknown" };
  return { name: localUserName(peerUser(request.socket as Socket)), role: "operate", from: "unix socket" };
}

function outcomeOf(error: unknown): string {
  return error instanceof SteadfastError ? error.code : "INTERNAL";
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
  if (resource === "changes" && parts.length === 2) return { ok: true, ...(await change(module ?? "", body, path, actions.changes)) };
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

async function change(
  what: string,
  body: bodies.Body,
  path: string,
  changes: ManagementActions["changes"],
): Promise<{ readonly id: string }> {
  switch (what) {
    case "install":
      return changes.install(bodies.checkBody(bodies.changeInstallSchema, body, path));
    case "upgrade":
      return changes.upgrade(bodies.checkBody(bodies.changeUpgradeSchema, body, path));
    case "rollback":
      return changes.rollback(bodies.checkBody(bodies.changeRollbackSchema, body, path));
    case "cutover":
    case "abort":
    case "commit":
      bodies.checkBody(bodies.emptySchema, body, path);
      return changes.upgradeStep(what);
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
  const refusePlace = (): SteadfastError => new SteadfastError("FAULT_ADDRESS", { bytes: actions.report().memoryMiB * MIB });
  const { kind, module, ...details } = bodies.checkBody(bodies.faultSchema, body, "/faults", {
    kind: (wrong) => new SteadfastError("FAULT_UNKNOWN", { kind: wrong }),
    address: refusePlace,
    bit: refusePlace,
  });
  return { ok: true, module, ...actions.fault(kind, module, details) };
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
  const { status, body } = errorAnswer(error);
  sendJson(response, status, body);
}
