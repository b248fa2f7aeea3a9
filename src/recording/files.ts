/** Recordings in files (gzip): writing them from frames, and replaying them. */
import { createReadStream, createWriteStream, renameSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { SteadfastError } from "../foundation/errors.js";
import type { Machine } from "../machine/machine.js";
import { MessageDecoder } from "../wire/codec.js";
import { WireError } from "../wire/frame.js";
import type { Message } from "../wire/messages.js";
import { headerOf, type RecordingHeader } from "./format.js";
import { RecordingError, Replay, type ReplayOutcome } from "./replay.js";

/** Pages of a guest are compressed on the host that serves it: quickly rather than well. */
const GZIP_LEVEL = 1;

/** Writes a recording; it has its name only when it is whole. */
export async function writeRecording(path: string, frames: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): Promise<void> {
  const partial = `${path}.part`;
  try {
    await pipeline(Readable.from(frames), createGzip({ level: GZIP_LEVEL }), createWriteStream(partial, { mode: 0o600 }));
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { force: true });
    throw error;
  }
}

export interface ReplayedFile {
  readonly header: RecordingHeader;
  readonly outcome: ReplayOutcome;
}

/** Hands over every message of a recording, each good during the call only, until `onMessage` returns false or the file ends. */
async function readMessages(path: string, onMessage: (message: Message) => boolean): Promise<void> {
  let goesOn = true;
  const decoder = new MessageDecoder((message) => {
    if (goesOn) goesOn = onMessage(message);
  });
  const source = createReadStream(path);
  const unzipped = createGunzip();
  // A failing file must end the loop below, which reads from the other end.
  source.on("error", (error) => unzipped.destroy(error));
  try {
    for await (const chunk of source.pipe(unzipped) as AsyncIterable<Uint8Array>) {
      decoder.push(chunk);
      if (!goesOn) return;
    }
  } catch (error) {
    const isFileFault =
      error instanceof RecordingError || error instanceof WireError || (error as NodeJS.ErrnoException).code !== undefined;
    if (!isFileFault || error instanceof SteadfastError) throw error;
    throw new SteadfastError("RECORDING_UNREADABLE", { path, why: (error as Error).message });
  } finally {
    source.destroy();
  }
}

/** What a recording says about itself, without its course. */
export async function readHeader(path: string): Promise<RecordingHeader> {
  let found: RecordingHeader | string = "it is empty";
  await readMessages(path, (message) => {
    found = headerOf(message);
    return false;
  });
  // Assigned in the callback, which the compiler does not see.
  const header = found as RecordingHeader | string;
  if (typeof header === "string") throw new SteadfastError("RECORDING_UNREADABLE", { path, why: header });
  return header;
}

/** Runs a recording from a file. `makeMachine` makes a fresh machine for its header; `progress` hears the ticks run so far. */
export async function replayFile(
  path: string,
  makeMachine: (header: RecordingHeader) => Promise<Machine>,
  progress: (ticks: number) => void = () => undefined,
): Promise<ReplayedFile> {
  const header = await readHeader(path);
  const replay = new Replay(header, await makeMachine(header));
  let isHeader = true;
  await readMessages(path, (message) => {
    if (!isHeader) replay.message(message);
    isHeader = false;
    progress(replay.ticks);
    return true;
  });
  return { header, outcome: outcomeOf(path, replay) };
}

function outcomeOf(path: string, replay: Replay): ReplayOutcome {
  try {
    return replay.outcome();
  } catch (error) {
    if (!(error instanceof RecordingError)) throw error;
    throw new SteadfastError("RECORDING_UNREADABLE", { path, why: error.message });
  }
}

/** Frames that were written to a file of their own, such as the ticks of a report. */
export async function* framesOfFile(path: string): AsyncGenerator<Uint8Array> {
  yield await readFile(path);
}
