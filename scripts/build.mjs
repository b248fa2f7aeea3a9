// Builds everything: the AssemblyScript core to WebAssembly, then the TypeScript layers. Run by `npm ci` (prepare), so it must
// need nothing but the development dependencies.
import { spawnSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
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
if (!process.argv.includes("--core")) {
  run("typescript/bin/tsc", ["-b", "tsconfig.node.json", "tsconfig.ui.json"]);
  const { buildConsole } = await import("./build-console.mjs");
  await buildConsole(root);
}
