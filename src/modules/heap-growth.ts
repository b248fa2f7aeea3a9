/** How far the heap of a CPU or I/O module grows before V8 collects it. */
import { setFlagsFromString } from "node:v8";

/**
 * The live heap of a module is small (some 10 MiB), and V8 collects when it has grown by 8 MiB, which counts buffers too: at 100 MiB/s from
 * the guest's disk that was 12 full collections a second in every module, and a sixth of two processors. With this it waits for five times the
 * live heap: a third of the collections, for some 20 MiB more of memory (measured by reading 1000 MiB in the guest; V8 reads the flag at
 * every collection, in Node 20 and 24).
 */
const GROWTH_PERCENT = 400;

export function collectLessOften(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`);
}
