// The rv64 engine against QEMU, privileged architecture: control registers, traps and their delegation, interrupts, page tables.
// STEADFAST_SEEDS=n for a longer run; a failure prints the command that repeats it.
import { test } from "node:test";
import { runSuite } from "./support/rv64-suites.js";

const FILE = "rv64-differential-privileged.test.js";

test("control registers, trap returns, delegation and interrupts", async (t) => {
  t.diagnostic(await runSuite("privileged", 4, FILE));
});

test("every number of a control register, from every mode", async (t) => {
  t.diagnostic(await runSuite("registers", 3, FILE));
});

test("page tables", async (t) => {
  t.diagnostic(await runSuite("translation", 4, FILE));
});
