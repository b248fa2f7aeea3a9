// Builds everything: the AssemblyScript core to WebAssembly, then the TypeScript layers. Run by `npm ci` (prepare), so it must
// need nothing but the development dependencies.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function run(tool, args) {
  const result = spawnSync(process.execPath, [join(root, "node_modules", tool), ...args], { cwd: root, stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

mkdirSync(join(root, "dist/machine/engines/rv64"), { recursive: true });
const core = "src/machine/engines/rv64/assembly";
run("assemblyscript/bin/asc.js", [
  `${core}/index.ts`,
  "--config",
  `${core}/asconfig.json`,
  "--outFile",
  "dist/machine/engines/rv64/core.wasm",
]);
if (!process.argv.includes("--core")) run("typescript/bin/tsc", ["-b", "tsconfig.node.json"]);

// What this release ships to build images from: images made of exactly this get a base certificate (src/image/release.ts).
const recipes = readdirSync(join(root, "recipes"), { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(join(root, "recipes"), join(entry.parentPath ?? entry.path, entry.name)))
  .sort();
const digests = recipes.map((name) => [
  name,
  createHash("sha256")
    .update(readFileSync(join(root, "recipes", name)))
    .digest("hex"),
]);
mkdirSync(join(root, "dist/image"), { recursive: true });
writeFileSync(join(root, "dist/image/release-recipes.json"), `${JSON.stringify(Object.fromEntries(digests), null, 2)}\n`);
