/** Installations of a server as they are written down, in one file of its state directory: the one under way, those that were, what boots. */
import { join } from "node:path";
import type { ServiceAction } from "../installation/delta.js";
import type { InstallationState, Outcome } from "../installation/installation.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile, writeJsonFile } from "./management-plan.js";

/** Installations that are remembered. */
export const HISTORY_LIMIT = 16;

export type InstallationKind = "install" | "rollback";

export interface InstallationFacts {
  readonly id: string;
  readonly kind: InstallationKind;
  readonly name: string;
  /** Digest of the package; null: a rollback. */
  readonly change: string | null;
  /** Digests of the images. */
  readonly from: string;
  readonly to: string;
  /** Why an image without a certificate may be installed; null: it has one. */
  readonly uncertified: string | null;
  readonly startedAt: string;
  /** What is brought into the guest. */
  readonly bytes: number;
  readonly files: number;
  readonly services: readonly ServiceAction[];
}

export interface CurrentInstallation extends InstallationFacts {
  readonly state: InstallationState;
  /** Id of the request to the agent that this phase's effect waits for; null: none was sent. */
  readonly request: string | null;
}

export interface PastInstallation extends InstallationFacts {
  readonly outcome: Outcome;
  readonly why: string | null;
  readonly endedAt: string;
}

export interface ChangeRecords {
  readonly current: CurrentInstallation | null;
  /** Oldest first. */
  readonly history: readonly PastInstallation[];
  /** A server that is to start with the image `over` starts with `image`, which changes made of it. */
  readonly boots: { readonly over: string; readonly image: string } | null;
}

const NOTHING: ChangeRecords = { current: null, history: [], boots: null };

export function readChangeRecords(paths: ServerPaths): ChangeRecords {
  return readJsonFile<ChangeRecords>(recordsFile(paths)) ?? NOTHING;
}

export function writeChangeRecords(paths: ServerPaths, records: ChangeRecords): void {
  writeJsonFile(recordsFile(paths), records);
}

function recordsFile(paths: ServerPaths): string {
  return join(paths.stateDirectory, "changes.json");
}

/** Where the package of an installed change is kept, with its checks. */
export function packageDirectory(paths: ServerPaths): string {
  return join(paths.stateDirectory, "changes");
}

export function packageFile(paths: ServerPaths, digest: string): string {
  return join(packageDirectory(paths), `${digest}.tar`);
}

/** The installation that a rollback undoes: the last that led to the image that runs, and was not undone. */
export function toUndo({ history }: ChangeRecords, running: string): PastInstallation | null {
  const led = history.filter(({ kind, outcome, to }) => kind === "install" && outcome === "installed" && to === running);
  return led.at(-1) ?? null;
}

/** What boots after `from` became `to`. */
export function bootsAfter(boots: ChangeRecords["boots"], from: string, to: string): ChangeRecords["boots"] {
  const over = boots !== null && boots.image === from ? boots.over : from;
  return over === to ? null : { over, image: to };
}
