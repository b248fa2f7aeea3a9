/** A typed client of the control API: the same over a server's Unix socket and over TLS with a token. */
import type { components, paths } from "./api-types.js";
import { openRequest, readAnswer, serverSentEvents, Unanswered, type Target } from "./transport.js";

type Schemas = components["schemas"];
export type Status = Schemas["Status"];
export type ServerEvent = Schemas["Event"];

const ANSWER_BYTES_MAX = 16 * 1024 * 1024;
const READ_LIMIT_MS = 10_000;
/** A recording of a guest's memory takes its time. */
const CHANGE_LIMIT_MS = 300_000;
/** While another management module takes the lead. */
const PATIENCE_MS = 20_000;
const RETRY_MS = 100;
const RETRY_MOST_MS = 2000;

type Operation<Path extends keyof paths, Method extends "get" | "post"> = paths[Path] extends Record<Method, infer Found> ? Found : never;
type PathsWith<Method extends "get" | "post"> = {
  [Path in keyof paths]: Operation<Path, Method> extends never ? never : Path;
}[keyof paths];
type JsonOf<Found> = Found extends { readonly content: { readonly "application/json": infer Json } } ? Json : never;
type AnswerOf<Found> = Found extends { readonly responses: { readonly 200: infer Answer } } ? JsonOf<Answer> : never;
type BodyOf<Found> = Found extends { readonly requestBody?: infer Body } ? JsonOf<NonNullable<Body>> : never;
type NamesOf<Found> = Found extends { readonly parameters: { readonly path: infer Names } } ? Names : Record<string, never>;
type QueryOf<Found> = Found extends { readonly parameters: { readonly query?: infer Query } } ? NonNullable<Query> : Record<string, never>;

/** Every path that is read or asked for a change, with what it takes and answers. */
export type GetPath = PathsWith<"get">;
export type PostPath = PathsWith<"post">;

/** The server refused, or nobody answered. */
export class ControlError extends Error {
  /** Of the list in docs/reference/errors.md. */
  readonly code: string;
  /** Of HTTP; 0: no answer came. */
  readonly status: number;

  constructor(code: string, message: string, status: number) {
    super(message);
    this.name = "ControlError";
    this.code = code;
    this.status = status;
  }
}

export class ControlClient {
  readonly #target: Target;

  constructor(target: Target) {
    this.#target = target;
  }

  /**
   * Asks again while nobody answers, up to 20 s, since another management module takes the lead meanwhile.
   * @throws ControlError
   */
  get<Path extends GetPath>(
    path: Path,
    query: QueryOf<Operation<Path, "get">> | undefined = undefined,
  ): Promise<AnswerOf<Operation<Path, "get">>> {
    return this.#call("GET", withQuery(path, query ?? {}), undefined, READ_LIMIT_MS);
  }

  /**
   * Asks for a change. What may have been carried out before the answer was lost is not asked for again: that is API_UNANSWERED.
   * @throws ControlError
   */
  post<Path extends PostPath>(
    path: Path,
    body: BodyOf<Operation<Path, "post">>,
    names: NamesOf<Operation<Path, "post">> | undefined = undefined,
  ): Promise<AnswerOf<Operation<Path, "post">>> {
    return this.#call("POST", withNames(path, names ?? {}), JSON.stringify(body), CHANGE_LIMIT_MS);
  }

  /**
   * A report now and whenever something changed, for as long as the server can be reached again within 20 s.
   * @throws ControlError
   */
  async *followStatus(signal?: AbortSignal): AsyncGenerator<Status, void, undefined> {
    for await (const data of this.#follow(() => "/status?follow=1", signal)) yield JSON.parse(data) as Status;
  }

  /**
   * Each event after the one with the number `since`, once, whichever management module leads.
   * @throws ControlError
   */
  async *followEvents(since: number, signal?: AbortSignal): AsyncGenerator<ServerEvent, void, undefined> {
    let last = since;
    for await (const data of this.#follow(() => `/events?since=${last}&follow=1`, signal)) {
      const event = JSON.parse(data) as ServerEvent;
      last = event.id;
      yield event;
    }
  }

  async *#follow(path: () => string, signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
    // A function: it changes while we wait.
    const isOver = (): boolean => signal?.aborted === true;
    while (!isOver()) {
      try {
        const response = await this.#repeat(async () => {
          const opened = await openRequest(this.#target, { method: "GET", path: path(), ...(signal && { signal }) });
          if (opened.statusCode !== 200) throw errorOf(opened.statusCode ?? 0, await readAnswer(opened, ANSWER_BYTES_MAX));
          return opened;
        }, signal);
        yield* serverSentEvents(response);
      } catch (error) {
        if (!isOver()) throw error;
      }
    }
  }

  #call<Answer>(method: string, path: string, body: string | undefined, limitMs: number): Promise<Answer> {
    const headers = body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    return this.#repeat(
      async () => {
        const response = await openRequest(this.#target, { method, path, headers, limitMs, ...(body !== undefined && { body }) });
        const bytes = await readAnswer(response, ANSWER_BYTES_MAX);
        const status = response.statusCode ?? 0;
        const isJson = (response.headers["content-type"] ?? "").startsWith("application/json");
        // Not ready is an answer too.
        if (status >= 400 && !(status === 503 && !bytes.includes('"error"'))) throw errorOf(status, bytes);
        return (isJson ? JSON.parse(bytes.toString("utf8")) : bytes.toString("utf8")) as Answer;
      },
      undefined,
      method === "GET",
    );
  }

  async #repeat<T>(attempt: () => Promise<T>, signal?: AbortSignal, isHarmless = true): Promise<T> {
    const giveUpAt = performance.now() + PATIENCE_MS;
    for (let pauseMs = RETRY_MS; ; pauseMs = Math.min(2 * pauseMs, RETRY_MOST_MS)) {
      try {
        return await attempt();
      } catch (error) {
        if (!mayRepeat(error, isHarmless) || signal?.aborted === true || performance.now() > giveUpAt) throw lastWord(error);
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
      }
    }
  }
}

function mayRepeat(error: unknown, isHarmless: boolean): boolean {
  if (error instanceof Unanswered) return error.code !== "EACCES" && (isHarmless || !error.mayBeDone);
  // Refused before anything was done.
  return error instanceof ControlError && (error.status === 429 || (error.code === "API_CROWDED" && isHarmless));
}

function lastWord(error: unknown): unknown {
  return error instanceof Unanswered ? new ControlError("API_UNANSWERED", error.message, 0) : error;
}

function errorOf(status: number, bytes: Buffer): ControlError {
  try {
    const { code, message } = (JSON.parse(bytes.toString("utf8")) as Schemas["Error"]).error;
    return new ControlError(code, message, status);
  } catch {
    return new ControlError("INTERNAL", `the server answered with status ${status}`, status);
  }
}

function withQuery(path: string, query: object): string {
  const words = new URLSearchParams(Object.entries(query).map(([name, value]) => [name, String(value)] as [string, string])).toString();
  return words === "" ? path : `${path}?${words}`;
}

function withNames(path: string, names: object): string {
  const known = new Map(Object.entries(names).map(([name, value]) => [name, String(value)]));
  return path.replace(/\{(\w+)\}/g, (_whole, name: string) => encodeURIComponent(known.get(name) ?? ""));
}
