/** The command line: puts the commands together and turns every failure into one sentence and an exit code. */
import { Command, CommanderError } from "commander";
import { PACKAGE_VERSION } from "../api/version.js";
import { addConsoleCommand } from "./console.js";
import { addDownCommand } from "./down.js";
import { addInspectCommands } from "./inspect.js";
import { addOperateCommands } from "./operate.js";
import { EXIT_CODES_HELP, EXIT_USAGE, printJson, reportError } from "./output.js";
import { endWithoutReader } from "./reader-gone.js";
import { addTopCommand } from "./top.js";

type Adder = (program: Command) => void;

/** Commands that an operator's scripts call often: started without loading what builds images or measures. */
const QUICK_COMMANDS = ["down", "status", "top", "events", "verify", "console", "pull", "insert", "clear", "fault", "redundancy", "power"];

async function commandsFor(first: string | undefined): Promise<Adder[]> {
  const quick: Adder[] = [addDownCommand, addInspectCommands, addTopCommand, addConsoleCommand, addOperateCommands];
  if (first !== undefined && QUICK_COMMANDS.includes(first)) return quick;
  const [up, install, disk, recording, image, change, certificate, programme, policy, bench, engine, quickstart, support, tokens, audit] =
    await Promise.all([
      import("./up.js"),
      import("./install.js"),
      import("./disk.js"),
      import("./recording.js"),
      import("./image.js"),
      import("./change.js"),
      import("./certificate.js"),
      import("./certify-programme.js"),
      import("./policy.js"),
      import("./bench.js"),
      import("./engine.js"),
      import("./quickstart.js"),
      import("./support.js"),
      import("./tokens.js"),
      import("./audit.js"),
    ]);
  const others = [
    recording.addRecordCommand,
    recording.addReplayCommand,
    image.addImageCommand,
    change.addChangeCommand,
    certificate.addKeysCommand,
    certificate.addCertificateCommand,
    programme.addCertifyProgrammeCommand,
    policy.addPolicyCommand,
    bench.addBenchCommand,
    engine.addEngineCommand,
    quickstart.addQuickstartCommand,
    support.addSupportCommand,
    tokens.addTokensCommand,
    audit.addAuditCommand,
  ];
  return [up.addUpCommand, ...quick, install.addInstallCommands, disk.addDiskCommand, ...others];
}

/** The program with the commands that `first` may need: all of them if it is none of the quick ones. */
export async function makeProgram(first: string | undefined, json: boolean): Promise<Command> {
  const program = new Command("steadfast");
  program
    .description("A fault-tolerant Linux server: an unmodified guest runs on several modules in lockstep and outlives any one of them.")
    .version(PACKAGE_VERSION)
    .exitOverride()
    .configureOutput(json ? { writeErr: () => undefined } : {})
    .showHelpAfterError("(steadfast COMMAND --help shows how)")
    .addHelpText("after", EXIT_CODES_HELP);
  for (const add of await commandsFor(first)) add(program);
  return program;
}

export async function runCli(argv: readonly string[]): Promise<void> {
  process.stdout.on("error", endWithoutReader);
  const json = argv.includes("--json");
  try {
    const program = await makeProgram(argv[2], json);
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = error instanceof CommanderError ? usageExit(error, json) : reportError(error, json);
  }
}

/** Commander has printed its sentence already, unless JSON was asked for. */
function usageExit(error: CommanderError, json: boolean): number {
  if (error.exitCode === 0) return 0;
  if (json) printJson({ error: { code: "USAGE", message: error.message.replace(/^error: /, "") } });
  return EXIT_USAGE;
}
