/** Engine rv64: what the rest of Steadfast may use. */
export { createRv64Machine, ENTROPY_BYTES, RV64_BEHAVIOUR } from "./rv64.js";
export type { Rv64Options } from "./rv64.js";
export { compileCore } from "./core.js";
export { stateName } from "./state-names.js";
export type { CoreModule } from "./core.js";
export { checkKernel, checkMemory, MIN_RAM_BYTES } from "./loader.js";
export { runElf } from "./bare-metal.js";
export type { ElfRun, ElfRunOptions } from "./bare-metal.js";
