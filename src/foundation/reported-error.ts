/** Errors that another process of ours reported, as JSON. */
import { ERRORS, SteadfastError, type ErrorCode } from "./errors.js";

/** What another process of ours says of its error, as JSON. */
export interface ReportedFacts {
  readonly code: string;
  readonly message: string;
  /** Absent: that of the registry. */
  readonly exit?: number | undefined;
}

/** An error that another process reported: same code, sentence and exit code as if it had happened here. */
class ReportedError extends SteadfastError {
  override readonly message: string;
  override readonly exit: number;

  constructor(code: ErrorCode, { message, exit }: ReportedFacts) {
    super(code);
    this.message = message;
    this.exit = exit ?? ERRORS[code].exit;
  }
}

/** A code that is not known here is of a defect there, or of another version. */
export function reportedError(facts: ReportedFacts): Error {
  return Object.hasOwn(ERRORS, facts.code) ? new ReportedError(facts.code as ErrorCode, facts) : new Error(facts.message);
}
