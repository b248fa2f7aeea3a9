/**
 * `steadfast support bundle`: what support needs to know about a server in one archive, without secrets. It needs nothing of the server:
 * one that is down, or whose management is gone, leaves its files.
 */
import { spawnSync } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, rmSync, statSync, writeFileSync } from "node:fs";
import { arch, cpus, release, totalmem, uptime } from "node:os";
import { basename, join } from "node:path";
import { gzipSync } from "node:zlib";
import { PACKAGE_VERSION } from "../api/version.js";
import { SteadfastError } from "../foundation/errors.js";
import { readEventFile } from "../modules/management-events.js";
import { readHeader } from "../recording/files.js";
import { redactText, redactValue } from "../support/redaction.js";
import { writeTar, type TarFile } from "../foundation/tar-writer.js";
import type { ServerClient } from "./client.js";

/** Of each log, its end. */
const LOG_BYTES_MAX = 1024 * 1024;
const LOG_FILES_MAX = 64;
const CONFIGURATION_BYTES_MAX = 256 * 1024;
const CONFIGURATION_FILES_MAX = 64;
const REPORTS_MAX = 16;
/** All files together, before compression; what comes later is left out, and the manifest says so. */
const BUNDLE_BYTES_MAX = 64 * 1024 * 1024;
/** What the names of our files look like; any others in our directories stay out. */
const NAME_PATTERN = /^[A-Za-z0-9._/#@+-]{1,100}$/;
const NAME_SHOWN_MAX = 120;
const PACKAGE_QUERY_LIMIT_MS = 5000;
/** Debian packages whose versions matter to how a server runs. */
const HOST_PACKAGES = ["iproute2", "passt", "e2fsprogs", "qemu-utils", "nodejs"];

export interface Bundle {
  readonly path: string;
  readonly bytes: number;
  readonly files: readonly string[];
  /** What is not in it, and why. */
  readonly leftOut: readonly string[];
}

class Contents {
  readonly files: TarFile[] = [];
  readonly leftOut: string[] = [];
  #bytes = 0;

  addJson(name: string, value: unknown): void {
    this.#add(name, `${JSON.stringify(redactValue(value), null, 2)}\n`);
  }

  addJsonLines(name: string, values: readonly unknown[]): void {
    this.#add(name, values.map((value) => `${JSON.stringify(redactValue(value))}\n`).join(""));
  }

  addText(name: string, text: string): void {
    this.#add(name, redactText(text));
  }

  #add(name: string, text: string): void {
    if (!NAME_PATTERN.test(name)) {
      this.leftOut.push(`${name.slice(0, NAME_SHOWN_MAX)}: a name that is none of ours`);
      return;
    }
    const data = Buffer.from(text);
    if (this.#bytes + data.length > BUNDLE_BYTES_MAX) {
      this.leftOut.push(`${name}: the bundle would be larger than ${BUNDLE_BYTES_MAX} bytes`);
      return;
    }
    this.#bytes += data.length;
    this.files.push({ name, data });
  }
}

function whyOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Files of a directory, oldest name first; none if it is not there. */
function filesIn(directory: string, limit: number): string[] {
  if (!existsSync(directory)) return [];
  const files = readdirSync(directory, { withFileTypes: true }).filter((entry) => entry.isFile());
  return files
    .map((entry) => entry.name)
    .sort()
    .slice(-limit)
    .map((name) => join(directory, name));
}

/** The last bytes of a file, from the beginning of a line on. */
function tailOf(path: string): string {
  const file = openSync(path, "r");
  try {
    const size = statSync(path).size;
    const start = Math.max(0, size - LOG_BYTES_MAX);
    const bytes = Buffer.alloc(size - start);
    const text = bytes.subarray(0, readSync(file, bytes, 0, bytes.length, start)).toString("utf8");
    return start === 0 ? text : text.slice(text.indexOf("\n") + 1);
  } finally {
    closeSync(file);
  }
}

async function addStatus(contents: Contents, client: ServerClient): Promise<void> {
  try {
    contents.addJson("status.json", await client.status());
  } catch (error) {
    contents.leftOut.push(`status.json: ${whyOf(error)}`);
  }
}

/** JSON files of the run directory: the plan, what was made, and each module's configuration. */
function addConfiguration(contents: Contents, client: ServerClient): void {
  const { runDirectory, arbiterDirectory } = client.paths;
  const isSmall = (path: string): boolean => statSync(path).size <= CONFIGURATION_BYTES_MAX;
  const nested = existsSync(runDirectory)
    ? readdirSync(runDirectory, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .flatMap((entry) => filesIn(join(runDirectory, entry.name), CONFIGURATION_FILES_MAX))
    : [];
  const own = [...filesIn(runDirectory, CONFIGURATION_FILES_MAX), ...nested].filter((path) => path.endsWith(".json"));
  for (const path of [...own.slice(0, CONFIGURATION_FILES_MAX), ...filesIn(arbiterDirectory, CONFIGURATION_FILES_MAX)]) {
    const isRunning = path.startsWith(runDirectory);
    const place = isRunning ? path.slice(runDirectory.length + 1).replaceAll("/", "-") : `arbiter-${basename(path)}`;
    const name = `configuration/${place}`;
    try {
      if (!isSmall(path)) contents.leftOut.push(`${name}: it is larger than ${CONFIGURATION_BYTES_MAX} bytes`);
      else if (path.endsWith(".json")) contents.addJson(name, JSON.parse(readFileSync(path, "utf8")));
      else contents.addText(name, readFileSync(path, "utf8"));
    } catch (error) {
      contents.leftOut.push(`${name}: ${whyOf(error)}`);
    }
  }
  if (!existsSync(client.paths.planFile)) contents.leftOut.push("configuration/server.json: the server does not run, and it ends with it");
}

/** Who claimed what and the verdict, not the checkpoint behind it: that is the guest's memory with whatever it holds. */
async function addReports(contents: Contents, client: ServerClient): Promise<void> {
  for (const path of filesIn(client.paths.reportDirectory, REPORTS_MAX)) {
    try {
      contents.addJson(`reports/${basename(path)}.json`, await readHeader(path));
    } catch (error) {
      contents.leftOut.push(`reports/${basename(path)}: ${whyOf(error)}`);
    }
  }
}

function addLogs(contents: Contents, client: ServerClient): void {
  for (const path of filesIn(client.paths.logDirectory, LOG_FILES_MAX)) {
    try {
      contents.addText(`logs/${basename(path)}`, tailOf(path));
    } catch (error) {
      contents.leftOut.push(`logs/${basename(path)}: ${whyOf(error)}`);
    }
  }
}

function hostPackages(): Record<string, string> {
  const format = "--showformat=${Package} ${Version}\\n";
  const { stdout } = spawnSync("dpkg-query", ["--show", format, ...HOST_PACKAGES], { encoding: "utf8", timeout: PACKAGE_QUERY_LIMIT_MS });
  const lines = (stdout ?? "").split("\n").map((line) => line.split(" "));
  const found = new Map(lines.map(([name = "", version = ""]) => [name, version]));
  return Object.fromEntries(HOST_PACKAGES.map((name) => [name, found.get(name) || "not installed"]));
}

function versions(): unknown {
  return {
    product: PACKAGE_VERSION,
    node: process.version,
    engines: process.versions,
    host: {
      kernel: release(),
      architecture: arch(),
      processors: cpus().length,
      memoryMiB: Math.round(totalmem() / 1024 / 1024),
      uptimeSeconds: Math.round(uptime()),
    },
    packages: hostPackages(),
  };
}

export async function makeBundle(client: ServerClient, path: string): Promise<Bundle> {
  const { runDirectory, stateDirectory, eventsFile } = client.paths;
  if (!existsSync(runDirectory) && !existsSync(stateDirectory)) {
    throw new SteadfastError("SUPPORT_NOTHING", { server: client.server, path: stateDirectory });
  }
  const contents = new Contents();
  contents.addJson("versions.json", versions());
  await addStatus(contents, client);
  addConfiguration(contents, client);
  contents.addJsonLines("events.jsonl", readEventFile(eventsFile));
  await addReports(contents, client);
  addLogs(contents, client);
  const files = contents.files.map((file) => file.name);
  const atMs = Date.now();
  contents.addJson("manifest.json", { server: client.server, atMs, files, leftOut: contents.leftOut });
  const archive = gzipSync(writeTar(contents.files, { mode: 0o600, modifiedAtMs: atMs }));
  writeNew(path, archive);
  return { path, bytes: archive.length, files: [...files, "manifest.json"], leftOut: contents.leftOut };
}

/** Never over another file, and nothing half written stays. */
function writeNew(path: string, bytes: Uint8Array): void {
  try {
    writeFileSync(path, bytes, { mode: 0o600, flag: "wx" });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EEXIST") rmSync(path, { force: true });
    throw new SteadfastError("SUPPORT_FILE", { path, why: code === "EEXIST" ? "it is there already" : whyOf(error) });
  }
}
