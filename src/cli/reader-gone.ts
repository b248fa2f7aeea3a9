/** What becomes of a command when nobody reads its standard output any more (`| head`). */

let cleanUp: (() => void) | null = null;
let isEnding = false;

/** `act` cleans up and ends the process, as after an interruption, in place of an end at once. Returns what takes that back. */
export function whenReaderGone(act: () => void): () => void {
  cleanUp = act;
  return () => {
    cleanUp = null;
  };
}

/** A reader that has seen enough is no failure. */
export function endWithoutReader({ code }: NodeJS.ErrnoException): void {
  // What is said during a clean-up is not read either.
  if (isEnding) return;
  isEnding = true;
  if (cleanUp === null) process.exit(code === "EPIPE" ? 0 : 1);
  else cleanUp();
}
