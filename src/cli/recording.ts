/** `steadfast record` and `steadfast replay FILE`: keep the course of a server, and run it again to see whether the same comes out. */
import { copyFileSync, rmSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { behaviourOf, loadMachine } from "../modules/machine-loader.js";
import { SteadfastError } from "../foundation/errors.js";
import type { Machine } from "../machine/machine.js";
import { replayFile, type ReplayedFile } from "../recording/files.js";
import type { RecordingHeader } from "../recording/format.js";
import { printJson, printLines } from "./output.js";
import { chosenServer, withServerOptions, type ServerFlags } from "./server-choice.js";

const EXIT_DIFFERS = 1;
const RECORD_SECONDS_DEFAULT = 10;
const RECORD_SECONDS_MAX = 3600;

interface RecordFlags extends ServerFlags {
  readonly seconds: number;
  readonly output?: string;
}

async function machineFor(path: string, header: RecordingHeader): Promise<Machine> {
  const { machine } = header;
  const behaviour = await behaviourOf(machine.engine);
  if (machine.behaviour !== behaviour) {
    throw new SteadfastError("RECORDING_BEHAVIOUR", { path, engine: machine.engine, recorded: machine.behaviour, present: behaviour });
  }
  const {
    engine,
    kernelPath,
    initrdPath,
    commandLine,
    ramBytes,
    harts,
    imageDigest,
    epochNs,
    macAddress,
    diskBytes = 0,
    agentPort = false,
  } = machine;
  return loadMachine({
    machine: { engine, kernelPath, initrdPath, commandLine, ramBytes, harts, imageDigest, diskBytes, agentPort },
    network: { macAddress },
    epochNs,
  });
}

function sentences({ header, outcome }: ReplayedFile): string[] {
  const { difference, verdict, ticks, instructions } = outcome;
  const first = header.seq + 1;
  const lines = [
    `${ticks} ticks from tick ${first} and ${instructions} instructions were run again on a ${header.machine.engine} machine.`,
  ];
  if (difference !== null) {
    lines.push(`Tick ${difference.seq} computed something else than was recorded (${difference.fields.join(", ")}).`);
  } else lines.push("Every result is the recorded one.");
  const { report } = header;
  if (verdict === null || report === undefined) return lines;
  const list = (names: readonly string[]): string => (names.length === 0 ? "nobody" : names.join(" and "));
  lines.push(`At tick ${report.seq} the modules disagreed in ${report.differs.join(", ")}.`);
  lines.push(`This machine agrees with ${list(verdict.right)} and contradicts ${list(verdict.wrong)}.`);
  lines.push(
    `The verdict of then was: wrong ${list(report.verdict.wrong)} (by ${report.verdict.by}): ${verdict.isSame ? "the same" : "NOT the same"}.`,
  );
  return lines;
}

async function record(flags: RecordFlags): Promise<void> {
  const client = chosenServer(flags);
  await client.startRecording();
  const stop = new Promise<void>((resolve) => {
    process.once("SIGINT", resolve);
    process.once("SIGTERM", resolve);
    setTimeout(resolve, flags.seconds * 1000);
  });
  if (flags.json !== true) printLines([`Recording ${client.server} for ${flags.seconds} s; Ctrl-C ends it sooner.`]);
  await stop;
  const done = await client.stopRecording();
  const path = flags.output ?? done.path;
  if (flags.output !== undefined) moveFile(done.path, flags.output);
  if (flags.json === true) printJson({ ok: true, path, ticks: done.ticks });
  else printLines([`${done.ticks} ticks are in ${path}; \`steadfast replay\` runs them again.`]);
}

/** Also to another file system. */
function moveFile(from: string, to: string): void {
  try {
    copyFileSync(from, to);
  } catch (error) {
    throw new SteadfastError("RECORDING_STATE", {
      why: `it stays in ${from}, since ${to} cannot be written (${(error as Error).message})`,
    });
  }
  rmSync(from);
}

function seconds(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < 1 || value > RECORD_SECONDS_MAX)
    throw new InvalidArgumentError(`It must be a whole number from 1 to ${RECORD_SECONDS_MAX}.`);
  return value;
}

export function addRecordCommand(program: Command): void {
  withServerOptions(program.command("record"))
    .description("keep the course of a server from its last checkpoint on: every input, and what came of it")
    .option("--seconds <number>", "how long", seconds, RECORD_SECONDS_DEFAULT)
    .option("--output <file>", "where to (default: the server's state directory)")
    .addHelpText("after", "\nExamples:\n  steadfast record --seconds 30 --output monday.steadfast\n  steadfast replay monday.steadfast")
    .action((flags: RecordFlags) => record(flags));
}

export function addReplayCommand(program: Command): void {
  program
    .command("replay")
    .description("run a recording or a miscompare report again, on any machine, and compare every result")
    .argument("<file>", "from `steadfast record`, or named by a MISCOMPARE_REPORT event")
    .option("--json", "print the outcome as JSON")
    .addHelpText(
      "after",
      "\nExit code 0: the same came out. 1: something else did.\n\nExample:\n  steadfast replay miscompare-81234-1790000000000.steadfast",
    )
    .action(async (path: string, flags: { readonly json?: boolean }) => {
      const replayed = await replayFile(path, (header) => machineFor(path, header));
      const { outcome } = replayed;
      if (flags.json === true) printJson({ header: replayed.header, outcome });
      else printLines(sentences(replayed));
      if (outcome.difference !== null || outcome.verdict?.isSame === false) process.exitCode = EXIT_DIFFERS;
    });
}
