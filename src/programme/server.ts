/** The programme's server: what comes in over TLS is bounded and identified like at any front, and answered here. */
import { createHash } from "node:crypto";
import { createReadStream, readFileSync, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { mayAsk, type Caller } from "../access/roles.js";
import { EventStream } from "../api/event-stream.js";
import { errorAnswer } from "../api/http-status.js";
import { operationOf } from "../api/openapi-document.js";
import { PACKAGE_VERSION } from "../api/version.js";
import { parseDigest } from "../certification/digest.js";
import { SteadfastError } from "../foundation/errors.js";
import { beginAnswer, BoundedServer, pathOf, sendError, sendJson } from "../front/bounded-server.js";
import type { CertificateFiles } from "../front/certificate.js";
import { refuseForeignSite, SignIn } from "../front/sign-in.js";
import type { TokenRecord } from "../front/token-file.js";
import { findImage } from "../image/index.js";
import { AuditLog } from "../modules/management-audit.js";
import { listenShared, type ListenAddress } from "../ports/shared-listener.js";
import { STYLE } from "../qualification/grading/page.js";
import { catalogueAnswer, submissionAnswer, type SubmissionAnswer } from "./answers.js";
import type { Intake } from "./intake.js";
import { PAGE_BYTES_MAX, STREAMS_MAX, STREAMS_OF_TOKEN_MAX, UPLOAD_LIMIT_MS } from "./limits.js";
import { CERTIFICATE_CONTENT_TYPE, OPERATIONS, PACKAGE_CONTENT_TYPE, programmeDocument, type OperationId } from "./openapi.js";
import type { Programme } from "./programme.js";
import { hasEnded, type Submission } from "./queue/submission.js";
import type { ProgrammeStore } from "./store.js";

const LOOK_EVERY_MS = 1000;
const NOTHING_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; sandbox";
/** A report's own styles by their digest, and nothing else: whatever a submitted change could smuggle into a report, a browser leaves it. */
const REPORT_POLICY = `${NOTHING_POLICY}; style-src 'sha256-${createHash("sha256").update(STYLE).digest("base64")}'`;

interface OpenStream {
  readonly token: TokenRecord;
  readonly stream: EventStream;
}

interface Asked {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly token: TokenRecord;
  /** What stands in the path where it varies. */
  readonly value: string;
  readonly query: URLSearchParams;
}

export interface ProgrammeServerOptions {
  readonly store: ProgrammeStore;
  readonly programme: Programme;
  readonly intake: Intake;
  readonly tls: CertificateFiles;
}

export class ProgrammeServer {
  readonly #store: ProgrammeStore;
  readonly #programme: Programme;
  readonly #intake: Intake;
  readonly #server: BoundedServer;
  readonly #signIn: SignIn;
  readonly #audit: AuditLog;
  readonly #streams = new Set<OpenStream>();
  readonly #operation = operationOf(OPERATIONS);
  #timer: NodeJS.Timeout | undefined;

  constructor({ store, programme, intake, tls }: ProgrammeServerOptions) {
    this.#store = store;
    this.#programme = programme;
    this.#intake = intake;
    this.#signIn = new SignIn(store.tokensFile);
    this.#audit = new AuditLog(store.auditFile);
    this.#server = new BoundedServer(tls, UPLOAD_LIMIT_MS);
    this.#server.https.on("request", (request, response) => void this.#answer(request, response));
  }

  /** Resolves when it listens. */
  async listen(address: ListenAddress): Promise<void> {
    await listenShared(this.#server.https, address);
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  close(): void {
    clearInterval(this.#timer);
    this.#server.https.close();
    this.#server.https.closeAllConnections();
  }

  /** Whose token was revoked or expired is let go; a certificate that was renewed is taken up. */
  #look(): void {
    for (const { token, stream } of this.#streams) if (!this.#signIn.holds(token)) stream.end();
    this.#server.renewCertificate();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    beginAnswer(response, NOTHING_POLICY);
    let isKnown = false;
    try {
      this.#signIn.admit(request);
      const path = pathOf(request);
      const method = request.method ?? "GET";
      if (method === "GET" && path === "/health/live") return sendJson(response, 200, { live: true });
      refuseForeignSite(request);
      const token = this.#signIn.identify(request);
      isKnown = true;
      const found = this.#operation(method, path);
      if (found === null)
        return sendJson(response, 404, errorAnswer(new SteadfastError("API_UNKNOWN", { what: `${method} ${path}` })).body);
      const query = new URL(request.url ?? "/", "https://programme").searchParams;
      await this.#permitted(found.id as OperationId, { request, response, token, query, value: found.values[0] ?? "" });
    } catch (error) {
      // A package that is refused is read to its end all the same, by Node: its sender shall hear why.
      sendError(response, error, { waitsForRest: isKnown });
    }
  }

  /** What changes something is written down with its outcome. */
  async #permitted(id: OperationId, asked: Asked): Promise<void> {
    const { request, token } = asked;
    const { name, role } = token;
    const method = request.method ?? "GET";
    const caller: Caller = { name, role, from: request.socket.remoteAddress ?? "unknown" };
    try {
      if (!mayAsk(role, method)) throw new SteadfastError("API_FORBIDDEN", { name, role });
      const details = await this.#carryOut(id, asked);
      if (details !== undefined) this.#audit.add(caller, `${method} ${pathOf(request)}`, details, "done");
    } catch (error) {
      const outcome = error instanceof SteadfastError ? error.code : "INTERNAL";
      if (method !== "GET") this.#audit.add(caller, `${method} ${pathOf(request)}`, undefined, outcome);
      throw error;
    }
  }

  /** Answers; what the audit log is to say of a change that was carried out. */
  async #carryOut(id: OperationId, asked: Asked): Promise<object | undefined> {
    const { response, value, query } = asked;
    switch (id) {
      case "submit":
        return this.#submit(asked);
      case "cancel":
        return this.#cancel(asked);
      case "list":
        return void sendJson(response, 200, { submissions: this.#all() });
      case "submission":
        return void this.#submission(asked);
      case "catalogue":
        return void sendJson(response, 200, this.#catalogue(query.get("base")));
      case "report":
        return this.#file(response, this.#store.reportFile(this.#find(value).id, "json"), "application/json", "report");
      case "reportPage":
        return void this.#page(response, this.#find(value));
      case "certificate": {
        const found = this.#programme.certifiedImage(digestOf(value));
        return this.#file(response, found && this.#store.certificateOf(found.id), CERTIFICATE_CONTENT_TYPE, "certificate of this image");
      }
      case "change": {
        const found = this.#programme.certifiedChange(digestOf(value));
        return this.#file(response, found && this.#store.packageFile(found.changeDigest), PACKAGE_CONTENT_TYPE, "such certified change");
      }
      case "live":
        return void sendJson(response, 200, { live: true });
      case "openapi":
        return void sendJson(response, 200, programmeDocument(PACKAGE_VERSION));
    }
  }

  async #submit({ request, response, token, query }: Asked): Promise<object> {
    const digest = query.get("digest");
    const wanted = digest === null ? null : (parseDigest(digest) ?? digest.slice(0, 128));
    const made = await this.#intake.receive(request, token.name, wanted, (arrived) => {
      const { baseDigest } = arrived.change;
      if (findImage({ digest: baseDigest }) === undefined) throw new SteadfastError("CHANGE_BASE_UNKNOWN", { base: baseDigest });
      // It was revoked while the package was on its way.
      if (!this.#signIn.holds(token)) throw new SteadfastError("API_UNAUTHORIZED");
      return this.#programme.submit(arrived);
    });
    response.setHeader("location", `/submissions/${made.id}`);
    sendJson(response, 201, this.#told(made));
    return { submission: made.id, change: made.changeDigest, base: made.baseDigest, bytes: made.bytes };
  }

  #cancel({ response, token, value }: Asked): object {
    const cancelled = this.#programme.cancel(this.#find(value).id, token.name);
    sendJson(response, 200, this.#told(cancelled));
    return { submission: cancelled.id };
  }

  /** @throws SteadfastError SUBMISSION_UNKNOWN */
  #find(text: string): Submission {
    if (!/^\d{1,15}$/.test(text)) throw new SteadfastError("SUBMISSION_UNKNOWN", { id: text.slice(0, 32) });
    return this.#programme.find(Number(text));
  }

  #told(submission: Submission, progress = this.#programme.progressOf(submission.id)): SubmissionAnswer {
    const isWaiting = submission.state === "queued";
    return submissionAnswer(submission, isWaiting ? (this.#programme.positions().get(submission.id) ?? null) : null, progress);
  }

  #all(): SubmissionAnswer[] {
    const positions = this.#programme.positions();
    return this.#programme.submissions.map((each) =>
      submissionAnswer(each, positions.get(each.id) ?? null, this.#programme.progressOf(each.id)),
    );
  }

  #catalogue(base: string | null): ReturnType<typeof catalogueAnswer> {
    const certified = this.#programme.certified(Date.now());
    return catalogueAnswer(base === null ? certified : certified.filter((each) => each.baseDigest === parseDigest(base)));
  }

  #submission({ response, token, value, query }: Asked): void {
    const found = this.#find(value);
    if (["0", "false", null].includes(query.get("follow"))) return sendJson(response, 200, this.#told(found));
    if (this.#streams.size >= STREAMS_MAX) throw new SteadfastError("API_CROWDED", { limit: STREAMS_MAX, what: "event streams" });
    if ([...this.#streams].filter((each) => each.token.digest === token.digest).length >= STREAMS_OF_TOKEN_MAX)
      throw new SteadfastError("API_CROWDED", { limit: STREAMS_OF_TOKEN_MAX, what: `event streams of ${token.name}` });
    const stream = new EventStream(response);
    const entry = { token, stream };
    this.#streams.add(entry);
    stream.onClose(() => this.#streams.delete(entry));
    stream.send(JSON.stringify(this.#told(found)));
    if (hasEnded(found)) return stream.end();
    stream.onClose(
      this.#programme.follow(found.id, (submission, progress) => {
        const data = JSON.stringify(this.#told(submission, progress));
        if (progress === null) stream.send(data);
        else stream.sendLatest(data);
        if (hasEnded(submission)) stream.end();
      }),
    );
  }

  #page(response: ServerResponse, { id }: Submission): void {
    const path = this.#store.reportFile(id, "html");
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    if (size === undefined || size > PAGE_BYTES_MAX) throw new SteadfastError("PROGRAMME_NOTHING", { what: "report of this submission" });
    const page = readFileSync(path);
    response.setHeader("content-security-policy", REPORT_POLICY);
    response.writeHead(200, { "content-type": "text/html; charset=utf-8", "content-length": page.length, "cache-control": "no-store" });
    response.end(page);
  }

  async #file(response: ServerResponse, path: string | undefined, contentType: string, what: string): Promise<undefined> {
    const size = path === undefined ? undefined : statSync(path, { throwIfNoEntry: false })?.size;
    if (path === undefined || size === undefined) throw new SteadfastError("PROGRAMME_NOTHING", { what });
    response.writeHead(200, { "content-type": contentType, "content-length": size, "cache-control": "no-store" });
    // Who goes away meanwhile ends only this answer.
    await pipeline(createReadStream(path), response).catch(() => response.destroy());
  }
}

/** What is no digest has nothing. */
function digestOf(text: string): string {
  return parseDigest(text) ?? "";
}
