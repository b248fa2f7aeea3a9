/** The active upgrade of a server that is under way, as it is written down in a file of its state directory. */
import { join } from "node:path";
import type { UpgradeState } from "../installation/upgrade.js";
import type { ChangeRecords } from "./change-records.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile, writeJsonFile } from "./management-plan.js";

/** What an upgrade leads from, and to. */
export interface UpgradeEnd {
  /** Digest of the image. */
  readonly image: string;
  readonly memoryMiB: number;
  /** Why the server may run it without a certificate; null: it has one, or had at the server's start. */
  readonly uncertified: string | null;
}

export interface CurrentUpgrade {
  readonly id: string;
  /** Of the change, and the digest of its package. */
  readonly name: string;
  readonly change: string;
  readonly from: UpgradeEnd;
  readonly to: UpgradeEnd;
  readonly startedAt: string;
  /** What a start of the server made of its image before. */
  readonly bootsBefore: ChangeRecords["boots"];
  readonly state: UpgradeState;
  /** The I/O module that is held out for it at the moment, with its mirror; null: none. */
  readonly parted: string | null;
  /** Directory of the mirror that was put aside at the cutover; null: none was. */
  readonly former: string | null;
  /** The machines have to be made anew: another memory, or another disk. */
  readonly isCold: boolean;
  /** The start that belongs to this phase was ordered. */
  readonly isOrdered: boolean;
  /** When the guest was asked to shut down last, ms since 1970; null: it was not. */
  readonly closedAtMs: number | null;
  /** For how long the guest was away at the cutover, ms; null: it did not come to that. */
  readonly outageMs: number | null;
  /** The same of the way back. */
  readonly outageBackMs: number | null;
}

export function readUpgrade(paths: ServerPaths): CurrentUpgrade | null {
  return readJsonFile<CurrentUpgrade>(recordFile(paths));
}

export function writeUpgrade(paths: ServerPaths, current: CurrentUpgrade | null): void {
  writeJsonFile(recordFile(paths), current);
}

function recordFile(paths: ServerPaths): string {
  return join(paths.stateDirectory, "upgrade.json");
}
