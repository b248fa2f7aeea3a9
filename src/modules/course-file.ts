/** Ticks and results on their way into a file, for whoever makes a recording of them. */
import { createWriteStream, writeFileSync, type WriteStream } from "node:fs";
import type { CourseStep } from "../lockstep/miscompare-report.js";
import { encodeMessage } from "../wire/codec.js";

/** A recording larger than this ends. */
const COURSE_BYTES_MAX = 512 * 1024 * 1024;
/** Or one that comes faster than the disk takes it. */
const WAITING_BYTES_MAX = 64 * 1024 * 1024;

function framesOf({ tick, truth }: CourseStep): Uint8Array[] {
  return [encodeMessage(tick), ...(truth === null ? [] : [encodeMessage({ ...truth, outputs: null })])];
}

/** All at once: a course of a few seconds. */
export function writeCourse(path: string, course: readonly CourseStep[]): void {
  writeFileSync(path, Buffer.concat(course.flatMap(framesOf)), { mode: 0o600 });
}

export class CourseFile {
  readonly path: string;
  readonly #stream: WriteStream;
  #bytes = 0;
  #error: string | null = null;

  constructor(path: string) {
    this.path = path;
    this.#stream = createWriteStream(path, { mode: 0o600 });
    this.#stream.on("error", (error) => (this.#error = error.message));
  }

  /** False: it must end now. */
  add(step: CourseStep): boolean {
    for (const frame of framesOf(step)) {
      this.#stream.write(frame);
      this.#bytes += frame.length;
    }
    return this.#error === null && this.#bytes < COURSE_BYTES_MAX && this.#stream.writableLength < WAITING_BYTES_MAX;
  }

  /** `done` hears what went wrong, or null, when everything is written. */
  end(done: (why: string | null) => void): void {
    this.#stream.end(() => done(this.#error));
    this.#stream.on("error", () => done(this.#error));
  }
}
