/** The language of management and the agent in the guest: lines cut anywhere, garbage, bounds of requests. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  AgentReader,
  encodeRequest,
  MAX_CHUNK_BYTES,
  MAX_LINE_BYTES,
  parseAgentLine,
  requestProblem,
  type AgentLine,
  type AgentRequest,
} from "../dist/agent/lines.js";
import { fromBase64, toBase64, utf8Encode } from "../dist/foundation/bytes.js";
import { MAX_AGENT_BYTES } from "../dist/machine/machine.js";
import { holds } from "./support/properties.js";

const TEXT = "beat 7 35 nginx:up:0 redis:looping:4\npart 0a-1 0 aGFsbG8=\ndone 0a-1 3 1\nrefused 0a-1 unknown\n";
const LINES: AgentLine[] = [
  {
    kind: "beat",
    number: 7,
    uptimeSeconds: 35,
    services: [
      { name: "nginx", condition: "up", failures: 0 },
      { name: "redis", condition: "looping", failures: 4 },
    ],
  },
  { kind: "part", id: "0a-1", index: 0, bytes: utf8Encode("hallo") },
  { kind: "done", id: "0a-1", status: 3, parts: 1 },
  { kind: "refused", id: "0a-1", why: "unknown" },
];

test("lines come out the same wherever they are cut", () => {
  const bytes = utf8Encode(TEXT);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const reader = new AgentReader();
    assert.deepEqual([...reader.read(bytes.subarray(0, cut)), ...reader.read(bytes.subarray(cut))], LINES);
    assert.equal(reader.refused, 0);
  }
});

test("nonsense is counted and passed over, and never throws", () => {
  for (const line of [
    "",
    "beat",
    "beat 1",
    "beat x 1",
    "beat 1 2 web",
    "beat 1 2 web:sad:0",
    "beat 1 2 a/b:up:0",
    "part a 0 a===",
    "part a 5000 aaaa",
    "part A 0 aaaa",
    "done a 256 0",
    "done a 0 9999",
    "done a 0",
    "hello a b",
  ])
    assert.equal(parseAgentLine(line), null, line);
  const reader = new AgentReader();
  holds(fc.uint8Array({ maxLength: 5000 }), (bytes) => {
    reader.read(bytes);
  });
  reader.read(utf8Encode("\n"));
  const before = reader.refused;
  reader.read(new Uint8Array(1_000_000).fill(0x61));
  assert.deepEqual(reader.read(utf8Encode(`\n${TEXT}`)), LINES, "after an endless line comes the next one");
  assert.equal(reader.refused, before + 1);
  assert.deepEqual(reader.read(utf8Encode(`${"a".repeat(MAX_LINE_BYTES + 1)}\n`)), []);
});

test("requests are lines of words that no content can leave", () => {
  const decode = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
  assert.equal(decode(encodeRequest("0a", { verb: "ping" })), "ping 0a\n");
  assert.equal(decode(encodeRequest("0a", { verb: "health" })), "health 0a\n");
  const command = "echo 'ä'\nrun x 1 y";
  assert.equal(
    decode(encodeRequest("0a", { verb: "run", command, limitSeconds: 9 })),
    `run 0a 9 ${Buffer.from(command).toString("base64")}\n`,
  );
  const put = { verb: "put", path: "/a b", mode: 0o640, totalBytes: 5, offset: 2, bytes: utf8Encode("\nru") } as const;
  assert.equal(decode(encodeRequest("0a", put)), "put 0a L2EgYg== 640 5 2 3\nCnJ1\n");
  const largest = { ...put, totalBytes: MAX_CHUNK_BYTES, offset: 0, bytes: new Uint8Array(MAX_CHUNK_BYTES) };
  assert.ok(encodeRequest("0a", largest).length <= MAX_AGENT_BYTES);
});

test("requests out of bounds are refused with a reason", () => {
  const put = { verb: "put", path: "/a", mode: 0o644, totalBytes: 3, offset: 0, bytes: new Uint8Array(3) } as const;
  const wrong: AgentRequest[] = [
    { verb: "run", command: "", limitSeconds: 1 },
    { verb: "run", command: "a".repeat(10_000), limitSeconds: 1 },
    { verb: "run", command: "true", limitSeconds: 0 },
    { verb: "run", command: "true", limitSeconds: 1e6 },
    { ...put, path: "a" },
    { ...put, path: "/a/" },
    { ...put, path: "/a\nb" },
    { ...put, mode: 0o10000 },
    { ...put, totalBytes: 2 },
    { ...put, offset: 1 },
    { ...put, bytes: new Uint8Array(0) },
    { ...put, totalBytes: 1e6, bytes: new Uint8Array(MAX_CHUNK_BYTES + 1) },
  ];
  for (const request of wrong) assert.notEqual(requestProblem(request), null, JSON.stringify(request));
  assert.equal(requestProblem(put), null);
  assert.equal(requestProblem({ ...put, totalBytes: 0, bytes: new Uint8Array(0) }), null, "an empty file");
  assert.throws(() => encodeRequest("no good", { verb: "ping" }), RangeError);
});

test("Base64 is that of everybody else", () => {
  holds(fc.uint8Array({ maxLength: 300 }), (bytes) => {
    const text = Buffer.from(bytes).toString("base64");
    assert.equal(toBase64(bytes), text);
    assert.deepEqual(Buffer.from(fromBase64(text)!), Buffer.from(bytes));
  });
  for (const text of ["a", "a===", "====", "a b=", "aaa\n"]) assert.equal(fromBase64(text), null, text);
});
