// Suites of differential cases by name, seed and number, and the loop that runs them and tells how to replay a failure.
import assert from "node:assert/strict";
import { compressed, isEndless, oneShot } from "./rv64-cases.js";
import { Random } from "./rv64-random.js";
import { everyControlRegister, privileged } from "./rv64-privileged.js";
import { translation } from "./rv64-translation.js";
import { stream } from "./rv64-streams.js";
import { checkQemu, runBatch, type Case } from "./rv64-rig.js";

export const SUITES: Readonly<Record<string, (seed: number) => Case[]>> = {
  instructions: (seed) => many(seed, 4096, oneShot),
  // Seed s of twelve covers one twelfth of all 16-bit encodings, so that twelve seeds in a row are all of them.
  compressed: (seed) => compressedSlice(seed),
  privileged: (seed) => many(seed, 4096, privileged),
  // Three seeds in a row are the three modes.
  registers: (seed) => everyControlRegister(new Random(seed), [0, 1, 3][seed % 3]!),
  translation: (seed) => many(seed, 4096, translation),
  streams: (seed) => many(seed, 4096, stream),
};

/** Streams are cut into short quanta, so that a budget ends at every kind of place; they hold no reservations. */
const QUANTUM: Readonly<Record<string, number>> = { streams: 37 };
const COMPRESSED_SLICES = 12;

function many(seed: number, count: number, generate: (random: Random) => Case): Case[] {
  const random = new Random(seed);
  return Array.from({ length: count }, () => generate(random));
}

function compressedSlice(seed: number): Case[] {
  const random = new Random(seed);
  const cases: Case[] = [];
  for (let encoding = 0; encoding < 0x10000; encoding++) {
    const mine = (encoding >> 2) % COMPRESSED_SLICES === seed % COMPRESSED_SLICES;
    if (mine && (encoding & 3) !== 3 && !isEndless(encoding)) cases.push(compressed(random, encoding));
  }
  return cases;
}

/** Seeds of one run: STEADFAST_REPLAY=suite:seed runs that one alone; STEADFAST_SEEDS=n runs seeds 1 to n. */
function seedsOf(suite: string, usual: number): number[] {
  const replay = process.env["STEADFAST_REPLAY"];
  if (replay !== undefined) {
    const [name, seed] = replay.split(":");
    return name === suite ? [Number(seed)] : [];
  }
  const count = Number(process.env["STEADFAST_SEEDS"] ?? usual);
  return Array.from({ length: count }, (_, index) => index + 1);
}

/** Runs a suite; the sentence says how much was compared. */
export async function runSuite(suite: string, usualSeeds: number, file: string): Promise<string> {
  checkQemu();
  let cases = 0;
  let instructions = 0;
  let retired = 0n;
  for (const seed of seedsOf(suite, usualSeeds)) {
    const result = await runBatch(SUITES[suite]!(seed), QUANTUM[suite]);
    const replay = `STEADFAST_REPLAY=${suite}:${seed} node --test dist-test/${file}`;
    assert.equal(result.differences.length, 0, `engine and QEMU differ; again with: ${replay}\n${result.differences.join("\n")}`);
    cases += result.cases;
    instructions += result.instructions;
    retired += result.retired;
  }
  return `${suite}: ${cases} cases, ${instructions} instructions under test, ${retired} retired in all`;
}
