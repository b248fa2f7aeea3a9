// Runs batches of cases on the rv64 engine and on QEMU and compares what each left in memory, case by case.
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, readSync, closeSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compileCore, runElf } from "../../dist/machine/engines/rv64/index.js";
import { writeElf } from "./rv64-assembler.js";
import * as P from "./rv64-rig-program.js";

export interface Case {
  /** What is under test, for messages. */
  readonly label: string;
  /** A one-shot ends at its first trap; a stream goes on behind instructions that trap, up to `end`. */
  readonly kind: "oneShot" | "stream";
  readonly entry: number | bigint;
  readonly end?: number;
  readonly handler?: "plain" | "status" | "vectored";
  /** Memory to set before (address, 64-bit value); `undo` puts zero back afterwards, `half` stores 32 bits. */
  readonly pokes: readonly { readonly address: number; readonly value: bigint; readonly undo?: boolean; readonly half?: boolean }[];
  /** Memory to look at afterwards. */
  readonly peeks: readonly { readonly address: number; readonly words: number }[];
  readonly mstatus: bigint;
  readonly fcsr: bigint;
  readonly csrs: Partial<Record<P.CsrName, bigint>>;
  readonly x: BigUint64Array;
  readonly f: BigUint64Array;
  /** Instructions under test, for the count. */
  readonly instructions: number;
  /** Fields that may legally differ in this case, with the reason written where it is set. */
  readonly ignore?: ((field: string, engine: bigint, qemu: bigint) => boolean) | undefined;
}

export interface BatchResult {
  readonly cases: number;
  readonly instructions: number;
  /** Retired by the engine, the fixed program included. */
  readonly retired: bigint;
  readonly differences: readonly string[];
}

const QEMU = "qemu-system-riscv64";
/** Extensions that QEMU 7.2 switches on by default and our hart has none of; counters beyond the three and triggers likewise. */
const QEMU_PROCESSOR = "rv64,h=false,zba=false,zbb=false,zbc=false,zbs=false,debug=false,pmu-num=0,sstc=true";
const QEMU_LIMIT_MS = 120_000;
const ENGINE_LIMIT = 60_000_000;
const REPORTED = 8;
const NO_TIMER = 0x7fff_ffff_ffff_ffffn;

export const rig = P.buildRigProgram();

export function checkQemu(): void {
  if (spawnSync(QEMU, ["--version"]).status === 0) return;
  throw new Error("The differential tests need QEMU: apt-get install -y qemu-system-misc");
}

function mtvecOf(item: Case): bigint {
  if (item.handler === "vectored") return BigInt(P.MACHINE_VECTORS + 1);
  return BigInt(item.handler === "status" ? rig.statusHandler : rig.handler);
}

function wordsOf(item: Case): number {
  return P.CASE_WORDS + 2 * (item.pokes.length + item.peeks.length);
}

function encodeCase(item: Case, words: BigUint64Array, at: number): void {
  words[at + P.CASE_KIND] = BigInt(item.kind === "oneShot" ? P.KIND_ONE_SHOT : P.KIND_STREAM);
  words[at + P.CASE_MTVEC] = mtvecOf(item);
  words[at + P.CASE_ENTRY] = BigInt(item.entry);
  words[at + P.CASE_END] = BigInt(item.end ?? 0);
  words[at + P.CASE_POKES] = BigInt(item.pokes.length);
  words[at + P.CASE_PEEKS] = BigInt(item.peeks.length);
  words[at + P.CASE_MSTATUS] = item.mstatus;
  words[at + P.CASE_FCSR] = item.fcsr;
  for (const [index, name] of P.CSR_NAMES.entries()) {
    // Sstc and hardware A/D updating on: the second is what QEMU 7.2 always does.
    const usual = name === "stimecmp" ? NO_TIMER : name === "menvcfg" ? 5n << 61n : name === "stvec" ? BigInt(P.SUPERVISOR_VECTORS) : 0n;
    words[at + P.CASE_CSRS + index] = item.csrs[name] ?? usual;
  }
  words.set(item.x.subarray(1), at + P.CASE_X);
  words.set(item.f, at + P.CASE_F);
  let next = at + P.CASE_WORDS;
  for (const poke of item.pokes) {
    words[next++] = BigInt(poke.address + (poke.half === true ? 1 : 0) + (poke.undo === true ? 2 : 0));
    words[next++] = poke.value;
  }
  for (const peek of item.peeks) {
    words[next++] = BigInt(peek.address);
    words[next++] = BigInt(peek.words);
  }
}

function outWords(item: Case): number {
  return P.OUT_WORDS + item.peeks.reduce((sum, peek) => sum + peek.words, 0);
}

function buildProgram(cases: readonly Case[]): { elf: Uint8Array; outputBytes: number } {
  const total = cases.reduce((sum, item) => sum + wordsOf(item), 1);
  const outputBytes = 8 * cases.reduce((sum, item) => sum + outWords(item), 0);
  if (P.CASES + 8 * total > P.OUTPUT || P.OUTPUT + outputBytes > P.DRAM + P.RAM_BYTES) throw new Error("the batch is too big");
  const words = new BigUint64Array(total);
  let at = 0;
  for (const item of cases) {
    encodeCase(item, words, at);
    at += wordsOf(item);
  }
  words[at] = BigInt(P.KIND_LAST);
  const bytes = new Uint8Array(P.CASES - P.DRAM + 8 * total);
  bytes.set(rig.bytes);
  bytes.set(new Uint8Array(words.buffer), P.CASES - P.DRAM);
  return { elf: writeElf(P.DRAM, bytes, { begin_signature: P.OUTPUT, end_signature: P.OUTPUT + outputBytes }), outputBytes };
}

/** QEMU's RAM is a file, so that its memory can be read after it has ended. */
async function runQemu(elf: Uint8Array, outputBytes: number, signal: AbortSignal): Promise<Uint8Array> {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-differential-"));
  try {
    const program = join(directory, "program.elf");
    const ram = join(directory, "ram");
    writeFileSync(program, elf);
    const memory = ["-m", `${P.RAM_BYTES >> 20}M`, "-object", `memory-backend-file,id=ram,size=${P.RAM_BYTES},mem-path=${ram},share=on`];
    const machine = ["-M", "virt,memory-backend=ram", "-cpu", QEMU_PROCESSOR, "-bios", program, "-nographic", "-monitor", "none"];
    await new Promise<void>((resolve, reject) => {
      const child = spawn(QEMU, [...machine, ...memory], { stdio: ["ignore", "ignore", "pipe"], signal, killSignal: "SIGKILL" });
      let complaint = "";
      child.stderr.on("data", (chunk: Buffer) => (complaint += chunk.toString()));
      const timer = setTimeout(() => child.kill("SIGKILL"), QEMU_LIMIT_MS);
      child.once("error", reject);
      child.once("exit", (code) => {
        clearTimeout(timer);
        if (code === 0) resolve();
        else reject(new Error(`QEMU did not end by itself (${String(code)}): ${complaint}`));
      });
    });
    const output = new Uint8Array(outputBytes);
    const file = openSync(ram, "r");
    readSync(file, output, 0, outputBytes, P.OUTPUT - P.DRAM);
    closeSync(file);
    return output;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

let core: ReturnType<typeof compileCore> | null = null;
function runEngine(elf: Uint8Array, quantum: number, abort: AbortController): { output: Uint8Array; retired: bigint } {
  core ??= compileCore(readFileSync(new URL("../../dist/machine/engines/rv64/core.wasm", import.meta.url)));
  const run = runElf({ core, elf, maxInstructions: ENGINE_LIMIT, ramBytes: P.RAM_BYTES, pollInstructions: quantum });
  if (run.reason !== "finisher" || run.exitCode !== 0 || run.signature === null) {
    abort.abort();
    throw new Error(`the engine did not finish the batch: ${run.reason}, ${String(run.exitCode)}`);
  }
  return { output: run.signature, retired: run.instructions };
}

function fieldName(item: Case, word: number): string {
  if (word === 0) return "number of traps";
  if (word < P.OUT_FCSR) return `${["mcause", "mepc", "mtval", "mstatus"][(word - P.OUT_TRAPS) % 4]!} of trap ${(word - P.OUT_TRAPS) >> 2}`;
  if (word === P.OUT_FCSR) return "fcsr";
  if (word < P.OUT_X) return P.CSR_NAMES[word - P.OUT_CSRS]!;
  if (word < P.OUT_F) return `x${word - P.OUT_X + 1}`;
  if (word < P.OUT_WORDS) return `f${word - P.OUT_F}`;
  let rest = word - P.OUT_WORDS;
  for (const peek of item.peeks) {
    if (rest < peek.words) return `memory ${(peek.address + 8 * rest).toString(16)}`;
    rest -= peek.words;
  }
  return `word ${word}`;
}

/** Differences that mean nothing, in any case. */
function meansNothing(ours: BigUint64Array, word: number, expected: bigint): boolean {
  const scause = P.OUT_CSRS + P.CSR_NAMES.indexOf("scause");
  const trapWord = word >= P.OUT_TRAPS && word < P.OUT_FCSR ? (word - P.OUT_TRAPS) % 4 : -1;
  const isCause = trapWord === 0 || word === scause;
  const isValue = trapWord === 2 || word === scause + 1;
  // mtval of breakpoints: zero or the address, the specification leaves it open; QEMU has zero.
  if (isValue) return (trapWord === 2 ? ours[word - 2] : ours[scause]) === 3n;
  // A misaligned AMO is cause 6 (store or AMO) by the specification; QEMU 7.2 says 4. (The loads and stores under test may be misaligned.)
  return isCause && ours[word] === 6n && expected === 4n;
}

function compareCase(item: Case, ours: BigUint64Array, theirs: BigUint64Array): string[] {
  const lines: string[] = [];
  for (const [word, value] of ours.entries()) {
    const expected = theirs[word]!;
    if (value === expected || meansNothing(ours, word, expected)) continue;
    const field = fieldName(item, word);
    if (item.ignore?.(field, value, expected) === true) continue;
    lines.push(`    ${field}: engine ${value.toString(16)}, QEMU ${expected.toString(16)}`);
  }
  return lines;
}

function describe(item: Case): string {
  const code = item.pokes.map((poke) => `${poke.address.toString(16)}=${poke.value.toString(16).padStart(16, "0")}`).join(" ");
  const csrs = Object.entries(item.csrs).map(([name, value]) => `${name}=${value.toString(16)}`);
  const x = [...item.x].map((value, index) => `x${index}=${value.toString(16)}`).join(" ");
  return `    memory ${code}\n    entry ${item.entry.toString(16)} mstatus=${item.mstatus.toString(16)} fcsr=${item.fcsr.toString(16)} ${csrs.join(" ")}\n    ${x}`;
}

/** Runs the cases on both, the engine in quanta of so many instructions (which end a reservation); differences are told with what is needed to understand them. */
export async function runBatch(cases: readonly Case[], quantum: number = ENGINE_LIMIT): Promise<BatchResult> {
  const { elf, outputBytes } = buildProgram(cases);
  const abort = new AbortController();
  const pending = runQemu(elf, outputBytes, abort.signal);
  pending.catch(() => undefined); // awaited below; the engine may throw first
  const { output, retired } = runEngine(elf, quantum, abort);
  const theirs = await pending;
  const differences: string[] = [];
  if (Buffer.compare(output, theirs) !== 0) {
    let at = 0;
    for (const [index, item] of cases.entries()) {
      const bytes = 8 * outWords(item);
      const slice = (all: Uint8Array): BigUint64Array => new BigUint64Array(all.slice(at, at + bytes).buffer);
      const lines = compareCase(item, slice(output), slice(theirs));
      if (lines.length > 0 && differences.length < REPORTED) {
        differences.push(`  case ${index}: ${item.label}\n${lines.slice(0, REPORTED).join("\n")}\n${describe(item)}`);
      }
      at += bytes;
    }
  }
  return { cases: cases.length, instructions: cases.reduce((sum, item) => sum + item.instructions, 0), retired, differences };
}
