/** The attacks: each kind is begun so many times a second, whatever becomes of those before, as far as the generator itself keeps up. */
import { AttackConnection, beginHandshake, type Aim, type Outcomes } from "./connection.js";

/** `sink`: the flood against a listener of the generator's own that closes at once: what the generator itself and the host's network take. */
export const ATTACKS = ["flood", "streams", "sink"] as const;
export type AttackName = (typeof ATTACKS)[number];

/** How often a kind was begun, and how it ended. */
export interface AttackCount {
  begun: number;
  /** Due, but the generator had too many under way or was too late for it. */
  leftOut: number;
  readonly outcomes: Outcomes;
}

export interface AttackReport {
  readonly seconds: number;
  readonly kinds: Readonly<Record<string, AttackCount>>;
  /** Event streams, or slow clients, that the server keeps at the end. */
  readonly held: number;
}

/** What is under way ends when `begin` resolves. */
interface Kind {
  readonly name: string;
  readonly perSecond: number;
  readonly underWayMax: number;
  /** So many requests each time. */
  readonly batch: number;
  begin(number: number, outcomes: Outcomes): Promise<void>;
}

const STEP_MS = 20;
const ANSWER_LIMIT_MS = 5000;
const UNDER_WAY_MAX = 200;
const OVERSIZED_BYTES = 256 * 1024;
const KEPT_CONNECTIONS = 64;
const PIPELINED = 10;
const SLOW_BYTE_EVERY_MS = 1000;
const SLOW_MAX = 500;

/** A front bears a small part of these; more of them would only measure what the generator itself takes from the same processors. */
const BATCHES_PER_SECOND = 20;
const HANDSHAKES_PER_SECOND = 200;
const CONNECTIONS_PER_SECOND = 20;
const OVERSIZED_PER_SECOND = 10;
/** Event streams that are asked for, and how quickly; those that were refused are asked for again. */
export const STREAMS_ASKED = 10_000;
const STREAMS_PER_SECOND = 1000;
const STREAMS_AGAIN_PER_SECOND = 20;
const OPEN_AFTER_MS = 10_000;

const head = (token: string): string => `host: front\r\nauthorization: Bearer ${token}\r\n`;
const statusRequest = (token: string): string => `GET /status HTTP/1.1\r\n${head(token)}\r\n`;

export class Attack {
  readonly #aim: Aim;
  readonly #hello: Buffer;
  readonly #kinds: readonly Kind[];
  readonly #counts = new Map<Kind, AttackCount>();
  readonly #underWay = new Map<Kind, number>();
  readonly #due = new Map<Kind, number>();
  readonly #open = new Set<AttackConnection>();
  readonly #held = new Set<AttackConnection>();
  readonly #timer: NodeJS.Timeout;
  #streamsBegun = 0;
  /** When one was let in last. */
  #heldAtMs = performance.now();
  #beganAtMs = performance.now();
  #steppedAtMs = performance.now();
  #number = 0;

  constructor(name: AttackName, aim: Aim, hello: Buffer) {
    this.#aim = aim;
    this.#hello = hello;
    this.#kinds = name === "streams" ? [this.#streamKind()] : this.#floodKinds();
    this.#countAnew();
    this.#timer = setInterval(() => this.#step(), STEP_MS);
  }

  /** What was done since the last report. */
  report(): AttackReport {
    const seconds = (performance.now() - this.#beganAtMs) / 1000;
    const kinds = Object.fromEntries([...this.#counts].map(([{ name }, count]) => [name, structuredClone(count)]));
    this.#countAnew();
    return { seconds, kinds, held: this.#held.size };
  }

  /** All streams were asked for, and for a while no more of them were let in. */
  get isOpen(): boolean {
    return this.#streamsBegun >= STREAMS_ASKED && performance.now() - this.#heldAtMs > OPEN_AFTER_MS;
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const connection of this.#open) connection.destroy();
  }

  #countAnew(): void {
    // Connections that live on count into the object that they know.
    for (const kind of this.#kinds) {
      const outcomes = this.#counts.get(kind)?.outcomes ?? {};
      for (const outcome of Object.keys(outcomes)) delete outcomes[outcome];
      this.#counts.set(kind, { begun: 0, leftOut: 0, outcomes });
    }
    this.#beganAtMs = performance.now();
  }

  #step(): void {
    const now = performance.now();
    const passedMs = now - this.#steppedAtMs;
    this.#steppedAtMs = now;
    for (const kind of this.#kinds) {
      const due = (this.#due.get(kind) ?? 0) + (this.#rateOf(kind) * passedMs) / 1000;
      const whole = Math.floor(due);
      this.#due.set(kind, due - whole);
      for (let count = 0; count < whole; count += 1) this.#begin(kind);
    }
  }

  #rateOf({ name, perSecond }: Kind): number {
    return name === "event stream" && this.#streamsBegun >= STREAMS_ASKED ? STREAMS_AGAIN_PER_SECOND : perSecond;
  }

  #begin(kind: Kind): void {
    const count = this.#counts.get(kind);
    const underWay = this.#underWay.get(kind) ?? 0;
    if (count === undefined) return;
    if (underWay >= kind.underWayMax) {
      count.leftOut += kind.batch;
      return;
    }
    count.begun += kind.batch;
    this.#underWay.set(kind, underWay + 1);
    this.#number += 1;
    void kind.begin(this.#number, count.outcomes).then(() => this.#underWay.set(kind, (this.#underWay.get(kind) ?? 1) - 1));
  }

  #floodKinds(): Kind[] {
    const wrong = statusRequest("steadfast_wrong");
    const oversized = Buffer.concat([
      Buffer.from(`POST /verify HTTP/1.1\r\n${head(this.#aim.token)}content-length: ${OVERSIZED_BYTES}\r\n\r\n`),
      Buffer.alloc(OVERSIZED_BYTES, "x"),
    ]);
    const ordinary = { underWayMax: UNDER_WAY_MAX, batch: 1 };
    return [
      this.#keptKind("valid token", statusRequest(this.#aim.token)),
      this.#keptKind("wrong token", wrong),
      {
        ...{ ...ordinary, name: "handshake begun", perSecond: HANDSHAKES_PER_SECOND },
        begin: (number, outcomes) => beginHandshake(this.#aim, number, this.#hello, ANSWER_LIMIT_MS, outcomes),
      },
      {
        ...{ ...ordinary, name: "new connection, wrong token", perSecond: CONNECTIONS_PER_SECOND },
        begin: (number, outcomes) => this.#once(number, outcomes, wrong),
      },
      {
        ...{ ...ordinary, name: "oversized body", perSecond: OVERSIZED_PER_SECOND },
        begin: (number, outcomes) => this.#once(number, outcomes, oversized),
      },
      {
        ...{ name: "slow client", perSecond: CONNECTIONS_PER_SECOND, underWayMax: SLOW_MAX, batch: 1 },
        begin: (number, outcomes) => this.#trickle(number, outcomes),
      },
    ];
  }

  #streamKind(): Kind {
    const request = `GET /events?since=1000000000&follow=1 HTTP/1.1\r\n${head(this.#aim.token)}\r\n`;
    return {
      ...{ name: "event stream", perSecond: STREAMS_PER_SECOND, underWayMax: STREAMS_ASKED, batch: 1 },
      begin: async (number, outcomes) => {
        this.#streamsBegun += 1;
        const connection = this.#connect(number, outcomes);
        connection.say(request);
        await answered(connection);
        // Whoever was told that there are too many lets go; the others stay.
        if (connection.lastStatus !== "200") connection.destroy();
        else if (!connection.isOver) await this.#hold(connection);
      },
    };
  }

  /** Over connections that are kept, many requests at once. */
  #keptKind(name: string, request: string): Kind {
    const kept: (AttackConnection | undefined)[] = [];
    const batch = request.repeat(PIPELINED);
    return {
      ...{ name, perSecond: BATCHES_PER_SECOND, underWayMax: UNDER_WAY_MAX, batch: PIPELINED },
      begin: (number, outcomes) => {
        const place = number % KEPT_CONNECTIONS;
        const now = kept[place];
        const connection = now === undefined || now.isOver ? (kept[place] = this.#connect(number, outcomes)) : now;
        connection.say(batch);
        return Promise.resolve();
      },
    };
  }

  #connect(number: number, outcomes: Outcomes): AttackConnection {
    const connection = new AttackConnection(this.#aim, number, outcomes);
    this.#open.add(connection);
    connection.onEnd(() => this.#open.delete(connection));
    return connection;
  }

  async #once(number: number, outcomes: Outcomes, request: string | Buffer): Promise<void> {
    const connection = this.#connect(number, outcomes);
    connection.say(request);
    await answered(connection);
    connection.destroy();
  }

  /** A head that never ends, a byte at a time. */
  async #trickle(number: number, outcomes: Outcomes): Promise<void> {
    const connection = this.#connect(number, outcomes);
    connection.say("GET /status HTTP/1.1\r\nx: ");
    const timer = setInterval(() => connection.say("y"), SLOW_BYTE_EVERY_MS);
    await this.#hold(connection);
    clearInterval(timer);
  }

  async #hold(connection: AttackConnection): Promise<void> {
    this.#held.add(connection);
    this.#heldAtMs = performance.now();
    await new Promise<void>((resolve) => connection.onEnd(resolve));
    this.#held.delete(connection);
  }
}

/** Its first answer is there, or it ended, or the time for that is over. */
async function answered(connection: AttackConnection): Promise<void> {
  const giveUpAt = performance.now() + ANSWER_LIMIT_MS;
  while (!connection.isOver && connection.answers === 0 && performance.now() < giveUpAt)
    await new Promise((resolve) => setTimeout(resolve, STEP_MS));
}
