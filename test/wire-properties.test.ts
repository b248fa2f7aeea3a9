/** Properties of everything that travels between modules or into recordings: round trips at any split, and garbage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { toHex, utf8Decode, utf8Encode } from "../dist/foundation/bytes.js";
import { Hash } from "../dist/foundation/hash.js";
import { PanicWatch } from "../dist/lockstep/panic-watch.js";
import { DISK_BLOCK_BYTES, MAX_DISK_REQUEST_BYTES, type MachineInput, type MachineOutput } from "../dist/machine/machine.js";
import { ToyMachine } from "../dist/machine/toy.js";
import { controlFrame, headerOf, imageFrames, type RecordingHeader } from "../dist/recording/format.js";
import { RecordingError, Replay } from "../dist/recording/replay.js";
import { encodeMessage, encodePieces, MessageDecoder } from "../dist/wire/codec.js";
import { controlOf } from "../dist/wire/control.js";
import { MAX_FRAME_BYTES, WireError } from "../dist/wire/frame.js";
import { LEAST_APART_BYTES } from "../dist/wire/items.js";
import type { Message, TickMessage } from "../dist/wire/messages.js";
import { anyBytes, anyCuts, anyDamage, damaged, holds, pieces } from "./support/properties.js";

const seq = fc.maxSafeNat();
const u32 = fc.nat(0xffff_ffff);
const u64 = fc.bigInt(0n, (1n << 64n) - 1n);
const i64 = fc.bigInt(-(1n << 63n), (1n << 63n) - 1n);
const bytes = fc.uint8Array({ maxLength: 300 });
const name = fc.string({ maxLength: 20 });
const hex256 = fc.uint8Array({ minLength: 32, maxLength: 32 }).map((value) => Buffer.from(value).toString("hex"));

const blocks = (most: number): fc.Arbitrary<number> => fc.nat(most / DISK_BLOCK_BYTES).map((count) => count * DISK_BLOCK_BYTES);
const diskPlace = fc.oneof(blocks(2 ** 30), fc.constant(2 ** 53 - DISK_BLOCK_BYTES));

const input: fc.Arbitrary<MachineInput> = fc.oneof(
  fc.record({ kind: fc.constant("powerOn" as const), entropy: bytes }),
  fc.record({ kind: fc.constant("powerOn" as const), entropy: bytes, image: fc.uint8Array({ minLength: 32, maxLength: 32 }).map(toHex) }),
  fc.record({ kind: fc.constant("frame" as const), port: fc.nat(255), bytes }),
  fc.record({ kind: fc.constant("console" as const), bytes }),
  fc.record({ kind: fc.constant("agent" as const), bytes }),
  fc.record({ kind: fc.constant("entropy" as const), bytes }),
  fc.constant({ kind: "powerButton" as const }),
  fc.record({ kind: fc.constant("diskDone" as const), id: u32, isOk: fc.boolean(), bytes }),
  fc.constant({ kind: "diskRepeat" as const }),
  fc.record({ kind: fc.constant("diskSize" as const), bytes: diskPlace }),
);
const output: fc.Arbitrary<MachineOutput> = fc.oneof(
  fc.record({ kind: fc.constant("frame" as const), port: fc.nat(255), bytes }),
  fc.record({ kind: fc.constant("console" as const), bytes }),
  fc.record({ kind: fc.constant("agent" as const), bytes }),
  fc.record({ kind: fc.constant("entropyRequest" as const), lengthBytes: u32 }),
  fc
    .record({
      kind: fc.constant("disk" as const),
      id: u32,
      operation: fc.constantFrom("read" as const, "write" as const, "flush" as const),
      offset: diskPlace,
      lengthBytes: blocks(8 * DISK_BLOCK_BYTES),
    })
    .map((each) => ({ ...each, bytes: new Uint8Array(each.operation === "write" ? each.lengthBytes : 0).fill(each.id) })),
  fc.record({ kind: fc.constant("reset" as const), failure: fc.boolean() }),
  fc.record({ kind: fc.constant("powerOff" as const), failure: fc.boolean() }),
);
const tick: fc.Arbitrary<TickMessage> = fc.record({
  kind: fc.constant("tick" as const),
  configuration: u32,
  seq,
  committed: seq,
  floor: seq,
  nowNs: i64,
  budget: u32,
  fullDigest: fc.boolean(),
  checkpoint: fc.boolean(),
  inputs: fc.array(input, { maxLength: 6 }),
});
const result: fc.Arbitrary<Message> = fc
  .record({
    kind: fc.constant("result" as const),
    configuration: u32,
    seq,
    instructionCount: u64,
    timeNs: i64,
    idleUntilNs: fc.option(i64),
    digest: u64,
    outputsDigest: u64,
    runMicros: u32,
    hasOutputs: fc.boolean(),
    outputs: fc.option(fc.array(output, { maxLength: 5 })),
    stateDigest: fc.option(hex256),
  })
  .map((each) => ({
    ...each,
    idleUntilNs: each.idleUntilNs ?? null,
    outputs: each.outputs ?? null,
    stateDigest: each.stateDigest ?? null,
  }));
const page = fc.record({ page: u32, bytes: fc.oneof(fc.constant(new Uint8Array(0)), fc.uint8Array({ minLength: 4096, maxLength: 4096 })) });
const record = fc.record({
  number: u32,
  cpus: fc.array(name, { maxLength: 4 }),
  activeIo: name,
  mirrors: fc.array(name, { maxLength: 2 }),
});
const message: fc.Arbitrary<Message> = fc.oneof(
  tick,
  tick.map((each) => ({ kind: "keptTick" as const, tick: each })),
  result,
  fc.record({ kind: fc.constant("receipt" as const), configuration: u32, seq }),
  fc.record({ kind: fc.constant("payload" as const), seq, outputs: fc.array(output, { maxLength: 5 }) }),
  fc.record({ kind: fc.constant("imagePages" as const), pages: fc.array(page, { maxLength: 3 }) }),
  fc.record({ kind: fc.constant("imageState" as const), bytes }),
  fc.record({ kind: fc.constant("control" as const), text: fc.string({ unit: "binary", maxLength: 100 }) }),
  fc.record({ kind: fc.constant("memberState" as const), configuration: u32, seq, blank: fc.boolean() }),
  fc.record({ kind: fc.constant("configurationNotice" as const), record, fullOutputs: fc.boolean() }),
  fc.record({ kind: fc.constant("checkpointMarked" as const), seq, holdMicros: u32, pages: u32, store: name }),
);

const NO_FLAGS = { fullDigest: false, checkpoint: false };

/** What the decoder makes of bytes: messages until it refuses. */
function decode(chunks: Iterable<Uint8Array>): { messages: Message[]; refused: boolean } {
  const messages: Message[] = [];
  const decoder = new MessageDecoder((each) => messages.push(structuredClone(each)));
  try {
    for (const chunk of chunks) decoder.push(chunk);
    return { messages, refused: false };
  } catch (error) {
    assert.ok(error instanceof WireError, String((error as Error).stack));
    return { messages, refused: true };
  }
}

test("messages come out as they went in, wherever the stream is cut", () => {
  holds(fc.tuple(fc.array(message, { maxLength: 6 }), anyCuts), ([messages, cuts]) => {
    const stream = Uint8Array.from(Buffer.concat(messages.map(encodeMessage)));
    // Cloned: fast-check's records have no prototype.
    assert.deepEqual(decode(pieces(stream, cuts)).messages, structuredClone(messages));
  });
});

test("a message in pieces is the same frame, and large payloads in it are not copied", () => {
  const large = fc.uint8Array({ minLength: LEAST_APART_BYTES - 1, maxLength: LEAST_APART_BYTES + 5 });
  const asInput = large.map((each) => ({ kind: "diskDone" as const, id: 7, isOk: true, bytes: each }));
  const asOutput = large.map((each) => ({ kind: "frame" as const, port: 1, bytes: each }));
  const withLarge: fc.Arbitrary<Message> = fc.oneof(
    fc.tuple(tick, fc.array(fc.oneof(input, asInput), { maxLength: 5 })).map(([each, inputs]) => ({ ...each, inputs }) as Message),
    fc.tuple(result, fc.array(fc.oneof(output, asOutput), { maxLength: 5 })).map(([each, outputs]) => ({ ...each, outputs }) as Message),
    fc.tuple(name, large).map(([text, each]) => ({ kind: "mirrorReply" as const, text, bytes: each })),
    message,
  );
  holds(withLarge, (each) => assert.deepEqual(new Uint8Array(Buffer.concat(encodePieces(each))), encodeMessage(each)));
  const payload = new Uint8Array(LEAST_APART_BYTES);
  assert.equal(encodePieces({ kind: "mirrorCommand", text: "{}", bytes: payload })[1], payload);
});

test("damaged messages and random bytes are refused or are other messages: the same at every split, and no crash", () => {
  const stream = fc.oneof(
    anyBytes(),
    fc
      .tuple(fc.array(message, { minLength: 1, maxLength: 3 }), fc.array(anyDamage, { minLength: 1, maxLength: 3 }))
      .map(([messages, damages]) => damaged(Uint8Array.from(Buffer.concat(messages.map(encodeMessage))), damages)),
  );
  holds(fc.tuple(stream, anyCuts), ([bytesIn, cuts]) => assert.deepEqual(decode(pieces(bytesIn, cuts)), decode([bytesIn])), 600);
});

test("a frame's length is believed only up to the limit, and a count only as far as there are bytes", () => {
  const before = process.memoryUsage().arrayBuffers;
  holds(fc.tuple(fc.nat(255), fc.nat(0xffff_ffff), anyBytes(100)), ([type, length, rest]) => {
    const head = new Uint8Array(5);
    new DataView(head.buffer).setUint32(0, length, true);
    head[4] = type;
    const { refused } = decode([head, rest]);
    if (length === 0 || length > MAX_FRAME_BYTES) assert.ok(refused);
  });
  const lying = [2, 3, 9, 10, 11, 12, 13, 14].map((type) => Uint8Array.from([17, 0, 0, 0, type, ...new Array<number>(16).fill(0xff)]));
  for (const frame of lying) decode([frame]);
  assert.ok(process.memoryUsage().arrayBuffers - before < 64 * MAX_FRAME_BYTES);
});

test("a disk request is whole blocks, as long as it says and not longer than allowed; so is a disk's answer", () => {
  const request = {
    kind: "disk" as const,
    id: 7,
    operation: "write" as const,
    offset: 8192,
    lengthBytes: 4096,
    bytes: new Uint8Array(4096),
  };
  const asOutput = (each: MachineOutput): Uint8Array => encodeMessage({ kind: "payload", seq: 1, outputs: [each] });
  const asInput = (each: MachineInput): Uint8Array =>
    encodeMessage({
      ...{ kind: "tick", configuration: 1, seq: 1, committed: 0, floor: 0, nowNs: 0n, budget: 1 },
      ...NO_FLAGS,
      inputs: [each],
    });
  const largest = new Uint8Array(MAX_DISK_REQUEST_BYTES);
  const isRefused = (frame: Uint8Array): boolean => decode([frame]).refused;
  for (const good of [request, { ...request, lengthBytes: largest.length, bytes: largest }]) assert.ok(!isRefused(asOutput(good)));
  const bad: Partial<typeof request>[] = [
    { offset: 512 },
    { offset: 2 ** 54 },
    { lengthBytes: 4097, bytes: new Uint8Array(4097) },
    { lengthBytes: 8192 },
    { bytes: new Uint8Array(0) },
    { lengthBytes: largest.length + 4096, bytes: new Uint8Array(largest.length + 4096) },
  ];
  for (const wrong of bad) assert.ok(isRefused(asOutput({ ...request, ...wrong })), JSON.stringify(Object.keys(wrong)));
  assert.ok(isRefused(asOutput({ ...request, operation: "read" })));
  assert.ok(!isRefused(asInput({ kind: "diskDone", id: 1, isOk: true, bytes: largest })));
  assert.ok(isRefused(asInput({ kind: "diskDone", id: 1, isOk: true, bytes: new Uint8Array(largest.length + 1) })));
  assert.ok(isRefused(asInput({ kind: "diskSize", bytes: 1000 })));
});

test("UTF-8 is what the platform makes of it; texts survive", () => {
  holds(fc.string({ unit: "binary" }), (text) => assert.equal(utf8Decode(utf8Encode(text)), text));
  holds(anyBytes(), (garbage) => {
    const text = utf8Decode(garbage);
    if (Buffer.from(new TextDecoder().decode(garbage)).equals(garbage)) assert.deepEqual(utf8Encode(text), garbage);
  });
});

test("control messages: an object with a kind, or nothing", () => {
  holds(fc.oneof(fc.string(), fc.json()), (text) => {
    const control = controlOf({ kind: "control", text });
    if (control !== null) assert.equal(typeof control.kind, "string");
  });
});

test("hashes: one bit makes a difference, and words are what their bytes are not", () => {
  holds(fc.tuple(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.nat(), fc.nat(7)), ([data, at, bit]) => {
    const other = data.slice();
    other[at % data.length] = (data[at % data.length] as number) ^ (1 << bit);
    assert.notEqual(new Hash().bytes(data).hex(), new Hash().bytes(other).hex());
    assert.equal(new Hash().bytes(data).hex(), new Hash().bytes(data.slice()).hex());
    assert.notEqual(new Hash().bulk(data).hex(), new Hash().bulk(other).hex());
    const shifted = new Uint8Array(data.length + 1);
    shifted.set(data, 1);
    assert.equal(new Hash().bulk(data).hex(), new Hash().bulk(shifted.subarray(1)).hex());
  });
});

test("a panic's reason does not depend on how the console is cut, and garbage is no panic", () => {
  const line = fc.string({ unit: "grapheme-ascii", maxLength: 200 });
  holds(fc.tuple(line, line, anyCuts), ([before, reason, cuts]) => {
    const text = utf8Encode(`${before}\r\nKernel panic - not syncing: ${reason}\r\nmore`);
    const [whole, cut] = [new PanicWatch(), new PanicWatch()];
    whole.console(text);
    for (const piece of pieces(text, cuts)) cut.console(piece);
    assert.equal(cut.reason, whole.reason);
    assert.ok(whole.reason !== null && whole.reason.length <= 160);
  });
  holds(anyBytes(), (garbage) => {
    const watch = new PanicWatch();
    watch.console(garbage);
    assert.equal(watch.reason, null);
  });
});

// ---- recordings ----

const TOY = { engine: "toy", behaviour: 2, ramBytes: 4 * 4096, harts: 1, epochNs: "0", imageDigest: "00", commandLine: "" } as const;
const HEADER: RecordingHeader = {
  ...{ kind: "recording", format: 1, server: "main", atMs: 0, node: "20", seq: 7 },
  machine: { ...TOY, macAddress: "", kernelPath: "", initrdPath: "" },
};

function toy(): ToyMachine {
  return new ToyMachine({ ramBytes: TOY.ramBytes, commandLine: "", epochNs: 0n, imageDigest: "00" });
}

/** A recording of a few ticks of the toy, as frames. */
function recording(commands: readonly string[]): Uint8Array {
  const machine = toy();
  const frames = [controlFrame(HEADER), ...imageFrames(machine.capture().finish())];
  commands.forEach((text, index) => {
    const nowNs = BigInt(index) * 1_000_000n;
    const inputs: MachineInput[] =
      index === 0 ? [{ kind: "powerOn", entropy: new Uint8Array(8) }] : [{ kind: "console", bytes: utf8Encode(text) }];
    frames.push(
      encodeMessage({
        ...{ kind: "tick", configuration: 1, seq: HEADER.seq + 1 + index, committed: 0, floor: 0, nowNs, budget: 30_000 },
        ...{ fullDigest: false, checkpoint: false, inputs },
      }),
    );
  });
  frames.push(controlFrame({ kind: "recordingEnd", ticks: commands.length }));
  return Uint8Array.from(Buffer.concat(frames));
}

/** "whole", or why the recording is not taken for one. */
function replayed(stream: Uint8Array): string {
  let replay: Replay | null = null;
  let refused = "";
  try {
    const decoder = new MessageDecoder((each) => {
      if (refused !== "") return;
      if (replay !== null) return replay.message(each);
      const header = headerOf(each);
      if (typeof header === "string") refused = header;
      else replay = new Replay(header, toy());
    });
    decoder.push(stream);
    // Assigned in the callback, which the compiler does not see.
    const made = replay as Replay | null;
    if (refused !== "" || made === null) return refused === "" ? "no header" : refused;
    made.outcome();
    return "whole";
  } catch (error) {
    if (error instanceof RecordingError || error instanceof WireError) return error.message;
    throw error;
  }
}

test("a recording is whole or is refused with a reason, wherever it is damaged", () => {
  assert.equal(replayed(recording(["", "a\n", "b\n"])), "whole");
  const commands = fc.array(fc.string({ maxLength: 10 }), { minLength: 1, maxLength: 5 });
  holds(commands, (texts) => assert.equal(replayed(recording(texts)), "whole"), 30);
  holds(fc.tuple(commands, fc.nat()), ([texts, at]) => {
    const stream = recording(texts);
    assert.notEqual(replayed(stream.slice(0, at % stream.length)), "whole");
  });
});
