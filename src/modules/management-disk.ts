/**
 * The guest's disk before the guest is there: where its mirrors are, the first of them made and formatted, and from which configuration
 * number on the server counts. Which mirrors are in sync the arbiter's last record says, and they outlive everything else.
 */
import { spawnSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync } from "node:fs";
import { FileArbiter } from "../arbiters/file.js";
import { SteadfastError } from "../foundation/errors.js";
import { findProgram } from "../image/command.js";
import { BLOCK_BYTES, MAX_DISK_BYTES } from "../storage/limits.js";
import type { MirrorHeader } from "../storage/types.js";
import type { ManagementToIo } from "../wire/control.js";
import { createDisk, importDisk, readHeader } from "./disk-files.js";
import type { ServerPaths } from "./management-paths.js";
import { mirrorDirectories, type PlannedDisk, type ServerPlan } from "./management-plan.js";

interface FoundMirror {
  readonly directory: string;
  readonly header: MirrorHeader;
}

async function findMirrors(plan: ServerPlan, disk: PlannedDisk, paths: ServerPaths): Promise<FoundMirror[]> {
  const found: FoundMirror[] = [];
  for (const directory of mirrorDirectories(plan, disk, paths)) {
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw new SteadfastError("DIRECTORY_FAILED", { path: directory, why: (error as Error).message });
    }
    found.push({ directory, header: await readHeader(directory) });
  }
  return found;
}

/** The plan with the disk as it is: made if there was none. */
export async function prepareDisk(plan: ServerPlan, paths: ServerPaths): Promise<ServerPlan> {
  const { disk } = plan;
  if (disk === undefined) return plan;
  const mirrors = await findMirrors(plan, disk, paths);
  const last = mirrors.filter(({ header }) => header.diskId !== "").sort((left, right) => right.header.syncedAt - left.header.syncedAt)[0];
  if (last !== undefined) return { ...plan, disk: { ...disk, diskId: last.header.diskId, sizeBytes: last.header.sizeBytes } };
  const diskId = randomUUID();
  const [first] = mirrors;
  if (first !== undefined) await makeFirstMirror(first.directory, diskId, disk);
  return { ...plan, disk: { ...disk, diskId } };
}

async function makeFirstMirror(directory: string, diskId: string, disk: PlannedDisk): Promise<void> {
  if (disk.format === "none") return createDisk(directory, diskId, disk.sizeBytes);
  const raw = `${directory}/new.raw`;
  try {
    formatFile(raw, disk);
    await importDisk(directory, diskId, raw);
  } finally {
    rmSync(raw, { force: true });
  }
}

function formatFile(path: string, { sizeBytes, label }: PlannedDisk): void {
  const program = findProgram("mkfs.ext4");
  if (program === undefined) throw new SteadfastError("MKFS_MISSING", {});
  const file = openSync(path, "w", 0o600);
  ftruncateSync(file, sizeBytes);
  closeSync(file);
  const made = spawnSync(program, ["-q", "-F", "-b", "4096", "-L", label, path], { encoding: "utf8" });
  if (made.status !== 0)
    throw new SteadfastError("MKFS_FAILED", { path, why: made.stderr.trim().split("\n")[0] ?? `exit code ${made.status}` });
}

/**
 * Makes the arbiter ready for a new start: without a disk it begins anew; with one it counts on, so that the mirrors, which have seen
 * the numbers up to here, obey, and the mirrors that were in sync are in sync still.
 */
export async function prepareArbiter(plan: ServerPlan, paths: ServerPaths, firstIo: string): Promise<void> {
  const { disk } = plan;
  if (disk === undefined) rmSync(paths.arbiterDirectory, { recursive: true, force: true });
  mkdirSync(paths.arbiterDirectory, { recursive: true, mode: 0o700 });
  if (disk === undefined) return;
  const arbiter = new FileArbiter(paths.arbiterDirectory);
  const last = await arbiter.highest();
  const mirrors = await findMirrors(plan, disk, paths);
  const seen = Math.max(0, ...mirrors.map(({ header }) => header.highest));
  // Records older than what the mirrors have seen are not the last ones: which mirror is the newest, their headers say.
  const isLast = last !== null && last.number >= seen;
  const number = Math.max(seen, last?.number ?? 0) + 1;
  await arbiter.claim({ number, cpus: [], activeIo: firstIo, mirrors: isLast ? last.mirrors : [] });
}

/** What an active I/O module is told; `sizeBytes`: what the disk grows to. `present`: its size now. */
export function diskOrder(action: string, sizeBytes: number, present: number): Extract<ManagementToIo, { kind: "disk" }> {
  if (action !== "grow" && action !== "scrub") throw new SteadfastError("DISK_ACTION_UNKNOWN", { action });
  if (action === "scrub") return { kind: "disk", action, sizeBytes: present };
  const isGrowth = Number.isSafeInteger(sizeBytes) && sizeBytes > present && sizeBytes % BLOCK_BYTES === 0 && sizeBytes <= MAX_DISK_BYTES;
  if (!isGrowth) throw new SteadfastError("DISK_GROWTH", { size: sizeBytes, present, most: MAX_DISK_BYTES });
  return { kind: "disk", action, sizeBytes };
}
