/** What is to happen at which simulated time: a binary heap, first by time, then by the order of asking. */
import { assert } from "../foundation/assert.js";

/** A simulated server has some hundreds of messages under way; more means that something feeds itself. */
const MAX_TASKS = 1_000_000;

export interface Task {
  readonly atMs: number;
  readonly order: number;
  readonly run: () => void;
}

function isBefore(left: Task, right: Task): boolean {
  return left.atMs < right.atMs || (left.atMs === right.atMs && left.order < right.order);
}

export class TaskQueue {
  readonly #heap: Task[] = [];
  #order = 0;

  get first(): Task | undefined {
    return this.#heap[0];
  }

  add(atMs: number, run: () => void): void {
    assert(this.#heap.length < MAX_TASKS, "the simulation does not feed itself");
    const task = { atMs, order: this.#order++, run };
    let index = this.#heap.push(task) - 1;
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (!isBefore(task, this.#heap[parent] as Task)) break;
      this.#heap[index] = this.#heap[parent] as Task;
      index = parent;
    }
    this.#heap[index] = task;
  }

  /** Removes the first task. Only when there is one. */
  take(): Task {
    const first = this.#heap[0];
    const last = this.#heap.pop();
    assert(first !== undefined && last !== undefined, "a task to take");
    if (this.#heap.length > 0) this.#sink(last);
    return first;
  }

  #sink(task: Task): void {
    const heap = this.#heap;
    let index = 0;
    for (;;) {
      let child = 2 * index + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Task, heap[child] as Task)) child += 1;
      if (!isBefore(heap[child] as Task, task)) break;
      heap[index] = heap[child] as Task;
      index = child;
    }
    heap[index] = task;
  }
}
