/** The front's server: what comes in over TLS is bounded, identified, and either answered from memory or asked of management. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import { mayAsk, type Caller } from "../access/roles.js";
import { readBytes } from "../api/body.js";
import { EventStream } from "../api/event-stream.js";
import { errorAnswer } from "../api/http-status.js";
import { operationOf } from "../api/openapi-document.js";
import { OPERATIONS } from "../api/openapi.js";
import { SteadfastError } from "../foundation/errors.js";
import { listenShared } from "../ports/shared-listener.js";
import type { FrontConfig } from "./config.js";
import { CONSOLE_PATH, ConsoleFiles } from "./console-files.js";
import { beginAnswer, BoundedServer, pathOf, refuse, sendError, sendJson } from "./bounded-server.js";
import { CONSOLE_SOCKET_PATH, ConsoleSockets } from "./console-socket.js";
import { EventRelay, StatusRelay } from "./feeds.js";
import * as limits from "./limits.js";
import { refuseForeignSite, SignIn } from "./sign-in.js";
import type { TokenRecord } from "./token-file.js";
import { Upstream } from "./upstream.js";

const LOOK_EVERY_MS = 1000;

/** Scripts and styles come from here alone: what the console's terminal writes of styles goes to adopted sheets (`src/ui/adopted-styles.ts`). */
const CONSOLE_POLICY =
  "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'";

interface OpenStream {
  readonly token: TokenRecord;
  readonly stream: EventStream;
}

export class Front {
  readonly #config: FrontConfig;
  readonly #server: BoundedServer;
  readonly #signIn: SignIn;
  readonly #upstream: Upstream;
  readonly #status: StatusRelay;
  readonly #events: EventRelay;
  readonly #files = new ConsoleFiles();
  readonly #consoles: ConsoleSockets;
  readonly #streams = new Set<OpenStream>();
  /** Tokens by name, of those who came in. */
  readonly #known = new Map<string, TokenRecord>();
  #unreadBytes = 0;

  constructor(config: FrontConfig) {
    this.#config = config;
    this.#signIn = new SignIn(config.tokensFile);
    this.#upstream = new Upstream(config.controlSocket);
    this.#status = new StatusRelay(this.#upstream.target);
    this.#events = new EventRelay(this.#upstream.target);
    this.#consoles = new ConsoleSockets(this.#upstream);
    this.#server = new BoundedServer(config, limits.REQUEST_LIMIT_MS);
    this.#server.https.on("request", (request, response) => void this.#answer(request, response));
    this.#server.https.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Resolves when it listens. */
  async listen(): Promise<void> {
    await this.#files.load();
    await listenShared(this.#server.https, this.#config.listen);
    setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** Whose token was revoked or expired is let go; a certificate that was renewed is taken up. */
  #look(): void {
    for (const { token, stream } of this.#streams) if (!this.#signIn.holds(token)) stream.end();
    this.#consoles.endUnless((name) => {
      const token = this.#known.get(name);
      return token === undefined || this.#signIn.holds(token);
    });
    this.#server.renewCertificate();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    beginAnswer(response, CONSOLE_POLICY);
    try {
      this.#signIn.admit(request);
      const path = pathOf(request);
      if (isPage(request, path)) this.#page(path, request, response);
      else await this.#api(path, request, response);
    } catch (error) {
      sendError(response, error);
    }
  }

  #page(path: string, request: IncomingMessage, response: ServerResponse): void {
    if (path === "/" || `${path}/` === CONSOLE_PATH) {
      response.writeHead(302, { location: CONSOLE_PATH, "content-length": 0 });
      response.end();
    } else if (!this.#files.serve(path, request, response)) {
      const error = new SteadfastError("API_UNKNOWN", { what: `GET ${path}` });
      sendJson(response, 404, errorAnswer(error).body);
    }
  }

  async #api(path: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    refuseForeignSite(request);
    const token = this.#signIn.identify(request);
    this.#known.set(token.name, token);
    const { name, role } = token;
    const method = request.method ?? "GET";
    if (knownOperation(method, path) === null) throw new SteadfastError("API_UNKNOWN", { what: `${method} ${path}` });
    if (!mayAsk(role, method)) throw new SteadfastError("API_FORBIDDEN", { name, role });
    const caller: Caller = { name, role, from: request.socket.remoteAddress ?? "unknown" };
    const query = new URL(request.url ?? "/", "https://front").searchParams;
    if (method === "GET" && ["/status", "/events"].includes(path) && !["0", "false", null].includes(query.get("follow"))) {
      return this.#stream(path, query, token, response);
    }
    if (path === "/whoami") return sendJson(response, 200, { name, role });
    const body = method === "POST" ? await readBytes(request) : null;
    const answer = await this.#upstream.ask(caller, method, query.size === 0 ? path : `${path}?${query.toString()}`, body);
    this.#send(response, answer.status, answer.contentType, answer.body);
  }

  #stream(path: string, query: URLSearchParams, token: TokenRecord, response: ServerResponse): void {
    const limit = this.#config.eventStreamsMax;
    const own = [...this.#streams].filter((each) => each.token.digest === token.digest).length;
    if (this.#streams.size >= limit) throw new SteadfastError("API_CROWDED", { limit, what: "event streams" });
    const share = Math.ceil(limit * limits.STREAMS_SHARE_OF_TOKEN);
    if (own >= share) throw new SteadfastError("API_CROWDED", { limit: share, what: `event streams of ${token.name}` });
    const stream = new EventStream(response);
    const entry = { token, stream };
    this.#streams.add(entry);
    stream.onClose(() => this.#streams.delete(entry));
    const since = Number(query.get("since") ?? 0);
    stream.onClose(
      path === "/status"
        ? this.#status.follow((data) => stream.sendLatest(data))
        : this.#events.follow(Number.isFinite(since) ? since : 0, (data, id) => stream.send(data, id)),
    );
  }

  /** Management is done with it; who reads slowly holds up nobody but takes memory, of which there is so much. */
  #send(response: ServerResponse, status: number, contentType: string, body: Buffer): void {
    if (this.#unreadBytes + body.length > limits.UNREAD_BYTES_MAX) {
      throw new SteadfastError("API_CROWDED", { limit: limits.UNREAD_BYTES_MAX, what: "bytes of answers that nobody reads" });
    }
    this.#unreadBytes += body.length;
    response.once("close", () => (this.#unreadBytes -= body.length));
    response.writeHead(status, { "content-type": contentType, "content-length": body.length, "cache-control": "no-store" });
    response.end(body);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => socket.destroy());
    try {
      this.#signIn.admit(request);
    } catch {
      return refuse(socket, "429 Too Many Requests");
    }
    const url = URL.canParse(request.url ?? "/", "https://front") ? new URL(request.url ?? "/", "https://front") : null;
    if (url?.pathname !== CONSOLE_SOCKET_PATH) return refuse(socket, "404 Not Found");
    // Browsers send it with every WebSocket, and check nothing themselves.
    if (request.headers.origin !== `https://${request.headers.host ?? ""}`) return refuse(socket, "403 Forbidden");
    void this.#consoles.serve(request, socket, head, url.searchParams.get("ticket") ?? "", request.socket.remoteAddress ?? "unknown");
  }
}

/** The console is public: what it shows is not. */
function isPage({ method }: IncomingMessage, path: string): boolean {
  return (method === "GET" || method === "HEAD") && (path === "/" || `${path}/` === CONSOLE_PATH || path.startsWith(CONSOLE_PATH));
}

/** Management never sees what is no request of the API. */
const knownOperation = operationOf(OPERATIONS);
