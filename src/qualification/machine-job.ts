/** What a machine process is asked to do, and what it answers: JSON on its command line, JSON on its standard output. */
import type { Course, Flip } from "./grading/determinism.js";

export interface BootedImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
  readonly digest: string;
}

interface CommonJob {
  /** Where the course goes: for each tick its digest and the count of instructions, 64 bits each, little endian. */
  readonly courseFile: string;
  /** Where the state after this tick goes (`MachineDump` as JSON). */
  readonly dump?: { readonly tick: number; readonly file: string };
}

/** Powers an image on, without a network, and runs it until its init says that it is ready. */
export interface BootJob extends CommonJob {
  readonly kind: "boot";
  readonly image: BootedImage;
  /** Of the entropy that the machine is given. */
  readonly seed: number;
}

/** Runs a recording again. */
export interface ReplayJob extends CommonJob {
  readonly kind: "replay";
  readonly recording: string;
  /** So many bits are flipped at places and ticks by this seed, among the first `flipTicks`. */
  readonly flips: number;
  readonly flipTicks: number;
  readonly seed: number;
}

export type MachineJob = BootJob | ReplayJob;

export type MachineAnswer = Omit<Course, "label"> & { readonly flips: readonly Flip[] };

/** The last line of the output; lines before it say how many ticks were run. */
export type MachineLine = { readonly ticks: number } | { readonly answer: MachineAnswer };

export interface MachineDump {
  /** By page, a hash of what it holds; an empty text for zeros. */
  readonly pages: readonly string[];
  /** The state record, in base64. */
  readonly state: string;
}

/** Of one tick in a course file. */
export const COURSE_BYTES_PER_TICK = 16;
