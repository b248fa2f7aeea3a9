/** `steadfast change …`: changes to the guest as packages. */
import type { Command } from "commander";
import { createChange } from "../certification/create.js";
import { readLimited, readPackage, type ChangePackage } from "../certification/change-package.js";
import { buildChangedImage, decodeLock, encodeLock } from "../certification/build-changed.js";
import { MANIFEST_BYTES_LIMIT } from "../certification/limits.js";
import { printable, type Manifest, type ManifestFile } from "../certification/manifest.js";
import { lockOf } from "../image/index.js";
import { writeOutput, type JsonFlag } from "./certificate.js";
import { addInstallCommands } from "./change-install.js";
import { describeImage, withProgress } from "./image.js";
import { printJson, printLines, table } from "./output.js";

interface CreateFlags extends JsonFlag {
  readonly base: string;
  readonly out: string;
}

interface BuildFlags extends JsonFlag {
  readonly lock?: string;
  readonly writeLock?: string;
  readonly refresh?: boolean;
}

function fileRow(file: ManifestFile): string[] {
  if (file.kind === "link") return ["file", file.path, `link to ${file.target}`];
  const mode = file.mode.toString(8).padStart(4, "0");
  const size = file.kind === "file" ? `${file.size} bytes` : "directory";
  return ["file", file.path, `${size}, mode ${mode}, owner ${file.owner}`];
}

function manifestRows(manifest: Manifest): string[][] {
  const rows = [
    ...manifest.packages.add.map((name) => ["package", name, "added"]),
    ...manifest.packages.remove.map((name) => ["package", name, "removed"]),
    ...manifest.debs.map((deb) => ["package", deb.file, `${deb.size} bytes, brought along`]),
    ...manifest.files.map(fileRow),
    ...manifest.removals.files.map((path) => ["file", path, "removed"]),
    ...manifest.services.map((service) => ["service", service.name, service.command]),
    ...manifest.removals.services.map((name) => ["service", name, "removed"]),
    ...manifest.users.map((user) => ["user", user.name, `id ${user.id}`]),
  ];
  if (manifest.kernel !== undefined) {
    const { kind, config, modules, diskModules } = manifest.kernel;
    const lines = config?.split("\n").filter((line) => line !== "").length ?? 0;
    rows.push(["kernel", kind ?? "as it is", `${lines} lines of configuration`]);
    if (modules !== undefined) rows.push(["modules", modules.join(" ")]);
    if (diskModules !== undefined) rows.push(["disk modules", diskModules.join(" ")]);
  }
  if (manifest.commandLine !== undefined) rows.push(["command line", manifest.commandLine]);
  if (manifest.memoryMiB !== undefined) rows.push(["memory", `${manifest.memoryMiB} MiB`]);
  if (manifest.diskMiB !== undefined) rows.push(["disk", `${manifest.diskMiB} MiB`]);
  return [...rows, ...manifest.checks.map((check) => ["check", check.name, check.command])];
}

function changeLines({ manifest, digest }: ChangePackage): string[] {
  const head = [
    ["change", manifest.name, manifest.description.split("\n")[0] ?? ""],
    ["digest", digest],
    ["base", manifest.base.sha256],
  ];
  return table([...head, ...manifestRows(manifest)].map((row) => row.map(printable)));
}

const BUILD_EXAMPLES = `
Examples:
  steadfast change build mychange.tar
  steadfast change build mychange.tar --write-lock mychange.lock   # on one host, and on another:
  steadfast change build mychange.tar --lock mychange.lock
`;

async function build(file: string, flags: BuildFlags): Promise<void> {
  const change = readPackage(file);
  const lock = flags.lock === undefined ? undefined : decodeLock(readText(flags.lock), change, flags.lock);
  const image = await withProgress((hooks) => buildChangedImage(change, { ...hooks, lock, refresh: flags.refresh }));
  const made = lockOf(image);
  if (flags.writeLock !== undefined && made !== undefined) writeOutput(flags.writeLock, Buffer.from(encodeLock(image, made)));
  if (flags.json === true) printJson(image);
  else process.stdout.write(describeImage(image));
}

const readText = (file: string): string => Buffer.from(readLimited(file, MANIFEST_BYTES_LIMIT)).toString("utf8");

export function addChangeCommand(program: Command): void {
  const change = program.command("change").description("changes to the guest, as packages");
  change
    .command("create")
    .argument("<directory>", "with change.yaml, and files/ and debs/ where needed")
    .requiredOption("--base <digest>", "digest of the image that is changed")
    .requiredOption("--out <file>", "the package that is written")
    .option("--json", "print facts and errors as JSON")
    .description("make a change package of a directory")
    .action((directory: string, flags: CreateFlags) => {
      const made = createChange(directory, flags.base);
      writeOutput(flags.out, made.bytes);
      if (flags.json === true) printJson({ file: flags.out, digest: made.digest, bytes: made.bytes.length });
      else printLines([`${flags.out}: ${made.bytes.length} bytes, digest ${made.digest}`]);
    });
  change
    .command("build")
    .argument("<file>", "a change package")
    .option("--lock <file>", "take the package versions that this file names")
    .option("--write-lock <file>", "write the package versions that were taken, to build the same image again elsewhere")
    .option("--refresh", "choose package versions anew, even if this change was built here before")
    .option("--json", "print the image and errors as JSON")
    .description("build the image that a change makes of its base")
    .addHelpText("after", BUILD_EXAMPLES)
    .action(build);
  addInstallCommands(change);
  change
    .command("inspect")
    .argument("<file>", "a change package")
    .option("--json", "print the manifest and errors as JSON")
    .description("check a change package and show what it brings")
    .action((file: string, flags: JsonFlag) => {
      const read = readPackage(file);
      if (flags.json === true) printJson({ digest: read.digest, manifest: read.manifest });
      else printLines(changeLines(read));
    });
}
