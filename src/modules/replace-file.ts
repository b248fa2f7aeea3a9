/** Files that nobody may see half written, and nobody but their owner may read. Also for the fronts. */
import { renameSync, writeFileSync } from "node:fs";

/** In one step: a reader sees the old content or the new one. Not synced: what has to outlive a loss of power needs more. */
export function replaceFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}
