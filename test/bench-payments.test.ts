/** The payment workload against a real Redis on loopback: a clean run holds, and each planted fault is caught. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { Connection } from "../dist/bench/connection.js";
import { checkLedger, INITIAL_BALANCE, type LedgerReport } from "../dist/bench/ledger.js";
import { LedgerStore } from "../dist/bench/ledger-store.js";
import { LoadRecorder } from "../dist/bench/load.js";
import { PaymentClient } from "../dist/bench/payment-clients.js";
import { runPayments, type PaymentOptions, type PaymentReport } from "../dist/bench/payments.js";
import { paymentText } from "../dist/bench/report.js";
import { startLocalRedis, type LocalRedis } from "./support/local-redis.js";

let redis: LocalRedis;
before(async () => {
  redis = await startLocalRedis();
});
after(() => redis.stop());

const SEED = 11;
const ACCOUNTS = 20;

function options(seconds: number): PaymentOptions {
  return {
    address: redis.address,
    clients: 4,
    accounts: ACCOUNTS,
    seed: SEED,
    seconds,
    untilFaultsDone: false,
    faults: { mix: "none", seed: SEED, pauseMinimumMs: 0, pauseMaximumMs: 0, count: 0 },
    source: undefined,
    keep: false,
    onProgress: () => undefined,
  };
}

/** Runs the load while `meddle` does something to the server halfway. */
async function meddledRun(meddle: (connection: Connection) => Promise<unknown>): Promise<PaymentReport> {
  const connection = await Connection.open(redis.address);
  const run = runPayments(options(1));
  await new Promise((resolve) => setTimeout(resolve, 500));
  await meddle(connection);
  const { report } = await run;
  await connection.close();
  return report;
}

async function keyLike(connection: Connection, pattern: string): Promise<string> {
  const keys = (await connection.command(["KEYS", pattern])) as string[];
  const [key] = keys.sort();
  assert.ok(key !== undefined, `no key like ${pattern}`);
  return key;
}

test("a clean run holds every promise and leaves nothing in Redis", async () => {
  const { report, timeline } = await runPayments(options(1));
  assert.deepEqual(report.broken, []);
  assert.ok(report.load.requests > 100);
  assert.equal(report.ledger.acknowledged, report.ledger.recorded);
  assert.ok(report.idle.pings > 3);
  assert.match(paymentText(report, timeline), /ALL HELD/);
  const connection = await Connection.open(redis.address);
  assert.equal(await connection.command(["DBSIZE"]), 0);
  await connection.close();
});

test("a lost connection is a failure, for a client and for the idle connection", async () => {
  const report = await meddledRun((connection) => connection.command(["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]));
  assert.ok(report.load.failures > 0);
  assert.ok(report.load.lostConnections > 0);
  assert.notEqual(report.idle.lostBecause, null);
  assert.ok(report.broken.length >= 3, report.broken.join("; "));
  assert.deepEqual(report.ledger.violations, [], "the ledger itself is right: what was not acknowledged may have happened or not");
});

test("money that appears is caught", async () => {
  const report = await meddledRun(async (connection) => connection.command(["HINCRBY", await keyLike(connection, "*:accounts"), "3", "1"]));
  assert.deepEqual(report.ledger.violations.map((violation) => violation.kind).sort(), ["BALANCE", "MONEY_TOTAL"]);
});

test("a ledger entry that vanishes is caught", async () => {
  const report = await meddledRun(async (connection) =>
    connection.command(["HDEL", await keyLike(connection, "*:ledger:2:0"), "1", "2", "3", "4", "5"]),
  );
  assert.ok(report.ledger.violations.some((violation) => violation.kind === "LOST"));
});

/** 300 transfers of one client, then `tamper`, then the audit. */
async function tamperedLedger(tamper: (store: LedgerStore, connection: Connection) => Promise<unknown>): Promise<LedgerReport> {
  const connection = await Connection.open(redis.address);
  const store = new LedgerStore(`test:${Math.random()}`, ACCOUNTS);
  await store.create(connection);
  const recorder = new LoadRecorder();
  const client = new PaymentClient(0, SEED, store, connection, recorder);
  await client.run(() => recorder.requests >= 300);
  recorder.finish();
  await tamper(store, connection);
  const snapshot = await store.read(connection, [client.outcomes.length]);
  await store.remove(connection, [client.outcomes.length]);
  await connection.close();
  return checkLedger({ seed: SEED, accounts: ACCOUNTS, initialBalance: INITIAL_BALANCE, outcomes: [client.outcomes] }, snapshot);
}

test("the script refuses a second execution of a transfer, and the audit tells of it", async () => {
  const report = await tamperedLedger(async (store, connection) => {
    await assert.rejects(connection.command(store.transferCommand(0, 0, { from: 1, to: 2, amount: 5 })), /REPEATED/);
  });
  assert.deepEqual(
    report.violations.map((violation) => violation.kind),
    ["DOUBLED"],
  );
});

test("a half and a doubled move of money are caught", async () => {
  const half = await tamperedLedger((store, connection) => connection.command(["HINCRBY", `${store.prefix}:accounts`, "0", "-7"]));
  assert.deepEqual(half.violations.map((violation) => violation.kind).sort(), ["BALANCE", "MONEY_TOTAL"]);
  const doubled = await tamperedLedger(async (store, connection) => {
    await connection.command(["HINCRBY", `${store.prefix}:accounts`, "0", "-7"]);
    await connection.command(["HINCRBY", `${store.prefix}:accounts`, "1", "7"]);
  });
  assert.deepEqual(
    doubled.violations.map((violation) => violation.kind),
    ["BALANCE", "BALANCE"],
  );
});

test("a transfer that nobody sent is caught", async () => {
  const report = await tamperedLedger((store, connection) =>
    connection.command(store.transferCommand(0, 310, { from: 1, to: 2, amount: 1 })),
  );
  assert.deepEqual(
    report.violations.map((violation) => violation.kind),
    ["PHANTOM"],
  );
});
