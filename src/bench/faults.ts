/**
 * Fault injection from outside, as the world does it: SIGKILL or SIGSTOP to the process of a CPU module or of the active I/O module,
 * taken from the server's status. After each one it waits until the server is DUPLEX again with the victim replaced, within a limit.
 */
import { SeededRandom } from "../foundation/random.js";
import type { ModuleView, ServerSource, ServerView } from "./server-view.js";

export type FaultKind = "kill" | "hang";
/**
 * `relapse`: each kill is followed by another one, of the replacement in the middle of its reintegration. `errors`: modules compute
 * wrongly instead of dying (computing-errors.ts).
 */
export type FaultMix = FaultKind | "mixed" | "relapse" | "errors" | "none";

/** Back to DUPLEX within this, or the run has failed. */
const DUPLEX_LIMIT_MS = 60_000;
const POLL_MS = 25;
/** A replacement that has not begun to reintegrate by then is left alone. */
const RELAPSE_LIMIT_MS = 10_000;
/** The kill comes this long at most after the reintegration was seen to have begun. */
const RELAPSE_PAUSE_MS = 500;
const RELAPSE_POLL_MS = 10;

/** Which modules are hit: CPU modules in turn, or whichever I/O module is the active one. */
export type FaultTarget = "cpu" | "io";

export interface FaultPlan {
  readonly mix: FaultMix;
  /** Absent: "cpu". */
  readonly target?: FaultTarget;
  readonly seed: number;
  /** The pause in DUPLEX before a fault is random between these. */
  readonly pauseMinimumMs: number;
  readonly pauseMaximumMs: number;
  /** Stop after this many. */
  readonly count: number;
}

export interface Fault {
  readonly kind: FaultKind;
  readonly module: string;
  readonly pid: number;
  /** Moments on the caller's clock, ms. */
  readonly atMs: number;
  /** When the server was seen DUPLEX again; undefined: it did not come back within the limit. */
  duplexAtMs: number | undefined;
  /** How long the exact image of the reintegration held the guest. */
  holdMs: number | undefined;
  /** When the replacement was killed during its reintegration. */
  relapseAtMs: number | undefined;
}

/** A workload's faults, where none are to be made. */
export const NO_FAULTS = { mix: "none", seed: 0, pauseMinimumMs: 0, pauseMaximumMs: 0, count: 0 } as const;

export const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

const cpuModules = (modules: readonly ModuleView[]): ModuleView[] => modules.filter((module) => module.kind === "cpu");

const isDuplex = (view: Pick<ServerView, "redundancy" | "modules">, gonePid: number): boolean =>
  view.redundancy === "DUPLEX" &&
  view.modules.every((module) => module.pid !== gonePid && (module.kind !== "cpu" || module.state === "DUPLEX"));

/** Waits until the server is DUPLEX and no module has pid `gonePid`; undefined when the limit passed. */
export async function waitForDuplex(source: ServerSource, gonePid = 0): Promise<ServerView | undefined> {
  const deadline = performance.now() + DUPLEX_LIMIT_MS;
  while (performance.now() < deadline) {
    const view = await source.read();
    if (isDuplex(view, gonePid)) return view;
    await pause(POLL_MS);
  }
  return undefined;
}

/** One fault to one module of a server that is DUPLEX at this moment: a second fault before that is an outage by right, not a finding. */
export async function injectFault(
  source: ServerSource,
  kind: FaultKind,
  position: number,
  target: FaultTarget = "cpu",
): Promise<Fault | undefined> {
  const view = await waitForDuplex(source);
  const cpus = cpuModules(view?.modules ?? []);
  const active = view?.modules.find((module) => module.isActive === true);
  const victim = target === "io" ? active : cpus[position % Math.max(1, cpus.length)];
  if (victim === undefined) return undefined;
  const fault: Fault = {
    kind,
    module: victim.name,
    pid: victim.pid,
    atMs: performance.now(),
    duplexAtMs: undefined,
    holdMs: undefined,
    relapseAtMs: undefined,
  };
  process.kill(victim.pid, kind === "kill" ? "SIGKILL" : "SIGSTOP");
  return fault;
}

/** Kills the replacement of a fault's victim at a random moment before it is back in lockstep; too late does no harm. */
async function relapse(source: ServerSource, fault: Fault, random: SeededRandom): Promise<void> {
  // `progress` is there while its image is copied, restored and caught up with: not before, not after.
  const replacement = async (): Promise<ModuleView | undefined> => {
    const { modules } = await source.read();
    return modules.find(
      (module) => module.name === fault.module && module.pid > 0 && module.pid !== fault.pid && module.progress !== undefined,
    );
  };
  const deadline = performance.now() + RELAPSE_LIMIT_MS;
  while ((await replacement()) === undefined && performance.now() < deadline) await pause(RELAPSE_POLL_MS);
  await pause(random.below(RELAPSE_PAUSE_MS));
  const victim = await replacement();
  if (victim === undefined) return;
  fault.relapseAtMs = performance.now();
  process.kill(victim.pid, "SIGKILL");
}

/** Completes the record of an injected fault. */
export async function settleFault(source: ServerSource, fault: Fault): Promise<boolean> {
  const view = await waitForDuplex(source, fault.pid);
  if (view === undefined) return false;
  fault.duplexAtMs = performance.now();
  fault.holdMs = view.counters.lastHoldMs;
  return true;
}

/** All pairings of kind and module position in random order, then again: chance, but nothing is left out for long. */
function shuffledDeck(mix: FaultMix, random: SeededRandom): { readonly kind: FaultKind; readonly position: number }[] {
  const kinds: FaultKind[] = mix === "mixed" ? ["kill", "hang"] : [mix === "hang" ? "hang" : "kill"];
  const deck = kinds.flatMap((kind) => [0, 1].map((position) => ({ kind, position })));
  for (let index = deck.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    const [here, there] = [deck[index], deck[other]];
    if (here !== undefined && there !== undefined) [deck[index], deck[other]] = [there, here];
  }
  return deck;
}

/**
 * Injects faults by plan until `stopped` or the count is reached, each after a random pause in DUPLEX.
 * Ends early, returning false, when the server does not come back.
 */
export async function runFaults(
  source: ServerSource,
  plan: FaultPlan,
  faults: Fault[],
  stopped: () => boolean,
  onFault: (fault: Fault) => void,
): Promise<boolean> {
  if (plan.mix === "none" || plan.mix === "errors") return true;
  const random = new SeededRandom(plan.seed);
  let deck: { readonly kind: FaultKind; readonly position: number }[] = [];
  while (faults.length < plan.count) {
    const until = performance.now() + plan.pauseMinimumMs + random.below(plan.pauseMaximumMs - plan.pauseMinimumMs + 1);
    while (performance.now() < until && !stopped()) await pause(Math.min(100, Math.max(1, until - performance.now())));
    if (stopped()) return true;
    if (deck.length === 0) deck = shuffledDeck(plan.mix, random);
    const card = deck.pop() ?? { kind: "kill" as const, position: 0 };
    const fault = await injectFault(source, card.kind, card.position, plan.target);
    if (fault === undefined) return false;
    faults.push(fault);
    onFault(fault);
    if (plan.mix === "relapse") await relapse(source, fault, random);
    if (!(await settleFault(source, fault))) return false;
    onFault(fault);
  }
  return true;
}
