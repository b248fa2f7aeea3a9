/**
 * The machines of a server made anew, with the guest off: all CPU and I/O modules end, and start again as at the server's start. For what
 * machines that are there cannot become: ones with another memory, or another disk. The outside of the server (addresses, management)
 * stays.
 */
import { prepareArbiter } from "./management-disk.js";
import type { ServerPaths } from "./management-paths.js";
import type { ServerPlan } from "./management-plan.js";
import { waitUntilGone } from "./management-process.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

export interface AnewHooks {
  readonly paths: ServerPaths;
  plan(): ServerPlan;
  /** CPU and I/O modules in use. */
  machines(): readonly ModuleSupervisor[];
  /** The next power-on is one that was asked for. Returns the I/O module that begins as the active one: not `except`. */
  startsAnew(except: string | null): string;
}

/** Held out, so that no leader starts them meanwhile. Resolves when all are gone. */
export async function takeMachinesOut({ machines }: AnewHooks): Promise<void> {
  const supervisors = machines();
  const processes = supervisors.flatMap((each) => each.process ?? []);
  for (const supervisor of supervisors) supervisor.hold();
  await waitUntilGone(processes);
}

export interface AnewChoices {
  /** Which mirror counts their headers say, and not the last configuration. */
  readonly isOtherDisk: boolean;
  /** One that stays out; null: none. */
  readonly except: string | null;
}

export async function bringMachinesBack(hooks: AnewHooks, { isOtherDisk, except }: AnewChoices): Promise<void> {
  const supervisors = hooks.machines().filter(({ name }) => name !== except);
  await prepareArbiter(hooks.plan(), hooks.paths, hooks.startsAnew(except), { isOtherDisk, without: except });
  for (const supervisor of supervisors) supervisor.insert();
}
