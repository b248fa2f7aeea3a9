/**
 * Gives processes an equal share of a processor, through the host's control groups (version 1 or 2). On a host with fewer processors than a
 * server has modules, what a comparison of two servers tells is how many processors are there; with a share each, it tells what the modules
 * cost one another, as on a host with a processor for each.
 */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { pause } from "./faults.js";

/**
 * Half a processor each: two CPU modules use all of theirs, and two I/O modules and management leave enough of the other half of two
 * processors. The period is short, so that nobody waits long for its turn.
 */
const PERIOD_MICROS = 2000;
const QUOTA_MICROS = 1000;
export const SHARE_NAME = "half a processor";

const UNIFIED_ROOT = "/sys/fs/cgroup";
/** The kernel is given that long to let go of processes that have ended. */
const REMOVE_TRIES = 50;
const REMOVE_EVERY_MS = 20;

export interface Hierarchy {
  readonly root: string;
  readonly isUnified: boolean;
}

/** Where groups that limit processor time can be made; null: nowhere on this host. */
export function findHierarchy(mounts: string, unifiedRoot = UNIFIED_ROOT): Hierarchy | null {
  for (const line of mounts.split("\n")) {
    const [, place = "", type, options = ""] = line.split(" ");
    if (type === "cgroup" && options.split(",").includes("cpu")) return { root: place, isUnified: false };
  }
  const controllers = join(unifiedRoot, "cgroup.controllers");
  if (!existsSync(controllers) || !readFileSync(controllers, "utf8").split(/\s+/).includes("cpu")) return null;
  return { root: unifiedRoot, isUnified: true };
}

interface Limited {
  readonly group: string;
  readonly pid: number;
  /** The group that it came from. */
  readonly origin: string;
}

function originOf(pid: number, { root, isUnified }: Hierarchy): string {
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n");
  const mine = lines.find((line) => (isUnified ? line.startsWith("0::") : line.split(":")[1]?.split(",").includes("cpu")));
  return join(root, mine?.split(":").slice(2).join(":") ?? "/");
}

export class ProcessorShares {
  readonly #hierarchy: Hierarchy;
  readonly #limited: Limited[] = [];

  constructor(hierarchy: Hierarchy) {
    this.#hierarchy = hierarchy;
  }

  /** `name`: of the group; one that a broken run has left is used again. Throws BENCH_FAILED if the host refuses. */
  limit(name: string, pid: number): void {
    const { root, isUnified } = this.#hierarchy;
    const group = join(root, `steadfast-${name}`);
    try {
      const origin = originOf(pid, this.#hierarchy);
      if (isUnified) writeFileSync(join(root, "cgroup.subtree_control"), "+cpu");
      mkdirSync(group, { recursive: true });
      if (isUnified) writeFileSync(join(group, "cpu.max"), `${QUOTA_MICROS} ${PERIOD_MICROS}`);
      else {
        writeFileSync(join(group, "cpu.cfs_period_us"), String(PERIOD_MICROS));
        writeFileSync(join(group, "cpu.cfs_quota_us"), String(QUOTA_MICROS));
      }
      writeFileSync(join(group, "cgroup.procs"), String(pid));
      this.#limited.push({ group, pid, origin });
    } catch (error) {
      throw new SteadfastError("BENCH_FAILED", { what: `limiting process ${pid} by ${group}`, why: (error as Error).message });
    }
  }

  /** All of the processor again for those that are still there, and no group left. */
  async release(): Promise<void> {
    for (const { group, pid, origin } of this.#limited.splice(0)) {
      try {
        writeFileSync(join(origin, "cgroup.procs"), String(pid));
      } catch (error) {
        // It has ended.
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
      await removeGroup(group);
    }
  }
}

async function removeGroup(group: string): Promise<void> {
  for (let tries = 1; ; tries += 1) {
    try {
      return rmdirSync(group);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EBUSY" || tries === REMOVE_TRIES) throw error;
      await pause(REMOVE_EVERY_MS);
    }
  }
}
