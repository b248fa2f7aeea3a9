/**
 * What an image was made of, kept beside it as `source.json`: enough to make the same image again, or another one that differs by a change.
 * It is not part of the digest; whoever builds on it makes the base again first and compares the bytes.
 */

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { AptPackage } from "./apt.js";
import type { GuestEntry } from "./cpio.js";
import type { GuestParts } from "./guest.js";
import { recipeSchema, type Recipe } from "./recipe.js";

/** A file, directory or link at its absolute path. */
export interface SourceFile {
  readonly path: string;
  readonly entry: Exclude<GuestEntry, { readonly kind: "device" }>;
}

/** The file system of an image before it is composed: nothing in here depends on the host or on this version's own guest files. */
export interface Composition {
  /** Its `files` are not used: `files` below are those, with their contents. */
  readonly recipe: Recipe;
  readonly files: readonly SourceFile[];
  /** Packages of which everything goes in, where the recipe includes only named paths. */
  readonly whole: readonly string[];
  readonly guest: GuestParts;
}

export interface ImageSource extends Composition {
  /** In the order in which they are unpacked. */
  readonly packages: readonly AptPackage[];
  readonly kernelPackages: readonly AptPackage[];
  /** What the hardened kernel was asked to be; absent for others. */
  readonly askedConfiguration?: string | undefined;
}

export const SOURCE_FILE = "source.json";
const FORMAT = 1;

const aptPackage = z.strictObject({
  name: z.string(),
  version: z.string(),
  architecture: z.string(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
  bytes: z.number(),
  isLocal: z.literal(true).optional(),
});
export const packageList = z.array(aptPackage);

const base64 = z.string().transform((text) => new Uint8Array(Buffer.from(text, "base64")));
const owner = z.number().int().optional();
const entry = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("file"), mode: z.number().int(), owner, data: base64 }),
  z.strictObject({ kind: z.literal("directory"), mode: z.number().int(), owner }),
  z.strictObject({ kind: z.literal("link"), target: z.string() }),
]);
const sourceSchema = z.strictObject({
  format: z.literal(FORMAT),
  recipe: recipeSchema,
  files: z.array(z.strictObject({ path: z.string(), entry })),
  whole: z.array(z.string()),
  guest: z.record(z.string(), base64),
  packages: packageList,
  kernelPackages: packageList,
  askedConfiguration: z.string().optional(),
});

export function encodeSource(source: ImageSource): string {
  const text = (data: Uint8Array): string => Buffer.from(data).toString("base64");
  const files = source.files.map(({ path, entry }) => ({
    path,
    entry: entry.kind === "file" ? { ...entry, data: text(entry.data) } : entry,
  }));
  const guest = Object.fromEntries([...source.guest].map(([name, data]) => [name, text(data)]));
  return `${JSON.stringify({ format: FORMAT, ...source, files, guest }, null, 1)}\n`;
}

/** Undefined where there is none, or none that this version understands. */
export function readSource(directory: string): ImageSource | undefined {
  const path = join(directory, SOURCE_FILE);
  if (!existsSync(path)) return undefined;
  try {
    const parsed = sourceSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
    if (!parsed.success) return undefined;
    const { format: _, files, guest, ...rest } = parsed.data;
    return { ...rest, files: files.map(withoutUndefined), guest: new Map(Object.entries(guest)) } as ImageSource;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function withoutUndefined(file: z.infer<typeof sourceSchema>["files"][number]): SourceFile {
  const { entry } = file;
  if (entry.kind === "link") return { path: file.path, entry };
  const { owner, ...rest } = entry;
  return { path: file.path, entry: owner === undefined ? rest : { ...rest, owner } };
}
