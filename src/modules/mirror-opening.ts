/** Opens the mirror that an I/O module holds. */
import { SteadfastError } from "../foundation/errors.js";
import { BlockStore } from "./block-store.js";

/** A predecessor that was killed lets go of the mirror as soon as the kernel has cleared it away. */
const BUSY_LIMIT_MS = 5000;
const BUSY_POLL_MS = 20;

/** Null, and said in the log: the mirror cannot be used. The module serves without it, and the others hold the disk. */
export async function openMirror(directory: string): Promise<BlockStore | null> {
  const giveUpAt = performance.now() + BUSY_LIMIT_MS;
  for (;;) {
    try {
      return await BlockStore.open(directory);
    } catch (error) {
      if (!(error instanceof SteadfastError)) throw error;
      if (error.code !== "MIRROR_BUSY" || performance.now() > giveUpAt) {
        process.stderr.write(`the mirror of the disk cannot be used: ${error.message}\n`);
        return null;
      }
    }
    await new Promise((resolve) => setTimeout(resolve, BUSY_POLL_MS));
  }
}
