/**
 * A mirror of the disk that is put aside as it is, in a directory within its own (which may be a disk of its own), and taken back. Nobody
 * has the mirror open meanwhile. Each of the functions may be called twice.
 */
import { existsSync, mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { MIRROR_FILES } from "./block-files.js";

const ASIDE = "former";
const MOVING = "former.new";
const BLOCK_BYTES = 512;

/** Afterwards the directory is that of a blank mirror. */
export function putAside(directory: string): void {
  const [aside, moving] = [join(directory, ASIDE), join(directory, MOVING)];
  if (isAside(directory)) return;
  mkdirSync(moving, { recursive: true, mode: 0o700 });
  for (const name of Object.values(MIRROR_FILES)) {
    if (existsSync(join(directory, name))) renameSync(join(directory, name), join(moving, name));
  }
  renameSync(moving, aside);
}

/** Whether all of a mirror was put aside there; also when it was taken back since. */
export function isAside(directory: string): boolean {
  return existsSync(join(directory, ASIDE));
}

/** What was put aside is the mirror again, and all others of `directories` are blank: it alone is the disk. */
export function takeBack(directory: string, directories: readonly string[]): void {
  const aside = join(directory, ASIDE);
  for (const name of Object.values(MIRROR_FILES)) {
    for (const other of directories) if (other !== directory) rmSync(join(other, name), { force: true });
    if (existsSync(join(aside, name))) renameSync(join(aside, name), join(directory, name));
  }
}

export function forgetFormer(directory: string): void {
  for (const name of [ASIDE, MOVING]) rmSync(join(directory, name), { recursive: true, force: true });
}

/** What a mirror takes on its disk: sparse files take less than their length. */
export function allocatedBytes(directory: string): number {
  let bytes = 0;
  for (const name of Object.values(MIRROR_FILES)) {
    const path = join(directory, name);
    if (existsSync(path)) bytes += statSync(path).blocks * BLOCK_BYTES;
  }
  return bytes;
}
