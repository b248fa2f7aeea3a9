/**
 * Ethernet frames on a stream, as QEMU's stream sockets and passt carry them: u32 length (big endian), frame. What is no such stream
 * ends in an error: whoever lost the framing cannot be trusted again.
 */

const LENGTH_BYTES = 4;
const ETHERNET_HEADER_BYTES = 14;
/** An IPv4 packet of the greatest length with its Ethernet header. */
export const MAX_STREAM_FRAME_BYTES = 65535 + ETHERNET_HEADER_BYTES;

export class StreamFrameError extends Error {}

export function encodeStreamFrame(frame: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(LENGTH_BYTES + frame.length);
  new DataView(bytes.buffer).setUint32(0, frame.length);
  bytes.set(frame, LENGTH_BYTES);
  return bytes;
}

/** Takes bytes however they were split; keeps at most one frame. */
export class StreamFrameDecoder {
  readonly #length = new Uint8Array(LENGTH_BYTES);
  #lengthBytes = 0;
  #frame: Uint8Array | null = null;
  #frameBytes = 0;
  #isBroken = false;

  /** The frames that this chunk completes, as copies. Throws a StreamFrameError, this and every later time, when it cannot be one. */
  push(chunk: Uint8Array): Uint8Array[] {
    const frames: Uint8Array[] = [];
    let at = 0;
    while (at < chunk.length) {
      if (this.#frame === null) at = this.#takeLength(chunk, at);
      else {
        const taken = Math.min(chunk.length - at, this.#frame.length - this.#frameBytes);
        this.#frame.set(chunk.subarray(at, at + taken), this.#frameBytes);
        this.#frameBytes += taken;
        at += taken;
        if (this.#frameBytes < this.#frame.length) continue;
        frames.push(this.#frame);
        this.#frame = null;
      }
    }
    return frames;
  }

  #takeLength(chunk: Uint8Array, start: number): number {
    if (this.#isBroken) throw new StreamFrameError("the stream was broken before");
    let at = start;
    while (at < chunk.length && this.#lengthBytes < LENGTH_BYTES) this.#length[this.#lengthBytes++] = chunk[at++] as number;
    if (this.#lengthBytes < LENGTH_BYTES) return at;
    const length = new DataView(this.#length.buffer).getUint32(0);
    if (length < ETHERNET_HEADER_BYTES || length > MAX_STREAM_FRAME_BYTES) {
      this.#isBroken = true;
      throw new StreamFrameError(`a frame of ${length} bytes (${ETHERNET_HEADER_BYTES} to ${MAX_STREAM_FRAME_BYTES})`);
    }
    this.#lengthBytes = 0;
    this.#frame = new Uint8Array(length);
    this.#frameBytes = 0;
    return at;
  }
}
