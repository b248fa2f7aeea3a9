/** One machine in a process of its own, without a server: `node machine-process.js JOB`, JOB being a `MachineJob` as JSON. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { SeededRandom } from "../foundation/random.js";
import { DrilledMachine } from "../machine/drilled.js";
import type { Checkpointer, Machine, MachineInput, MachineOutput, MachineResult, MachineTick } from "../machine/machine.js";
import { behaviourOf, loadMachine } from "../modules/machine-loader.js";
import { replayFile } from "../recording/files.js";
import type { RecordingHeader } from "../recording/format.js";
import type { Flip } from "./grading/determinism.js";
import {
  COURSE_BYTES_PER_TICK,
  type BootJob,
  type MachineAnswer,
  type MachineDump,
  type MachineJob,
  type MachineLine,
  type ReplayJob,
} from "./machine-job.js";

const BUDGET = 40_000;
/** A guest that idles is given the time of its next timer, but not more than this at once. */
const IDLE_STEP_NS = 20_000_000n;
const BUSY_STEP_NS = 50_000n;
const EPOCH_NS = 1_790_000_000_000_000_000n;
const ENTROPY_BYTES = 64;
/** A guest that has not said that it is ready by then will not say it any more. */
const MOST_BOOT_TICKS = 60_000;
/** Holds the longest recording; beyond it a course is cut, which its length tells. */
const MOST_TICKS = 4_000_000;
const PROGRESS_TICKS = 256;
const PAGE_BYTES = 4096;
const READY = "steadfast: ready after";
const CONSOLE_KEPT = 4096;

const say = (line: MachineLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

/** Keeps the course of the machine inside, dumps it where asked, and flips bits in its memory. */
class WatchedMachine extends DrilledMachine {
  readonly flips: Flip[] = [];
  ticks = 0;
  instructions = 0n;
  readonly #first: { count: bigint | null } = { count: null };
  readonly #course = Buffer.alloc(COURSE_BYTES_PER_TICK * PROGRESS_TICKS);
  readonly #parts: Buffer[] = [];
  #checkpointer: Checkpointer | null = null;

  constructor(
    machine: Machine,
    private readonly job: MachineJob,
    private readonly planned: readonly Omit<Flip, "isFound">[],
  ) {
    super(machine);
  }

  override checkpointer(): Checkpointer {
    this.#checkpointer = super.checkpointer();
    return this.#checkpointer;
  }

  override run(tick: MachineTick): MachineResult {
    for (const flip of this.planned) if (flip.tick === this.ticks + 1) this.#flip(flip);
    const result = super.run(tick);
    this.#first.count ??= result.instructionCount;
    this.instructions = result.instructionCount - this.#first.count;
    const at = (this.ticks % PROGRESS_TICKS) * COURSE_BYTES_PER_TICK;
    this.#course.writeBigUInt64LE(BigInt.asUintN(64, result.digest), at);
    this.#course.writeBigUInt64LE(result.instructionCount, at + 8);
    this.ticks += 1;
    if (this.ticks % PROGRESS_TICKS === 0) this.#keepCourse();
    if (this.ticks === this.job.dump?.tick) this.#dump(this.job.dump.file);
    return result;
  }

  /** Ends the course and writes it. */
  finish(): void {
    const left = (this.ticks % PROGRESS_TICKS) * COURSE_BYTES_PER_TICK;
    writeFileSync(this.job.courseFile, Buffer.concat([...this.#parts, this.#course.subarray(0, left)]));
  }

  #keepCourse(): void {
    if (this.ticks > MOST_TICKS) return;
    this.#parts.push(Buffer.from(this.#course));
    say({ ticks: this.ticks });
  }

  /** As the memory of a failing host would change; the check that every module carries must tell the page. The bit is put right again. */
  #flip(flip: Omit<Flip, "isFound">): void {
    if (this.#checkpointer === null) throw new Error("a machine without checkpoints cannot find a flipped bit");
    const pages = this.description.ramBytes / PAGE_BYTES;
    this.#checkpointer.mark();
    this.flipBit(flip.address, flip.bit);
    const isFound = this.#checkpointer.findDamage(pages) === Math.floor(flip.address / PAGE_BYTES);
    this.flipBit(flip.address, flip.bit);
    this.flips.push({ ...flip, isFound });
  }

  #dump(file: string): void {
    const pages: string[] = new Array<string>(this.description.ramBytes / PAGE_BYTES).fill("");
    const dump = { pages, state: "" };
    for (const { page, bytes } of this.capture().finish()) {
      if (page < 0) dump.state = Buffer.from(bytes).toString("base64");
      else if (bytes.length > 0) pages[page] = createHash("sha1").update(bytes).digest("base64").slice(0, 12);
    }
    writeFileSync(file, JSON.stringify(dump satisfies MachineDump));
  }
}

function answerOf(machine: WatchedMachine, isWhole: boolean): MachineAnswer {
  machine.finish();
  const { ticks, flips } = machine;
  return { ticks, instructions: Number(machine.instructions), stateDigest: machine.fullDigest(), isWhole, flips };
}

function entropyOf(random: SeededRandom, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random.below(256));
}

/** What a host without network and disk answers. */
function answersTo(outputs: readonly MachineOutput[], random: SeededRandom): MachineInput[] {
  return outputs
    .filter((output) => output.kind === "entropyRequest")
    .map((output) => ({ kind: "entropy", bytes: entropyOf(random, output.lengthBytes) }));
}

async function boot(job: BootJob): Promise<MachineAnswer> {
  const { kernelPath, initrdPath, commandLine, memoryMiB, digest } = job.image;
  const machine = new WatchedMachine(
    await loadMachine({
      machine: {
        engine: "rv64",
        kernelPath,
        initrdPath,
        commandLine,
        ramBytes: memoryMiB << 20,
        harts: 1,
        imageDigest: digest,
        diskBytes: 0,
      },
      network: { macAddress: "" },
      epochNs: String(EPOCH_NS),
    }),
    job,
    [],
  );
  const random = new SeededRandom(job.seed);
  let inputs: MachineInput[] = [{ kind: "powerOn", entropy: entropyOf(random, ENTROPY_BYTES) }];
  let nowNs = 0n;
  let said = "";
  while (machine.ticks < MOST_BOOT_TICKS) {
    const { outputs, timeNs, idleUntilNs } = machine.run({ nowNs, budget: BUDGET, inputs });
    for (const output of outputs)
      if (output.kind === "console") said = (said + Buffer.from(output.bytes).toString("latin1")).slice(-CONSOLE_KEPT);
    if (said.includes(READY)) return answerOf(machine, true);
    if (outputs.some((output) => output.kind === "reset" || output.kind === "powerOff")) break;
    inputs = answersTo(outputs, random);
    const isBusy = inputs.length > 0 || idleUntilNs === null;
    const latest = timeNs + IDLE_STEP_NS;
    nowNs = isBusy ? timeNs + BUSY_STEP_NS : idleUntilNs < latest ? idleUntilNs : latest;
  }
  return answerOf(machine, false);
}

function plannedFlips(job: ReplayJob, ramBytes: number): Omit<Flip, "isFound">[] {
  const random = new SeededRandom(job.seed);
  return Array.from({ length: job.flips }, () => {
    const page = random.below(ramBytes / PAGE_BYTES);
    return {
      address: page * PAGE_BYTES + random.below(PAGE_BYTES),
      bit: random.below(8),
      tick: 2 + random.below(Math.max(1, job.flipTicks - 2)),
    };
  });
}

async function replay(job: ReplayJob): Promise<MachineAnswer> {
  const made: WatchedMachine[] = [];
  const makeMachine = async ({ machine }: RecordingHeader): Promise<Machine> => {
    const { engine, kernelPath, initrdPath, commandLine, ramBytes, harts, imageDigest, diskBytes = 0 } = machine;
    if (machine.behaviour !== (await behaviourOf(engine))) throw new Error("the recording is of another behaviour of the engine");
    const source = { engine, kernelPath, initrdPath, commandLine, ramBytes, harts, imageDigest, diskBytes };
    const loaded = await loadMachine({ machine: source, network: { macAddress: machine.macAddress }, epochNs: machine.epochNs });
    const watched = new WatchedMachine(loaded, job, plannedFlips(job, ramBytes));
    made.push(watched);
    return watched;
  };
  const { outcome } = await replayFile(job.recording, makeMachine);
  const [machine] = made as [WatchedMachine];
  const { difference } = outcome;
  const answer = answerOf(machine, true);
  return difference === null ? answer : { ...answer, differs: { tick: difference.seq, fields: difference.fields } };
}

const job = JSON.parse(process.argv[2] ?? "") as MachineJob;
say({ answer: job.kind === "boot" ? await boot(job) : await replay(job) });
