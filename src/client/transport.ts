/** One request to a control API, over its Unix socket or over TLS, and what is read of the answer. */
import { request as plainRequest, type ClientRequest, type IncomingMessage, type OutgoingHttpHeaders } from "node:http";
import { request as tlsRequest, type RequestOptions } from "node:https";
import { Readable } from "node:stream";
import { connect as tlsConnect, type TLSSocket } from "node:tls";

/** Where a control API is. */
export type Target = UnixTarget | TlsTarget;

export interface UnixTarget {
  /** Of the leading management module; only its owner may open it. */
  readonly socketPath: string;
}

export interface TlsTarget {
  /** `https://ADDRESS:PORT` */
  readonly url: string;
  readonly token: string;
  /** SHA-256 of the certificate as `steadfast status` prints it. Absent: the certificate must be of a known authority. */
  readonly fingerprint?: string;
}

export interface Call {
  readonly method: string;
  /** With query. */
  readonly path: string;
  readonly headers?: OutgoingHttpHeaders;
  readonly body?: string | Buffer | Readable;
  /** How long the other side may say nothing, in ms. */
  readonly limitMs?: number;
  readonly signal?: AbortSignal;
}

/** For whoever stands between and says no "100 Continue"; control APIs say it, unless their management module hangs or is ending. */
const CONTINUE_LIMIT_MS = 10_000;

/** No answer came. */
export class Unanswered extends Error {
  /** The request may have been carried out all the same. */
  readonly mayBeDone: boolean;
  /** Of the system, such as EACCES; empty: none. */
  readonly code: string;

  constructor(mayBeDone: boolean, cause: Error) {
    super(`no answer: ${cause.message}`, { cause });
    this.mayBeDone = mayBeDone;
    this.code = (cause as NodeJS.ErrnoException).code ?? "";
  }
}

/**
 * Resolves when the head of the answer is there. A connection for each request: one that was kept may end in a leader that is gone.
 * What changes something is sent only when the other side says that it will read it (100 Continue, RFC 9110 section 10.1.1): the kernel
 * accepts connections for a process that was killed until it has taken it apart, and whoever asked must know that nothing was done.
 * @throws Unanswered
 */
export function openRequest(target: Target, { method, path, headers = {}, body, limitMs, signal }: Call): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const isAskedFirst = method !== "GET" && body !== undefined && !(body instanceof Readable);
    const allHeaders = isAskedFirst ? { ...headers, expect: "100-continue" } : headers;
    const call = begin(target, { method, path, headers: allHeaders, ...(signal && { signal }) });
    let wasConnected = false;
    call.on("response", resolve);
    call.on("error", (error) => reject(new Unanswered(isAskedFirst ? call.writableEnded : wasConnected, error)));
    if (limitMs !== undefined) call.setTimeout(limitMs, () => call.destroy(new Error("it took too long")));
    if (isAskedFirst) return sendWhenRead(call, body);
    call.on("socket", (socket) => {
      if (!socket.connecting) wasConnected = true;
      socket.once("connect", () => (wasConnected = true));
    });
    // Whoever refuses a long body answers before all of it is sent: then the answer counts, not that the rest could not be sent.
    if (body instanceof Readable) {
      body.once("error", (error) => call.destroy(error));
      body.pipe(call);
    } else call.end(body);
  });
}

/** Until it was sent, `writableEnded` is false. */
function sendWhenRead(call: ClientRequest, body: string | Buffer): void {
  const send = (): void => {
    clearTimeout(patience);
    if (!call.writableEnded) call.end(body);
  };
  const patience = setTimeout(send, CONTINUE_LIMIT_MS);
  call.once("continue", send);
  call.once("response", (response) => {
    // Refused by its head alone: the body is not sent any more.
    clearTimeout(patience);
    if (!call.writableEnded) response.once("close", () => call.destroy());
  });
  call.once("close", () => clearTimeout(patience));
}

type Options = Omit<Call, "body" | "limitMs">;

function begin(target: Target, options: Options): ClientRequest {
  if ("socketPath" in target) return plainRequest({ ...options, socketPath: target.socketPath, agent: false });
  const { hostname, port } = new URL(target.url);
  // Of an IPv6 address without its brackets.
  const host = hostname.replace(/^\[|\]$/g, "");
  const headers = { ...options.headers, authorization: `Bearer ${target.token}` };
  const place = { host, port: Number(port || 443) };
  const { fingerprint } = target;
  if (fingerprint === undefined) return tlsRequest({ ...options, headers, ...place, agent: false });
  // The token is sent only when it is known who is there.
  const createConnection = (_options: unknown, done: (error: Error | null, socket: TLSSocket) => void): undefined => {
    const socket = tlsConnect({ ...place, rejectUnauthorized: false }, () => {
      const isIt = plainFingerprint(socket.getPeerCertificate().fingerprint256) === plainFingerprint(fingerprint);
      if (!isIt) socket.destroy(new Error("the certificate has another fingerprint"));
      else done(null, socket);
    });
    socket.on("error", (error) => done(error, socket));
    return undefined;
  };
  return tlsRequest({ ...options, headers, ...place, createConnection } as unknown as RequestOptions);
}

function plainFingerprint(text: string): string {
  return text.replaceAll(":", "").toLowerCase();
}

/** @throws Unanswered: it was cut, or is longer than `bytesMax` */
export async function readAnswer(response: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > bytesMax) throw new Error(`the answer is longer than ${bytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw new Unanswered(true, error as Error);
  }
  return Buffer.concat(chunks);
}

/** A report is some kilobytes; whatever sends more without an end is no control API. */
const EVENT_CHARACTERS_MAX = 16 * 1024 * 1024;

/** The data of server-sent events until the stream ends, however it ends. */
export async function* serverSentEvents(response: IncomingMessage): AsyncGenerator<string, void, undefined> {
  let text = "";
  response.setEncoding("utf8");
  try {
    for await (const chunk of response as AsyncIterable<string>) {
      text += chunk;
      const blocks = text.split("\n\n");
      text = blocks.pop() ?? "";
      if (text.length > EVENT_CHARACTERS_MAX) return;
      for (const block of blocks) {
        const data = block.split("\n").find((line) => line.startsWith("data: "));
        if (data !== undefined) yield data.slice("data: ".length);
      }
    }
  } catch {
    // Whoever leads the server ended: another one may take the lead.
  } finally {
    response.destroy();
  }
}
