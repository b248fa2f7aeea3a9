/**
 * The payment workload's truth: what each client was told, against what the guest's Redis holds at the end. Pure, so that tests can
 * plant every kind of wrong ledger. A transfer is never stored by the clients: it follows from (seed, client, sequence).
 */
export interface Transfer {
  readonly from: number;
  readonly to: number;
  readonly amount: number;
}

/** Largest amount of one transfer; small against the initial balance, so that refusals are rare but do happen. */
const AMOUNT_MAX = 100;
export const INITIAL_BALANCE = 1000;

/** Outcomes of a transfer as its client saw it; a positive number is the commit number in the reply. */
export const OUTCOME_REFUSED = 0;
export const OUTCOME_UNKNOWN = -1;

/** Scrambles 32 bits so that neighbouring inputs give unrelated outputs (multiply-xorshift rounds). */
function scramble(value: number): number {
  let mixed = value >>> 0;
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x21f0aaad);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97);
  return (mixed ^ (mixed >>> 15)) >>> 0;
}

export function transferOf(seed: number, client: number, sequence: number, accounts: number): Transfer {
  const base = scramble(scramble(seed ^ Math.imul(client + 1, 0x85ebca6b)) ^ Math.imul(sequence + 1, 0x9e3779b9));
  const from = base % accounts;
  const to = (from + 1 + (scramble(base ^ 0x5bd1e995) % (accounts - 1))) % accounts;
  return { from, to, amount: 1 + (scramble(base ^ 0x27d4eb2f) % AMOUNT_MAX) };
}

/** One entry of the ledger in Redis. */
export interface RecordedTransfer extends Transfer {
  readonly client: number;
  readonly sequence: number;
  /** Position among all committed transfers, from 1, given by the script. */
  readonly commit: number;
}

export interface LedgerSnapshot {
  readonly balances: readonly number[];
  readonly recorded: Iterable<RecordedTransfer>;
  /** The script's own counters: transfers done, second executions that it refused, transfers refused for want of money. */
  readonly commits: number;
  readonly repeated: number;
  readonly refused: number;
}

export interface LedgerExpectation {
  readonly seed: number;
  readonly accounts: number;
  readonly initialBalance: number;
  /** By client: the outcome of each transfer that it sent, in order. */
  readonly outcomes: readonly (readonly number[])[];
}

export type ViolationKind =
  /** The sum over all accounts changed. */
  | "MONEY_TOTAL"
  /** An account does not hold what the recorded transfers say: a half or doubled move. */
  | "BALANCE"
  /** Acknowledged, but not in the ledger. */
  | "LOST"
  /** Executed a second time. */
  | "DOUBLED"
  /** In the ledger, but nobody sent it. */
  | "PHANTOM"
  /** In the ledger with other content than was sent, or than was acknowledged. */
  | "ALTERED"
  /** The client was told "refused", but it is in the ledger. */
  | "REFUSED_BUT_DONE"
  /** Commit numbers are not exactly 1..n, or not in the order in which a client was answered: history was rewound. */
  | "COMMIT_ORDER";

export interface Violation {
  readonly kind: ViolationKind;
  readonly text: string;
}

export interface LedgerReport {
  readonly acknowledged: number;
  readonly refused: number;
  /** Sent, never answered: they may or may not be in the ledger, but only once. */
  readonly unacknowledged: number;
  readonly recorded: number;
  readonly moneyExpected: number;
  readonly moneyFound: number;
  /** All of them counted; the first `VIOLATIONS_LISTED` told. */
  readonly violationCount: number;
  readonly violations: readonly Violation[];
}

const VIOLATIONS_LISTED = 20;

class Violations {
  count = 0;
  readonly listed: Violation[] = [];

  add(kind: ViolationKind, text: string): void {
    this.count++;
    if (this.listed.length < VIOLATIONS_LISTED) this.listed.push({ kind, text });
  }
}

const label = (client: number, sequence: number): string => `transfer ${client}:${sequence}`;

/** Checks each ledger entry against what was sent and told; returns what the accounts must then hold. */
function checkEntries(expectation: LedgerExpectation, snapshot: LedgerSnapshot, violations: Violations) {
  const { seed, accounts, outcomes } = expectation;
  const seen = outcomes.map((list) => new Uint8Array(list.length));
  const balances = new Array<number>(accounts).fill(expectation.initialBalance);
  const commits: number[] = [];
  let recorded = 0;
  for (const entry of snapshot.recorded) {
    recorded++;
    commits.push(entry.commit);
    balances[entry.from] = (balances[entry.from] ?? Number.NaN) - entry.amount;
    balances[entry.to] = (balances[entry.to] ?? Number.NaN) + entry.amount;
    const name = label(entry.client, entry.sequence);
    const outcome = outcomes[entry.client]?.[entry.sequence];
    const marks = seen[entry.client];
    if (outcome === undefined || marks === undefined) {
      violations.add("PHANTOM", `${name} is in the ledger, but was never sent`);
      continue;
    }
    if (marks[entry.sequence] !== 0) violations.add("DOUBLED", `${name} is in the ledger twice`);
    marks[entry.sequence] = 1;
    const sent = transferOf(seed, entry.client, entry.sequence, accounts);
    if (sent.from !== entry.from || sent.to !== entry.to || sent.amount !== entry.amount) {
      violations.add(
        "ALTERED",
        `${name} moved ${entry.amount} from ${entry.from} to ${entry.to}, but ${sent.amount} from ${sent.from} to ${sent.to} was sent`,
      );
    }
    if (outcome === OUTCOME_REFUSED) violations.add("REFUSED_BUT_DONE", `${name} was answered "refused", but is in the ledger`);
    if (outcome > 0 && outcome !== entry.commit)
      violations.add("ALTERED", `${name} was acknowledged as commit ${outcome}, but is in the ledger as commit ${entry.commit}`);
  }
  return { seen, balances, commits, recorded };
}

/** Acknowledged transfers must be there; a client's commit numbers must rise. */
function checkAcknowledged(expectation: LedgerExpectation, seen: readonly Uint8Array[], violations: Violations) {
  let acknowledged = 0;
  let refused = 0;
  let unacknowledged = 0;
  expectation.outcomes.forEach((list, client) => {
    let last = 0;
    list.forEach((outcome, sequence) => {
      if (outcome === OUTCOME_REFUSED) refused++;
      else if (outcome === OUTCOME_UNKNOWN) unacknowledged++;
      else {
        acknowledged++;
        if (seen[client]?.[sequence] !== 1)
          violations.add("LOST", `${label(client, sequence)} was acknowledged as commit ${outcome}, but is not in the ledger`);
        if (outcome <= last)
          violations.add(
            "COMMIT_ORDER",
            `${label(client, sequence)} was acknowledged as commit ${outcome}, after commit ${last} on the same connection`,
          );
        last = outcome;
      }
    });
  });
  return { acknowledged, refused, unacknowledged };
}

function checkCommits(commits: number[], counted: number, violations: Violations): void {
  commits.sort((a, b) => a - b);
  for (let index = 0; index < commits.length; index++) {
    if (commits[index] === index + 1) continue;
    violations.add("COMMIT_ORDER", `commit numbers are not 1 to ${commits.length}: found ${commits[index]} where ${index + 1} belongs`);
    break;
  }
  if (counted !== commits.length) {
    violations.add("DOUBLED", `the script committed ${counted} transfers, but the ledger holds ${commits.length}`);
  }
}

/** Holds the ledger against everything the clients know. No violation: every acknowledged transfer happened exactly once. */
export function checkLedger(expectation: LedgerExpectation, snapshot: LedgerSnapshot): LedgerReport {
  const violations = new Violations();
  if (Number.isNaN(snapshot.commits)) violations.add("LOST", "the whole ledger is gone: the guest was started anew");
  const entries = checkEntries(expectation, snapshot, violations);
  const told = checkAcknowledged(expectation, entries.seen, violations);
  checkCommits(entries.commits, snapshot.commits, violations);
  if (snapshot.repeated > 0) violations.add("DOUBLED", `the script was asked ${snapshot.repeated} times to do a transfer again`);
  if (snapshot.refused < told.refused || snapshot.refused > told.refused + told.unacknowledged) {
    violations.add("DOUBLED", `the script refused ${snapshot.refused} transfers, but the clients were told so ${told.refused} times`);
  }
  for (let account = 0; account < expectation.accounts; account++) {
    const found = snapshot.balances[account];
    if (found !== entries.balances[account]) {
      violations.add("BALANCE", `account ${account} holds ${found}, but by the ledger it must hold ${entries.balances[account]}`);
    }
  }
  const moneyExpected = expectation.accounts * expectation.initialBalance;
  const moneyFound = snapshot.balances.reduce((sum, balance) => sum + balance, 0);
  if (moneyFound !== moneyExpected)
    violations.add("MONEY_TOTAL", `all accounts together hold ${moneyFound}, but must hold ${moneyExpected}`);
  return {
    ...told,
    recorded: entries.recorded,
    moneyExpected,
    moneyFound,
    violationCount: violations.count,
    violations: violations.listed,
  };
}
