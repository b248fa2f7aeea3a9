/**
 * One build at a time per cache directory. The lock is the kernel's own (flock): it ends with the process that holds it, however that
 * ends, so there are no stale locks to judge.
 */

import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import koffi from "koffi";
import { explaining, makeDirectory } from "./files.js";
import { SteadfastError } from "../foundation/errors.js";

const LOCK_EXCLUSIVE = 2;
const LOCK_NO_WAIT = 4;
const RETRY_INTERVAL_MS = 250;
/** Longer than any build takes; a build that holds the lock for longer hangs, and the operator should know. */
const WAIT_LIMIT_MS = 45 * 60 * 1000;

export interface BuildLock {
  release(): void;
}

let flockFunction: ((file: number, operation: number) => number) | undefined;

function flock(file: number, operation: number): number {
  flockFunction ??= koffi.load("libc.so.6").func("int flock(int fd, int operation)") as (file: number, operation: number) => number;
  return flockFunction(file, operation);
}

/** Takes the lock of an open file, unless another process has it. It ends when the file is closed. */
export function tryLock(file: number): boolean {
  return flock(file, LOCK_EXCLUSIVE | LOCK_NO_WAIT) === 0;
}

/** Waits while another build holds the lock; `onWait` is told once which process that is. */
export async function takeLock(
  path: string,
  onWait: (holder: string) => void = () => undefined,
  signal?: AbortSignal,
  waitLimitMs: number = WAIT_LIMIT_MS,
): Promise<BuildLock> {
  makeDirectory(dirname(path));
  const file = explaining(dirname(path), () => openSync(path, "a+", 0o644));
  const deadline = performance.now() + waitLimitMs;
  let told = false;
  while (!tryLock(file)) {
    const holder = readFileSync(path, "utf8").trim();
    if (!told) onWait(holder);
    told = true;
    if (performance.now() >= deadline || signal?.aborted === true) {
      closeSync(file);
      throw signal?.aborted === true ? new SteadfastError("IMAGE_INTERRUPTED") : new SteadfastError("IMAGE_BUSY", { holder });
    }
    await sleep(RETRY_INTERVAL_MS);
  }
  ftruncateSync(file, 0);
  explaining(dirname(path), () => writeSync(file, String(process.pid)));
  return { release: () => closeSync(file) };
}
