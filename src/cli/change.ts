/** `steadfast change …`: changes to the guest as packages. */
import type { Command } from "commander";
import { createFromDebs, createFromRecipes } from "../certification/create-from.js";
import { SteadfastError } from "../foundation/errors.js";
import { createChange, type MadeChange } from "../certification/create.js";
import { readLimited, readPackage, type ChangePackage } from "../certification/change-package.js";
import { buildChangedImage, decodeLock, encodeLock } from "../certification/build-changed.js";
import { MANIFEST_BYTES_LIMIT } from "../certification/limits.js";
import { printable, type Manifest, type ManifestFile } from "../certification/manifest.js";
import { lockOf } from "../image/index.js";
import { writeOutput, type JsonFlag } from "./certificate.js";
import { addCertifyCommand } from "./certify.js";
import { addInstallCommands } from "./change-install.js";
import { describeImage, withProgress } from "./image.js";
import { printJson, printLines, table } from "./output.js";

interface CreateFlags extends JsonFlag {
  readonly base: string;
  readonly deb?: readonly string[];
  readonly fromRecipe?: readonly string[];
  readonly name?: string;
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

const CREATE_EXAMPLES = `
Examples:
  steadfast change create mychange --base DIGEST --out mychange.tar
  steadfast change create --deb tool_1.0_riscv64.deb --base DIGEST --out tool.tar
  steadfast change create --from-recipe old.yaml new.yaml --base DIGEST --out new.tar
`;

function create(directory: string | undefined, { base, deb, fromRecipe, name }: CreateFlags): MadeChange {
  const sources = [directory, deb, fromRecipe].filter((source) => source !== undefined);
  if (sources.length !== 1) throw new SteadfastError("USAGE", { what: "Give one of a directory, --deb and --from-recipe." });
  if (deb !== undefined) return createFromDebs(deb, base, name);
  if (directory !== undefined) {
    if (name !== undefined)
      throw new SteadfastError("USAGE", { what: "The change.yaml of the directory names the change; leave --name away." });
    return createChange(directory, base);
  }
  const [before, after, ...more] = fromRecipe ?? [];
  if (before === undefined || after === undefined || more.length > 0)
    throw new SteadfastError("USAGE", { what: "--from-recipe needs two recipes, the old and the new one." });
  return createFromRecipes(before, after, base, name);
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
    .argument("[directory]", "with change.yaml, and files/ and debs/ where needed")
    .option("--deb <file...>", "instead of a directory: Debian packages to install")
    .option("--from-recipe <file...>", "instead of a directory: two recipes, the old and the new one, whose difference is the change")
    .option("--name <name>", "what the change is called, if no directory says it; default: the package or the new recipe")
    .requiredOption("--base <digest>", "digest of the image that is changed")
    .requiredOption("--out <file>", "the package that is written")
    .option("--json", "print facts and errors as JSON")
    .description("make a change package of a directory, of Debian packages or of two recipes")
    .addHelpText("after", CREATE_EXAMPLES)
    .action((directory: string | undefined, flags: CreateFlags) => {
      const made = create(directory, flags);
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
  addCertifyCommand(change);
}
