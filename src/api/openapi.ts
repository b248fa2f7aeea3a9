/** The OpenAPI 3.1 document of the control API, made of the schemas that check its requests. */
import * as answers from "./answers.js";
import * as bodies from "./bodies.js";
import { openApiOf, type Operation as AnyOperation } from "./openapi-document.js";

export const API_TITLE = "Steadfast control API";

/** Names of schemas in the document. */
const SCHEMAS = {
  Status: answers.statusSchema,
  Module: answers.moduleSchema,
  ReintegrationProgress: answers.progressSchema,
  Enclosure: answers.enclosureSchema,
  Counters: answers.countersSchema,
  Disk: answers.diskSchema,
  AgentAnswer: answers.agentAnswerSchema,
  Event: answers.eventSchema,
  Events: answers.eventsSchema,
  Changes: answers.changesSchema,
  ChangeBegun: answers.changeBegunSchema,
  ChangeInstall: bodies.changeInstallSchema,
  ChangeRollback: bodies.changeRollbackSchema,
  Verification: answers.verifySchema,
  Done: answers.doneSchema,
  ModuleDone: answers.moduleDoneSchema,
  FaultDone: answers.faultDoneSchema,
  RedundancyDone: answers.redundancyDoneSchema,
  RecordingStarted: answers.recordingStartedSchema,
  RecordingDone: answers.recordingDoneSchema,
  Recording: answers.recordingSchema,
  WhoAmI: answers.whoAmISchema,
  ConsoleTicket: answers.consoleTicketSchema,
  Live: answers.liveSchema,
  Ready: answers.readySchema,
  Error: answers.errorSchema,
  Nothing: bodies.emptySchema,
  PullRequest: bodies.pullSchema,
  FaultRequest: bodies.faultSchema,
  RedundancyRequest: bodies.redundancyBodySchema,
  PowerRequest: bodies.powerSchema,
  DiskRequest: bodies.diskBodySchema,
  AgentRequest: bodies.agentBodySchema,
  RecordingRequest: bodies.recordingBodySchema,
  DownRequest: bodies.downSchema,
} as const;
type SchemaName = keyof typeof SCHEMAS;
type Operation = AnyOperation<SchemaName>;

const STATUS_QUERY = { follow: "1: server-sent events, a whole report whenever it changed, until either side ends it." };
const EVENTS_QUERY = {
  since: "Only events with an id above this one.",
  follow: "1: server-sent events, one event each, until either side ends it.",
};

function get(path: string, id: string, summary: string, found: Operation["answers"], query?: Operation["query"]): Operation {
  return { method: "get", path, id, summary, answers: found, ...(query && { query }) };
}

function post(path: string, id: string, summary: string, body: SchemaName, answer: SchemaName): Operation {
  return { method: "post", path, id, summary, body, answers: { 200: answer } };
}

export const OPERATIONS: readonly Operation[] = [
  get("/status", "status", "What the server and its modules do at this moment.", { 200: "Status" }, STATUS_QUERY),
  get("/events", "events", "The event log: the last 2000 events, or those that follow as they happen.", { 200: "Events" }, EVENTS_QUERY),
  get("/whoami", "whoAmI", "Whom the server takes you for.", { 200: "WhoAmI" }),
  get("/metrics", "metrics", "Metrics in Prometheus' text format.", { 200: { contentType: "text/plain" } }),
  get("/health/live", "live", "Management answers.", { 200: "Live" }),
  get("/health/ready", "ready", "Whether the guest is there for its users: 200, or 503 if not.", { 200: "Ready", 503: "Ready" }),
  get("/openapi.json", "openapi", "This document.", { 200: { contentType: "application/json" } }),
  post("/modules/{name}/pull", "pull", "Takes a module or an enclosure out and holds it out.", "PullRequest", "ModuleDone"),
  post("/modules/{name}/insert", "insert", "Brings a module or an enclosure back.", "Nothing", "ModuleDone"),
  post("/modules/{name}/clear", "clear", "Forgets a module's faults, and brings it back if it is BROKEN.", "Nothing", "ModuleDone"),
  post("/faults", "fault", "Fault drill: makes a module fail.", "FaultRequest", "FaultDone"),
  post("/redundancy", "redundancy", "Changes how many CPU modules run in lockstep.", "RedundancyRequest", "RedundancyDone"),
  get("/changes", "changes", "The image that runs, the installation under way, and those that were.", { 200: "Changes" }),
  post("/changes/install", "installChange", "Begins to install a change on the running guest.", "ChangeInstall", "ChangeBegun"),
  post("/changes/rollback", "rollBackChange", "Begins to take back the last change.", "ChangeRollback", "ChangeBegun"),
  post("/power", "power", "Presses the guest's power button, or cycles its power.", "PowerRequest", "Done"),
  post("/agent", "agent", "Asks the agent in the guest: to run a command, or to take a file.", "AgentRequest", "AgentAnswer"),
  post("/disk", "disk", "Grows the guest's disk, or looks through all of it.", "DiskRequest", "Done"),
  post("/verify", "verify", "Compares the full digests of all members at one tick.", "Nothing", "Verification"),
  post("/recording", "recording", "Begins or ends a recording.", "RecordingRequest", "Recording"),
  post(
    "/console-ticket",
    "consoleTicket",
    "For one WebSocket at `GET /console/socket?ticket=...`, within 30 s, with the guest's console both ways.",
    "Nothing",
    "ConsoleTicket",
  ),
  post("/down", "down", "Stops the server.", "DownRequest", "Done"),
];

/** @param version of the package */
export function openApiDocument(version: string): Record<string, unknown> {
  return openApiOf({
    ...{ title: API_TITLE, version, schemas: SCHEMAS, operations: OPERATIONS, security: [{}, { token: [] }] },
    servers: [
      { url: "http://localhost", description: "Over the server's Unix socket; needs no token." },
      {
        url: "https://{address}",
        description: "Over TLS, with `steadfast up --listen`.",
        variables: { address: { default: "localhost:8443" } },
      },
    ],
    tokenDescription: "Made by `steadfast tokens create`. Role view: every GET. Role operate: everything.",
    pathDescription: "A module, or an enclosure.",
  });
}
