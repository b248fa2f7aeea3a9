/** `steadfast change upgrade`, `cutover`, `abort` and `commit`: changes that need a start of the guest, tried beside it first. */
import type { Command } from "commander";
import { readPackage } from "../certification/change-package.js";
import { SteadfastError } from "../foundation/errors.js";
import type { UpgradeOutcome } from "../installation/upgrade.js";
import type { PastInstallation } from "../modules/change-records.js";
import type { UpgradeView } from "../modules/management-upgrade.js";
import { upgradePhaseText } from "../view/upgrade.js";
import { broughtChange, demandBase, type TargetFlags } from "./change-target.js";
import type { ServerClient } from "./client.js";
import { paint, printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const POLL_MS = 200;

interface UpgradeFlags extends TargetFlags {
  readonly cutover?: boolean;
}

const EXAMPLES = `
Examples:
  steadfast change upgrade kernel.tar --certificate kernel.cert    # tries it; the server serves on
  steadfast change status                                          # how the trial is, and what can be asked for
  steadfast change cutover                                         # starts the guest with it; or: change abort
  steadfast change commit                                          # keeps it; or: change rollback
  steadfast change upgrade kernel.tar --uncertified "trying it" --cutover
`;

function outageText(outageMs: number | null | undefined): string {
  return outageMs === null || outageMs === undefined ? "" : `; the guest was away for ${(outageMs / 1000).toFixed(1)} s`;
}

export function upgradeLines({ name, phase, why, trial, outageMs, hasFormerDisk, allowed, to }: UpgradeView): string[] {
  const lines = [
    `upgrade to ${name} (image ${to.image.slice(0, 12)}, ${to.memoryMiB} MiB): ${upgradePhaseText(phase)}${outageText(outageMs)}`,
  ];
  if (why !== null) lines.push(`  ${why}`);
  if (trial !== null) lines.push(`  the trial: steadfast console --server ${trial}`);
  if (hasFormerDisk) lines.push("  the disk as it was at the cutover is kept (rollback --former-disk)");
  if (allowed.length > 0) lines.push(`  next: ${allowed.map((each) => `steadfast change ${each}`).join(", or ")}`);
  return lines;
}

/**
 * Until it waits for the operator, or is over. It goes on whether anybody watches or not. `wanted`: how it is to end; anything else is an
 * error.
 */
export async function followUpgrade(client: ServerClient, id: string, flags: ServerFlags, wanted: UpgradeOutcome): Promise<void> {
  let said = "";
  for (;;) {
    const { upgrade, history } = await client.changes();
    const past = history.find((each) => each.id === id);
    if (past !== undefined) return tellEnd(past, flags, wanted);
    if (upgrade?.id === id) {
      if (upgrade.phase !== said && flags.json !== true) process.stderr.write(`${upgradePhaseText(upgrade.phase)}\n`);
      said = upgrade.phase;
      if (wanted === "upgraded" && (upgrade.phase === "tried" || upgrade.phase === "uncommitted")) {
        if (flags.json === true) return printJson(upgrade);
        return printLines(upgradeLines(upgrade));
      }
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

function tellEnd(past: PastInstallation, flags: ServerFlags, wanted: UpgradeOutcome): void {
  const { name, outcome, why } = past;
  const outageMs = wanted === "rolledBack" ? past.outageBackMs : past.outageMs;
  if (outcome !== wanted || why !== null)
    throw new SteadfastError("UPGRADE_ENDED", { name, outcome, why: (why ?? "the operator wanted it so").replace(/\.$/, "") });
  if (flags.json === true) return printJson(past);
  const how = { upgraded: "is committed", aborted: "is ended; nothing is left of it", rolledBack: "is taken back", failed: "failed" }[
    wanted
  ];
  printLines([`The upgrade to ${paint(name, "bold")} ${how}${outageText(outageMs)}.`]);
}

async function upgrade(file: string, flags: UpgradeFlags): Promise<void> {
  const client = chosenServer(flags);
  const change = readPackage(file);
  await demandBase(client, change);
  const request = await broughtChange(client, change, file, flags);
  const { id } = await client.upgradeChange({ ...request, ...(flags.cutover === true && { cutover: true }) });
  // With --cutover it only passes through the phases that wait.
  await followUpgrade(client, id, flags, "upgraded");
}

async function step(what: "cutover" | "abort" | "commit", flags: ServerFlags): Promise<void> {
  const client = chosenServer(flags);
  const { id } = await client.upgradeStep(what);
  await followUpgrade(client, id, flags, what === "abort" ? "aborted" : "upgraded");
}

export function addUpgradeCommands(change: Command): void {
  withServerOptions(change.command("upgrade"))
    .argument("<file>", "a change package for the image that the server runs, also one about kernel, command line or memory")
    .option("--certificate <file>", "its certificate, if it is not installed yet")
    .option("--uncertified <reason>", "without a certificate; the reason is shown wherever the server's state is")
    .option("--cutover", "start the guest with it as soon as the trial is healthy")
    .description("try a change on a second server beside this one, to start the guest with it then")
    .addHelpText("after", EXAMPLES)
    .action(upgrade);
  const steps = {
    cutover: "start the guest with the change that was tried; shows for how long it was away",
    abort: "end the trial; nothing is left of it",
    commit: "keep the upgrade; the way back is given up",
  } as const;
  for (const [what, description] of Object.entries(steps) as ["cutover" | "abort" | "commit", string][])
    withServerOptions(change.command(what))
      .description(description)
      .action((flags: ServerFlags) => step(what, flags));
}
