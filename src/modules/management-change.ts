/**
 * Installs changes on the guest that runs. What is decided is pure (../installation): here the decision is carried out, through the agent
 * in the guest, and written down before each step, so that the next leader goes on where this one was lost.
 */
import { readFileSync, readdirSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { MAX_CHUNK_BYTES, type AgentRequest } from "../agent/lines.js";
import { readPackage } from "../certification/change-package.js";
import { SteadfastError } from "../foundation/errors.js";
import { readCpio } from "../image/cpio-reader.js";
import { writeCpio, type GuestTree } from "../image/cpio.js";
import { readElfNeeds } from "../image/elf-needed.js";
import { cachePaths, CHANGE_STEPS_PATH } from "../image/paths.js";
import { readSource } from "../image/source.js";
import { readImages, sha256, type ImageRecord, type MeasuredImage } from "../image/store.js";
import { deltaOf, type Delta } from "../installation/delta.js";
import { begin, step, type InstallationEffect, type InstallationEvent, type Step } from "../installation/installation.js";
import { payloadOf } from "../installation/payload.js";
import {
  bootsAfter,
  HISTORY_LIMIT,
  packageDirectory,
  packageFile,
  readChangeRecords,
  toUndo,
  writeChangeRecords,
  type ChangeRecords,
  type CurrentInstallation,
  type InstallationFacts,
  type PastInstallation,
} from "./change-records.js";
import { newAgentId, type AgentAnswer } from "./management-agent.js";
import { judgeImage, measureImage } from "./management-certification.js";
import type { ManagementEventCode } from "../wire/event-codes.js";
import type { EventLog } from "./management-events.js";
import type { ServerPaths } from "./management-paths.js";
import type { PlannedImage, ServerPlan } from "./management-plan.js";

/** In the guest; the same as in recipes/change/steps. */
const STAGE = "/run/steadfast/change";
const PAYLOAD_BYTES_LIMIT = 64 * 1024 * 1024;
/** Of what a step says when it fails. */
const WHY_LENGTH_LIMIT = 400;
/** Of the effects that a program in the guest carries out. */
const SECONDS: Record<Exclude<InstallationEffect, "stage" | "commit" | "powerCycle" | "end">, number> = {
  verify: 300,
  switch: 300,
  apply: 300,
  check: 120,
  undo: 300,
  revert: 300,
  clean: 60,
};
const PREPARE_SECONDS = 60;
const UNPACK_SECONDS = 300;
const AGAIN_MS = 1000;

export interface ChangeRequest {
  /** Digest of the image that the change makes. */
  readonly image: string;
  /** Digest of the change package, which lies in the state directory. */
  readonly change: string;
  readonly uncertified?: string | undefined;
}

export interface ChangeView {
  readonly running: string;
  readonly current: (InstallationFacts & { readonly phase: string; readonly sentBytes: number; readonly why: string | null }) | null;
  readonly history: readonly PastInstallation[];
}

export interface ChangeHooks {
  readonly paths: ServerPaths;
  readonly events: EventLog;
  plan(): ServerPlan;
  /** Runs programs, and answers. */
  isGuestUp(): boolean;
  ask(request: AgentRequest, id?: string): Promise<AgentAnswer>;
  /** The image that the guest runs by now, and boots from next. */
  record(image: PlannedImage, measured: MeasuredImage, uncertified: string | null): void;
  /** False: nobody takes the order at the moment. */
  powerCycle(): boolean;
}

/** What an installation is made of; the same each time it is made. */
interface Prepared {
  readonly image: PlannedImage;
  readonly measured: MeasuredImage;
  readonly delta: Delta;
  readonly payload: Uint8Array;
}

export class ChangeInstaller {
  readonly #hooks: ChangeHooks;
  #records: ChangeRecords;
  #prepared: Prepared | null = null;
  #sentBytes = 0;
  /** Counts what overtakes an effect under way: its outcome does not count any more. */
  #course = 0;
  #isPreparing = false;

  constructor(hooks: ChangeHooks) {
    this.#hooks = hooks;
    this.#records = readChangeRecords(hooks.paths);
  }

  get view(): ChangeView {
    const { current, history } = this.#records;
    const running = this.#hooks.plan().image.digest;
    if (current === null) return { running, current: null, history };
    const { state, request: _, ...facts } = current;
    return { running, history, current: { ...facts, phase: state.phase, sentBytes: this.#sentBytes, why: state.why } };
  }

  /**
   * Begins to install a change; nothing has happened when it is refused.
   *
   * @throws SteadfastError why it is refused
   */
  install({ image, change, uncertified }: ChangeRequest): Promise<{ readonly id: string }> {
    const { paths } = this.#hooks;
    return this.#begin(() => {
      const { manifest, digest } = readPackage(packageFile(paths, change));
      if (digest !== change) throw new SteadfastError("CHANGE_NOT_THAT", { wanted: change, found: digest });
      const running = this.#hooks.plan().image.digest;
      if (manifest.base.sha256 !== running) throw new SteadfastError("CHANGE_OTHER_BASE", { base: manifest.base.sha256, running });
      const { provenance } = imageOf(image);
      if (provenance?.base !== running || provenance.change !== change)
        throw new SteadfastError("CHANGE_NOT_THAT", { wanted: change, found: provenance?.change ?? "none" });
      return { kind: "install", name: manifest.name, change, from: running, to: image, uncertified: uncertified ?? null };
    });
  }

  /** Begins to take back the last change that was installed. */
  rollback(uncertified?: string): Promise<{ readonly id: string }> {
    return this.#begin(() => {
      const running = this.#hooks.plan().image.digest;
      const undone = toUndo(this.#records, running);
      if (undone === null) throw new SteadfastError("CHANGE_NOTHING_INSTALLED", { running });
      return { kind: "rollback", name: undone.name, change: null, from: running, to: undone.from, uncertified: uncertified ?? null };
    });
  }

  async #begin(
    choose: () => Omit<InstallationFacts, "id" | "startedAt" | "bytes" | "files" | "services">,
  ): Promise<{ readonly id: string }> {
    if (this.#records.current !== null || this.#isPreparing) throw new SteadfastError("CHANGE_UNDER_WAY");
    if (!this.#hooks.isGuestUp()) throw new SteadfastError("CHANGE_GUEST_NOT_READY", { server: this.#hooks.plan().server });
    this.#isPreparing = true;
    try {
      const chosen = choose();
      const prepared = await this.#prepare(chosen);
      const decision = judgeImage({ ...this.#hooks.plan(), image: prepared.image }, prepared.measured, chosen.uncertified);
      if (!decision.allowed) throw decision.refusal;
      const { delta, payload } = prepared;
      const id = newAgentId();
      const facts = {
        id,
        startedAt: new Date().toISOString(),
        bytes: payload.length,
        files: delta.entries.length,
        services: delta.services,
      };
      const first = begin();
      this.#prepared = prepared;
      this.#sentBytes = 0;
      const uncertified = decision.state === "uncertified" ? decision.reason : null;
      this.#write({ current: { ...chosen, uncertified, ...facts, state: first.state, request: null } });
      const what =
        chosen.kind === "install" ? `The change ${chosen.name} is being installed` : `The change ${chosen.name} is being taken back`;
      this.#tell("info", "CHANGE_STARTED", `${what} on the running guest: ${delta.entries.length} paths, ${payload.length} bytes.`);
      this.#carryOut(first);
      return { id };
    } finally {
      this.#isPreparing = false;
    }
  }

  /** Goes on where the former leader was. `isSameGuest`: false, the server was started anew, and the guest with it. */
  resume(isSameGuest: boolean): void {
    const { current } = this.#records;
    if (current === null) return;
    if (isSameGuest) this.#carryOut(step(current.state, { kind: "resumed" }));
    else this.guestRestarted();
  }

  guestRestarted(): void {
    const { current } = this.#records;
    if (current === null) return;
    const isRecorded = this.#hooks.plan().image.digest === current.to;
    this.#happened({ kind: "guestRestarted", isRecorded });
  }

  /** The leader ends; another one goes on. */
  close(): void {
    this.#course += 1;
  }

  #happened(event: InstallationEvent): void {
    const { current } = this.#records;
    if (current === null) return;
    const next = step(current.state, event);
    const isOther = next.state.phase !== current.state.phase || event.kind === "unanswered";
    this.#write({ current: { ...current, state: next.state, request: isOther ? null : current.request } });
    this.#carryOut(next);
  }

  #carryOut({ effects }: Step): void {
    this.#course += 1;
    const course = this.#course;
    for (const effect of effects) {
      if (effect === "end") return this.#end();
      void this.#effect(effect)
        .catch((error: unknown): InstallationEvent => {
          const isSilent = error instanceof SteadfastError && (error.code === "AGENT_UNANSWERED" || error.code === "AGENT_BUSY");
          return { kind: isSilent ? "unanswered" : "failed", why: (error as Error).message };
        })
        .then((event) => {
          if (course === this.#course) this.#happened(event);
        });
    }
  }

  async #effect(effect: Exclude<InstallationEffect, "end">): Promise<InstallationEvent> {
    switch (effect) {
      case "stage":
        return this.#stage();
      case "check":
        return this.#check();
      case "commit":
        return this.#commit();
      case "powerCycle":
        if (this.#hooks.powerCycle()) return { kind: "done" };
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        return { kind: "unanswered", why: "no I/O module is there" };
      case "clean":
        return this.#run(`rm -rf ${STAGE}`, SECONDS.clean);
      default:
        return this.#run(`sh ${STAGE}/steps ${effect}`, SECONDS[effect]);
    }
  }

  // The steps.

  async #stage(): Promise<InstallationEvent> {
    const course = this.#course;
    const { payload } = await this.#again();
    const made = await this.#command(`rm -rf ${STAGE} && mkdir -p ${STAGE}`, PREPARE_SECONDS);
    if (made.status !== 0) return failure(made);
    this.#sentBytes = 0;
    for (const [name, bytes] of [["steps", new Uint8Array(readFileSync(CHANGE_STEPS_PATH))] as const, ["payload", payload] as const]) {
      for (let offset = 0; offset < bytes.length; offset += MAX_CHUNK_BYTES) {
        const chunk = bytes.subarray(offset, offset + MAX_CHUNK_BYTES);
        const facts = { path: `${STAGE}/${name}`, mode: 0o600, totalBytes: bytes.length, offset, bytes: chunk };
        const answer = await this.#hooks.ask({ verb: "put", ...facts });
        if (answer.status !== 0) return failure(answer);
        if (course !== this.#course) return { kind: "unanswered", why: "it was overtaken" };
        if (name === "payload") this.#sentBytes = offset + chunk.length;
      }
    }
    const unpacked = await this.#command(`sh ${STAGE}/steps unpack`, UNPACK_SECONDS);
    return unpacked.status === 0 ? { kind: "done" } : failure(unpacked);
  }

  async #check(): Promise<InstallationEvent> {
    const well = await this.#run(`sh ${STAGE}/steps check`, SECONDS.check);
    if (well.kind !== "done") return well;
    const change = this.#records.current?.change ?? null;
    if (change === null) return well;
    for (const { name, command, timeoutSeconds } of readPackage(packageFile(this.#hooks.paths, change)).manifest.checks) {
      const answer = await this.#command(command, timeoutSeconds);
      if (answer.status !== 0) return { kind: "failed", why: `the change's own check ${name} failed: ${said(answer)}` };
    }
    return this.#hooks.isGuestUp() ? well : { kind: "failed", why: "the guest does not answer any more" };
  }

  async #commit(): Promise<InstallationEvent> {
    const { current, boots } = this.#records;
    if (current === null) return { kind: "done" };
    if (this.#hooks.plan().image.digest !== current.to) {
      const { image, measured } = await this.#again();
      this.#hooks.record(image, measured, current.uncertified);
    }
    try {
      this.#write({ boots: bootsAfter(boots, current.from, current.to) });
    } catch (error) {
      // The image is recorded: there is no way back from here, only on.
      process.stderr.write(`${(error as Error).message}\n`);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
      return { kind: "resumed" };
    }
    return { kind: "done" };
  }

  /** A command of which one answer counts, whoever asks for it. */
  async #run(command: string, limitSeconds: number): Promise<InstallationEvent> {
    const { current } = this.#records;
    const request = current?.request ?? newAgentId();
    if (current !== null && current.request === null) this.#write({ current: { ...current, request } });
    const answer = await this.#command(command, limitSeconds, request);
    return answer.status === 0 ? { kind: "done" } : failure(answer);
  }

  #command(command: string, limitSeconds: number, id?: string): Promise<AgentAnswer> {
    return this.#hooks.ask({ verb: "run", command, limitSeconds }, id);
  }

  #end(): void {
    const { current, history } = this.#records;
    if (current === null) return;
    const { state, request: _, ...facts } = current;
    const past: PastInstallation = { ...facts, outcome: state.outcome, why: state.why, endedAt: new Date().toISOString() };
    this.#prepared = null;
    this.#write({ current: null, history: [...history, past].slice(-HISTORY_LIMIT) });
    this.#forgetPackages();
    const { name, kind } = past;
    const why = `: ${state.why ?? ""}`.replace(/[.\s]*$/, "");
    if (state.outcome !== "installed") {
      const ending = state.outcome === "refused" ? "nothing was changed" : "what had been done was taken back";
      const code = kind === "rollback" ? "CHANGE_ROLLBACK_FAILED" : state.outcome === "refused" ? "CHANGE_REFUSED" : "CHANGE_ROLLED_BACK";
      this.#tell(
        "error",
        code,
        `The change ${name} was not ${kind === "install" ? "installed" : "taken back"}, and ${ending}${why}.`,
        past,
      );
    } else if (kind === "install")
      this.#tell(
        "info",
        "CHANGE_INSTALLED",
        `The change ${name} is installed; the guest boots from image ${past.to.slice(0, 12)} from now on.`,
        past,
      );
    else this.#tell("info", "CHANGE_ROLLED_BACK", `The change ${name} was taken back by the operator.`, past);
  }

  #forgetPackages(): void {
    const kept = new Set(this.#records.history.flatMap(({ change }) => (change === null ? [] : [`${change}.tar`])));
    try {
      for (const name of readdirSync(packageDirectory(this.#hooks.paths)))
        if (!kept.has(name)) rmSync(join(packageDirectory(this.#hooks.paths), name), { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") process.stderr.write(`${(error as Error).message}\n`);
    }
  }

  // What it is made of.

  async #again(): Promise<Prepared> {
    const { current } = this.#records;
    if (this.#prepared !== null || current === null) return this.#prepared as Prepared;
    this.#prepared = await this.#prepare(current);
    return this.#prepared;
  }

  async #prepare({ from, to }: Pick<InstallationFacts, "from" | "to">): Promise<Prepared> {
    const plan = this.#hooks.plan();
    const [old, target] = [imageOf(from), imageOf(to)];
    const [oldMeasured, measured] = [await measureImage(old.directory), await measureImage(target.directory)];
    for (const [digest, found] of [[from, oldMeasured] as const, [to, measured] as const])
      if (found.digest !== digest) throw new SteadfastError("IMAGE_ALTERED", { image: digest });
    const needsStart = startOnly(old, target, oldMeasured, measured);
    if (needsStart !== null) throw new SteadfastError("CHANGE_NEEDS_START", { what: needsStart, server: plan.server });
    const [fromTree, toTree] = [await treeOf(old), await treeOf(target)];
    const image = plannedImage(plan, target, measured);
    await othersFirst();
    const delta = deltaOf(fromTree, toTree, readElfNeeds);
    const ports = image.services.flatMap((service) => service.ports);
    await othersFirst();
    const payload = await compressed(writeCpio(payloadOf(delta, fromTree, toTree, ports, sha256)));
    if (payload.length > PAYLOAD_BYTES_LIMIT)
      throw new SteadfastError("CHANGE_TOO_LARGE", { what: "What would be brought into the guest", limit: PAYLOAD_BYTES_LIMIT });
    return { image, measured, delta, payload };
  }

  #write(changed: Partial<ChangeRecords>): void {
    this.#records = { ...this.#records, ...changed };
    writeChangeRecords(this.#hooks.paths, this.#records);
  }

  #tell(severity: "info" | "error", code: ManagementEventCode, text: string, past?: PastInstallation): void {
    const facts = past ?? this.#records.current;
    const { id, name, kind, change = null, from, to } = facts ?? ({} as CurrentInstallation);
    this.#hooks.events.add(severity, code, text, {
      data: { id, kind, name, change, from, to, ...(past && { outcome: past.outcome, why: past.why }) },
    });
  }
}

function failure(answer: AgentAnswer): InstallationEvent {
  return { kind: "failed", why: said(answer) };
}

function said({ output, status }: AgentAnswer): string {
  const text = new TextDecoder()
    .decode(output)
    .replace(/[\x00-\x1f\x7f]+/g, " ")
    .trim();
  return text === "" ? `exit status ${status}` : text.slice(0, WHY_LENGTH_LIMIT);
}

function imageOf(digest: string): ImageRecord {
  const found = readImages(cachePaths()).find((image) => image.digest === digest);
  if (found === undefined) throw new SteadfastError("CHANGE_IMAGE_UNKNOWN", { image: digest });
  return found;
}

const compressed = promisify(gzip);

async function treeOf(image: ImageRecord): Promise<GuestTree> {
  const archive = await readFile(image.initrdPath);
  return readCpio(archive);
}

/** The stand-bys hear of a leader that lives in between: what is computed here takes long on a busy host. */
function othersFirst(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** What differs and cannot be changed while the guest runs; null: nothing. */
function startOnly(old: ImageRecord, target: ImageRecord, oldMeasured: MeasuredImage, measured: MeasuredImage): string | null {
  if (oldMeasured.files.kernel !== measured.files.kernel) return "the kernel";
  if (old.commandLine !== target.commandLine) return "the kernel command line";
  if (old.memoryMiB !== target.memoryMiB) return "the memory";
  if (old.diskMiB !== target.diskMiB) return "the disk";
  return null;
}

function plannedImage({ image, firstImage }: ServerPlan, target: ImageRecord, { files }: MeasuredImage): PlannedImage {
  if (firstImage?.digest === target.digest) return firstImage;
  const { name, digest, kernelKind, kernelRelease, kernelPath, initrdPath, directory } = target;
  const services =
    readSource(directory)?.recipe.services.map((service) => ({ name: service.name, ports: service.ports })) ?? image.services;
  return { name, digest, kernelKind, kernelRelease, kernelPath, initrdPath, services, files, commandLine: image.commandLine };
}

/** The image that a server starts with that is to start with this one: changes were installed on it. */
export function installedOver(paths: ServerPaths, digest: string): ImageRecord | null {
  const { boots } = readChangeRecords(paths);
  if (boots === null || boots.over !== digest) return null;
  return imageOf(boots.image);
}
