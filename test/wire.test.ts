/** Frames and messages: round trips, any split, garbage. And the file arbiter, which decides who acts. */
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { FileArbiter } from "../dist/arbiters/file.js";
import { utf8Decode, utf8Encode } from "../dist/foundation/bytes.js";
import { SeededRandom } from "../dist/foundation/random.js";
import { MessageDecoder, encodeMessage } from "../dist/wire/codec.js";
import { FrameDecoder, MAX_FRAME_BYTES, WireError } from "../dist/wire/frame.js";
import { parseControl } from "../dist/wire/control.js";
import type { Message } from "../dist/wire/messages.js";

const SEQ = 2 ** 52 + 12345;

const MESSAGES: readonly Message[] = [
  { kind: "hello", protocolVersion: 1, module: "cpu", name: "cpu0", incarnation: 3, pid: 4711 },
  {
    kind: "tick",
    configuration: 7,
    seq: SEQ,
    committed: SEQ - 2,
    floor: SEQ - 3,
    nowNs: 0x7123_4567_89ab_cdefn,
    budget: 250_000,
    fullDigest: true,
    checkpoint: false,
    inputs: [
      { kind: "powerOn", entropy: Uint8Array.from({ length: 64 }, (_, index) => index) },
      { kind: "frame", port: 3, bytes: Uint8Array.from({ length: 1514 }, (_, index) => index) },
      { kind: "console", bytes: utf8Encode("häß\n") },
      { kind: "entropy", bytes: Uint8Array.of(1, 2, 3) },
      { kind: "powerButton" },
      { kind: "diskDone", id: 0xffff_ffff, isOk: true, bytes: Uint8Array.of(4, 5) },
      { kind: "diskDone", id: 1, isOk: false, bytes: new Uint8Array(0) },
      { kind: "diskRepeat" },
      { kind: "agent", bytes: Uint8Array.of(112, 10) },
      { kind: "diskSize", bytes: 3 * 2 ** 40 },
    ],
  },
  {
    kind: "tick",
    configuration: 1,
    seq: 1,
    committed: 0,
    floor: 0,
    nowNs: 0n,
    budget: 1,
    fullDigest: false,
    checkpoint: false,
    inputs: [],
  },
  {
    kind: "result",
    configuration: 7,
    seq: SEQ,
    instructionCount: 0xffff_ffff_ffff_fff0n,
    timeNs: 5n,
    idleUntilNs: 0x7fff_ffff_ffff_ffffn,
    digest: 0x8000_0000_0000_0001n,
    runMicros: 999,
    hasOutputs: true,
    outputs: [
      { kind: "frame", port: 0, bytes: Uint8Array.of(9) },
      { kind: "console", bytes: utf8Encode("x") },
      { kind: "agent", bytes: Uint8Array.of(98, 10) },
      { kind: "entropyRequest", lengthBytes: 70_000 },
      { kind: "disk", id: 9, operation: "write", offset: 5 * 2 ** 40, lengthBytes: 4096, bytes: new Uint8Array(4096).fill(3) },
      { kind: "disk", id: 10, operation: "read", offset: 0, lengthBytes: 131072, bytes: new Uint8Array(0) },
      { kind: "disk", id: 11, operation: "flush", offset: 0, lengthBytes: 0, bytes: new Uint8Array(0) },
      { kind: "reset", failure: true },
      { kind: "powerOff", failure: false },
    ],
    outputsDigest: 0xffff_ffff_0000_0001n,
    stateDigest: "0f".repeat(32),
  },
  {
    kind: "result",
    configuration: 7,
    seq: 4,
    instructionCount: 0n,
    timeNs: 0n,
    idleUntilNs: null,
    digest: 0n,
    runMicros: 0,
    hasOutputs: true,
    outputs: null,
    outputsDigest: 0n,
    stateDigest: null,
  },
  { kind: "receipt", configuration: 3, seq: 4 },
  { kind: "payloadRequest", seq: 4 },
  { kind: "payload", seq: 4, outputs: [{ kind: "console", bytes: utf8Encode("y") }] },
  {
    kind: "keptTick",
    tick: {
      kind: "tick",
      configuration: 1,
      seq: 9,
      committed: 8,
      floor: 7,
      nowNs: 1n,
      budget: 5,
      fullDigest: false,
      checkpoint: false,
      inputs: [],
    },
  },
  {
    kind: "imagePages",
    pages: [
      { page: 0, bytes: new Uint8Array(0) },
      { page: 700_000, bytes: Uint8Array.from({ length: 4096 }, (_, index) => index * 7) },
    ],
  },
  { kind: "imageState", bytes: Uint8Array.of(5, 6) },
  { kind: "configurationNotice", record: { number: 3, cpus: ["cpu0"], activeIo: "io0", mirrors: [] }, fullOutputs: true },
  { kind: "heartbeat", isActive: true, configuration: 4, cpus: ["cpu0", "cpu1"] },
  { kind: "mirrorHeader", text: "{}" },
  { kind: "mirrorCommand", text: '{"ticket":1}', bytes: Uint8Array.of(1, 2, 3) },
  { kind: "mirrorReply", text: "{}", bytes: new Uint8Array(0) },
  { kind: "captured", clone: 1, seq: 2, holdMicros: 3, pages: 4, bytes: 5 },
  { kind: "control", text: '{"kind":"verify"}' },
];

test("every message survives the way, whole, in single bytes and in random splits", () => {
  const stream = Buffer.concat(MESSAGES.map(encodeMessage));
  for (const seed of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const random = new SeededRandom(seed);
    const got: Message[] = [];
    const decoder = new MessageDecoder((message) => got.push(message));
    for (let at = 0; at < stream.length;) {
      const size = seed === 0 ? stream.length : seed === 1 ? 1 : 1 + random.below(random.chance(0.5) ? 10 : 5000);
      decoder.push(Uint8Array.from(stream.subarray(at, at + size)));
      at += size;
    }
    assert.deepEqual(got, MESSAGES);
  }
});

test("garbage ends in a WireError, at once and for ever; nothing else is thrown", () => {
  const random = new SeededRandom(99);
  let errors = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const decoder = new MessageDecoder(() => undefined);
    let bytes: Uint8Array;
    if (random.chance(0.3)) bytes = random.bytes(1 + random.below(60));
    else {
      // A good message with something in it changed, or the end cut off and another one after it.
      bytes = encodeMessage(random.pick(MESSAGES)).slice();
      for (let count = 1 + random.below(3); count > 0; count -= 1) bytes[4 + random.below(Math.min(bytes.length - 4, 80))] = random.next();
    }
    try {
      decoder.push(bytes);
      decoder.push(encodeMessage({ kind: "receipt", configuration: 3, seq: 1 }));
    } catch (error) {
      errors += 1;
      assert.ok(error instanceof WireError, String(error));
      assert.throws(() => decoder.push(Uint8Array.of(0)), WireError);
    }
  }
  assert.ok(errors > 5000);
});

test("frames that are too long or empty are refused before anything is allocated", () => {
  for (const length of [0, MAX_FRAME_BYTES + 1, 0xffffffff]) {
    const header = new Uint8Array(5);
    new DataView(header.buffer).setUint32(0, length, true);
    assert.throws(() => new FrameDecoder(() => undefined).push(header), WireError);
  }
  assert.throws(() => encodeMessage({ kind: "imageState", bytes: new Uint8Array(MAX_FRAME_BYTES) }), WireError);
});

test("a failure of the receiver is not taken for garbage of the sender", () => {
  const decoder = new MessageDecoder(() => {
    throw new RangeError("the receiver's own");
  });
  assert.throws(() => decoder.push(encodeMessage({ kind: "receipt", configuration: 3, seq: 1 })), RangeError);
});

test("UTF-8 as everybody else writes it", () => {
  for (const text of ["", "plain", "häß €", "𝄞 and 漢字", "\u0000\u007f\u0080\u07ff\u0800\uffff\u{10ffff}"]) {
    assert.deepEqual(Buffer.from(utf8Encode(text)), Buffer.from(text));
    assert.equal(utf8Decode(Buffer.from(text)), text);
  }
  assert.equal(utf8Decode(Uint8Array.of(0x41, 0xc0, 0x80, 0xff, 0xe2, 0x82)), "A\ufffd\ufffd\ufffd\ufffd");
  assert.deepEqual(Buffer.from(utf8Encode("\ud800")), Buffer.from("\ufffd"));
});

test("a control message is an object with a kind", () => {
  assert.equal(parseControl('{"kind":"verify"}').kind, "verify");
  for (const bad of ["", "5", "null", "[]", "{}", '{"kind":5}']) assert.throws(() => parseControl(bad));
});

test("the file arbiter lets one claim of a number win, whoever comes, and tells the others", async () => {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-arbiter-"));
  try {
    const records = Array.from({ length: 20 }, (_, index) => ({ number: 1, cpus: [`cpu${index}`], activeIo: `io${index}`, mirrors: [] }));
    assert.equal(await new FileArbiter(directory).highest(), null);
    const answers = await Promise.all(records.map((record) => new FileArbiter(directory).claim(record)));
    for (const answer of answers) assert.deepEqual(answer, answers[0]);
    const next = { number: 2, cpus: ["cpu0"], activeIo: "io0", mirrors: ["disk0"] };
    assert.deepEqual(await new FileArbiter(directory).claim(next), next);
    assert.deepEqual(await new FileArbiter(directory).highest(), next);
    assert.deepEqual((await new FileArbiter(directory).claim({ ...next, number: 1 })).number, 2, "a number below the highest is lost");
    assert.deepEqual(
      readdirSync(directory).filter((name) => !name.startsWith("configuration-")),
      [],
      "nothing half-made is left",
    );
    writeFileSync(join(directory, "configuration-0000000003.json"), "{");
    await assert.rejects(new FileArbiter(directory).highest(), /ARBITER_RECORD|damaged/);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("the file arbiter forgets old numbers and never gives them out again", async () => {
  const directory = mkdtempSync(join(tmpdir(), "steadfast-arbiter-"));
  try {
    const arbiter = new FileArbiter(directory);
    for (const number of [1, 2, 1500, 1600]) await arbiter.claim({ number, cpus: [], activeIo: "io0", mirrors: [] });
    assert.equal(readdirSync(directory).length, 2);
    assert.equal((await arbiter.claim({ number: 1, cpus: [], activeIo: "io1", mirrors: [] })).number, 1600);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
