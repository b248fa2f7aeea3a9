/** The payment ledger's checker must catch every kind of wrong ledger: each test plants one. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  checkLedger,
  INITIAL_BALANCE,
  OUTCOME_REFUSED,
  OUTCOME_UNKNOWN,
  transferOf,
  type LedgerExpectation,
  type RecordedTransfer,
} from "../dist/bench/ledger.js";

const SEED = 7;
const ACCOUNTS = 10;

interface FakeLedger {
  balances: number[];
  recorded: RecordedTransfer[];
  commits: number;
  repeated: number;
  refused: number;
}

/** A correct run: `clients` interleaved, every transfer executed as the script would. */
function correctRun(clients = 3, transfers = 200): { expectation: LedgerExpectation; outcomes: number[][]; ledger: FakeLedger } {
  const ledger: FakeLedger = {
    balances: new Array<number>(ACCOUNTS).fill(INITIAL_BALANCE),
    recorded: [],
    commits: 0,
    repeated: 0,
    refused: 0,
  };
  const outcomes: number[][] = Array.from({ length: clients }, () => []);
  for (let sequence = 0; sequence < transfers; sequence++) {
    for (let client = 0; client < clients; client++) outcomes[client]?.push(execute(ledger, client, sequence));
  }
  return { expectation: { seed: SEED, accounts: ACCOUNTS, initialBalance: INITIAL_BALANCE, outcomes }, outcomes, ledger };
}

function execute(ledger: FakeLedger, client: number, sequence: number): number {
  const transfer = transferOf(SEED, client, sequence, ACCOUNTS);
  if ((ledger.balances[transfer.from] ?? 0) < transfer.amount) {
    ledger.refused++;
    return OUTCOME_REFUSED;
  }
  ledger.commits++;
  ledger.recorded.push({ ...transfer, client, sequence, commit: ledger.commits });
  move(ledger, transfer.from, -transfer.amount);
  move(ledger, transfer.to, transfer.amount);
  return ledger.commits;
}

function move(ledger: FakeLedger, account: number, amount: number): void {
  ledger.balances[account] = (ledger.balances[account] ?? 0) + amount;
}

/** Kinds of violations, sorted, each once. */
function kinds(expectation: LedgerExpectation, ledger: FakeLedger): string[] {
  return [...new Set(checkLedger(expectation, ledger).violations.map((violation) => violation.kind))].sort();
}

function entry(ledger: FakeLedger, index = 50): RecordedTransfer {
  const found = ledger.recorded[index];
  assert.ok(found !== undefined);
  return found;
}

test("a transfer follows from its seed, never goes to its own account, and moves at least 1", () => {
  for (let sequence = 0; sequence < 5000; sequence++) {
    const transfer = transferOf(SEED, sequence % 16, sequence, 2 + (sequence % 100));
    assert.deepEqual(transfer, transferOf(SEED, sequence % 16, sequence, 2 + (sequence % 100)));
    assert.notEqual(transfer.from, transfer.to);
    assert.ok(transfer.amount >= 1);
  }
});

test("a correct run has no violation", () => {
  const { expectation, ledger } = correctRun();
  const report = checkLedger(expectation, ledger);
  assert.equal(report.violationCount, 0, JSON.stringify(report.violations));
  assert.equal(report.acknowledged, ledger.commits);
  assert.equal(report.refused, ledger.refused);
  assert.ok(report.refused > 0, "the workload shall have a few refusals");
});

test("a transfer that was never answered may have happened or not, once", () => {
  const { expectation, outcomes, ledger } = correctRun();
  outcomes[0]?.push(OUTCOME_UNKNOWN);
  assert.deepEqual(kinds(expectation, ledger), []);
  execute(ledger, 0, 200);
  assert.deepEqual(kinds(expectation, ledger), []);
});

test("a lost transfer is caught, undone with or without its money", () => {
  const { expectation, ledger } = correctRun();
  const lost = entry(ledger, ledger.recorded.length - 1);
  ledger.recorded.pop();
  assert.deepEqual(kinds(expectation, ledger), ["BALANCE", "DOUBLED", "LOST"]);
  move(ledger, lost.from, lost.amount);
  move(ledger, lost.to, -lost.amount);
  ledger.commits--;
  assert.deepEqual(kinds(expectation, ledger), ["LOST"]);
});

test("a doubled transfer is caught: money moved twice, entry twice, or a second execution refused", () => {
  const moved = correctRun();
  move(moved.ledger, entry(moved.ledger).from, -entry(moved.ledger).amount);
  move(moved.ledger, entry(moved.ledger).to, entry(moved.ledger).amount);
  assert.deepEqual(kinds(moved.expectation, moved.ledger), ["BALANCE"]);
  const twice = correctRun();
  twice.ledger.recorded.push(entry(twice.ledger));
  assert.ok(kinds(twice.expectation, twice.ledger).includes("DOUBLED"));
  const refused = correctRun();
  refused.ledger.repeated = 1;
  assert.deepEqual(kinds(refused.expectation, refused.ledger), ["DOUBLED"]);
});

test("a half transfer is caught", () => {
  const { expectation, ledger } = correctRun();
  move(ledger, entry(ledger).to, -entry(ledger).amount);
  assert.deepEqual(kinds(expectation, ledger), ["BALANCE", "MONEY_TOTAL"]);
});

test("an altered, a phantom and a refused-but-done transfer are caught", () => {
  const altered = correctRun();
  altered.ledger.recorded[50] = { ...entry(altered.ledger), amount: entry(altered.ledger).amount + 1 };
  assert.ok(kinds(altered.expectation, altered.ledger).includes("ALTERED"));
  const phantom = correctRun();
  execute(phantom.ledger, 1, 5000);
  assert.deepEqual(kinds(phantom.expectation, phantom.ledger), ["PHANTOM"]);
  const done = correctRun();
  const list = done.outcomes[entry(done.ledger).client];
  assert.ok(list !== undefined);
  list[entry(done.ledger).sequence] = OUTCOME_REFUSED;
  assert.ok(kinds(done.expectation, done.ledger).includes("REFUSED_BUT_DONE"));
});

test("rewound history is caught: a commit number given twice", () => {
  const { expectation, outcomes, ledger } = correctRun();
  const last = entry(ledger, ledger.recorded.length - 1);
  const list = outcomes[last.client];
  assert.ok(list !== undefined);
  // The transfer was acknowledged under a number that history, replayed, gave to another one.
  list[last.sequence] = last.commit - 3;
  assert.deepEqual(kinds(expectation, ledger), ["ALTERED", "COMMIT_ORDER"]);
});

test("counters that vanish count as violations, and the list of them is bounded", () => {
  const { expectation, ledger } = correctRun();
  const report = checkLedger(expectation, { balances: [], recorded: [], commits: Number.NaN, repeated: Number.NaN, refused: Number.NaN });
  assert.ok(report.violationCount > ledger.commits);
  assert.equal(report.violations.length, 20);
});
