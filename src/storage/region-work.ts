/**
 * Who works on which region: settling what the guest waits for at once, everything else one region at a time and in this order:
 * settling, repairs, a resync (a few regions at a time while the guest does not use the disk), the logs, the scrubber.
 */
import type { Admission, Operation } from "./admission.js";
import type { Clearing } from "./clearing.js";
import type { DiskContext } from "./context.js";
import { BLOCKS_PER_REGION, MAX_REPAIRS, REGION_BYTES, RESYNC_JOBS, RESYNC_SHARE, WATCH_MS } from "./limits.js";
import type { MirrorRow } from "./mirror-rows.js";
import type { MirrorSet } from "./mirror-set.js";
import { RegionJob, type JobOutcome, type JobPlan, type SendOperation } from "./region-job.js";
import type { Resync } from "./resync.js";
import type { Scrubber } from "./scrubber.js";
import type { Settlement } from "./settlement.js";

type Purpose = "settle" | "repair" | "resync" | "scrub";

/** Blocks that are known to be lost, so that each is told once. */
const MOST_LOST_BLOCKS = 10_000;

export interface WorkParts {
  readonly set: MirrorSet;
  readonly admission: Admission;
  readonly settlement: Settlement;
  readonly resync: Resync;
  readonly scrubber: Scrubber;
  readonly clearing: Clearing;
  readonly send: SendOperation;
  readonly sizeBytes: () => number;
  readonly isGuestBusy: () => boolean;
}

export class RegionWork {
  readonly #context: DiskContext;
  readonly #parts: WorkParts;
  /** Regions that are being settled. */
  readonly #settling = new Set<number>();
  readonly #repairs = new Set<number>();
  readonly #lost = new Set<number>();
  /** Regions of the work that is under way in the background; more than one are those of a resync. */
  readonly #background = new Set<number>();
  #isCopying = false;
  /** No background work before this (atMs). */
  #nextAtMs = 0;
  #failures = 0;

  constructor(context: DiskContext, parts: WorkParts) {
    this.#context = context;
    this.#parts = parts;
  }

  /** True: something has to be settled before this range may be used, and will be before what is admitted next. */
  settleFirst(offset: number, lengthBytes: number): boolean {
    let isAny = false;
    for (const region of this.#parts.settlement.within(offset, lengthBytes)) {
      isAny = true;
      if (!this.#settling.has(region)) this.#begin(region, "settle", () => undefined);
    }
    return isAny;
  }

  repair(blocks: readonly number[]): void {
    for (const block of blocks) if (this.#repairs.size < MAX_REPAIRS) this.#repairs.add(Math.floor(block / BLOCKS_PER_REGION));
  }

  lost(blocks: readonly number[]): void {
    for (const block of blocks) {
      if (this.#lost.has(block) || this.#lost.size >= MOST_LOST_BLOCKS) continue;
      this.#lost.add(block);
      this.#context.counters.unrepairable += 1;
      this.#context.event("error", "BLOCK_LOST", `block ${block} has no good copy; what is written there next is good again`);
    }
  }

  /** Written anew: if it is lost again, that is worth telling. */
  written(offset: number, lengthBytes: number): void {
    if (this.#lost.size === 0) return;
    for (const block of this.#lost) {
      const at = (block * REGION_BYTES) / BLOCKS_PER_REGION;
      if (at >= offset && at < offset + lengthBytes) this.#lost.delete(block);
    }
  }

  /** When `run` could have something to do; Infinity: not before something else happens. */
  get nextAtMs(): number {
    const { settlement, resync, scrubber, set } = this.#parts;
    if (this.#background.size > 0 || set.ready.length === 0) return Infinity;
    if (settlement.size > 0 || this.#repairs.size > 0 || resync.nextRegion(this.#background) !== null) return this.#nextAtMs;
    return Math.max(scrubber.nextAtMs, this.#nextAtMs);
  }

  run(): void {
    const { settlement, resync, clearing, set, scrubber, sizeBytes } = this.#parts;
    if (this.#background.size > 0) return this.#copyBeside();
    if (clearing.isUnderWay || set.ready.length === 0 || this.#context.atMs < this.#nextAtMs) return;
    const unsettled = settlement.first;
    if (unsettled !== null) {
      if (!this.#settling.has(unsettled)) this.#start(unsettled, "settle");
      return;
    }
    const [repair] = this.#repairs;
    if (repair !== undefined) return this.#start(repair, "repair");
    resync.start(sizeBytes());
    resync.advance();
    const region = resync.nextRegion(this.#background);
    if (region !== null) {
      this.#start(region, "resync");
      return this.#copyBeside();
    }
    if (resync.target !== null) return;
    clearing.run();
    if (clearing.isUnderWay) return;
    if (scrubber.dueRegion !== null) this.#start(scrubber.dueRegion, "scrub");
  }

  /** One more region of the resync that is under way, if nobody is to be spared and nothing is more urgent. */
  #copyBeside(): void {
    const { settlement, resync, set, isGuestBusy } = this.#parts;
    while (this.#isCopying && this.#background.size > 0 && this.#background.size < RESYNC_JOBS) {
      const isUrgent = settlement.size > 0 || this.#repairs.size > 0 || set.ready.length === 0;
      if (isUrgent || isGuestBusy() || this.#context.atMs < this.#nextAtMs) return;
      const region = resync.nextRegion(this.#background);
      if (region === null) return;
      this.#start(region, "resync");
    }
  }

  #start(region: number, purpose: Purpose): void {
    // Time in which we were stopped ourselves is no work that the guest should be spared from.
    const since = this.#context.waitedMs;
    this.#background.add(region);
    this.#isCopying = purpose === "resync";
    this.#begin(region, purpose, (isDone) => {
      this.#background.delete(region);
      this.#failures = isDone ? 0 : this.#failures + 1;
      this.#nextAtMs =
        this.#context.atMs + (isDone ? this.#pauseMs(purpose, this.#context.waitedMs - since) : WATCH_MS * Math.min(this.#failures, 100));
    });
  }

  #pauseMs(purpose: Purpose, tookMs: number): number {
    if (purpose !== "resync" || !this.#parts.isGuestBusy()) return 0;
    const share = this.#context.options.resyncShare ?? RESYNC_SHARE;
    return (tookMs * (1 - share)) / share;
  }

  #begin(region: number, purpose: Purpose, ended: (isDone: boolean) => void): void {
    const { admission, resync, send, sizeBytes } = this.#parts;
    const { attempt } = resync;
    if (purpose === "settle") this.#settling.add(region);
    const operation: Operation = {
      offset: region * REGION_BYTES,
      lengthBytes: REGION_BYTES,
      isExclusive: true,
      begin: () => {
        const plan = this.#plan(region, purpose);
        const over = (outcome: JobOutcome | null): void => {
          if (purpose === "settle") this.#settling.delete(region);
          if (outcome !== null) this.#note(region, purpose, attempt, outcome);
          ended(outcome?.isDone ?? false);
          admission.remove(operation);
        };
        if (plan === null || region * REGION_BYTES >= sizeBytes() || (purpose === "resync" && attempt !== resync.attempt))
          return over(null);
        new RegionJob(plan, send, over).start();
      },
    };
    admission.add(operation);
  }

  #plan(region: number, purpose: Purpose): JobPlan | null {
    const { set, settlement, resync, sizeBytes } = this.#parts;
    const sources = set.ready.map((row: MirrorRow) => row.name);
    const first = sources[0];
    if (first === undefined) return null;
    return {
      region,
      sizeBytes: sizeBytes(),
      sources,
      target: purpose === "resync" ? (resync.target?.name ?? null) : null,
      mustRead: purpose === "repair" || purpose === "scrub",
      isSettling: purpose === "settle" || purpose === "resync",
      mayAdopt: purpose === "settle" && settlement.isDoubtful(first, region),
    };
  }

  #note(region: number, purpose: Purpose, attempt: number, outcome: JobOutcome): void {
    const { settlement, resync, scrubber, sizeBytes, set } = this.#parts;
    const { counters, event } = this.#context;
    counters.repairedBlocks += outcome.repaired;
    if (outcome.repaired > 0) event("info", "BLOCK_REPAIRED", `${outcome.repaired} bad blocks of region ${region} are good again`);
    // After a cut they may differ; at any other time one of them has lost a write.
    if (purpose !== "settle" && outcome.differing > 0) {
      counters.differingBlocks += outcome.differing;
      event(
        "error",
        "MIRRORS_DIFFER",
        `${outcome.differing} blocks of region ${region} were different, with right checksums; they are equal again`,
      );
    }
    this.lost(outcome.lost);
    if (purpose === "scrub" && outcome.isDone) counters.scrubbedBlocks += outcome.blocks * set.ready.length;
    if (purpose === "scrub") scrubber.done(region, sizeBytes());
    if (purpose === "repair") this.#repairs.delete(region);
    if (!outcome.isDone) return;
    if (purpose === "settle") {
      settlement.settled(region);
      if (settlement.size === 0) event("info", "MIRRORS_SETTLED", "all regions in which writes were cut off are compared");
    }
    if (purpose === "resync") resync.copied(attempt, region, outcome.copiedBytes);
  }
}
