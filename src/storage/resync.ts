/**
 * Brings one mirror in sync: finds out which regions it lacks (from the logs if they reach back far enough, else all), hands them out
 * one by one to be copied while the guest goes on, and asks for a configuration with it at the end. It keeps nothing that could be lost:
 * a later controller asks the mirrors again, and what was copied is equal and only compared.
 */
import type { DiskContext } from "./context.js";
import { REGION_BYTES, RESYNC_FLUSH_BYTES, RESYNC_RETRY_MS } from "./limits.js";
import type { MirrorRow, MirrorRows } from "./mirror-rows.js";
import type { MirrorSet } from "./mirror-set.js";
import { RegionSet, regionCount } from "./region-set.js";
import { logsOf } from "./settlement.js";
import type { DiskStatus, StoreReply } from "./types.js";

export class Resync {
  readonly #context: DiskContext;
  readonly #mirrors: MirrorRows;
  readonly #set: MirrorSet;
  #target: MirrorRow | null = null;
  #regions: RegionSet | null = null;
  #isFull = false;
  #isFlushing = false;
  #totalRegions = 0;
  #copiedBytes = 0;
  #unflushedBytes = 0;
  /** Answers to an earlier attempt do not count. */
  #attempt = 0;

  constructor(context: DiskContext, mirrors: MirrorRows, set: MirrorSet) {
    this.#context = context;
    this.#mirrors = mirrors;
    this.#set = set;
  }

  /** Told apart by this number: what an earlier one copied does not count for the next. */
  get attempt(): number {
    return this.#attempt;
  }

  /** It gets every write of the guest from the beginning. */
  get target(): MirrorRow | null {
    return this.#target;
  }

  /** A region to copy now that is none of these; null: none yet, or no more. */
  nextRegion(underWay: ReadonlySet<number>): number | null {
    for (const region of this.#regions ?? []) if (!underWay.has(region)) return region;
    return null;
  }

  get status(): DiskStatus["resync"] {
    if (this.#target === null) return null;
    const left = this.#regions?.size ?? this.#totalRegions;
    return {
      target: this.#target.name,
      isFull: this.#isFull,
      doneBytes: (this.#totalRegions - left) * REGION_BYTES,
      totalBytes: this.#totalRegions * REGION_BYTES,
      copiedBytes: this.#copiedBytes,
    };
  }

  /** A mirror that is there and not in sync, if its time has come. */
  start(sizeBytes: number): void {
    const [source] = this.#set.ready;
    if (this.#target !== null || source === undefined || !this.#set.isDecided) return;
    const { inForce } = this.#set;
    const isDue = (row: MirrorRow): boolean => row.isUp && !inForce.includes(row.name) && row.retryAtMs <= this.#context.atMs;
    const target = [...this.#mirrors.rows.values()].find(isDue);
    if (target === undefined) return;
    this.#target = target;
    this.#regions = null;
    this.#isFull = false;
    this.#isFlushing = false;
    this.#totalRegions = regionCount(sizeBytes);
    this.#copiedBytes = 0;
    this.#unflushedBytes = 0;
    this.#prepare(target, source, sizeBytes);
  }

  #prepare(target: MirrorRow, source: MirrorRow, sizeBytes: number): void {
    const attempt = ++this.#attempt;
    const { diskId } = this.#context.options;
    const answers: StoreReply[] = [];
    const answered = (row: MirrorRow, reply: StoreReply | null, use: (good: StoreReply) => void): void => {
      if (attempt !== this.#attempt) return;
      if (reply?.outcome === "ok") use(reply);
      else this.stop(`${row.name} ${reply === null ? "was lost" : `failed: ${reply.why}`}`);
    };
    if (target.header.diskId !== diskId || target.header.sizeBytes !== sizeBytes) {
      const what = target.header.diskId === "" ? "is blank" : `is of disk ${target.header.diskId}, ${target.header.sizeBytes} bytes`;
      this.#context.event("info", "MIRROR_RECREATED", `${target.name} ${what}: it begins anew`, target.name);
      const operation = { kind: "recreate", diskId, sizeBytes } as const;
      this.#mirrors.send(target.name, operation, (reply) => answered(target, reply, () => undefined));
    }
    // Both in the order of all commands: what is written from now on goes to both, what was written before is in the source's log.
    [source, target].forEach((row, index) => {
      this.#mirrors.send(row.name, { kind: "inspect" }, (reply) =>
        answered(row, reply, (good) => {
          answers[index] = good;
          const [of, to] = answers;
          if (of !== undefined && to !== undefined) this.#choose(target, of, to, sizeBytes);
        }),
      );
    });
  }

  #choose(target: MirrorRow, source: StoreReply, own: StoreReply, sizeBytes: number): void {
    const { logged } = logsOf(source.bytes, sizeBytes);
    this.#isFull = own.header.syncedAt === 0 || own.header.syncedAt < source.header.clearedAt;
    const regions = new RegionSet(regionCount(sizeBytes), logged.bits);
    regions.addAll(logsOf(own.bytes, sizeBytes).logged);
    if (this.#isFull) for (let region = 0; region < regionCount(sizeBytes); region += 1) regions.add(region);
    this.#regions = regions;
    this.#totalRegions = regions.size;
    const attempt = this.#attempt;
    const { clearedAt } = source.header;
    this.#mirrors.send(
      target.name,
      { kind: "adoptLog", clearedAt },
      (reply) => {
        if (attempt === this.#attempt && reply !== null && reply.outcome !== "ok") this.stop(`${target.name} failed: ${reply.why}`);
      },
      logged.bits,
    );
    const how = this.#isFull ? "full copy" : "from the log";
    this.#context.event("info", "RESYNC_STARTED", `${target.name}: ${how}, ${regions.size} regions of 1 MiB`, target.name);
    this.advance();
  }

  /** This region is equal now. */
  copied(attempt: number, region: number, bytes: number): void {
    if (attempt !== this.#attempt) return;
    this.#copiedBytes += bytes;
    this.#context.counters.copiedBytes += bytes;
    this.#regions?.delete(region);
    this.#unflushedBytes += bytes;
    if (this.#unflushedBytes >= RESYNC_FLUSH_BYTES) this.#flushEarly(attempt);
    this.advance();
  }

  /** Nothing waits for it but the one at the end, which is short then. */
  #flushEarly(attempt: number): void {
    const target = this.#target;
    if (target === null) return;
    this.#unflushedBytes = 0;
    this.#mirrors.send(target.name, { kind: "flush" }, (reply) => {
      if (attempt === this.#attempt && reply?.outcome !== "ok") this.stop(reply === null ? "it was lost" : reply.why);
    });
  }

  /** Something happened to it that the mirror may not have seen. */
  revisit(regions: Iterable<number>): void {
    this.#set.unjoin("a mirror in sync may have changed");
    if (this.#regions !== null) for (const region of regions) this.#regions.add(region);
    // It is not known yet what it lacks: so everything.
    else if (this.#target !== null) this.stop("a write failed while it was beginning");
  }

  /** At the end: what was copied is durable before it counts. */
  advance(): void {
    const target = this.#target;
    if (target === null || this.#regions === null || this.#regions.size > 0 || this.#isFlushing) return;
    const attempt = this.#attempt;
    this.#isFlushing = true;
    this.#mirrors.send(target.name, { kind: "flush" }, (reply) => {
      if (attempt !== this.#attempt) return;
      this.#isFlushing = false;
      if (reply?.outcome !== "ok") return this.stop(reply === null ? "it was lost" : reply.why);
      if (this.#regions?.size !== 0) return;
      // Others may be open at the arbiter; one question at a time.
      if (!this.#set.isDecided) return;
      this.#end();
      this.#context.counters.resyncs += 1;
      this.#set.join(target.name);
    });
  }

  #end(): void {
    this.#attempt += 1;
    this.#target = null;
    this.#regions = null;
    this.#mirrors.changed();
  }

  /** It cannot go on; later it begins again. */
  stop(why: string): void {
    const target = this.#target;
    if (target === null) return;
    this.#end();
    target.faults += 1;
    target.retryAtMs = this.#context.atMs + (target.isUp ? this.#retryMs : 0);
    this.#context.event("warning", "RESYNC_STOPPED", `${target.name}: ${why}`, target.name);
  }

  get #retryMs(): number {
    return this.#context.options.retryMs ?? RESYNC_RETRY_MS;
  }
}
