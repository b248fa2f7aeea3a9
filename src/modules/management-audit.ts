/** The audit log: who asked for which change, from where, and what became of it. The leading management module writes it. */
import type { Caller } from "../access/roles.js";
import { JsonLinesFile, readLines, type LinesLimits } from "./json-lines-file.js";

export const AUDIT_LIMITS: LinesLimits = { fileBytesMax: 4 * 1024 * 1024, filesMax: 5 };
/** A longer body is left out: what was asked for was refused anyway. */
const DETAIL_BYTES_MAX = 1024;

export interface AuditEntry {
  readonly atMs: number;
  /** Name of the token, or `local uid 0`. */
  readonly who: string;
  readonly role: string;
  /** An address, or `unix socket`. */
  readonly from: string;
  /** `POST /modules/cpu0/pull` */
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
    const text = JSON.stringify(details);
    const isKept = text !== undefined && text !== "{}" && text.length <= DETAIL_BYTES_MAX;
    const entry: AuditEntry = {
      atMs: Date.now(),
      who: caller.name,
      role: caller.role,
      from: caller.from,
      what,
      ...(isKept && { details }),
      outcome,
    };
    this.#file.append(entry);
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
