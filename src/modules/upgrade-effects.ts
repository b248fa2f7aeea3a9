/**
 * The effects of an active upgrade (../installation/upgrade.ts), carried out: on the trial server, on the modules of the server, on its
 * guest and its disk. Each may be carried out twice; what has to be known for that is noted first.
 */
import type { AgentRequest } from "../agent/lines.js";
import { SteadfastError } from "../foundation/errors.js";
import type { MeasuredImage } from "../image/store.js";
import { servicesOf } from "../installation/delta.js";
import type { UpgradeEffect, UpgradeEvent } from "../installation/upgrade.js";
import { imageOf, plannedImage, treeOf } from "./change-images.js";
import { bootsAfter, packageFile, type ChangeRecords } from "./change-records.js";
import { forgetFormer, isAside, putAside, takeBack } from "./former-mirror.js";
import { guestTrouble, said, type AskAgent, type Expected } from "./guest-checks.js";
import { beginShutDown, prepareShutDown } from "./guest-shutdown.js";
import { bringMachinesBack, takeMachinesOut, type AnewHooks } from "./machines-anew.js";
import type { AgentAnswer } from "./management-agent.js";
import { measureImage } from "./management-certification.js";
import type { EventLog } from "./management-events.js";
import { mirrorDirectories, mirrorDirectory, type PlannedImage, type ServerPlan } from "./management-plan.js";
import { areMirrorsInSync, type GuestState, type ServerReport } from "./management-status.js";
import { readPackageFacts } from "./package-reader.js";
import type { TrialServer } from "./trial-server.js";
import type { CurrentUpgrade, UpgradeEnd } from "./upgrade-records.js";

const SYNC_SECONDS = 60;
const PART_LIMIT_MS = 20_000;
const TRIAL_READY_LIMIT_MS = 300_000;
/** A trial whose management does not answer for so long is lost. */
const TRIAL_SILENT_LIMIT_MS = 30_000;
/** Until the mirror that was copied is in sync again. */
const WHOLE_LIMIT_MS = 300_000;
const SHUT_DOWN_LIMIT_MS = 30_000;
/** Where the agent does not do it; a guest that was just started may not hear the button yet. */
const PRESS_EVERY_MS = 12_000;
const START_LIMIT_MS = 180_000;
const AGAIN_MS = 1000;
const SLOW_POLL_MS = 200;
/** While clients wait. */
const QUICK_POLL_MS = 20;

export interface UpgradeHooks extends AnewHooks {
  readonly events: EventLog;
  report(): ServerReport;
  guestState(): GuestState;
  /** Kernel panics since the server's start. */
  guestPanics(): number;
  ask(request: AgentRequest): Promise<AgentAnswer>;
  /** The image that the guest boots next, and the memory that its machines are made with. */
  record(image: PlannedImage, measured: MeasuredImage, end: UpgradeEnd): void;
  /** What a start of the server makes of the image that it is asked to start with. */
  setBoots(boots: ChangeRecords["boots"]): void;
  /** False: nobody takes the order at the moment. */
  pressPowerButton(): boolean;
  powerCycle(): boolean;
  holdOut(module: string): void;
  bringIn(module: string): void;
}

/** The record of the upgrade, and whether what is being done was overtaken. */
export interface UpgradeCourse {
  readonly signal: AbortSignal;
  current(): CurrentUpgrade;
  note(changed: Partial<CurrentUpgrade>): void;
}

export interface PreparedImage {
  readonly image: PlannedImage;
  readonly measured: MeasuredImage;
}

const DONE: UpgradeEvent = { kind: "done" };
const failure = (why: string): UpgradeEvent => ({ kind: "failed", why });

export class UpgradeEffects {
  readonly #hooks: UpgradeHooks;
  readonly #trial: TrialServer;
  readonly #prepared = new Map<string, PreparedImage>();

  constructor(hooks: UpgradeHooks, trial: TrialServer) {
    this.#hooks = hooks;
    this.#trial = trial;
  }

  async carryOut(effect: Exclude<UpgradeEffect, "end">, course: UpgradeCourse): Promise<UpgradeEvent> {
    switch (effect) {
      case "copy":
        return this.#copy(course);
      case "boot":
        return this.#boot(course);
      case "check":
        return this.#check(course, (request) => this.#trial.ask(request));
      case "remove":
        return this.#remove(course);
      case "shutDown":
        return this.#shutDown(course);
      case "split":
        return this.#split(course);
      case "record":
      case "recordBack":
        return this.#record(course, effect === "record");
      case "start":
        return this.#start(course);
      case "prove":
        if (!(await this.#untilReady(course, true))) return failure("the guest panicked, or did not become ready in time");
        // For the way back.
        await prepareShutDown(this.#hooks.ask);
        return this.#check(course, this.#hooks.ask);
      case "swap":
        return this.#swap(course);
      case "forget": {
        const { former } = course.current();
        if (former !== null) forgetFormer(former);
        course.note({ former: null });
        return DONE;
      }
    }
  }

  /** Brings back whatever is held out. */
  rejoin(course: UpgradeCourse): void {
    const { parted } = course.current();
    if (parted === null) return;
    this.#hooks.bringIn(parted);
    course.note({ parted: null });
  }

  /** What the plan has of an image, and its files as they are. */
  async prepare(digest: string): Promise<PreparedImage> {
    const known = this.#prepared.get(digest);
    if (known !== undefined) return known;
    const record = imageOf(digest);
    const measured = await measureImage(record.directory);
    if (measured.digest !== digest) throw new SteadfastError("IMAGE_ALTERED", { image: digest });
    const prepared = { image: plannedImage(this.#hooks.plan(), record, measured), measured };
    this.#prepared.set(digest, prepared);
    return prepared;
  }

  forget(): void {
    this.#prepared.clear();
  }

  /** A stand-by I/O module with a mirror in sync that is not the only one; null: there is none. */
  spareMirror(): string | null {
    const { disk, modules } = this.#hooks.report();
    const inSync = Object.entries(disk?.mirrors ?? {}).flatMap(([name, { state }]) => (state === "in sync" ? [name] : []));
    const active = modules.find((each) => each.kind === "io" && each.isActive === true)?.name;
    return inSync.length < 2 ? null : (inSync.find((name) => name !== active) ?? null);
  }

  /** All modules in lockstep, and all mirrors in sync. */
  get isWhole(): boolean {
    const report = this.#hooks.report();
    return report.redundancy === report.wantedRedundancy && (this.#hooks.plan().disk === undefined || areMirrorsInSync(report));
  }

  // The trial.

  async #copy(course: UpgradeCourse): Promise<UpgradeEvent> {
    const plan = this.#hooks.plan();
    if (plan.disk === undefined) return DONE;
    const io = course.current().parted ?? this.spareMirror();
    if (io === null) return failure("there is no second mirror of the disk that is in sync");
    // A mirror that leaves is as a disk after a loss of power: what was not written yet would be missing.
    const synced = await this.#hooks.ask({ verb: "run", command: "sync", limitSeconds: SYNC_SECONDS });
    course.signal.throwIfAborted();
    if (synced.status !== 0) return failure(`sync in the guest: ${said(synced)}`);
    if (!(await this.#part(io, course))) return failure(`the mirror of ${io} did not leave the configuration`);
    const why = await this.#trial.copyMirror(this.#directoryOf(io), plan, course.signal);
    if (course.signal.aborted) return failure("it was overtaken");
    this.rejoin(course);
    return why === null ? DONE : failure(`the disk could not be copied: ${why}`);
  }

  async #boot(course: UpgradeCourse): Promise<UpgradeEvent> {
    const { to } = course.current();
    const { image } = await this.prepare(to.image);
    const isThere = (await this.#trial.report())?.image.digest === to.image;
    course.signal.throwIfAborted();
    if (!isThere) await this.#trial.start(this.#trial.planFor(this.#hooks.plan(), image, to));
    let heardAt = performance.now();
    let standing = "it does not answer";
    const isReady = await until(course, TRIAL_READY_LIMIT_MS, SLOW_POLL_MS, async () => {
      const report = await this.#trial.report();
      if (report !== null) heardAt = performance.now();
      if (report !== null) standing = report.guestFaults.panics > 0 ? "its kernel panicked" : `it is ${report.guest}`;
      return report?.guest === "ready" || (report?.guestFaults.panics ?? 0) > 0 || performance.now() - heardAt > TRIAL_SILENT_LIMIT_MS;
    });
    const report = await this.#trial.report();
    return isReady && report?.guest === "ready" ? DONE : failure(`the guest of the trial did not become ready: ${standing}`);
  }

  async #check(course: UpgradeCourse, ask: AskAgent): Promise<UpgradeEvent> {
    const { to, change } = course.current();
    const { manifest } = await readPackageFacts(packageFile(this.#hooks.paths, change));
    const trouble = await guestTrouble(ask, await this.#expected(to), manifest.checks);
    return trouble === null ? DONE : failure(trouble);
  }

  async #expected({ image: digest }: UpgradeEnd): Promise<Expected> {
    const { image } = await this.prepare(digest);
    const running = servicesOf(await treeOf(imageOf(digest))).flatMap(({ name, isOnce }) => (isOnce ? [] : [name]));
    return { running, ports: image.services.flatMap(({ ports }) => ports) };
  }

  async #remove(course: UpgradeCourse): Promise<UpgradeEvent> {
    this.rejoin(course);
    await this.#trial.remove();
    const { phase, outcome } = course.current().state;
    if (phase !== "clearing" || outcome !== "upgraded") return DONE;
    // Clients wait from here on: what can be read before is read before.
    for (const { image } of [course.current().from, course.current().to]) await this.prepare(image);
    const isWhole = await until(course, WHOLE_LIMIT_MS, SLOW_POLL_MS, async () => this.isWhole);
    await prepareShutDown(this.#hooks.ask);
    return isWhole ? DONE : failure("the server did not become whole again, so the guest was not shut down");
  }

  // The cutover.

  async #shutDown(course: UpgradeCourse): Promise<UpgradeEvent> {
    // Who leads next presses the button: the agent answers nobody once it has begun.
    beginShutDown(this.#hooks.ask).catch((error: unknown) => {
      if (!(error instanceof SteadfastError)) throw error;
    });
    let pressedAt = performance.now();
    const isOff = await until(course, SHUT_DOWN_LIMIT_MS, QUICK_POLL_MS, async () => {
      const state = this.#hooks.guestState();
      if (state === "off") return true;
      if (state !== "booting" && performance.now() - pressedAt > PRESS_EVERY_MS && this.#hooks.pressPowerButton())
        pressedAt = performance.now();
      return false;
    });
    return isOff ? DONE : failure("the guest did not shut down in time");
  }

  /** A server without a second mirror has no former disk: the way back on the present one stays. */
  async #split(course: UpgradeCourse): Promise<UpgradeEvent> {
    const { parted, former } = course.current();
    if (this.#hooks.plan().disk === undefined) return DONE;
    const io = parted ?? this.spareMirror();
    if (io === null || !(await this.#part(io, course))) return DONE;
    const directory = this.#directoryOf(io);
    if (former === null) {
      // Of an upgrade that was lost with its record, there may be an older one.
      forgetFormer(directory);
      course.note({ former: directory });
    }
    putAside(directory);
    return DONE;
  }

  async #record(course: UpgradeCourse, isNew: boolean): Promise<UpgradeEvent> {
    const { from, to, bootsBefore } = course.current();
    const end = isNew ? to : from;
    const { image, measured } = await this.prepare(end.image);
    course.signal.throwIfAborted();
    const plan = this.#hooks.plan();
    if (plan.image.digest !== end.image || plan.memoryMiB !== end.memoryMiB) this.#hooks.record(image, measured, end);
    this.#hooks.setBoots(isNew ? bootsAfter(bootsBefore, from.image, to.image) : bootsBefore);
    return DONE;
  }

  async #start(course: UpgradeCourse): Promise<UpgradeEvent> {
    const { isOrdered, isCold } = course.current();
    if (!isOrdered) {
      if (isCold) {
        await takeMachinesOut(this.#hooks);
        const { state, parted } = course.current();
        await bringMachinesBack(this.#hooks, { isOtherDisk: state.isFormerDisk, except: parted });
      } else if (!this.#hooks.powerCycle()) {
        await pause(AGAIN_MS);
        return { kind: "unanswered", why: "no I/O module is there" };
      }
      course.note({ isOrdered: true });
    }
    const isReady = await this.#untilReady(course, isOrdered);
    // Not before: its start would take time from the guest's.
    if (!course.signal.aborted) this.rejoin(course);
    return isReady ? DONE : failure("the guest panicked, or did not become ready in time");
  }

  /** `isUnderWay`: it was started before. */
  async #untilReady(course: UpgradeCourse, isUnderWay: boolean): Promise<boolean> {
    let hasLeft = isUnderWay;
    const panics = this.#hooks.guestPanics();
    let isReady = false;
    await until(course, START_LIMIT_MS, QUICK_POLL_MS, async () => {
      const state = this.#hooks.guestState();
      hasLeft ||= state === "off" || state === "booting";
      isReady = hasLeft && (state === "ready" || state === "degraded");
      return isReady || this.#hooks.guestPanics() > panics;
    });
    return isReady;
  }

  /** All that was written since the cutover goes with the other mirrors. */
  async #swap(course: UpgradeCourse): Promise<UpgradeEvent> {
    const { former } = course.current();
    const { disk } = this.#hooks.plan();
    if (former === null || disk === undefined || !isAside(former)) return failure("there is none");
    course.note({ isCold: true });
    await takeMachinesOut(this.#hooks);
    takeBack(former, mirrorDirectories(this.#hooks.plan(), disk, this.#hooks.paths));
    return DONE;
  }

  // Mirrors.

  /**
   * Ends the I/O module, and nobody writes to its mirror any more; false: not within the limit. What the guest was told is written is on it:
   * without it nothing is done until a configuration without it is in force.
   */
  async #part(io: string, course: UpgradeCourse): Promise<boolean> {
    course.note({ parted: io });
    this.#hooks.holdOut(io);
    return until(course, PART_LIMIT_MS, QUICK_POLL_MS, async () => this.#hooks.report().modules.find(({ name }) => name === io)?.pid === 0);
  }

  #directoryOf(io: string): string {
    const plan: ServerPlan = this.#hooks.plan();
    const enclosure = this.#hooks.report().modules.find(({ name }) => name === io)?.enclosure ?? "";
    if (plan.disk === undefined) throw new SteadfastError("DISK_NONE", { server: plan.server });
    return mirrorDirectory(this.#hooks.paths, plan.disk, enclosure);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** False: the limit passed, or it was overtaken. */
async function until({ signal }: UpgradeCourse, limitMs: number, pollMs: number, isSo: () => Promise<boolean>): Promise<boolean> {
  const giveUpAt = performance.now() + limitMs;
  while (!signal.aborted) {
    if (await isSo()) return true;
    if (performance.now() > giveUpAt) return false;
    await pause(pollMs);
  }
  return false;
}
