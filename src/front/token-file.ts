/**
 * Tokens: 256 random bits each, of which only the SHA-256 is kept, in a file of the server's state directory that only its owner may
 * read. The command line writes it; fronts read it again when it changed.
 */
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdirSync, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { z } from "zod";
import { ROLES, type Role } from "../access/roles.js";
import { SteadfastError } from "../foundation/errors.js";
import { replaceFile } from "../modules/replace-file.js";

const TOKEN_BYTES = 32;
/** So that programs that look for leaked secrets find one. */
const TOKEN_PREFIX = "steadfast_";
const TOKENS_MAX = 1000;
const NAME_PATTERN = /^[A-Za-z0-9._-]{1,64}$/;
const DIGEST_BYTES = 32;

const recordSchema = z.strictObject({
  name: z.string().regex(NAME_PATTERN),
  role: z.enum(ROLES),
  /** SHA-256, hex. */
  digest: z.string().regex(/^[0-9a-f]{64}$/),
  createdAtMs: z.number(),
  /** Null: never. */
  expiresAtMs: z.nullable(z.number()),
});
const fileSchema = z.strictObject({ tokens: z.array(recordSchema).max(TOKENS_MAX) });

export type TokenRecord = z.infer<typeof recordSchema>;

function digestOf(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}

/** @throws SteadfastError TOKEN_FILE; no file: no tokens */
export function readTokens(path: string): TokenRecord[] {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw new SteadfastError("TOKEN_FILE", { path, why: (error as Error).message });
  }
  try {
    return fileSchema.parse(JSON.parse(text)).tokens;
  } catch {
    throw new SteadfastError("TOKEN_FILE", { path, why: "it is not what `steadfast tokens` writes" });
  }
}

function writeTokens(path: string, tokens: readonly TokenRecord[]): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
    replaceFile(path, `${JSON.stringify({ tokens }, null, 2)}\n`);
  } catch (error) {
    throw new SteadfastError("TOKEN_FILE", { path, why: (error as Error).message });
  }
}

/** @returns the token, which nobody can tell again */
export function createToken(path: string, name: string, role: Role, expiresAtMs: number | null, nowMs: number): string {
  if (!NAME_PATTERN.test(name)) throw new SteadfastError("TOKEN_NAME", { name });
  const tokens = readTokens(path);
  if (tokens.some((each) => each.name === name)) throw new SteadfastError("TOKEN_EXISTS", { name });
  if (tokens.length >= TOKENS_MAX) throw new SteadfastError("TOKEN_MANY", { limit: TOKENS_MAX });
  const token = TOKEN_PREFIX + randomBytes(TOKEN_BYTES).toString("base64url");
  writeTokens(path, [...tokens, { name, role, digest: digestOf(token).toString("hex"), createdAtMs: nowMs, expiresAtMs }]);
  return token;
}

export function revokeToken(path: string, name: string): void {
  const tokens = readTokens(path);
  if (!tokens.some((each) => each.name === name)) throw new SteadfastError("TOKEN_UNKNOWN", { name });
  writeTokens(
    path,
    tokens.filter((each) => each.name !== name),
  );
}

/** Every record is compared, each in constant time. */
export function findToken(tokens: readonly TokenRecord[], token: string, nowMs: number): TokenRecord | null {
  const digest = digestOf(token);
  let found: TokenRecord | null = null;
  for (const record of tokens) {
    const wanted = Buffer.from(record.digest, "hex");
    if (wanted.length === DIGEST_BYTES && timingSafeEqual(wanted, digest)) found = record;
  }
  return found !== null && isInForce(found, nowMs) ? found : null;
}

export function isInForce({ expiresAtMs }: TokenRecord, nowMs: number): boolean {
  return expiresAtMs === null || nowMs < expiresAtMs;
}

/** The tokens in a file, read again when it was replaced. */
export class TokenFile {
  readonly #path: string;
  #tokens: TokenRecord[] = [];
  #version = "unread";

  constructor(path: string) {
    this.#path = path;
  }

  find(token: string, nowMs: number): TokenRecord | null {
    this.#refresh();
    return findToken(this.#tokens, token, nowMs);
  }

  /** Whether one that was found before still holds. */
  holds({ digest }: TokenRecord, nowMs: number): boolean {
    this.#refresh();
    const record = this.#tokens.find((each) => each.digest === digest);
    return record !== undefined && isInForce(record, nowMs);
  }

  /** A file that cannot be read lets nobody in. */
  #refresh(): void {
    const version = versionOf(this.#path);
    if (version === this.#version) return;
    this.#version = version;
    try {
      this.#tokens = readTokens(this.#path);
    } catch (error) {
      this.#tokens = [];
      process.stderr.write(`${(error as Error).message}\n`);
    }
  }
}

function versionOf(path: string): string {
  try {
    const { ino, mtimeMs, size } = statSync(path);
    return `${ino} ${mtimeMs} ${size}`;
  } catch {
    return "absent";
  }
}
