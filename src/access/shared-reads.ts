/**
 * Reads of the same thing at the same time share an answer: one is under way, and whoever asks meanwhile waits for the one after it, since an
 * answer must not be older than its question. So however many ask, a thing is read by one at a time.
 */
export class SharedReads<T> {
  readonly #running = new Map<string, Promise<T>>();
  readonly #next = new Map<string, Promise<T>>();

  /** Rejects as `read` does, for all who shared it. */
  ask(key: string, read: () => Promise<T>): Promise<T> {
    const next = this.#next.get(key);
    if (next !== undefined) return next;
    const running = this.#running.get(key);
    if (running === undefined) return this.#begin(key, read);
    const begin = (): Promise<T> => {
      this.#next.delete(key);
      return this.#begin(key, read);
    };
    const waiting = running.then(begin, begin);
    this.#next.set(key, waiting);
    return waiting;
  }

  /** Keys that are being read. */
  get size(): number {
    return this.#running.size;
  }

  #begin(key: string, read: () => Promise<T>): Promise<T> {
    const running = read().finally(() => this.#running.delete(key));
    this.#running.set(key, running);
    return running;
  }
}
