/** `steadfast image`: build guest images from recipes and list them. */

import type { Command } from "commander";
import cliProgress from "cli-progress";
import { listImages, type BuildProgress, type ImageRecord, type OnProgress } from "../image/index.js";
import { SteadfastError } from "../foundation/errors.js";
import { buildCertified } from "./base-certificate.js";

interface BuildFlags {
  readonly kernel?: string;
  readonly refresh?: boolean;
  readonly json?: boolean;
}

export function addImageCommand(program: Command): void {
  const image = program.command("image").description("build and list guest images");
  image
    .command("build")
    .description("build a guest image from a recipe (without one: the default, nginx and Redis)")
    .argument("[recipe]", "path of a recipe file")
    .option("--kernel <kind>", "stock (Debian's kernel) or hardened (built here from Debian's source); default: what the recipe says")
    .option("--refresh", "ask the Debian mirror for newer packages even if its index was read within the last hours")
    .option("--json", "print the result as JSON")
    .action(async (recipe: string | undefined, flags: BuildFlags) => {
      const { kernel } = flags;
      if (kernel !== undefined && kernel !== "stock" && kernel !== "hardened") {
        throw new SteadfastError("USAGE", { what: `--kernel ${kernel} is not known; it can be stock or hardened.` });
      }
      const record = await withProgress((hooks) => buildCertified({ recipePath: recipe, kernel, refresh: flags.refresh, ...hooks }));
      process.stdout.write(flags.json === true ? JSON.stringify(record, null, 2) + "\n" : describeImage(record));
    });
  image
    .command("ls")
    .description("list the images on this host, newest first")
    .option("--json", "print the list as JSON")
    .action((flags: { readonly json?: boolean }) => {
      const images = listImages();
      if (flags.json === true) process.stdout.write(JSON.stringify(images, null, 2) + "\n");
      else process.stdout.write(images.length === 0 ? "No images yet; make one with: steadfast image build\n" : imageTable(images));
    });
}

/** Runs a build with its progress on standard error; a signal ends it cleanly. */
export async function withProgress<T>(build: (hooks: { onProgress: OnProgress; signal: AbortSignal }) => Promise<T>): Promise<T> {
  const view = new ProgressView(process.stderr);
  const abort = new AbortController();
  const stop = () => abort.abort();
  process.once("SIGINT", stop);
  process.once("SIGTERM", stop);
  try {
    return await build({ onProgress: (progress) => view.show(progress), signal: abort.signal });
  } finally {
    view.end();
    process.off("SIGINT", stop);
    process.off("SIGTERM", stop);
  }
}

/** Progress of a build: a bar on a terminal, a line per step elsewhere. */
export class ProgressView {
  private bar: cliProgress.SingleBar | undefined;
  private step = "";

  constructor(private readonly stream: NodeJS.WriteStream) {}

  show(progress: BuildProgress): void {
    if (progress.warning !== undefined) {
      this.end();
      this.stream.write(`warning: ${progress.warning}\n`);
    }
    if (progress.step !== this.step) {
      this.end();
      this.step = progress.step;
      if (!this.stream.isTTY) this.stream.write(`${progress.step} …\n`);
    }
    if (this.stream.isTTY) this.draw(progress);
  }

  end(): void {
    this.bar?.stop();
    this.bar = undefined;
    this.step = "";
  }

  private draw(progress: BuildProgress): void {
    if (this.bar === undefined) {
      const format = "{step} {bar} {percentage}%";
      this.bar = new cliProgress.SingleBar(
        { format, stream: this.stream, hideCursor: true, barsize: 30, clearOnComplete: true },
        cliProgress.Presets.shades_classic,
      );
      this.bar.start(100, 0, { step: progress.step });
    }
    this.bar.update(Math.round((progress.fraction ?? 0) * 100), { step: progress.step });
  }
}

export function describeImage(record: ImageRecord): string {
  const lines = [
    `image    ${record.name} ${record.digest.slice(0, 12)}`,
    ...(record.provenance === undefined
      ? []
      : [`digest   ${record.digest}`, `base     ${record.provenance.base}`, `change   ${record.provenance.change}`]),
    `kernel   ${record.kernelRelease} (${record.kernelKind}, ${mebibytes(record.kernelBytes)} MiB)`,
    `initrd   ${mebibytes(record.initrdBytes)} MiB, ${record.packages.length} packages`,
    `memory   ${record.memoryMiB} MiB`,
    `files    ${record.directory}`,
  ];
  return lines.join("\n") + "\n";
}

function imageTable(images: readonly ImageRecord[]): string {
  const header = ["NAME", "DIGEST", "KERNEL", "RELEASE", "SIZE", "BUILT"];
  const rows = images.map((image) => [
    image.name,
    image.digest.slice(0, 12),
    image.kernelKind,
    image.kernelRelease,
    `${mebibytes(image.kernelBytes + image.initrdBytes)} MiB`,
    image.builtAt.slice(0, 19).replace("T", " "),
  ]);
  const all = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...all.map((row) => (row[column] ?? "").length)));
  return all
    .map(
      (row) =>
        row
          .map((cell, column) => cell.padEnd(widths[column] ?? 0))
          .join("  ")
          .trimEnd() + "\n",
    )
    .join("");
}

function mebibytes(bytes: number): number {
  return Math.round(bytes / 1048576);
}
