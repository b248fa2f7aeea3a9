/** HTTP statuses of operating errors, the same whichever way the control API is asked. */
import { SteadfastError, type ErrorCode } from "../foundation/errors.js";

const STATUSES: Partial<Record<ErrorCode, number>> = {
  API_UNAUTHORIZED: 401,
  API_FORBIDDEN: 403,
  API_FOREIGN_SITE: 403,
  API_TICKET: 403,
  CONSOLE_MISSING: 404,
  PROGRAMME_NOTHING: 404,
  SUBMISSION_UNKNOWN: 404,
  SUBMISSION_OTHERS: 403,
  CHANGE_TOO_LARGE: 413,
  PROGRAMME_SHARE_FULL: 429,
  PROGRAMME_QUEUE_FULL: 503,
  PROGRAMME_CATALOGUE_FULL: 507,
  PROGRAMME_STORE_FULL: 507,
  PROGRAMME_STORE: 507,
  DISK_FULL: 507,
  SUBMISSION_UNCHECKED: 503,
  API_TOO_OFTEN: 429,
  API_CROWDED: 503,
  API_UNANSWERED: 503,
};

export function statusOf(error: SteadfastError): number {
  return STATUSES[error.code] ?? (error.exit === 2 ? 400 : 409);
}

export interface ErrorAnswer {
  readonly status: number;
  readonly body: { readonly error: { readonly code: string; readonly message: string; readonly exit: number } };
}

/** What a client gets of an error. */
export function errorAnswer(error: unknown): ErrorAnswer {
  if (error instanceof SteadfastError)
    return { status: statusOf(error), body: { error: { code: error.code, message: error.message, exit: error.exit } } };
  const message = error instanceof Error ? error.message : String(error);
  return { status: 500, body: { error: { code: "INTERNAL", message, exit: 1 } } };
}
