/** `steadfast certify serve`: a certification programme on this host. */
import { join } from "node:path";
import { Option, type Command } from "commander";
import { lockBenchmarks } from "../bench/lock.js";
import { loadPolicy } from "../certification/policy.js";
import { SteadfastError } from "../foundation/errors.js";
import { certificateFacts, keepSelfSigned } from "../front/certificate.js";
import { keyStore } from "../modules/certificates-on-host.js";
import { programmeDirectory } from "../modules/management-paths.js";
import { assertListenFree, formatListen } from "../ports/shared-listener.js";
import { Intake } from "../programme/intake.js";
import { Programme } from "../programme/programme.js";
import { ProgrammeServer } from "../programme/server.js";
import { ProgrammeStore } from "../programme/store.js";
import { CHECKS, LEVELS, type Level } from "../qualification/grading/checks.js";
import { several, VALID_DAYS_DEFAULT, VALID_DAYS_MAX } from "./certify.js";
import { listenFlag, parseListen } from "./listen-choice.js";
import { printJson, printLines } from "./output.js";
import { CertifyServers } from "./suite-servers.js";
import { wholeNumber } from "./whole-number.js";

interface ServeFlags {
  readonly listen: string;
  readonly key: string;
  readonly level: Level;
  readonly check: string[];
  readonly policy?: string;
  readonly validDays: number;
  readonly directory?: string;
  readonly tlsCertificate?: string;
  readonly tlsKey?: string;
  readonly json?: boolean;
}

/** What is asked for and cannot be done is told before anything is made. */
function checkFlags(flags: ServeFlags): void {
  if ((flags.tlsCertificate === undefined) !== (flags.tlsKey === undefined))
    throw new SteadfastError("USAGE", { what: "--tls-certificate and --tls-key go together: a certificate and its own key." });
  const unknown = flags.check.find((id) => !CHECKS.some((check) => check.id === id));
  if (unknown !== undefined)
    throw new SteadfastError("USAGE", { what: `There is no check ${unknown}; choose of ${CHECKS.map((check) => check.id).join(", ")}.` });
  loadPolicy(flags.policy);
}

async function serve(flags: ServeFlags): Promise<void> {
  checkFlags(flags);
  const key = keyStore().privateKey(flags.key);
  const listen = parseListen(flags.listen);
  if (listen === null) throw new SteadfastError("LISTEN_ADDRESS", { listen: flags.listen });
  // Also says now whether this host can qualify anything.
  const leftovers = new CertifyServers();
  await assertListenFree(listen);
  const directory = flags.directory ?? programmeDirectory();
  const store = new ProgrammeStore(directory);
  const { tlsCertificate: certificateFile = store.certificateFile, tlsKey: keyFile = store.keyFile } = flags;
  const tls = { certificateFile, keyFile };
  if (flags.tlsCertificate === undefined) await keepSelfSigned(tls, "programme", listen.address, Date.now());
  const { fingerprint } = certificateFacts(tls);
  const command = { program: process.execPath, parameters: [process.argv[1] ?? ""] };
  const { level, check: checks, policy, validDays } = flags;
  const programme = new Programme({
    ...{ store, key, level, checks, policy, validDays, command, say },
    cleanUp: () => cleanUp(leftovers),
  });
  const server = new ProgrammeServer({ store, programme, intake: new Intake(store.incoming, command), tls });
  const stopped = untilSignal();
  await programme.start();
  await server.listen(listen);
  const url = `https://${formatListen(listen)}`;
  if (flags.json === true) printJson({ url, fingerprint, directory, pid: process.pid });
  else
    printLines([
      `certification programme at ${url}, fingerprint ${fingerprint}`,
      `tokens: steadfast tokens create NAME --role operate --directory ${directory}`,
    ]);
  say(`stopping: ${await stopped}`);
  server.close();
  await programme.close();
}

/** If another qualification or benchmark has begun meanwhile, that removes what was left, or will. */
async function cleanUp(servers: CertifyServers): Promise<void> {
  let unlock: () => void;
  try {
    unlock = await lockBenchmarks();
  } catch (error) {
    if (error instanceof SteadfastError) return;
    throw error;
  }
  try {
    await servers.removeLeftovers();
  } finally {
    unlock();
  }
}

function say(text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}

function untilSignal(): Promise<string> {
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => resolve(signal));
  });
}

const EXAMPLES = `
Examples:
  steadfast certify serve --listen 0.0.0.0:8444 --key vendor
  steadfast certify serve --listen [::]:8444 --key vendor --level full --policy vendor.yaml --directory ${join("/srv", "programme")}
`;

export function addServeCommand(certify: Command): void {
  certify
    .command("serve")
    .description("run a certification programme: take changes in over HTTPS, qualify one at a time, publish what passes")
    .requiredOption("--listen <address:port>", "where it listens, such as 0.0.0.0:8444", listenFlag)
    .requiredOption("--key <name>", "own key that signs the certificates")
    .addOption(new Option("--level <level>", "how much is tried of every change").choices([...LEVELS]).default("quick"))
    .option("--check <id>", "only this check; may be given several times, and makes every certificate a partial one", several, [])
    .option("--policy <file>", "another hardening policy than the one that comes with Steadfast")
    .option("--valid-days <days>", "how long a certificate holds", wholeNumber(1, VALID_DAYS_MAX), VALID_DAYS_DEFAULT)
    .option("--directory <directory>", "where queue, packages, reports and certificates are kept")
    .option("--tls-certificate <file>", "PEM certificate instead of a self-signed one")
    .option("--tls-key <file>", "its key")
    .option("--json", "print where it listens, and errors, as JSON")
    .addHelpText("after", EXAMPLES)
    .action(serve);
}
