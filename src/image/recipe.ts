/** A recipe describes a guest image: packages, files, services, kernel. YAML, checked strictly; an error names file, field and mend. */

import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { parseDocument } from "yaml";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";

export const MEMORY_MIN_MIB = 64;
export const MEMORY_MAX_MIB = 3072;
/** A recipe is a page of text; its inline files included it stays far below this. */
const RECIPE_BYTES_LIMIT = 4 * 1024 * 1024;

export const absolutePath = z
  .string()
  .regex(/^(\/[^/\0]+)+$/, "must be an absolute path without a trailing slash, such as /usr/bin/redis-server")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not contain . or ..");
export const oneWord = z.string().regex(/^[a-z0-9][a-z0-9+._-]*$/, "must be one word of small letters, digits and + . _ -");
export const fileMode = z.string().regex(/^[0-7]{3,4}$/, 'must be an octal mode in quotes, such as "0644"');
export const userId = z.number().int().min(0).max(65535);

const fileSchema = z
  .strictObject({
    path: absolutePath,
    mode: fileMode.optional(),
    owner: userId.optional(),
    /** Exactly one of these four says what the path is. */
    content: z.string().optional(),
    source: z.string().min(1).optional(),
    link: z.string().min(1).optional(),
    directory: z.literal(true).optional(),
  })
  .refine((file) => [file.content, file.source, file.link, file.directory].filter((value) => value !== undefined).length === 1, {
    message: "needs exactly one of content, source, link or directory",
  });

export const serviceSchema = z.strictObject({
  name: oneWord,
  command: z.string().min(1),
  user: oneWord.optional(),
  directory: absolutePath.optional(),
  /** Shell words run before the command, each time. */
  prepare: z.string().optional(),
  restart: z.enum(["always", "never"]).default("always"),
  /** Files and directories that it reads while it starts: a change installed there has it reloaded or, if it has no `reload`, restarted. */
  reads: z.array(absolutePath).default([]),
  /**
   * A shell command that has the running service take its changed files without losing a connection. It sees `pid` (of the service) and
   * `before` (a directory with what the files were, under their paths), and fails if it cannot.
   */
  reload: z.string().min(1).optional(),
  /** TCP ports that listen when the service is up; the guest says "ready" when all do. */
  ports: z.array(z.number().int().min(1).max(65535)).default([]),
});

export const commandLine = z
  .string()
  .max(1024)
  .regex(/^[\x20-\x7e]*$/, "must be one line of plain characters");
export const memoryMiB = z
  .number()
  .int("must be a whole number of MiB")
  .min(MEMORY_MIN_MIB, `must be ${MEMORY_MIN_MIB} MiB or more`)
  .max(MEMORY_MAX_MIB, `must be ${MEMORY_MAX_MIB} MiB or less`);

/** An account without a password, for services to run as. */
export const userSchema = z.strictObject({ name: oneWord, id: userId, home: absolutePath.default("/nonexistent") });
export const moduleName = z.string().regex(/^[A-Za-z0-9_-]+$/, "must be a module name without .ko");

export const recipeSchema = z.strictObject({
  name: oneWord,
  packages: z.array(oneWord).default([]),
  include: z.array(absolutePath).optional(),
  exclude: z.array(absolutePath).default([]),
  files: z.array(fileSchema).default([]),
  users: z.array(userSchema).default([]),
  kernel: z
    .union([z.enum(["stock", "hardened"]), z.strictObject({ path: z.string().min(1) })], "must be stock, hardened or { path: … }")
    .default("stock"),
  modules: z.array(moduleName).default([]),
  /** Loaded only on a machine with a disk. */
  diskModules: z.array(moduleName).default([]),
  commandLine: commandLine.default("console=ttyS0"),
  memoryMiB: memoryMiB.default(256),
  services: z.array(serviceSchema).default([]),
});

export type Recipe = z.infer<typeof recipeSchema>;
export type RecipeService = Recipe["services"][number];
export type RecipeFile = Recipe["files"][number];

export function loadRecipe(path: string): Recipe {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const detail = (error as NodeJS.ErrnoException).code === "ENOENT" ? "there is no such file" : String((error as Error).message);
    throw new SteadfastError("RECIPE_UNREADABLE", { file: path, detail });
  }
  return parseRecipe(text, path);
}

export function parseRecipe(text: string, file: string): Recipe {
  const wrong = (where: string, problem: string) => new SteadfastError("RECIPE_WRONG", { file, where, problem });
  if (Buffer.byteLength(text) > RECIPE_BYTES_LIMIT) throw wrong("the whole file", `is larger than ${RECIPE_BYTES_LIMIT} bytes`);
  const recipe = parseYaml(text, recipeSchema, wrong);
  const duplicate = firstDuplicate(recipe.services.map((service) => service.name));
  if (duplicate !== undefined) throw wrong("services", `names ${duplicate} twice; give each service its own name`);
  const twice = firstDuplicate(recipe.files.map((entry) => entry.path));
  if (twice !== undefined) throw wrong("files", `names ${twice} twice; keep one of them`);
  return withSourcesResolved(recipe, dirname(resolve(file)));
}

/** A YAML text by its schema; `wrong` makes the error of where (field and line) and what. Also for the changes of the certification room. */
export function parseYaml<T>(text: string, schema: z.ZodType<T>, wrong: (where: string, problem: string) => SteadfastError): T {
  const document = parseDocument(text, { prettyErrors: false });
  const syntax = document.errors[0];
  if (syntax !== undefined) throw wrong(`line ${lineOf(text, syntax.pos[0])}`, `is not YAML: ${firstLine(syntax.message)}`);
  const value: unknown = toPlain(document, wrong);
  const result = schema.safeParse(value);
  if (!result.success) {
    const issue = result.error.issues[0];
    const path = (issue?.path ?? []) as (string | number)[];
    throw wrong(describeWhere(document, text, path, issue), describeProblem(issue));
  }
  return result.data;
}

function toPlain(document: ReturnType<typeof parseDocument>, wrong: (where: string, problem: string) => SteadfastError): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw wrong("the whole file", `cannot be read: ${firstLine((error as Error).message)}`);
  }
}

function describeWhere(
  document: ReturnType<typeof parseDocument>,
  text: string,
  path: readonly (string | number)[],
  issue: z.core.$ZodIssue | undefined,
): string {
  const unknownKey = issue?.code === "unrecognized_keys" ? issue.keys[0] : undefined;
  const full = unknownKey === undefined ? path : [...path, unknownKey];
  const field = full.reduce<string>(
    (sum, part) => (typeof part === "number" ? `${sum}[${part}]` : sum === "" ? part : `${sum}.${part}`),
    "",
  );
  // A missing field has no place of its own: the nearest node above it does.
  for (let depth = full.length; depth >= 0; depth--) {
    const node = depth === 0 ? document.contents : document.getIn(full.slice(0, depth), true);
    const range = (node as { range?: readonly [number, number, number] | null } | undefined)?.range;
    if (range !== undefined && range !== null)
      return field === "" ? `line ${lineOf(text, range[0])}` : `field ${field} (line ${lineOf(text, range[0])})`;
  }
  return field === "" ? "the whole file" : `field ${field}`;
}

/** The field of a problem, as in `services.0.name`; of a field that does not belong there, its own name. */
export function fieldOf(issue: z.core.$ZodIssue | undefined): string {
  const unknown = issue?.code === "unrecognized_keys" ? issue.keys.slice(0, 1) : [];
  return [...(issue?.path ?? []), ...unknown].map(String).join(".");
}

export function describeProblem(issue: z.core.$ZodIssue | undefined): string {
  if (issue === undefined) return "is wrong";
  if (issue.code === "unrecognized_keys") return "is not a field known here; remove it or correct its spelling";
  if (issue.code === "invalid_type" && /received undefined/.test(issue.message)) return "is missing";
  const message = firstLine(issue.message);
  if (/^(must|needs) /.test(message)) return message;
  return `does not fit: ${message.replace(/^Invalid input: /, "").replace(/^./, (letter) => letter.toLowerCase())}`;
}

/** Paths in a recipe count from the recipe's own directory, not from where the command runs. */
function withSourcesResolved(recipe: Recipe, directory: string): Recipe {
  const files = recipe.files.map((file) => (file.source === undefined ? file : { ...file, source: resolve(directory, file.source) }));
  const kernel = typeof recipe.kernel === "string" ? recipe.kernel : { path: resolve(directory, recipe.kernel.path) };
  return { ...recipe, files, kernel };
}

function lineOf(text: string, offset: number): number {
  return text.slice(0, offset).split("\n").length;
}

function firstLine(text: string): string {
  return (text.split("\n")[0] ?? "").replace(/\.$/, "");
}

export function firstDuplicate(names: readonly string[]): string | undefined {
  return names.find((name, index) => names.indexOf(name) !== index);
}
