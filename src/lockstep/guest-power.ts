/** The guest's power and what its released outputs cause: power-on with fresh entropy, resets, the end; and whether it panicked. */
import type { DiskRequest, MachineOutput } from "../machine/machine.js";
import type { TickMessage } from "../wire/messages.js";
import type { ServerContext } from "./context.js";
import type { GuestDisk } from "./guest-disk.js";
import { MAX_ENTROPY_BYTES, POWER_ON_ENTROPY_BYTES } from "./limits.js";
import type { ServerEvent } from "./server-types.js";
import { PanicWatch } from "./panic-watch.js";

export class GuestPower {
  readonly #context: ServerContext;
  readonly #disk: GuestDisk;
  readonly #panicWatch = new PanicWatch();
  /** The last tick that carries a power-on. */
  #poweredOnAt = 0;
  /** Entropy for a power-on has been asked for. */
  #isWanted = false;
  #isOn = false;
  /** What the guest is powered on with; null: what the machines were made with. */
  #image: string | null;

  constructor(context: ServerContext, disk: GuestDisk) {
    this.#context = context;
    this.#disk = disk;
    this.#image = context.options.bootImage ?? null;
  }

  /** A power cycle, or what the guest is powered on with from the next time on. */
  order(event: Extract<ServerEvent, { kind: "reset" | "bootImage" }>, isRunning: boolean): void {
    if (event.kind === "bootImage") this.#image = event.image;
    else if (isRunning) this.ask();
  }

  get isOn(): boolean {
    return this.#isOn;
  }

  ask(): void {
    if (this.#isWanted) return;
    this.#isWanted = true;
    this.#context.emit({ kind: "drawEntropy", purpose: "powerOn", lengthBytes: POWER_ON_ENTROPY_BYTES });
  }

  /** The entropy is here: the next tick powers the guest on. */
  #powerOn(entropy: Uint8Array): void {
    if (!this.#isWanted) return;
    this.#isWanted = false;
    this.#isOn = true;
    this.#context.sequencer.input({ kind: "powerOn", entropy, ...(this.#image !== null && { image: this.#image }) });
    this.#disk.poweredOn();
    this.#context.event("info", "POWER_ON", "the guest is powered on");
    this.#panicWatch.poweredOn();
    this.#context.emit({ kind: "guest", what: "poweredOn", failure: false });
  }

  /** Whatever comes for the guest from outside. False: it is off, and hears nothing. */
  hear(event: Extract<ServerEvent, { kind: "frames" | "console" | "agent" | "powerButton" | "entropy" }>, isRunning: boolean): boolean {
    if (event.kind === "entropy" && event.purpose === "powerOn") {
      if (isRunning) this.#powerOn(event.bytes);
      return true;
    }
    if (!this.#isOn) return false;
    const { sequencer } = this.#context;
    if (event.kind === "frames") {
      for (const bytes of event.frames) sequencer.input({ kind: "frame", port: event.port, bytes });
    } else if (event.kind === "powerButton") sequencer.input({ kind: "powerButton" });
    else sequencer.input({ kind: event.kind, bytes: event.bytes });
    return true;
  }

  /** A tick that was issued, by us or by the sequencer before us. */
  issued(tick: TickMessage): void {
    this.#disk.issued(tick);
    if (tick.inputs.some((input) => input.kind === "powerOn")) this.#poweredOnAt = Math.max(this.#poweredOnAt, tick.seq);
  }

  /** A guest that runs was taken over. */
  adopt(): void {
    this.#isOn = true;
  }

  /** The guest is lost with all that ran it. */
  lost(): void {
    this.#isOn = false;
    this.#isWanted = false;
    this.#disk.lost();
  }

  /** The outputs of tick `seq` take effect. Returns how many frames left. */
  release(outputs: readonly MachineOutput[], seq: number): number {
    let frames = 0;
    for (const output of outputs) {
      // Released again by a resumption, though the power cycle that it asked for was made already.
      if (output.kind === "disk") {
        this.#disk.request(output, seq);
        continue;
      }
      const isOver = (output.kind === "reset" || output.kind === "powerOff") && seq < this.#poweredOnAt;
      if (output.kind === "frame") frames += 1;
      if (!isOver) this.#releaseOne(output);
    }
    return frames;
  }

  #releaseOne(output: Exclude<MachineOutput, DiskRequest>): void {
    const context = this.#context;
    switch (output.kind) {
      case "frame":
        return context.emit({ kind: "transmit", port: output.port, bytes: output.bytes });
      case "console":
        this.#panicWatch.console(output.bytes);
        return context.emit({ kind: "console", bytes: output.bytes });
      case "agent":
        return context.emit({ kind: "agent", bytes: output.bytes });
      case "entropyRequest": {
        const lengthBytes = Math.min(output.lengthBytes, MAX_ENTROPY_BYTES);
        return context.emit({ kind: "drawEntropy", purpose: "guest", lengthBytes });
      }
      case "reset":
        return this.#reset(output.failure);
      case "powerOff":
        context.event("info", "GUEST_POWER_OFF", "the guest powered itself off");
        this.#isOn = false;
        return context.emit({ kind: "guest", what: "poweredOff", failure: output.failure });
    }
  }

  #reset(failure: boolean): void {
    const { reason } = this.#panicWatch;
    const panicked = failure || reason !== null;
    const why = reason === null ? "the guest failed" : `the guest's kernel panicked (${reason})`;
    if (panicked) this.#context.event("warning", "GUEST_PANIC", `${why} and asked for a reset; it is power cycled`);
    else this.#context.event("info", "GUEST_RESET", "the guest asked for a reset; it is power cycled");
    this.#context.emit({ kind: "guest", what: panicked ? "panicked" : "reset", failure: panicked });
    this.#isOn = false;
    this.ask();
  }
}
