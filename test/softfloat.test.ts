// The engine's floating point against RISC-V instructions under QEMU, bit for bit with exception flags, in every rounding mode.
// STEADFAST_SOFTFLOAT_VECTORS and STEADFAST_SOFTFLOAT_SEED choose a longer or another run.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ANSWER_WORDS, Oracle, Subject } from "./support/softfloat-harness.js";
import { OPERATIONS } from "./support/softfloat-operations.js";
import { QUESTION_WORDS, QuestionWriter, specialQuestions } from "./support/softfloat-vectors.js";

const DEFAULT_VECTORS = 2_000_000;
const DEFAULT_SEED = 20261123;
/** Questions to one run of the oracle. */
const BATCH = 1 << 18;
const REPORTED_DIFFERENCES = 10;

const vectors = Number(process.env["STEADFAST_SOFTFLOAT_VECTORS"] ?? DEFAULT_VECTORS);
const seed = Number(process.env["STEADFAST_SOFTFLOAT_SEED"] ?? DEFAULT_SEED);

let directory = "";
let oracle: Oracle;
let subject: Subject;

before(() => {
  directory = mkdtempSync(join(tmpdir(), "steadfast-softfloat-"));
  oracle = new Oracle(directory);
  subject = new Subject(directory);
});
after(() => {
  if (directory !== "") rmSync(directory, { recursive: true, force: true });
});

function hex(words: Uint32Array, at: number): string {
  return `0x${words[at + 1]!.toString(16).padStart(8, "0")}_${words[at]!.toString(16).padStart(8, "0")}`;
}

function describe(questions: Uint32Array, index: number, expected: Uint32Array, actual: Uint32Array): string {
  const at = index * QUESTION_WORDS;
  const to = index * ANSWER_WORDS;
  const operation = OPERATIONS[questions[at]!]!;
  const operands = [at + 2, at + 4, at + 6].slice(0, operation.operands).map((word) => hex(questions, word));
  return (
    `${operation.name} (${operation.instruction}) rm=${questions[at + 1]} of ${operands.join(", ")}: ` +
    `expected ${hex(expected, to)} flags ${expected[to + 2]}, got ${hex(actual, to)} flags ${actual[to + 2]}`
  );
}

/** Asks both sides; returns the flags that each operation raised. */
async function compare(questions: Uint32Array, what: string, raised: number[]): Promise<void> {
  const pending = oracle.answer(questions);
  const actual = subject.answer(questions);
  const expected = await pending;
  const differences: string[] = [];
  let different = 0;
  for (let index = 0; index * ANSWER_WORDS < expected.length; index++) {
    const to = index * ANSWER_WORDS;
    raised[questions[index * QUESTION_WORDS]!]! |= expected[to + 2]!;
    if (actual[to] === expected[to] && actual[to + 1] === expected[to + 1] && actual[to + 2] === expected[to + 2]) continue;
    different++;
    if (differences.length < REPORTED_DIFFERENCES) differences.push(describe(questions, index, expected, actual));
  }
  assert.equal(different, 0, `${different} of ${expected.length / ANSWER_WORDS} ${what} differ:\n${differences.join("\n")}`);
}

test("special operands in every combination answer as RISC-V does", async () => {
  const questions = specialQuestions(OPERATIONS);
  const raised = OPERATIONS.map(() => 0);
  for (let at = 0; at < questions.length; at += BATCH * QUESTION_WORDS) {
    await compare(questions.subarray(at, at + BATCH * QUESTION_WORDS), "combinations of special operands", raised);
  }
});

test("random operands answer as RISC-V does", async () => {
  const writer = new QuestionWriter(seed);
  const raised = OPERATIONS.map(() => 0);
  const turns = OPERATIONS.flatMap((operation, number) => Array.from({ length: operation.weight }, () => number));
  let written = 0;
  while (written < vectors) {
    const count = Math.min(BATCH, vectors - written);
    const questions = new Uint32Array(count * QUESTION_WORDS);
    for (let index = 0; index < count; index++) {
      const number = turns[(written + index) % turns.length]!;
      writer.write(OPERATIONS[number]!, number, questions, index * QUESTION_WORDS);
    }
    await compare(questions, `random vectors from ${written} on (seed ${seed})`, raised);
    written += count;
  }
  // A generator that no longer reaches an exception would prove nothing about it.
  OPERATIONS.forEach((operation, number) => {
    assert.equal(raised[number], operation.flags, `flags that ${operation.name} (${operation.instruction}) met, seed ${seed}`);
  });
});

test("flags accumulate", () => {
  assert.ok(subject.accumulates());
});
