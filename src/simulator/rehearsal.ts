/**
 * A takeover in miniature, for an I/O module that is about to stand by: what the engine has never run it has still to compile, and a real
 * takeover pays for that while clients wait (measured: 10 to 12 of 45 ms). Used by modules/io.ts.
 */
import { putLoad } from "./scenario.js";
import { World } from "./world.js";

/** Any that works: the course is always the same. */
const SEED = 1;
const START_LIMIT_MS = 5000;
const LOAD_MS = 60;
const AFTER_MS = 60;
const DISK_BLOCKS = 8;

/** Returns the codes of what happened in it. Takes some hundred milliseconds of a processor the first time. */
export function rehearseTakeover(): readonly string[] {
  const world = new World({ seed: SEED, ioCount: 2, diskBlocks: DISK_BLOCKS });
  world.run(START_LIMIT_MS, () => world.redundancy === "DUPLEX");
  putLoad(world, world.nowMs + LOAD_MS + AFTER_MS);
  world.run(world.nowMs + LOAD_MS);
  world.restartIo();
  world.run(world.nowMs + AFTER_MS);
  return world.events.map(({ code }) => code);
}
