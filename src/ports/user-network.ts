/** What the network `user` needs of this host, checked before anything is started: passt, and the published ports. */
import { SteadfastError } from "../foundation/errors.js";
import { findProgram } from "../image/command.js";
import { formatAddress, parseAddress, parseSubnet, type HostNetwork } from "./network-host.js";
import { checkPublishedPorts, type PublishedPort } from "./published-port.js";

export const PASST = "passt";

export interface UserNetworkPlan {
  /** What the guest takes for the host, with prefix length. Nothing on this host gets that address. */
  readonly hostAddress: string;
  /** Empty: the first one of the subnet. */
  readonly guestAddress: string;
  readonly publish: readonly PublishedPort[];
}

export async function setUpUserNetwork(plan: UserNetworkPlan): Promise<HostNetwork> {
  const subnet = parseSubnet(plan.hostAddress);
  if (subnet === null) throw new SteadfastError("ADDRESS_INVALID", { field: "network.hostAddress", value: plan.hostAddress });
  const first = subnet.first === subnet.address ? subnet.first + 1 : subnet.first;
  const guest = plan.guestAddress === "" ? first : parseAddress(plan.guestAddress);
  if (guest === null) throw new SteadfastError("ADDRESS_INVALID", { field: "network.guestAddress", value: plan.guestAddress });
  if (guest < subnet.first || guest > subnet.last || guest === subnet.address) {
    throw new SteadfastError("GUEST_ADDRESS_OUTSIDE", { address: plan.guestAddress, subnet: plan.hostAddress });
  }
  if (findProgram(PASST) === undefined) throw new SteadfastError("PASST_MISSING");
  await checkPublishedPorts(plan.publish);
  return { bridge: "", devices: {}, guestAddress: formatAddress(guest), prefixLength: subnet.prefixLength };
}
