/** What V8 is asked to do otherwise in module processes. It reads these flags whenever it collects, in Node 20 and 24. */
import { setFlagsFromString } from "node:v8";

/**
 * The live heap of a module is small (some 10 MiB), and V8 collects when it has grown by 8 MiB, which counts buffers too: at 100 MiB/s from
 * the guest's disk that was 12 full collections a second in every module, and a sixth of two processors. With this it waits for five times the
 * live heap: a quarter of the collections, for some 20 MiB more of memory (perf_hooks' gc entries, while 1000 MiB were read in the guest).
 */
const GROWTH_PERCENT = 400;

export function collectLessOften(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}

/** Else what was compiled is thrown away after some collections of garbage; a stand-by waits for months. */
export function keepCompiledCode(): void {
  setFlagsFromString("--no-flush-bytecode");
}
