/**
 * The web console's files, all in memory from the start: a request is looked up by its whole path in a table, so that there is no way to
 * any other file. What the build has compressed is served so; the rest is compressed here, once.
 */
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { extname, join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { brotliCompress, constants, gzip } from "node:zlib";
import { SteadfastError } from "../foundation/errors.js";
import { CONSOLE_FILES_BYTES_MAX, CONSOLE_FILES_MAX } from "./limits.js";

export const CONSOLE_PATH = "/ui/";
const CONSOLE_DIRECTORY = fileURLToPath(new URL("../ui/", import.meta.url));
const INDEX = "index.html";
const ETAG_CHARACTERS = 22;
/** Done at every start of a front, at low priority: enough, not the most. */
const BROTLI_QUALITY = 6;
const YEAR_SECONDS = 31_536_000;

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json",
  ".webmanifest": "application/manifest+json",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".ico": "image/x-icon",
  ".woff2": "font/woff2",
  ".txt": "text/plain; charset=utf-8",
};
const INCOMPRESSIBLE = [".png", ".ico", ".woff2"];
/** Made by the build for some of them. */
const COMPRESSED = [".br", ".gz"];
/** The build names such a file by its contents: `app-3f9aK2bd.js`. */
const HASHED_NAME = /[-.][A-Za-z0-9_-]{8,}\.[a-z0-9]+$/;

interface ConsoleFile {
  readonly contentType: string;
  readonly etag: string;
  readonly isForever: boolean;
  readonly bodies: Readonly<{ identity: Buffer; br?: Buffer; gzip?: Buffer }>;
}

export class ConsoleFiles {
  readonly #files = new Map<string, ConsoleFile>();

  /** An installation without a console has none. */
  async load(directory = CONSOLE_DIRECTORY): Promise<void> {
    if (!existsSync(directory)) return;
    const paths = readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !COMPRESSED.includes(extname(entry.name)))
      .map((entry) => join(entry.parentPath, entry.name))
      .slice(0, CONSOLE_FILES_MAX);
    let bytes = 0;
    for (const path of paths) {
      const identity = readFileSync(path);
      bytes += identity.length;
      if (bytes > CONSOLE_FILES_BYTES_MAX) throw new Error(`the files of ${directory} are larger than ${CONSOLE_FILES_BYTES_MAX} bytes`);
      const name = relative(directory, path).split(sep).join("/");
      this.#files.set(CONSOLE_PATH + name, await consoleFile(path, identity));
    }
    const index = this.#files.get(CONSOLE_PATH + INDEX);
    if (index !== undefined) this.#files.set(CONSOLE_PATH, index);
  }

  /** @throws SteadfastError CONSOLE_MISSING; false: there is no such file */
  serve(path: string, request: IncomingMessage, response: ServerResponse): boolean {
    if (this.#files.size === 0) throw new SteadfastError("CONSOLE_MISSING");
    const file = this.#files.get(path);
    if (file === undefined) return false;
    response.setHeader("etag", file.etag);
    response.setHeader("vary", "accept-encoding");
    response.setHeader("cache-control", file.isForever ? `public, max-age=${YEAR_SECONDS}, immutable` : "no-cache");
    if (request.headers["if-none-match"] === file.etag) {
      response.writeHead(304);
      response.end();
      return true;
    }
    const { encoding, body } = chosenBody(file, request.headers["accept-encoding"]);
    if (encoding !== "identity") response.setHeader("content-encoding", encoding);
    response.writeHead(200, { "content-type": file.contentType, "content-length": body.length });
    response.end(request.method === "HEAD" ? undefined : body);
    return true;
  }
}

async function consoleFile(path: string, identity: Buffer): Promise<ConsoleFile> {
  const etag = `"${createHash("sha256").update(identity).digest("base64url").slice(0, ETAG_CHARACTERS)}"`;
  const contentType = CONTENT_TYPES[extname(path)] ?? "application/octet-stream";
  const bodies = INCOMPRESSIBLE.includes(extname(path)) ? { identity } : { identity, ...(await compressed(path, identity)) };
  return { contentType, etag, isForever: HASHED_NAME.test(path), bodies };
}

async function compressed(path: string, identity: Buffer): Promise<{ br: Buffer; gzip: Buffer }> {
  const params = { [constants.BROTLI_PARAM_QUALITY]: BROTLI_QUALITY };
  const br = existsSync(`${path}.br`) ? readFileSync(`${path}.br`) : await promisify(brotliCompress)(identity, { params });
  return { br, gzip: existsSync(`${path}.gz`) ? readFileSync(`${path}.gz`) : await promisify(gzip)(identity) };
}

function chosenBody({ bodies }: ConsoleFile, accepted: string | string[] | undefined): { encoding: string; body: Buffer } {
  const words = String(accepted ?? "")
    .split(",")
    .filter((word) => !/;\s*q=0(\.0*)?\s*$/.test(word))
    .map((word) => (word.split(";")[0] ?? "").trim().toLowerCase());
  for (const encoding of ["br", "gzip"] as const) {
    const body = bodies[encoding];
    if (body !== undefined && words.includes(encoding)) return { encoding, body };
  }
  return { encoding: "identity", body: bodies.identity };
}
