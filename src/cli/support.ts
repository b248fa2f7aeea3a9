/** `steadfast support`: what whoever looks after a server needs. */
import type { Command } from "commander";
import { printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";
import { makeBundle } from "./support-bundle.js";
import { readWatchConfig } from "./support-config.js";
import { addPlanCommands } from "./support-plan.js";
import { watchServer } from "./support-watch.js";

interface BundleFlags extends ServerFlags {
  readonly out?: string;
}

async function bundle(flags: BundleFlags): Promise<void> {
  const client = chosenServer(flags);
  const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
  const made = await makeBundle(client, flags.out ?? `steadfast-support-${client.server}-${time}.tar.gz`);
  if (flags.json === true) return printJson(made);
  printLines([
    `The support bundle of server ${client.server} is ${made.path} (${made.files.length} files, ${made.bytes} bytes).`,
    ...made.leftOut.map((each) => `  left out: ${each}`),
    "Passwords, tokens, keys and certificates were removed; look into it before it leaves the house.",
  ]);
}

async function watch(flags: { readonly config: string }): Promise<void> {
  const config = readWatchConfig(flags.config);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => stop.abort());
  process.stderr.write(`Watching server ${config.server}; Ctrl-C ends it.\n`);
  await watchServer(config, stop.signal);
  // Deliveries under way and the stream of events would keep the process; what waits is lost, and told again as it then is.
  process.exit(0);
}

export function addSupportCommand(program: Command): void {
  const support = program.command("support").description("what whoever looks after a server needs");
  withServerOptions(support.command("bundle"))
    .description("collect configuration, events, reports, versions and logs in one archive, without secrets; of a stopped server too")
    .option("--out <file>", "where to (.tar.gz; default: a name with server and time in the current directory)")
    .action(bundle);
  support
    .command("watch")
    .description("tell webhooks, mail and a journal when a server needs attention, and when it is well again; runs until it is stopped")
    .requiredOption("--config <file>", "YAML: which server, what is worth a word, and whom to tell")
    .action(watch);
  addPlanCommands(support);
}
