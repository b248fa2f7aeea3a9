/** What a front asks of the leading management module: a few requests at one time, the others wait, and no more than so many do. */
import type { OutgoingHttpHeaders } from "node:http";
import { ACTOR_HEADER, FROM_HEADER, ROLE_HEADER } from "../api/caller-headers.js";
import type { Caller } from "../access/roles.js";
import { SharedReads } from "../access/shared-reads.js";
import { openRequest, readAnswer, Unanswered, type UnixTarget } from "../client/transport.js";
import { SteadfastError } from "../foundation/errors.js";
import {
  ANSWER_BYTES_MAX,
  UPSTREAM_CALLS_MAX,
  UPSTREAM_CHANGE_LIMIT_MS,
  UPSTREAM_PATIENCE_MS,
  UPSTREAM_RETRY_MS,
  UPSTREAM_WAITING_MAX,
} from "./limits.js";

export interface Answer {
  readonly status: number;
  readonly contentType: string;
  readonly body: Buffer;
}

export function callerHeaders({ name, role, from }: Caller): OutgoingHttpHeaders {
  return { [ACTOR_HEADER]: name, [ROLE_HEADER]: role, [FROM_HEADER]: from };
}

export class Upstream {
  readonly target: UnixTarget;
  #running = 0;
  readonly #waiting: (() => void)[] = [];
  readonly #reads = new SharedReads<Answer>();

  constructor(controlSocket: string) {
    this.target = { socketPath: controlSocket };
  }

  /** @throws SteadfastError API_CROWDED, API_UNANSWERED */
  ask(caller: Caller, method: string, path: string, body: Buffer | null): Promise<Answer> {
    const ask = (): Promise<Answer> => this.#inTurn(caller, method, path, body);
    return method === "GET" ? this.#reads.ask(`${caller.role} ${caller.name} ${path}`, ask) : ask();
  }

  async #inTurn(caller: Caller, method: string, path: string, body: Buffer | null): Promise<Answer> {
    await this.#enter();
    try {
      return await this.#untilAnswered(caller, method, path, body);
    } finally {
      this.#running -= 1;
      this.#waiting.shift()?.();
    }
  }

  async #enter(): Promise<void> {
    if (this.#running >= UPSTREAM_CALLS_MAX) {
      if (this.#waiting.length >= UPSTREAM_WAITING_MAX)
        throw new SteadfastError("API_CROWDED", { limit: UPSTREAM_WAITING_MAX, what: "requests that wait for an answer" });
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    this.#running += 1;
  }

  /** While another module takes the lead nobody answers; what may have been carried out is not asked for again. */
  async #untilAnswered(caller: Caller, method: string, path: string, body: Buffer | null): Promise<Answer> {
    const giveUpAt = performance.now() + UPSTREAM_PATIENCE_MS;
    for (;;) {
      try {
        return await this.#once(caller, method, path, body);
      } catch (error) {
        if (!(error instanceof Unanswered)) throw error;
        const isRepeatable = method === "GET" || !error.mayBeDone;
        if (!isRepeatable || performance.now() > giveUpAt) throw new SteadfastError("API_UNANSWERED");
        await new Promise((resolve) => setTimeout(resolve, UPSTREAM_RETRY_MS));
      }
    }
  }

  async #once(caller: Caller, method: string, path: string, body: Buffer | null): Promise<Answer> {
    const headers = { ...callerHeaders(caller), ...(body && { "content-type": "application/json", "content-length": body.length }) };
    const limitMs = method === "GET" ? UPSTREAM_PATIENCE_MS : UPSTREAM_CHANGE_LIMIT_MS;
    const response = await openRequest(this.target, { method, path, headers, limitMs, ...(body && { body }) });
    const contentType = response.headers["content-type"] ?? "application/json";
    return { status: response.statusCode ?? 502, contentType, body: await readAnswer(response, ANSWER_BYTES_MAX) };
  }
}
