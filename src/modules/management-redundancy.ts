/** Changes the redundancy of a running server: slots come into use and go out of it, one configuration after the other. */
import { SteadfastError } from "../foundation/errors.js";
import type { ServerStatus } from "../wire/control.js";
import { inLockstep } from "./management-status.js";
import type { ModuleSupervisor } from "./management-supervisor.js";
import {
  CHANGEABLE,
  cpuModuleCount,
  cpuSlots,
  enclosureCount,
  ioModuleCount,
  ioSlots,
  managementSlots,
  type PlannedRedundancy,
} from "./redundancy.js";

export interface RedundancyHooks {
  supervisor(module: string): ModuleSupervisor;
  expect(module: string, present: boolean): void;
  /** It is in lockstep or, of an I/O or management module, ready to carry on. */
  isReady(module: string): boolean;
}

export class RedundancyChange {
  readonly #hooks: RedundancyHooks;
  /** Taken out of the configuration; their processes end when it is in force. */
  readonly #retiring = new Set<string>();

  constructor(hooks: RedundancyHooks) {
    this.#hooks = hooks;
  }

  /** Throws, and changes nothing, if it cannot be done now. */
  change(from: PlannedRedundancy, to: PlannedRedundancy): void {
    if (!CHANGEABLE.includes(from) || !CHANGEABLE.includes(to)) throw new SteadfastError("REDUNDANCY_FIXED", { from, to });
    const slots = cpuSlots(to).map((slot) => slot.name);
    const ios = ioSlots(to).map((slot) => slot.name);
    const managers = managementSlots(to).map((slot) => slot.name);
    const kept = [...slots.slice(0, cpuModuleCount(to)), ...ios.slice(0, ioModuleCount(to)), ...managers.slice(0, enclosureCount(to))];
    const surplus = slots.slice(cpuModuleCount(to), cpuModuleCount(from));
    if (surplus.length > 0) this.#demandLockstep(kept, to);
    for (const name of slots.slice(cpuModuleCount(from), cpuModuleCount(to))) {
      this.#retiring.delete(name);
      this.#hooks.expect(name, true);
      this.#hooks.supervisor(name).insert();
    }
    for (const name of surplus) {
      this.#retiring.add(name);
      this.#hooks.expect(name, false);
    }
    const others = [...ios.slice(ioModuleCount(from)), ...managers.slice(enclosureCount(from))];
    for (const name of others.filter((each) => kept.includes(each))) this.#hooks.supervisor(name).insert();
    // If the active one or the leading one is among them, another one takes over at once.
    const leaving = [...ios.slice(ioModuleCount(to), ioModuleCount(from)), ...managers.slice(enclosureCount(to), enclosureCount(from))];
    for (const name of leaving) this.#hooks.supervisor(name).hold();
  }

  /** A slot that is not in use any more, though its module is still there: who led before was about to end it. */
  retire(name: string): void {
    this.#retiring.add(name);
    this.#hooks.expect(name, false);
  }

  /** Those that stay must be able to carry on without those that go. */
  #demandLockstep(kept: readonly string[], to: PlannedRedundancy): void {
    const missing = kept.filter((name) => !this.#hooks.isReady(name));
    if (missing.length > 0) throw new SteadfastError("REDUNDANCY_UNSAFE", { to, modules: missing.join(", ") });
  }

  /** What the I/O module reports: whoever is out of the configuration by now may end. */
  reported(status: ServerStatus): void {
    for (const name of this.#retiring) {
      if (inLockstep(status.modules[name]?.state)) continue;
      this.#retiring.delete(name);
      this.#hooks.supervisor(name).hold();
    }
  }
}
