/** The guest's console over a WebSocket, for browsers: its bytes both ways, bound to a ticket. */
import { request as plainRequest, type IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import { createWebSocketStream, WebSocketServer, type WebSocket } from "ws";
import { ACTOR_HEADER, TICKET_HEADER } from "../api/caller-headers.js";
import { CONSOLE_PROTOCOL } from "../api/console-protocol.js";
import type { Caller } from "../access/roles.js";
import { CONSOLE_MESSAGE_BYTES_MAX, CONSOLE_PING_MS, CONSOLES_MAX, UPSTREAM_PATIENCE_MS } from "./limits.js";
import { refuse } from "./bounded-server.js";
import { callerHeaders, type Upstream } from "./upstream.js";

export const CONSOLE_SOCKET_PATH = "/console/socket";
/** "Service restart": whoever led the server ended; with another ticket one comes in again. */
const CLOSE_RESTART = 1012;
const CLOSE_REVOKED = 1008;

interface Opened {
  readonly console: Duplex;
  /** Name of the token with which the ticket was got. */
  readonly name: string;
}

export class ConsoleSockets {
  readonly #upstream: Upstream;
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: CONSOLE_MESSAGE_BYTES_MAX, perMessageDeflate: false });
  readonly #open = new Map<WebSocket, string>();
  #opening = 0;

  constructor(upstream: Upstream) {
    this.#upstream = upstream;
  }

  async serve(request: IncomingMessage, socket: Duplex, head: Buffer, ticket: string, from: string): Promise<void> {
    if (this.#open.size + this.#opening >= CONSOLES_MAX) return refuse(socket, "503 Service Unavailable");
    this.#opening += 1;
    try {
      const opened = await this.#openConsole({ name: "a ticket", role: "view", from }, ticket);
      if (opened === null) return refuse(socket, "403 Forbidden");
      if (socket.destroyed) return void opened.console.destroy();
      this.#sockets.handleUpgrade(request, socket, head, (webSocket) => this.#join(webSocket, opened));
    } catch {
      refuse(socket, "503 Service Unavailable");
    } finally {
      this.#opening -= 1;
    }
  }

  /** Ends those of tokens that hold no more. */
  endUnless(holds: (name: string) => boolean): void {
    for (const [webSocket, name] of this.#open) if (!holds(name)) webSocket.close(CLOSE_REVOKED, "the token holds no more");
  }

  #join(webSocket: WebSocket, { console, name }: Opened): void {
    this.#open.set(webSocket, name);
    let isThere = true;
    webSocket.on("pong", () => (isThere = true));
    const ping = setInterval(() => {
      if (!isThere) return webSocket.terminate();
      isThere = false;
      webSocket.ping();
    }, CONSOLE_PING_MS);
    webSocket.on("close", () => {
      clearInterval(ping);
      this.#open.delete(webSocket);
      console.destroy();
    });
    console.on("close", () => webSocket.close(CLOSE_RESTART, "the console ended"));
    const stream = createWebSocketStream(webSocket);
    for (const each of [stream, console]) each.on("error", () => console.destroy());
    // Either one waits for the other when that does not read.
    stream.pipe(console);
    console.pipe(stream);
  }

  /** Null: the ticket is void. Rejects: nobody answers. */
  #openConsole(caller: Caller, ticket: string): Promise<Opened | null> {
    return new Promise((resolve, reject) => {
      const headers = { ...callerHeaders(caller), [TICKET_HEADER]: ticket, connection: "Upgrade", upgrade: CONSOLE_PROTOCOL };
      const call = plainRequest({ ...this.#upstream.target, method: "POST", path: "/console", headers, agent: false });
      call.on("upgrade", (response, console, first) => {
        if (first.length > 0) console.unshift(first);
        console.setTimeout(0);
        resolve({ console, name: String(response.headers[ACTOR_HEADER] ?? "") });
      });
      call.on("response", (response) => {
        response.resume();
        resolve(null);
      });
      call.on("error", reject);
      call.setTimeout(UPSTREAM_PATIENCE_MS, () => call.destroy(new Error("no answer")));
      call.end();
    });
  }
}
