/** `steadfast disk …`: the guest's mirrored disk, grown and looked through while it runs, exported, imported and compared while it does not. */
import { spawnSync } from "node:child_process";
import { existsSync, rmSync } from "node:fs";
import type { Command } from "commander";
import { MIB } from "../foundation/bytes.js";
import { SteadfastError } from "../foundation/errors.js";
import { findProgram } from "../image/command.js";
import { compareMirrors, exportDisk, importDisk, readHeader } from "../modules/disk-files.js";
import { ServerClient } from "./client.js";
import { EXIT_INTERNAL, printJson, printLines } from "./output.js";
import { chosenServer, checkServerName, DEFAULT_SERVER_NAME, withServerOptions, type ServerFlags } from "./server-choice.js";
import { parseMemory } from "./settings.js";

const ENCLOSURES = ["enclosure0", "enclosure1", "enclosure2"] as const;

interface DiskFlags extends ServerFlags {
  readonly directory?: string[];
}

/** Where the mirrors of a server are that does not run; errors if it does, or has none. */
async function mirrorsOf(flags: DiskFlags): Promise<string[]> {
  const client = new ServerClient(checkServerName(flags.server ?? DEFAULT_SERVER_NAME));
  if ((await client.statusOrNull()) !== null) throw new SteadfastError("SERVER_RUNNING", { server: client.server });
  const usual = ENCLOSURES.map((enclosure) => `${client.paths.stateDirectory}/${enclosure}/disk`);
  const found: string[] = [];
  for (const directory of flags.directory ?? usual) {
    if (existsSync(directory) && (await readHeader(directory)).diskId !== "") found.push(directory);
  }
  return found;
}

/** The one that was in sync last. */
async function newestMirror(flags: DiskFlags): Promise<string> {
  const mirrors = await Promise.all(
    (await mirrorsOf(flags)).map(async (directory) => ({ directory, header: await readHeader(directory) })),
  );
  const [newest] = mirrors.sort((left, right) => right.header.syncedAt - left.header.syncedAt);
  if (newest === undefined) throw new SteadfastError("DISK_NONE", { server: flags.server ?? DEFAULT_SERVER_NAME });
  return newest.directory;
}

const isQcow2 = (path: string): boolean => path.endsWith(".qcow2");

function convert(from: string, to: string, format: "raw" | "qcow2"): void {
  const program = findProgram("qemu-img");
  if (program === undefined) throw new SteadfastError("QEMU_IMG_MISSING", {});
  const done = spawnSync(program, ["convert", "-O", format, from, to], { encoding: "utf8" });
  if (done.status !== 0) throw new SteadfastError("DISK_FILE", { path: to, why: done.stderr.trim().split("\n")[0] ?? "qemu-img failed" });
}

/** With a raw file in between where the other one is qcow2. */
async function throughRaw(path: string, act: (raw: string) => Promise<void>, isExport: boolean): Promise<void> {
  if (!isQcow2(path)) return act(path);
  const raw = `${path}.raw`;
  try {
    if (!isExport) convert(path, raw, "raw");
    await act(raw);
    if (isExport) convert(raw, path, "qcow2");
  } finally {
    rmSync(raw, { force: true });
  }
}

async function compare(flags: DiskFlags): Promise<void> {
  const [first, ...others] = await mirrorsOf(flags);
  if (first === undefined) throw new SteadfastError("DISK_NONE", { server: flags.server ?? DEFAULT_SERVER_NAME });
  let isEqual = true;
  for (const other of others) {
    const { blocks, differing, bad } = await compareMirrors(first, other);
    isEqual &&= differing.length === 0 && bad[0].length + bad[1].length === 0;
    const facts = { first, other, blocks, differing: differing.length, bad: [bad[0].length, bad[1].length] };
    if (flags.json === true) printJson(facts);
    else printLines([`${first} and ${other}: ${blocks} blocks, ${differing.length} differ, ${bad[0].length} and ${bad[1].length} are bad`]);
  }
  if (others.length === 0) printLines([`${first} is the only mirror: there is nothing to compare it with.`]);
  if (!isEqual) process.exitCode = EXIT_INTERNAL;
}

const withDirectories = (command: Command): Command =>
  withServerOptions(command).option("--directory <path...>", "where the mirrors are, if the server file says so");

export function addDiskCommand(program: Command): void {
  const disk = program.command("disk").description("the guest's mirrored disk");
  withServerOptions(disk.command("grow"))
    .argument("<size>", "new size in MiB, or with a unit: 2G", parseMemory)
    .description("make the disk of a running server larger, and the file system on it")
    .action(async (sizeMiB: number, flags: ServerFlags) => {
      await chosenServer(flags).disk("grow", sizeMiB * MIB);
      printLines(["The disk grows, and then the ext4 on it; `steadfast events` tells when they have."]);
    });
  withServerOptions(disk.command("scrub"))
    .description("look through all blocks of all mirrors of a running server now, and repair what is bad")
    .action(async (flags: ServerFlags) => {
      await chosenServer(flags).disk("scrub");
      printLines(["All blocks are being looked through; `steadfast events` tells the outcome."]);
    });
  withDirectories(disk.command("export"))
    .argument("<file>", "raw, or qcow2 by its name (qemu-img makes it)")
    .description("write the disk of a stopped server to a file")
    .action((file: string, flags: DiskFlags) => throughRaw(file, async (raw) => exportDisk(await newestMirror(flags), raw), true));
  withDirectories(disk.command("import"))
    .argument("<file>", "raw or qcow2 file")
    .description("give a server that has no disk yet one with the contents of a file")
    .action(async (file: string, flags: DiskFlags) => {
      const server = checkServerName(flags.server ?? DEFAULT_SERVER_NAME);
      const directory = flags.directory?.[0] ?? `${new ServerClient(server).paths.stateDirectory}/enclosure0/disk`;
      if ((await mirrorsOf(flags)).length > 0) throw new SteadfastError("MIRROR_EXISTS", { directory, disk: server });
      await throughRaw(file, (raw) => importDisk(directory, globalThis.crypto.randomUUID(), raw), false);
    });
  withDirectories(disk.command("compare")).description("compare the mirrors of a stopped server, block by block").action(compare);
}
