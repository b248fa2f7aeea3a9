/**
 * Which operations may go on side by side. Requests of the guest never wait for each other: the mirrors execute them in the order in
 * which they were sent, which is the same everywhere. What copies or compares a region has it for itself.
 */
import { assert } from "../foundation/assert.js";

export interface Operation {
  readonly offset: number;
  /** 0: it touches no data. */
  readonly lengthBytes: number;
  readonly isExclusive: boolean;
  begin(): void;
}

interface Admitted {
  readonly operation: Operation;
  hasBegun: boolean;
}

export class Admission {
  /** In the order in which they came. */
  readonly #list: Admitted[] = [];
  #isPumping = false;

  add(operation: Operation): void {
    this.#list.push({ operation, hasBegun: false });
    this.#pump();
  }

  /** It is over, or will not be. */
  remove(operation: Operation): void {
    const index = this.#list.findIndex((each) => each.operation === operation);
    assert(index >= 0, "an operation ends once");
    this.#list.splice(index, 1);
    this.#pump();
  }

  #pump(): void {
    if (this.#isPumping) return;
    this.#isPumping = true;
    try {
      // Beginning one may end it, or others, at once.
      for (let next = this.#startable(); next !== undefined; next = this.#startable()) {
        next.hasBegun = true;
        next.operation.begin();
      }
    } finally {
      this.#isPumping = false;
    }
  }

  #startable(): Admitted | undefined {
    return this.#list.find(
      (each, index) => !each.hasBegun && !this.#list.slice(0, index).some((earlier) => conflict(earlier.operation, each.operation)),
    );
  }
}

function conflict(left: Operation, right: Operation): boolean {
  if (!left.isExclusive && !right.isExclusive) return false;
  return left.offset < right.offset + right.lengthBytes && right.offset < left.offset + left.lengthBytes;
}
