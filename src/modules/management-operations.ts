/** What an operator does to modules and whole enclosures: pull, insert, clear, fault drills. */
import { SteadfastError } from "../foundation/errors.js";
import type { ManagementToCpu, ManagementToIo } from "../wire/control.js";
import type { EventLog } from "./management-events.js";
import { drill, type FaultDetails, type FaultDone } from "./management-faults.js";
import type { ServerPlan } from "./management-plan.js";
import type { ServerReport } from "./management-status.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

export interface OperationsContext {
  readonly events: EventLog;
  report(): ServerReport;
  /** Of the modules in use: those that an operator may name. */
  supervisors(): readonly ModuleSupervisor[];
  expect(module: string, present: boolean): void;
  plan(): ServerPlan;
  /** False: it is not connected. */
  send(module: string, message: ManagementToCpu | ManagementToIo): boolean;
  /** A machine computes wrongly on purpose from here on. */
  drilled(module: string): void;
}

export class Operations {
  readonly #context: OperationsContext;

  constructor(context: OperationsContext) {
    this.#context = context;
  }

  find(module: string): ModuleSupervisor {
    const known = this.#context.supervisors();
    const supervisor = known.find((each) => each.name === module);
    if (supervisor !== undefined) return supervisor;
    const names = known.map((each) => each.name).join(", ");
    throw new SteadfastError("MODULE_UNKNOWN", { module: module === "" ? "(none)" : module, server: this.#context.report().server, names });
  }

  /** A module, or all of an enclosure. */
  #chosen(target: string): readonly ModuleSupervisor[] {
    const enclosure = this.#context.supervisors().filter((each) => each.module.enclosure === target);
    return enclosure.length > 0 ? enclosure : [this.find(target)];
  }

  fault(kind: string, module: string, details: FaultDetails): FaultDone {
    const supervisor = this.find(module);
    const { server, memoryMiB, disk } = this.#context.plan();
    const isMachine = supervisor.module.kind === "cpu";
    const done = drill(kind, details, memoryMiB, {
      hang: () => supervisor.hang(),
      kill: () => supervisor.kill("drill"),
      tell: (message) => {
        if (!isMachine) throw new SteadfastError("FAULT_CPU_ONLY", { kind, module });
        return this.#context.send(supervisor.name, message);
      },
      disk: (fault) => {
        if (supervisor.module.kind !== "io") throw new SteadfastError("FAULT_IO_ONLY", { kind, module });
        if (disk === undefined) throw new SteadfastError("DISK_NONE", { server });
        return this.#context.send(supervisor.name, { kind: "diskDrill", drill: fault });
      },
    });
    if (done === null) throw new SteadfastError("MODULE_NOT_RUNNING", { module });
    this.#context.events.add("info", "FAULT_DRILL", `Drill: ${kind} ${module}.`, { module, data: { kind, ...done } });
    if (isMachine && kind !== "hang" && kind !== "kill") this.#context.drilled(module);
    return done;
  }

  pull(target: string, force: boolean): void {
    const chosen = this.#chosen(target);
    const isEnclosure = chosen.some((each) => each.module.enclosure === target);
    // What is BROKEN is out already, and stays BROKEN when its enclosure comes back.
    const leaving = chosen.filter((each) => each.presence === "present" || (each.presence === "broken" && !isEnclosure));
    if (leaving.length === 0) return;
    const { modules, enclosures } = this.#context.report();
    const isSafe = [...modules, ...enclosures].find((each) => each.name === target)?.safeToPull === true;
    if (!isSafe && !force) throw new SteadfastError("NOT_SAFE_TO_PULL", { module: target });
    for (const { name: module } of leaving)
      this.#context.events.add("warning", "MODULE_PULLED", `${module} was pulled by the operator and is held out.`, { module });
    // A single module leaves its configuration first; an enclosure goes all at once, as when its cable is pulled.
    if (!isEnclosure) for (const { name } of leaving) this.#context.expect(name, false);
    for (const supervisor of leaving) supervisor.hold();
    if (isEnclosure) for (const { name } of leaving) this.#context.expect(name, false);
  }

  insert(target: string): void {
    const chosen = this.#chosen(target);
    for (const supervisor of chosen) {
      const { name: module, presence } = supervisor;
      if (presence !== "held") continue;
      this.#context.events.add("info", "MODULE_INSERTED", `${module} was inserted by the operator.`, { module });
      this.#context.expect(module, true);
      supervisor.insert();
    }
    const broken = chosen.find((each) => each.presence === "broken");
    if (broken !== undefined) throw new SteadfastError("MODULE_BROKEN", { module: broken.name });
  }

  clear(module: string): void {
    const supervisor = this.find(module);
    this.#context.events.add("info", "MODULE_CLEARED", `The faults of ${module} were cleared by the operator.`, { module });
    if (supervisor.presence === "broken") this.#context.expect(module, true);
    supervisor.clear();
  }
}
