/**
 * `steadfast engine run PROGRAM.elf`: runs a bare-metal RISC-V program on the rv64 engine, for instruction test suites and firmware.
 * It ends by the HTIF `tohost` convention and hands the program's exit code on.
 */
import { createWriteStream, readFileSync, writeFileSync, writeSync } from "node:fs";
import type { WriteStream } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import { compileCore, runElf } from "../machine/engines/rv64/index.js";
import type { CoreModule, ElfRun } from "../machine/engines/rv64/index.js";

const DEFAULT_MAX_INSTRUCTIONS = 1_000_000_000;
/** As timeout(1) does. */
const EXIT_LIMIT = 124;
const EXIT_IDLE = 125;
const MAX_EXIT_CODE = 255;
const SIGNATURE_WORD_BYTES = 4;
const STANDARD_OUTPUT = 1;

interface RunFlags {
  readonly trace?: boolean | string;
  readonly maxInstructions: number;
  readonly signature?: string;
  readonly memory: number;
  readonly json?: boolean;
}

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError("It must be a whole number above 0.");
  return value;
}

/** The signature as the architecture tests want it: one 32-bit word in hex a line. */
function signatureText(signature: Uint8Array): string {
  const view = new DataView(signature.buffer, signature.byteOffset, signature.byteLength);
  let text = "";
  for (let at = 0; at + SIGNATURE_WORD_BYTES <= signature.length; at += SIGNATURE_WORD_BYTES) {
    text += `${view.getUint32(at, true).toString(16).padStart(8, "0")}\n`;
  }
  return text;
}

function readProgram(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new SteadfastError("ELF_FORMAT", { path, why: `it cannot be read (${(error as NodeJS.ErrnoException).code ?? String(error)})` });
  }
}

export function loadCore(): CoreModule {
  return compileCore(readFileSync(new URL("../machine/engines/rv64/core.wasm", import.meta.url)));
}

function exitCodeOf(run: ElfRun): number {
  if (run.exitCode !== null) return Math.min(run.exitCode, MAX_EXIT_CODE);
  return run.reason === "limit" ? EXIT_LIMIT : EXIT_IDLE;
}

function sentence(path: string, run: ElfRun): string {
  const count = `${run.instructions} instructions`;
  if (run.reason === "limit") return `${path} did not end within ${count}.`;
  if (run.reason === "idle") return `${path} waits for an interrupt that will never come (after ${count}).`;
  return run.exitCode === 0 ? `${path} passed (${count}).` : `${path} failed with code ${String(run.exitCode)} (${count}).`;
}

function run(path: string, flags: RunFlags): number {
  const lines: string[] = [];
  const file: WriteStream | null = typeof flags.trace === "string" ? createWriteStream(flags.trace) : null;
  const emit = (line: string): void => {
    lines.push(line);
    if (lines.length >= 4096) flush();
  };
  const flush = (): void => {
    if (lines.length === 0) return;
    const text = lines.join("");
    lines.length = 0;
    if (file === null) process.stderr.write(text);
    else file.write(text);
  };
  const hex = (value: bigint | number, digits: number): string => value.toString(16).padStart(digits, "0");
  const started = process.hrtime.bigint();
  const result = runElf({
    core: loadCore(),
    elf: readProgram(path),
    path,
    maxInstructions: flags.maxInstructions,
    ramBytes: flags.memory << 20,
    ...(flags.trace === undefined
      ? {}
      : { onTrace: (hart: number, pc: bigint, word: number) => emit(`${hart} ${hex(pc, 16)} ${hex(word, (word & 3) === 3 ? 8 : 4)}\n`) }),
    ...(flags.json === true ? {} : { onConsole: (bytes: Uint8Array) => void writeSync(STANDARD_OUTPUT, bytes) }),
  });
  flush();
  file?.end();
  const seconds = Number(process.hrtime.bigint() - started) / 1e9;
  if (flags.signature !== undefined) {
    if (result.signature === null) {
      throw new SteadfastError("ELF_FORMAT", { path, why: "it has no symbols begin_signature and end_signature for --signature" });
    }
    writeFileSync(flags.signature, signatureText(result.signature));
  }
  const exitCode = exitCodeOf(result);
  if (flags.json === true) {
    const facts = {
      program: path,
      passed: result.exitCode === 0,
      reason: result.reason,
      exitCode: result.exitCode,
      instructions: Number(result.instructions),
      seconds,
      console: new TextDecoder().decode(result.console),
    };
    process.stdout.write(`${JSON.stringify(facts)}\n`);
  } else {
    process.stderr.write(`${sentence(path, result)}\n`);
  }
  return exitCode;
}

export function addEngineCommand(program: Command): void {
  const engine = program.command("engine").description("run bare-metal programs on the rv64 engine");
  engine
    .command("run")
    .argument("<program>", "64-bit RISC-V ELF program, linked at 0x80000000")
    .description("run a program in machine mode until it ends by the HTIF tohost convention or the test finisher")
    .option("--trace [file]", "write every instruction (hart, address, bits) to standard error or a file")
    .option("--max-instructions <n>", "stop after so many instructions", positive, DEFAULT_MAX_INSTRUCTIONS)
    .option("--signature <file>", "write memory between begin_signature and end_signature, one 32-bit word a line")
    .option("--memory <MiB>", "RAM of the machine", positive, 128)
    .option("--json", "print the outcome as JSON, console output included")
    .addHelpText(
      "after",
      `\nExit code: the program's own (0 = pass; above ${MAX_EXIT_CODE} shown as ${MAX_EXIT_CODE}), ` +
        `${EXIT_LIMIT} at the instruction limit, ${EXIT_IDLE} when it waits for ever, 5 for a file that is no such program.`,
    )
    .action((path: string, flags: RunFlags) => {
      process.exitCode = run(path, flags);
    });
}
