/** What load balancers and supervisors ask: whether management answers, and whether the guest is there for its users. */
import type { z } from "zod";
import type { ServerReport } from "../modules/management-status.js";
import type { liveSchema, readySchema } from "./answers.js";

export function liveAnswer({ server }: ServerReport): z.output<typeof liveSchema> {
  return { live: true, server };
}

/** Ready: the guest runs somewhere, and its network answers or its init said so, and neither it nor a service is known to be down. */
export function readyAnswer({ server, redundancy, guest }: ServerReport): z.output<typeof readySchema> {
  return { ready: redundancy !== "OUTAGE" && (guest === "reachable" || guest === "ready"), server, redundancy, guest };
}
