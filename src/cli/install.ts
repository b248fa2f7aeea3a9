/** `steadfast install` and `uninstall`: a systemd unit for a server, so that it starts at boot and is shut down with the host. */
import { spawnSync } from "node:child_process";
import { existsSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { formatPublished } from "../ports/published-port.js";
import { printJson, printLines } from "./output.js";
import { chosenName, withServerOptions, type ServerFlags } from "./server-choice.js";
import { readSettings, type UpFlags } from "./settings.js";
import { makeUnit, unitName } from "./systemd-unit.js";
import { withSettings } from "./up.js";

const PROGRAM_PATH = fileURLToPath(new URL("../../bin/steadfast", import.meta.url));
const UNIT_DIRECTORY = "/etc/systemd/system";
/** Exists while systemd is the host's init (sd_booted(3)). */
const SYSTEMD_MARK = "/run/systemd/system";
/** Where servers and images are, if not in the usual places. */
const PASSED_ON = ["STEADFAST_RUN", "STEADFAST_STATE", "STEADFAST_CACHE"];

interface InstallFlags extends UpFlags {
  readonly print?: boolean;
}

interface UninstallFlags extends ServerFlags {
  readonly print?: boolean;
}

export function addInstallCommands(program: Command): void {
  withSettings(program.command("install"))
    .description("start a server at every boot: writes and enables a systemd unit with these settings")
    .option("--print", "print the unit instead")
    .option("--json", "print facts and errors as JSON")
    .addHelpText("after", "\nExamples:\n  steadfast install bank.yaml\n  steadfast install --redundancy triplex --print")
    .action((file: string | undefined, flags: InstallFlags) => install(file, flags));
  withServerOptions(program.command("uninstall"))
    .description("stop a server and do not start it at boot any more: removes its systemd unit")
    .option("--print", "print what would be done instead")
    .action((flags: UninstallFlags) => uninstall(flags));
}

function install(file: string | undefined, flags: InstallFlags): void {
  const { name } = readSettings(file, flags);
  const unit = unitName(name);
  const path = `${UNIT_DIRECTORY}/${unit}`;
  const text = makeUnit({
    server: name,
    node: process.execPath,
    program: PROGRAM_PATH,
    parameters: [...(file === undefined ? [] : [resolve(file)]), ...settingsOf(name, flags)],
    environment: Object.fromEntries(PASSED_ON.flatMap((variable) => (process.env[variable] ? [[variable, process.env[variable]]] : []))),
  });
  if (flags.print === true) {
    if (flags.json === true) printJson({ unit, path, text });
    else process.stdout.write(text);
    return;
  }
  demandSystemd();
  // In one step, so that systemd never reads half of it.
  writeFileSync(`${path}.new`, text, { mode: 0o644 });
  renameSync(`${path}.new`, path);
  systemctl(["daemon-reload"], unit);
  systemctl(["enable", unit], unit);
  if (flags.json === true) printJson({ unit, path });
  else printLines([`Server ${name} starts at every boot (${path}); \`systemctl start ${unit}\` starts it now.`]);
}

function uninstall(flags: UninstallFlags): void {
  const server = chosenName(flags);
  const unit = unitName(server);
  const path = `${UNIT_DIRECTORY}/${unit}`;
  if (flags.print === true) {
    const lines = [`systemctl disable --now ${unit}`, `rm ${path}`, "systemctl daemon-reload"];
    if (flags.json === true) printJson({ unit, path, commands: lines });
    else printLines(lines);
    return;
  }
  demandSystemd();
  if (!existsSync(path)) throw new SteadfastError("UNIT_MISSING", { server, path });
  systemctl(["disable", "--now", unit], unit);
  rmSync(path, { force: true });
  systemctl(["daemon-reload"], unit);
  if (flags.json === true) printJson({ unit, path });
  else printLines([`Server ${server} is stopped and does not start at boot any more.`]);
}

/** The options of `up` again, all paths absolute: systemd starts it from another directory. */
function settingsOf(name: string, flags: InstallFlags): string[] {
  const {
    memory,
    disk,
    release,
    kernel,
    initrd,
    redundancy,
    network,
    publish = [],
    address,
    lagLimit,
    guestWatch,
    listen,
    uncertified,
  } = flags;
  const path = (file: string | undefined): string | undefined => (file === undefined ? undefined : resolve(file));
  const isKind = kernel === "stock" || kernel === "hardened";
  const options: readonly (readonly [string, string | number | undefined])[] = [
    ["--name", name],
    ["--memory", memory],
    ["--disk", disk],
    ["--release", release],
    ["--kernel", kernel === undefined || isKind ? kernel : resolve(kernel)],
    ["--initrd", path(initrd)],
    ["--redundancy", redundancy],
    ["--network", network],
    ...publish.map((port) => ["--publish", formatPublished(port)] as const),
    ["--address", address],
    ["--listen", listen],
    ["--tls-certificate", path(flags.tlsCertificate)],
    ["--tls-key", path(flags.tlsKey)],
    ["--lag-limit", lagLimit],
    ["--guest-watch", guestWatch],
    ["--uncertified", uncertified],
  ];
  const words = options.flatMap(([option, value]) => (value === undefined ? [] : [option, String(value)]));
  return flags.checkpoints ? words : [...words, "--no-checkpoints"];
}

function demandSystemd(): void {
  if (process.getuid?.() !== 0) throw new SteadfastError("INSTALL_ROOT");
  if (!existsSync(SYSTEMD_MARK)) throw new SteadfastError("SYSTEMD_MISSING");
}

function systemctl(parameters: readonly string[], unit: string): void {
  const result = spawnSync("systemctl", parameters, { encoding: "utf8" });
  if (result.status === 0) return;
  const why = result.error?.message ?? result.stderr.trim().split("\n")[0] ?? "";
  throw new SteadfastError("SYSTEMD_FAILED", { command: `systemctl ${parameters.join(" ")}`, why, unit });
}
