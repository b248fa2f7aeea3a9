/** The servers that the suite puts an image on: isolated, two CPU modules, a small mirrored disk. The command line makes them. */
import type { DrillSource } from "../bench/server-view.js";
import type { ImageRecord } from "../image/index.js";

export interface SuiteService {
  readonly name: string;
  readonly ports: readonly number[];
}

/** An image, and what it is to serve. */
export interface Subject {
  readonly image: ImageRecord;
  readonly services: readonly SuiteService[];
}

/** `changed`: with the image that is qualified. `base`: with the one that it is held against. */
export type Side = "changed" | "base";

export interface SuiteSource extends DrillSource {
  scrub(): Promise<unknown>;
  /** Keeps the course of the server while `work` goes on; the file is the caller's, and so is its removal. */
  record(work: () => Promise<void>): Promise<{ readonly path: string; readonly ticks: number }>;
}

export interface SuiteServer {
  readonly name: string;
  readonly host: string;
  readonly source: SuiteSource;
  /** From the start to DUPLEX and ready. */
  readonly upMs: number;
  /** Ends all of its processes at once, as a loss of power does, and starts it anew on what its disk holds. */
  losePowerAndStart(): Promise<void>;
}

export interface SuiteServers {
  /** Errors: what kept it from standing. */
  start(side: Side, subject: Subject): Promise<SuiteServer>;
  /** Removes it with what it stored. */
  stop(side: Side): Promise<void>;
}
