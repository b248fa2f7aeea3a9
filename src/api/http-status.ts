/** HTTP statuses of operating errors, the same whichever way the control API is asked. */
import { SteadfastError, type ErrorCode } from "../foundation/errors.js";

const STATUSES: Partial<Record<ErrorCode, number>> = {
  API_UNAUTHORIZED: 401,
  API_FORBIDDEN: 403,
  API_FOREIGN_SITE: 403,
  API_TICKET: 403,
  CONSOLE_MISSING: 404,
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
