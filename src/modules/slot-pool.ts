/** Which slots of a file of pages are free. Taken one after another they follow one another where they can: those go out in one call. */
import { assert } from "../foundation/assert.js";

/** With fewer free than this share of those in the file, a new one is quicker had than a free one found. */
const LEAST_FREE_SHARE = 1 / 64;

export class SlotPool {
  /** 1: taken. */
  readonly #taken: Uint8Array;
  /** Slots that the file has. */
  #used = 0;
  #free = 0;
  /** Where the search goes on. */
  #next = 0;

  constructor(capacity: number) {
    this.#taken = new Uint8Array(capacity);
  }

  take(): number {
    const isNew = this.#free <= this.#used * LEAST_FREE_SHARE && this.#used < this.#taken.length;
    const slot = isNew ? this.#used++ : this.#findFree();
    this.#taken[slot] = 1;
    return slot;
  }

  #findFree(): number {
    const slots = this.#taken.subarray(0, this.#used);
    const ahead = slots.indexOf(0, this.#next);
    const slot = ahead < 0 ? slots.indexOf(0) : ahead;
    assert(slot >= 0, "there is a slot for every page of two checkpoints");
    this.#free -= 1;
    this.#next = slot + 1;
    return slot;
  }

  release(slot: number): void {
    assert(this.#taken[slot] === 1, "a slot is released once");
    this.#taken[slot] = 0;
    this.#free += 1;
  }
}
