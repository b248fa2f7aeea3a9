/** Who may ask for what, how often and how long: the parts of that without a server. */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { IncomingMessage } from "node:http";
import { after, describe, test } from "node:test";
import fc from "fast-check";
import { ConnectionGate, type GateRules } from "../dist/access/connection-gate.js";
import { mayAsk } from "../dist/access/roles.js";
import { SharedReads } from "../dist/access/shared-reads.js";
import { Tickets } from "../dist/access/tickets.js";
import { TokenBuckets } from "../dist/access/token-bucket.js";
import { parseListen } from "../dist/cli/listen-choice.js";
import type { SteadfastError } from "../dist/foundation/errors.js";
import { SIGN_IN_ALL_RULE } from "../dist/front/limits.js";
import { networkOf, SignIn } from "../dist/front/sign-in.js";
import { createToken, findToken, readTokens, revokeToken, TokenFile } from "../dist/front/token-file.js";
import { JsonLinesFile, readLines } from "../dist/modules/json-lines-file.js";

const directory = mkdtempSync(join(tmpdir(), "steadfast-access-"));
after(() => rmSync(directory, { recursive: true, force: true }));

describe("token buckets", () => {
  test("grant a burst, then as many as their rate", () => {
    const buckets = new TokenBuckets({ perSecond: 10, burst: 3 }, 100);
    assert.deepEqual(
      [0, 0, 0].map((now) => buckets.take("a", now)),
      [0, 0, 0],
    );
    assert.equal(buckets.take("a", 0), 100);
    assert.equal(buckets.take("a", 99), 1);
    assert.equal(buckets.take("a", 100), 0);
    assert.ok(buckets.take("a", 100) > 0);
    assert.equal(buckets.take("b", 100), 0, "everyone has his own");
  });

  test("never grant more than burst and rate allow, and keep no more keys than they may", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 0, max: 30 })), { maxLength: 200 }), (steps) => {
        const buckets = new TokenBuckets({ perSecond: 20, burst: 5 }, 8);
        let now = 0;
        let granted = 0;
        for (const [pause, key] of steps) {
          now += pause;
          if (buckets.take("one", now) === 0) granted += 1;
          buckets.take(`other ${key}`, now);
          assert.ok(buckets.size <= 8);
        }
        assert.ok(granted <= 5 + (now / 1000) * 20 + 1e-6, `${granted} in ${now} ms`);
      }),
    );
  });

  test("refill nothing when the clock is set back, and say how long to wait", () => {
    const buckets = new TokenBuckets({ perSecond: 1, burst: 1 }, 8);
    assert.equal(buckets.take("a", 5000), 0);
    const wait = buckets.take("a", 0);
    assert.equal(wait, 1000);
    assert.equal(buckets.take("a", wait), 0);
  });
});

describe("the gate before the handshake", () => {
  const RULES: GateRules = {
    ofAddress: { perSecond: 1, burst: 5 },
    ofKnown: { perSecond: 2, burst: 8 },
    ofStrangers: { perSecond: 1, burst: 6 },
    addressesMax: 4,
    knownForMs: 10_000,
  };
  const admitted = (gate: ConnectionGate, addresses: readonly string[], now: number): number =>
    addresses.filter((address) => gate.admits(address, now)).length;
  const many = (count: number): string[] => Array.from({ length: count }, (_, index) => `10.0.0.${index}`);

  test("lets each address have its share, and all strangers together theirs", () => {
    const gate = new ConnectionGate(RULES);
    assert.equal(admitted(gate, Array<string>(20).fill("10.1.1.1"), 0), 5);
    assert.equal(admitted(gate, many(100), 0), 1, "what the first one was refused took nothing from the others");
    assert.equal(admitted(gate, many(100), 3000), 3);
  });

  test("a flood of strangers does not lock out who had a right token", () => {
    const gate = new ConnectionGate(RULES);
    gate.know("10.1.1.1", 0);
    admitted(gate, many(1000), 0);
    assert.equal(admitted(gate, Array<string>(9).fill("10.1.1.1"), 0), 5);
    assert.equal(gate.admits("10.1.1.1", 11_000), true, "from now on as a stranger");
    assert.equal(admitted(gate, many(1000), 11_000), 5);
  });

  test("remembers so many known addresses, and forgets the one that was known longest ago", () => {
    const gate = new ConnectionGate(RULES);
    for (const address of ["a", "b", "c", "d", "e"]) gate.know(address, 0);
    admitted(gate, many(1000), 0);
    assert.deepEqual(
      ["a", "b", "e"].map((address) => gate.admits(address, 0)),
      [false, true, true],
    );
  });
});

describe("tickets", () => {
  test("are good once, for a while", () => {
    const tickets = new Tickets<string>(30, 2);
    tickets.issue("x", "anna", 0);
    assert.equal(tickets.redeem("y", 1), null);
    assert.equal(tickets.redeem("x", 29), "anna");
    assert.equal(tickets.redeem("x", 29), null);
    tickets.issue("z", "anna", 0);
    assert.equal(tickets.redeem("z", 30), null);
  });

  test("are void when there are too many", () => {
    const tickets = new Tickets<number>(30, 2);
    for (const number of [1, 2, 3]) tickets.issue(String(number), number, 0);
    assert.deepEqual(
      [1, 2, 3].map((number) => tickets.redeem(String(number), 1)),
      [null, 2, 3],
    );
  });
});

describe("shared reads", () => {
  test("one at a time of each thing; who asks meanwhile shares the next one, which begins after his question", async () => {
    const reads = new SharedReads<number>();
    const begun: ((value: number | Error) => void)[] = [];
    const read = (): Promise<number> =>
      new Promise((resolve, reject) => begun.push((value) => (value instanceof Error ? reject(value) : resolve(value))));
    const settled = async (): Promise<void> => void (await new Promise(setImmediate));
    const [first, second, third, other] = [reads.ask("a", read), reads.ask("a", read), reads.ask("a", read), reads.ask("b", read)];
    assert.equal(begun.length, 2, "one of each");
    begun[0]?.(1);
    assert.equal(await first, 1);
    await settled();
    assert.equal(begun.length, 3, "the second and the third share one");
    const late = reads.ask("a", read);
    begun[2]?.(2);
    assert.deepEqual(await Promise.all([second, third]), [2, 2]);
    await settled();
    begun[1]?.(7);
    begun[3]?.(3);
    assert.deepEqual(await Promise.all([late, other]), [3, 7]);
    assert.equal(reads.size, 0);
  });

  test("one that fails does so for whoever shared it, and the next one is made all the same", async () => {
    const reads = new SharedReads<number>();
    const failing = reads.ask("a", () => Promise.reject(new Error("lost")));
    const next = reads.ask("a", () => Promise.reject(new Error("lost again")));
    const shared = reads.ask("a", () => Promise.resolve(5));
    await assert.rejects(failing, /lost$/);
    await assert.rejects(next, /lost again/);
    await assert.rejects(shared, /lost again/);
    assert.equal(await reads.ask("a", () => Promise.resolve(6)), 6);
    assert.equal(reads.size, 0);
  });
});

test("the role view may read and nothing else", () => {
  assert.deepEqual([mayAsk("view", "GET"), mayAsk("view", "POST"), mayAsk("operate", "POST")], [true, false, true]);
});

describe("tokens", () => {
  const path = join(directory, "lasting", "tokens.json");

  test("are kept as digests only, in a file of their owner", () => {
    const token = createToken(path, "anna", "operate", null, 1000);
    const other = createToken(path, "grafana", "view", 5000, 1000);
    assert.notEqual(token, other);
    assert.ok(Buffer.from(token.replace("steadfast_", ""), "base64url").length === 32, "256 random bits");
    const text = readFileSync(path, "utf8");
    assert.ok(!text.includes(token) && !text.includes(token.slice(-20)));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const tokens = readTokens(path);
    assert.equal(findToken(tokens, token, 2000)?.name, "anna");
    assert.equal(findToken(tokens, `${token}x`, 2000), null);
    assert.equal(findToken(tokens, "", 2000), null);
    assert.deepEqual([findToken(tokens, other, 4999)?.role, findToken(tokens, other, 5000)], ["view", null]);
    assert.throws(() => createToken(path, "anna", "view", null, 1000), { code: "TOKEN_EXISTS" });
    assert.throws(() => createToken(path, "an na", "view", null, 1000), { code: "TOKEN_NAME" });
    assert.throws(() => revokeToken(path, "nobody"), { code: "TOKEN_UNKNOWN" });
  });

  test("hold no more once they are revoked, without a restart, and nobody is let in by a damaged file", () => {
    const file = new TokenFile(path);
    const token = createToken(path, "brief", "view", null, 1000);
    const record = file.find(token, 2000);
    assert.ok(record !== null && file.holds(record, 2000));
    revokeToken(path, "brief");
    assert.equal(file.find(token, 2000), null);
    assert.equal(file.holds(record, 2000), false);
    const again = createToken(path, "again", "view", null, 1000);
    assert.equal(file.find(again, 2000)?.name, "again");
    writeFileSync(path, '{"tokens":[{"name":"again"');
    assert.equal(file.find(again, 2000), null);
    assert.throws(() => readTokens(path), { code: "TOKEN_FILE" });
  });
});

test("an address to listen on is an IP address and a port", () => {
  assert.deepEqual(parseListen("0.0.0.0:8443"), { address: "0.0.0.0", port: 8443 });
  assert.deepEqual(parseListen("[::1]:1"), { address: "::1", port: 1 });
  for (const wrong of [
    "",
    "8443",
    ":8443",
    "localhost:8443",
    "1.2.3:4",
    "::1:8443",
    "[1.2.3.4]:1",
    "1.2.3.4:0",
    "1.2.3.4:65536",
    "1.2.3.4:1x",
  ])
    assert.equal(parseListen(wrong), null, wrong);
});

test("wrong tokens from many addresses soon have to wait, a right one never", () => {
  const path = join(directory, "guessed.json");
  const right = createToken(path, "right", "view", null, 0);
  const signIn = new SignIn(path);
  const codeOf = (remoteAddress: string, token: string): string => {
    try {
      signIn.identify({ socket: { remoteAddress }, headers: { authorization: `Bearer ${token}` } } as IncomingMessage);
      return "in";
    } catch (error) {
      return (error as SteadfastError).code;
    }
  };
  const codes = Array.from({ length: 4 * SIGN_IN_ALL_RULE.burst }, (_, number) => codeOf(`10.0.${number}.1`, "guess"));
  assert.equal(codes[0], "API_UNAUTHORIZED");
  assert.equal(codes.at(-1), "API_TOO_OFTEN");
  assert.ok(codes.filter((code) => code === "API_UNAUTHORIZED").length < 2 * SIGN_IN_ALL_RULE.burst);
  assert.equal(codeOf("10.0.0.1", right), "in");
});

test("whoever has one IPv6 address has its network", () => {
  assert.equal(networkOf("2001:db8:1:2:3:4:5:6"), networkOf("2001:db8:1:2::9"));
  assert.notEqual(networkOf("2001:db8:1:2::9"), networkOf("2001:db8:1:3::9"));
  assert.equal(networkOf("::ffff:10.0.0.1"), "10.0.0.1");
  assert.equal(networkOf("10.0.0.1"), "10.0.0.1");
  fc.assert(fc.property(fc.ipV6(), (address) => networkOf(address).length <= 25));
});

test("a log of lines stays within its bounds and loses no line but the oldest", () => {
  const path = join(directory, "lines.jsonl");
  const limits = { fileBytesMax: 200, filesMax: 3 };
  writeFileSync(path, '{"half');
  const file = new JsonLinesFile(path, limits);
  for (let number = 0; number < 100; number += 1) file.append({ number });
  const numbers = readLines(path, limits).map((value) => (value as { number: number }).number);
  assert.deepEqual(
    numbers,
    Array.from({ length: numbers.length }, (_, index) => 100 - numbers.length + index),
  );
  assert.ok(numbers.length > 20);
  for (const each of ["", ".1", ".2"]) assert.ok(statSync(path + each).size <= 200);
  assert.equal(statSync(`${path}.3`, { throwIfNoEntry: false }), undefined);
});
