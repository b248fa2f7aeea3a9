/** What changes to the guest may do to the server: the leader's means, put together for installations and upgrades. */
import type { MeasuredImage } from "../image/store.js";
import type { ManagementToIo } from "../wire/control.js";
import type { AgentLink } from "./management-agent.js";
import { Changes } from "./management-changes.js";
import type { EventLog } from "./management-events.js";
import type { GuestWatch } from "./management-guest.js";
import type { IoView } from "./management-io.js";
import type { ServerPaths } from "./management-paths.js";
import { modulesInUse, plannedModules, planWith, type ServerPlan } from "./management-plan.js";
import type { ServerReport } from "./management-status.js";
import type { ModuleSupervisor } from "./management-supervisor.js";

export interface ChangeHost {
  readonly paths: ServerPaths;
  readonly events: EventLog;
  readonly agent: AgentLink;
  readonly io: IoView;
  readonly guest: GuestWatch;
  plan(): ServerPlan;
  /** The server runs by this plan from now on; it is written down. */
  runs(plan: ServerPlan, measured: MeasuredImage): void;
  report(): ServerReport;
  /** False: there is no active I/O module at the moment. */
  toActiveIo(message: ManagementToIo): boolean;
  expect(module: string, present: boolean): void;
  supervisors(): readonly ModuleSupervisor[];
  /** The next power-on is one that was asked for. */
  powerOnIsWanted(): void;
}

export function changesOf(host: ChangeHost): Changes {
  const { paths, events, agent, io, guest } = host;
  const supervisor = (name: string): ModuleSupervisor | undefined => host.supervisors().find((each) => each.name === name);
  const common = {
    ...{ paths, events },
    plan: () => host.plan(),
    ask: agent.request.bind(agent),
    powerCycle: () => host.toActiveIo({ kind: "reset" }),
  };
  return new Changes(
    host.plan().server,
    {
      ...common,
      isGuestUp: () => guest.state === "ready" || guest.state === "reachable",
      record: (image, measured, uncertified) =>
        host.runs(planWith(host.plan(), image, uncertified ?? host.plan().certification.uncertified), measured),
    },
    {
      ...common,
      report: () => host.report(),
      guestState: () => guest.state,
      guestPanics: () => guest.faults.panics,
      record: (image, measured, { uncertified, memoryMiB }) => host.runs(planWith(host.plan(), image, uncertified, memoryMiB), measured),
      pressPowerButton: () => host.toActiveIo({ kind: "powerButton" }),
      holdOut: (module) => {
        host.expect(module, false);
        supervisor(module)?.hold();
      },
      bringIn: (module) => {
        host.expect(module, true);
        if (supervisor(module)?.presence === "held") supervisor(module)?.insert();
      },
      machines: () =>
        host.supervisors().filter(({ name, module }) => module.kind !== "management" && modulesInUse(host.plan()).includes(name)),
      startsAnew: (except) => {
        const first = plannedModules(host.plan()).find(({ name, kind }) => kind === "io" && name !== except)?.name ?? "";
        io.takesOver(first);
        host.powerOnIsWanted();
        return first;
      },
    },
  );
}
