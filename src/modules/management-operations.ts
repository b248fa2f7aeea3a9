/** What an operator does to modules and whole enclosures: pull, insert, clear. */
import { SteadfastError } from "../foundation/errors.js";
import type { EventLog } from "./management-events.js";
import type { ServerReport } from "./management-status.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

export interface OperationsContext {
  readonly events: EventLog;
  report(): ServerReport;
  /** Of the modules in use: those that an operator may name. */
  supervisors(): readonly ModuleSupervisor[];
  expect(module: string, present: boolean): void;
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
