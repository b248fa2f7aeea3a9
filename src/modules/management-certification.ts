/**
 * Whether the image that this server runs is certified: decided before it starts, and looked at again while it runs. What was wrong then
 * stops nothing, it is reported; but no CPU module loads other bytes than those that were admitted.
 */
import { statSync } from "node:fs";
import { dirname, join } from "node:path";
import { gate, type Decision, type GateDemands, type GateFacts } from "../certification/gate.js";
import { standingAfter, tidingsOf, type Certification } from "../certification/standing.js";
import { SteadfastError } from "../foundation/errors.js";
import { hashFile } from "../image/files.js";
import { measuredBy, type FileDigests, type MeasuredImage } from "../image/store.js";
import { factsOnHost } from "./certificates-on-host.js";
import type { EventLog } from "./management-events.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile, writeJsonFile, type ServerPlan } from "./management-plan.js";

export interface CertificationPlan extends GateDemands {
  /** Why the server may run an image without a certificate; null: it may not. */
  readonly uncertified: string | null;
}

/** Certificates, keys and the files' times are looked at so often, which costs about a millisecond. */
const TURN_EVERY_MS = 5000;
/** All bytes of the image are read again so often, even if no file seems to have changed. */
const LOOK_EVERY_MS = 600_000;
/** So slowly that nobody notices: well below one percent of a processor. */
const LOOK_PAUSE_MS = 30;
/** Of a file that seems to have changed: some percent of a processor, for seconds. */
const CHANGED_PAUSE_MS = 4;
const FILES = ["kernel", "initrd"] as const;

export class CertificationWatch {
  readonly #plan: () => ServerPlan;
  readonly #paths: ServerPaths;
  readonly #events: EventLog;
  #standing: Certification | null = null;
  #measured: MeasuredImage | null = null;
  #seen = "";
  #lookedAtMs = -Infinity;
  #timer: NodeJS.Timeout | null = null;
  #isClosed = false;

  constructor(plan: () => ServerPlan, paths: ServerPaths, events: EventLog) {
    this.#plan = plan;
    this.#paths = paths;
    this.#events = events;
  }

  /** Null: the engine runs no image. */
  get standing(): Certification | null {
    return this.#plan().engine === "toy" ? null : this.#standing;
  }

  /**
   * Before the server starts: the plan with the digests of what may be loaded.
   *
   * @throws SteadfastError why the image is refused
   */
  async admit(): Promise<ServerPlan> {
    const plan = this.#plan();
    if (plan.engine === "toy") return plan;
    await this.#measure(0);
    const decision = this.#decide();
    if (!decision.allowed || this.#measured === null) {
      const refusal = decision.allowed ? new SteadfastError("IMAGE_ALTERED", { image: plan.image.digest }) : decision.refusal;
      this.#events.add("error", "IMAGE_REFUSED", `Server ${plan.server} does not start: ${refusal.message}`, {
        data: { code: refusal.code, image: plan.image.digest },
      });
      throw refusal;
    }
    return { ...plan, image: { ...plan.image, files: this.#measured.files } };
  }

  /** The server runs, or another module leads it now. `isStart`: what is uncertified is told even if it was so before. */
  begin(isStart: boolean): void {
    if (this.#plan().engine === "toy") return;
    this.#standing = readJsonFile<Certification>(this.#paths.certificationFile);
    if (isStart) this.#judge(true);
    this.#schedule();
  }

  /** The plan has another image, whose files were just read. */
  installed(measured: MeasuredImage): void {
    this.#measured = measured;
    this.#seen = this.#marks();
    this.#lookedAtMs = performance.now();
    this.#judge(false);
  }

  /** Soon: a module could not load the image. */
  lookSoon(): void {
    this.#lookedAtMs = -Infinity;
  }

  close(): void {
    this.#isClosed = true;
    if (this.#timer !== null) clearTimeout(this.#timer);
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#timer = setTimeout(() => {
      void this.#turn().finally(() => this.#schedule());
    }, TURN_EVERY_MS);
    this.#timer.unref();
  }

  async #turn(): Promise<void> {
    const isChanged = this.#marks() !== this.#seen;
    if (isChanged || performance.now() - this.#lookedAtMs >= LOOK_EVERY_MS)
      await this.#measure(isChanged ? CHANGED_PAUSE_MS : LOOK_PAUSE_MS);
    if (!this.#isClosed) this.#judge(false);
  }

  /** Sizes, places and times of the files: whoever changes one in the usual way changes these. */
  #marks(): string {
    return [...FILES, "image.json"].map((name) => markOf(join(this.#directory, name))).join("\n");
  }

  get #directory(): string {
    return dirname(this.#plan().image.kernelPath);
  }

  async #measure(pauseMs: number): Promise<void> {
    this.#seen = this.#marks();
    this.#lookedAtMs = performance.now();
    try {
      this.#measured = await measureImage(this.#directory, pauseMs);
    } catch (error) {
      process.stderr.write(`the image in ${this.#directory} cannot be read: ${(error as Error).message}\n`);
      this.#measured = null;
    }
  }

  #decide(): Decision {
    try {
      return gate(gateFacts(this.#plan(), this.#measured));
    } catch (error) {
      if (error instanceof SteadfastError) return { allowed: false, refusal: error };
      return { allowed: false, refusal: new SteadfastError("CERTIFICATES_UNREADABLE", { why: (error as Error).message }) };
    }
  }

  #judge(isStart: boolean): void {
    const { server, image } = this.#plan();
    const before = this.#standing;
    const after = standingAfter(before, this.#decide(), image.digest, new Date().toISOString());
    this.#standing = after;
    const tidings = tidingsOf(server, isStart && after === before ? null : before, after);
    if (tidings !== null) this.#events.add(tidings.severity, tidings.code, tidings.text, { data: { ...after } });
    if (after === before) return;
    try {
      writeJsonFile(this.#paths.certificationFile, after);
    } catch (error) {
      // Only the next leader would miss it, and finds it out again.
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }
}

/** What the gate says of an image that would take the place of the one that runs. `uncertified`: why it may go without a certificate. */
export function judgeImage(plan: ServerPlan, measured: MeasuredImage, uncertified: string | null): Decision {
  return gate(gateFacts({ ...plan, certification: { ...plan.certification, uncertified } }, measured));
}

/** Reads an image's files, with a pause after each piece. */
export async function measureImage(directory: string, pauseMs = 0): Promise<MeasuredImage> {
  const digests: FileDigests = {
    kernel: await hashFile(join(directory, "kernel"), pauseMs),
    initrd: await hashFile(join(directory, "initrd"), pauseMs),
  };
  return measuredBy(directory, digests);
}

function gateFacts({ image, certification }: ServerPlan, measured: MeasuredImage | null): GateFacts {
  const { uncertified, ...demands } = certification;
  const own = measured?.commandLine ?? "";
  return {
    image: {
      digest: image.digest,
      measured: measured?.digest ?? null,
      base: measured?.provenance?.base,
      change: measured?.provenance?.change,
      extraCommandLine: image.commandLine.startsWith(own) ? image.commandLine.slice(own.length).trim() : image.commandLine,
    },
    ...factsOnHost(image.digest),
    demands,
    uncertified,
    nowMs: Date.now(),
  };
}

function markOf(path: string): string {
  try {
    const { ino, size, mtimeMs, ctimeMs } = statSync(path);
    return [ino, size, mtimeMs, ctimeMs].join(" ");
  } catch (error) {
    return String((error as NodeJS.ErrnoException).code);
  }
}
