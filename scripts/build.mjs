// Builds everything: the AssemblyScript core to WebAssembly, then the TypeScript layers. Run by `npm ci` (prepare), so it must
// need nothing but the development dependencies.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));

function run(tool, args) {
  const result = spawnSync(process.execPath, [join(root, "node_modules", tool), ...args], { cwd: root, stdio: "inherit" });
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const core = "src/machine/engines/rv64/assembly";
const output = "dist/machine/engines/rv64/core.wasm";
const stamp = join(root, `${output}.made-from`);

/** Of everything that the core is made from, the compiler and what it last made included. */
function digestOfCore() {
  const hash = createHash("sha256");
  const sources = readdirSync(join(root, core))
    .sort()
    .map((name) => `${core}/${name}`);
  for (const file of [...sources, "node_modules/assemblyscript/package.json", output]) {
    const bytes = readFileSync(join(root, file));
    hash.update(`${file} ${bytes.length}\n`).update(bytes);
  }
  return hash.digest("hex");
}

/** The compiler of the core has no memory of its own, and takes ten seconds: what is there already is not made again. */
function buildCore() {
  const isThere = existsSync(join(root, output)) && existsSync(stamp);
  if (isThere && readFileSync(stamp, "utf8") === digestOfCore()) return;
  mkdirSync(dirname(join(root, output)), { recursive: true });
  run("assemblyscript/bin/asc.js", [`${core}/index.ts`, "--config", `${core}/asconfig.json`, "--outFile", output]);
  writeFileSync(stamp, digestOfCore());
}

buildCore();
if (!process.argv.includes("--core")) {
  run("typescript/bin/tsc", ["-b", "tsconfig.node.json", "tsconfig.ui.json"]);
  const { buildConsole } = await import("./build-console.mjs");
  await buildConsole(root);
}

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
