// A boot of a real kernel as a course of ticks that depends on nothing but a seed and on what the machine answered, with one line per tick
// for comparison. Also a program of its own, so that another version of Node can run it:
//   node rv64-boot-course.js '{"kernelPath": …, "initrdPath": …, "commandLine": …, "memoryMiB": 256, "instructions": 1e8}'
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { SeededRandom } from "../../dist/foundation/random.js";
import { compileCore, createRv64Machine } from "../../dist/machine/engines/rv64/index.js";
import type { Capture, Machine, MachineInput, MachineOutput, MachineResult } from "../../dist/machine/machine.js";

export interface BootPlan {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
  /** The course ends after this many; the shell work starts when the guest says that it is ready. */
  readonly instructions: number;
}

/** What is done to a machine between ticks; none of it may show. Returns the machine that goes on. */
export type Disturbance = (machine: Machine, tick: number, random: SeededRandom) => Machine;

export interface Course {
  /** One line a tick: digest, instruction count, time, deadline, hash of the outputs. */
  readonly lines: readonly string[];
  readonly fullDigest: string;
  readonly ready: boolean;
  readonly instructions: bigint;
}

const EPOCH_NS = 1_790_000_000_000_000_000n;
const MAX_IDLE_NS = 20_000_000n;
const MAX_TICKS = 50_000;
const WORK = "i=0; while [ $i -lt 300 ]; do i=$((i+1)); done; sha256sum /proc/cpuinfo; redis-cli ping; redis-cli set a b\n";

export function createBootMachine(plan: BootPlan): Machine {
  return createRv64Machine({
    core: compileCore(readFileSync(new URL("../../dist/machine/engines/rv64/core.wasm", import.meta.url))),
    kernel: readFileSync(plan.kernelPath),
    initrd: readFileSync(plan.initrdPath),
    commandLine: `${plan.commandLine} steadfast.address=10.77.0.2/24 steadfast.gateway=10.77.0.1 steadfast.hostname=course`,
    ramBytes: plan.memoryMiB << 20,
    harts: 1,
    epochNs: EPOCH_NS,
    imageDigest: "course",
  });
}

/** Who has 10.77.0.2? An answer is an output, so the network is part of what is compared. */
function addressQuestion(): Uint8Array {
  const text = "ffffffffffff5254007700010806000108000604000152540077000" + "10a4d0001" + "000000000000" + "0a4d0002" + "00".repeat(18);
  return Uint8Array.from(Buffer.from(text, "hex"));
}

function answers(outputs: readonly MachineOutput[]): MachineInput[] {
  return outputs.flatMap((output): MachineInput[] =>
    output.kind === "entropyRequest" ? [{ kind: "entropy", bytes: new Uint8Array(output.lengthBytes).fill(0x5a) }] : [],
  );
}

function lineOf(result: MachineResult): string {
  const hash = createHash("sha256");
  for (const output of result.outputs) hash.update(output.kind).update("bytes" in output ? output.bytes : "");
  const outputs = result.outputs.length === 0 ? "-" : hash.digest("hex").slice(0, 16);
  return `${result.digest.toString(16)} ${result.instructionCount} ${result.timeNs} ${String(result.idleUntilNs)} ${outputs}`;
}

/** Boots and, once the guest is ready, gives it work. `disturb` is called before every tick with a random source of its own. */
export function runBootCourse(plan: BootPlan, disturb: Disturbance = (machine) => machine): Course {
  const random = new SeededRandom(11);
  const ownRandom = new SeededRandom(12);
  let machine = createBootMachine(plan);
  let inputs: MachineInput[] = [{ kind: "powerOn", entropy: new Uint8Array(64).fill(7) }];
  const lines: string[] = [];
  let [nowNs, instructions, ready, console] = [0n, 0n, false, ""];
  while (instructions < BigInt(plan.instructions) && lines.length < MAX_TICKS) {
    machine = disturb(machine, lines.length, ownRandom);
    const result = machine.run({ nowNs, budget: 20_000 + random.below(400_000), inputs });
    lines.push(lineOf(result));
    instructions = result.instructionCount;
    inputs = answers(result.outputs);
    for (const output of result.outputs)
      if (output.kind === "console") console = (console + Buffer.from(output.bytes).toString()).slice(-4000);
    ready ||= console.includes("steadfast: ready");
    if (ready && random.below(20) === 0) inputs.push({ kind: "console", bytes: new TextEncoder().encode(WORK) });
    if (random.below(10) === 0) inputs.push({ kind: "frame", port: 0, bytes: addressQuestion() });
    const { idleUntilNs, timeNs } = result;
    const latest = timeNs + MAX_IDLE_NS;
    nowNs = idleUntilNs === null ? timeNs + BigInt(random.below(50_000)) : idleUntilNs < latest ? idleUntilNs : latest;
  }
  return { lines, fullDigest: machine.fullDigest(), ready, instructions };
}

/** All caches empty again and again; the core is private, and this is the one place that may know it. */
export const coldCaches: Disturbance = (machine, tick, random) => {
  if (tick > 0 && random.below(25) === 0) (machine as unknown as { core: { afterRestore(): void } }).core.afterRestore();
  return machine;
};

/** A capture that sends a little before most ticks, and now and then is given up and started anew. */
export function sweeping(): Disturbance {
  let capture: Capture | null = null;
  return (machine, tick, random) => {
    if (tick === 0) return machine;
    capture ??= machine.capture();
    if (random.below(3) > 0) capture.next(1 + random.below(300));
    if (random.below(60) === 0) {
      if (random.below(2) === 0) capture.abort();
      else capture.finish();
      capture = null;
    }
    return machine;
  };
}

/** Now and then a capture with pre-copy over some ticks; the copy goes on, the original is dropped. */
export function replacing(plan: BootPlan, onReplaced: () => void): Disturbance {
  let capture: Capture | null = null;
  let newcomer: Machine | null = null;
  return (machine, tick, random) => {
    if (tick === 0) return machine;
    if (capture === null || newcomer === null) {
      if (random.below(120) === 0) [capture, newcomer] = [machine.capture(), createBootMachine(plan)];
      return machine;
    }
    for (const piece of capture.next(4000)) newcomer.restore(piece);
    if (capture.remainingPages > 3000 && random.below(60) > 0) return machine;
    for (const piece of capture.finish()) newcomer.restore(piece);
    const copy = newcomer;
    onReplaced();
    [capture, newcomer] = [null, null];
    return copy;
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const course = runBootCourse(JSON.parse(process.argv[2] ?? "{}") as BootPlan);
  process.stdout.write(JSON.stringify({ ...course, instructions: String(course.instructions), node: process.version }));
}
