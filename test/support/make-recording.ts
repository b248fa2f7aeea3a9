/**
 * Makes test/recordings/board-guest.steadfast anew: `node dist-test/support/make-recording.js`. To be run only when a change of what
 * machines compute, or of how they digest it, is wanted: then RV64_BEHAVIOUR is raised first.
 */
import { fileURLToPath } from "node:url";
import { outputsDigest } from "../../dist/lockstep/outputs-digest.js";
import { RV64_BEHAVIOUR } from "../../dist/machine/engines/rv64/index.js";
import type { MachineInput } from "../../dist/machine/machine.js";
import { controlFrame, imageFrames, RECORDING_FORMAT } from "../../dist/recording/format.js";
import { writeRecording } from "../../dist/recording/files.js";
import { encodeMessage } from "../../dist/wire/codec.js";
import type { TickMessage } from "../../dist/wire/messages.js";
import { createGuest, Driver, frame, powerOn, typed } from "./board-guest.js";

const RAM_BYTES = 64 << 20;
const BEFORE = 60;
const TICKS = 400;
/** Every so many ticks one of a checkpoint, and one with a digest of all of RAM. */
const CHECKPOINT_EVERY = 90;
const FULL_DIGEST_EVERY = 170;

function inputsAt(index: number): MachineInput[] {
  if (index % 5 === 0) return [frame(index, 60 + ((index * 37) % 1400)), frame(index + 1)];
  if (index % 7 === 0) return [typed(String.fromCharCode(97 + (index % 26)))];
  // Busy for a while, then idle again; entropy asked for in between.
  if (index % 61 === 0) return [typed("B")];
  return index % 43 === 0 ? [typed("E")] : index % 44 === 0 ? [{ kind: "entropy", bytes: new Uint8Array(32).fill(index) }] : [];
}

function* frames(): Generator<Uint8Array> {
  const machine = createGuest({ ramBytes: RAM_BYTES });
  const driver = new Driver(machine);
  driver.tick([powerOn]);
  for (let index = 1; index < BEFORE; index++) driver.tick(inputsAt(index));
  const { epochNs, imageDigest } = machine.description;
  const none = { commandLine: "", macAddress: "", kernelPath: "", initrdPath: "" };
  const about = {
    engine: "rv64",
    behaviour: RV64_BEHAVIOUR,
    ramBytes: RAM_BYTES,
    harts: 1,
    epochNs: String(epochNs),
    imageDigest,
    ...none,
  } as const;
  yield controlFrame({
    kind: "recording",
    format: RECORDING_FORMAT,
    server: "board-guest",
    atMs: 0,
    node: "",
    machine: about,
    seq: BEFORE,
  });
  yield* imageFrames(machine.capture().finish());
  const checkpointer = machine.checkpointer();
  for (let seq = BEFORE + 1; seq <= BEFORE + TICKS; seq++) {
    const fullDigest = seq % FULL_DIGEST_EVERY === 0;
    const checkpoint = !fullDigest && seq % CHECKPOINT_EVERY === 0;
    const common = { configuration: 1, seq, committed: seq - 1, floor: seq - 1 };
    const tick: TickMessage = {
      kind: "tick",
      ...common,
      nowNs: driver.nowNs,
      budget: 20_000,
      fullDigest,
      checkpoint,
      inputs: inputsAt(seq),
    };
    yield encodeMessage(tick);
    const { outputs, instructionCount, timeNs, idleUntilNs, digest } = driver.tick(tick.inputs, tick.budget);
    const stateDigest = fullDigest ? machine.fullDigest() : checkpoint ? checkpointer.mark().digest : null;
    const counts = { instructionCount, timeNs, idleUntilNs, digest, runMicros: 0 };
    const out = { hasOutputs: outputs.length > 0, outputsDigest: outputsDigest(outputs), outputs: null };
    yield encodeMessage({ kind: "result", configuration: 1, seq, ...counts, ...out, stateDigest });
  }
  yield controlFrame({ kind: "recordingEnd", ticks: TICKS });
}

await writeRecording(fileURLToPath(new URL("../../test/recordings/board-guest.steadfast", import.meta.url)), frames());
