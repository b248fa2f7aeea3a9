/**
 * A private apt: its own configuration, indexes and architecture (riscv64, Debian 13) under the cache directory. The host's apt is only
 * read: its mirror, its proxy settings and its Debian keyring, which verifies everything that comes.
 */

import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { chooseMirrors, parseSourceList, parseSourceStanzas, parseStanza, type AptSource, type DebianMirrors } from "./apt-sources.js";
import { findProgram, isDiskFull, runCommand, runStep, stepError, type CommandOptions } from "./command.js";
import { makeDirectory, writeDurably } from "./files.js";
import type { OnProgress } from "./progress.js";

export const GUEST_SUITE = "trixie";
/**
 * The names under which a mirror serves the guest's release, in the order they are tried. A mirror in the middle of a synchronisation
 * (around every point release, for hours) may serve a release file that does not fit its index under one name, and a whole older pair
 * under the other. Signatures are verified either way, and the code name has to be the guest's.
 */
const SUITE_NAMES = [GUEST_SUITE, "stable", "oldstable"] as const;
const MIRROR_IN_SYNC = /unexpected size|Hash Sum mismatch|Mirror sync in progress/;
export const GUEST_ARCHITECTURE = "riscv64";
const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** An index younger than this is not fetched again, unless the caller asks. */
const INDEX_AGE_LIMIT_MS = 6 * 60 * 60 * 1000;
/** Names on one command line: far below the kernel's limit. */
const NAMES_LIMIT = 2000;

export interface AptPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
  readonly sha256: string;
  readonly bytes: number;
  /** Brought along by a change: no mirror has it. */
  readonly isLocal?: true | undefined;
}

/** A system as apt sees it. */
export interface InstalledSystem {
  /** dpkg's status file. */
  readonly status: string;
  /** Packages that are there only because others need them. */
  readonly automatic: readonly string[];
  /** Whether those go that nothing needs any more. */
  readonly dropsUnused: boolean;
}

export interface AptPlan {
  readonly installs: readonly { readonly name: string; readonly version: string }[];
  readonly removes: readonly string[];
}

export interface AptOptions {
  readonly directory: string;
  readonly onProgress: OnProgress;
  readonly signal?: AbortSignal | undefined;
}

export class PrivateApt {
  private readonly configuration: string;

  private constructor(
    private readonly options: AptOptions,
    private readonly mirror: string,
  ) {
    this.configuration = join(options.directory, "etc", "private.conf");
  }

  /** Sets up the private state (again, if the host's settings changed) and brings the package index up to date. */
  static async open(options: AptOptions, refresh: boolean): Promise<PrivateApt> {
    for (const tool of ["apt-get", "apt-cache", "apt-config", "dpkg-deb"]) {
      if (findProgram(tool) === undefined) throw new SteadfastError("HOST_TOOL_MISSING", { tool, packages: "apt dpkg" });
    }
    if (!existsSync(DEBIAN_KEYRING)) throw new SteadfastError("DEBIAN_KEYRING", { path: DEBIAN_KEYRING });
    const mirrors = await hostMirrors(options.signal);
    const apt = new PrivateApt(options, mirrors.main.uri);
    for (const part of ["etc/none.d", "state/lists/partial", "cache/archives/partial", "log"]) makeDirectory(join(options.directory, part));
    const configuration = await configurationText(options.directory, options.signal);
    writeDurably(join(options.directory, "state", "status"), "");
    writeDurably(apt.configuration, configuration);
    await apt.update(refresh, mirrors);
    return apt;
  }

  private command(extra: Partial<CommandOptions> = {}): CommandOptions {
    return { environment: { APT_CONFIG: this.configuration }, signal: this.options.signal, ...extra };
  }

  private async update(refresh: boolean, mirrors: DebianMirrors): Promise<void> {
    const stamp = join(this.options.directory, "updated");
    const sourcesKey = createHash("sha256").update(sourceLines(mirrors, GUEST_SUITE)).digest("hex");
    const isCurrent =
      existsSync(stamp) && readFileSync(stamp, "utf8") === sourcesKey && Date.now() - statSync(stamp).mtimeMs < INDEX_AGE_LIMIT_MS;
    if (isCurrent && !refresh) return;
    rmSync(stamp, { force: true });
    this.options.onProgress({ step: "reading the Debian package index" });
    let detail = "";
    for (const suite of SUITE_NAMES) {
      const outcome = await this.updateFrom(sourceLines(mirrors, suite), suite);
      if (outcome.isUsable) {
        if (suite !== GUEST_SUITE) this.warn(`is in the middle of a synchronisation; its index of ${suite} is used, which is whole`);
        if (!outcome.isWhole) this.warnOfParts(outcome.text);
        // A partial answer is used but not remembered: the next build asks again.
        else writeDurably(stamp, sourcesKey);
        return;
      }
      detail ||= /^[EW]: Failed to fetch \S+\s+(.*)$/m.exec(outcome.text)?.[1] ?? /^E: (.*)$/m.exec(outcome.text)?.[1] ?? "";
      if (!MIRROR_IN_SYNC.test(outcome.text)) break;
    }
    throw new SteadfastError("DEBIAN_MIRROR", { mirror: this.mirror, detail: detail.trim() || "no package index came" });
  }

  private async updateFrom(sources: string, suite: string): Promise<{ isUsable: boolean; isWhole: boolean; text: string }> {
    writeDurably(join(this.options.directory, "etc", "sources.list"), sources);
    const result = await runCommand("apt-get", ["-q", "update"], this.command());
    const text = result.output + result.errors;
    if (isDiskFull(text)) throw new SteadfastError("DISK_FULL", { directory: this.options.directory });
    const isWhole = result.exitCode === 0 && !/^(E|Err|W: Failed)/m.test(text);
    if (!isWhole && /NO_PUBKEY|EXPKEYSIG|KEYEXPIRED|REVKEYSIG|not signed|BADSIG|couldn't be verified/.test(text)) {
      throw new SteadfastError("DEBIAN_KEYRING", { path: DEBIAN_KEYRING });
    }
    const isUsable = (suite === GUEST_SUITE || this.codeNames().has(GUEST_SUITE)) && (await this.has("libc6"));
    return { isUsable, isWhole, text };
  }

  /** Code names of the signed release files that the last update brought. */
  private codeNames(): Set<string> {
    const lists = join(this.options.directory, "state", "lists");
    const names = readdirSync(lists).filter((name) => name.endsWith("_InRelease"));
    return new Set(names.map((name) => /^Codename: (\S+)$/m.exec(readFileSync(join(lists, name), "utf8"))?.[1] ?? ""));
  }

  private warn(what: string): void {
    this.options.onProgress({ step: "reading the Debian package index", warning: `The mirror ${this.mirror} ${what}.` });
  }

  private warnOfParts(text: string): void {
    const suites = new Set([...text.matchAll(/^Err:\d+ \S+ (\S+)/gm)].map((match) => match[1] ?? ""));
    const parts = suites.size === 0 ? "parts of its index" : `the index of ${[...suites].join(" and ")}`;
    this.warn(`could not deliver ${parts}; the image is built from what is there, without those updates`);
  }

  private async has(name: string): Promise<boolean> {
    const result = await runCommand("apt-cache", ["show", "--no-all-versions", name], this.command());
    return result.exitCode === 0 && result.output.includes("Package:");
  }

  /** The named packages and all they depend on, each in the version that apt would install. */
  async resolve(names: readonly string[], recipe: string): Promise<AptPackage[]> {
    for (const name of names) {
      if (!(await this.has(name))) throw new SteadfastError("PACKAGE_UNKNOWN", { package: name, recipe });
    }
    const result = await runCommand("apt-get", ["-q", "--simulate", "install", ...names], this.command());
    if (result.exitCode !== 0) throw stepError(`finding what ${names.join(", ")} depend on`, result, this.options.directory);
    const chosen = [...result.output.matchAll(/^Inst (\S+) \((\S+) /gm)].map((match) => `${match[1] ?? ""}=${match[2] ?? ""}`);
    return this.describe(chosen.slice(0, NAMES_LIMIT));
  }

  /** Whether there is such a package, NAME or NAME=VERSION. */
  async knows(name: string): Promise<boolean> {
    return this.has(name);
  }

  /**
   * What apt would do to a system on which just those packages are installed. `words` are apt's own: NAME, NAME=VERSION, NAME- to remove,
   * the path of a .deb. Files that belong to no such system any more go into `directory`.
   */
  async plan(installed: InstalledSystem, words: readonly string[], directory: string): Promise<AptPlan | { readonly refusal: string }> {
    const status = join(directory, "status");
    const states = join(directory, "extended_states");
    writeDurably(status, installed.status);
    writeDurably(
      states,
      installed.automatic.map((name) => `Package: ${name}\nArchitecture: ${GUEST_ARCHITECTURE}\nAuto-Installed: 1\n\n`).join(""),
    );
    const places = ["-o", `Dir::State::status=${status}`, "-o", `Dir::State::extended_states=${states}`];
    // Its cache of all packages is of another system; a second one in the same place would take turns with it.
    places.push("-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache=");
    const options = ["-q", "-y", "--simulate", "--allow-downgrades", ...(installed.dropsUnused ? ["--auto-remove"] : [])];
    const result = await runCommand("apt-get", [...places, ...options, "install", ...words], this.command());
    if (result.exitCode !== 0) return { refusal: refusalOf(result.output, result.errors) };
    const installs = [...result.output.matchAll(/^Inst (\S+) (?:\[\S+\] )?\((\S+) /gm)];
    return {
      installs: installs.slice(0, NAMES_LIMIT).map((match) => ({ name: match[1] ?? "", version: match[2] ?? "" })),
      removes: [...result.output.matchAll(/^(?:Remv|Purg) (\S+)/gm)].map((match) => match[1] ?? ""),
    };
  }

  /** The named packages alone, without what they depend on. */
  async describe(namesAndVersions: readonly string[]): Promise<AptPackage[]> {
    const output = await runStep("reading package facts", "apt-cache", ["show", "--no-all-versions", ...namesAndVersions], this.command());
    const packages = new Map<string, AptPackage>();
    for (const stanza of output.split("\n\n")) {
      const fields = parseStanza(stanza);
      const name = fields.get("package");
      const sha256 = fields.get("sha256");
      if (name === undefined || sha256 === undefined) continue;
      packages.set(name, {
        name,
        version: fields.get("version") ?? "",
        architecture: fields.get("architecture") ?? "",
        sha256,
        bytes: Number(fields.get("size") ?? 0),
      });
    }
    return [...packages.values()].sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  /** What a metapackage stands for: the first dependency whose name matches. */
  async dependencyOf(name: string, pattern: RegExp): Promise<string | undefined> {
    const output = await runStep(`reading what ${name} stands for`, "apt-cache", ["depends", name], this.command());
    return [...output.matchAll(/Depends: (\S+)/g)].map((match) => match[1] ?? "").find((dependency) => pattern.test(dependency));
  }

  /** Fetches .deb files into a directory; apt verifies them against the signed index. */
  async download(packages: readonly AptPackage[], directory: string): Promise<void> {
    if (packages.length === 0) return;
    const total = packages.reduce((sum, entry) => sum + entry.bytes, 0);
    const step = "fetching Debian packages";
    const watch = setInterval(() => {
      this.options.onProgress({ step, fraction: Math.min(1, directoryBytes(directory) / total) });
    }, 200);
    try {
      const names = packages.map((entry) => `${entry.name}=${entry.version}`);
      const result = await runCommand("apt-get", ["-q", "download", ...names], this.command({ directory }));
      if (result.exitCode !== 0) {
        if (isDiskFull(result.errors + result.output)) throw new SteadfastError("DISK_FULL", { directory: dirname(directory) });
        const detail = /^E: (.*)$/m.exec(result.errors)?.[1] ?? `apt-get ended with exit code ${result.exitCode}`;
        throw new SteadfastError("DEBIAN_MIRROR", { mirror: this.mirror, detail });
      }
    } finally {
      clearInterval(watch);
    }
  }
}

/** The first thing that apt says of why it will not do something. */
function refusalOf(output: string, errors: string): string {
  const unmet = /unmet dependencies:\n((?: .*\n)+)/.exec(output)?.[1];
  const lines = (unmet ?? "").split("\n").map((line) => line.trim().replaceAll(/\s+/g, " "));
  const error = /^E: (.*)$/m.exec(errors)?.[1];
  return (lines.find((line) => line !== "") ?? error ?? "apt does not say why").replace(/\.$/, "");
}

function directoryBytes(directory: string): number {
  let sum = 0;
  for (const name of readdirSync(directory)) sum += statSync(join(directory, name), { throwIfNoEntry: false })?.size ?? 0;
  return sum;
}

async function hostMirrors(signal: AbortSignal | undefined): Promise<DebianMirrors> {
  const chosen = process.env["STEADFAST_MIRROR"];
  if (chosen !== undefined && chosen !== "") {
    return { main: { uri: chosen, suite: GUEST_SUITE, components: ["main"], signedBy: undefined }, security: undefined };
  }
  const settings = await runStep(
    "reading the host's apt configuration",
    "apt-config",
    ["shell", "LIST", "Dir::Etc::sourcelist/f", "PARTS", "Dir::Etc::sourceparts/d"],
    { signal },
  );
  const list = /^LIST='(.*)'$/m.exec(settings)?.[1] ?? "/etc/apt/sources.list";
  const parts = /^PARTS='(.*)'$/m.exec(settings)?.[1] ?? "/etc/apt/sources.list.d";
  const files = [list];
  if (existsSync(parts)) files.push(...[...readdirSync(parts)].sort().map((name) => join(parts, name)));
  const sources: AptSource[] = [];
  for (const file of files) {
    if (!existsSync(file) || !statSync(file).isFile()) continue;
    const text = readFileSync(file, "utf8");
    if (file.endsWith(".sources")) sources.push(...parseSourceStanzas(text));
    else if (file.endsWith(".list")) sources.push(...parseSourceList(text));
  }
  const mirrors = chooseMirrors(sources);
  if (mirrors === undefined) throw new SteadfastError("NO_DEBIAN_MIRROR", { where: `${list} and ${parts}` });
  return mirrors;
}

function sourceLines(mirrors: DebianMirrors, suite: string): string {
  const line = (source: AptSource, name: string): string => {
    const own = source.signedBy !== undefined && source.signedBy !== DEBIAN_KEYRING && existsSync(source.signedBy) ? [source.signedBy] : [];
    return `deb [signed-by=${[DEBIAN_KEYRING, ...own].join(",")}] ${source.uri} ${name} main\n`;
  };
  const base = line(mirrors.main, suite) + line(mirrors.main, `${suite}-updates`);
  return mirrors.security === undefined ? base : base + line(mirrors.security, `${suite}-security`);
}

/** The host's settings for reaching its mirror (proxies, certificates, retries) are carried over; its hooks and architectures are not. */
async function configurationText(directory: string, signal: AbortSignal | undefined): Promise<string> {
  const dump = await runStep("reading the host's apt configuration", "apt-config", ["dump"], { signal });
  const carried = dump
    .split("\n")
    .filter(
      (line) => /^Acquire::(http|https|ftp|tor|Retries|ForceIPv4|ForceIPv6|Proxy|Send-|Max-|Queue-)/i.test(line) && !/ "";$/.test(line),
    );
  const netrc = await runStep(
    "reading the host's apt configuration",
    "apt-config",
    ["shell", "NETRC", "Dir::Etc::netrc/f", "NETRCPARTS", "Dir::Etc::netrcparts/d"],
    { signal },
  );
  const none = join(directory, "etc", "none.d");
  const settings: [string, string][] = [
    ["Dir::State", join(directory, "state")],
    ["Dir::State::status", join(directory, "state", "status")],
    ["Dir::Cache", join(directory, "cache")],
    ["Dir::Log", join(directory, "log")],
    ["Dir::Etc", join(directory, "etc")],
    ["Dir::Etc::main", "none"],
    ["Dir::Etc::parts", none],
    ["Dir::Etc::sourcelist", join(directory, "etc", "sources.list")],
    ["Dir::Etc::sourceparts", none],
    ["Dir::Etc::preferences", "none"],
    ["Dir::Etc::preferencesparts", none],
    ["Dir::Etc::trusted", "none"],
    ["Dir::Etc::trustedparts", none],
    ["Dir::Etc::netrc", /^NETRC='(.*)'$/m.exec(netrc)?.[1] ?? "/etc/apt/auth.conf"],
    ["Dir::Etc::netrcparts", /^NETRCPARTS='(.*)'$/m.exec(netrc)?.[1] ?? "/etc/apt/auth.conf.d"],
    ["APT::Architecture", GUEST_ARCHITECTURE],
    ["APT::Install-Recommends", "false"],
    // Our directories belong to whoever builds; apt's own download user could not write there.
    ["APT::Sandbox::User", ""],
    ["Acquire::Languages", "none"],
    ["Acquire::PDiffs", "false"],
    ["Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled", "false"],
  ];
  const lines = settings.map(([name, value]) => `${name} "${value}";`);
  return [...carried, ...lines, `APT::Architectures { "${GUEST_ARCHITECTURE}"; };`, ""].join("\n");
}
