/**
 * A small non-cryptographic hash (four 32-bit lanes of multiply-and-rotate) for the toy machine and for comparing records in
 * memory. It finds accidents, not attackers; the engines bring their own.
 */
export class Hash {
  #a = 0x6a09e667;
  #b = 0xbb67ae85 | 0;
  #c = 0x3c6ef372;
  #d = 0xa54ff53a | 0;

  number(value: number): this {
    this.#word(value | 0);
    this.#word(Math.floor(value / 0x1_0000_0000) | 0);
    return this;
  }

  big(value: bigint): this {
    this.#word(Number(BigInt.asIntN(32, value)));
    this.#word(Number(BigInt.asIntN(32, value >> 32n)));
    return this;
  }

  bytes(bytes: Uint8Array): this {
    this.#word(bytes.length);
    const whole = bytes.length & ~3;
    for (let at = 0; at < whole; at += 4) {
      this.#word(
        (bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24),
      );
    }
    for (let at = whole; at < bytes.length; at += 1) this.#word(bytes[at] as number);
    return this;
  }

  words(words: Uint32Array): this {
    this.#word(words.length);
    // Two lanes only, in variables of this function: whole pages are hashed here, thousands in a simulated second.
    let a = this.#a;
    let d = this.#d;
    for (let at = 0; at < words.length; at += 1) {
      a = Math.imul(a ^ (words[at] as number), 0x01000193);
      d = (Math.imul(d, 0x85ebca6b) + (a ^ (a >>> 15))) | 0;
    }
    this.#a = a;
    this.#d = d;
    this.#word(a ^ d);
    return this;
  }

  /**
   * For many bytes, wherever in their buffer they lie: four words at a time, five times as fast as `bytes`, and another hash than that
   * makes. Each step of a lane can be undone, so a change in one lane always changes the result.
   */
  bulk(bytes: Uint8Array): this {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    const whole = bytes.length & ~15;
    let a = this.#a;
    let b = this.#b;
    let c = this.#c;
    let d = this.#d;
    for (let at = 0; at < whole; at += 16) {
      a = Math.imul(a ^ view.getInt32(at, true), 0x85ebca6b);
      a = (a << 13) | (a >>> 19);
      b = Math.imul(b ^ view.getInt32(at + 4, true), 0xc2b2ae35);
      b = (b << 15) | (b >>> 17);
      c = Math.imul(c ^ view.getInt32(at + 8, true), 0x27d4eb2f);
      c = (c << 11) | (c >>> 21);
      d = Math.imul(d ^ view.getInt32(at + 12, true), 0x165667b1);
      d = (d << 17) | (d >>> 15);
    }
    for (const lane of [a, b, c, d]) this.#word(lane);
    return this.bytes(bytes.subarray(whole)).number(bytes.length);
  }

  #word(word: number): void {
    this.#a = Math.imul(this.#a ^ word, 0x01000193);
    this.#a = (this.#a << 13) | (this.#a >>> 19);
    this.#b = Math.imul((this.#b + word) | 0, 0x85ebca6b) ^ this.#a;
    this.#c = (Math.imul(this.#c ^ this.#b, 0xc2b2ae35) + 0x9e3779b9) | 0;
    this.#d = ((this.#d << 7) | (this.#d >>> 25)) ^ this.#c;
  }

  value64(): bigint {
    return (BigInt(this.#a >>> 0) << 32n) | BigInt(this.#d >>> 0);
  }

  hex(): string {
    return [this.#a, this.#b, this.#c, this.#d].map((lane) => (lane >>> 0).toString(16).padStart(8, "0")).join("");
  }
}
