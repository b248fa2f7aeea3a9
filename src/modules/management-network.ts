/** The host's side of the guest's network, by its kind: made before the modules, removed after them. */
import { plannedDevices, setUpHostNetwork, tearDownHostNetwork, type HostNetwork } from "../ports/network-host.js";
import { setUpUserNetwork } from "../ports/user-network.js";
import type { ServerPlan } from "./management-plan.js";

/** Null: the server has no network. */
export async function setUpNetwork({ server, network }: ServerPlan, ioModules: readonly string[]): Promise<HostNetwork | null> {
  if (network.kind === "tap") return setUpHostNetwork({ server, ...network, ioModules });
  return network.kind === "user" ? setUpUserNetwork(network) : null;
}

export async function tearDownNetwork(
  { server, network }: ServerPlan,
  made: HostNetwork | null,
  ioModules: readonly string[],
): Promise<void> {
  if (network.kind === "tap") await tearDownHostNetwork(server, network.bridge, made === null ? [] : devicesFor(server, ioModules));
}

export function devicesFor(server: string, ioModules: readonly string[]): string[] {
  return Object.values(plannedDevices(server, ioModules));
}
