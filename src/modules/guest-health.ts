/**
 * What lockstep cannot mask: a guest whose service or whose whole software is dead is dead on all modules alike. Judges rounds of
 * probes; whoever asks, and carries out what comes of it, is management. Counts rounds, not time, so that a suspended host does not
 * make a guest look dead. Rounds in which the machines did not run are not for it: those are the modules' doing.
 */
import type { ReportedService } from "../agent/lines.js";
import { HOUR_MS } from "../foundation/durations.js";
import { GUEST_ITSELF, type ProbeOutcome } from "./guest-probe.js";

/** `report`: events and status only. `restart`: a guest that hangs is power-cycled too. */
export const GUEST_WATCHES = ["report", "restart", "off"] as const;
export type GuestWatchPolicy = (typeof GUEST_WATCHES)[number];

/** Rounds in a row in which a service must fail to count as down. */
export const SERVICE_FAILURES_LIMIT = 3;
/**
 * Rounds in a row after which the guest counts as hung: without any sign of life on network and console, or without a heartbeat of its
 * agent while no service answers either.
 */
export const SILENT_ROUNDS_LIMIT = 6;
/** So that a guest that hangs again and again is not restarted for ever. */
export const MAX_RESTARTS_PER_HOUR = 4;
/** From a restart to the next one at the earliest; doubled for each within the hour. */
export const RESTART_PAUSE_MS = 60_000;

export interface HealthRound {
  /** By service, the outcomes of its ports; null: it could not be asked. */
  readonly services: ReadonlyMap<string, readonly ProbeOutcome[] | null>;
  /** Since the last round the guest sent or printed something. */
  readonly isAlive: boolean;
  /** It was sent something, and neither sent nor printed anything. Neither of the two: nobody spoke to it, which proves nothing. */
  readonly isSilent: boolean;
  /** Whether the agent's heart was heard since the last round; `none`: never since the guest's start, so that its silence proves nothing. */
  readonly heartbeat: "none" | "heard" | "missed";
  /** What the agent last said of the services. */
  readonly reported: readonly ReportedService[];
  /** Of any clock that does not jump. */
  readonly atMs: number;
}

export type HealthFinding =
  /** `loops`: how often in a row it ended soon after its start, if that is why; 0: it does not answer. */
  | { readonly kind: "serviceDown"; readonly service: string; readonly loops: number }
  | { readonly kind: "serviceUp"; readonly service: string }
  | { readonly kind: "hung"; readonly evidence: HangEvidence }
  | { readonly kind: "answers" | "restart" | "restartsUsedUp" }
  /** The agent is not heard, though services answer: programs run, so the guest is no hung one. */
  | { readonly kind: "agentSilent" | "agentHeard" };

/** What shows that the guest hangs: it neither sends nor prints though it is spoken to; or its agent's heartbeats have stopped. */
export type HangEvidence = "network" | "heartbeat";

/** Not every service closes a connection that says nothing: one that never answered is up as long as its connections are accepted. */
const RANKS: Readonly<Record<ProbeOutcome, number>> = { silent: 0, refused: 0, accepted: 1, open: 2 };

interface Service {
  /** The best that was seen of it since the guest's start: less is a failure. */
  best: number;
  failures: number;
}

/** All that it remembers. */
export interface HealthRecord {
  readonly services: Readonly<Record<string, Readonly<Service>>>;
  readonly silentRounds: number;
  readonly missedRounds: number;
  readonly hungBy: HangEvidence | null;
  readonly isAgentSilent: boolean;
  readonly restartsAtMs: readonly number[];
  readonly isUsedUpSaid: boolean;
  readonly faults: GuestFaults;
}

/** `unknown`: it was never seen up since the guest's start. */
export type ServiceState = "up" | "down" | "unknown";

function stateOf({ best, failures }: Service): ServiceState {
  if (best === 0) return "unknown";
  return failures >= SERVICE_FAILURES_LIMIT ? "down" : "up";
}

export interface GuestFaults {
  readonly panics: number;
  readonly hangs: number;
  /** Power cycles because it hung. */
  readonly restarts: number;
  readonly serviceFailures: number;
}

export class GuestHealth {
  readonly #policy: GuestWatchPolicy;
  readonly #services = new Map<string, Service>();
  #silentRounds = 0;
  #missedRounds = 0;
  #hungBy: HangEvidence | null = null;
  #isAgentSilent = false;
  #restartsAtMs: number[] = [];
  #isUsedUpSaid = false;
  #faults: GuestFaults = { panics: 0, hangs: 0, restarts: 0, serviceFailures: 0 };

  constructor(policy: GuestWatchPolicy) {
    this.#policy = policy;
  }

  get isHung(): boolean {
    return this.#hungBy !== null;
  }

  /** By name; those that were not asked yet are missing. */
  get services(): Readonly<Record<string, ServiceState>> {
    return Object.fromEntries([...this.#services].map(([name, service]) => [name, stateOf(service)]));
  }

  get faults(): GuestFaults {
    return this.#faults;
  }

  get record(): HealthRecord {
    return {
      services: Object.fromEntries([...this.#services].map(([name, service]) => [name, { ...service }])),
      silentRounds: this.#silentRounds,
      missedRounds: this.#missedRounds,
      hungBy: this.#hungBy,
      isAgentSilent: this.#isAgentSilent,
      restartsAtMs: [...this.#restartsAtMs],
      isUsedUpSaid: this.#isUsedUpSaid,
      faults: this.#faults,
    };
  }

  /** Goes on with what another one remembered; both must have the same clock. */
  resume(record: HealthRecord): void {
    for (const [name, service] of Object.entries(record.services)) this.#services.set(name, { ...service });
    this.#silentRounds = record.silentRounds;
    this.#missedRounds = record.missedRounds;
    this.#hungBy = record.hungBy;
    this.#isAgentSilent = record.isAgentSilent;
    this.#restartsAtMs = [...record.restartsAtMs];
    this.#isUsedUpSaid = record.isUsedUpSaid;
    this.#faults = record.faults;
  }

  panicked(): void {
    this.#faults = { ...this.#faults, panics: this.#faults.panics + 1 };
  }

  /** The guest starts from nothing; what it did before its start is remembered for the limit of restarts only. */
  started(): void {
    this.#services.clear();
    this.#silentRounds = 0;
    this.#missedRounds = 0;
    this.#hungBy = null;
    this.#isAgentSilent = false;
  }

  round(round: HealthRound): HealthFinding[] {
    const findings: HealthFinding[] = [];
    const reported = new Map(round.reported.map((each) => [each.name, each]));
    for (const name of new Set([...round.services.keys(), ...reported.keys()])) {
      if (name !== GUEST_ITSELF) this.#judge(name, round.services.get(name) ?? null, reported.get(name), findings);
    }
    if (round.isAlive) {
      this.#silentRounds = 0;
      this.#lives("network", findings);
    } else if (round.isSilent && ++this.#silentRounds >= SILENT_ROUNDS_LIMIT) this.#hangs("network", findings);
    if (round.heartbeat === "heard") this.#beats(findings);
    else if (round.heartbeat === "missed" && ++this.#missedRounds >= SILENT_ROUNDS_LIMIT) this.#missing(round, findings);
    if (this.isHung && this.#policy === "restart") this.#considerRestart(round.atMs, findings);
    return findings;
  }

  /** A service that ended says nothing by itself: some are meant to. One that ends again and again is down, whatever it answers in between. */
  #judge(name: string, outcomes: readonly ProbeOutcome[] | null, reported: ReportedService | undefined, findings: HealthFinding[]): void {
    const isLooping = reported?.condition === "looping";
    if (outcomes === null && !isLooping && reported?.condition !== "up") return;
    const service = this.#services.get(name) ?? { best: 0, failures: 0 };
    this.#services.set(name, service);
    // One that never came up for long was started often enough to be judged.
    if (isLooping) service.best ||= RANKS.accepted;
    const worst = isLooping ? RANKS.silent : Math.min(...(outcomes ?? ["open" as const]).map((each) => RANKS[each]));
    if (worst > 0 && worst >= service.best) {
      if (service.failures >= SERVICE_FAILURES_LIMIT) findings.push({ kind: "serviceUp", service: name });
      service.best = worst;
      service.failures = 0;
      return;
    }
    if (service.best === 0) return;
    service.failures += 1;
    if (service.failures !== SERVICE_FAILURES_LIMIT) return;
    this.#faults = { ...this.#faults, serviceFailures: this.#faults.serviceFailures + 1 };
    findings.push({ kind: "serviceDown", service: name, loops: isLooping ? (reported?.failures ?? 0) : 0 });
  }

  #lives(evidence: HangEvidence, findings: HealthFinding[]): void {
    if (this.#hungBy !== evidence) return;
    this.#hungBy = null;
    findings.push({ kind: "answers" });
  }

  #beats(findings: HealthFinding[]): void {
    this.#missedRounds = 0;
    if (this.#isAgentSilent) findings.push({ kind: "agentHeard" });
    this.#isAgentSilent = false;
    this.#lives("heartbeat", findings);
  }

  /** A service that answers is a program that runs: then it is the agent that is stuck, and no reason to take the service away. */
  #missing(round: HealthRound, findings: HealthFinding[]): void {
    const answers = [...round.services.values()].some((outcomes) => outcomes?.includes("open") === true);
    if (!answers) return this.#hangs("heartbeat", findings);
    if (!this.#isAgentSilent) findings.push({ kind: "agentSilent" });
    this.#isAgentSilent = true;
    this.#lives("heartbeat", findings);
  }

  #hangs(evidence: HangEvidence, findings: HealthFinding[]): void {
    if (this.#hungBy !== null) return;
    this.#hungBy = evidence;
    this.#faults = { ...this.#faults, hangs: this.#faults.hangs + 1 };
    findings.push({ kind: "hung", evidence });
  }

  #considerRestart(atMs: number, findings: HealthFinding[]): void {
    this.#restartsAtMs = this.#restartsAtMs.filter((each) => atMs - each < HOUR_MS);
    const count = this.#restartsAtMs.length;
    if (count >= MAX_RESTARTS_PER_HOUR) {
      if (!this.#isUsedUpSaid) findings.push({ kind: "restartsUsedUp" });
      this.#isUsedUpSaid = true;
      return;
    }
    const last = this.#restartsAtMs.at(-1);
    if (last !== undefined && atMs - last < RESTART_PAUSE_MS * 2 ** (count - 1)) return;
    this.#isUsedUpSaid = false;
    this.#restartsAtMs.push(atMs);
    this.#faults = { ...this.#faults, restarts: this.#faults.restarts + 1 };
    findings.push({ kind: "restart" });
  }
}
