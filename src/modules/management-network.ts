/** The host's side of the guest's network, by its kind: made before the modules, removed after them. */
import { plannedDevices, setUpHostNetwork, tearDownHostNetwork, type HostNetwork } from "../ports/network-host.js";
import { setUpUserNetwork } from "../ports/user-network.js";
import type { ServerPlan } from "./management-plan.js";
import type { MadeRecord } from "./management-state.js";

/** Null: the server has no network. */
export async function setUpNetwork({ server, network }: ServerPlan, ioModules: readonly string[]): Promise<HostNetwork | null> {
  if (network.kind === "tap") return setUpHostNetwork({ server, ...network, ioModules });
  return network.kind === "user" ? setUpUserNetwork(network) : null;
}

export async function tearDownNetwork(plan: ServerPlan, made: HostNetwork | null, ioModules: readonly string[]): Promise<void> {
  if (plan.network.kind !== "tap") return;
  const { bridge, devices } = madeOnHost(plan, ioModules);
  await tearDownHostNetwork(plan.server, bridge, made === null ? [] : devices);
}

/** What is made on the host, or is about to be, for whoever has to remove it. */
export function madeOnHost({ server, network }: ServerPlan, ioModules: readonly string[]): Pick<MadeRecord, "bridge" | "devices"> {
  if (network.kind !== "tap") return { bridge: "", devices: [] };
  return { bridge: network.bridge, devices: Object.values(plannedDevices(server, ioModules)) };
}
