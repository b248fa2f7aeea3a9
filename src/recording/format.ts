/**
 * A recording: a machine's image as of one tick and the ticks after it, as a stream of wire frames. First a `control` frame with the
 * header, then `imagePages` and the `imageState`, then each `tick` followed by the `result` that the members agreed on, if there was
 * one; last a `control` frame that says how many ticks there are, so that a cut file is told from a whole one.
 */
import type { MiscompareReport } from "../lockstep/miscompare-report.js";
import type { ImagePiece } from "../machine/machine.js";
import { encodeMessage } from "../wire/codec.js";
import { controlOf } from "../wire/control.js";
import type { Message } from "../wire/messages.js";

export const RECORDING_FORMAT = 1;
/** Pages in one frame. */
const PAGES_PER_FRAME = 256;

/** What a machine must be made of to run the recording. */
export interface RecordedMachine {
  readonly engine: "rv64" | "toy";
  /** Another number computes something else by intent: such a recording is refused. */
  readonly behaviour: number;
  readonly ramBytes: number;
  readonly harts: number;
  readonly epochNs: string;
  readonly imageDigest: string;
  readonly commandLine: string;
  readonly macAddress: string;
  /** Size of the guest's disk; absent: it has none. */
  readonly diskBytes?: number;
  /** Absent: the guest has no virtual port for an agent. */
  readonly agentPort?: boolean;
  /** Needed only if the guest is powered on in the middle. */
  readonly kernelPath: string;
  readonly initrdPath: string;
}

export interface RecordingHeader {
  readonly kind: "recording";
  readonly format: number;
  readonly server: string;
  /** Wall clock, ms since 1970. */
  readonly atMs: number;
  /** Version of Node that ran the members. */
  readonly node: string;
  readonly machine: RecordedMachine;
  /** The image is exact as of this tick. */
  readonly seq: number;
  /** Present: the recording ends with the tick on which modules disagreed. */
  readonly report?: MiscompareReport;
}

export interface RecordingEnd {
  readonly kind: "recordingEnd";
  readonly ticks: number;
}

export function controlFrame(value: RecordingHeader | RecordingEnd): Uint8Array {
  return encodeMessage({ kind: "control", text: JSON.stringify(value) });
}

/** The frames of an image. A piece's bytes need to be good only until the next one is asked for. */
export function* imageFrames(pieces: Iterable<ImagePiece>): Generator<Uint8Array> {
  let pages: ImagePiece[] = [];
  for (const piece of pieces) {
    // Not slice(): that of a Node Buffer copies nothing.
    if (piece.page >= 0) pages.push({ page: piece.page, bytes: new Uint8Array(piece.bytes) });
    if (pages.length === PAGES_PER_FRAME || (piece.page < 0 && pages.length > 0)) {
      yield encodeMessage({ kind: "imagePages", pages });
      pages = [];
    }
    if (piece.page < 0) yield encodeMessage({ kind: "imageState", bytes: piece.bytes });
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const MACHINE_TEXTS = ["epochNs", "imageDigest", "commandLine", "macAddress", "kernelPath", "initrdPath"] as const;
const MACHINE_COUNTS = ["behaviour", "ramBytes", "harts"] as const;

function isMachine(value: unknown): value is RecordedMachine {
  if (!isRecord(value) || (value["engine"] !== "rv64" && value["engine"] !== "toy")) return false;
  if (!/^\d{1,19}$/.test(String(value["epochNs"]))) return false;
  return (
    MACHINE_TEXTS.every((name) => typeof value[name] === "string") &&
    MACHINE_COUNTS.every((name) => Number.isSafeInteger(value[name])) &&
    (value["diskBytes"] === undefined || Number.isSafeInteger(value["diskBytes"])) &&
    (value["agentPort"] === undefined || typeof value["agentPort"] === "boolean")
  );
}

function isReport(value: unknown): value is MiscompareReport {
  if (!isRecord(value) || !isRecord(value["claims"]) || !isRecord(value["verdict"])) return false;
  const { right, wrong } = value["verdict"];
  return Object.values(value["claims"]).every(isRecord) && Array.isArray(right) && Array.isArray(wrong);
}

/** The header in the first message of a recording; a sentence that says what is wrong if it is none. */
export function headerOf(message: Message): RecordingHeader | string {
  const value: Record<string, unknown> | null = controlOf(message);
  if (value === null || value["kind"] !== "recording") return "it is not a recording of Steadfast";
  if (value["format"] !== RECORDING_FORMAT) return `its format is ${String(value["format"])}, this version reads ${RECORDING_FORMAT}`;
  const isWhole = isMachine(value["machine"]) && Number.isSafeInteger(value["seq"]) && typeof value["server"] === "string";
  if (!isWhole || (value["report"] !== undefined && !isReport(value["report"]))) return "its header is damaged";
  return value as unknown as RecordingHeader;
}
