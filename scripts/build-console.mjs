// Bundles the web console into dist/ui: one script, one style sheet, the terminal apart, all named by their contents and compressed, so
// that the front only hands them out.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, extname, join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const COMPRESSIBLE = [".js", ".css", ".html", ".svg"];

function writeCompressed(path, text) {
  writeFileSync(path, text);
  if (!COMPRESSIBLE.includes(extname(path))) return;
  const params = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  writeFileSync(`${path}.br`, brotliCompressSync(text, { params }));
  writeFileSync(`${path}.gz`, gzipSync(text, { level: 9 }));
}

/** The bundle's entry of a kind; there is one. */
function entryOf(outputs, extension) {
  const found = Object.keys(outputs).find((path) => extname(path) === extension && basename(path).startsWith("main-"));
  if (found === undefined) throw new Error(`the console's bundle has no ${extension}`);
  return basename(found);
}

export async function buildConsole(root) {
  const directory = join(root, "dist/ui");
  rmSync(directory, { recursive: true, force: true });
  const { metafile, outputFiles } = await build({
    absWorkingDir: root,
    entryPoints: ["src/ui/main.tsx"],
    outdir: directory,
    bundle: true,
    splitting: true,
    format: "esm",
    target: "es2022",
    minify: true,
    jsx: "automatic",
    jsxImportSource: "preact",
    entryNames: "[name]-[hash]",
    chunkNames: "[name]-[hash]",
    metafile: true,
    write: false,
    legalComments: "none",
  });
  mkdirSync(directory, { recursive: true });
  for (const { path, contents } of outputFiles) writeCompressed(path, contents);
  const icon = readFileSync(join(root, "src/ui/icon.svg"));
  const iconName = `icon-${createHash("sha256").update(icon).digest("hex").slice(0, 8)}.svg`;
  writeCompressed(join(directory, iconName), icon);
  const page = readFileSync(join(root, "src/ui/index.html"), "utf8")
    .replace("{{icon}}", iconName)
    .replace("{{style}}", entryOf(metafile.outputs, ".css"))
    .replace("{{script}}", entryOf(metafile.outputs, ".js"));
  writeCompressed(join(directory, "index.html"), page);
}
