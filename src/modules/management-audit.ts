/**
 * The audit log: who asked for which change, from where, and what became of it. The leading management module writes it; the command line
 * adds what it does without asking management, such as `up`.
 */
import { appendFileSync } from "node:fs";
import type { Caller } from "../access/roles.js";
import { localUserName, ownUser } from "../ports/peer-user.js";
import { JsonLinesFile, readLines, type LinesLimits } from "./json-lines-file.js";

export const AUDIT_LIMITS: LinesLimits = { fileBytesMax: 4 * 1024 * 1024, filesMax: 5 };
/** A longer body is left out: what was asked for was refused anyway. */
const DETAIL_BYTES_MAX = 1024;

export interface AuditEntry {
  readonly atMs: number;
  /** Name of the token, or `local uid 0`, or `local uid 0 (logged in as uid 1000)`. */
  readonly who: string;
  readonly role: string;
  /** An address, `unix socket`, or `command line`. */
  readonly from: string;
  /** `POST /modules/cpu0/pull`, `up` */
  readonly what: string;
  /** The body of the request. */
  readonly details?: unknown;
  /** `done`, or the code of the error. */
  readonly outcome: string;
}

export class AuditLog {
  readonly #file: JsonLinesFile;

  constructor(path: string) {
    this.#file = new JsonLinesFile(path, AUDIT_LIMITS);
  }

  add(caller: Caller, what: string, details: unknown, outcome: string): void {
    this.#file.append(auditEntry(caller, what, details, outcome));
  }
}

function auditEntry({ name, role, from }: Caller, what: string, details: unknown, outcome: string): AuditEntry {
  const text = JSON.stringify(details);
  const isKept = text !== undefined && text !== "{}" && text.length <= DETAIL_BYTES_MAX;
  return { atMs: Date.now(), who: name, role, from, what, ...(isKept && { details }), outcome };
}

/** What the user of this process did himself. One line at once, so that it may be added while management writes too. */
export function auditCommand(path: string, what: string, details: unknown, outcome: string): void {
  const caller: Caller = { name: localUserName(ownUser()), role: "operate", from: "command line" };
  try {
    appendFileSync(path, `${JSON.stringify(auditEntry(caller, what, details, outcome))}\n`, { mode: 0o600 });
  } catch (error) {
    process.stderr.write(`The audit log ${path} cannot be written: ${(error as Error).message}\n`);
  }
}

export function isAuditEntry(value: unknown): value is AuditEntry {
  const entry = value as Partial<AuditEntry> | null;
  return typeof entry?.atMs === "number" && typeof entry.who === "string" && typeof entry.what === "string";
}

/** Oldest first. */
export function readAudit(path: string): AuditEntry[] {
  return readLines(path, AUDIT_LIMITS).filter(isAuditEntry);
}
