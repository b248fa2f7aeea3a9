/** Grades courses that several machines ran: they must be equal to the last bit. */
import { LEAST_MACHINES, LEAST_TICKS } from "./checks.js";
import { grade, type Grade } from "./report.js";

export interface Course {
  /** Which machine, on what. */
  readonly label: string;
  readonly ticks: number;
  readonly instructions: number;
  /** Of the complete state at the end. */
  readonly stateDigest: string;
  /** Of a boot: whether the guest said that it is ready; of a replay: whether it came to the recording's end. */
  readonly isWhole: boolean;
  /** Of a replay: the first tick that computed something else than the server had recorded, and in what. */
  readonly differs?: { readonly tick: number; readonly fields: readonly string[] };
}

/** Two machines that were given the same and did not compute the same. */
export interface Divergence {
  readonly labels: readonly [string, string];
  /** Counted from 1. */
  readonly tick: number;
  /** False: their results are equal to the end, and only their whole states are not. */
  readonly isFirst: boolean;
  /** Pages of RAM by guest-physical address, and registers, that differ after that tick. */
  readonly places: readonly string[];
}

function divergenceText({ labels, tick, isFirst, places }: Divergence): string {
  const where = places.length === 0 ? "in its result only" : `in ${places.join(", ")}`;
  const when = isFirst ? `from tick ${tick} on` : `after the last tick, ${tick}`;
  return `machines ${labels[0]} and ${labels[1]} differ ${when} (${where})`;
}

/** `divergence`: of the first two whose courses differ; null: none do. */
export function gradeCourses(what: string, courses: readonly Course[], divergence: Divergence | null): Grade {
  const problems: string[] = [];
  if (courses.length < LEAST_MACHINES) problems.push(`only ${courses.length} machines ran`);
  if (divergence !== null) problems.push(divergenceText(divergence));
  for (const { label, isWhole, differs, ticks } of courses) {
    if (differs !== undefined)
      problems.push(`machine ${label} computed another ${differs.fields.join(", ")} at tick ${differs.tick} than the server had`);
    else if (!isWhole) problems.push(`machine ${label} did not get through ${what} (${ticks} ticks)`);
    else if (ticks < LEAST_TICKS) problems.push(`machine ${label} ran only ${ticks} ticks of ${LEAST_TICKS}`);
  }
  const digests = new Set(courses.map((course) => course.stateDigest));
  if (divergence === null && digests.size > 1) problems.push(`the machines end in ${digests.size} different states`);
  const [first] = courses;
  const detail = `${courses.length} machines (${courses.map((course) => course.label).join(", ")}) were equal over ${first?.ticks ?? 0} ticks of ${what}`;
  return grade(problems, detail, [
    { name: "machines", value: courses.length, unit: "", limit: `at least ${LEAST_MACHINES}` },
    { name: "ticks", value: first?.ticks ?? 0, unit: "", limit: `at least ${LEAST_TICKS}` },
    { name: "instructions", value: first?.instructions ?? 0, unit: "" },
  ]);
}

/** A byte that was changed behind the machine's back. */
export interface Flip {
  readonly address: number;
  readonly bit: number;
  readonly tick: number;
  /** The memory check named the page. */
  readonly isFound: boolean;
}

export function flipProblems(flips: readonly Flip[], wanted: number): string[] {
  const missed = flips
    .filter((flip) => !flip.isFound)
    .map(({ address, bit, tick }) => `bit ${bit} of 0x${address.toString(16)} at tick ${tick}`);
  const problems = missed.length === 0 ? [] : [`flipped bits were not found: ${missed.join(", ")}`];
  if (flips.length < wanted) problems.push(`only ${flips.length} of ${wanted} bits were flipped`);
  return problems;
}
