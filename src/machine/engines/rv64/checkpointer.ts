/** Checkpoints of a running machine: a digest for every page, renewed where the guest wrote, and one over all of them and the state. */
import { assert } from "../../../foundation/assert.js";
import type { Checkpoint, Checkpointer, ImagePiece } from "../../machine.js";
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { PAGE_BYTES, PageSweep, STATE_PIECE } from "./image.js";
import { PAGE_UNMARKED, RAM } from "./layout.js";
import type { QuantumDigest } from "./quantum-digest.js";

/** Digest of a page of zeros, which most pages of a young guest are: it is not computed. */
const ZERO_PAGE = 0n;

export class MachineCheckpointer implements Checkpointer {
  private readonly sweep: PageSweep;
  private readonly pageDigests: BigUint64Array;
  /** Where the search for damage goes on. */
  private damageCursor = 0;
  private stopped = false;

  constructor(
    memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly digest: QuantumDigest,
    private readonly stateRecord: () => Uint8Array,
    private readonly onStop: () => void,
  ) {
    this.sweep = new PageSweep(memory, core, PAGE_UNMARKED);
    this.pageDigests = new BigUint64Array(this.sweep.totalPages);
  }

  get remainingPages(): number {
    return this.sweep.remainingPages;
  }

  take(maxPages: number): ImagePiece[] {
    assert(!this.stopped, "a checkpointer goes on after its end");
    const pieces = this.sweep.next(maxPages);
    for (const { page, bytes } of pieces) this.pageDigests[page] = bytes.length === 0 ? ZERO_PAGE : this.pageDigest(page);
    return pieces;
  }

  mark(): Checkpoint {
    const pieces = this.take(Number.MAX_SAFE_INTEGER);
    pieces.push({ page: STATE_PIECE, bytes: this.stateRecord() });
    return { digest: this.digest.state(new Uint8Array(this.pageDigests.buffer)), pieces };
  }

  findDamage(maxPages: number): number | null {
    for (let looked = 0; looked < maxPages; looked++) {
      const page = this.damageCursor;
      this.damageCursor = (page + 1) % this.sweep.totalPages;
      if (!this.sweep.isClean(page)) continue;
      const isAsWritten = this.pageDigests[page] === ZERO_PAGE ? this.sweep.isZero(page) : this.pageDigests[page] === this.pageDigest(page);
      if (!isAsWritten) return page;
    }
    return null;
  }

  stop(): void {
    if (this.stopped) return;
    this.stopped = true;
    this.onStop();
  }

  private pageDigest(page: number): bigint {
    this.core.digestReset();
    this.core.digestUpdate(RAM + page * PAGE_BYTES, PAGE_BYTES);
    const digest = BigInt.asUintN(64, this.core.digestValue(0));
    return digest === ZERO_PAGE ? 1n : digest;
  }
}
