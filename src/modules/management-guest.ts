/**
 * Follows the guest's own software: off, booting, reachable (its network stack answers), ready (our init said so on the console); from
 * then on whether it and its services still answer. A refused TCP connection is an answer too, so this works with any guest.
 */
import type { AgentLine } from "../agent/lines.js";
import type { HostNetwork } from "../ports/network-host.js";
import type { ManagementEventCode } from "../wire/event-codes.js";
import type { EventMessage } from "../wire/control.js";
import {
  GuestHealth,
  MAX_RESTARTS_PER_HOUR,
  SERVICE_FAILURES_LIMIT,
  SILENT_ROUNDS_LIMIT,
  type GuestFaults,
  type HealthRecord,
  type HealthFinding,
} from "./guest-health.js";
import { guestProbesFor, probeGuest, serviceProbesFor, type GuestProbe, type ProbeOutcome } from "./guest-probe.js";
import type { ServerPlan } from "./management-plan.js";
import type { GuestState } from "./management-status.js";

const PROBE_EVERY_MS = 250;
const PROBE_LIMIT_MS = 1000;
/** A guest without our init never says ready: after this many answers it stays reachable, and is watched like one that is ready. */
const PROBES_WHEN_REACHABLE = 20;
const WATCH_EVERY_MS = 5000;
const WATCH_PROBE_LIMIT_MS = 2000;

/** Counters that grow: the last tick that took effect, frames to the guest and from it. */
export interface GuestTraffic {
  readonly committed: number;
  readonly framesIn: number;
  readonly framesOut: number;
  /** Guest time of that tick, ms. */
  readonly guestTimeMs: number;
}

export interface GuestWatchHooks {
  event(severity: EventMessage["severity"], code: ManagementEventCode, text: string, data?: EventMessage["data"]): void;
  /** Null: no I/O module drives the guest at the moment. */
  traffic(): GuestTraffic | null;
  /** Power cycle. */
  reset(): void;
  /** Makes the machines run, even if the guest idles for ever: the agent is asked whether it is there. */
  nudge(): void;
  /** The record is another one than before. */
  changed(): void;
}

/** What another management module needs in order to go on watching where this one stopped. */
export interface GuestRecord {
  /** Without what follows from its health. */
  readonly state: Exclude<GuestState, "degraded" | "hung">;
  readonly health: HealthRecord;
  readonly heartbeat: Heartbeat | null;
}

export type Heartbeat = Omit<Extract<AgentLine, { kind: "beat" }>, "kind"> & {
  /** Guest time when it was heard. */
  readonly atGuestMs: number;
};

/** Since the host's start: the same for all management modules, and never set back. */
function hostTimeMs(): number {
  return Number(process.hrtime.bigint() / 1_000_000n);
}

export class GuestWatch {
  readonly #plan: ServerPlan;
  readonly #hooks: GuestWatchHooks;
  readonly #health: GuestHealth;
  #probe: GuestProbe | null = null;
  #services = new Map<string, GuestProbe[]>();
  #state: GuestRecord["state"] = "off";
  #timer: NodeJS.Timeout | null = null;
  #probesLeft = 0;
  #hasPrinted = false;
  #heartbeat: Heartbeat | null = null;
  #hasBeaten = false;
  #before: GuestTraffic | null = null;

  /** Without a network only the console tells. */
  constructor(plan: ServerPlan, hooks: GuestWatchHooks) {
    this.#plan = plan;
    this.#hooks = hooks;
    this.#health = new GuestHealth(plan.guestWatch);
  }

  get state(): GuestState {
    if (this.#state !== "ready" && this.#state !== "reachable") return this.#state;
    if (this.#health.isHung) return "hung";
    return Object.values(this.services).includes("down") ? "degraded" : this.#state;
  }

  get services(): GuestHealth["services"] {
    return this.#health.services;
  }

  get faults(): GuestFaults {
    return this.#health.faults;
  }

  /** The guest answers, however well. */
  get isUp(): boolean {
    return this.#state === "ready" || this.#state === "reachable";
  }

  /** The image that runs is another one than at the start. */
  serves(plan: ServerPlan, network: HostNetwork | null): void {
    this.#services = serviceProbesFor(plan, network);
  }

  /** The network is there: from now on the guest can be asked. */
  askThrough(network: HostNetwork | null): void {
    this.#probe = guestProbesFor(this.#plan.network, network)[0] ?? null;
    this.#services = serviceProbesFor(this.#plan, network);
  }

  get record(): GuestRecord {
    return { state: this.#state, health: this.#health.record, heartbeat: this.#heartbeat };
  }

  /** Goes on where another management module was: what it had counted counts. */
  resume({ state, health, heartbeat }: GuestRecord): void {
    this.#state = state;
    this.#heartbeat = heartbeat;
    this.#health.resume(health);
    this.#probesLeft = PROBES_WHEN_REACHABLE;
    if (state === "booting" || state === "reachable") this.#schedule();
    if (state === "ready") this.#scheduleWatch();
  }

  /** The guest was powered on, or is about to boot again. */
  booting(): void {
    this.#health.started();
    this.#heartbeat = null;
    this.#hasBeaten = false;
    this.#probesLeft = PROBES_WHEN_REACHABLE;
    this.#set("booting");
    this.#schedule();
  }

  ready(): void {
    this.#set("ready");
    this.#scheduleWatch();
  }

  off(): void {
    this.#set("off");
    this.close();
  }

  panicked(): void {
    this.#health.panicked();
    this.#hooks.changed();
  }

  /** The guest printed something. */
  heard(): void {
    this.#hasPrinted = true;
  }

  /** A takeover of the I/O module may bring the last one again. */
  beat({ number, uptimeSeconds, services }: Extract<AgentLine, { kind: "beat" }>): void {
    const last = this.#heartbeat;
    if (last !== null && last.number === number && last.uptimeSeconds === uptimeSeconds) return;
    const atGuestMs = this.#hooks.traffic()?.guestTimeMs ?? last?.atGuestMs ?? 0;
    this.#heartbeat = { number, uptimeSeconds, services, atGuestMs };
    this.#hasBeaten = true;
    this.#hooks.changed();
  }

  /** How long ago, in guest time, the agent was heard last; null: not since the guest's start, or nobody drives it. */
  get heartbeatAgeMs(): number | null {
    const now = this.#hooks.traffic();
    return this.#heartbeat === null || now === null ? null : Math.max(0, now.guestTimeMs - this.#heartbeat.atGuestMs);
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #set(state: GuestRecord["state"]): void {
    if (state === this.#state) return;
    this.#state = state;
    if (state === "ready") this.#hooks.event("info", "GUEST_READY", "The guest's network and services are up.");
    if (state === "reachable") this.#hooks.event("info", "GUEST_REACHABLE", "The guest's network answers.");
    this.#hooks.changed();
  }

  // Until it is up.

  #schedule(): void {
    this.close();
    const probe = this.#probe;
    if (probe === null) return;
    if (this.#state === "reachable" && this.#probesLeft === 0) return this.#scheduleWatch();
    this.#timer = setTimeout(() => void this.#ask(probe), PROBE_EVERY_MS);
  }

  async #ask(probe: GuestProbe): Promise<void> {
    const timer = this.#timer;
    const outcome = await probeGuest(probe, PROBE_LIMIT_MS);
    if (timer === null || this.#timer !== timer) return;
    if (outcome !== "silent" && outcome !== "unasked") {
      this.#probesLeft -= 1;
      this.#set("reachable");
    }
    this.#schedule();
  }

  // While it is up.

  /** `spentMs`: on the round before, so that rounds begin at even distances. */
  #scheduleWatch(spentMs = 0): void {
    this.close();
    if (this.#plan.guestWatch === "off") return;
    this.#timer = setTimeout(() => void this.#round(), WATCH_EVERY_MS - spentMs);
  }

  async #round(): Promise<void> {
    const beganAtMs = performance.now();
    const timer = this.#timer;
    const asked = [...this.#services].map(async ([name, probes]) => {
      const outcomes = await Promise.all(probes.map((probe) => probeGuest(probe, WATCH_PROBE_LIMIT_MS)));
      return [name, outcomes.includes("unasked") ? null : (outcomes as ProbeOutcome[])] as const;
    });
    const services = new Map(await Promise.all(asked));
    if (timer === null || this.#timer !== timer) return;
    const [before, now] = [this.#before, this.#hooks.traffic()];
    const hasPrinted = this.#hasPrinted;
    const heartbeat = this.#heartbeat === null ? "none" : this.#hasBeaten ? "heard" : "missed";
    this.#hasBeaten = false;
    if (heartbeat === "missed") this.#hooks.nudge();
    this.#before = now;
    this.#hasPrinted = false;
    this.#scheduleWatch(performance.now() - beganAtMs);
    if (before === null || now === null || now.committed <= before.committed) return;
    const hasHeard = now.framesIn > before.framesIn;
    const findings = this.#health.round({
      services,
      isSilent: hasHeard && now.framesOut <= before.framesOut && !hasPrinted,
      isAlive: now.framesOut > before.framesOut || hasPrinted,
      heartbeat,
      reported: heartbeat === "heard" ? (this.#heartbeat?.services ?? []) : [],
      atMs: hostTimeMs(),
    });
    for (const finding of findings) this.#found(finding, services);
    this.#hooks.changed();
  }

  /** Every event is marked as the guest's own fault: no module is to blame, since all of them ran the same. */
  #found(finding: HealthFinding, services: ReadonlyMap<string, readonly ProbeOutcome[] | null>): void {
    const data = { fault: "guest" };
    const event = this.#hooks.event.bind(this.#hooks);
    switch (finding.kind) {
      case "serviceDown": {
        const { service, loops } = finding;
        const refuses = services.get(service)?.includes("refused") === true;
        const how = `it ${refuses ? "refuses connections" : "does not answer"}, ${SERVICE_FAILURES_LIMIT} times in a row`;
        const why = loops > 0 ? `it ended soon after its start, ${loops} times in a row, and the guest's init goes on starting it` : how;
        const text = `The guest's service ${service} is down: ${why}. The modules are not to blame.`;
        return event("warning", "GUEST_SERVICE_DOWN", text, { ...data, service, ...(loops > 0 && { loops }) });
      }
      case "serviceUp":
        return event("info", "GUEST_SERVICE_UP", `The guest's service ${finding.service} answers again.`, {
          ...data,
          service: finding.service,
        });
      case "hung": {
        const seconds = (SILENT_ROUNDS_LIMIT * WATCH_EVERY_MS) / 1000;
        const { evidence } = finding;
        const what =
          evidence === "network"
            ? "it was spoken to and neither sent nor printed anything"
            : "its agent was not heard, and no service answered";
        const text = `The guest hangs: for ${seconds} s ${what}, while its machines ran. The modules are not to blame.`;
        return event("error", "GUEST_HUNG", text, { ...data, evidence });
      }
      case "answers":
        return event("info", "GUEST_ANSWERS", "The guest that hung answers again.", data);
      case "agentSilent": {
        const seconds = (SILENT_ROUNDS_LIMIT * WATCH_EVERY_MS) / 1000;
        const text = `The agent in the guest was not heard for ${seconds} s, while services answer: the guest is not restarted for that.`;
        return event("warning", "GUEST_AGENT_SILENT", text, data);
      }
      case "agentHeard":
        return event("info", "GUEST_AGENT_HEARD", "The agent in the guest is heard again.", data);
      case "restart":
        event("warning", "GUEST_RESTARTED", "The guest is power-cycled, because it hangs (guestWatch: restart).", data);
        return this.#hooks.reset();
      case "restartsUsedUp": {
        const text = `The guest hangs again and stays as it is: it was restarted ${MAX_RESTARTS_PER_HOUR} times within an hour. \`steadfast power reset\` starts it anew.`;
        return event("error", "GUEST_RESTARTS_USED_UP", text, data);
      }
    }
  }
}
