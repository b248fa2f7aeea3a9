// The rv64 engine against QEMU, unprivileged architecture: random instructions, every compressed encoding, random streams.
// STEADFAST_SEEDS=n for a longer run; a failure prints the command that repeats it.
import { test } from "node:test";
import { runSuite } from "./support/rv64-suites.js";

const FILE = "rv64-differential.test.js";

test("single instructions with operands that hurt", async (t) => {
  t.diagnostic(await runSuite("instructions", 6, FILE));
});

test("compressed instructions, every encoding in twelve seeds", async (t) => {
  t.diagnostic(await runSuite("compressed", 12, FILE));
});

test("streams of instructions that feed each other", async (t) => {
  t.diagnostic(await runSuite("streams", 4, FILE));
});
