/** Whether a policy is kept: decided from facts alone, those of an image and, where it runs, those of the guest. No clock, no file. */
import { INIT_LINES } from "../image/guest.js";
import type { Policy } from "./policy.js";

/** Every rule, and what it asks for. docs/reference/policy.md lists them; a test compares the two. */
export const POLICY_RULES = {
  "command-line.required": "a word of commandLine.required is on the kernel's command line, and no later one takes its effect away",
  "command-line.forbidden": "no word of commandLine.forbidden is there, but for those of commandLine.allowed",
  "kernel.kind": "the kernel is one of `kernels`",
  "kernel.configuration":
    "the kernel's whole configuration is known, has every line of configuration.required and none of configuration.forbidden",
  "driver.missing": "every driver is built in, or is a module that the image has and loads",
  "service.unsupervised": "init starts every service again that ends",
  "init.table": "init starts nothing else than the builder wrote",
  "file.set-user-id": "no file has the set-user-ID or set-group-ID bit but those of files.setUserId",
  "file.world-writable":
    "no file or directory can be written by every account outside of files.worldWritable, and those directories are sticky",
  "file.protected": "no file was laid over one of files.protected",
  "port.undeclared": "the guest waits for, and listens on, no TCP ports but those of `ports`",
  "setting.differs": "the running kernel's settings are those of `settings`",
} as const;

export type PolicyRule = keyof typeof POLICY_RULES;

export interface PolicyViolation {
  readonly rule: PolicyRule;
  /** The word, option, path or port at fault. */
  readonly what: string;
  /** Where it was found. */
  readonly where: "command line" | "kernel" | "image" | "running guest";
  /** A sentence. */
  readonly mend: string;
}

export interface FileFact {
  readonly path: string;
  readonly kind: "file" | "directory";
  /** Permissions with the set-user-ID, set-group-ID and sticky bits. */
  readonly mode: number;
}

export interface ImageFacts {
  readonly kernelKind: "stock" | "hardened" | "own";
  readonly commandLine: string;
  /** The kernel's .config; undefined where it is not known. */
  readonly configuration: string | undefined;
  /** Modules that the guest loads, by name. */
  readonly modules: readonly string[];
  readonly files: readonly FileFact[];
  /** Lines of /etc/inittab, without comments. */
  readonly inittab: readonly string[];
  /** Paths that the recipe or a change laid over the packages' files. */
  readonly laidOver: readonly string[];
}

/** What was seen in a guest that runs the image; each may be left out where nobody looked. */
export interface GuestFacts {
  readonly listeningPorts?: readonly number[] | undefined;
  readonly files?: readonly FileFact[] | undefined;
  /** By name, such as kernel.panic. */
  readonly settings?: Readonly<Record<string, string>> | undefined;
  /** /proc/cmdline. */
  readonly commandLine?: string | undefined;
}

/** All violations, those of the image first; none means that the policy is kept. */
export function policyViolations(policy: Policy, image: ImageFacts, guest: GuestFacts = {}): PolicyViolation[] {
  return [
    ...commandLineViolations(policy, image.commandLine, "command line"),
    ...kernelViolations(policy, image),
    ...serviceViolations(policy, image),
    ...fileViolations(policy, image.files, "image"),
    ...protectedViolations(policy, image),
    ...(guest.commandLine === undefined ? [] : commandLineViolations(policy, guest.commandLine, "running guest")),
    ...fileViolations(policy, guest.files ?? [], "running guest"),
    ...portViolations(policy, guest.listeningPorts ?? [], "running guest"),
    ...settingViolations(policy, guest.settings),
  ];
}

interface Word {
  readonly text: string;
  readonly name: string;
  readonly value: string | undefined;
}

/** As the kernel reads them: quotes hold blanks together, "-" and "_" are the same in a name, and what follows "--" is init's. */
function kernelWords(commandLine: string): Word[] {
  const words: Word[] = [];
  for (const [text] of commandLine.matchAll(/(?:"[^"]*"?|[^\s"])+/g)) {
    if (text === "--") break;
    words.push(parseWord(text.replaceAll('"', "")));
  }
  return words;
}

function parseWord(text: string): Word {
  const at = text.indexOf("=");
  const name = (at < 0 ? text : text.slice(0, at)).replaceAll("-", "_");
  return { text, name, value: at < 0 ? undefined : text.slice(at + 1) };
}

function commandLineViolations({ commandLine }: Policy, given: string, where: PolicyViolation["where"]): PolicyViolation[] {
  const words = kernelWords(given);
  const violations: PolicyViolation[] = [];
  for (const text of commandLine.required) {
    const wanted = parseWord(text);
    const named = words.filter(({ name }) => name === wanted.name);
    // A console is added by each word; of all else the last one counts.
    const counting = wanted.name === "console" ? named : named.slice(-1);
    if (counting.some(({ value }) => value === wanted.value)) continue;
    const last = named.at(-1);
    const mend = last === undefined ? `Add ${text} to the command line.` : `Write ${text} instead of ${last.text}.`;
    violations.push({ rule: "command-line.required", what: text, where, mend });
  }
  const allowed = commandLine.allowed.map(parseWord);
  for (const word of words) {
    const isAllowed = allowed.some(({ name, value }) => name === word.name && value === word.value);
    if (isAllowed || !commandLine.forbidden.some((pattern) => matches(pattern, word))) continue;
    violations.push({ rule: "command-line.forbidden", what: word.text, where, mend: `Take ${word.text} off the command line.` });
  }
  return violations;
}

/** NAME forbids the name with any value, NAME=VALUE that value, PREFIX* every name that begins so. */
function matches(pattern: string, word: Word): boolean {
  if (pattern.endsWith("*")) return word.name.startsWith(pattern.slice(0, -1).replaceAll("-", "_"));
  const { name, value } = parseWord(pattern);
  return name === word.name && (value === undefined || value === word.value);
}

function kernelViolations(policy: Policy, image: ImageFacts): PolicyViolation[] {
  const { kernelKind, configuration } = image;
  if (!policy.kernels.includes(kernelKind))
    return [{ rule: "kernel.kind", what: kernelKind, where: "kernel", mend: `Use one of these kernels: ${policy.kernels.join(", ")}.` }];
  if (configuration === undefined)
    return [{ rule: "kernel.configuration", what: "unknown", where: "kernel", mend: "Build the image with this version of Steadfast." }];
  const options = new Map([...configuration.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map((match) => [match[1] ?? "", match[2] ?? ""]));
  const violations: PolicyViolation[] = [];
  const applies = ({ kernels }: { kernels?: readonly string[] | undefined }): boolean =>
    kernels === undefined || kernels.includes(kernelKind);
  const has = (line: string): boolean => {
    const at = line.indexOf("=");
    return options.get(line.slice(0, at)) === line.slice(at + 1);
  };
  for (const entry of policy.configuration.required.filter(applies))
    if (!has(entry.line))
      violations.push({
        rule: "kernel.configuration",
        what: entry.line,
        where: "kernel",
        mend: `Configure the kernel with ${entry.line}.`,
      });
  for (const entry of policy.configuration.forbidden.filter(applies))
    if (has(entry.line))
      violations.push({
        rule: "kernel.configuration",
        what: entry.line,
        where: "kernel",
        mend: `Configure the kernel without ${entry.line}.`,
      });
  for (const driver of policy.drivers.filter(applies)) {
    const setting = options.get(driver.option);
    const isModule = setting === "m" && image.modules.some((name) => name.replaceAll("-", "_") === driver.name.replaceAll("-", "_"));
    if (setting === "y" || isModule) continue;
    const mend = setting === "m" ? `Name ${driver.name} under modules.` : `Configure the kernel with ${driver.option}=y.`;
    violations.push({ rule: "driver.missing", what: driver.name, where: "kernel", mend });
  }
  return violations;
}

const SERVICE = /^::(\w+):\/usr\/lib\/steadfast\/service (\S+)$/;
const READY = /^::once:\/usr\/lib\/steadfast\/ready((?: \d+)*)$/;
function isOwn(line: string): boolean {
  return (INIT_LINES as readonly string[]).includes(line);
}

function serviceViolations(policy: Policy, { inittab }: ImageFacts): PolicyViolation[] {
  const violations: PolicyViolation[] = [];
  const where = "image";
  for (const line of inittab) {
    const [, action, service] = SERVICE.exec(line) ?? [];
    const ready = READY.exec(line);
    if (ready !== null) violations.push(...portViolations(policy, (ready[1] ?? "").split(" ").filter(Boolean).map(Number), where));
    else if (service !== undefined) {
      if (action === "respawn" || policy.services.unsupervised.includes(service)) continue;
      violations.push({ rule: "service.unsupervised", what: service, where, mend: `Give the service ${service} restart: always.` });
    } else if (!isOwn(line)) {
      violations.push({ rule: "init.table", what: line, where, mend: "Describe it as a service instead of a line of /etc/inittab." });
    }
  }
  for (const line of INIT_LINES) {
    if (!inittab.includes(line)) violations.push({ rule: "init.table", what: line, where, mend: "Leave /etc/inittab to the builder." });
  }
  return violations;
}

const isUnder = (path: string, above: string): boolean => path === above || path.startsWith(`${above}/`);

function fileViolations({ files: allowed }: Policy, files: readonly FileFact[], where: PolicyViolation["where"]): PolicyViolation[] {
  const violations: PolicyViolation[] = [];
  for (const { path, kind, mode } of files) {
    if (kind === "file" && (mode & 0o6000) !== 0 && !allowed.setUserId.includes(path))
      violations.push({ rule: "file.set-user-id", what: path, where, mend: `Take the set-user-ID and set-group-ID bits from ${path}.` });
    if ((mode & 0o002) === 0) continue;
    const isAllowed = allowed.worldWritable.some((above) => isUnder(path, above)) && (kind === "file" || (mode & 0o1000) !== 0);
    if (!isAllowed) violations.push({ rule: "file.world-writable", what: path, where, mend: `Let not every account write ${path}.` });
  }
  return violations;
}

function protectedViolations({ files }: Policy, { laidOver }: ImageFacts): PolicyViolation[] {
  return laidOver
    .filter((path) => files.protected.some((above) => isUnder(path, above)))
    .map((path) => ({ rule: "file.protected", what: path, where: "image", mend: `Take ${path} out of the change or recipe.` }));
}

function portViolations({ ports }: Policy, given: readonly number[], where: PolicyViolation["where"]): PolicyViolation[] {
  return [...new Set(given)]
    .filter((port) => !ports.includes(port))
    .map((port) => ({ rule: "port.undeclared", what: String(port), where, mend: `Close port ${port}, or allow it in the policy.` }));
}

function settingViolations({ settings }: Policy, seen: GuestFacts["settings"]): PolicyViolation[] {
  if (seen === undefined) return [];
  return Object.entries(settings)
    .filter(([name, value]) => seen[name] !== value)
    .map(([name, value]) => ({
      rule: "setting.differs",
      what: `${name} = ${seen[name] ?? "unknown"}`,
      where: "running guest",
      mend: `Leave ${name} at ${value}.`,
    }));
}
