/** Asks the guest over the network whether it is there, by a TCP connection that says nothing. */
import { createConnection } from "node:net";
import type { HostNetwork } from "../ports/network-host.js";
import { localHost } from "../ports/published-port.js";
import type { ServerPlan } from "./management-plan.js";

/** Any port does: a refusal is an answer too. */
const ANY_PORT = 80;

export interface GuestProbe {
  readonly host: string;
  readonly port: number;
  /** In the guest. */
  readonly guestPort: number;
  /** Somebody on this host accepts connections for the guest: that one was accepted says nothing of the guest. */
  readonly isForwarded: boolean;
}

/** `open`: a service has it. `refused`: the guest's network stack answers, no service does. `silent`: no answer within the limit. */
export type ProbeOutcome = "open" | "refused" | "silent";

/** Where the guest can be asked, by what its network is. */
export function guestProbesFor(plan: ServerPlan["network"], network: HostNetwork | null): GuestProbe[] {
  if (network === null) return [];
  if (plan.kind === "tap") return [{ host: network.guestAddress, port: ANY_PORT, guestPort: ANY_PORT, isForwarded: false }];
  const published = plan.publish.filter((port) => port.protocol === "tcp");
  return published.map((port) => ({ host: localHost(port), port: port.hostPort, guestPort: port.guestPort, isForwarded: true }));
}

/**
 * A forwarded connection is closed in our direction at once: the service behind it closes the other one then, or the forwarder
 * resets the connection that the guest refused. Either comes from the guest.
 */
export function probeGuest({ host, port, isForwarded }: GuestProbe, limitMs: number): Promise<ProbeOutcome> {
  return new Promise((resolve) => {
    const socket = createConnection({ host, port, allowHalfOpen: isForwarded });
    const settle = (outcome: ProbeOutcome): void => {
      socket.destroy();
      resolve(outcome);
    };
    socket.setTimeout(limitMs, () => settle("silent"));
    socket.once("connect", () => (isForwarded ? socket.end() : settle("open")));
    socket.once("data", () => settle("open"));
    socket.once("end", () => settle("open"));
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "ECONNRESET") settle("refused");
      else settle(error.code === "ECONNREFUSED" && !isForwarded ? "refused" : "silent");
    });
  });
}
