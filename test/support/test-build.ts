/** Copies of the product with faults planted into them, to see whether what should find such a fault does. */
import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

export interface PlantedFault {
  /** In dist. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Its root; the caller removes `folder`. */
export function makeTestBuild(folder: string, faults: readonly PlantedFault[]): string {
  const root = mkdtempSync(join(folder, "build-"));
  for (const name of ["bin", "dist", "package.json", "recipes"]) cpSync(join(ROOT, name), join(root, name), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(root, "node_modules"));
  for (const { file, find, replace } of faults) {
    const path = join(root, "dist", file);
    const text = readFileSync(path, "utf8");
    assert.equal(text.split(find).length, 2, `${find} is in ${file} once`);
    writeFileSync(
      path,
      text.replace(find, () => replace),
    );
  }
  return root;
}
