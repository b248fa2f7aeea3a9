/** Asks the guest over the network whether it is there, by a TCP connection that says nothing. */
import { createConnection } from "node:net";
import type { HostNetwork } from "../ports/network-host.js";
import { localHost } from "../ports/published-port.js";
import type { ServerPlan } from "./management-plan.js";

/** Any port does: a refusal is an answer too. */
const ANY_PORT = 80;

/** No service can have this name. */
export const GUEST_ITSELF = "";

export interface GuestProbe {
  readonly host: string;
  readonly port: number;
  /** In the guest. */
  readonly guestPort: number;
  /** Somebody on this host accepts connections for the guest: that one was accepted says nothing of the guest. */
  readonly isForwarded: boolean;
}

/**
 * `open`: a service answered, if only by closing the connection. `accepted`: the guest's kernel did, for a service that did nothing
 * within the limit. `refused`: no service has the port. `silent`: nothing came back.
 */
export type ProbeOutcome = "open" | "accepted" | "refused" | "silent";
/** `unasked`: nobody forwards at the moment, so the guest was not asked. */
export type Probed = ProbeOutcome | "unasked";

/** Where the guest can be asked, by what its network is. */
export function guestProbesFor(plan: ServerPlan["network"], network: HostNetwork | null): GuestProbe[] {
  if (network === null) return [];
  if (plan.kind === "tap") return [{ host: network.guestAddress, port: ANY_PORT, guestPort: ANY_PORT, isForwarded: false }];
  const published = plan.publish.filter((port) => port.protocol === "tcp");
  return published.map((port) => ({ host: localHost(port), port: port.hostPort, guestPort: port.guestPort, isForwarded: true }));
}

/** Where each of the image's services can be asked; a service of which no port can be is left out. None at all: the guest itself. */
export function serviceProbesFor(plan: ServerPlan, network: HostNetwork | null): Map<string, GuestProbe[]> {
  const [first, ...more] = guestProbesFor(plan.network, network);
  const probes = new Map<string, GuestProbe[]>();
  if (first === undefined) return probes;
  for (const { name, ports } of plan.image.services) {
    const own = first.isForwarded
      ? [first, ...more].filter((probe) => ports.includes(probe.guestPort))
      : ports.map((port) => ({ ...first, port, guestPort: port }));
    if (own.length > 0) probes.set(name, own);
  }
  if (probes.size === 0) probes.set(GUEST_ITSELF, [first]);
  return probes;
}

/**
 * The connection is closed in our direction at once, so that the service behind it closes the other one: that a connection was accepted
 * is the kernel's doing, or the forwarder's. A forwarder resets a connection that the guest refused.
 */
export function probeGuest({ host, port, isForwarded }: GuestProbe, limitMs: number): Promise<Probed> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, allowHalfOpen: true });
    let isAccepted = false;
    const settle = (outcome: Probed): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(limitMs, () => settle(isAccepted && !isForwarded ? "accepted" : "silent"));
    socket.once("connect", () => {
      isAccepted = true;
      socket.end();
    });
    socket.once("data", () => settle("open"));
    socket.once("end", () => settle("open"));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNREFUSED") settle(isForwarded ? "unasked" : "refused");
      else settle(error.code === "ECONNRESET" ? "refused" : "silent");
    });
  });
}
