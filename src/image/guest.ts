/** The part of an image that is ours: init's table, the scripts behind it, accounts, services, device nodes and busybox's command names. */

import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { assert } from "../foundation/assert.js";
import type { GuestEntry, GuestTree } from "./cpio.js";
import { GUEST_DIRECTORY } from "./paths.js";
import type { Recipe, RecipeService } from "./recipe.js";

/** The package that every image has besides those of its recipe, and what is taken from it. */
export const BASE_PACKAGE = "busybox-static";
export const BASE_PROGRAM = "/usr/bin/busybox";

const SCRIPT_DIRECTORY = "/usr/lib/steadfast";
const SCRIPTS = ["start-up", "service", "ready", "power-button", "agent"] as const;

/** Our own files of every guest, by name: the scripts, the profile and the list of busybox's commands. */
export type GuestParts = ReadonlyMap<string, Uint8Array>;
const SERVICE_DIRECTORY = "/etc/steadfast/services";

/** Debian's own numbers for the accounts that its programs expect. */
const BASE_USERS = [
  { name: "root", id: 0, home: "/root", shell: "/bin/sh" },
  { name: "www-data", id: 33, home: "/var/www", shell: "/usr/sbin/nologin" },
  { name: "nobody", id: 65534, home: "/nonexistent", shell: "/usr/sbin/nologin" },
];
const BASE_GROUPS = [
  { name: "root", id: 0 },
  { name: "tty", id: 5 },
  { name: "www-data", id: 33 },
  { name: "nogroup", id: 65534 },
];

const encoder = new TextEncoder();

function file(content: string | Uint8Array, mode = 0o644): GuestEntry {
  return { kind: "file", mode, data: typeof content === "string" ? encoder.encode(content) : content };
}

/** Those of this version. */
export function readGuestParts(): GuestParts {
  return new Map(
    readdirSync(GUEST_DIRECTORY)
      .sort()
      .map((name) => [name, readFileSync(join(GUEST_DIRECTORY, name))]),
  );
}

function partOf(parts: GuestParts, name: string): Uint8Array {
  const part = parts.get(name);
  assert(part !== undefined, `the guest part ${name} is missing`);
  return part;
}

/** Adds what only the guest's base needs and the packages do not bring; entries that exist already win over busybox's names. */
export function addGuestBase(tree: GuestTree, recipe: Recipe, parts: GuestParts): void {
  for (const directory of ["bin", "sbin", "lib"]) tree.set(`/${directory}`, { kind: "link", target: `usr/${directory}` });
  for (const directory of ["/proc", "/sys", "/dev", "/run", "/mnt", "/data", "/var/log", "/var/lib", "/var/cache"]) {
    tree.set(directory, { kind: "directory", mode: 0o755 });
  }
  tree.set("/root", { kind: "directory", mode: 0o700 });
  for (const directory of ["/tmp", "/var/tmp"]) tree.set(directory, { kind: "directory", mode: 0o1777 });
  tree.set("/var/run", { kind: "link", target: "../run" });
  // The kernel opens the console before anything could mount a /dev.
  tree.set("/dev/console", { kind: "device", mode: 0o600, major: 5, minor: 1 });
  tree.set("/dev/null", { kind: "device", mode: 0o666, major: 1, minor: 3 });
  tree.set("/init", { kind: "link", target: "usr/bin/busybox" });
  for (const name of SCRIPTS) tree.set(`${SCRIPT_DIRECTORY}/${name}`, file(partOf(parts, name), 0o755));
  addAccounts(tree, recipe);
  tree.set("/etc/profile", file(partOf(parts, "profile")));
  tree.set("/etc/hostname", file("steadfast\n"));
  tree.set("/etc/inittab", file(inittab(recipe.services)));
  for (const service of recipe.services) tree.set(`${SERVICE_DIRECTORY}/${service.name}`, file(serviceFile(service)));
}

/** Every command that busybox offers and no package brought, as a link to it. */
export function addCommandLinks(tree: GuestTree, parts: GuestParts): void {
  const lines = new TextDecoder().decode(partOf(parts, "commands")).split("\n");
  for (const line of lines) {
    const path = line.trim();
    if (path === "" || path.startsWith("#")) continue;
    const name = path.slice(path.lastIndexOf("/") + 1);
    if (tree.has(`/usr/bin/${name}`) || tree.has(`/usr/sbin/${name}`)) continue;
    tree.set(path, { kind: "link", target: path.startsWith("/usr/bin/") ? "busybox" : "../bin/busybox" });
  }
}

/** What stands in every init table besides services. */
export const INIT_LINES = [
  `::sysinit:${SCRIPT_DIRECTORY}/start-up`,
  `::respawn:${SCRIPT_DIRECTORY}/power-button`,
  `::respawn:${SCRIPT_DIRECTORY}/agent`,
  "ttyS0::respawn:-/bin/sh",
  "::ctrlaltdel:/sbin/reboot",
] as const;

/** init's table. Services are init's own children: no supervisor process stands between, and init starts them again. */
export function inittab(services: readonly RecipeService[]): string {
  const ports = services.flatMap((service) => service.ports);
  const [startUp, ...others] = INIT_LINES;
  const lines = ["# Written by the Steadfast image builder.", startUp, `::once:${[`${SCRIPT_DIRECTORY}/ready`, ...ports].join(" ")}`];
  for (const service of services) {
    lines.push(`::${service.restart === "always" ? "respawn" : "once"}:${SCRIPT_DIRECTORY}/service ${service.name}`);
  }
  lines.push(...others);
  return lines.join("\n") + "\n";
}

export function serviceFile(service: RecipeService): string {
  const lines = [`command=${quote(service.command)}`];
  if (service.user !== undefined) lines.push(`user=${quote(service.user)}`);
  if (service.directory !== undefined) lines.push(`directory=${quote(service.directory)}`);
  if (service.prepare !== undefined) lines.push(`prepare=${quote(service.prepare)}`);
  if (service.reads.length > 0) lines.push(`reads=${quote(service.reads.join("\n"))}`);
  if (service.reload !== undefined) lines.push(`reload=${quote(service.reload)}`);
  return lines.join("\n") + "\n";
}

function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function addAccounts(tree: GuestTree, recipe: Recipe): void {
  const own = recipe.users.map((user) => ({ ...user, shell: "/usr/sbin/nologin" }));
  const users = [...BASE_USERS.filter((base) => !own.some((user) => user.name === base.name)), ...own];
  const groups = [...BASE_GROUPS.filter((base) => !own.some((user) => user.name === base.name)), ...own];
  // Root has no password: whoever holds the console holds the server, as with any machine's serial port.
  const passwd = users.map((user) => {
    const group = user.name === "nobody" ? 65534 : user.id;
    return `${user.name}:${user.id === 0 ? "" : "x"}:${user.id}:${group}::${user.home}:${user.shell}\n`;
  });
  tree.set("/etc/passwd", file(passwd.join("")));
  tree.set("/etc/group", file(groups.map((group) => `${group.name}:x:${group.id}:\n`).join("")));
  tree.set("/etc/shells", file("/bin/sh\n"));
  tree.set("/etc/nsswitch.conf", file("passwd: files\ngroup: files\nhosts: files dns\n"));
  for (const user of own) {
    if (user.home !== "/nonexistent") tree.set(user.home, { kind: "directory", mode: 0o755, owner: user.id });
  }
}
