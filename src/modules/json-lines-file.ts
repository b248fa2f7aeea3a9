/**
 * A log file of JSON lines that only grows until it is full; then it becomes the newest of its older files and begins anew, so that all
 * together never take more than `filesMax` times the limit. A full disk must not stop a fault-tolerant server: writing goes on when it can.
 */
import { appendFileSync, readFileSync, renameSync, statSync, truncateSync } from "node:fs";

export interface LinesLimits {
  readonly fileBytesMax: number;
  /** The one that is written, and older ones: PATH.1 is the newest of them. */
  readonly filesMax: number;
}

/** The values of a log file and its older files, oldest first; lines that a crash cut in half are skipped. */
export function readLines(path: string, { filesMax }: LinesLimits): unknown[] {
  const values: unknown[] = [];
  for (let number = filesMax - 1; number >= 0; number -= 1) values.push(...parseLines(textOf(olderPath(path, number))));
  return values;
}

/** Lines that are no JSON are skipped. */
export function parseLines(text: string): unknown[] {
  return text.split("\n").flatMap((line): unknown[] => {
    if (line === "") return [];
    try {
      return [JSON.parse(line) as unknown];
    } catch {
      return [];
    }
  });
}

function olderPath(path: string, number: number): string {
  return number === 0 ? path : `${path}.${number}`;
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

export class JsonLinesFile {
  readonly #path: string;
  readonly #limits: LinesLimits;
  #bytes: number;
  #failed = false;

  constructor(path: string, limits: LinesLimits) {
    this.#path = path;
    this.#limits = limits;
    cutHalfLine(path);
    this.#bytes = sizeOf(path);
  }

  append(value: unknown): void {
    const line = `${JSON.stringify(value)}\n`;
    const bytes = Buffer.byteLength(line);
    try {
      if (this.#bytes + bytes > this.#limits.fileBytesMax) this.#turnOver();
      appendFileSync(this.#path, line, { mode: 0o600 });
      this.#bytes += bytes;
      this.#failed = false;
    } catch (error) {
      if (!this.#failed) process.stderr.write(`the log ${this.#path} cannot be written: ${(error as Error).message}\n`);
      this.#failed = true;
    }
  }

  #turnOver(): void {
    for (let number = this.#limits.filesMax - 2; number >= 0; number -= 1) {
      const from = olderPath(this.#path, number);
      if (sizeOf(from) > 0) renameSync(from, olderPath(this.#path, number + 1));
    }
    this.#bytes = 0;
  }
}

/** Whoever wrote before may have died within a line; the next one must not be joined to it. */
function cutHalfLine(path: string): void {
  try {
    const bytes = readFileSync(path);
    const end = bytes.lastIndexOf(0x0a) + 1;
    if (end < bytes.length) truncateSync(path, end);
  } catch {
    // There is none yet, or it cannot be written, which the next append says.
  }
}

function sizeOf(path: string): number {
  try {
    return statSync(path).size;
  } catch {
    return 0;
  }
}
