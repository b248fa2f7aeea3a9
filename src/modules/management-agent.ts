/**
 * Requests to the agent in the guest (../agent/lines.ts), by way of the active I/O module: one at a time, each with an id. What may have
 * been lost on its way (the I/O module was, or nothing was heard for long) is sent again with the same id: the agent carries out no id
 * twice and repeats its recorded answer. A request that stays without an answer ends in an error that says that its effect is not known.
 */
import { randomBytes } from "node:crypto";
import { AgentReader, encodeRequest, isAgentId, requestProblem, type AgentLine, type AgentRequest } from "../agent/lines.js";
import { SteadfastError } from "../foundation/errors.js";
import type { ManagementToIo } from "../wire/control.js";

/** Requests that wait for the one under way. */
const MAX_WAITING = 16;
/** After so long without a word about it a request is sent again. */
const REPEAT_AFTER_MS = 10_000;
/** For the answer, on top of the time that the request itself may take. */
const ANSWER_LIMIT_MS = 60_000;

export interface AgentAnswer {
  readonly id: string;
  /** Exit status; of other requests than `run`: 0, or 1 with a sentence as output. */
  readonly status: number;
  /** Of a command: what it printed, up to the limit that the agent has. */
  readonly output: Uint8Array;
}

export interface AgentLinkHooks {
  /** False: there is no active I/O module at the moment. */
  send(message: ManagementToIo): boolean;
  beat(line: Extract<AgentLine, { kind: "beat" }>): void;
}

interface Pending {
  readonly id: string;
  readonly request: AgentRequest;
  readonly parts: Map<number, Uint8Array>;
  resolve(answer: AgentAnswer): void;
  reject(error: SteadfastError): void;
}

export function agentMessage(id: string, request: AgentRequest): ManagementToIo {
  return { kind: "agent", base64: Buffer.from(encodeRequest(id, request)).toString("base64") };
}

/**
 * An id that no other request has, whoever made it on this host. Ids rise with the time since the host's start: by that the agent tells
 * what it has forgotten from what is new.
 */
export function newAgentId(): string {
  return `${(process.hrtime.bigint() / 1000n).toString(36).padStart(11, "0")}-${randomBytes(4).toString("hex")}`;
}

/** One from the future would have the agent take all ids that are yet to come for forgotten ones. */
function idProblem(id: string): string | null {
  return isAgentId(id) && id <= newAgentId() ? null : "a request's id is one that an earlier answer or error named";
}

export class AgentLink {
  readonly #hooks: AgentLinkHooks;
  readonly #reader = new AgentReader();
  readonly #waiting: Pending[] = [];
  #current: Pending | null = null;
  /** Ids below were made before the guest's last start: it would not know what it did for them. */
  #oldestId = "";
  #repeatTimer: NodeJS.Timeout | null = null;
  #limitTimer: NodeJS.Timeout | null = null;

  constructor(hooks: AgentLinkHooks) {
    this.#hooks = hooks;
  }

  /** For another leader: `adopt` takes it. */
  get oldestId(): string {
    return this.#oldestId;
  }

  adopt(oldestId: string): void {
    this.#oldestId = oldestId;
  }

  /** `id`: of a request that was made before and whose answer was lost; the agent repeats that instead of carrying it out again. */
  request(request: AgentRequest, id = newAgentId()): Promise<AgentAnswer> {
    const problem = idProblem(id) ?? requestProblem(request);
    if (problem !== null) throw new SteadfastError("AGENT_REQUEST", { why: problem });
    if (id < this.#oldestId) throw new SteadfastError("AGENT_UNANSWERED", { id, why: "the guest was started anew since it was made" });
    if (this.#waiting.length >= MAX_WAITING) throw new SteadfastError("AGENT_BUSY", { most: MAX_WAITING });
    return new Promise((resolve, reject) => {
      this.#waiting.push({ id, request, parts: new Map(), resolve, reject });
      this.#next();
    });
  }

  /** What the guest wrote. */
  heard(bytes: Uint8Array): void {
    for (const line of this.#reader.read(bytes)) this.#line(line);
  }

  /** Another I/O module is the active one: what was on its way may be lost. */
  repeat(): void {
    if (this.#current !== null) this.#send(this.#current);
  }

  /** The guest starts from nothing, or the server ends: nobody will answer any more. */
  lost(why: string): void {
    this.#oldestId = newAgentId();
    const failed = [...(this.#current === null ? [] : [this.#current]), ...this.#waiting];
    this.#settle();
    this.#waiting.length = 0;
    for (const { id, reject } of failed) reject(new SteadfastError("AGENT_UNANSWERED", { id, why }));
  }

  #next(): void {
    if (this.#current !== null) return;
    const next = this.#waiting.shift();
    if (next === undefined) return;
    this.#current = next;
    const limitMs = ANSWER_LIMIT_MS + (next.request.verb === "run" ? next.request.limitSeconds * 1000 : 0);
    this.#limitTimer = setTimeout(() => this.#fail(next, "it did not answer in time"), limitMs);
    this.#send(next);
  }

  #send({ id, request }: Pending): void {
    this.#repeatLater();
    // Without an I/O module now there is a next one soon.
    this.#hooks.send(agentMessage(id, request));
  }

  #repeatLater(): void {
    if (this.#repeatTimer !== null) clearTimeout(this.#repeatTimer);
    this.#repeatTimer = setTimeout(() => this.repeat(), REPEAT_AFTER_MS);
  }

  #line(line: AgentLine): void {
    if (line.kind === "beat") return this.#hooks.beat(line);
    const current = this.#current;
    // The answer to a request of a former leader, or one that a takeover repeated.
    if (current === null || line.id !== current.id) return;
    switch (line.kind) {
      case "part":
        current.parts.set(line.index, line.bytes);
        // The rest is on its way.
        return this.#repeatLater();
      case "refused":
        return this.#fail(current, `it refused (${line.why})`);
      case "done": {
        const { id, parts } = current;
        const pieces = Array.from({ length: line.parts }, (_, index) => parts.get(index));
        // A part was lost with an I/O module: all of it is said again when asked again.
        if (pieces.some((piece) => piece === undefined)) return this.#send(current);
        this.#settle();
        current.resolve({ id, status: line.status, output: Buffer.concat(pieces as Uint8Array[]) });
        this.#next();
      }
    }
  }

  #fail(pending: Pending, why: string): void {
    this.#settle();
    pending.reject(new SteadfastError("AGENT_UNANSWERED", { id: pending.id, why }));
    this.#next();
  }

  #settle(): void {
    for (const timer of [this.#repeatTimer, this.#limitTimer]) if (timer !== null) clearTimeout(timer);
    this.#repeatTimer = this.#limitTimer = null;
    this.#current = null;
  }
}
