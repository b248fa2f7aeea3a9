/** `steadfast change install`, `rollback` and `status`: changes on the guest that runs. */
import type { Command } from "commander";
import { readPackage } from "../certification/change-package.js";
import { SteadfastError } from "../foundation/errors.js";
import type { PastInstallation } from "../modules/change-records.js";
import type { ChangeView } from "../modules/management-changes.js";
import { broughtChange, demandBase, type TargetFlags } from "./change-target.js";
import { addUpgradeCommands, followUpgrade, upgradeLines } from "./change-upgrade.js";
import type { ServerClient } from "./client.js";
import { paint, printJson, printLines, table } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const POLL_MS = 300;

interface RollbackFlags extends ServerFlags, Pick<TargetFlags, "uncertified"> {
  readonly formerDisk?: boolean;
}

const EXAMPLES = `
Examples:
  steadfast change install sqlite.tar --certificate sqlite.cert
  steadfast change install sqlite.tar --uncertified "trying it until Friday"
  steadfast change status
  steadfast change rollback
`;

/** Everything that can be refused is refused here or by the server, before anything happens in the guest. */
async function install(file: string, flags: TargetFlags): Promise<void> {
  const client = chosenServer(flags);
  const change = readPackage(file);
  await demandBase(client, change);
  const { kernel, commandLine, memoryMiB, diskMiB } = change.manifest;
  const needsStart = Object.entries({
    "the kernel": kernel,
    "the kernel command line": commandLine,
    "the memory": memoryMiB,
    "the disk": diskMiB,
  });
  const what = needsStart.find(([, value]) => value !== undefined)?.[0];
  if (what !== undefined) throw new SteadfastError("CHANGE_NEEDS_START", { what, server: client.server });
  const { id } = await client.installChange(await broughtChange(client, change, file, flags));
  await toTheEnd(client, id, flags);
}

async function rollback(flags: RollbackFlags): Promise<void> {
  const client = chosenServer(flags);
  const isUpgrade = (await client.changes()).upgrade !== null;
  const { id } = await client.rollBackChange({
    ...(flags.uncertified !== undefined && { uncertified: flags.uncertified }),
    ...(flags.formerDisk === true && { formerDisk: true }),
  });
  await (isUpgrade ? followUpgrade(client, id, flags, "rolledBack") : toTheEnd(client, id, flags));
}

/** The installation goes on whether anybody watches or not. */
async function toTheEnd(client: ServerClient, id: string, flags: ServerFlags): Promise<void> {
  let said = "";
  for (;;) {
    const view = await client.changes();
    const past = view.history.find((each) => each.id === id);
    if (past !== undefined) return tellEnd(past, flags);
    const now = view.current === null ? "" : progressOf(view.current);
    if (now !== said && now !== "" && flags.json !== true) process.stderr.write(`${now}\n`);
    said = now;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function progressOf({ phase, sentBytes, bytes }: NonNullable<ChangeView["current"]>): string {
  // A line for each tenth, so that a log stays readable.
  const percent = bytes === 0 ? 100 : Math.floor((sentBytes / bytes) * 10) * 10;
  return phase === "staging" ? `${phase}: ${percent}% of ${Math.ceil(bytes / 1024)} KiB` : phase;
}

function tellEnd(past: PastInstallation, flags: ServerFlags): void {
  const { name, kind, outcome, why } = past;
  const what = kind === "install" ? "installed" : "taken back";
  if (outcome !== "installed")
    throw new SteadfastError("CHANGE_NOT_INSTALLED", { name, what, outcome, why: (why ?? "").replace(/\.$/, "") });
  if (flags.json === true) return printJson(past);
  const deeds = past.services.map((action) => `${action.name} (${action.deed})`).join(", ");
  printLines([`The change ${paint(name, "bold")} is ${what}: ${past.files} paths; services: ${deeds === "" ? "none touched" : deeds}.`]);
}

async function status(flags: ServerFlags): Promise<void> {
  const view = await chosenServer(flags).changes();
  if (flags.json === true) return printJson(view);
  const lines = [`image ${view.running}`];
  if (view.upgrade !== null) lines.push(...upgradeLines(view.upgrade));
  if (view.current !== null) lines.push(`${view.current.kind} of ${view.current.name} under way: ${progressOf(view.current)}`);
  const rows = view.history.map((past) => [past.endedAt, past.kind, past.name, past.outcome, past.to.slice(0, 12), past.why ?? ""]);
  if (rows.length > 0) lines.push("", ...table([["ENDED", "WHAT", "CHANGE", "OUTCOME", "IMAGE", "WHY"], ...rows]));
  printLines(lines);
}

export function addInstallCommands(change: Command): void {
  withServerOptions(change.command("install"))
    .argument("<file>", "a change package for the image that the server runs")
    .option("--certificate <file>", "its certificate, if it is not installed yet")
    .option("--uncertified <reason>", "without a certificate; the reason is shown wherever the server's state is")
    .description("install a change on the running guest, in lockstep; what fails is taken back")
    .addHelpText("after", EXAMPLES)
    .action(install);
  withServerOptions(change.command("rollback"))
    .option("--uncertified <reason>", "if no certificate covers the image that was there before")
    .option("--former-disk", "of an upgrade: with the disk as it was at the cutover; WHAT WAS WRITTEN SINCE IS LOST")
    .description("take back an upgrade that is not committed, or the last change that was installed")
    .action(rollback);
  withServerOptions(change.command("status"))
    .description("the image that runs, the installation or upgrade under way, those that were")
    .action(status);
  addUpgradeCommands(change);
}
