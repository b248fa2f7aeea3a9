/** How the workloads ask a running server for its facts; the command line supplies the client of the control API. */
import type { Duplex } from "node:stream";
import type { LoggedEvent } from "../modules/management-events.js";
import type { FaultDetails, FaultKind } from "../modules/management-faults.js";
import type { ServerReport } from "../modules/management-status.js";

export type ServerView = ServerReport;
export type ModuleView = Pick<ServerReport["modules"][number], "name" | "kind" | "pid" | "state" | "progress" | "isActive">;

export interface ServerSource {
  readonly name: string;
  read(): Promise<ServerView>;
}

/** A server that can also be made to fail from inside, and asked what it noticed. */
export interface DrillSource extends ServerSource {
  pull(module: string): Promise<unknown>;
  insert(module: string): Promise<unknown>;
  fault(kind: FaultKind, module: string, details: FaultDetails): Promise<unknown>;
  events(since: number): Promise<readonly LoggedEvent[]>;
  verify(): Promise<{ readonly equal: boolean; readonly digests: Readonly<Record<string, string>> }>;
  /** The guest's console. */
  console(): Promise<Duplex>;
}

export type OpenSource = (name: string) => DrillSource;
