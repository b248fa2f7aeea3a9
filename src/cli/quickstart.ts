/** `steadfast quickstart`, which `npm start` runs: from a fresh Debian machine with only Node to a running server. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { get } from "node:http";
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { findProgram } from "../image/command.js";
import { localHost, type PublishedPort } from "../ports/published-port.js";
import { PASST } from "../ports/user-network.js";
import type { ServerReport } from "../modules/management-status.js";
import { ServerClient } from "./client.js";
import { publishFlag, tapObstacle, USER_NETWORK_LIMIT } from "./network-choice.js";
import { paint, printJson, printLines } from "./output.js";
import { standingSentence } from "./report-view.js";
import { makePlan, readSettings, type UpFlags } from "./settings.js";
import { resumeManagement, startServer, waitUntilStanding } from "./start-server.js";
import { prepareImage, tellAboutKernel, tellAboutNetwork, tellResumed } from "./up.js";

const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";
/** What a server and its image need of the host, and what the first steps on the next page need: program, Debian package. */
const HOST_PROGRAMS: readonly (readonly [string, string])[] = [
  ["ip", "iproute2"],
  ["dpkg-deb", "dpkg"],
  ["gpgv", "gpgv"],
  ["xz", "xz-utils"],
  ["curl", "curl"],
  ["redis-cli", "redis-tools"],
];
/** What the network `user` needs, where TAP devices are not permitted. */
const USER_NETWORK_PROGRAM = [PASST, "passt"] as const;
/** Where the guest's services are found then. */
const QUICKSTART_PORTS = ["127.0.0.1:8080:80", "127.0.0.1:6379:6379"];
const WAIT_SECONDS = 180;
const WEB_PORT = 80;
const REDIS_PORT = 6379;
const HTTP_LIMIT_MS = 30_000;
const HTTP_RETRY_MS = 100;

export function addQuickstartCommand(program: Command): void {
  program
    .command("quickstart")
    .description("what `npm start` runs: install what is missing, build the image, start a server, say what to try next")
    .option("--json", "print facts and errors as JSON")
    .action((flags: { readonly json?: boolean }) => quickstart(flags.json === true));
}

async function quickstart(json: boolean): Promise<void> {
  const say = (text: string): void => void (json ? process.stderr : process.stdout).write(`${text}\n`);
  const isTapPossible = tapObstacle() === null;
  installMissing(isTapPossible ? HOST_PROGRAMS : [...HOST_PROGRAMS, USER_NETWORK_PROGRAM], say);
  const publish = QUICKSTART_PORTS.reduce<PublishedPort[]>((before, text) => publishFlag(text, before), []);
  const flags: UpFlags = { checkpoints: true, wait: WAIT_SECONDS, json, ...(!isTapPossible && { publish }) };
  const settings = readSettings(undefined, flags);
  const client = new ServerClient(settings.name);
  let image = null;
  if ((await client.statusOrNull()) !== null) say(`Server ${settings.name} is running already.`);
  else if (await resumeManagement(client)) tellResumed(settings.name);
  else {
    tellAboutNetwork(settings);
    say("Looking for the guest image …");
    image = await prepareImage(settings, flags);
    if (image !== null) say(`Starting server ${settings.name} from image ${image.name}, kernel ${image.kernelRelease} …`);
    await startServer(makePlan(settings, flags, image));
  }
  let last = "";
  const { report, complete } = await waitUntilStanding(client, WAIT_SECONDS * 1000, (fresh) => {
    const text = standingSentence(fresh);
    if (text !== last) say(paint(`  ${text}`, "dim"));
    last = text;
  });
  if (!complete)
    throw new SteadfastError("NOT_THERE_YET", { server: client.server, seconds: WAIT_SECONDS, standing: standingSentence(report) });
  const answered = await firstAnswer(whereServed(report, WEB_PORT));
  if (json) return printJson({ ...report, answered });
  tellNext(report, answered);
  tellAboutKernel(flags, image);
}

/** HOST:PORT at which this host reaches a TCP port of the guest; empty: it does not. */
function whereServed(report: ServerReport, guestPort: number): string {
  if (report.network === "tap") return `${report.address}:${guestPort}`;
  const port = report.published.find((each) => each.protocol === "tcp" && each.guestPort === guestPort);
  return port === undefined ? "" : `${localHost(port)}:${port.hostPort}`;
}

function missingPackages(programs: typeof HOST_PROGRAMS): string[] {
  const missing = programs.filter(([program]) => findProgram(program) === undefined).map(([, name]) => name);
  if (!existsSync(DEBIAN_KEYRING)) missing.push("debian-archive-keyring");
  return missing;
}

function installMissing(programs: typeof HOST_PROGRAMS, say: (text: string) => void): void {
  const missing = missingPackages(programs);
  if (missing.length === 0) return;
  const line = `apt-get update && apt-get install -y ${missing.join(" ")}`;
  if (process.getuid?.() !== 0) {
    throw new SteadfastError("PACKAGES_MISSING", { line: `sudo sh -c '${line}' && npm start` });
  }
  if (findProgram("apt-get") === undefined) throw new SteadfastError("PACKAGES_MISSING", { line });
  say(`Installing ${missing.join(", ")} …`);
  const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
  for (const parameters of [["update"], ["install", "-y", "--no-install-recommends", ...missing]]) {
    const result = spawnSync("apt-get", ["-qq", ...parameters], { stdio: ["ignore", 2, 2], env: environment });
    if (result.status !== 0) throw new SteadfastError("PACKAGES_MISSING", { line });
  }
}

/** True once the guest's web server has answered. */
async function firstAnswer(host: string): Promise<boolean> {
  if (host === "") return false;
  const giveUpAt = Date.now() + HTTP_LIMIT_MS;
  while (Date.now() < giveUpAt) {
    const ok = await new Promise<boolean>((resolve) => {
      const call = get(`http://${host}/`, { timeout: 1000 }, (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      });
      call.on("timeout", () => call.destroy());
      call.on("error", () => resolve(false));
    });
    if (ok) return true;
    await new Promise((resolve) => setTimeout(resolve, HTTP_RETRY_MS));
  }
  return false;
}

function tellNext(report: ServerReport, answered: boolean): void {
  const { server } = report;
  const web = whereServed(report, WEB_PORT);
  const redis = whereServed(report, REDIS_PORT);
  const [redisHost, redisPort] = redis.split(":");
  const isTap = report.network === "tap";
  printLines([
    "",
    `${paint(server, "bold")} is ${paint(report.redundancy, "green")}: one Linux guest on two CPU modules in lockstep, ${isTap ? `at ${report.address}` : `served at ${web === "" ? "no port of this host" : web}`}` +
      (answered ? ", and its web server answers." : "."),
    "",
    "Try next:",
    ...(web === "" ? [] : [`  curl http://${web}/                  the guest's nginx, Debian's own binary`]),
    ...(redis === ""
      ? []
      : [`  redis-cli -h ${redisHost} -p ${redisPort}               its Redis: keep this session open while you do the next`]),
    "  node bin/steadfast fault kill cpu0                kill a processor; nothing is lost",
    "  node bin/steadfast status                         watch it come back",
    ...(isTap ? ["  node bin/steadfast bench payments --fault-count 5 money moves while processors die"] : [`  (${USER_NETWORK_LIMIT})`]),
    "  node bin/steadfast console                        the serial terminal (Ctrl-] detaches)",
    "  node bin/steadfast down                           stop the server",
    "",
  ]);
}
