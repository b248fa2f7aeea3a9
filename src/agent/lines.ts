/**
 * The language of management and the agent in the guest (recipes/guest/agent): lines over the virtual port. Every line is one write, so
 * that a takeover of the I/O module, after which writes may come again, repeats whole lines and nothing else; numbers and ids tell them
 * apart. Management writes one request at a time and waits for its answer: nothing can pile up in the port.
 *
 *   guest:       beat NUMBER UPTIME [NAME:STATE:FAILURES …]    every few seconds
 *                part ID INDEX BASE64                          output of a request, in parts
 *                done ID STATUS PARTS                          its end; STATUS is an exit status
 *                refused ID WHY                                unknown verb, or an id of which only is known that it was seen
 *   management:  ping ID · health ID · run ID SECONDS COMMAND · put ID PATH MODE TOTAL OFFSET LENGTH,
 *                then a line with LENGTH bytes as Base64, which cannot be taken for a request
 *
 * COMMAND and PATH are Base64 of UTF-8; SECONDS, TOTAL, OFFSET and LENGTH are decimal, MODE is octal.
 */
import { fromBase64, toBase64, utf8Encode } from "../foundation/bytes.js";

/** A longer line is none: what came since the last end of a line is dropped, up to the next. */
export const MAX_LINE_BYTES = 2048;
export const MAX_SERVICES = 64;
/** Parts of one answer. */
export const MAX_PARTS = 1024;
export const MAX_RUN_SECONDS = 600;
export const MAX_COMMAND_BYTES = 8 * 1024;
export const MAX_PATH_BYTES = 1024;
/** Bytes that one `put` carries. */
export const MAX_CHUNK_BYTES = 24 * 1024;
export const MAX_FILE_BYTES = 256 * 1024 * 1024;

const ID = /^[a-z0-9-]{1,32}$/;
const COUNT = /^\d{1,9}$/;
const SERVICE = /^([A-Za-z0-9_.-]{1,64}):(up|ended|looping):(\d{1,9})$/;
const NEWLINE = 0x0a;

/** `looping`: it has ended soon after its start several times in a row, and is not up for long yet. */
export type ServiceCondition = "up" | "ended" | "looping";

export interface ReportedService {
  readonly name: string;
  readonly condition: ServiceCondition;
  /** Times in a row that it ended soon after its start. */
  readonly failures: number;
}

export type AgentLine =
  /** Numbers count up from 1 since the agent's start; `uptimeSeconds` since the guest's. */
  | { readonly kind: "beat"; readonly number: number; readonly uptimeSeconds: number; readonly services: readonly ReportedService[] }
  | { readonly kind: "part"; readonly id: string; readonly index: number; readonly bytes: Uint8Array }
  | { readonly kind: "done"; readonly id: string; readonly status: number; readonly parts: number }
  | { readonly kind: "refused"; readonly id: string; readonly why: string };

export type AgentRequest =
  | { readonly verb: "ping" }
  /** A beat now, before the answer. */
  | { readonly verb: "health" }
  /** Runs a command line by the guest's shell, as root. */
  | { readonly verb: "run"; readonly command: string; readonly limitSeconds: number }
  /** One chunk of a file; the last one, which reaches `totalBytes`, gives it its name and `mode`. */
  | {
      readonly verb: "put";
      readonly path: string;
      readonly mode: number;
      readonly totalBytes: number;
      readonly offset: number;
      readonly bytes: Uint8Array;
    };

export function isAgentId(text: string): boolean {
  return ID.test(text);
}

function beatOf(words: readonly string[]): AgentLine | null {
  const [number = "", uptime = "", ...rest] = words;
  if (!COUNT.test(number) || !COUNT.test(uptime) || rest.length > MAX_SERVICES) return null;
  const services: ReportedService[] = [];
  for (const word of rest) {
    const [, name, condition, failures] = SERVICE.exec(word) ?? [];
    if (name === undefined) return null;
    services.push({ name, condition: condition as ServiceCondition, failures: Number(failures) });
  }
  return { kind: "beat", number: Number(number), uptimeSeconds: Number(uptime), services };
}

/** What a line of the guest says; null: it is none. */
export function parseAgentLine(line: string): AgentLine | null {
  const [kind, ...words] = line.split(" ");
  if (kind === "beat") return beatOf(words);
  const [id = "", first = "", second = ""] = words;
  if (!ID.test(id)) return null;
  if (kind === "refused") return { kind, id, why: words.slice(1).join(" ") };
  if (words.length !== 3 || !COUNT.test(first)) return null;
  const number = Number(first);
  if (kind === "part") {
    const bytes = number < MAX_PARTS ? fromBase64(second) : null;
    return bytes === null ? null : { kind, id, index: number, bytes };
  }
  if (kind !== "done" || number > 255 || !COUNT.test(second) || Number(second) > MAX_PARTS) return null;
  return { kind, id, status: number, parts: Number(second) };
}

/** Cuts what the guest writes into lines. The guest may write anything: what is no line of ours is counted and passed over. */
export class AgentReader {
  #tail: number[] = [];
  #isTooLong = false;
  #refused = 0;

  /** Lines that made no sense. */
  get refused(): number {
    return this.#refused;
  }

  read(bytes: Uint8Array): AgentLine[] {
    const lines: AgentLine[] = [];
    for (const byte of bytes) {
      if (byte === NEWLINE) this.#end(lines);
      else if (this.#tail.length < MAX_LINE_BYTES) this.#tail.push(byte);
      else this.#isTooLong = true;
    }
    return lines;
  }

  #end(lines: AgentLine[]): void {
    const text = String.fromCharCode(...this.#tail);
    const line = this.#isTooLong ? null : parseAgentLine(text);
    this.#tail = [];
    this.#isTooLong = false;
    if (line === null) this.#refused += 1;
    else lines.push(line);
  }
}

/** Why a request cannot be made; null: it can. */
export function requestProblem(request: AgentRequest): string | null {
  switch (request.verb) {
    case "ping":
    case "health":
      return null;
    case "run": {
      const { limitSeconds } = request;
      if (!Number.isInteger(limitSeconds) || limitSeconds < 1 || limitSeconds > MAX_RUN_SECONDS)
        return `a command may take 1 to ${MAX_RUN_SECONDS} seconds`;
      const length = utf8Encode(request.command).length;
      return length > 0 && length <= MAX_COMMAND_BYTES ? null : `a command has 1 to ${MAX_COMMAND_BYTES} bytes`;
    }
    case "put":
      return putProblem(request);
  }
}

function putProblem({ path, mode, totalBytes, offset, bytes }: Extract<AgentRequest, { verb: "put" }>): string | null {
  const length = utf8Encode(path).length;
  // A NUL or an end of line would not survive the guest's shell.
  if (!path.startsWith("/") || path.endsWith("/") || /[\0\n]/.test(path) || length > MAX_PATH_BYTES)
    return `a path is absolute, names a file and has up to ${MAX_PATH_BYTES} bytes`;
  if (!Number.isInteger(mode) || mode < 0 || mode > 0o7777) return "a mode has four octal digits";
  if (!Number.isInteger(totalBytes) || totalBytes < 0 || totalBytes > MAX_FILE_BYTES) return `a file has up to ${MAX_FILE_BYTES} bytes`;
  if (bytes.length > MAX_CHUNK_BYTES || (bytes.length === 0 && totalBytes > 0)) return `a chunk has 1 to ${MAX_CHUNK_BYTES} bytes`;
  return Number.isInteger(offset) && offset >= 0 && offset + bytes.length <= totalBytes ? null : "a chunk lies within its file";
}

/** The bytes of a request, to be written at once. It must have no problem. */
export function encodeRequest(id: string, request: AgentRequest): Uint8Array {
  const problem = isAgentId(id) ? requestProblem(request) : "an id has up to 32 small letters, digits and hyphens";
  if (problem !== null) throw new RangeError(problem);
  const text = (value: string): string => toBase64(utf8Encode(value));
  switch (request.verb) {
    case "ping":
    case "health":
      return utf8Encode(`${request.verb} ${id}\n`);
    case "run":
      return utf8Encode(`run ${id} ${request.limitSeconds} ${text(request.command)}\n`);
    case "put": {
      const { path, mode, totalBytes, offset, bytes } = request;
      const head = `put ${id} ${text(path)} ${mode.toString(8)} ${totalBytes} ${offset} ${bytes.length}`;
      return utf8Encode(`${head}\n${toBase64(bytes)}\n`);
    }
  }
}
