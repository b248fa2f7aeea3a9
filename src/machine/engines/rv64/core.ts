/**
 * The contract between the WebAssembly core (assembly/) and the TypeScript board: what each exports to the other.
 * Addresses cross as i32; those above 2 GiB arrive negative and are made unsigned with `>>> 0`.
 */

/** Results of `run`. */
export const RUN_BUDGET_USED = 0;
export const RUN_IDLE = 1;
export const RUN_STOPPED = 2;

/** Bits of mip that the board drives. */
export const INTERRUPT_MSIP = 3;
export const INTERRUPT_SEIP = 9;
export const INTERRUPT_MEIP = 11;

export interface Rv64Core {
  initialise(): void;
  afterRestore(): void;
  run(budget: bigint): number;
  requestStop(): void;
  setTime(timeNs: bigint): void;
  getTime(): bigint;
  nextTimer(): bigint;
  setInterrupt(hart: number, bit: number, level: number): void;
  /** Inside a callback: the access that is being served ends in an access fault. */
  accessFault(): void;
  /** A device wrote to guest RAM at this RAM offset. */
  noteWrite(ramOffset: number, length: number): void;
  rearm(): void;
  flushTlb(hart: number): void;
  digestReset(): void;
  digestUpdate(address: number, length: number): void;
  digestTlb(harts: number): void;
  digestValue(lane: number): bigint;
  setTrace(on: number): void;
}

/** What the core calls. */
export interface BoardCallbacks {
  mmioRead(address: number, size: number): number;
  mmioWrite(address: number, size: number, value: number): void;
  sbiCall(hart: number): void;
  trace(hart: number, pcLow: number, pcHigh: number, instruction: number): void;
}

const WASM_PAGE_BYTES = 0x10000;

/** The core's import declares at least this much (asconfig.json). */
const MIN_WASM_PAGES = 2048;

/** Linear memory of the needed size; it never grows. */
export function createCoreMemory(linearBytes: number): WebAssembly.Memory {
  const pages = Math.max(MIN_WASM_PAGES, Math.ceil(linearBytes / WASM_PAGE_BYTES));
  return new WebAssembly.Memory({ initial: pages, maximum: pages });
}

/** A compiled core. Compile once, use for any number of machines. */
export type CoreModule = WebAssembly.Module;

/** Compiles core.wasm; here, so that the Node layer, which has no types for WebAssembly, need not name them. */
export function compileCore(bytes: Uint8Array): CoreModule {
  return new WebAssembly.Module(bytes as BufferSource);
}

export function instantiateCore(module: CoreModule, memory: WebAssembly.Memory, callbacks: BoardCallbacks): Rv64Core {
  const imports = {
    env: {
      memory,
      abort: () => {
        throw new Error("the rv64 core aborted");
      },
    },
    board: {
      mmioRead: (address: number, size: number) => callbacks.mmioRead(address, size),
      mmioWrite: (address: number, size: number, value: number) => callbacks.mmioWrite(address, size, value),
      sbiCall: (hart: number) => callbacks.sbiCall(hart),
      trace: (hart: number, pcLow: number, pcHigh: number, instruction: number) => callbacks.trace(hart, pcLow, pcHigh, instruction),
    },
  };
  return new WebAssembly.Instance(module, imports).exports as unknown as Rv64Core;
}
