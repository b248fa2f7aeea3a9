/** Speaks to a certification programme. */
import type { IncomingMessage } from "node:http";
import { openRequest, readAnswer, serverSentEvents, Unanswered, type Call, type TlsTarget } from "../client/transport.js";
import { SteadfastError } from "../foundation/errors.js";
import { reportedError, type ReportedFacts } from "../foundation/reported-error.js";
import type { CatalogueAnswer, SubmissionAnswer } from "../programme/answers.js";
import { createReadStream } from "node:fs";

const ANSWER_BYTES_MAX = 64 * 1024 * 1024;
const ANSWER_LIMIT_MS = 30_000;
/** After the last byte of a package: it is looked at, one after the other. */
const SUBMIT_LIMIT_MS = 15 * 60_000;
/** While a programme restarts, whoever follows waits so long. */
const PATIENCE_MS = 60_000;
const RETRY_MS = 500;

export class ProgrammeClient {
  constructor(private readonly target: TlsTarget) {}

  async submit(file: string, bytes: number, digest: string): Promise<SubmissionAnswer> {
    const headers = { "content-type": "application/x-tar", "content-length": bytes };
    const call = { method: "POST", path: `/submissions?digest=${digest}`, headers, limitMs: SUBMIT_LIMIT_MS };
    return parsed(await this.#read({ ...call, body: createReadStream(file) }));
  }

  async submissions(): Promise<readonly SubmissionAnswer[]> {
    return parsed<{ submissions: SubmissionAnswer[] }>(await this.#read(get("/submissions"))).submissions;
  }

  async submission(id: number): Promise<SubmissionAnswer> {
    return parsed(await this.#read(get(`/submissions/${id}`)));
  }

  async cancel(id: number): Promise<SubmissionAnswer> {
    return parsed(await this.#read({ method: "DELETE", path: `/submissions/${id}`, limitMs: ANSWER_LIMIT_MS }));
  }

  async catalogue(base?: string): Promise<CatalogueAnswer> {
    return parsed(await this.#read(get(base === undefined ? "/catalogue" : `/catalogue?base=${encodeURIComponent(base)}`)));
  }

  /** Package, certificate or report; null: there is none. */
  async bytesOf(path: string): Promise<Buffer | null> {
    try {
      return await this.#read(get(path), BYTES_MAX);
    } catch (error) {
      if (error instanceof SteadfastError && error.code === "PROGRAMME_NOTHING") return null;
      throw error;
    }
  }

  /** Each change of a submission until it has ended, across restarts of the programme; its last state. */
  async follow(id: number, onChange: (submission: SubmissionAnswer) => void): Promise<SubmissionAnswer> {
    let heardMs = performance.now();
    for (;;) {
      try {
        const response = await this.#open(get(`/submissions/${id}?follow=1`, 0));
        for await (const data of serverSentEvents(response)) {
          heardMs = performance.now();
          const submission = JSON.parse(data) as SubmissionAnswer;
          onChange(submission);
          if (submission.endedAt !== null) return submission;
        }
      } catch (error) {
        if (!isPassing(error) || performance.now() - heardMs > PATIENCE_MS) throw error;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  async #read(call: Call, bytesMax = ANSWER_BYTES_MAX): Promise<Buffer> {
    const response = await this.#open(call);
    try {
      return await readAnswer(response, bytesMax);
    } catch (error) {
      throw this.#explained(error);
    }
  }

  async #open(call: Call): Promise<IncomingMessage> {
    let response: IncomingMessage;
    try {
      response = await openRequest(this.target, call);
    } catch (error) {
      throw this.#explained(error);
    }
    if ((response.statusCode ?? 500) < 400) return response;
    throw refusal(await readAnswer(response, ANSWER_BYTES_MAX), response.statusCode ?? 0);
  }

  #explained(error: unknown): unknown {
    if (!(error instanceof Unanswered)) return error;
    return new SteadfastError("PROGRAMME_UNREACHABLE", { url: this.target.url, why: error.message.replace(/^no answer: /, "") });
  }
}

/** A package, and room for its headers. */
const BYTES_MAX = 512 * 1024 * 1024;

function get(path: string, limitMs = ANSWER_LIMIT_MS): Call {
  return { method: "GET", path, ...(limitMs > 0 && { limitMs }) };
}

function parsed<T>(bytes: Buffer): T {
  return JSON.parse(bytes.toString("utf8")) as T;
}

function isPassing(error: unknown): boolean {
  return error instanceof SteadfastError && ["PROGRAMME_UNREACHABLE", "API_TOO_OFTEN", "API_CROWDED"].includes(error.code);
}

function refusal(bytes: Buffer, status: number): Error {
  try {
    return reportedError(parsed<{ error: ReportedFacts }>(bytes).error);
  } catch {
    return new Error(`the programme answered with status ${status}`);
  }
}
