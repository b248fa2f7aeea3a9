/** `steadfast support`: what whoever looks after a server needs. */
import type { Command } from "commander";
import { printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";
import { makeBundle } from "./support-bundle.js";

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

export function addSupportCommand(program: Command): void {
  const support = program.command("support").description("what whoever looks after a server needs");
  withServerOptions(support.command("bundle"))
    .description("collect configuration, events, reports, versions and logs in one archive, without secrets; of a stopped server too")
    .option("--out <file>", "where to (.tar.gz; default: a name with server and time in the current directory)")
    .action(bundle);
}
