/** `status`, `events` and `verify`: how a server stands, what happened, and whether its machines are equal. */
import type { Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { readEventFile, type LoggedEvent } from "../modules/management-events.js";
import { EXIT_INTERNAL, paint, printJson, printLines } from "./output.js";
import { eventLine, reportLines } from "./report-view.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";
import type { ServerClient } from "./client.js";

interface EventFlags extends ServerFlags {
  readonly follow?: boolean;
  readonly since: string;
}

export function addInspectCommands(program: Command): void {
  withServerOptions(program.command("status"))
    .description("show redundancy, modules and counters of a server")
    .action(async (flags: ServerFlags) => {
      const report = await chosenServer(flags).status();
      if (flags.json === true) printJson(report);
      else printLines(reportLines(report));
    });
  withServerOptions(program.command("events"))
    .description("show what happened to a server, also after it stopped")
    .option("-f, --follow", "go on with new events until the server ends")
    .option("--since <id>", "only events after this number", "0")
    .addHelpText("after", "\nWith --json: one JSON object a line.")
    .action((flags: EventFlags) => events(chosenServer(flags), flags));
  withServerOptions(program.command("verify"))
    .description("compare the complete state of the machines at one tick, while they run")
    .action(async (flags: ServerFlags) => {
      const answer = await chosenServer(flags).verify();
      if (flags.json === true) printJson(answer);
      else {
        printLines([
          `tick ${answer.seq}: ${answer.equal ? paint("equal", "green") : paint("not equal", "red")}`,
          ...Object.entries(answer.digests).map(([module, digest]) => `  ${module}  ${digest}`),
        ]);
        if (Object.keys(answer.digests).length < 2)
          printLines(["Only one CPU module is in lockstep: there is nothing to compare it with."]);
      }
      if (!answer.equal) process.exitCode = EXIT_INTERNAL;
    });
}

async function events(client: ServerClient, flags: EventFlags): Promise<void> {
  const since = Number(flags.since);
  if (!Number.isSafeInteger(since) || since < 0)
    throw new SteadfastError("USAGE", { what: `--since ${flags.since} is not an event number.` });
  const print = (event: LoggedEvent): void =>
    void process.stdout.write(`${flags.json === true ? JSON.stringify(event) : eventLine(event)}\n`);
  if ((await client.statusOrNull()) === null) {
    const past = readEventFile(client.paths.eventsFile);
    if (past.length === 0) throw new SteadfastError("SERVER_NOT_RUNNING", { server: client.server });
    for (const event of past) if (event.id > since) print(event);
    return;
  }
  if (flags.follow === true) return client.follow(since, print);
  for (const event of await client.events(since)) print(event);
}
