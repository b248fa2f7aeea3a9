/** How the workloads ask a running server for its facts; the command line supplies the client of the control API. */
import type { ServerReport } from "../modules/management-status.js";

export type ServerView = ServerReport;
export type ModuleView = Pick<ServerReport["modules"][number], "name" | "kind" | "pid" | "state" | "progress">;

export interface ServerSource {
  readonly name: string;
  read(): Promise<ServerView>;
}

export type OpenSource = (name: string) => ServerSource;
