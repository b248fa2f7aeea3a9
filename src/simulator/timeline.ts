/** Simulated time: what happens when, and nothing else makes it go on. */
import { TaskQueue } from "./task-queue.js";

export class Timeline {
  readonly #tasks = new TaskQueue();
  nowMs = 0;

  at(atMs: number, run: () => void): void {
    this.#tasks.add(atMs, run);
  }

  after(delayMs: number, run: () => void): void {
    this.at(this.nowMs + delayMs, run);
  }

  /** Runs until `untilMs` or until `done`. Returns whether `done` came. */
  run(untilMs: number, done: () => boolean): boolean {
    for (;;) {
      if (done()) return true;
      const task = this.#tasks.first;
      if (task === undefined || task.atMs > untilMs) {
        this.nowMs = Math.max(this.nowMs, untilMs);
        return done();
      }
      this.#tasks.take();
      this.nowMs = Math.max(this.nowMs, task.atMs);
      task.run();
    }
  }
}
