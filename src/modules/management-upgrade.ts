/**
 * Active upgrades: changes that need a start of the guest, tried beside it first. What is decided is pure (../installation/upgrade.ts), what
 * is done about it stands in upgrade-effects.ts; here operators ask for it, and each state is written down before its effect, so that the
 * next leader goes on where this one was lost.
 */
import { statfsSync } from "node:fs";
import { freemem } from "node:os";
import { MIB } from "../foundation/bytes.js";
import { SteadfastError } from "../foundation/errors.js";
import {
  beginUpgrade,
  isAbortable,
  isAllowed,
  ownsPower,
  stepUpgrade,
  type UpgradeEvent,
  type UpgradePhase,
  type UpgradeStep,
} from "../installation/upgrade.js";
import type { UpgradeStanding } from "../view/upgrade.js";
import type { ManagementEventCode } from "../wire/event-codes.js";
import { askedChange, imageOf } from "./change-images.js";
import type { PastInstallation } from "./change-records.js";
import { allocatedBytes, isAside, takeBack } from "./former-mirror.js";
import { isUnanswered, newAgentId } from "./management-agent.js";
import { judgeImage } from "./management-certification.js";
import type { ChangeRequest } from "./management-change.js";
import { mirrorDirectories } from "./management-plan.js";
import { TrialServer } from "./trial-server.js";
import { UpgradeEffects, type PreparedImage, type UpgradeCourse, type UpgradeHooks } from "./upgrade-effects.js";
import { readUpgrade, writeUpgrade, type CurrentUpgrade, type UpgradeEnd } from "./upgrade-records.js";

/** Of the trial, beside its guest's memory: its processes. */
const TRIAL_OVERHEAD_MIB = 300;

export interface UpgradeRequest extends ChangeRequest {
  /** The cutover follows at once when the trial is healthy. */
  readonly cutover?: boolean | undefined;
}

export interface UpgradeView extends Pick<CurrentUpgrade, "id" | "name" | "change" | "from" | "to" | "startedAt" | "outageMs"> {
  readonly phase: UpgradePhase;
  readonly why: string | null;
  /** Name of the server on which it is tried; null: there is none any more. */
  readonly trial: string | null;
  /** Whether the disk as it was at the cutover is kept. */
  readonly hasFormerDisk: boolean;
  /** What the operator may ask for now. */
  readonly allowed: readonly ("cutover" | "abort" | "commit" | "rollback")[];
}

export interface UpgradeOwnHooks extends UpgradeHooks {
  /** Another kind of change is under way. */
  isBusy(): boolean;
  remember(past: PastInstallation): void;
  boots(): CurrentUpgrade["bootsBefore"];
}

const ASKED = ["cutover", "abort", "commit", "rollback"] as const;

export class ActiveUpgrade {
  readonly #hooks: UpgradeOwnHooks;
  readonly #trial: TrialServer;
  readonly #effects: UpgradeEffects;
  #current: CurrentUpgrade | null;
  /** Aborted by what overtakes an effect under way: its outcome does not count any more. */
  #course = new AbortController();
  #isPreparing = false;

  constructor(server: string, hooks: UpgradeOwnHooks) {
    this.#hooks = hooks;
    this.#trial = new TrialServer(server);
    this.#effects = new UpgradeEffects(hooks, this.#trial);
    this.#current = readUpgrade(hooks.paths);
  }

  get isBusy(): boolean {
    return this.#current !== null || this.#isPreparing;
  }

  /** The guest is off by our own doing, or about to be. */
  get ownsPower(): boolean {
    return this.#current !== null && ownsPower(this.#current.state.phase);
  }

  get standing(): UpgradeStanding | null {
    return this.#current === null ? null : { name: this.#current.name, phase: this.#current.state.phase };
  }

  get isUncommitted(): boolean {
    return this.#current?.state.phase === "uncommitted";
  }

  get view(): UpgradeView | null {
    if (this.#current === null) return null;
    const { id, name, change, from, to, startedAt, state, former, outageMs } = this.#current;
    return {
      ...{ id, name, change, from, to, startedAt, phase: state.phase, why: state.why, outageMs },
      trial: isAbortable(state.phase) && state.phase !== "copying" ? this.#trial.name : null,
      hasFormerDisk: former !== null && isAside(former),
      allowed: ASKED.filter((asked) => isAllowed(state.phase, asked)),
    };
  }

  /**
   * Begins to try a change; nothing has happened when it is refused.
   *
   * @throws SteadfastError why it is refused
   */
  async begin({ image, change, uncertified, cutover = false }: UpgradeRequest): Promise<{ readonly id: string }> {
    if (this.isBusy || this.#hooks.isBusy()) throw new SteadfastError("CHANGE_UNDER_WAY");
    this.#isPreparing = true;
    try {
      const plan = this.#hooks.plan();
      const { name } = await askedChange(this.#hooks.paths, plan.image.digest, { image, change });
      const target = await this.#effects.prepare(image);
      await this.#effects.prepare(plan.image.digest);
      const ends = this.#ends(image, target, uncertified ?? null);
      this.#demandReadiness(ends.to.memoryMiB);
      const id = newAgentId();
      const first = beginUpgrade(cutover);
      this.#write({
        ...{ id, name, change, ...ends, startedAt: new Date().toISOString(), state: first.state, bootsBefore: this.#hooks.boots() },
        ...{ parted: null, former: null, isCold: ends.from.memoryMiB !== ends.to.memoryMiB, isOrdered: false },
        ...{ closedAtMs: null, outageMs: null, outageBackMs: null },
      });
      this.#tell("info", "UPGRADE_STARTED", `The change ${name} is tried on the server ${this.#trial.name}; this one serves on as it is.`);
      this.#carryOut(first);
      return { id };
    } finally {
      this.#isPreparing = false;
    }
  }

  cutOver(): { readonly id: string } {
    return this.#asked("cutover", { kind: "cutover" });
  }

  abort(): { readonly id: string } {
    return this.#asked("abort", { kind: "abort" });
  }

  commit(): { readonly id: string } {
    return this.#asked("commit", { kind: "commit" });
  }

  rollback(isFormerDisk: boolean): { readonly id: string } {
    if (isFormerDisk && this.isUncommitted && this.view?.hasFormerDisk !== true)
      throw new SteadfastError("UPGRADE_NO_FORMER_DISK", { server: this.#hooks.plan().server });
    return this.#asked("rollback", { kind: "rollback", isFormerDisk });
  }

  #asked(what: (typeof ASKED)[number], event: UpgradeEvent): { readonly id: string } {
    const current = this.#current;
    if (current === null) throw new SteadfastError("UPGRADE_NONE", { server: this.#hooks.plan().server });
    const { phase } = current.state;
    if (!isAllowed(phase, what)) throw new SteadfastError("UPGRADE_PHASE", { what, phase });
    this.#happened(event);
    return { id: current.id };
  }

  /** The server is about to start anew, and nobody has its disk open: what may be half exchanged is exchanged. */
  finishDisk(): void {
    const current = this.#current;
    const plan = this.#hooks.plan();
    if (current === null || current.state.phase !== "swapping" || current.former === null || !isAside(current.former)) return;
    if (plan.disk === undefined) return;
    takeBack(current.former, mirrorDirectories(plan, plan.disk, this.#hooks.paths));
    this.#write({ ...current, state: { ...current.state, phase: "recordingBack", isFormerDisk: false } });
  }

  /** Goes on where the former leader was. `isSameGuest`: false, the server was started anew, and the guest with it. */
  resume(isSameGuest: boolean): void {
    if (this.#current === null) return;
    const isNew = this.#hooks.plan().image.digest === this.#current.to.image;
    this.#happened(isSameGuest ? { kind: "resumed" } : { kind: "serverStarted", isNew });
  }

  guestRestarted(): void {
    if (this.#current !== null) this.#happened({ kind: "guestRestarted" });
  }

  /** The leader ends; another one goes on. */
  close(): void {
    this.#course.abort();
  }

  /** The server ends: what is only tried ends with it. */
  async end(): Promise<void> {
    this.close();
    if (this.#current !== null && isAbortable(this.#current.state.phase)) await this.#trial.remove();
  }

  // What may be refused.

  #ends(digest: string, { image, measured }: PreparedImage, word: string | null): { readonly from: UpgradeEnd; readonly to: UpgradeEnd } {
    const plan = this.#hooks.plan();
    const [old, target] = [imageOf(plan.image.digest), imageOf(digest)];
    if (old.diskMiB !== target.diskMiB) throw new SteadfastError("UPGRADE_DISK_SIZE", { server: plan.server });
    const decision = judgeImage({ ...plan, image }, measured, word);
    if (!decision.allowed) throw decision.refusal;
    const memoryMiB = old.memoryMiB === target.memoryMiB ? plan.memoryMiB : target.memoryMiB;
    return {
      from: { image: old.digest, memoryMiB: plan.memoryMiB, uncertified: plan.certification.uncertified },
      to: { image: digest, memoryMiB, uncertified: decision.state === "uncertified" ? decision.reason : plan.certification.uncertified },
    };
  }

  #demandReadiness(memoryMiB: number): void {
    const plan = this.#hooks.plan();
    const { server, disk } = plan;
    if (this.#hooks.guestState() !== "ready") throw new SteadfastError("CHANGE_GUEST_NOT_READY", { server });
    if (!this.#effects.isWhole || (disk !== undefined && this.#effects.spareMirror() === null))
      throw new SteadfastError("UPGRADE_NOT_WHOLE", { server });
    if (this.#trial.isTaken) throw new SteadfastError("UPGRADE_NAME_TAKEN", { name: this.#trial.name });
    const needsMiB = memoryMiB + TRIAL_OVERHEAD_MIB;
    const demand = (what: string, needed: number, free: number): void => {
      if (free < needed) throw new SteadfastError("UPGRADE_NO_ROOM", { what, needed, free: Math.floor(free) });
    };
    demand("memory", needsMiB, freemem() / MIB);
    if (disk === undefined) return;
    // First for the copy; when that is gone, for a mirror beside the one that is put aside.
    const directories = mirrorDirectories(plan, disk, this.#hooks.paths);
    const mirrorMiB = Math.ceil(Math.max(...directories.map(allocatedBytes)) / MIB);
    for (const directory of [this.#hooks.paths.stateDirectory, ...directories]) {
      const { bavail, bsize } = statfsSync(directory);
      demand(`space in ${directory}`, mirrorMiB, (bavail * bsize) / MIB);
    }
  }

  // The course.

  #happened(event: UpgradeEvent): void {
    const current = this.#current;
    if (current === null) return;
    const next = stepUpgrade(current.state, event);
    const isOther = next.state.phase !== current.state.phase;
    // Heard of, and nothing follows: what is under way goes on.
    if (!isOther && next.effects.length === 0) return;
    this.#write({ ...current, state: next.state, ...(isOther && { isOrdered: false, ...this.#timesOf(current, next) }) });
    if (isOther) this.#tellPhase(current);
    this.#carryOut(next);
  }

  /** How long the guest is away is told from when it is asked to go until it is ready again. */
  #timesOf(current: CurrentUpgrade, { state: { phase } }: UpgradeStep): Partial<CurrentUpgrade> {
    const now = Date.now();
    if (phase === "closing" || phase === "closingBack") return { closedAtMs: now };
    const away = current.closedAtMs === null ? null : now - current.closedAtMs;
    if (current.state.phase === "starting" && phase === "proving") return { outageMs: away };
    return current.state.phase === "startingBack" && phase === "forgetting" ? { outageBackMs: away } : {};
  }

  #carryOut({ effects }: UpgradeStep): void {
    this.#course.abort();
    const controller = new AbortController();
    this.#course = controller;
    const course: UpgradeCourse = {
      signal: controller.signal,
      current: () => this.#current as CurrentUpgrade,
      note: (changed) => {
        if (this.#current !== null && !controller.signal.aborted) this.#write({ ...this.#current, ...changed });
      },
    };
    for (const effect of effects) {
      if (effect === "end") return this.#end(course);
      void this.#effects
        .carryOut(effect, course)
        .catch((error: unknown): UpgradeEvent => ({ kind: isUnanswered(error) ? "unanswered" : "failed", why: (error as Error).message }))
        .then((event) => {
          if (!controller.signal.aborted) this.#happened(event);
        });
    }
  }

  #end(course: UpgradeCourse): void {
    this.#effects.rejoin(course);
    const { state, from, to, id, name, change, startedAt, outageMs, outageBackMs } = course.current();
    const { outcome, why } = state;
    const past: PastInstallation = {
      ...{ id, kind: "upgrade", name, change, from: from.image, to: to.image, uncertified: to.uncertified, startedAt },
      ...{ bytes: 0, files: 0, services: [], outcome, outageMs, outageBackMs, why, endedAt: new Date().toISOString() },
    };
    this.#tellEnd(course.current());
    this.#hooks.remember(past);
    this.#current = null;
    writeUpgrade(this.#hooks.paths, null);
    this.#effects.forget();
  }

  #write(current: CurrentUpgrade): void {
    this.#current = current;
    writeUpgrade(this.#hooks.paths, current);
  }

  // What is told.

  #tellPhase(before: CurrentUpgrade): void {
    const { name, state, outageMs, former } = this.#current as CurrentUpgrade;
    switch (state.phase) {
      case "tried":
        return this.#tell(
          "info",
          "UPGRADE_TRIED",
          `The change ${name} is healthy on ${this.#trial.name}: \`change cutover\` or \`change abort\`.`,
        );
      case "closing":
        if (before.state.phase !== "clearing") return;
        return this.#tell("warning", "UPGRADE_CUTOVER", `The guest is shut down, to be started with the change ${name}.`);
      case "closingBack":
        if (state.why === null) return;
        return this.#tell(
          "error",
          "UPGRADE_UNHEALTHY",
          `The guest is not well with the change ${name} and is started without it: ${state.why}.`,
        );
      case "uncommitted": {
        const kept = former === null ? "" : "; the disk as it was is kept";
        const text = `The server runs the change ${name}; the guest was away for ${seconds(outageMs)}${kept}. \`change commit\` or \`change rollback\`.`;
        return this.#tell("info", "UPGRADE_UNCOMMITTED", text);
      }
      default:
    }
  }

  #tellEnd({ name, state, outageBackMs, former }: CurrentUpgrade): void {
    const { outcome, isFormerDisk } = state;
    const why = state.why === null ? "" : `: ${state.why.replace(/[.\s]*$/, "")}`;
    const severity = state.why === null ? "info" : "error";
    switch (outcome) {
      case "upgraded":
        return this.#tell(severity, "UPGRADE_COMMITTED", `The change ${name} was committed${why}.`);
      case "aborted":
        return this.#tell(severity, "UPGRADE_ABORTED", `The upgrade to the change ${name} was ended, and the server is as it was${why}.`);
      case "rolledBack": {
        const disk = isFormerDisk ? " on the disk as it was at the cutover" : "";
        const text = `The server runs without the change ${name} again${disk}; the guest was away for ${seconds(outageBackMs)}${why}.`;
        return this.#tell(severity, "UPGRADE_ROLLED_BACK", text);
      }
      case "failed": {
        const kept = former === null ? "" : ` The disk as it was at the cutover is in ${former}/former.`;
        return this.#tell("error", "UPGRADE_FAILED", `The upgrade to the change ${name} could not be taken back${why}.${kept}`);
      }
    }
  }

  #tell(severity: "info" | "warning" | "error", code: ManagementEventCode, text: string): void {
    const { id, name, change, from, to, state, outageMs, outageBackMs } = this.#current as CurrentUpgrade;
    const { phase, why } = state;
    this.#hooks.events.add(severity, code, text, {
      data: { id, name, change, from: from.image, to: to.image, phase, outageMs, outageBackMs, why },
    });
  }
}

function seconds(ms: number | null): string {
  return ms === null ? "an unknown time" : `${(ms / 1000).toFixed(1)} s`;
}
