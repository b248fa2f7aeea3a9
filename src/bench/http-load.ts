/** Keep-alive HTTP load on the guest's nginx: raw connections, one request at a time each, no reconnect and no retry. */
import { connect, type Socket } from "node:net";
import type { Address } from "./connection.js";
import { REQUEST_LIMIT_MS, type LoadRecorder } from "./load.js";

/** A response head longer than this is refused. */
const HEAD_LIMIT_BYTES = 16 * 1024;

export interface Response {
  readonly status: number;
  /** The server said that it closes the connection after this one, as nginx does after a thousand requests. */
  readonly isLast: boolean;
}

/** Reads one response after the other from a byte stream; tells each one's end. Bodies need a Content-Length. */
export class ResponseReader {
  private head = "";
  private bodyLeft = 0;
  private status = 0;
  private isLast = false;

  /** Returns all responses that ended within these bytes. Throws on what is not HTTP as we asked for it. */
  push(bytes: Buffer): Response[] {
    const ended: Response[] = [];
    let offset = 0;
    while (offset < bytes.length) {
      if (this.status === 0) offset = this.readHead(bytes, offset, ended);
      else {
        const taken = Math.min(this.bodyLeft, bytes.length - offset);
        this.bodyLeft -= taken;
        offset += taken;
        if (this.bodyLeft === 0) this.end(ended);
      }
    }
    return ended;
  }

  private readHead(bytes: Buffer, offset: number, ended: Response[]): number {
    const before = this.head.length;
    this.head += bytes.toString("latin1", offset);
    const end = this.head.indexOf("\r\n\r\n");
    if (end < 0) {
      if (this.head.length > HEAD_LIMIT_BYTES) throw new Error("a response head is too long");
      return bytes.length;
    }
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(this.head)?.[1];
    const length = /^content-length: *(\d{1,15})\r?$/im.exec(this.head.slice(0, end))?.[1];
    if (status === undefined || length === undefined) throw new Error("a response is not HTTP/1.1 with a Content-Length");
    this.status = Number(status);
    this.isLast = /^connection: *close\r?$/im.test(this.head.slice(0, end));
    this.bodyLeft = Number(length);
    this.head = "";
    if (this.bodyLeft === 0) this.end(ended);
    return offset + end + 4 - before;
  }

  private end(ended: Response[]): void {
    ended.push({ status: this.status, isLast: this.isLast });
    this.status = 0;
  }
}

/** One client: resolves when stopped or at its first failure. It connects anew only where the server said that it would close. */
async function runClient(address: Address, path: string, recorder: LoadRecorder, stopped: () => boolean): Promise<void> {
  while (await runConnection(address, path, recorder, stopped));
}

/** True: the server ended the connection in good order, and the client goes on. */
function runConnection(address: Address, path: string, recorder: LoadRecorder, stopped: () => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const socket: Socket = connect({ host: address.host, port: address.port, noDelay: true });
    const reader = new ResponseReader();
    const request = `GET ${path} HTTP/1.1\r\nHost: ${address.host}\r\nConnection: keep-alive\r\n\r\n`;
    let sentMs = 0;
    let over = false;
    const end = (why: string | undefined, lost: boolean, goesOn = false): void => {
      if (over) return;
      over = true;
      if (why !== undefined) {
        recorder.failed(why);
        if (lost) recorder.lost(why);
      }
      socket.destroy();
      resolve(goesOn);
    };
    const send = (): void => {
      if (stopped()) return end(undefined, false);
      sentMs = performance.now();
      socket.write(request);
    };
    socket.setTimeout(REQUEST_LIMIT_MS, () => end("no answer within the limit", false));
    socket.on("connect", send);
    socket.on("error", (error) => end(error.message, true));
    socket.on("close", () => end("closed by the server", true));
    socket.on("data", (bytes) => {
      try {
        for (const { status, isLast } of reader.push(bytes)) {
          if (status !== 200) throw new Error(`answered by status ${status}`);
          recorder.answered(sentMs);
          if (isLast) return end(undefined, false, !stopped());
          send();
        }
      } catch (error) {
        end((error as Error).message, false);
      }
    });
  });
}

/** All clients until `stopped`. */
export async function runHttpClients(
  address: Address,
  clients: number,
  recorder: LoadRecorder,
  stopped: () => boolean,
  path = "/",
): Promise<void> {
  await Promise.all(Array.from({ length: clients }, () => runClient(address, path, recorder, stopped)));
}

/**
 * Milliseconds until the first HTTP answer from `address`, counted from `startMs`; NaN when the limit passed first. Connections leave
 * from `localAddress`, the host's on the guest's network: before that network exists they fail, instead of going out by the default
 * route, where anything might answer.
 */
export async function firstAnswer(
  address: Address,
  localAddress: string,
  startMs: number,
  limitMs: number,
  givenUp: () => boolean,
): Promise<number> {
  while (performance.now() - startMs < limitMs && !givenUp()) {
    if (await answersOnce(address, localAddress)) return performance.now() - startMs;
    await new Promise((resolve) => setTimeout(resolve, FIRST_ANSWER_POLL_MS));
  }
  return Number.NaN;
}

const FIRST_ANSWER_POLL_MS = 10;
const FIRST_ANSWER_TRY_MS = 300;

function answersOnce(address: Address, localAddress: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address.host, port: address.port, localAddress, noDelay: true });
    const end = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(FIRST_ANSWER_TRY_MS, () => end(false));
    socket.on("connect", () => socket.write(`GET / HTTP/1.0\r\n\r\n`));
    socket.on("error", () => end(false));
    socket.on("data", (bytes) => end(/^HTTP\/1\.[01] 200 /.test(bytes.toString("latin1", 0, 16))));
    socket.on("close", () => end(false));
  });
}
