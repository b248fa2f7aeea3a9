/** The facts that a policy is about: read from an image's files, and from what a running guest printed. */
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { CpioError, readCpio } from "../image/cpio-reader.js";
import type { GuestTree } from "../image/cpio.js";
import { modulesIn } from "../image/rebuild.js";
import { readSource } from "../image/source.js";
import { readConfiguration, type ImageRecord } from "../image/store.js";
import type { FileFact, GuestFacts, ImageFacts } from "./policy-rules.js";

/** Reads the image's own bytes, not what its record says of them. */
export function imageFacts(image: ImageRecord): ImageFacts {
  const tree = treeOf(image);
  const files: FileFact[] = [];
  for (const [path, entry] of tree)
    if (entry.kind === "file" || entry.kind === "directory") files.push({ path, kind: entry.kind, mode: entry.mode });
  return {
    kernelKind: image.kernelKind,
    commandLine: image.commandLine,
    configuration: readConfiguration(image),
    modules: modulesIn(tree).map(({ path }) => basename(path, ".ko")),
    files,
    inittab: inittabOf(tree),
    laidOver: (readSource(image.directory)?.files ?? []).map(({ path }) => path),
  };
}

function treeOf(image: ImageRecord): GuestTree {
  try {
    return readCpio(readFileSync(image.initrdPath));
  } catch (error) {
    if (error instanceof CpioError) throw new SteadfastError("POLICY_IMAGE", { image: image.digest, why: error.message });
    throw error;
  }
}

function inittabOf(tree: GuestTree): string[] {
  const table = tree.get("/etc/inittab");
  if (table?.kind !== "file") return [];
  const lines = new TextDecoder().decode(table.data).split("\n");
  return lines.map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"));
}

/** Shell words for a guest's console or agent; what they print is what `parseGuestFacts` reads. The file systems of the kernel are left out. */
export const GUEST_FACTS_COMMAND = [
  'echo "command-line $(cat /proc/cmdline)"',
  'cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | while read -r _ local _ state _; do [ "$state" = 0A ] && echo "listens $((0x${local##*:}))"; done',
  'for name in kernel/panic kernel/panic_on_oops; do echo "setting $name $(cat /proc/sys/$name)"; done',
  "find / -xdev \\( -type f -o -type d \\) \\( -perm -4000 -o -perm -2000 -o -perm -2 \\) -exec stat -c 'mode %f %n' {} +",
  "echo end-of-facts",
].join("; ");

/** Undefined while the last line is not there yet. Lines that are none of the facts (a prompt, an echo) are passed over. */
export function parseGuestFacts(text: string): GuestFacts | undefined {
  const lines = text.split(/\r?\n/);
  if (!lines.includes("end-of-facts")) return undefined;
  const listeningPorts = new Set<number>();
  const settings: Record<string, string> = {};
  const files: FileFact[] = [];
  let commandLine: string | undefined;
  for (const line of lines) {
    const listens = /^listens (\d{1,5})$/.exec(line);
    const setting = /^setting ([a-z_/]+) (\S+)$/.exec(line);
    const mode = /^mode ([0-9a-f]+) (\/.*)$/.exec(line);
    if (line.startsWith("command-line ")) commandLine = line.slice("command-line ".length);
    else if (listens !== null) listeningPorts.add(Number(listens[1]));
    else if (setting !== null) settings[(setting[1] ?? "").replaceAll("/", ".")] = setting[2] ?? "";
    else if (mode !== null) {
      const bits = Number.parseInt(mode[1] ?? "0", 16);
      files.push({ path: mode[2] ?? "", kind: (bits & 0o170000) === 0o040000 ? "directory" : "file", mode: bits & 0o7777 });
    }
  }
  return { commandLine, listeningPorts: [...listeningPorts].sort((left, right) => left - right), settings, files };
}
