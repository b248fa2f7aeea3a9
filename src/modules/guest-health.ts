/**
 * What lockstep cannot mask: a guest whose service or whose whole software is dead is dead on all modules alike. Judges rounds of
 * probes; whoever asks, and carries out what comes of it, is management. Counts rounds, not time, so that a suspended host does not
 * make a guest look dead. Rounds in which the machines did not run are not for it: those are the modules' doing.
 */
import { GUEST_ITSELF, type ProbeOutcome } from "./guest-probe.js";

/** `report`: events and status only. `restart`: a guest that hangs is power-cycled too. */
export const GUEST_WATCHES = ["report", "restart", "off"] as const;
export type GuestWatchPolicy = (typeof GUEST_WATCHES)[number];

/** Rounds in a row in which a service must fail to count as down. */
export const SERVICE_FAILURES_LIMIT = 3;
/** Rounds in a row without any sign of life, after which the guest counts as hung. */
export const SILENT_ROUNDS_LIMIT = 6;
/** So that a guest that hangs again and again is not restarted for ever. */
export const MAX_RESTARTS_PER_HOUR = 4;
/** From a restart to the next one at the earliest; doubled for each within the hour. */
export const RESTART_PAUSE_MS = 60_000;
const HOUR_MS = 3_600_000;

export interface HealthRound {
  /** By service, the outcomes of its ports; null: it could not be asked. */
  readonly services: ReadonlyMap<string, readonly ProbeOutcome[] | null>;
  /** Since the last round the guest sent or printed something. */
  readonly isAlive: boolean;
  /** It was sent something, and neither sent nor printed anything. Neither of the two: nobody spoke to it, which proves nothing. */
  readonly isSilent: boolean;
  /** Of any clock that does not jump. */
  readonly atMs: number;
}

export type HealthFinding =
  | { readonly kind: "serviceDown" | "serviceUp"; readonly service: string }
  | { readonly kind: "hung" | "answers" | "restart" | "restartsUsedUp" };

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
  readonly isHung: boolean;
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
  #isHung = false;
  #restartsAtMs: number[] = [];
  #isUsedUpSaid = false;
  #faults: GuestFaults = { panics: 0, hangs: 0, restarts: 0, serviceFailures: 0 };

  constructor(policy: GuestWatchPolicy) {
    this.#policy = policy;
  }

  get isHung(): boolean {
    return this.#isHung;
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
      isHung: this.#isHung,
      restartsAtMs: [...this.#restartsAtMs],
      isUsedUpSaid: this.#isUsedUpSaid,
      faults: this.#faults,
    };
  }

  /** Goes on with what another one remembered; both must have the same clock. */
  resume(record: HealthRecord): void {
    for (const [name, service] of Object.entries(record.services)) this.#services.set(name, { ...service });
    this.#silentRounds = record.silentRounds;
    this.#isHung = record.isHung;
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
    this.#isHung = false;
  }

  round(round: HealthRound): HealthFinding[] {
    const findings: HealthFinding[] = [];
    for (const [name, outcomes] of round.services) if (outcomes !== null && name !== GUEST_ITSELF) this.#judge(name, outcomes, findings);
    if (round.isAlive) this.#alive(findings);
    else if (round.isSilent) this.#silent(round.atMs, findings);
    return findings;
  }

  #judge(name: string, outcomes: readonly ProbeOutcome[], findings: HealthFinding[]): void {
    const service = this.#services.get(name) ?? { best: 0, failures: 0 };
    this.#services.set(name, service);
    const worst = Math.min(...outcomes.map((each) => RANKS[each]));
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
    findings.push({ kind: "serviceDown", service: name });
  }

  #alive(findings: HealthFinding[]): void {
    this.#silentRounds = 0;
    if (!this.#isHung) return;
    this.#isHung = false;
    findings.push({ kind: "answers" });
  }

  #silent(atMs: number, findings: HealthFinding[]): void {
    this.#silentRounds += 1;
    if (this.#silentRounds < SILENT_ROUNDS_LIMIT) return;
    if (!this.#isHung) {
      this.#isHung = true;
      this.#faults = { ...this.#faults, hangs: this.#faults.hangs + 1 };
      findings.push({ kind: "hung" });
    }
    if (this.#policy === "restart") this.#considerRestart(atMs, findings);
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
