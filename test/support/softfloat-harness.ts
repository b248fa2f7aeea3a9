// Both sides of the floating-point test: softfloat.ts as WebAssembly, and RISC-V instructions under QEMU.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { OPERATIONS, oracleOperations, type Operation } from "./softfloat-operations.js";
import { QUESTION_WORDS } from "./softfloat-vectors.js";

/** An answer is 16 bytes: the result as low and high word, fflags, 0. */
export const ANSWER_WORDS = 4;

const COMPILER = "riscv64-linux-gnu-gcc";
const EMULATOR = "qemu-riscv64-static";
const LINKED_LIMIT_MS = 120_000;

// The project's TypeScript settings know neither DOM nor WebAssembly here.
interface FlagsGlobal {
  readonly value: number;
}
type SoftfloatFunction = (...parameters: (number | bigint)[]) => number | bigint;
type SoftfloatExports = Readonly<Record<string, SoftfloatFunction | FlagsGlobal>>;
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Memory: new (limits: { initial: number }) => object;
  Instance: new (module: object, imports: object) => { readonly exports: SoftfloatExports };
};

/** The checkout: compiled tests live in dist-test/support. */
function checkout(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "tsconfig.base.json"))) {
    const parent = dirname(directory);
    if (parent === directory) throw new Error("The test does not run inside a checkout of the project.");
    directory = parent;
  }
  return directory;
}

function runTool(tool: string, parameters: readonly string[]): void {
  const result = spawnSync(tool, parameters, { encoding: "utf8", timeout: LINKED_LIMIT_MS });
  if (result.error) throw result.error;
  if (result.status !== 0) throw new Error(`${tool} ended with ${result.status ?? result.signal}: ${result.stdout}${result.stderr}`);
}

/** Throws a sentence that names what to install. */
function requireTools(): void {
  for (const tool of [COMPILER, EMULATOR]) {
    const result = spawnSync(tool, ["--version"], { stdio: "ignore" });
    if (result.error || result.status !== 0) {
      throw new Error(
        `The floating-point test needs ${tool}: install the Debian packages gcc-riscv64-linux-gnu and qemu-user-static ` +
          "(apt-get install gcc-riscv64-linux-gnu qemu-user-static) and run it again.",
      );
    }
  }
}

/** RISC-V instructions under QEMU. */
export class Oracle {
  private readonly program: string;

  /** Builds the program in `directory`. */
  constructor(directory: string) {
    requireTools();
    const operations = join(directory, "operations.inc");
    writeFileSync(operations, oracleOperations());
    this.program = join(directory, "oracle");
    const source = join(checkout(), "test/support/softfloat-oracle.c");
    const options = ["-O2", "-Wall", "-Werror", "-static", "-nostdlib", "-ffreestanding", "-march=rv64gc", "-mabi=lp64d"];
    // Without a C library nothing supplies the memory functions that the compiler might call.
    runTool(COMPILER, [...options, "-fno-tree-loop-distribute-patterns", `-DOPERATIONS="${operations}"`, "-o", this.program, source]);
  }

  answer(questions: Uint32Array): Promise<Uint32Array> {
    const expected = (questions.length / QUESTION_WORDS) * ANSWER_WORDS * 4;
    return new Promise((resolve, reject) => {
      const child = spawn(EMULATOR, [this.program], { stdio: ["pipe", "pipe", "inherit"] });
      const pieces: Buffer[] = [];
      child.stdout.on("data", (piece: Buffer) => pieces.push(piece));
      child.on("error", reject);
      // A child that ended early is reported by its exit, not by the broken pipe.
      child.stdin.on("error", () => undefined);
      child.on("close", (status, signal) => {
        const bytes = Buffer.concat(pieces);
        if (status !== 0) reject(new Error(`The oracle ended with ${status ?? signal}.`));
        else if (bytes.length !== expected) reject(new Error(`The oracle gave ${bytes.length} bytes instead of ${expected}.`));
        else resolve(new Uint32Array(new Uint8Array(bytes).buffer));
      });
      child.stdin.end(Buffer.from(questions.buffer, questions.byteOffset, questions.byteLength));
    });
  }
}

function operand(operation: Operation, index: number, words: Uint32Array, at: number): number | bigint {
  const flip = (index === 0 && operation.flips?.a) || (index === 2 && operation.flips?.c) ? 0x80000000 : 0;
  if (operation.source === "single") return (words[at]! ^ flip) >>> 0;
  return (BigInt((words[at + 1]! ^ flip) >>> 0) << 32n) | BigInt(words[at]!);
}

/** softfloat.ts as WebAssembly. */
export class Subject {
  private readonly functions: SoftfloatFunction[];
  private readonly flags: FlagsGlobal;
  private readonly setFlags: SoftfloatFunction;
  private readonly wide = new BigUint64Array(1);
  private readonly wideWords = new Uint32Array(this.wide.buffer);

  /** Builds it in `directory` with the options of the engine's core. */
  constructor(directory: string) {
    const root = checkout();
    const output = join(directory, "softfloat.wasm");
    const source = join(root, "src/machine/engines/rv64/assembly/softfloat.ts");
    const compiler = join(root, "node_modules/assemblyscript/bin/asc.js");
    const options = ["--runtime", "stub", "-O3", "--noAssert", "--importMemory"];
    runTool(process.execPath, [compiler, source, "-o", output, ...options]);
    const memory = new WebAssembly.Memory({ initial: 1 });
    const { exports } = new WebAssembly.Instance(new WebAssembly.Module(readFileSync(output)), { env: { memory } });
    this.functions = OPERATIONS.map(({ name }) => exports[name] as SoftfloatFunction);
    this.flags = exports["softfloatFlags"] as FlagsGlobal;
    this.setFlags = exports["setSoftfloatFlags"] as SoftfloatFunction;
  }

  answer(questions: Uint32Array): Uint32Array {
    const answers = new Uint32Array((questions.length / QUESTION_WORDS) * ANSWER_WORDS);
    for (let at = 0, to = 0; at < questions.length; at += QUESTION_WORDS, to += ANSWER_WORDS) this.reply(questions, at, answers, to);
    return answers;
  }

  /** Flags that were raised before stay raised. */
  accumulates(): boolean {
    this.setFlags(8);
    this.functions[0]!(0x7f7fffff, 0x7f7fffff, 0);
    return this.flags.value === (8 | 4 | 1);
  }

  private reply(questions: Uint32Array, at: number, answers: Uint32Array, to: number): void {
    const number = questions[at]!;
    const operation = OPERATIONS[number]!;
    const call = this.functions[number]!;
    this.setFlags(0);
    const mode = questions[at + 1]!;
    const a = operand(operation, 0, questions, at + 2);
    let result: number | bigint;
    if (operation.operands === 1) {
      result = operation.rounds ? call(a, mode) : call(a);
    } else {
      const b = operand(operation, 1, questions, at + 4);
      if (operation.operands === 2) result = operation.rounds ? call(a, b, mode) : call(a, b);
      else result = call(a, b, operand(operation, 2, questions, at + 6), mode);
    }
    this.wide[0] = typeof result === "bigint" ? result : BigInt(result >>> 0);
    answers[to] = this.wideWords[0]!;
    answers[to + 1] = this.wideWords[1]!;
    answers[to + 2] = this.flags.value;
  }
}
