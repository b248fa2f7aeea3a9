/** Opens the mirror that an I/O module holds: at once, or as soon as that can be done. */
import { SteadfastError } from "../foundation/errors.js";
import { BlockStore } from "./block-store.js";

/** A predecessor that was killed lets go of the mirror as soon as the kernel has cleared it away. */
const BUSY_RETRY_MS = 20;
/** A disk that cannot be used now may be so later; until then the module serves without it, and the others hold the guest's disk. */
const UNUSABLE_RETRY_MS = 2000;

export function openMirror(directory: string, opened: (store: BlockStore) => void): void {
  let lastTold = "";
  const attempt = (): void => {
    BlockStore.open(directory).then(opened, (error: unknown) => {
      if (!(error instanceof SteadfastError)) throw error;
      const isBusy = error.code === "MIRROR_BUSY";
      if (!isBusy && error.message !== lastTold) process.stderr.write(`the mirror of the disk cannot be used: ${error.message}\n`);
      if (!isBusy) lastTold = error.message;
      setTimeout(attempt, isBusy ? BUSY_RETRY_MS : UNUSABLE_RETRY_MS);
    });
  };
  attempt();
}
