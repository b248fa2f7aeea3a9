/**
 * Collects what a quantum puts out. Transient: emptied at the end of every quantum, so nothing here outlives a tick.
 * A guest may produce output far faster than anyone can carry it (one notify can send a thousand large frames); therefore the log has
 * a limit: once `full`, devices keep further work for the next quantum and the board ends this one.
 */
import type { MachineOutput } from "../../machine.js";

/** Bytes of output (plus a share for each item) after which a quantum ends. */
export const OUTPUT_LIMIT_BYTES = 1 << 20;
const ITEM_COST_BYTES = 64;
const CONSOLE_CHUNK_BYTES = 4096;

export class OutputLog {
  private items: MachineOutput[] = [];
  private costBytes = 0;
  private console = new Uint8Array(CONSOLE_CHUNK_BYTES);
  private consoleLength = 0;

  /** `onFull` is called whenever something is added beyond the limit. */
  constructor(private readonly onFull: () => void) {}

  get full(): boolean {
    return this.costBytes >= OUTPUT_LIMIT_BYTES;
  }

  add(output: MachineOutput, bytes: number): void {
    this.items.push(output);
    this.charge(bytes + ITEM_COST_BYTES);
  }

  consoleByte(value: number): void {
    if (this.consoleLength === this.console.length) {
      const larger = new Uint8Array(this.console.length * 2);
      larger.set(this.console);
      this.console = larger;
    }
    this.console[this.consoleLength++] = value;
    this.charge(1);
  }

  /** Ends the quantum: everything put out, console first as one item. */
  take(): MachineOutput[] {
    const items = this.items;
    if (this.consoleLength > 0) items.unshift({ kind: "console", bytes: this.console.slice(0, this.consoleLength) });
    this.items = [];
    this.costBytes = 0;
    this.consoleLength = 0;
    if (this.console.length > CONSOLE_CHUNK_BYTES) this.console = new Uint8Array(CONSOLE_CHUNK_BYTES);
    return items;
  }

  private charge(bytes: number): void {
    this.costBytes += bytes;
    if (this.costBytes >= OUTPUT_LIMIT_BYTES) this.onFull();
  }
}
