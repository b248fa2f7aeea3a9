/** The guest's serial console for any number of viewers: what it last printed is replayed to each that attaches. */
import type { Duplex } from "node:stream";

const SCROLLBACK_BYTES_MAX = 64 * 1024;
/** A viewer that does not read is dropped; the guest is never held up by one. */
const VIEWER_BUFFER_BYTES_MAX = 1024 * 1024;
/** Keystrokes and pastes go to the guest in pieces that an input tick can carry. */
const INPUT_PIECE_BYTES_MAX = 1024;
/** The line that our init prints when network and services are up. */
export const READY_LINE = "steadfast: ready";

export class ConsoleHub {
  readonly #viewers = new Set<Duplex>();
  readonly #onInput: (bytes: Buffer) => void;
  readonly #onReadyLine: () => void;
  #scrollback: Buffer[] = [];
  #scrollbackBytes = 0;
  #lineTail = "";

  constructor(onInput: (bytes: Buffer) => void, onReadyLine: () => void) {
    this.#onInput = onInput;
    this.#onReadyLine = onReadyLine;
  }

  /** Bytes that the guest printed before: only for those who attach. */
  remember(bytes: Buffer): void {
    this.#scrollback.push(bytes);
    this.#scrollbackBytes += bytes.length;
    while (this.#scrollbackBytes > SCROLLBACK_BYTES_MAX && this.#scrollback.length > 1) {
      this.#scrollbackBytes -= this.#scrollback.shift()?.length ?? 0;
    }
  }

  /** Bytes that the guest printed. */
  print(bytes: Buffer): void {
    this.remember(bytes);
    for (const viewer of this.#viewers) {
      viewer.write(bytes);
      if (viewer.writableLength > VIEWER_BUFFER_BYTES_MAX) viewer.destroy();
    }
    const text = this.#lineTail + bytes.toString("latin1");
    if (text.includes(READY_LINE)) {
      this.#lineTail = "";
      this.#onReadyLine();
    } else this.#lineTail = text.slice(-READY_LINE.length + 1);
  }

  attach(viewer: Duplex): void {
    for (const bytes of this.#scrollback) viewer.write(bytes);
    this.#viewers.add(viewer);
    const leave = (): void => {
      this.#viewers.delete(viewer);
      viewer.destroy();
    };
    viewer.on("error", leave);
    viewer.on("close", leave);
    viewer.on("end", leave);
    viewer.on("data", (bytes: Buffer) => {
      for (let start = 0; start < bytes.length; start += INPUT_PIECE_BYTES_MAX) {
        this.#onInput(bytes.subarray(start, start + INPUT_PIECE_BYTES_MAX));
      }
    });
  }

  close(): void {
    for (const viewer of this.#viewers) viewer.end();
  }
}
