/**
 * The guest as the leading management module has it: its console, its agent, and who watches whether it is well. All three speak to it
 * through whichever I/O module is the active one.
 */
import type { ManagementToIo } from "../wire/control.js";
import { AgentLink, agentMessage } from "./management-agent.js";
import { ConsoleHub } from "./management-console.js";
import type { EventLog } from "./management-events.js";
import { GuestWatch, type GuestTraffic } from "./management-guest.js";
import type { IoView } from "./management-io.js";
import type { ServerPlan } from "./management-plan.js";

export interface GuestSideContext {
  readonly plan: ServerPlan;
  readonly events: EventLog;
  readonly io: IoView;
  /** False: there is no active I/O module at the moment. */
  toActiveIo(message: ManagementToIo): boolean;
  /** What is written down about the guest is another than before. */
  changed(): void;
}

export class GuestSide {
  readonly console: ConsoleHub;
  readonly agent: AgentLink;
  readonly watch: GuestWatch;

  constructor({ plan, events, io, toActiveIo, changed }: GuestSideContext) {
    this.watch = new GuestWatch(plan, {
      event: (severity, code, text, data) => events.add(severity, code, text, { ...(data && { data }) }),
      traffic: () => trafficOf(io),
      reset: () => void toActiveIo({ kind: "reset" }),
      nudge: () => void toActiveIo(agentMessage("watch", { verb: "ping" })),
      changed,
    });
    this.console = new ConsoleHub(
      (bytes) => toActiveIo({ kind: "console", base64: bytes.toString("base64") }),
      () => this.watch.ready(),
    );
    this.agent = new AgentLink({ send: toActiveIo, beat: (line) => this.watch.beat(line) });
  }
}

function trafficOf(io: IoView): GuestTraffic | null {
  if (io.status === null) return null;
  const { committed, guestTimeNs } = io.status;
  return { ...io.counters, committed, guestTimeMs: Number(BigInt(guestTimeNs) / 1_000_000n) };
}
