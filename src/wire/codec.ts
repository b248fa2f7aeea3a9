/** Messages to frames and back. Layouts are little endian; sequence numbers are f64 (exact up to 2^53). */
import { NO_BYTES, utf8Decode, utf8Encode } from "../foundation/bytes.js";
import type { MachineInput, MachineOutput } from "../machine/machine.js";
import { FRAME_HEADER_BYTES, FrameDecoder, MAX_FRAME_BYTES, WireError } from "./frame.js";
import {
  apartBytes,
  ITEM_HEADER_BYTES,
  itemsBytes,
  LEAST_APART_BYTES,
  readInput,
  readOutput,
  writeInput,
  writeOutput,
  type ItemSink,
} from "./items.js";
import type { ImagePage, Message, MirrorMessage, PlainMessage, ResultMessage, TickMessage } from "./messages.js";
import { Reader } from "./reader.js";

const TYPE_PLAIN = 1;
const TYPE_CONTROL = 2;
const TYPE_TICK = 3;
const TYPE_RESULT = 4;
const TYPE_PAYLOAD = 5;
const TYPE_IMAGE_PAGES = 6;
const TYPE_IMAGE_STATE = 7;
const TYPE_KEPT_TICK = 8;
const TYPE_RECEIPT = 9;
const TYPE_MIRROR_COMMAND = 10;
const TYPE_MIRROR_REPLY = 11;

/** Fields of each JSON message: a decoder accepts these kinds only, with these types. */
const PLAIN_FIELDS: Readonly<Record<PlainMessage["kind"], Readonly<Record<string, "number" | "string" | "boolean" | "object">>>> = {
  hello: { protocolVersion: "number", module: "string", name: "string", incarnation: "number", pid: "number" },
  receipt: { configuration: "number", seq: "number" },
  payloadRequest: { seq: "number" },
  memberState: { configuration: "number", seq: "number", blank: "boolean" },
  expectImage: { clone: "number", keep: "boolean" },
  imageExpected: { clone: "number" },
  capture: { clone: "number", newcomer: "string", socket: "string" },
  abortCapture: { clone: "number" },
  cloneProgress: { clone: "number", pagesSent: "number", pagesRemaining: "number" },
  cloneFailed: { clone: "number", why: "string" },
  captured: { clone: "number", seq: "number", holdMicros: "number", pages: "number", bytes: "number" },
  restored: { clone: "number", seq: "number", store: "string", digest: "string" },
  imageStart: { clone: "number" },
  imageEnd: { clone: "number", seq: "number", configuration: "number" },
  configurationNotice: { record: "object", fullOutputs: "boolean" },
  resume: { configuration: "number" },
  resumed: { seq: "number", committed: "number" },
  refused: { configuration: "number", seen: "number" },
  mirrorHeader: { text: "string" },
  heartbeat: { isActive: "boolean", configuration: "number", cpus: "object" },
  prepareCheckpoint: { keep: "boolean", urgent: "boolean" },
  checkpointPrepared: {},
  checkpointMarked: { seq: "number", holdMicros: "number", pages: "number", store: "string" },
  checkpointVerified: { seq: "number" },
  endCheckpoints: { retire: "boolean" },
  restoreCheckpoint: { store: "string", seq: "number" },
  checkpointRestored: { seq: "number", digest: "string" },
  checkpointFailed: { why: "string" },
  damaged: { page: "number", seq: "number" },
};

/** configuration u32, seq, committed, floor f64, nowNs i64, budget u32, flags u8, count u32. */
const TICK_HEADER_BYTES = 45;
/** configuration u32, seq f64, instructions u64, time i64, idle i64, digest u64, outputs' digest u64, runMicros u32, flags u8. */
const RESULT_HEADER_BYTES = 57;
const PAGE_BYTES = 4096;

const FLAG_STATE_DIGEST = 1;
const FLAG_BUSY = 2;
const FLAG_HAS_OUTPUTS = 4;
const FLAG_OUTPUTS = 8;
const FLAG_CHECKPOINT = 16;

/** Small frames are cut from slabs, since memory of its own costs more than most of them hold. No part is used twice. */
const SLAB_BYTES = 64 * 1024;
const LARGEST_FROM_SLAB_BYTES = SLAB_BYTES / 16;
let slab = new ArrayBuffer(0);
let slabUsed = 0;

function newFrame(type: number, bodyBytes: number): { frame: Uint8Array; view: DataView } {
  const { frame, view } = newSink(type, bodyBytes, 0, false);
  return { frame, view };
}

/** `isApart`: `apartBodyBytes` of the body are sent from where they are. */
function newSink(type: number, bodyBytes: number, apartBodyBytes: number, isApart: boolean): ItemSink {
  if (bodyBytes + 1 > MAX_FRAME_BYTES) throw new WireError(`a message of ${bodyBytes} bytes (at most ${MAX_FRAME_BYTES})`);
  const frameBytes = FRAME_HEADER_BYTES + bodyBytes - (isApart ? apartBodyBytes : 0);
  let [buffer, at] = [slab, slabUsed];
  if (frameBytes > LARGEST_FROM_SLAB_BYTES) [buffer, at] = [new ArrayBuffer(frameBytes), 0];
  else {
    if (slabUsed + frameBytes > slab.byteLength) [buffer, at] = [(slab = new ArrayBuffer(SLAB_BYTES)), 0];
    slabUsed = at + frameBytes;
  }
  const frame = new Uint8Array(buffer, at, frameBytes);
  const view = new DataView(buffer, at, frameBytes);
  view.setUint32(0, bodyBytes + 1, true);
  frame[4] = type;
  return { frame, view, apart: isApart ? [] : null };
}

/** The frame with what is apart in its places. */
function piecesOf({ frame, apart }: ItemSink): Uint8Array[] {
  if (apart === null || apart.length === 0) return [frame];
  const pieces: Uint8Array[] = [];
  let from = 0;
  for (const { at, bytes } of apart) {
    pieces.push(frame.subarray(from, at), bytes);
    from = at;
  }
  if (from < frame.length) pieces.push(frame.subarray(from));
  return pieces;
}

function bytesFrame(type: number, body: Uint8Array): Uint8Array {
  const { frame } = newFrame(type, body.length);
  frame.set(body, FRAME_HEADER_BYTES);
  return frame;
}

function encodeTick(type: number, tick: TickMessage, isApart: boolean): Uint8Array[] {
  const sink = newSink(type, TICK_HEADER_BYTES + itemsBytes(tick.inputs), isApart ? apartBytes(tick.inputs) : 0, isApart);
  const { view } = sink;
  const at = FRAME_HEADER_BYTES;
  view.setUint32(at, tick.configuration, true);
  view.setFloat64(at + 4, tick.seq, true);
  view.setFloat64(at + 12, tick.committed, true);
  view.setFloat64(at + 20, tick.floor, true);
  view.setBigInt64(at + 28, tick.nowNs, true);
  view.setUint32(at + 36, tick.budget, true);
  view.setUint8(at + 40, (tick.fullDigest ? FLAG_STATE_DIGEST : 0) | (tick.checkpoint ? FLAG_CHECKPOINT : 0));
  view.setUint32(at + 41, tick.inputs.length, true);
  let next = at + TICK_HEADER_BYTES;
  for (const input of tick.inputs) next = writeInput(sink, next, input);
  return piecesOf(sink);
}

function encodeResult(result: ResultMessage, isApart: boolean): Uint8Array[] {
  const digestBytes = result.stateDigest === null ? NO_BYTES : utf8Encode(result.stateDigest);
  const { outputs } = result;
  const bodyBytes = RESULT_HEADER_BYTES + 1 + digestBytes.length + 4 + (outputs === null ? 0 : itemsBytes(outputs));
  const sink = newSink(TYPE_RESULT, bodyBytes, isApart && outputs !== null ? apartBytes(outputs) : 0, isApart);
  const { frame, view } = sink;
  const at = FRAME_HEADER_BYTES;
  view.setUint32(at, result.configuration, true);
  view.setFloat64(at + 4, result.seq, true);
  view.setBigUint64(at + 12, result.instructionCount, true);
  view.setBigInt64(at + 20, result.timeNs, true);
  view.setBigInt64(at + 28, result.idleUntilNs ?? 0n, true);
  view.setBigUint64(at + 36, result.digest, true);
  view.setBigUint64(at + 44, result.outputsDigest, true);
  view.setUint32(at + 52, Math.min(result.runMicros, 0xffffffff), true);
  view.setUint8(
    at + 56,
    (result.stateDigest === null ? 0 : FLAG_STATE_DIGEST) |
      (result.idleUntilNs === null ? FLAG_BUSY : 0) |
      (result.hasOutputs ? FLAG_HAS_OUTPUTS : 0) |
      (outputs === null ? 0 : FLAG_OUTPUTS),
  );
  let next = at + RESULT_HEADER_BYTES;
  view.setUint8(next, digestBytes.length);
  frame.set(digestBytes, next + 1);
  next += 1 + digestBytes.length;
  view.setUint32(next, outputs === null ? 0 : outputs.length, true);
  next += 4;
  if (outputs !== null) for (const output of outputs) next = writeOutput(sink, next, output);
  return piecesOf(sink);
}

function encodePayload(seq: number, outputs: readonly MachineOutput[]): Uint8Array {
  const sink = newSink(TYPE_PAYLOAD, 12 + itemsBytes(outputs), 0, false);
  const { frame, view } = sink;
  view.setFloat64(FRAME_HEADER_BYTES, seq, true);
  view.setUint32(FRAME_HEADER_BYTES + 8, outputs.length, true);
  let next = FRAME_HEADER_BYTES + 12;
  for (const output of outputs) next = writeOutput(sink, next, output);
  return frame;
}

function encodePages(pages: readonly ImagePage[]): Uint8Array {
  let bytes = 4;
  for (const page of pages) bytes += 5 + page.bytes.length;
  const { frame, view } = newFrame(TYPE_IMAGE_PAGES, bytes);
  view.setUint32(FRAME_HEADER_BYTES, pages.length, true);
  let at = FRAME_HEADER_BYTES + 4;
  for (const page of pages) {
    view.setUint32(at, page.page, true);
    view.setUint8(at + 4, page.bytes.length === 0 ? 0 : 1);
    frame.set(page.bytes, at + 5);
    at += 5 + page.bytes.length;
  }
  return frame;
}

function encodeReceipt(configuration: number, seq: number): Uint8Array {
  const { frame, view } = newFrame(TYPE_RECEIPT, 12);
  view.setUint32(FRAME_HEADER_BYTES, configuration, true);
  view.setFloat64(FRAME_HEADER_BYTES + 4, seq, true);
  return frame;
}

/** The frame of a message, of bytes of its own. */
export function encodeMessage(message: Message): Uint8Array {
  const [frame] = encode(message, false);
  return frame as Uint8Array;
}

/**
 * The frame of a message in pieces, to be sent one after the other. Large payloads are pieces as they are: nobody may change them
 * afterwards. (Where a message has pieces of an image, which are views of a machine's memory, they are copied.)
 */
export function encodePieces(message: Message): readonly Uint8Array[] {
  return encode(message, true);
}

function encode(message: Message, isApart: boolean): Uint8Array[] {
  switch (message.kind) {
    case "tick":
      return encodeTick(TYPE_TICK, message, isApart);
    case "result":
      return encodeResult(message, isApart);
    case "keptTick":
      return encodeTick(TYPE_KEPT_TICK, message.tick, isApart);
    case "mirrorCommand":
      return encodeMirror(TYPE_MIRROR_COMMAND, message, isApart);
    case "mirrorReply":
      return encodeMirror(TYPE_MIRROR_REPLY, message, isApart);
    default:
      return [encodeWhole(message)];
  }
}

function encodeWhole(message: Exclude<Message, TickMessage | ResultMessage | MirrorMessage | { kind: "keptTick" }>): Uint8Array {
  switch (message.kind) {
    case "payload":
      return encodePayload(message.seq, message.outputs);
    case "receipt":
      return encodeReceipt(message.configuration, message.seq);
    case "imagePages":
      return encodePages(message.pages);
    case "imageState":
      return bytesFrame(TYPE_IMAGE_STATE, message.bytes);
    case "control":
      return bytesFrame(TYPE_CONTROL, utf8Encode(message.text));
    default:
      return bytesFrame(TYPE_PLAIN, utf8Encode(JSON.stringify(message)));
  }
}

/** Length u32 of the text, text, payload. */
function encodeMirror(type: number, { text, bytes }: MirrorMessage, isApart: boolean): Uint8Array[] {
  const encoded = utf8Encode(text);
  const sink = newSink(type, 4 + encoded.length + bytes.length, bytes.length, isApart && bytes.length >= LEAST_APART_BYTES);
  const { frame, view, apart } = sink;
  const end = FRAME_HEADER_BYTES + 4 + encoded.length;
  view.setUint32(FRAME_HEADER_BYTES, encoded.length, true);
  frame.set(encoded, FRAME_HEADER_BYTES + 4);
  if (apart === null) frame.set(bytes, end);
  else apart.push({ at: end, bytes });
  return piecesOf(sink);
}

function decodeMirror(kind: MirrorMessage["kind"], reader: Reader): MirrorMessage {
  const text = utf8Decode(reader.bytes(reader.u32()));
  return { kind, text, bytes: reader.rest() };
}

function readOutputs(reader: Reader): MachineOutput[] {
  const count = reader.count(ITEM_HEADER_BYTES);
  const outputs: MachineOutput[] = [];
  for (let index = 0; index < count; index += 1) outputs.push(readOutput(reader));
  return outputs;
}

function decodeTick(reader: Reader): TickMessage {
  const configuration = reader.u32();
  const seq = reader.seq();
  const committed = reader.seq();
  const floor = reader.seq();
  const nowNs = reader.i64();
  const budget = reader.u32();
  const flags = reader.u8();
  const count = reader.count(ITEM_HEADER_BYTES);
  const inputs: MachineInput[] = [];
  for (let index = 0; index < count; index += 1) inputs.push(readInput(reader));
  const fullDigest = (flags & FLAG_STATE_DIGEST) !== 0;
  const checkpoint = (flags & FLAG_CHECKPOINT) !== 0;
  return { kind: "tick", configuration, seq, committed, floor, nowNs, budget, fullDigest, checkpoint, inputs };
}

function decodeResult(reader: Reader): ResultMessage {
  const configuration = reader.u32();
  const seq = reader.seq();
  const instructionCount = reader.u64();
  const timeNs = reader.i64();
  const idle = reader.i64();
  const digest = reader.u64();
  const outputsDigest = reader.u64();
  const runMicros = reader.u32();
  const flags = reader.u8();
  const stateDigest = utf8Decode(reader.bytes(reader.u8()));
  const outputs = readOutputs(reader);
  return {
    kind: "result",
    configuration,
    seq,
    instructionCount,
    timeNs,
    idleUntilNs: (flags & FLAG_BUSY) !== 0 ? null : idle,
    digest,
    outputsDigest,
    runMicros,
    hasOutputs: (flags & FLAG_HAS_OUTPUTS) !== 0,
    outputs: (flags & FLAG_OUTPUTS) !== 0 ? outputs : null,
    stateDigest: (flags & FLAG_STATE_DIGEST) !== 0 ? stateDigest : null,
  };
}

function decodePages(reader: Reader): ImagePage[] {
  const count = reader.count(5);
  const pages: ImagePage[] = [];
  for (let index = 0; index < count; index += 1) {
    const page = reader.u32();
    pages.push({ page, bytes: reader.u8() === 0 ? NO_BYTES : reader.bytes(PAGE_BYTES) });
  }
  return pages;
}

function names(list: unknown): boolean {
  return Array.isArray(list) && list.every((name) => typeof name === "string");
}

function isRecordMessage(value: unknown): boolean {
  const record = value as { number?: unknown; cpus?: unknown; activeIo?: unknown; mirrors?: unknown } | null;
  return (
    record !== null &&
    Number.isSafeInteger(record.number) &&
    names(record.cpus) &&
    typeof record.activeIo === "string" &&
    names(record.mirrors)
  );
}

function decodePlain(body: Uint8Array): PlainMessage {
  let value: unknown;
  try {
    value = JSON.parse(utf8Decode(body));
  } catch {
    throw new WireError("a plain message that is not JSON");
  }
  if (typeof value !== "object" || value === null) throw new WireError("a plain message that is not an object");
  const message = value as Record<string, unknown>;
  const kind = message["kind"];
  if (typeof kind !== "string" || !Object.hasOwn(PLAIN_FIELDS, kind)) throw new WireError("a plain message of an unknown kind");
  for (const [field, type] of Object.entries(PLAIN_FIELDS[kind as PlainMessage["kind"]])) {
    const content = message[field];
    if (typeof content !== type || content === null) throw new WireError(`${kind} with a wrong ${field}`);
    if (type === "number" && (!Number.isFinite(content) || (content as number) < 0)) throw new WireError(`${kind} with a wrong ${field}`);
  }
  if (kind === "configurationNotice" && !isRecordMessage(message["record"])) throw new WireError(`${kind} with a wrong record`);
  if (kind === "heartbeat" && !names(message["cpus"])) throw new WireError(`${kind} with wrong names`);
  return message as unknown as PlainMessage;
}

/** Decodes one frame. Byte fields of the message may be views into `body`. */
export function decodeFrame(type: number, body: Uint8Array): Message {
  if (type === TYPE_PLAIN) return decodePlain(body);
  if (type === TYPE_CONTROL) return { kind: "control", text: utf8Decode(body) };
  if (type === TYPE_IMAGE_STATE) return { kind: "imageState", bytes: body };
  const reader = new Reader(body);
  const message = decodeBinary(type, reader);
  reader.end();
  return message;
}

function decodeBinary(type: number, reader: Reader): Message {
  switch (type) {
    case TYPE_TICK:
      return decodeTick(reader);
    case TYPE_RESULT:
      return decodeResult(reader);
    case TYPE_KEPT_TICK:
      return { kind: "keptTick", tick: decodeTick(reader) };
    case TYPE_PAYLOAD:
      return { kind: "payload", seq: reader.seq(), outputs: readOutputs(reader) };
    case TYPE_RECEIPT:
      return { kind: "receipt", configuration: reader.u32(), seq: reader.seq() };
    case TYPE_IMAGE_PAGES:
      return { kind: "imagePages", pages: decodePages(reader) };
    case TYPE_MIRROR_COMMAND:
      return decodeMirror("mirrorCommand", reader);
    case TYPE_MIRROR_REPLY:
      return decodeMirror("mirrorReply", reader);
    default:
      throw new WireError(`unknown frame type ${type}`);
  }
}

/** Bytes in, messages out. Throws a WireError for anything that is not a message. */
export class MessageDecoder {
  readonly #frames: FrameDecoder;

  constructor(onMessage: (message: Message) => void) {
    this.#frames = new FrameDecoder((type, body) => {
      // Outside of the decoding proper, so that a failure of the receiver is never mistaken for one of the sender.
      const message = decodeFrame(type, body);
      onMessage(message);
    });
  }

  push(chunk: Uint8Array): void {
    this.#frames.push(chunk);
  }
}
