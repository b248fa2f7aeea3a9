/**
 * The machine of engine rv64: one core with its board behind the engine-neutral interface. Until its first power-on it stands still; a
 * reset or power-off by the guest stops it too, and only a `powerOn` input starts it again.
 */
import { assert, unreachable } from "../../../foundation/assert.js";
import { SteadfastError } from "../../../foundation/errors.js";
import { IDLE_FOREVER } from "../../machine.js";
import type {
  Capture,
  Checkpointer,
  ImagePiece,
  Machine,
  MachineDescription,
  MachineInput,
  MachineResult,
  MachineTick,
} from "../../machine.js";
import { Board } from "./board.js";
import { MachineCheckpointer } from "./checkpointer.js";
import { createCoreMemory, instantiateCore, RUN_IDLE } from "./core.js";
import type { CoreModule, Rv64Core } from "./core.js";
import { GuestMemory } from "./guest-memory.js";
import { setUpHarts, writeDescription } from "./hart-state.js";
import { clearRam, decodeState, encodeState, MachineCapture, PAGE_BYTES, STATE_PIECE } from "./image.js";
import { G_INSTRET, G_POWERED, MAX_HARTS, PAGE_DIRTY, PAGE_FLAGS, PAGE_UNMARKED, RAM } from "./layout.js";
import { checkMemory, loadBootFiles } from "./loader.js";
import { QuantumDigest } from "./quantum-digest.js";
import { Sbi } from "./sbi.js";

/** Raised with every change of what a machine computes, or of how its results are digested. 2: the scrub turns twice as fast. */
export const RV64_BEHAVIOUR = 2;
export const ENTROPY_BYTES = 64;

/** Of an image that is not the machine's own. */
export interface BootFiles {
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  /** Absent: the machine's own. */
  readonly commandLine?: string;
}

export interface Rv64Options {
  readonly core: CoreModule;
  /** Flat RISC-V Image; empty: a machine that is only ever restored, since power-on fails. */
  readonly kernel: Uint8Array;
  readonly initrd: Uint8Array;
  readonly commandLine: string;
  readonly ramBytes: number;
  readonly harts: number;
  readonly epochNs: bigint;
  readonly imageDigest: string;
  /** Kernel and initrd of another image, by its digest, for a power-on with that. Absent: there is no other. */
  readonly bootFilesOf?: (image: string) => BootFiles;
  /** Of the guest, `aa:bb:cc:dd:ee:ff`; guests on one network need different ones. */
  readonly macAddress?: string;
  /** Size of the disk, whole blocks; 0 or absent: none. Only at first: what it has grown to since is part of the machine's state. */
  readonly diskBytes?: number;
  /** Whether the guest has a virtual port for its agent; absent: no, as in recordings from before there was one. */
  readonly agentPort?: boolean;
}

class Rv64Machine implements Machine {
  readonly description: MachineDescription;
  private readonly memory: GuestMemory;
  private readonly core: Rv64Core;
  private readonly board: Board;
  private readonly digest: QuantumDigest;
  private activeCapture: MachineCapture | null = null;
  private activeCheckpointer: MachineCheckpointer | null = null;
  /** Nothing was written to RAM yet: it need not be cleared. */
  private ramIsClean = true;
  /** Between the first piece of an image and its state record. */
  private restoring = false;

  constructor(private readonly options: Rv64Options) {
    const { ramBytes, harts, epochNs, imageDigest } = options;
    this.description = { engine: "rv64", behaviour: RV64_BEHAVIOUR, ramBytes, harts, epochNs, imageDigest };
    const memory = createCoreMemory(RAM + ramBytes);
    this.memory = new GuestMemory(memory.buffer, ramBytes);
    this.core = instantiateCore(options.core, memory, {
      mmioRead: (address, size) => this.board.mmioRead(address, size),
      mmioWrite: (address, size, value) => this.board.mmioWrite(address, size, value),
      sbiCall: (hart) => sbi.call(hart),
      trace: () => undefined,
    });
    this.board = new Board(this.memory, this.core, {
      harts,
      diskBytes: options.diskBytes ?? 0,
      agentPort: options.agentPort ?? false,
      ...(options.macAddress === undefined ? {} : { macAddress: parseMacAddress(options.macAddress) }),
    });
    const sbi = new Sbi(this.board);
    this.digest = new QuantumDigest(this.memory, this.core, harts);
    this.clear(0n);
  }

  run(tick: MachineTick): MachineResult {
    assert(!this.restoring, "a half-restored machine cannot run");
    this.core.setTime(tick.nowNs);
    for (const input of tick.inputs) this.apply(input);
    const before = this.instructionCount();
    let idleUntilNs: bigint | null = IDLE_FOREVER;
    if (this.powered()) {
      this.board.beginQuantum();
      idleUntilNs = this.runCore(tick.budget);
    }
    const outputs = this.board.outputs.take();
    const instructionCount = this.instructionCount();
    return {
      instructionCount,
      timeNs: this.core.getTime(),
      idleUntilNs,
      outputs,
      digest: this.digest.quantum(outputs, Number(instructionCount - before)),
    };
  }

  fullDigest(): string {
    return this.digest.full();
  }

  capture(): Capture {
    assert(this.activeCapture === null, "one capture at a time");
    assert(!this.restoring, "a half-restored machine cannot be captured");
    const capture = new MachineCapture(
      this.memory,
      this.core,
      () => encodeState(this.memory, this.description),
      () => {
        this.activeCapture = null;
      },
    );
    this.activeCapture = capture;
    return capture;
  }

  checkpointer(): Checkpointer {
    assert(this.activeCheckpointer === null, "one checkpointer at a time");
    this.activeCheckpointer = new MachineCheckpointer(
      this.memory,
      this.core,
      this.digest,
      () => encodeState(this.memory, this.description),
      () => {
        this.activeCheckpointer = null;
      },
    );
    return this.activeCheckpointer;
  }

  restore(piece: ImagePiece): void {
    assert(this.activeCapture === null, "a machine that is being captured cannot be restored");
    if (!this.restoring) {
      this.clear(0n);
      this.markAllPages();
      this.restoring = true;
    }
    if (piece.page === STATE_PIECE) {
      decodeState(piece.bytes, this.memory, this.description);
      this.core.afterRestore();
      this.restoring = false;
      return;
    }
    const known = Number.isInteger(piece.page) && piece.page >= 0 && piece.page < this.memory.ramBytes / PAGE_BYTES;
    if (!known || (piece.bytes.length !== 0 && piece.bytes.length !== PAGE_BYTES)) {
      throw new SteadfastError("IMAGE_REFUSED", { why: `it has a wrong piece (page ${piece.page}, ${piece.bytes.length} bytes)` });
    }
    const start = RAM + piece.page * PAGE_BYTES;
    this.ramIsClean = false;
    this.memory.bytes[PAGE_FLAGS + piece.page]! |= PAGE_UNMARKED;
    if (piece.bytes.length > 0) this.memory.bytes.set(piece.bytes, start);
    else this.memory.bytes.fill(0, start, start + PAGE_BYTES);
  }

  flipBit(address: number, bit: number): void {
    const offset = address % this.memory.ramBytes;
    this.memory.bytes[RAM + offset]! ^= 1 << (bit & 7);
    this.ramIsClean = false;
  }

  private apply(input: MachineInput): void {
    if (input.kind === "powerOn") {
      this.powerOn(input.entropy, input.image);
      return;
    }
    // A disk grows whether the guest runs or not.
    if (input.kind === "diskSize") {
      this.board.disk.grow(input.bytes);
      return;
    }
    if (!this.powered()) return;
    switch (input.kind) {
      case "frame":
        if (input.port === 0) this.board.network.receive(input.bytes);
        return;
      case "console":
        this.board.console.receive(input.bytes);
        return;
      case "agent":
        this.board.agentPort.receive(input.bytes);
        return;
      case "entropy":
        this.board.entropy.provide(input.bytes);
        return;
      case "powerButton":
        this.board.pressPowerButton();
        return;
      case "diskDone":
        this.board.disk.answer(input.id, input.isOk, input.bytes);
        return;
      case "diskRepeat":
        this.board.disk.repeat();
        return;
      default:
        unreachable(input);
    }
  }

  /** Runs the core; the deadline of an idle machine, or null if it is busy. */
  private runCore(budget: number): bigint | null {
    const ended = this.board.run(BigInt(budget));
    if (!this.powered()) return IDLE_FOREVER;
    if (ended !== RUN_IDLE || this.board.disk.isHeld) return null;
    const timer = this.core.nextTimer();
    const alarm = this.board.rtc.deadlineNs();
    return timer < alarm ? timer : alarm;
  }

  private powerOn(entropy: Uint8Array, image?: string): void {
    assert(entropy.length === ENTROPY_BYTES, "power-on takes 64 bytes of entropy");
    const timeNs = this.core.getTime();
    this.clear(timeNs);
    const { harts, epochNs } = this.options;
    const files = image === undefined ? this.options : this.otherFiles(image);
    const { entry, deviceTree } = loadBootFiles(this.memory, files, harts, entropy, {
      hasDisk: this.board.disk.isPresent,
      hasAgentPort: this.board.agentPort.isPresent,
    });
    this.ramIsClean = false;
    setUpHarts(this.memory, { harts, epochNs, timeNs, entry: BigInt(entry), deviceTree: BigInt(deviceTree), direct: true });
    this.core.initialise();
    this.markAllPages();
  }

  /** A capture or checkpointer that goes on although RAM is another one must take all of it again. */
  private markAllPages(): void {
    this.memory.bytes.fill(PAGE_DIRTY | PAGE_UNMARKED, PAGE_FLAGS, PAGE_FLAGS + this.memory.ramBytes / PAGE_BYTES);
  }

  private otherFiles(image: string): Required<BootFiles> {
    const { bootFilesOf, ramBytes, commandLine } = this.options;
    assert(bootFilesOf !== undefined, "a machine without other images is not powered on with one");
    const files = { commandLine, ...bootFilesOf(image) };
    checkMemory(ramBytes, files);
    return files;
  }

  /** Back to the state of a machine that was never powered on, but for guest time. */
  private clear(timeNs: bigint): void {
    if (!this.ramIsClean) clearRam(this.memory);
    this.ramIsClean = true;
    this.board.clear();
    writeDescription(this.memory, this.options.harts, this.options.epochNs, timeNs);
    this.core.initialise();
  }

  private powered(): boolean {
    return this.memory.view.getUint32(G_POWERED, true) !== 0;
  }

  private instructionCount(): bigint {
    return this.memory.view.getBigUint64(G_INSTRET, true);
  }
}

function parseMacAddress(text: string): Uint8Array {
  assert(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text), "a MAC address has six bytes in hex");
  return Uint8Array.from(text.split(":"), (byte) => parseInt(byte, 16));
}

/** Makes a machine that is switched off. Throws a SteadfastError if kernel, memory or processors make no machine. */
export function createRv64Machine(options: Rv64Options): Machine {
  if (options.kernel.length > 0) checkMemory(options.ramBytes, options);
  assert(Number.isInteger(options.harts) && options.harts >= 1 && options.harts <= MAX_HARTS, "one to four harts");
  return new Rv64Machine(options);
}
