/** `steadfast record`: asks the I/O module for the course of the server, and makes one file of its image and its ticks. */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { controlFrame, imageFrames, type RecordingHeader } from "../recording/format.js";
import { framesOfFile, writeRecording } from "../recording/files.js";
import type { ManagementToIo } from "../wire/control.js";
import { checkpointDirectory, readCheckpoint } from "./checkpoint-files.js";
import type { ParsedControl } from "./management-links.js";
import type { ServerPaths } from "./management-paths.js";

/** Two modules must be together and have been found equal once. */
const START_LIMIT_MS = 15_000;
const STOP_LIMIT_MS = 30_000;

export interface RecordingDone {
  readonly path: string;
  readonly ticks: number;
}

interface Ended {
  readonly ticks: number;
  readonly course: string;
  /** Null: as it should. */
  readonly why: string | null;
}

interface Recording {
  /** A copy of the checkpoint that it begins with; empty before it has begun. */
  store: string;
  seq: number;
  onStarted: ((seq: number) => void) | null;
  /** It may end by itself, at a limit, before anybody asks. */
  ended: Ended | null;
  onEnded: ((ended: Ended) => void) | null;
}

export class Recordings {
  readonly #paths: ServerPaths;
  readonly #headerOf: (seq: number) => Promise<RecordingHeader>;
  readonly #toIo: (message: ManagementToIo) => boolean;
  #recording: Recording | null = null;

  constructor(paths: ServerPaths, headerOf: (seq: number) => Promise<RecordingHeader>, toIo: (message: ManagementToIo) => boolean) {
    this.#paths = paths;
    this.#headerOf = headerOf;
    this.#toIo = toIo;
  }

  /** Resolves when it has begun: with the tick that it begins after. */
  start(): Promise<number> {
    if (this.#recording !== null) throw new SteadfastError("RECORDING_STATE", { why: "one is under way already" });
    const recording: Recording = { store: "", seq: 0, onStarted: null, ended: null, onEnded: null };
    this.#recording = recording;
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        this.#recording = null;
        this.#toIo({ kind: "record", action: "stop" });
        reject(new SteadfastError("RECORDING_STATE", { why }));
      };
      const timer = setTimeout(() => fail("no two CPU modules are in lockstep to begin with"), START_LIMIT_MS);
      recording.onStarted = (seq) => {
        clearTimeout(timer);
        resolve(seq);
      };
      if (this.#toIo({ kind: "record", action: "start" })) return;
      clearTimeout(timer);
      fail("the I/O module is not there");
    });
  }

  async stop(): Promise<RecordingDone> {
    const recording = this.#recording;
    if (recording === null || recording.store === "") throw new SteadfastError("RECORDING_STATE", { why: "none is under way" });
    this.#toIo({ kind: "record", action: "stop" });
    const { ticks, course, why } = recording.ended ?? (await this.#waitForEnd(recording));
    try {
      if (why !== null) throw new SteadfastError("RECORDING_STATE", { why });
      return { path: await this.#write(recording, ticks, course), ticks };
    } finally {
      this.#recording = null;
      rmSync(recording.store, { recursive: true, force: true });
      if (course !== "") rmSync(course, { force: true });
    }
  }

  /** What the I/O module says of it. */
  message(message: ParsedControl): void {
    const recording = this.#recording;
    if (recording === null) return;
    if (message.kind === "recordingStarted") {
      recording.seq = Number(message["seq"]);
      recording.store = this.#copy(String(message["store"]));
      this.#toIo({ kind: "record", action: "imageTaken" });
      recording.onStarted?.(recording.seq);
    } else if (message.kind === "recordingEnded") {
      const why = typeof message["why"] === "string" ? message["why"] : null;
      recording.ended = { ticks: Number(message["ticks"]), course: String(message["course"]), why };
      recording.onEnded?.(recording.ended);
    }
  }

  #waitForEnd(recording: Recording): Promise<Ended> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve({ ticks: 0, course: "", why: "the I/O module does not answer" }), STOP_LIMIT_MS);
      recording.onEnded = (ended) => {
        clearTimeout(timer);
        resolve(ended);
      };
    });
  }

  #copy(name: string): string {
    const copy = join(this.#paths.runDirectory, "recording");
    rmSync(copy, { recursive: true, force: true });
    mkdirSync(copy, { mode: 0o700 });
    for (const file of ["index", "pages"]) copyFileSync(join(checkpointDirectory(this.#paths), name, file), join(copy, file));
    return copy;
  }

  async #write(recording: Recording, ticks: number, course: string): Promise<string> {
    const header = await this.#headerOf(recording.seq);
    const directory = join(this.#paths.stateDirectory, "recordings");
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const path = join(directory, `recording-${recording.seq}-${header.atMs}.steadfast`);
    async function* frames(): AsyncGenerator<Uint8Array> {
      yield controlFrame(header);
      yield* imageFrames(readCheckpoint(recording.store).pieces);
      yield* framesOfFile(course);
      yield controlFrame({ kind: "recordingEnd", ticks });
    }
    await writeRecording(path, frames());
    return path;
  }
}
