/** Files that are either whole or absent, and errors of the file system as sentences. */

import { createHash } from "node:crypto";
import {
  createReadStream,
  chmodSync,
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";

/** Runs file system work on a directory of ours and explains what an operator can mend. */
export function explaining<T>(directory: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw explainFileError(directory, error);
  }
}

export function explainFileError(directory: string, error: unknown): unknown {
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (code === "ENOSPC" || code === "EDQUOT") return new SteadfastError("DISK_FULL", { directory });
  if (code === "EACCES" || code === "EPERM" || code === "EROFS" || code === "ENOTDIR") {
    return new SteadfastError("CACHE_UNWRITABLE", { directory, detail: code });
  }
  return error;
}

/** Not with `recursive`: where a file system refuses new directories altogether (such as /proc), Node would try for ever. */
export function makeDirectory(directory: string): void {
  if (existsSync(directory)) {
    if (!statSync(directory).isDirectory()) throw new SteadfastError("CACHE_UNWRITABLE", { directory, detail: "it is not a directory" });
    return;
  }
  if (dirname(directory) !== directory) makeDirectory(dirname(directory));
  try {
    mkdirSync(directory, 0o755);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") return;
    if (code === "ENOENT") throw new SteadfastError("CACHE_UNWRITABLE", { directory, detail: "its file system takes no directories" });
    throw explainFileError(directory, error);
  }
}

export function makeTemporaryDirectory(parent: string): string {
  makeDirectory(parent);
  return explaining(parent, () => mkdtempSync(join(parent, "build-")));
}

/** SHA-256 of a file, in hex; with a pause after each piece (64 KiB), if reading it is not to be noticed. */
export async function hashFile(path: string, pauseMs = 0): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) {
    hash.update(chunk as Buffer);
    if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
  return hash.digest("hex");
}

/** Writes a file and waits until the disk has it. */
export function writeDurably(path: string, content: Uint8Array | string): void {
  explaining(dirname(path), () => {
    const bytes = typeof content === "string" ? Buffer.from(content) : content;
    const file = openSync(path, "w", 0o644);
    try {
      for (let offset = 0; offset < bytes.length;) offset += writeSync(file, bytes, offset);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}

/** Writes a file so that a reader sees the old or the new content, never a part. */
export function replaceDurably(path: string, content: Uint8Array | string): void {
  const temporary = `${path}.new`;
  writeDurably(temporary, content);
  explaining(dirname(path), () => renameSync(temporary, path));
}

/**
 * Makes a directory that is whole or absent: filled elsewhere, then moved to its place in one step. If an equal one is there already, that
 * one stays.
 */
export function publishDirectory(parent: string, place: string, fill: (directory: string) => void): void {
  const temporary = makeTemporaryDirectory(parent);
  try {
    fill(temporary);
    explaining(place, () => {
      // Temporary directories are private; what is finished may be read by every user of the host.
      chmodSync(temporary, 0o755);
      syncDirectory(temporary);
      makeDirectory(dirname(place));
      if (!existsSync(place)) renameSync(temporary, place);
      syncDirectory(dirname(place));
    });
  } finally {
    rmSync(temporary, { recursive: true, force: true });
  }
}

/** Removes what builds that died left behind. Only for the holder of the build lock. */
export function clearDirectory(directory: string): void {
  if (!existsSync(directory)) return;
  explaining(directory, () => {
    for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true, force: true });
  });
}

function syncDirectory(directory: string): void {
  const handle = openSync(directory, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}
