/**
 * An HTTPS server that is bounded in everything, and how it answers: shared by the front of a server and by a certification programme, each
 * with its own content security policy.
 */
import { readFileSync, statSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { Duplex } from "node:stream";
import { errorAnswer } from "../api/http-status.js";
import { SteadfastError } from "../foundation/errors.js";
import type { CertificateFiles } from "./certificate.js";
import * as limits from "./limits.js";
import { TooOften } from "./sign-in.js";

const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
  "referrer-policy": "no-referrer",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), microphone=(), geolocation=()",
  "strict-transport-security": "max-age=31536000",
};

export class BoundedServer {
  readonly https: Server;
  readonly #files: CertificateFiles;
  #version: string;

  /** `requestLimitMs`: within this all of a request has to be there. */
  constructor(files: CertificateFiles, requestLimitMs: number) {
    this.#files = files;
    this.#version = this.#versionOfCertificate("");
    this.https = createServer({
      ...this.#certificate(),
      minVersion: "TLSv1.2",
      handshakeTimeout: limits.HANDSHAKE_LIMIT_MS,
      maxHeaderSize: limits.HEADER_BYTES_MAX,
      headersTimeout: limits.HEAD_LIMIT_MS,
      requestTimeout: requestLimitMs,
      connectionsCheckingInterval: limits.LATE_CHECK_EVERY_MS,
      keepAliveTimeout: limits.KEEP_ALIVE_MS,
    });
    this.https.maxHeadersCount = limits.HEADERS_MAX;
    this.https.maxConnections = limits.CONNECTIONS_MAX;
    this.https.setTimeout(limits.IDLE_LIMIT_MS);
    this.https.on("tlsClientError", (_error, socket) => socket.destroy());
    this.https.on("clientError", (error: NodeJS.ErrnoException, socket) => refuseBroken(error, socket));
  }

  /** Takes up a certificate that was renewed in its place. */
  renewCertificate(): void {
    const version = this.#versionOfCertificate(this.#version);
    if (version === this.#version) return;
    this.#version = version;
    try {
      this.https.setSecureContext(this.#certificate());
    } catch (error) {
      process.stderr.write(`the new certificate cannot be used, the former one stays: ${(error as Error).message}\n`);
    }
  }

  #certificate(): { readonly cert: Buffer; readonly key: Buffer } {
    return { cert: readFileSync(this.#files.certificateFile), key: readFileSync(this.#files.keyFile) };
  }

  #versionOfCertificate(otherwise: string): string {
    try {
      return [this.#files.certificateFile, this.#files.keyFile].map((path) => statSync(path).mtimeMs).join(" ");
    } catch {
      return otherwise;
    }
  }
}

/** Sets what every answer has; `policy`: which content a browser may load for it. */
export function beginAnswer(response: ServerResponse, policy: string): void {
  response.setHeader("content-security-policy", policy);
  for (const [name, value] of Object.entries(SECURITY_HEADERS)) response.setHeader(name, value);
  response.on("error", () => response.destroy());
}

/** @throws SteadfastError API_UNKNOWN */
export function pathOf({ url = "/" }: IncomingMessage): string {
  if (url.length > limits.PATH_CHARACTERS_MAX || !url.startsWith("/") || !URL.canParse(url, "https://front")) {
    throw new SteadfastError("API_UNKNOWN", { what: "this path" });
  }
  return url.split("?")[0] ?? "/";
}

export function sendJson(response: ServerResponse, status: number, value: unknown): void {
  response.writeHead(status, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(`${JSON.stringify(value)}\n`);
}

/** `waitsForRest`: who sends a long request that was refused can do so to its end, so that he reads the answer. */
export function sendError(response: ServerResponse, error: unknown, { waitsForRest = false } = {}): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  if (!response.req.complete && !waitsForRest) discardRest(response.req);
  const { status, body } = errorAnswer(error);
  if (status === 401) response.setHeader("www-authenticate", 'Bearer realm="steadfast"');
  if (error instanceof TooOften) response.setHeader("retry-after", error.seconds);
  if (status >= 500 && !(error instanceof SteadfastError)) process.stderr.write(`${String((error as Error).stack)}\n`);
  sendJson(response, status, body);
}

/**
 * What is left of a request that was refused is thrown away: if the connection ended at once, who still sends would see that, and not the
 * answer (RFC 9112, 9.6). Too much of it, or too slow, ends the connection.
 */
function discardRest(request: IncomingMessage): void {
  let leftBytes = limits.DISCARDED_BYTES_MAX;
  const timer = setTimeout(() => request.destroy(), limits.DISCARD_LIMIT_MS);
  request.once("close", () => clearTimeout(timer));
  request.on("data", ({ length }: Buffer) => {
    leftBytes -= length;
    if (leftBytes < 0) request.destroy();
  });
}

/** Too late, too long, or no HTTP at all. */
function refuseBroken(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (!socket.writable) return void socket.destroy();
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") return refuse(socket, "408 Request Timeout");
  if (error.code === "HPE_HEADER_OVERFLOW") return refuse(socket, "431 Request Header Fields Too Large");
  refuse(socket, "400 Bad Request");
}

export function refuse(socket: Duplex, status: string): void {
  socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n`);
}
