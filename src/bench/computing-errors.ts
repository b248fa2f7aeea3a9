/**
 * Makes CPU modules of a running server compute wrongly (flipped bits of guest memory, damaged outputs, wrong clocks), one at a time,
 * and says how each was found: by the module's own memory check, by re-execution, by majority, or not at all.
 */
import { SeededRandom } from "../foundation/random.js";
import type { LoggedEvent } from "../modules/management-events.js";
import { areEqual } from "./chaos.js";
import { pause } from "./faults.js";
import type { DrillSource, ServerView } from "./server-view.js";

export type ErrorKind = "flip" | "corrupt-output" | "skew-clock";
/**
 * memory check: the module found it before it had any effect. record: the modules contradicted each other, and nothing told who was
 * right. masked: the machines are equal although nothing was found: it was overwritten. missed: they differ, and nobody noticed.
 */
export type Finding = "memory check" | "re-execution" | "majority" | "record" | "masked" | "missed";

export interface ComputingError {
  readonly kind: ErrorKind;
  readonly module: string;
  readonly address: number | undefined;
  /** On the caller's clock, ms. */
  readonly atMs: number;
  finding: Finding;
  /** When the server told it; undefined: never. */
  foundAtMs: number | undefined;
  /** How long adjudication held the guest; 0: it did not. */
  heldMs: number;
  /** Running time of the guest between the checkpoint and the tick in dispute: what the third machine had to run again. */
  checkpointBusyMs: number;
  /** Why nothing told who was right. */
  why: string;
  /** Another module was taken for the wrong one. */
  isInnocentAccused: boolean;
}

/** Longer than whole rounds of the memory check, a checkpoint and the third machine's limit, on a starved host too. */
const FINDING_LIMIT_MS = 24_000;
const FULL_LIMIT_MS = 60_000;
const POLL_MS = 40;

/** Waits until all CPU modules are in lockstep. */
async function waitUntilFull(source: DrillSource): Promise<ServerView | undefined> {
  const deadline = performance.now() + FULL_LIMIT_MS;
  while (performance.now() < deadline) {
    const view = await source.read();
    if (view.redundancy === view.wantedRedundancy) return view;
    await pause(POLL_MS);
  }
  return undefined;
}

function findingOf(event: LoggedEvent): Finding | null {
  if (event.code === "MEMORY_DAMAGED") return "memory check";
  if (event.code === "MISCOMPARE_UNADJUDICATED") return "record";
  if (event.code !== "MISCOMPARE") return null;
  const by = event.data?.["by"];
  return by === "re-execution" || by === "majority" ? by : "memory check";
}

/** Waits for the server to find it; without an event the machines are compared. */
async function settle(source: DrillSource, error: ComputingError, since: number): Promise<void> {
  const deadline = performance.now() + FINDING_LIMIT_MS;
  while (performance.now() < deadline) {
    for (const event of await source.events(since)) {
      const finding = findingOf(event);
      if (finding === null) continue;
      error.finding = finding;
      error.foundAtMs = performance.now();
      error.isInnocentAccused = event.module !== error.module;
      error.why = String(event.data?.["why"] ?? "");
      error.heldMs = Number(event.data?.["heldMs"] ?? 0);
      error.checkpointBusyMs = Number(event.data?.["checkpointBusyMs"] ?? 0);
      return;
    }
    await pause(POLL_MS);
  }
  error.finding = (await areEqual(source)) ? "masked" : "missed";
}

export const ERROR_KINDS: readonly ErrorKind[] = ["corrupt-output", "skew-clock", "flip"];

/** What must not be: an error that nobody noticed, or a proof against an innocent module. Without a proof it may be the wrong one. */
export function brokenByErrors(errors: readonly ComputingError[]): string[] {
  const broken = errors.filter(({ finding, isInnocentAccused }) => finding === "missed" || (isInnocentAccused && finding !== "record"));
  return broken.map(({ kind, module, finding, isInnocentAccused }) => {
    return `${kind} of ${module}: ${isInnocentAccused ? `another module was accused by ${finding}` : finding}`;
  });
}

export interface ErrorPlan {
  readonly kinds: readonly ErrorKind[];
  readonly count: number;
  readonly seed: number;
  /** Before each error, at most; a random part of it is waited. */
  readonly pauseMostMs: number;
}

/** False: the server did not come back to full redundancy. `errors` is filled as they happen. */
export async function runComputingErrors(
  source: DrillSource,
  plan: ErrorPlan,
  errors: ComputingError[],
  stopped: () => boolean,
  onError: (error: ComputingError) => void,
): Promise<boolean> {
  const random = new SeededRandom(plan.seed);
  while (errors.length < plan.count && !stopped()) {
    if ((await waitUntilFull(source)) === undefined) return false;
    await pause(random.below(plan.pauseMostMs));
    const view = await waitUntilFull(source);
    if (view === undefined) return false;
    const cpus = view.modules.filter((module) => module.kind === "cpu" && module.pid > 0);
    const victim = random.pick(cpus);
    const kind = plan.kinds[errors.length % plan.kinds.length] as ErrorKind;
    const address = kind === "flip" ? random.below(view.memoryMiB * 1024) * 1024 + random.below(1024) : undefined;
    const error: ComputingError = {
      kind,
      module: victim.name,
      address,
      atMs: performance.now(),
      finding: "missed",
      foundAtMs: undefined,
      heldMs: 0,
      checkpointBusyMs: 0,
      why: "",
      isInnocentAccused: false,
    };
    errors.push(error);
    await source.fault(kind, victim.name, address === undefined ? {} : { address, bit: random.below(8) });
    await settle(source, error, view.lastEventId);
    onError(error);
  }
  return (await waitUntilFull(source)) !== undefined;
}
