/** The recipes that this release ships, by the digests that were taken when it was built. */
import { readFileSync, realpathSync } from "node:fs";
import { join, relative } from "node:path";
import { RECIPES_DIRECTORY } from "./paths.js";
import { sha256 } from "./store.js";

/** By path below recipes/: the recipes and everything of ours that images are made of. */
function releaseDigests(): Readonly<Record<string, string>> {
  return JSON.parse(readFileSync(new URL("./release-recipes.json", import.meta.url), "utf8")) as Record<string, string>;
}

/** Whether a recipe is one of this release, and neither it nor anything beside it was altered since. */
export function isReleaseRecipe(path: string): boolean {
  const digests = releaseDigests();
  try {
    const name = relative(realpathSync(RECIPES_DIRECTORY), realpathSync(path));
    if (digests[name] === undefined) return false;
    return Object.entries(digests).every(([each, digest]) => sha256(readFileSync(join(RECIPES_DIRECTORY, each))) === digest);
  } catch {
    return false;
  }
}
