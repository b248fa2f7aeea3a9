import { WireError } from "./frame.js";

/** Reads a body front to back; running off its end or leaving something unread is a WireError. */
export class Reader {
  readonly #body: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(body: Uint8Array) {
    this.#body = body;
    this.#view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  }

  #take(length: number): number {
    const at = this.#at;
    if (length > this.#body.length - at) throw new WireError("a message that ends too early");
    this.#at = at + length;
    return at;
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  /** A sequence number. */
  seq(): number {
    const value = this.#view.getFloat64(this.#take(8), true);
    if (!Number.isSafeInteger(value) || value < 0) throw new WireError("a sequence number that is none");
    return value;
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#take(8), true);
  }

  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#body.subarray(at, at + length);
  }

  /** A count of items of at least `leastBytes` each, so that a garbled one cannot make us allocate. */
  count(leastBytes: number): number {
    const count = this.u32();
    if (count * leastBytes > this.#body.length - this.#at) throw new WireError("a list longer than its message");
    return count;
  }

  /** Everything that is left. */
  rest(): Uint8Array {
    return this.bytes(this.#body.length - this.#at);
  }

  end(): void {
    if (this.#at !== this.#body.length) throw new WireError("a message with bytes left over");
  }
}
