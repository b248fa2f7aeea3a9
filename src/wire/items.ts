/** Inputs and outputs of machines in messages: a header, for some kinds a few numbers, then bytes. */
import { fromHex, NO_BYTES, toHex } from "../foundation/bytes.js";
import { DISK_BLOCK_BYTES, MAX_DISK_REQUEST_BYTES, type DiskOperation, type MachineInput, type MachineOutput } from "../machine/machine.js";
import { WireError } from "./frame.js";
import type { Reader } from "./reader.js";

const INPUT_POWER_ON = 0;
const INPUT_FRAME = 1;
const INPUT_CONSOLE = 2;
const INPUT_ENTROPY = 3;
const INPUT_POWER_BUTTON = 4;
const INPUT_DISK_DONE = 5;
const INPUT_DISK_REPEAT = 6;
const INPUT_DISK_SIZE = 7;
const INPUT_AGENT = 8;
const OUTPUT_FRAME = 0;
const OUTPUT_CONSOLE = 1;
const OUTPUT_ENTROPY_REQUEST = 2;
const OUTPUT_RESET = 3;
const OUTPUT_POWER_OFF = 4;
const OUTPUT_DISK = 5;
const OUTPUT_AGENT = 6;
/** By its place; the place is the flag of an item. */
const DISK_OPERATIONS: readonly DiskOperation[] = ["read", "write", "flush"];
/** Before the bytes of a `diskDone`: id u32. */
const DISK_DONE_BYTES = 4;
/** Before the bytes of a `disk`: id u32, length u32, offset f64 (exact up to 2^53). */
const DISK_REQUEST_BYTES = 16;
const DISK_SIZE_BYTES = 8;
/** Before the entropy of a `powerOn` whose flag says so: the digest of an image. */
const IMAGE_DIGEST_BYTES = 32;
/** kind u8, port or flag u8, length u32 of what follows. */
export const ITEM_HEADER_BYTES = 6;

/** A payload that is not in the frame itself but comes at this place of it. */
export interface ApartPayload {
  readonly at: number;
  readonly bytes: Uint8Array;
}

/**
 * Where items are written. With `apart`, payloads of at least `LEAST_APART_BYTES` are noted there instead of copied: `frame` holds the
 * rest only, without room for them.
 */
export interface ItemSink {
  readonly frame: Uint8Array;
  readonly view: DataView;
  readonly apart: ApartPayload[] | null;
}

/** To copy less than this is cheaper than one more piece to send. */
export const LEAST_APART_BYTES = 8 * 1024;

/** Of these items, how much `apart` takes. */
export function apartBytes(items: readonly (MachineInput | MachineOutput)[]): number {
  let total = 0;
  for (const item of items) {
    const { length } = itemBytes(item);
    if (length >= LEAST_APART_BYTES) total += length;
  }
  return total;
}

/** Returns the place after them. */
function place({ frame, apart }: ItemSink, at: number, bytes: Uint8Array): number {
  if (apart !== null && bytes.length >= LEAST_APART_BYTES) {
    apart.push({ at, bytes });
    return at;
  }
  frame.set(bytes, at);
  return at + bytes.length;
}

function itemBytes(item: MachineInput | MachineOutput): Uint8Array {
  switch (item.kind) {
    case "powerOn":
      return item.entropy;
    case "frame":
    case "console":
    case "agent":
    case "entropy":
    case "diskDone":
    case "disk":
      return item.bytes;
    default:
      return NO_BYTES;
  }
}

/** Bytes of numbers that some items have between their header and their bytes. */
function numbersBytes(item: MachineInput | MachineOutput): number {
  switch (item.kind) {
    case "powerOn":
      return item.image === undefined ? 0 : IMAGE_DIGEST_BYTES;
    case "diskDone":
      return DISK_DONE_BYTES;
    case "disk":
      return DISK_REQUEST_BYTES;
    case "diskSize":
      return DISK_SIZE_BYTES;
    default:
      return 0;
  }
}

export function itemsBytes(items: readonly (MachineInput | MachineOutput)[]): number {
  let total = 0;
  for (const item of items) total += ITEM_HEADER_BYTES + numbersBytes(item) + itemBytes(item).length;
  return total;
}

function writeItem(sink: ItemSink, at: number, code: number, extra: number, length: number, bytes: Uint8Array): number {
  sink.view.setUint8(at, code);
  sink.view.setUint8(at + 1, extra);
  sink.view.setUint32(at + 2, length, true);
  return place(sink, at + ITEM_HEADER_BYTES, bytes);
}

export function writeInput(sink: ItemSink, at: number, input: MachineInput): number {
  const bytes = itemBytes(input);
  switch (input.kind) {
    case "powerOn": {
      if (input.image === undefined) return writeItem(sink, at, INPUT_POWER_ON, 0, bytes.length, bytes);
      const next = writeItem(sink, at, INPUT_POWER_ON, 1, IMAGE_DIGEST_BYTES + bytes.length, fromHex(input.image, IMAGE_DIGEST_BYTES));
      return place(sink, next, bytes);
    }
    case "frame":
      return writeItem(sink, at, INPUT_FRAME, input.port, bytes.length, bytes);
    case "console":
      return writeItem(sink, at, INPUT_CONSOLE, 0, bytes.length, bytes);
    case "agent":
      return writeItem(sink, at, INPUT_AGENT, 0, bytes.length, bytes);
    case "entropy":
      return writeItem(sink, at, INPUT_ENTROPY, 0, bytes.length, bytes);
    case "powerButton":
      return writeItem(sink, at, INPUT_POWER_BUTTON, 0, 0, bytes);
    case "diskDone": {
      const next = writeItem(sink, at, INPUT_DISK_DONE, input.isOk ? 1 : 0, DISK_DONE_BYTES + bytes.length, NO_BYTES);
      sink.view.setUint32(next, input.id, true);
      return place(sink, next + DISK_DONE_BYTES, bytes);
    }
    case "diskRepeat":
      return writeItem(sink, at, INPUT_DISK_REPEAT, 0, 0, bytes);
    case "diskSize": {
      const next = writeItem(sink, at, INPUT_DISK_SIZE, 0, DISK_SIZE_BYTES, NO_BYTES);
      sink.view.setFloat64(next, input.bytes, true);
      return next + DISK_SIZE_BYTES;
    }
  }
}

export function writeOutput(sink: ItemSink, at: number, output: MachineOutput): number {
  const bytes = itemBytes(output);
  switch (output.kind) {
    case "frame":
      return writeItem(sink, at, OUTPUT_FRAME, output.port, bytes.length, bytes);
    case "console":
      return writeItem(sink, at, OUTPUT_CONSOLE, 0, bytes.length, bytes);
    case "agent":
      return writeItem(sink, at, OUTPUT_AGENT, 0, bytes.length, bytes);
    case "entropyRequest":
      return writeItem(sink, at, OUTPUT_ENTROPY_REQUEST, 0, output.lengthBytes, bytes);
    case "reset":
      return writeItem(sink, at, OUTPUT_RESET, output.failure ? 1 : 0, 0, bytes);
    case "powerOff":
      return writeItem(sink, at, OUTPUT_POWER_OFF, output.failure ? 1 : 0, 0, bytes);
    case "disk": {
      const operation = DISK_OPERATIONS.indexOf(output.operation);
      const next = writeItem(sink, at, OUTPUT_DISK, operation, DISK_REQUEST_BYTES + bytes.length, NO_BYTES);
      sink.view.setUint32(next, output.id, true);
      sink.view.setUint32(next + 4, output.lengthBytes, true);
      sink.view.setFloat64(next + 8, output.offset, true);
      return place(sink, next + DISK_REQUEST_BYTES, bytes);
    }
  }
}

export function readInput(reader: Reader): MachineInput {
  const code = reader.u8();
  const extra = reader.u8();
  const length = reader.u32();
  if (code === INPUT_DISK_DONE) return readDiskDone(reader, extra, length);
  if (code === INPUT_DISK_SIZE) {
    if (length !== DISK_SIZE_BYTES) throw new WireError("the size of a disk that is none");
    return { kind: "diskSize", bytes: wholeBlocks(reader.seq()) };
  }
  if (code === INPUT_POWER_ON && extra !== 0) return readPowerOn(reader, length);
  const bytes = reader.bytes(length);
  switch (code) {
    case INPUT_POWER_ON:
      return { kind: "powerOn", entropy: bytes };
    case INPUT_FRAME:
      return { kind: "frame", port: extra, bytes };
    case INPUT_CONSOLE:
      return { kind: "console", bytes };
    case INPUT_AGENT:
      return { kind: "agent", bytes };
    case INPUT_ENTROPY:
      return { kind: "entropy", bytes };
    case INPUT_POWER_BUTTON:
      return { kind: "powerButton" };
    case INPUT_DISK_REPEAT:
      return { kind: "diskRepeat" };
    default:
      throw new WireError(`unknown input ${code}`);
  }
}

function readPowerOn(reader: Reader, length: number): MachineInput {
  if (length < IMAGE_DIGEST_BYTES) throw new WireError("a power-on with an image that has no digest");
  const image = toHex(reader.bytes(IMAGE_DIGEST_BYTES));
  return { kind: "powerOn", entropy: reader.bytes(length - IMAGE_DIGEST_BYTES), image };
}

function wholeBlocks(bytes: number): number {
  if (bytes % DISK_BLOCK_BYTES !== 0) throw new WireError("a place on a disk that is not whole blocks");
  return bytes;
}

function readDiskDone(reader: Reader, extra: number, length: number): MachineInput {
  if (length < DISK_DONE_BYTES || length - DISK_DONE_BYTES > MAX_DISK_REQUEST_BYTES)
    throw new WireError(`a disk's answer of ${length} bytes`);
  return { kind: "diskDone", id: reader.u32(), isOk: extra !== 0, bytes: reader.bytes(length - DISK_DONE_BYTES) };
}

function readDiskRequest(reader: Reader, extra: number, length: number): MachineOutput {
  const operation = DISK_OPERATIONS[extra];
  if (operation === undefined || length < DISK_REQUEST_BYTES) throw new WireError("a disk request that is none");
  const id = reader.u32();
  const lengthBytes = wholeBlocks(reader.u32());
  const offset = wholeBlocks(reader.seq());
  if (lengthBytes > MAX_DISK_REQUEST_BYTES) throw new WireError(`a disk request for ${lengthBytes} bytes`);
  const bytes = reader.bytes(length - DISK_REQUEST_BYTES);
  if (bytes.length !== (operation === "write" ? lengthBytes : 0)) throw new WireError("a disk request with other bytes than it says");
  return { kind: "disk", id, operation, offset, lengthBytes, bytes };
}

export function readOutput(reader: Reader): MachineOutput {
  const code = reader.u8();
  const extra = reader.u8();
  const length = reader.u32();
  switch (code) {
    case OUTPUT_FRAME:
      return { kind: "frame", port: extra, bytes: reader.bytes(length) };
    case OUTPUT_CONSOLE:
      return { kind: "console", bytes: reader.bytes(length) };
    case OUTPUT_AGENT:
      return { kind: "agent", bytes: reader.bytes(length) };
    case OUTPUT_ENTROPY_REQUEST:
      return { kind: "entropyRequest", lengthBytes: length };
    case OUTPUT_RESET:
      return { kind: "reset", failure: extra !== 0 };
    case OUTPUT_DISK:
      return readDiskRequest(reader, extra, length);
    case OUTPUT_POWER_OFF:
      return { kind: "powerOff", failure: extra !== 0 };
    default:
      throw new WireError(`unknown output ${code}`);
  }
}
