/**
 * Runs a bare-metal ELF program in machine mode, for test suites and firmware. It ends by the HTIF convention (an odd value in the
 * symbol `tohost` is the exit code times two plus one), by the test finisher, at the instruction limit, or when it waits for ever.
 */
import { SteadfastError } from "../../../foundation/errors.js";
import { IDLE_FOREVER } from "../../machine.js";
import { Board } from "./board.js";
import { createCoreMemory, instantiateCore, RUN_IDLE } from "./core.js";
import type { CoreModule, Rv64Core } from "./core.js";
import { buildDeviceTree } from "./device-tree.js";
import { parseElf } from "./elf.js";
import type { ElfProgram } from "./elf.js";
import { GuestMemory } from "./guest-memory.js";
import { setUpHarts } from "./hart-state.js";
import { DRAM, G_INSTRET, RAM } from "./layout.js";

export interface ElfRunOptions {
  readonly core: CoreModule;
  readonly elf: Uint8Array;
  /** For messages. */
  readonly path?: string;
  readonly maxInstructions: number;
  readonly ramBytes?: number;
  readonly harts?: number;
  /** How often to look at `tohost`. A reservation (lr) does not survive such a moment. */
  readonly pollInstructions?: number;
  /** Called before every instruction; slow. */
  readonly onTrace?: (hart: number, pc: bigint, instruction: number) => void;
  /** Called with console output as it comes; without it, output is collected in the result. */
  readonly onConsole?: (bytes: Uint8Array) => void;
}

export interface ElfRun {
  /** Null if the program did not end by itself. */
  readonly exitCode: number | null;
  readonly reason: "tohost" | "finisher" | "limit" | "idle";
  readonly instructions: bigint;
  readonly console: Uint8Array;
  /** Memory from `begin_signature` to `end_signature`, if the program has these symbols. */
  readonly signature: Uint8Array | null;
}

const DEFAULT_RAM_BYTES = 128 << 20;
const DEVICE_TREE_BYTES = 0x10000;
const POLL_INSTRUCTIONS = 1000;
/** Console output kept when nobody listens. */
const MAX_CONSOLE_BYTES = 1 << 20;
const SYSCALL_WRITE = 64n;
const SYSCALL_EXIT = 93n;

class ElfMachine {
  readonly memory: GuestMemory;
  readonly core: Rv64Core;
  readonly board: Board;
  private readonly program: ElfProgram;
  /** Linear address of the symbol, or -1. */
  private readonly toHost: number;
  private readonly consoleParts: Uint8Array[] = [];
  private consoleBytes = 0;

  constructor(private readonly options: ElfRunOptions) {
    const ramBytes = options.ramBytes ?? DEFAULT_RAM_BYTES;
    const harts = options.harts ?? 1;
    this.program = parseElf(options.elf, options.path ?? "The program");
    const memory = createCoreMemory(RAM + ramBytes);
    this.memory = new GuestMemory(memory.buffer, ramBytes);
    this.core = instantiateCore(options.core, memory, {
      mmioRead: (address, size) => this.board.mmioRead(address, size),
      mmioWrite: (address, size, value) => this.board.mmioWrite(address, size, value),
      sbiCall: () => undefined, // never called: there is machine mode
      trace: (hart, low, high, instruction) => {
        // A trace ends with the instruction that wrote to the host, not when that is next looked at.
        if (this.toHost >= 0 && this.memory.view.getBigUint64(this.toHost, true) !== 0n) this.core.requestStop();
        else options.onTrace?.(hart, (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0), instruction >>> 0);
      },
    });
    this.board = new Board(this.memory, this.core, { harts });
    this.toHost = this.locateSymbol("tohost", 8);
    this.board.clear();
    this.loadSegments();
    const treeOffset = ramBytes - DEVICE_TREE_BYTES;
    const randomSeed = new Uint8Array(64); // a program under test must always do the same
    const tree = buildDeviceTree({
      ramBytes,
      harts,
      commandLine: "",
      initrdStart: 0,
      initrdEnd: 0,
      randomSeed,
      hasDisk: false,
      hasAgentPort: false,
    });
    this.memory.bytes.set(tree, RAM + treeOffset);
    const deviceTree = BigInt(DRAM + treeOffset);
    setUpHarts(this.memory, { harts, epochNs: 0n, timeNs: 0n, entry: this.program.entry, deviceTree, direct: false });
    this.core.initialise();
    this.core.setTrace(options.onTrace === undefined ? 0 : 1);
  }

  run(): ElfRun {
    const { core, options } = this;
    const toHost = this.toHost;
    const limit = BigInt(options.maxInstructions);
    const poll = BigInt(options.pollInstructions ?? POLL_INSTRUCTIONS);
    let reason: ElfRun["reason"] = "limit";
    let exitCode: number | null = null;
    while (this.instructions() < limit) {
      const rest = limit - this.instructions();
      const ended = this.board.run(rest < poll ? rest : poll);
      this.takeConsole();
      if (this.board.end !== null) {
        reason = "finisher";
        exitCode = this.board.end.failure ? Math.max(this.board.end.code, 1) : 0;
        break;
      }
      const code = toHost < 0 ? null : this.serveHost(toHost);
      if (code !== null) {
        reason = "tohost";
        exitCode = code;
        break;
      }
      if (ended !== RUN_IDLE) continue;
      const timer = core.nextTimer();
      if (timer === IDLE_FOREVER) {
        reason = "idle";
        break;
      }
      core.setTime(timer);
    }
    return { exitCode, reason, instructions: this.instructions(), console: this.collectedConsole(), signature: this.signature() };
  }

  private instructions(): bigint {
    return this.memory.view.getBigUint64(G_INSTRET, true);
  }

  private loadSegments(): void {
    for (const segment of this.program.segments) {
      const address = this.locate(segment.physicalAddress, segment.memoryBytes);
      if (address < 0) {
        const why = `a segment at 0x${segment.physicalAddress.toString(16)} is outside of RAM`;
        throw new SteadfastError("ELF_FORMAT", { path: this.options.path ?? "The program", why });
      }
      this.memory.bytes.set(segment.bytes, address);
    }
  }

  private locate(address: bigint, length: number): number {
    return this.memory.locate(Number(address & 0xffff_ffffn), Number(BigInt.asUintN(64, address) >> 32n), length);
  }

  private locateSymbol(name: string, length: number): number {
    const address = this.program.symbols.get(name);
    return address === undefined ? -1 : this.locate(address, length);
  }

  /** Serves what the program wrote to `tohost`; its exit code if that ends it. */
  private serveHost(toHost: number): number | null {
    const view = this.memory.view;
    const value = view.getBigUint64(toHost, true);
    if (value === 0n) return null;
    const device = value >> 56n;
    const command = (value >> 48n) & 0xffn;
    const payload = value & 0xffff_ffff_ffffn;
    let reply = 0n;
    if (device === 0n) {
      if ((payload & 1n) === 1n) return Number(payload >> 1n);
      const exit = this.systemCall(payload);
      if (exit !== null) return exit;
      reply = 1n;
    } else if (device === 1n && command === 1n) {
      this.emit(Uint8Array.of(Number(payload & 0xffn)));
    }
    this.poke(toHost, 0n);
    const fromHost = this.locateSymbol("fromhost", 8);
    if (fromHost >= 0 && reply !== 0n) this.poke(fromHost, reply);
    return null;
  }

  /** A proxied system call: four u64 in memory, number first; the result replaces the number. Only `write` and `exit` exist. */
  private systemCall(address: bigint): number | null {
    const block = this.locate(address, 32);
    if (block < 0) return null;
    const argument = (index: number): bigint => this.memory.view.getBigUint64(block + 8 * index, true);
    let result = -38n; // no such call
    if (argument(0) === SYSCALL_EXIT) return Number(argument(1) & 0xffn);
    if (argument(0) === SYSCALL_WRITE) {
      const length = Number(argument(3) & 0xffff_ffffn);
      const text = this.locate(argument(2), length);
      result = text < 0 ? -14n : BigInt(length);
      if (text >= 0) this.emit(this.memory.bytes.slice(text, text + length));
    }
    this.poke(block, BigInt.asUintN(64, result));
    return null;
  }

  private poke(address: number, value: bigint): void {
    this.memory.view.setBigUint64(address, value, true);
    this.core.noteWrite(address - RAM, 8);
  }

  private takeConsole(): void {
    for (const output of this.board.outputs.take()) if (output.kind === "console") this.emit(output.bytes);
  }

  private emit(bytes: Uint8Array): void {
    if (this.options.onConsole !== undefined) this.options.onConsole(bytes);
    else if (this.consoleBytes < MAX_CONSOLE_BYTES) {
      this.consoleParts.push(bytes);
      this.consoleBytes += bytes.length;
    }
  }

  private collectedConsole(): Uint8Array {
    const all = new Uint8Array(this.consoleBytes);
    let at = 0;
    for (const part of this.consoleParts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }

  private signature(): Uint8Array | null {
    const begin = this.program.symbols.get("begin_signature");
    const end = this.program.symbols.get("end_signature");
    if (begin === undefined || end === undefined || end < begin || end - begin > BigInt(this.memory.ramBytes)) return null;
    const length = Number(end - begin);
    const address = this.locate(begin, length);
    return address < 0 ? null : this.memory.bytes.slice(address, address + length);
  }
}

export function runElf(options: ElfRunOptions): ElfRun {
  return new ElfMachine(options).run();
}
