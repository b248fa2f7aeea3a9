/**
 * Makes one region equal on several mirrors: asks all for their checksums, takes for each block the copy that most of the mirrors in
 * sync have (the first of them if they differ and nothing else tells), and copies it to those that have another or none. The caller
 * sees to it that nobody else touches the region meanwhile.
 */
import { NO_BYTES } from "../foundation/bytes.js";
import { BAD_HALF, wordsOf } from "./block-checksum.js";
import { BLOCKS_PER_REGION, BLOCK_BYTES, MAX_COMMAND_BYTES } from "./limits.js";
import type { ReplyHandler } from "./mirror-rows.js";
import type { StoreOperation, StoreReply } from "./types.js";

export interface JobPlan {
  readonly region: number;
  readonly sizeBytes: number;
  /** Mirrors whose data count, the preferred one first. */
  readonly sources: readonly string[];
  /** The mirror that is brought in sync; null: none. */
  readonly target: string | null;
  /** Read the data, do not trust the checksums. */
  readonly mustRead: boolean;
  /** A write may have been cut off here; afterwards the region is in doubt no more. */
  readonly isSettling: boolean;
  /** If nobody has a good copy of a block, the first source's counts as it is. */
  readonly mayAdopt: boolean;
}

export interface JobOutcome {
  /** False: a mirror failed or was lost, or it was not needed any more. */
  readonly isDone: boolean;
  readonly blocks: number;
  readonly copiedBytes: number;
  /** Bad blocks of sources that are good again. */
  readonly repaired: number;
  /** Blocks that sources had differently, all with good checksums. */
  readonly differing: number;
  readonly adopted: number;
  /** Blocks of which there is no good copy. */
  readonly lost: readonly number[];
}

export type SendOperation = (name: string, operation: StoreOperation, handler: ReplyHandler, bytes?: Uint8Array) => void;

/** Blocks to copy together, indices within the region. */
interface Run {
  readonly source: string;
  readonly first: number;
  count: number;
  readonly receivers: readonly string[];
}

const MOST_RUN_BLOCKS = MAX_COMMAND_BYTES / BLOCK_BYTES;

export class RegionJob {
  readonly plan: JobPlan;
  readonly #send: SendOperation;
  readonly #finished: (outcome: JobOutcome) => void;
  readonly #firstBlock: number;
  readonly #count: number;
  readonly #digests = new Map<string, Uint32Array>();
  readonly #lost = new Set<number>();
  #isOver = false;
  #hasAdopted = false;
  #copiedBytes = 0;
  #repaired = 0;
  #adopted = 0;
  readonly #differing = new Set<number>();

  constructor(plan: JobPlan, send: SendOperation, finished: (outcome: JobOutcome) => void) {
    this.plan = plan;
    this.#send = send;
    this.#finished = finished;
    this.#firstBlock = plan.region * BLOCKS_PER_REGION;
    this.#count = Math.min(BLOCKS_PER_REGION, plan.sizeBytes / BLOCK_BYTES - this.#firstBlock);
  }

  get #mirrors(): readonly string[] {
    const { sources, target } = this.plan;
    return target === null ? sources : [...sources, target];
  }

  start(): void {
    this.#askAll(
      this.#mirrors,
      () => this.#digestOperation(),
      this.#keepDigest,
      () => this.#copy(),
    );
  }

  /** What is under way to the mirrors stays in their order, before anything that comes later. */
  abort(): void {
    this.#end(false);
  }

  #digestOperation(): StoreOperation {
    const lengthBytes = this.#count * BLOCK_BYTES;
    return { kind: "digest", offset: this.#firstBlock * BLOCK_BYTES, lengthBytes, mustRead: this.plan.mustRead };
  }

  readonly #keepDigest = (name: string, reply: StoreReply): void => {
    const words = wordsOf(reply.bytes).slice();
    if (this.plan.sources.includes(name)) this.#repaired += reply.bad.length;
    if (words.length === this.#count * 2) this.#digests.set(name, words);
    else this.abort();
  };

  /** One operation to each, and then on; any failure ends the job. */
  #askAll(
    names: readonly string[],
    operation: (name: string) => StoreOperation,
    answered: (name: string, reply: StoreReply) => void,
    then: () => void,
    bytes: Uint8Array = NO_BYTES,
  ): void {
    let left = names.length;
    for (const name of names) {
      this.#ask(name, operation(name), bytes, (reply) => {
        answered(name, reply);
        left -= 1;
        if (left === 0 && !this.#isOver) then();
      });
    }
    if (names.length === 0) then();
  }

  #ask(name: string, operation: StoreOperation, bytes: Uint8Array, then: (reply: StoreReply) => void): void {
    this.#send(
      name,
      operation,
      (reply) => {
        if (this.#isOver) return;
        if (reply?.outcome === "ok") then(reply);
        else this.abort();
      },
      bytes,
    );
  }

  // ---- which copy counts ----

  #isBad(name: string, index: number): boolean {
    const digest = this.#digests.get(name) as Uint32Array;
    return digest[index * 2] === BAD_HALF && digest[index * 2 + 1] === BAD_HALF;
  }

  #isEqual(left: string, right: string, index: number): boolean {
    const one = this.#digests.get(left) as Uint32Array;
    const other = this.#digests.get(right) as Uint32Array;
    return one[index * 2] === other[index * 2] && one[index * 2 + 1] === other[index * 2 + 1];
  }

  #truthOf(index: number): string | null {
    const good = this.plan.sources.filter((name) => !this.#isBad(name, index));
    const first = good[0];
    if (first === undefined || good.every((name) => this.#isEqual(first, name, index))) return first ?? null;
    this.#differing.add(index);
    const alike = (name: string): number => good.filter((other) => this.#isEqual(name, other, index)).length;
    return good.reduce((best, name) => (alike(name) > alike(best) ? name : best));
  }

  #runs(): Run[] {
    const runs: Run[] = [];
    for (let index = 0; index < this.#count; index += 1) {
      const truth = this.#truthOf(index);
      if (truth === null) this.#lost.add(index);
      const receivers = truth === null ? [] : this.#mirrors.filter((name) => name !== truth && !this.#isEqual(name, truth, index));
      if (truth === null || receivers.length === 0) continue;
      const last = runs.at(-1);
      const isNext = last?.source === truth && last.first + last.count === index && last.count < MOST_RUN_BLOCKS;
      if (isNext && last.receivers.join() === receivers.join()) last.count += 1;
      else runs.push({ source: truth, first: index, count: 1, receivers });
    }
    return runs;
  }

  // ---- copying ----

  #copy(): void {
    const runs = this.#runs();
    if (runs.length === 0) return this.#handleLost();
    let left = runs.length;
    // A source may turn out to be bad when it is read: then there is another plan.
    const ended = (): void => {
      left -= 1;
      if (left === 0 && !this.#isOver) this.#copy();
    };
    for (const run of runs) if (!this.#isOver) this.#copyRun(run, ended);
  }

  #copyRun({ source, first, count, receivers }: Run, ended: () => void): void {
    const offset = (this.#firstBlock + first) * BLOCK_BYTES;
    const lengthBytes = count * BLOCK_BYTES;
    this.#ask(source, { kind: "read", offset, lengthBytes }, NO_BYTES, (reply) => {
      if (reply.bad.length > 0 || reply.bytes.length !== lengthBytes) {
        for (const block of reply.bad) this.#setBad(source, block - this.#firstBlock);
        return reply.bad.length > 0 ? ended() : this.abort();
      }
      this.#copiedBytes += lengthBytes * receivers.length;
      this.#askAll(
        receivers,
        () => ({ kind: "write", offset, lengthBytes }),
        (name) => this.#copied(source, name, first, count),
        ended,
        reply.bytes,
      );
    });
  }

  #setBad(name: string, index: number): void {
    this.#digests.get(name)?.fill(BAD_HALF, index * 2, index * 2 + 2);
  }

  #copied(source: string, name: string, first: number, count: number): void {
    const from = this.#digests.get(source) as Uint32Array;
    for (let index = first; index < first + count; index += 1) {
      if (this.plan.sources.includes(name) && this.#isBad(name, index)) this.#repaired += 1;
      this.#digests.get(name)?.set(from.subarray(index * 2, index * 2 + 2), index * 2);
    }
  }

  #handleLost(): void {
    const lost = [...this.#lost];
    const [first] = this.plan.sources;
    if (lost.length === 0 || first === undefined) return this.#settle();
    if (this.plan.mayAdopt && !this.#hasAdopted) {
      this.#hasAdopted = true;
      this.#adopted = lost.length;
      this.#lost.clear();
      const adopt = lost.map((index) => this.#firstBlock + index);
      return this.#ask(first, { kind: "settle", region: this.plan.region, adopt }, NO_BYTES, () =>
        this.#askAll(
          [first],
          () => this.#digestOperation(),
          this.#keepDigest,
          () => this.#copy(),
        ),
      );
    }
    // What the target has of those is older than the disk, or nothing: it must never be taken for good, not even after a restart.
    const { target } = this.plan;
    if (target === null) return this.#settle();
    const blocks = lost.map((index) => this.#firstBlock + index);
    this.#ask(target, { kind: "poison", blocks }, NO_BYTES, () => this.#settle());
  }

  /** The region is in doubt no more, on none of them. */
  #settle(): void {
    if (!this.plan.isSettling) return this.#end(true);
    this.#askAll(
      this.#mirrors,
      () => ({ kind: "settle", region: this.plan.region, adopt: [] }),
      () => undefined,
      () => this.#end(true),
    );
  }

  #end(isDone: boolean): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#finished({
      isDone,
      blocks: this.#count,
      copiedBytes: this.#copiedBytes,
      repaired: this.#repaired,
      differing: this.#differing.size,
      adopted: this.#adopted,
      lost: [...this.#lost].map((index) => this.#firstBlock + index),
    });
  }
}
