/**
 * Tells a Linux kernel's panic from an ordinary reboot. The kernel asks the firmware for a reset with the same words in both cases
 * (SBI 2.0, chapter 10: reset reason "no reason"), so its last words on the console are what differs. Only the event's name hangs on
 * this: panic or reboot, the guest is power cycled by the same voted output.
 */
const WORDS = "Kernel panic - not syncing: ";
/** Of what follows the words, to the end of the line. */
const REASON_BYTES_MAX = 160;
const LINE_END = /[\r\n]/;
/** A console burst is scanned in parts of this size: fromCharCode takes its bytes as arguments. */
const PART_BYTES = 4096;

export class PanicWatch {
  /** Bytes that may be the beginning of the words, or the words and what followed so far. */
  #seen = "";
  #reason: string | null = null;

  /** The kernel's reason, or null if it did not panic since the power-on. */
  get reason(): string | null {
    return this.#reason;
  }

  poweredOn(): void {
    this.#seen = "";
    this.#reason = null;
  }

  /** Voted console output, cut anywhere. */
  console(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += PART_BYTES) this.#scan(String.fromCharCode(...bytes.subarray(at, at + PART_BYTES)));
  }

  #scan(part: string): void {
    // The first panic is the cause; later ones are its consequences.
    if (this.#reason !== null && this.#seen === "") return;
    const text = this.#seen + part;
    const at = text.indexOf(WORDS);
    if (at < 0) {
      this.#seen = text.slice(-(WORDS.length - 1));
      return;
    }
    const [line = ""] = text.slice(at + WORDS.length).split(LINE_END);
    const isWhole = text.length - at - WORDS.length > line.length || line.length >= REASON_BYTES_MAX;
    this.#reason = line.slice(0, REASON_BYTES_MAX).replace(/[^\x20-\x7e]/g, "?");
    this.#seen = isWhole ? "" : text.slice(at, at + WORDS.length + REASON_BYTES_MAX);
  }
}
