/** `steadfast change install`, `rollback` and `status`: changes on the guest that runs. */
import type { Command } from "commander";
import { buildChangedImage } from "../certification/build-changed.js";
import { encodePackage, readLimited, readPackage, type ChangePackage } from "../certification/change-package.js";
import { decodeEnvelope, type Envelope } from "../certification/dsse.js";
import { ENVELOPE_BYTES_LIMIT } from "../certification/limits.js";
import { verifyCertificate } from "../certification/verify.js";
import { SteadfastError } from "../foundation/errors.js";
import { makeDirectory, replaceDurably } from "../image/files.js";
import { cachePaths } from "../image/paths.js";
import { readImages, type ImageRecord } from "../image/store.js";
import { certificateStore, keyStore } from "../modules/certificates-on-host.js";
import { packageDirectory, packageFile, type PastInstallation } from "../modules/change-records.js";
import type { ChangeView } from "../modules/management-change.js";
import type { ServerClient } from "./client.js";
import { withProgress } from "./image.js";
import { paint, printJson, printLines, table } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const POLL_MS = 300;

interface InstallFlags extends ServerFlags {
  readonly certificate?: string;
  readonly uncertified?: string;
}

type RollbackFlags = ServerFlags & Pick<InstallFlags, "uncertified">;

const EXAMPLES = `
Examples:
  steadfast change install sqlite.tar --certificate sqlite.cert
  steadfast change install sqlite.tar --uncertified "trying it until Friday"
  steadfast change status
  steadfast change rollback
`;

/** A certificate that holds here and now, for this change on this base; the digest of the image that it is for. */
function certifiedImage(envelope: Envelope, change: ChangePackage): string {
  const keys = keyStore();
  const expected = { imageDigest: null, changeDigest: change.digest, base: change.manifest.base.sha256, policyDigest: null };
  const trust = { trustedKeys: keys.trusted(), revocations: keys.revoked(), threshold: 1 };
  const outcome = verifyCertificate({ envelope, ...trust, nowMs: Date.now(), expected });
  if (!outcome.ok) throw outcome.reason;
  return outcome.statement.subject[0].digest.sha256;
}

async function targetImage(change: ChangePackage, certified: string | null): Promise<ImageRecord> {
  const base = change.manifest.base.sha256;
  const isOfChange = ({ provenance, digest }: ImageRecord): boolean =>
    provenance?.base === base && provenance.change === change.digest && (certified === null || certified === digest);
  const found = readImages(cachePaths()).find(isOfChange) ?? (await withProgress((hooks) => buildChangedImage(change, hooks)));
  if (certified !== null && found.digest !== certified)
    throw new SteadfastError("CERTIFICATE_OTHER_IMAGE", { certified, wanted: found.digest });
  return found;
}

/** Everything that can be refused is refused here or by the server, before anything happens in the guest. */
async function install(file: string, flags: InstallFlags): Promise<void> {
  const client = chosenServer(flags);
  const change = readPackage(file);
  const { base, kernel, commandLine, memoryMiB, diskMiB } = change.manifest;
  const running = (await client.changes()).running;
  if (base.sha256 !== running) throw new SteadfastError("CHANGE_OTHER_BASE", { base: base.sha256, running });
  const needsStart = Object.entries({
    "the kernel": kernel,
    "the kernel command line": commandLine,
    "the memory": memoryMiB,
    "the disk": diskMiB,
  });
  const what = needsStart.find(([, value]) => value !== undefined)?.[0];
  if (what !== undefined) throw new SteadfastError("CHANGE_NEEDS_START", { what, server: client.server });
  const envelope = flags.certificate === undefined ? null : decodeEnvelope(readLimited(flags.certificate, ENVELOPE_BYTES_LIMIT));
  const image = await targetImage(change, envelope === null ? null : certifiedImage(envelope, change));
  if (envelope !== null) certificateStore().install(image.digest, envelope);
  makeDirectory(packageDirectory(client.paths));
  replaceDurably(packageFile(client.paths, change.digest), encodePackage(change.manifest, change.contents, file));
  const { id } = await client.installChange({
    ...{ image: image.digest, change: change.digest },
    ...(flags.uncertified !== undefined && { uncertified: flags.uncertified }),
  });
  await toTheEnd(client, id, flags);
}

async function rollback(flags: RollbackFlags): Promise<void> {
  const client = chosenServer(flags);
  const { id } = await client.rollBackChange(flags.uncertified);
  await toTheEnd(client, id, flags);
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
    .description("take back the last change that was installed, the same way")
    .action(rollback);
  withServerOptions(change.command("status"))
    .description("the image that runs, the installation under way, those that were")
    .action(status);
}
