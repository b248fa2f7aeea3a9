/**
 * Which states of a server are worth waking somebody for, and how word of them reaches every channel. Protocol code: it is told what was
 * observed, logged and delivered, and how late it is, and answers with notices to deliver. Each alert is raised once and cleared once.
 * Deliveries wait in bounded queues, one for each channel and one delivery at a time, so that a channel that hangs holds up no other.
 */
import { assert, unreachable } from "../foundation/assert.js";
import { DAY_MS } from "../foundation/durations.js";
import { callsHomeFor, reminderAfterMs, WARRANTY_NOTICE_MS, type PlanStanding } from "./plan.js";

/** Notices that wait for one channel; the oldest go first. */
export const QUEUE_NOTICES_MAX = 256;
/** States that are followed at once; more than any server has. */
export const CONDITIONS_MAX = 512;
export const RETRY_FIRST_MS = 1000;
export const RETRY_LAST_MS = 300_000;
/** About a day of trying. */
export const ATTEMPTS_MAX = 300;
/** A directory around the limit must not raise and clear with every file. */
const FULL_HYSTERESIS_SHARE = 0.02;

export type AlertSeverity = "warning" | "critical";

export interface AlertSettings {
  readonly server: string;
  /** Part of every notice's id, different for every run of whoever watches. */
  readonly run: string;
  readonly channels: readonly string[];
  /** Those of the channels that call home: they hear what the support plan covers, and nothing without one. */
  readonly callHome: readonly string[];
  /** Less redundancy than wanted for this long. */
  readonly simplexForMs: number;
  readonly unreachableForMs: number;
  /** Part of a mirror's file system that is used, 0 to 1. */
  readonly fullShare: number;
  /** Faults that happen at moments count as over after this long without another one. */
  readonly quietMs: number;
  /** A certificate is worth a word so long before it expires. */
  readonly certificateMs: number;
}

/** What a status report says, as far as it matters here. */
export interface Observation {
  readonly redundancy: string;
  readonly wantedRedundancy: string;
  /** It never ran until now, so that nothing is lost. */
  readonly isStarting: boolean;
  readonly brokenModules: readonly string[];
  readonly failedMirrors: readonly string[];
  /** Errors of disks, and blocks without a good copy, so far. */
  readonly diskErrors: number;
  /** Bad blocks that reads and the scrub met with so far. */
  readonly scrubErrors: number;
  readonly isGuestHung: boolean;
  readonly guestServicesDown: readonly string[];
  /** How the image stands as to certificates; null: there is nothing to say. */
  readonly certification: { readonly state: string; readonly reason: string; readonly expiresAtMs: number | null } | null;
  readonly fullness: readonly { readonly directory: string; readonly usedShare: number }[];
}

export type AlertEvent =
  /** `plan`, here and below: support and warranty as they stand; null: none. */
  | { readonly kind: "observed"; readonly atMs: number; readonly plan: PlanStanding | null; readonly observation: Observation }
  /** `unmanaged`: it serves on without management; `stopped`: as its operator wanted. */
  | { readonly kind: "absent"; readonly atMs: number; readonly plan: PlanStanding | null; readonly why: "down" | "unmanaged" | "stopped" }
  | { readonly kind: "logged"; readonly atMs: number; readonly code: string; readonly text: string; readonly module: string }
  | { readonly kind: "clock"; readonly atMs: number }
  | { readonly kind: "delivered"; readonly atMs: number; readonly channel: string; readonly id: string }
  /** `jitter`: 0 to 1, from a source of randomness. */
  | { readonly kind: "failed"; readonly atMs: number; readonly channel: string; readonly id: string; readonly jitter: number };

export interface Notice {
  readonly id: string;
  readonly server: string;
  readonly code: string;
  /** What it is about: a module, a directory; else empty. */
  readonly subject: string;
  readonly severity: AlertSeverity;
  /** `reminded`: it is still so, and the reaction that the plan promises is due. */
  readonly state: "raised" | "reminded" | "cleared";
  readonly text: string;
  /** ms since 1970. */
  readonly atMs: number;
  /** Since when it was so. */
  readonly sinceMs: number;
  /** What was promised for such a case; null: no plan, or its warranty does not run. */
  readonly support: { readonly level: string; readonly contact: string; readonly reactionMs: number } | null;
}

export type AlertEffect =
  | { readonly kind: "deliver"; readonly channel: string; readonly notice: Notice; readonly attempt: number }
  | { readonly kind: "dropped"; readonly channel: string; readonly notice: Notice; readonly why: "queue" | "attempts" };

/** A state that is not as it should be. */
interface Finding {
  readonly code: string;
  readonly subject: string;
  readonly severity: AlertSeverity;
  readonly text: string;
  /** It is worth a word only when it has lasted this long. */
  readonly afterMs: number;
}

interface Condition extends Finding {
  readonly sinceMs: number;
  /** Of a fault at a moment: when it was last met with. */
  lastMs: number;
  isRaised: boolean;
  /** When the vendor was last told. */
  calledMs: number;
  /** Channels that heard of it: they hear of its end, too. */
  readonly told: Set<string>;
}

interface Channel {
  readonly callsHome: boolean;
  readonly queue: Notice[];
  isBusy: boolean;
  attempts: number;
  notBeforeMs: number;
}

/** Events that tell of a fault at a moment, by code. */
const MOMENTS: Readonly<Record<string, readonly [code: string, severity: AlertSeverity]>> = {
  DISK_ERROR: ["DISK_ERRORS", "critical"],
  BLOCK_LOST: ["DISK_ERRORS", "critical"],
  DISK_WITHOUT_MIRROR: ["DISK_ERRORS", "critical"],
  BLOCK_BAD: ["SCRUB_ERRORS", "warning"],
  MISCOMPARE: ["MISCOMPARE", "warning"],
  MEMORY_DAMAGED: ["MISCOMPARE", "warning"],
  GUEST_PANIC: ["GUEST_FAULT", "critical"],
  GUEST_RESTARTED: ["GUEST_FAULT", "critical"],
  GUEST_RESTARTS_USED_UP: ["GUEST_FAULT", "critical"],
};
/** Whose end says nothing about the server as a whole. */
const SEPARATE_CODES = new Set(["GUEST_HUNG", "WARRANTY_ENDING"]);
const MOMENT_CODES = new Set(Object.values(MOMENTS).map(([code]) => code));

export class Alerts {
  readonly #settings: AlertSettings;
  readonly #conditions = new Map<string, Condition>();
  readonly #channels: ReadonlyMap<string, Channel>;
  #notices = 0;
  #diskErrors = 0;
  #scrubErrors = 0;
  #plan: PlanStanding | null = null;
  #effects: AlertEffect[] = [];

  constructor(settings: AlertSettings) {
    this.#settings = settings;
    const channel = (name: string): Channel => {
      return { callsHome: settings.callHome.includes(name), queue: [], isBusy: false, attempts: 0, notBeforeMs: 0 };
    };
    this.#channels = new Map(settings.channels.map((name) => [name, channel(name)]));
  }

  step(event: AlertEvent): AlertEffect[] {
    this.#effects = [];
    const { atMs } = event;
    switch (event.kind) {
      case "observed":
        this.#plan = event.plan;
        this.#observe(event.observation, atMs);
        break;
      case "absent":
        this.#plan = event.plan;
        this.#absent(event.why, atMs);
        break;
      case "logged":
        this.#logged(event.code, event.text, event.module, atMs);
        break;
      case "delivered":
      case "failed":
        this.#answered(event);
        break;
      case "clock":
        break;
      default:
        unreachable(event);
    }
    this.#endMoments(atMs);
    this.#remind(atMs);
    for (const [name, channel] of this.#channels) this.#deliver(name, channel, atMs);
    return this.#effects;
  }

  /** Codes and subjects of what is raised now. */
  get raised(): string[] {
    return [...this.#conditions].filter(([, condition]) => condition.isRaised).map(([key]) => key);
  }

  #observe(observation: Observation, atMs: number): void {
    const { server } = this.#settings;
    const found = [...this.#findings(observation), ...this.#certificationFindings(observation, atMs), ...this.#warrantyFindings(atMs)];
    this.#settle(found, `Server ${server} is ${observation.redundancy} again.`, atMs);
    const { diskErrors, scrubErrors } = observation;
    if (diskErrors > this.#diskErrors) this.#moment("DISK_ERRORS", "critical", "", `The disk of server ${server} has errors.`, atMs);
    if (scrubErrors > this.#scrubErrors) this.#moment("SCRUB_ERRORS", "warning", "", `The disk of server ${server} has bad blocks.`, atMs);
    // Counters begin anew with a run of the server: less than before is no error, and more than then is.
    this.#diskErrors = diskErrors;
    this.#scrubErrors = scrubErrors;
  }

  #findings(observation: Observation): Finding[] {
    const { server, simplexForMs } = this.#settings;
    const { redundancy, wantedRedundancy, isStarting } = observation;
    const found: Finding[] = [];
    const add = (code: string, severity: AlertSeverity, text: string, subject = "", afterMs = 0): void => {
      found.push({ code, severity, text, subject, afterMs });
    };
    if (redundancy === "OUTAGE" && !isStarting) add("OUTAGE", "critical", `Server ${server} has an outage: its guest runs nowhere.`);
    if (redundancy !== wantedRedundancy && !isStarting) {
      add("SIMPLEX", "warning", `Server ${server} is ${redundancy} instead of ${wantedRedundancy}, and stays so.`, "", simplexForMs);
    }
    if (observation.isGuestHung) add("GUEST_HUNG", "critical", `The guest of server ${server} hangs.`);
    for (const name of observation.guestServicesDown)
      add("GUEST_SERVICE", "critical", `Service ${name} in the guest of ${server} is down.`, name);
    for (const name of observation.brokenModules) add("BROKEN", "critical", `${name} of server ${server} is BROKEN.`, name);
    for (const name of observation.failedMirrors) add("MIRROR_FAILED", "critical", `The disk mirror of ${name} of ${server} failed.`, name);
    for (const { directory, usedShare } of observation.fullness) {
      if (usedShare < this.#fullLimit(directory)) continue;
      add("DISK_NEARLY_FULL", "warning", `The file system of ${directory} is ${Math.floor(usedShare * 100)}% full.`, directory);
    }
    return found;
  }

  #warrantyFindings(atMs: number): Finding[] {
    const plan = this.#plan;
    if (plan === null || atMs < plan.warrantyUntilMs - WARRANTY_NOTICE_MS) return [];
    const when = atMs < plan.warrantyUntilMs ? "ends within 30 days" : "has ended";
    const text = `The warranty of server ${this.#settings.server} (support plan ${plan.level}) ${when}; nobody is called after it.`;
    return [{ code: "WARRANTY_ENDING", subject: "", severity: "warning", text, afterMs: 0 }];
  }

  #certificationFindings({ certification }: Observation, atMs: number): Finding[] {
    if (certification === null) return [];
    const { server, certificateMs } = this.#settings;
    const { state, reason, expiresAtMs } = certification;
    const finding = (code: string, severity: AlertSeverity, text: string): Finding[] => {
      return [{ code, severity, text, subject: "image", afterMs: 0 }];
    };
    if (state === "altered") return finding("IMAGE_ALTERED", "critical", `The image of server ${server} was altered: ${reason}`);
    if (state === "expired")
      return finding("CERTIFICATE_EXPIRED", "warning", `Server ${server} runs without a valid certificate: ${reason}`);
    if (state === "uncertified") return finding("UNCERTIFIED", "warning", `Server ${server} runs an uncertified image: ${reason}`);
    if (expiresAtMs === null || expiresAtMs - atMs > certificateMs) return [];
    const days = Math.ceil((expiresAtMs - atMs) / DAY_MS);
    return finding("CERTIFICATE_EXPIRING", "warning", `The certificate of the image of server ${server} expires within ${days} days.`);
  }

  #fullLimit(directory: string): number {
    const { fullShare } = this.#settings;
    return this.#conditions.has(keyOf("DISK_NEARLY_FULL", directory)) ? fullShare - FULL_HYSTERESIS_SHARE : fullShare;
  }

  #absent(why: "down" | "unmanaged" | "stopped", atMs: number): void {
    const { server, unreachableForMs: afterMs } = this.#settings;
    if (why === "stopped") return this.#settle(this.#warrantyFindings(atMs), `Server ${server} was stopped.`, atMs);
    // What else was so may be so still: nobody can tell.
    const rest = [...this.#conditions.values()].filter(
      ({ code, isRaised }) => isRaised && !MOMENT_CODES.has(code) && code !== "SERVER_DOWN" && code !== "SERVER_UNMANAGED",
    );
    const text =
      why === "down" ? `Server ${server} is gone, and nobody stopped it.` : `Server ${server} runs on without management modules.`;
    const code = why === "down" ? "SERVER_DOWN" : "SERVER_UNMANAGED";
    this.#settle([...rest, { code, subject: "", severity: "critical", text, afterMs }], `Server ${server} was heard of again.`, atMs);
  }

  #logged(code: string, text: string, module: string, atMs: number): void {
    // One that is over before the next report must not go unheard; that report ends it.
    if (code === "OUTAGE") return this.#hold({ code, subject: "", severity: "critical", text, afterMs: 0 }, atMs);
    const moment = MOMENTS[code];
    if (moment !== undefined) this.#moment(moment[0], moment[1], module, text, atMs);
  }

  /** What is found holds, what is not found any more is over. */
  #settle(findings: readonly Finding[], clearText: string, atMs: number): void {
    const held = new Set(findings.map(({ code, subject }) => keyOf(code, subject)));
    for (const finding of findings) this.#hold(finding, atMs);
    for (const [key, condition] of this.#conditions) {
      if (held.has(key) || MOMENT_CODES.has(condition.code)) continue;
      const isWhole = condition.subject === "" && !SEPARATE_CODES.has(condition.code);
      this.#end(key, condition, isWhole ? clearText : `It is over: ${condition.text}`, atMs);
    }
  }

  #moment(code: string, severity: AlertSeverity, subject: string, text: string, atMs: number): void {
    this.#hold({ code, subject, severity, text, afterMs: 0 }, atMs);
  }

  #hold(finding: Finding, atMs: number): void {
    const key = keyOf(finding.code, finding.subject);
    let condition = this.#conditions.get(key);
    if (condition === undefined) {
      if (this.#conditions.size >= CONDITIONS_MAX) return;
      const { code, subject, severity, text, afterMs } = finding;
      condition = { code, subject, severity, text, afterMs, sinceMs: atMs, lastMs: atMs, isRaised: false, calledMs: 0, told: new Set() };
      this.#conditions.set(key, condition);
    }
    condition.lastMs = atMs;
    if (condition.isRaised || atMs - condition.sinceMs < condition.afterMs) return;
    condition.isRaised = true;
    this.#tell(condition, "raised", finding.text, atMs);
  }

  #endMoments(atMs: number): void {
    for (const [key, condition] of this.#conditions) {
      if (!MOMENT_CODES.has(condition.code) || atMs - condition.lastMs < this.#settings.quietMs) continue;
      this.#end(key, condition, `It has not happened again: ${condition.text}`, atMs);
    }
  }

  /** What was worth a call and stays is told again when the reaction is due; what a plan came to cover since is told now. */
  #remind(atMs: number): void {
    const afterMs = reminderAfterMs(this.#plan);
    for (const condition of this.#conditions.values()) {
      if (!condition.isRaised || MOMENT_CODES.has(condition.code) || !callsHomeFor(this.#plan, condition.severity)) continue;
      const isDue = afterMs !== null && condition.severity === "critical" && atMs - condition.calledMs >= afterMs;
      for (const [name, channel] of this.#channels) {
        if (!channel.callsHome) continue;
        if (!condition.told.has(name)) this.#tell(condition, "raised", condition.text, atMs, (other) => other === name);
        else if (isDue) this.#tell(condition, "reminded", condition.text, atMs, (other) => other === name);
      }
    }
  }

  /** Nobody hears of the end of what nobody heard of. */
  #end(key: string, condition: Condition, text: string, atMs: number): void {
    this.#conditions.delete(key);
    if (condition.isRaised) this.#tell(condition, "cleared", text, atMs);
  }

  #tell(condition: Condition, state: Notice["state"], text: string, atMs: number, isFor = this.#hears(condition, state)): void {
    const { server, run } = this.#settings;
    const { code, subject, severity, sinceMs } = condition;
    const { level, contact, reactionMs } = this.#plan ?? { level: "", contact: "", reactionMs: 0 };
    const support = callsHomeFor(this.#plan, severity) ? { level, contact, reactionMs } : null;
    this.#notices += 1;
    const id = `${run}-${this.#notices}`;
    const notice: Notice = { id, server, code, subject, severity, state, text, atMs, sinceMs, support };
    for (const [name, channel] of this.#channels) {
      if (!isFor(name, channel)) continue;
      condition.told.add(name);
      if (channel.callsHome) condition.calledMs = atMs;
      this.#queue(name, channel, notice);
    }
  }

  /** Who hears of a condition: the operator always; the vendor of what the plan covers, and of the end of what it was called for. */
  #hears(condition: Condition, state: Notice["state"]): (name: string, channel: Channel) => boolean {
    return (name, channel) => {
      if (!channel.callsHome) return true;
      return state === "cleared" ? condition.told.has(name) : callsHomeFor(this.#plan, condition.severity);
    };
  }

  #queue(name: string, channel: Channel, notice: Notice): void {
    channel.queue.push(notice);
    if (channel.queue.length <= QUEUE_NOTICES_MAX) return;
    // The first one is on its way when the channel is busy.
    const [dropped] = channel.queue.splice(channel.isBusy ? 1 : 0, 1);
    assert(dropped !== undefined, "a full queue has a notice to drop");
    if (!channel.isBusy) channel.attempts = 0;
    this.#effects.push({ kind: "dropped", channel: name, notice: dropped, why: "queue" });
  }

  #answered(event: Extract<AlertEvent, { kind: "delivered" | "failed" }>): void {
    const channel = this.#channels.get(event.channel);
    const notice = channel?.queue[0];
    assert(channel !== undefined && notice !== undefined && channel.isBusy && notice.id === event.id, "an answer belongs to a delivery");
    channel.isBusy = false;
    if (event.kind === "failed" && channel.attempts < ATTEMPTS_MAX) {
      channel.notBeforeMs = event.atMs + retryDelayMs(channel.attempts, event.jitter);
      return;
    }
    if (event.kind === "failed") this.#effects.push({ kind: "dropped", channel: event.channel, notice, why: "attempts" });
    channel.queue.shift();
    channel.attempts = 0;
    channel.notBeforeMs = 0;
  }

  #deliver(name: string, channel: Channel, atMs: number): void {
    const [notice] = channel.queue;
    if (channel.isBusy || notice === undefined || atMs < channel.notBeforeMs) return;
    channel.isBusy = true;
    channel.attempts += 1;
    this.#effects.push({ kind: "deliver", channel: name, notice, attempt: channel.attempts });
  }
}

function keyOf(code: string, subject: string): string {
  return `${code} ${subject}`.trimEnd();
}

/** Doubled with every attempt; between half of it and all of it, so that many who failed together do not come back together. */
export function retryDelayMs(attempts: number, jitter: number): number {
  const whole = Math.min(RETRY_LAST_MS, RETRY_FIRST_MS * 2 ** Math.min(attempts - 1, 30));
  return whole * (0.5 + 0.5 * jitter);
}
