/** `steadfast record`: asks the I/O module for the course of the server, and makes one file of its image and its ticks. */
import { mkdirSync, rmSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import { controlFrame, imageFrames, type RecordingHeader } from "../recording/format.js";
import { framesOfFile, writeRecording } from "../recording/files.js";
import type { ManagementToIo } from "../wire/control.js";
import { checkpointDirectory, checkpointSeq, readCheckpoint } from "./checkpoint-files.js";
import type { ParsedControl } from "./management-links.js";
import type { ServerPaths } from "./management-paths.js";

/** Two modules must be together and have been found equal once. */
const START_LIMIT_MS = 15_000;
const STOP_LIMIT_MS = 30_000;
const WRITTEN_LIMIT_MS = 5000;
const WRITTEN_POLL_MS = 20;

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
  onFailed: ((why: string) => void) | null;
  /** It may end by itself, at a limit, before anybody asks. */
  ended: Ended | null;
  onEnded: ((ended: Ended) => void) | null;
}

export class Recordings {
  readonly #paths: ServerPaths;
  readonly #headerOf: (seq: number) => Promise<RecordingHeader>;
  readonly #toIo: (message: ManagementToIo) => boolean;
  #recording: Recording | null = null;
  /** One was under way when another management module led, which alone knew its parts. */
  #isCut = false;

  constructor(paths: ServerPaths, headerOf: (seq: number) => Promise<RecordingHeader>, toIo: (message: ManagementToIo) => boolean) {
    this.#paths = paths;
    this.#headerOf = headerOf;
    this.#toIo = toIo;
  }

  get isUnderWay(): boolean {
    return this.#recording !== null;
  }

  /** Gives up what another management module had begun; the I/O module hears it when it is there. */
  cut(): void {
    this.#isCut = true;
    rmSync(join(this.#paths.runDirectory, "recording"), { recursive: true, force: true });
  }

  /** The I/O module is connected: it need not go on with one that was cut. */
  connected(): void {
    if (this.#isCut && this.#recording === null) this.#toIo({ kind: "record", action: "stop" });
  }

  /** Resolves when it has begun: with the tick that it begins after. */
  start(): Promise<number> {
    if (this.#recording !== null) throw new SteadfastError("RECORDING_STATE", { why: "one is under way already" });
    this.#isCut = false;
    const recording: Recording = { store: "", seq: 0, onStarted: null, onFailed: null, ended: null, onEnded: null };
    this.#recording = recording;
    return new Promise((resolve, reject) => {
      const fail = (why: string): void => {
        this.#recording = null;
        this.#toIo({ kind: "record", action: "stop" });
        reject(new SteadfastError("RECORDING_STATE", { why }));
      };
      const timer = setTimeout(() => fail("no two CPU modules are in lockstep to begin with"), START_LIMIT_MS);
      recording.onFailed = (why) => {
        clearTimeout(timer);
        fail(why);
      };
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
    if (recording === null || recording.store === "") {
      const why = this.#isCut ? "it was cut when another management module took the lead" : "none is under way";
      throw new SteadfastError("RECORDING_STATE", { why });
    }
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
    if (recording === null) {
      if (message.kind === "recordingEnded" && message["course"] !== "") rmSync(String(message["course"]), { force: true });
      return;
    }
    if (message.kind === "recordingStarted") void this.#begin(recording, Number(message["seq"]), String(message["store"]));
    else if (message.kind === "recordingEnded") {
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

  async #begin(recording: Recording, seq: number, store: string): Promise<void> {
    recording.seq = seq;
    try {
      await this.#untilWritten(store, seq);
      recording.store = await this.#copy(store);
    } catch (error) {
      recording.onFailed?.(`its image cannot be copied: ${(error as Error).message}`);
      return;
    }
    this.#toIo({ kind: "record", action: "imageTaken" });
    recording.onStarted?.(seq);
  }

  /** The I/O module knows that a checkpoint is verified before its keeper does, who writes it down then. */
  async #untilWritten(name: string, seq: number): Promise<void> {
    const giveUpAt = performance.now() + WRITTEN_LIMIT_MS;
    while ((await checkpointSeq(join(checkpointDirectory(this.#paths), name))) !== seq) {
      if (performance.now() > giveUpAt) throw new Error("the CPU module that keeps it has not written it down");
      await new Promise((resolve) => setTimeout(resolve, WRITTEN_POLL_MS));
    }
  }

  /** A guest's memory may be large: meanwhile management must go on. */
  async #copy(name: string): Promise<string> {
    const copy = join(this.#paths.runDirectory, "recording");
    rmSync(copy, { recursive: true, force: true });
    mkdirSync(copy, { mode: 0o700 });
    for (const file of ["index", "pages"]) await copyFile(join(checkpointDirectory(this.#paths), name, file), join(copy, file));
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
