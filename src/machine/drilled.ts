/** Fault drills: a machine that can be made to compute wrongly, as a failing processor or memory would. */
import type {
  Capture,
  Checkpointer,
  ImagePiece,
  Machine,
  MachineDescription,
  MachineOutput,
  MachineResult,
  MachineTick,
} from "./machine.js";

const SKEW_NS = 1_000_000n;

export class DrilledMachine implements Machine {
  readonly #machine: Machine;
  #corruptsOutput = false;
  #skewsClock = false;

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  get description(): MachineDescription {
    return this.#machine.description;
  }

  /** The next output leaves with one bit turned over, after the machine has digested it. */
  corruptOutput(): void {
    this.#corruptsOutput = true;
  }

  /** The next quantum sees a clock that is a millisecond ahead. */
  skewClock(): void {
    this.#skewsClock = true;
  }

  run(tick: MachineTick): MachineResult {
    const seen = this.#skewsClock ? { ...tick, nowNs: tick.nowNs + SKEW_NS } : tick;
    this.#skewsClock = false;
    const result = this.#machine.run(seen);
    if (!this.#corruptsOutput || result.outputs.length === 0) return result;
    this.#corruptsOutput = false;
    return { ...result, outputs: [corrupted(result.outputs[0] as MachineOutput), ...result.outputs.slice(1)] };
  }

  fullDigest(): string {
    return this.#machine.fullDigest();
  }

  capture(): Capture {
    return this.#machine.capture();
  }

  checkpointer(): Checkpointer {
    return this.#machine.checkpointer();
  }

  restore(piece: ImagePiece): void {
    this.#machine.restore(piece);
  }

  flipBit(address: number, bit: number): void {
    this.#machine.flipBit(address, bit);
  }
}

function corrupted(output: MachineOutput): MachineOutput {
  switch (output.kind) {
    case "frame":
    case "console":
    case "agent": {
      const bytes = output.bytes.slice();
      const last = bytes.length - 1;
      bytes[last] = (bytes[last] ?? 0) ^ 1;
      return { ...output, bytes };
    }
    case "entropyRequest":
      return { ...output, lengthBytes: output.lengthBytes + 1 };
    case "disk": {
      // Data if there is any: a wrong block is the worst that could reach a disk.
      const bytes = output.bytes.slice();
      if (bytes.length === 0) return { ...output, id: output.id ^ 1 };
      bytes[bytes.length - 1] = (bytes[bytes.length - 1] ?? 0) ^ 1;
      return { ...output, bytes };
    }
    case "reset":
    case "powerOff":
      return { ...output, failure: !output.failure };
  }
}
