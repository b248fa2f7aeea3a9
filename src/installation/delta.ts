/**
 * What an installed change does to a running guest: the difference of two images' file trees, and what has to be done about their services
 * (pure). The room `installation` holds what of an installation can be decided without a guest; the management module carries it out.
 */
import { SteadfastError } from "../foundation/errors.js";

/** As images have them (src/image/cpio.ts). */
export type TreeEntry =
  | { readonly kind: "file"; readonly mode: number; readonly data: Uint8Array; readonly owner?: number }
  | { readonly kind: "directory"; readonly mode: number; readonly owner?: number }
  | { readonly kind: "link"; readonly target: string }
  | { readonly kind: "device"; readonly mode: number; readonly major: number; readonly minor: number };
export type Tree = ReadonlyMap<string, TreeEntry>;

/** `before`: null, there was nothing; `after`: null, there is nothing then. */
export interface DeltaEntry {
  readonly path: string;
  readonly before: TreeEntry | null;
  readonly after: TreeEntry | null;
}

/**
 * `start`: init does it once it has read its table anew; `launch`: one that init does not start again, so it is started by hand. `reload`:
 * by the command that the service's definition has for it, so that its connections live on. `restart` ends them.
 */
export type ServiceDeed = "start" | "launch" | "stop" | "restart" | "reload";

export interface ServiceAction {
  readonly name: string;
  readonly deed: ServiceDeed;
}

export interface Delta {
  /** By path: a directory stands before what is in it. */
  readonly entries: readonly DeltaEntry[];
  readonly services: readonly ServiceAction[];
}

export interface ElfNeeds {
  readonly interpreter: string | undefined;
  readonly libraries: readonly string[];
}

interface GuestService {
  readonly name: string;
  readonly isOnce: boolean;
  readonly command: string;
  /** What a running process of it was started with. */
  readonly start: string;
  readonly reads: readonly string[];
  readonly reload: string | undefined;
}

const INITTAB = "/etc/inittab";
const SERVICES = "/etc/steadfast/services";
const LIBRARY_DIRECTORIES = ["/usr/lib/riscv64-linux-gnu", "/usr/lib"];
/** Read by the guest's start only: what changes there needs a start. */
const START_ONLY = /^\/(usr\/lib\/modules(\/|$)|usr\/lib\/steadfast\/start-up$|etc\/modules-load(-disk)?$|init$)/;
const SERVICE_LINE = /^::(respawn|once):\/usr\/lib\/steadfast\/service (\S+)$/;
/** Of what is restarted: what it was started with. */
const START_VARIABLES = ["command", "user", "directory", "prepare"];

/**
 * Throws `CHANGE_NOT_LIVE` if a running guest cannot be changed so. `needsOf` reads an ELF file: a service whose program or one of its
 * libraries changed is restarted.
 */
export function deltaOf(from: Tree, to: Tree, needsOf: (file: Uint8Array) => ElfNeeds | undefined): Delta {
  const paths = [...new Set([...from.keys(), ...to.keys()])].sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
  const entries: DeltaEntry[] = [];
  for (const path of paths) {
    const [before, after] = [from.get(path) ?? null, to.get(path) ?? null];
    if (isSame(before, after)) continue;
    const problem = problemOf(path, before, after);
    if (problem !== null) throw new SteadfastError("CHANGE_NOT_LIVE", { what: `${path} ${problem}` });
    entries.push({ path, before, after });
  }
  return { entries, services: serviceActions(from, to, new Set(entries.map(({ path }) => path)), needsOf) };
}

/** The delta that leads back. */
export function reversed({ entries, services }: Delta, from: Tree): Delta {
  const once = new Set(
    servicesOf(from)
      .filter(({ isOnce }) => isOnce)
      .map(({ name }) => name),
  );
  const back = (name: string, deed: ServiceDeed): ServiceDeed => {
    if (deed === "start" || deed === "launch") return "stop";
    if (deed === "stop") return once.has(name) ? "launch" : "start";
    return deed;
  };
  return {
    entries: entries.map(({ path, before, after }) => ({ path, before: after, after: before })),
    services: services.map(({ name, deed }) => ({ name, deed: back(name, deed) })),
  };
}

function isSame(left: TreeEntry | null, right: TreeEntry | null): boolean {
  if (left === null || right === null) return left === right;
  if (left.kind === "link") return right.kind === "link" && left.target === right.target;
  if (left.kind === "device")
    return right.kind === "device" && left.mode === right.mode && left.major === right.major && left.minor === right.minor;
  if (left.kind !== right.kind || left.mode !== right.mode || (left.owner ?? 0) !== (right.owner ?? 0)) return false;
  return left.kind === "directory" || (right.kind === "file" && isSameBytes(left.data, right.data));
}

function isSameBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  // Tens of megabytes in the process that leads: a plain loop is several times quicker than a callback for each byte.
  for (let at = 0; at < left.length; at += 1) if (left[at] !== right[at]) return false;
  return true;
}

function problemOf(path: string, before: TreeEntry | null, after: TreeEntry | null): string | null {
  if (START_ONLY.test(path)) return "matters only when the guest starts";
  if (/[\n\\]|\s$/.test(path)) return "has a name that a running guest cannot be told";
  if (before?.kind === "device" || after?.kind === "device") return "is a device node";
  const kinds = [before?.kind, after?.kind];
  if (before !== null && after !== null && before.kind !== after.kind && kinds.includes("directory"))
    return `changes from a ${before.kind} into a ${after.kind}`;
  return null;
}

// Services.

function textOf(entry: TreeEntry | undefined): string {
  if (entry?.kind !== "file") return "";
  // Latin letters only matter for comparison: whatever the bytes are, equal texts are equal files.
  return Array.from(entry.data, (byte) => String.fromCharCode(byte)).join("");
}

/** The services of an image, by its own tables. */
export function servicesOf(tree: Tree): GuestService[] {
  return textOf(tree.get(INITTAB))
    .split("\n")
    .flatMap((line) => {
      const [, how, name] = SERVICE_LINE.exec(line) ?? [];
      if (name === undefined) return [];
      const definition = definitionOf(textOf(tree.get(`${SERVICES}/${name}`)));
      const reads = (definition.get("reads") ?? "").split("\n").filter((path) => path !== "");
      const start = JSON.stringify(START_VARIABLES.map((variable) => definition.get(variable) ?? ""));
      const command = definition.get("command") ?? "";
      return [{ name, isOnce: how === "once", command, start, reads, reload: definition.get("reload") }];
    });
}

/** `name='value'` lines, as src/image/guest.ts writes them: a value may be of several lines, and a quote in it is `'\''`. */
function definitionOf(text: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const match of text.matchAll(/^([a-z]+)='((?:[^']|'\\'')*)'$/gm)) {
    const [, name = "", value = ""] = match;
    found.set(name, value.replaceAll("'\\''", "'"));
  }
  return found;
}

function serviceActions(
  from: Tree,
  to: Tree,
  changed: ReadonlySet<string>,
  needsOf: (file: Uint8Array) => ElfNeeds | undefined,
): ServiceAction[] {
  const old = new Map(servicesOf(from).map((service) => [service.name, service]));
  const wanted = servicesOf(to);
  const actions: ServiceAction[] = [];
  for (const name of old.keys()) if (!wanted.some((service) => service.name === name)) actions.push({ name, deed: "stop" });
  for (const service of wanted) {
    const { name, isOnce } = service;
    const before = old.get(name);
    if (before === undefined) actions.push({ name, deed: isOnce ? "launch" : "start" });
    else if (before.isOnce !== isOnce)
      throw new SteadfastError("CHANGE_NOT_LIVE", { what: `whether the service ${name} is started again when it ends` });
    else {
      const deed = deedFor(before, service, changed, to, needsOf);
      if (deed !== null) actions.push({ name, deed: isOnce && deed === "restart" ? "launch" : deed });
    }
  }
  return actions;
}

function deedFor(
  before: GuestService,
  service: GuestService,
  changed: ReadonlySet<string>,
  to: Tree,
  needsOf: (file: Uint8Array) => ElfNeeds | undefined,
): ServiceDeed | null {
  if (before.start !== service.start) return "restart";
  if (programFiles(service, to, needsOf).some((path) => changed.has(path))) return "restart";
  const isRead = [...changed].some((path) => service.reads.some((above) => path === above || path.startsWith(`${above}/`)));
  return isRead ? (service.reload === undefined ? "restart" : "reload") : null;
}

/** The program of a service and all libraries that it loads, by the links on the way as well. */
function programFiles(service: GuestService, tree: Tree, needsOf: (file: Uint8Array) => ElfNeeds | undefined): string[] {
  const program = /^\s*['"]?(\/[^\s'"$]+)/.exec(service.command)?.[1];
  const files = new Set<string>();
  const queue = program === undefined ? [] : [program];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    if (files.has(path)) continue;
    files.add(path);
    const entry = tree.get(path);
    if (entry?.kind === "link") queue.push(linkTarget(path, entry.target));
    if (entry?.kind !== "file") continue;
    const { libraries, interpreter } = needsOf(entry.data) ?? { libraries: [], interpreter: undefined };
    if (interpreter !== undefined) queue.push(interpreter.replace(/^\/lib\//, "/usr/lib/"));
    for (const library of libraries) {
      const place = LIBRARY_DIRECTORIES.map((directory) => `${directory}/${library}`).find((each) => tree.has(each));
      if (place !== undefined) queue.push(place);
    }
  }
  return [...files];
}

function linkTarget(path: string, target: string): string {
  const parts = target.startsWith("/") ? [] : path.split("/").slice(1, -1);
  for (const part of target.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  }
  return `/${parts.join("/")}`;
}
