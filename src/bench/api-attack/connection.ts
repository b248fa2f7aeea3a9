/** The two ways in which an attacker comes: TLS connections that ask, and handshakes that are begun and never ended. */
import { connect as plainConnect, createServer, type AddressInfo, type Socket } from "node:net";
import { connect, type TLSSocket } from "node:tls";

export interface Aim {
  readonly host: string;
  readonly port: number;
  readonly token: string;
}

/** Number of answers by status; `refused`: closed without an answer; `open`: none yet. */
export type Outcomes = Record<string, number>;

export function count(outcomes: Outcomes, outcome: string | number, by = 1): void {
  outcomes[outcome] = (outcomes[outcome] ?? 0) + by;
}

/** Addresses of the loopback network, so that limits of one address do not end the attack. */
const ADDRESSES = 200;
const FIRST_ADDRESS = 10;
const STATUS_LINE = /HTTP\/1\.1 (\d{3})/g;
/** A status line that is cut by two chunks is found in the rest of the first and the beginning of the second. */
const STATUS_LINE_CHARACTERS = 12;

function plainSocket(aim: Aim, number: number): Socket {
  return plainConnect({ host: aim.host, port: aim.port, localAddress: `127.0.0.${FIRST_ADDRESS + (number % ADDRESSES)}` });
}

export class AttackConnection {
  readonly #socket: TLSSocket;
  readonly #outcomes: Outcomes;
  #rest = "";
  #answers = 0;
  #lastStatus = "";
  #isOver = false;
  readonly #endings: (() => void)[] = [];

  /** `outcomes`: answers are counted there, and an end without any as `refused`. */
  constructor(aim: Aim, number: number, outcomes: Outcomes) {
    this.#outcomes = outcomes;
    const socket = plainSocket(aim, number);
    socket.on("error", () => this.#socket.destroy());
    // Without a session to resume: an attacker does not spare the server its handshakes.
    this.#socket = connect({ socket, rejectUnauthorized: false });
    this.#socket.on("data", (bytes: Buffer) => this.#hear(bytes));
    this.#socket.on("error", () => this.#socket.destroy());
    this.#socket.on("close", () => this.#end());
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  get lastStatus(): string {
    return this.#lastStatus;
  }

  get answers(): number {
    return this.#answers;
  }

  onEnd(ending: () => void): void {
    this.#endings.push(ending);
  }

  /** False: it has ended, or the other side does not take what was said before. */
  say(text: string | Buffer): boolean {
    if (this.#isOver || this.#socket.writableNeedDrain) return false;
    this.#socket.write(text);
    return true;
  }

  destroy(): void {
    this.#socket.destroy();
  }

  #hear(bytes: Buffer): void {
    const text = this.#rest + bytes.toString("latin1");
    let end = 0;
    for (const match of text.matchAll(STATUS_LINE)) {
      this.#lastStatus = match[1] ?? "";
      count(this.#outcomes, this.#lastStatus);
      this.#answers += 1;
      end = match.index + match[0].length;
    }
    this.#rest = text.slice(Math.max(end, text.length - STATUS_LINE_CHARACTERS + 1));
  }

  #end(): void {
    this.#isOver = true;
    if (this.#answers === 0) count(this.#outcomes, "refused");
    for (const ending of this.#endings) ending();
  }
}

/** What a TLS client says first. Said again as it is, it costs its sender nothing, and the server its half of a handshake. */
export async function clientHello(): Promise<Buffer> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const heard = new Promise<Buffer>((resolve) => server.once("connection", (socket) => socket.once("data", resolve)));
  const client = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
  client.on("error", () => undefined);
  const hello = await heard;
  client.destroy();
  server.close();
  return hello;
}

/** Says it, and leaves when the server has done its half, or `limitMs` passed. */
export function beginHandshake(aim: Aim, number: number, hello: Buffer, limitMs: number, outcomes: Outcomes): Promise<void> {
  return new Promise((resolve) => {
    const socket = plainSocket(aim, number);
    let outcome = "refused";
    socket.setTimeout(limitMs, () => {
      outcome = "silent";
      socket.destroy();
    });
    socket.on("error", () => socket.destroy());
    socket.once("connect", () => socket.write(hello));
    socket.once("data", () => {
      outcome = "answered";
      socket.resetAndDestroy();
    });
    socket.once("close", () => {
      count(outcomes, outcome);
      resolve();
    });
  });
}
