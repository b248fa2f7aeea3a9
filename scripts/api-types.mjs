// Types of the control API for its client, made of the OpenAPI document. Says whether src/client/api-types.ts is what they are; `--write`
// writes it anew. Needs a build: the document is made of the schemas in the program.
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const target = join(root, "src/client/api-types.ts");
const { openApiDocument } = await import(join(root, "dist/api/openapi.js"));

const tool = join(root, "node_modules/openapi-typescript/bin/cli.js");
// The version is no part of the types.
const input = JSON.stringify(openApiDocument("0.0.0"));
const made = spawnSync(process.execPath, [tool], { input, encoding: "utf8" });
if (made.status !== 0) {
  console.error(made.stderr);
  process.exit(1);
}
const text = made.stdout;
if (process.argv.includes("--write")) writeFileSync(target, text);
else if (readFileSync(target, "utf8") !== text) {
  console.error("src/client/api-types.ts differs from the OpenAPI document: node scripts/api-types.mjs --write");
  process.exit(1);
}
