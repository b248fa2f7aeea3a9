/** `pull`, `insert`, `clear`, `fault` and `power`: what an operator does to modules and guest. */
import { Argument, type Command } from "commander";
import { printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

function say(flags: ServerFlags, fact: Record<string, unknown>, sentence: string): void {
  if (flags.json === true) printJson({ ok: true, ...fact });
  else printLines([sentence]);
}

export function addOperateCommands(program: Command): void {
  withServerOptions(program.command("pull"))
    .description("kill a module and hold it out, as if its board were pulled")
    .argument("<module>", "such as cpu0")
    .option("--force", "even if no other module can carry on: an outage")
    .action(async (module: string, flags: ServerFlags & { readonly force?: boolean }) => {
      await chosenServer(flags).pull(module, flags.force === true);
      say(flags, { module }, `${module} is out; \`steadfast insert ${module}\` brings it back.`);
    });
  withServerOptions(program.command("insert"))
    .description("bring a pulled module back; it reintegrates by itself")
    .argument("<module>")
    .action(async (module: string, flags: ServerFlags) => {
      await chosenServer(flags).insert(module);
      say(flags, { module }, `${module} is in and comes back into lockstep.`);
    });
  withServerOptions(program.command("clear"))
    .description("forget a module's faults; a BROKEN module comes back")
    .argument("<module>")
    .action(async (module: string, flags: ServerFlags) => {
      await chosenServer(flags).clear(module);
      say(flags, { module }, `The faults of ${module} are cleared.`);
    });
  withServerOptions(program.command("fault"))
    .description("drill: make a module fail, and watch the server carry on")
    .addArgument(new Argument("<kind>", "hang stops it (SIGSTOP), kill ends it (SIGKILL)").choices(["hang", "kill"]))
    .argument("<module>", "such as cpu1")
    .action(async (kind: "hang" | "kill", module: string, flags: ServerFlags) => {
      await chosenServer(flags).fault(kind, module);
      say(flags, { kind, module }, kind === "kill" ? `${module} was killed.` : `${module} was stopped; the server has to find out.`);
    });
  withServerOptions(program.command("power"))
    .description("press the guest's power button, or cycle its power")
    .addArgument(
      new Argument("<action>", "off asks the guest to shut down, which ends the server; reset starts it anew").choices(["off", "reset"]),
    )
    .action(async (action: "off" | "reset", flags: ServerFlags) => {
      await chosenServer(flags).power(action);
      say(flags, { action }, action === "off" ? "The power button was pressed." : "The guest starts anew.");
    });
}
