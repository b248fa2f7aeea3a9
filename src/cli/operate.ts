/** `pull`, `insert`, `clear`, `fault` and `power`: what an operator does to modules and guest. */
import { Argument, InvalidArgumentError, type Command } from "commander";
import { FAULT_KINDS, type FaultDetails, type FaultDone, type FaultKind } from "../modules/management-faults.js";
import { printJson, printLines } from "./output.js";
import { redundancyFlag } from "./redundancy-flag.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

function say(flags: ServerFlags, fact: Record<string, unknown>, sentence: string): void {
  if (flags.json === true) printJson({ ok: true, ...fact });
  else printLines([sentence]);
}

const FAULT_HELP =
  "hang stops it (SIGSTOP), kill ends it (SIGKILL), flip turns over one bit of its guest memory, corrupt-output damages its next output, skew-clock lets it see a wrong time once; of an I/O module's mirror of the disk: bit-rot damages a block, lost-write, torn-write and misdirected-write spoil its next write, disk-errors, disk-full and disk-slow last until disk-heal";

function count(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("It must be a whole number.");
  return Number(text);
}

function faultSentence(kind: FaultKind, module: string, done: FaultDone): string {
  switch (kind) {
    case "kill":
      return `${module} was killed.`;
    case "hang":
      return `${module} was stopped; the server has to find out.`;
    case "flip":
      return `Bit ${done.bit} of byte ${done.address} of ${module}'s guest memory was turned over; the server has to find out.`;
    case "corrupt-output":
      return `The next output of ${module} will be damaged; the server has to find out.`;
    case "skew-clock":
      return `${module} will see a wrong time once; the server has to find out.`;
    case "bit-rot":
      return `A bit of a block on ${module}'s mirror was turned over; reads and the scrub have to find out.`;
    case "lost-write":
    case "torn-write":
    case "misdirected-write":
      return `The next write to ${module}'s mirror is a ${kind}; reads and the scrub have to find out.`;
    case "disk-errors":
    case "disk-full":
    case "disk-slow":
      return `The disk below ${module}'s mirror fails (${kind}) until \`steadfast fault disk-heal ${module}\`.`;
    case "disk-heal":
      return `The disk below ${module}'s mirror works again.`;
  }
}

export function addOperateCommands(program: Command): void {
  withServerOptions(program.command("pull"))
    .description("kill a module, or all of an enclosure, and hold it out, as if its board were pulled")
    .argument("<module>", "such as cpu0, or enclosure0")
    .option("--force", "even if no other module can carry on: an outage")
    .action(async (module: string, flags: ServerFlags & { readonly force?: boolean }) => {
      await chosenServer(flags).pull(module, flags.force === true);
      say(flags, { module }, `${module} is out; \`steadfast insert ${module}\` brings it back.`);
    });
  withServerOptions(program.command("insert"))
    .description("bring a pulled module or enclosure back; it reintegrates by itself")
    .argument("<module>", "such as cpu0, or enclosure0")
    .action(async (module: string, flags: ServerFlags) => {
      await chosenServer(flags).insert(module);
      say(flags, { module }, `${module} is in; \`steadfast status\` shows it coming back.`);
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
    .addArgument(new Argument("<kind>", FAULT_HELP).choices(FAULT_KINDS))
    .argument("<module>", "such as cpu1")
    .option("--address <bytes>", "flip: where in the guest's memory", count)
    .option("--bit <number>", "flip: which bit of that byte, 0 to 7", count)
    .option("--random", "flip: somewhere")
    .addHelpText(
      "after",
      "\nExamples:\n  steadfast fault kill cpu0\n  steadfast fault flip cpu1 --random\n  steadfast fault flip cpu1 --address 81920 --bit 3",
    )
    .action(async (kind: FaultKind, module: string, flags: ServerFlags & FaultDetails) => {
      const { address, bit, random } = flags;
      const done = await chosenServer(flags).fault(kind, module, {
        ...(address !== undefined && { address }),
        ...(bit !== undefined && { bit }),
        ...(random !== undefined && { random }),
      });
      say(flags, { kind, module, ...done }, faultSentence(kind, module, done));
    });
  withServerOptions(program.command("redundancy"))
    .description("change how many CPU modules run in lockstep, without an interruption")
    .argument("<kind>", "simplex, duplex or triplex; or 1, 2, 3", redundancyFlag)
    .addHelpText("after", "\nExamples:\n  steadfast redundancy triplex\n  steadfast redundancy 2 --server bank")
    .action(async (kind: string, flags: ServerFlags) => {
      const { redundancy } = await chosenServer(flags).redundancy(kind);
      say(flags, { redundancy }, `The server goes to ${redundancy}; \`steadfast status\` shows how far it is.`);
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
