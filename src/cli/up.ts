/** `steadfast up`: from a server file and options to a running server. */
import { Option, type Command } from "commander";
import { MIB } from "../foundation/bytes.js";
import { SteadfastError } from "../foundation/errors.js";
import type { ImageRecord } from "../image/index.js";
import { installedOver } from "../modules/change-images.js";
import { serverPaths } from "../modules/management-paths.js";
import { GUEST_WATCHES } from "../modules/guest-health.js";
import type { ServerReport } from "../modules/management-status.js";
import { localHost, publishedText } from "../ports/published-port.js";
import { ProgressView } from "./image.js";
import { followServer } from "./live-view.js";
import { listenFlag } from "./listen-choice.js";
import { paint, printJson, printLines } from "./output.js";
import { NETWORK_KINDS, publishFlag, USER_NETWORK_LIMIT } from "./network-choice.js";
import { redundancyFlag } from "./redundancy-flag.js";
import { frontLines, standingSentence } from "./report-view.js";
import { makePlan, parseMemory, readSettings, resolveImage, type Settings, type UpFlags } from "./settings.js";
import { resumeManagement, startServer, waitUntilStanding, type Standing } from "./start-server.js";
import { ServerClient } from "./client.js";
import { wholeNumber } from "./whole-number.js";

const WAIT_SECONDS_DEFAULT = 60;
/** A Ctrl-C gives the guest this long to shut down; a second one does not wait. */
const INTERRUPT_GRACE_MS = 5000;

/** The options that say what the server is to be like. */
export function withSettings(command: Command): Command {
  return command
    .argument("[file]", "server file (YAML); without one the defaults do")
    .option("--name <name>", "name of the server (default: main)")
    .option("--memory <MiB>", "memory of the guest, 64 to 3072 MiB", parseMemory)
    .option("--disk <MiB>", "a mirrored disk of this size for the guest, on /data; once made it stays", parseMemory)
    .addOption(new Option("--release <kind>", "when an output takes effect").choices(["compared", "logged"]))
    .option("--kernel <kernel>", "stock, hardened, or the path of your own RISC-V kernel")
    .option("--initrd <path>", "initial RAM disk for your own kernel")
    .option("--redundancy <kind>", "simplex, duplex (default), triplex or pair-and-spare; or 1, 2, 3", redundancyFlag)
    .addOption(
      new Option(
        "--network <kind>",
        "tap (needs root), user (passt, no privileges) or none (default: tap where permitted, else user)",
      ).choices([...NETWORK_KINDS]),
    )
    .option("--publish <ports>", "[ADDRESS:]HOSTPORT:GUESTPORT[/udp], network user; may be given several times", publishFlag)
    .option("--address <address>", "the guest's IPv4 address (default: the first free one, 10.77.0.2)")
    .option("--listen <address>", "serve control API and web console over TLS there too: ADDRESS:PORT, such as 0.0.0.0:8443", listenFlag)
    .option("--tls-certificate <file>", "with --listen: PEM certificate (default: a self-signed one is made and kept)")
    .option("--tls-key <file>", "its key")
    .option("--lag-limit <ms>", "a CPU module this far behind the other is taken for hung", wholeNumber(20, 60_000))
    .addOption(
      new Option(
        "--guest-watch <policy>",
        "when the guest itself hangs: restart it (default), report it, or off: do not ask it and its services",
      ).choices([...GUEST_WATCHES]),
    )
    .option("--uncertified <reason>", "run an image that no certificate covers; the reason is shown wherever the server's state is")
    .option("--no-checkpoints", "no proof of who was right when two modules disagree, and no memory check: a little faster");
}

export function addUpCommand(program: Command): void {
  withSettings(program.command("up"))
    .description("start a server: a guest on two CPU modules in lockstep")
    .option("-d, --detach", "return when the server is DUPLEX and the guest answers; it runs on in the background")
    .option("--wait <seconds>", "how long -d waits", wholeNumber(0, 86_400), WAIT_SECONDS_DEFAULT)
    .option("--attach", "if the server runs already, follow it instead of refusing")
    .option("--json", "print facts and errors as JSON")
    .action(async (file: string | undefined, flags: UpFlags) => up(readSettings(file, flags), flags));
}

export async function prepareImage(settings: Settings, flags: UpFlags): Promise<ImageRecord | null> {
  if (settings.file.engine === "toy") return null;
  const view = new ProgressView(process.stderr);
  try {
    const image = await resolveImage(settings.file, flags, (progress) => view.show(progress));
    return installedOver(serverPaths(settings.name), image.digest) ?? image;
  } finally {
    view.end();
  }
}

async function up(settings: Settings, flags: UpFlags): Promise<void> {
  const client = new ServerClient(settings.name);
  const isRunning = (await client.statusOrNull()) !== null;
  if (isRunning && flags.attach !== true) throw new SteadfastError("SERVER_RUNNING", { server: settings.name });
  const isResumed = !isRunning && (await resumeManagement(client));
  if (isResumed) tellResumed(settings.name);
  if (!isRunning && !isResumed) tellAboutNetwork(settings);
  const image = isRunning || isResumed ? null : await prepareImage(settings, flags);
  if (!isRunning && !isResumed) await startServer(makePlan(settings, flags, image));
  if (flags.detach === true) {
    const standing = await waitUntilStanding(client, flags.wait * 1000, () => undefined);
    reportDetached(client, standing, flags, image);
    tellAboutDisk(settings, flags, standing.report);
    return;
  }
  if (flags.json === true) printJson(await client.status());
  else tellAboutKernel(flags, image);
  await runForeground(client);
}

/** On standard error: what was asked for is the server, and that it is there goes to standard output. */
export function tellResumed(server: string): void {
  const text = `Server ${server} ran on without management; that is there again, the guest was not interrupted, and settings stay as they were.`;
  process.stderr.write(`${text}\n`);
}

export function reportDetached(client: ServerClient, { report, complete }: Standing, flags: UpFlags, image: ImageRecord | null): void {
  if (!complete) {
    throw new SteadfastError("NOT_THERE_YET", { server: client.server, seconds: flags.wait, standing: standingSentence(report) });
  }
  if (flags.json === true) return printJson(report);
  const where = report.address === "" ? "" : ` at ${report.address}`;
  const hints = reachHints(report);
  printLines([`Server ${paint(report.server, "bold")} is ${paint(report.redundancy, "green")}${where}.`]);
  if (hints.length > 0) {
    printLines([
      ...hints,
      ...frontLines(report).map((line) => `  ${line}`),
      `  steadfast status --server ${report.server}       how it stands`,
      `  steadfast console --server ${report.server}      its serial console`,
      `  steadfast down --server ${report.server}         stop it`,
    ]);
  }
  tellAboutKernel(flags, image);
}

/** How the guest is reached; none: it has no network. */
function reachHints(report: ServerReport): string[] {
  if (report.network === "none") return [];
  if (report.network === "tap") return [`  curl http://${report.address}/             the guest's web server`];
  const { published } = report;
  const web = published.find((port) => port.guestPort === 80 && port.protocol === "tcp");
  return [
    published.length === 0
      ? "  no port is published: only the console reaches the guest (--publish 8080:80)"
      : `  published: ${published.map(publishedText).join(", ")}`,
    `  ${USER_NETWORK_LIMIT}`,
    ...(web === undefined ? [] : [`  curl http://${localHost(web)}:${web.hostPort}/             the guest's web server`]),
  ];
}

/** A disk keeps its size, whatever the server file says by now. */
function tellAboutDisk({ file }: Settings, flags: UpFlags, { disk }: ServerReport): void {
  const askedMiB = flags.disk ?? file.disk?.sizeMiB;
  if (askedMiB === undefined || disk === null || disk.sizeBytes === askedMiB * MIB) return;
  const text = `The disk has ${disk.sizeBytes / MIB} MiB, not ${askedMiB}: it keeps its size until \`steadfast disk grow\` makes it larger.`;
  process.stderr.write(`${text}\n`);
}

/** Before anything else, so that nobody wonders what became of the guest's address. */
export function tellAboutNetwork(settings: Settings): void {
  const { notice } = settings.network;
  if (notice !== null) process.stderr.write(`${notice}\n`);
}

/** Nobody waits minutes for a first look, but everybody should know what they are missing. */
export function tellAboutKernel(flags: UpFlags, image: ImageRecord | null): void {
  if (image === null || image.kernelKind !== "stock" || flags.kernel !== undefined) return;
  const text =
    "This is Debian's stock kernel. The hardened kernel boots several times faster, idles without ticks and restarts itself when in\n" +
    "doubt; it takes some minutes to build, once: `steadfast image build --kernel hardened`, then start the server again.";
  process.stderr.write(`${paint(text, "dim", process.stderr)}\n`);
}

async function runForeground(client: ServerClient): Promise<void> {
  let interrupts = 0;
  const interrupted = (): void => {
    interrupts += 1;
    client.down(interrupts === 1 ? INTERRUPT_GRACE_MS : 0).catch(() => undefined);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, interrupted);
  const first = (await client.status()).lastEventId;
  const endedWell = await followServer(client, Math.max(0, first - 1), "Ctrl-C stops the server.");
  if (!endedWell) throw new SteadfastError("MANAGEMENT_LOST", { server: client.server });
}
