/**
 * Sees that a process on this host ends before its connections close. The kernel takes a killed process' memory apart first, 0.2 ms for each
 * MiB that it used, and closes its sockets only then; what waits for it has waited for nothing. A thread that is ending has no memory of its
 * own any more, which proc(5) shows at once: all of its statm is zero. It will run no instruction of its program again.
 */
import { closeSync, openSync, readSync } from "node:fs";

const LOOK_EVERY_MS = 4;
/** After the last sign that somebody would notice a gap; an idle server is not kept busy. */
const CARE_MS = 1000;
const STATM_BYTES = 16;
const NO_MEMORY = "0 ";

interface Watched {
  readonly statm: number;
  readonly onEnding: () => void;
}

export class EndingWatch {
  readonly #watched = new Set<Watched>();
  readonly #bytes = Buffer.alloc(STATM_BYTES);
  #careUntilMs = 0;
  #timer: NodeJS.Timeout | null = null;

  /**
   * `onEnding` is called at most once, unless the returned function was called before. A process that cannot be seen, on another host say, is
   * not watched: its connections tell.
   */
  watch(pid: number, onEnding: () => void): () => void {
    const statm = openStatm(pid);
    if (statm === null) return () => undefined;
    const watched = { statm, onEnding };
    // What has no memory from the start is not the process that said hello, but a thread of the kernel with its number.
    if (this.#isEnding(statm)) {
      closeSync(statm);
      return () => undefined;
    }
    this.#watched.add(watched);
    return () => this.#forget(watched);
  }

  /** From now on somebody would notice. */
  care(): void {
    this.#careUntilMs = performance.now() + CARE_MS;
    this.#timer ??= setTimeout(() => this.#look(), LOOK_EVERY_MS);
  }

  #look(): void {
    for (const watched of [...this.#watched]) {
      if (!this.#watched.has(watched) || !this.#isEnding(watched.statm)) continue;
      this.#forget(watched);
      watched.onEnding();
    }
    this.#timer = performance.now() < this.#careUntilMs ? setTimeout(() => this.#look(), LOOK_EVERY_MS) : null;
  }

  #forget(watched: Watched): void {
    if (this.#watched.delete(watched)) closeSync(watched.statm);
  }

  #isEnding(statm: number): boolean {
    try {
      const length = readSync(statm, this.#bytes, 0, STATM_BYTES, 0);
      return this.#bytes.toString("latin1", 0, length).startsWith(NO_MEMORY);
    } catch {
      // ESRCH: it has ended altogether.
      return true;
    }
  }
}

function openStatm(pid: number): number | null {
  try {
    return openSync(`/proc/${pid}/statm`, "r");
  } catch {
    return null;
  }
}
