/** Where a certification programme keeps what the command line reads and writes as well. */
import { join } from "node:path";

export interface ProgrammePaths {
  readonly tokensFile: string;
  readonly auditFile: string;
}

export function programmePaths(directory: string): ProgrammePaths {
  return { tokensFile: join(directory, "tokens.json"), auditFile: join(directory, "audit.jsonl") };
}
