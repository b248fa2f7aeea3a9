/**
 * Frames on a stream: u32 length (little endian, of type and body), u8 type, body. One incremental decoder takes bytes however
 * they were split. Anything that is not a frame ends in a WireError; the receiver then closes the connection, since a stream
 * that lost its framing cannot be trusted again.
 */

/** No message comes near this: the largest are pieces of an image and ticks full of network frames. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;
export const FRAME_HEADER_BYTES = 5;

export class WireError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "WireError";
  }
}

/** Called with each complete frame. The body may be a view into the pushed chunk. */
export type FrameHandler = (type: number, body: Uint8Array) => void;

export class FrameDecoder {
  readonly #onFrame: FrameHandler;
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerLength = 0;
  #body: Uint8Array | null = null;
  #bodyLength = 0;
  #broken: WireError | null = null;

  constructor(onFrame: FrameHandler) {
    this.#onFrame = onFrame;
  }

  /** Throws a WireError (this and every later time) when the bytes are not frames. */
  push(chunk: Uint8Array): void {
    if (this.#broken !== null) throw this.#broken;
    try {
      let at = 0;
      while (at < chunk.length) at = this.#consume(chunk, at);
    } catch (error) {
      if (error instanceof WireError) this.#broken = error;
      throw error;
    }
  }

  #consume(chunk: Uint8Array, start: number): number {
    let at = start;
    if (this.#body === null) {
      const available = chunk.length - at;
      if (this.#headerLength === 0 && available >= FRAME_HEADER_BYTES) {
        const bodyBytes = frameBodyBytes(chunk, at);
        const end = at + FRAME_HEADER_BYTES + bodyBytes;
        if (end <= chunk.length) {
          this.#onFrame(chunk[at + 4] as number, chunk.subarray(at + FRAME_HEADER_BYTES, end));
          return end;
        }
      }
      const take = Math.min(available, FRAME_HEADER_BYTES - this.#headerLength);
      this.#header.set(chunk.subarray(at, at + take), this.#headerLength);
      this.#headerLength += take;
      at += take;
      if (this.#headerLength < FRAME_HEADER_BYTES) return at;
      this.#body = new Uint8Array(frameBodyBytes(this.#header, 0));
      this.#bodyLength = 0;
    }
    const body = this.#body;
    const take = Math.min(chunk.length - at, body.length - this.#bodyLength);
    body.set(chunk.subarray(at, at + take), this.#bodyLength);
    this.#bodyLength += take;
    if (this.#bodyLength === body.length) {
      this.#body = null;
      this.#headerLength = 0;
      this.#onFrame(this.#header[4] as number, body);
    }
    return at + take;
  }
}

function frameBodyBytes(bytes: Uint8Array, at: number): number {
  const length =
    ((bytes[at] as number) | ((bytes[at + 1] as number) << 8) | ((bytes[at + 2] as number) << 16) | ((bytes[at + 3] as number) << 24)) >>>
    0;
  if (length < 1 || length > MAX_FRAME_BYTES) throw new WireError(`a frame of ${length} bytes (at most ${MAX_FRAME_BYTES})`);
  return length - 1;
}
