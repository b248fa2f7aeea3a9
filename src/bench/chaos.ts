/**
 * The chaos run: random modules and whole enclosures of a running server are killed, hung, pulled and made to compute wrongly, one
 * fault at a time, under the payment workload and an HTTP load; after each the server must come back to full redundancy by itself.
 */
import { SteadfastError } from "../foundation/errors.js";
import { SeededRandom } from "../foundation/random.js";
import type { Address } from "./connection.js";
import { NO_FAULTS, pause } from "./faults.js";
import { runHttpClients } from "./http-load.js";
import { LoadRecorder, type LoadSummary } from "./load.js";
import { runPayments, type PaymentOptions, type PaymentReport } from "./payments.js";
import type { DrillSource, ServerView } from "./server-view.js";
import type { Timeline } from "./timeline.js";

export const CHAOS_KINDS = ["kill", "hang", "flip", "pull", "enclosure"] as const;
export type ChaosKind = (typeof CHAOS_KINDS)[number];

export interface ChaosFault {
  readonly kind: ChaosKind;
  /** A module, or an enclosure. */
  readonly victim: string;
  /** What was hit: "cpu", "io", "management" or "enclosure". */
  readonly what: string;
  readonly atMs: number;
  /** When the server was well again; undefined: not within the limit. */
  wellAtMs: number | undefined;
}

export interface ChaosFigure {
  readonly kind: ChaosKind;
  readonly what: string;
  readonly count: number;
  /** Longest time without any reply of a kind of load that touches the time from a fault until all was well. */
  readonly worstGapMs: number;
  readonly worstWellMs: number;
}

export interface ChaosReport {
  readonly seed: number;
  readonly payments: PaymentReport;
  readonly http: LoadSummary;
  readonly faults: number;
  readonly figures: readonly ChaosFigure[];
  readonly broken: readonly string[];
}

export interface ChaosOptions extends Omit<PaymentOptions, "source" | "drive" | "faults" | "untilFaultsDone"> {
  readonly source: DrillSource;
  readonly http: Address;
  readonly httpClients: number;
  /** Ends after so many faults, or when the time is up, whichever comes first. */
  readonly faultCount: number;
  readonly kinds: readonly ChaosKind[];
}

const WELL_LIMIT_MS = 60_000;
const POLL_MS = 40;
/** At full redundancy, between two faults. */
const LEAST_PAUSE_MS = 200;
const PAUSE_SPAN_MS = 1500;
/** A pulled module stays out for this long at most. */
const PULLED_MOST_MS = 1500;
/**
 * A flipped bit that nothing reads is found by the memory check within some seconds, on a starved host within several times that, unless it
 * is written over before. The run waits for it: a bit that lies undiscovered when the next fault strikes would be a second fault.
 */
const FLIP_LIMIT_MS = 24_000;
const VERIFY_TURNS = 4;
const VERDICTS = ["MISCOMPARE", "MISCOMPARE_UNADJUDICATED", "MEMORY_DAMAGED"];
const LOCKSTEP = ["SIMPLEX", "DUPLEX", "TRIPLEX"];

interface Card {
  readonly kind: ChaosKind;
  readonly victim: string;
  readonly what: string;
}

/** Whether any one module could be lost at this moment, and none of `gonePids` is left. */
function isWell(view: ServerView, gonePids: readonly number[]): boolean {
  return (
    view.redundancy === view.wantedRedundancy &&
    view.modules.every(({ pid, state }) => pid > 0 && !gonePids.includes(pid) && LOCKSTEP.includes(state))
  );
}

async function untilWell(source: DrillSource, gonePids: readonly number[], stopped: () => boolean): Promise<ServerView | undefined> {
  const deadline = performance.now() + WELL_LIMIT_MS;
  while (performance.now() < deadline && !stopped()) {
    const view = await source.read();
    if (isWell(view, gonePids)) return view;
    await pause(POLL_MS);
  }
  return undefined;
}

/** Everything that the server says may be hit, once each, in random order, kind by kind in turn: by chance, but nothing is left out for long. */
function shuffledDeck(view: ServerView, kinds: readonly ChaosKind[], random: SeededRandom): Card[] {
  const enclosures = new Set(view.modules.map((module) => module.enclosure));
  for (const { enclosure, safeToPull } of view.modules) if (!safeToPull) enclosures.delete(enclosure);
  const safe = view.modules.filter((module) => module.safeToPull);
  const deck = kinds.flatMap((kind): Card[] => {
    if (kind === "enclosure") return [...enclosures].map((victim) => ({ kind, victim, what: "enclosure" }));
    const modules = kind === "flip" ? safe.filter((module) => module.kind === "cpu") : safe;
    return modules.map((module) => ({ kind, victim: module.name, what: module.kind }));
  });
  for (let index = deck.length - 1; index > 0; index--) {
    const other = random.below(index + 1);
    [deck[index], deck[other]] = [deck[other] as Card, deck[index] as Card];
  }
  const turns = new Map(deck.map((card, index) => [card, deck.slice(0, index).filter(({ kind }) => kind === card.kind).length]));
  // Drawn from the end.
  return deck.sort((left, right) => (turns.get(right) ?? 0) - (turns.get(left) ?? 0));
}

function pidsOf(view: ServerView, card: Card): number[] {
  const { victim } = card;
  return view.modules.filter(({ name, enclosure }) => victim === name || victim === enclosure).map((module) => module.pid);
}

interface Blow {
  /** Processes that must be gone afterwards. */
  readonly gone: readonly number[];
  /** A promise that was found broken meanwhile. */
  readonly broken?: string;
}

/** Strikes; resolves when whatever it takes beyond the blow itself is done. */
async function strike(source: DrillSource, view: ServerView, card: Card, random: SeededRandom): Promise<Blow> {
  const pids = pidsOf(view, card);
  switch (card.kind) {
    case "kill":
    case "enclosure":
      for (const pid of pids) process.kill(pid, "SIGKILL");
      return { gone: pids };
    case "hang":
      for (const pid of pids) process.kill(pid, "SIGSTOP");
      return { gone: pids };
    case "pull":
      await source.pull(card.victim);
      await pause(random.below(PULLED_MOST_MS));
      await source.insert(card.victim);
      return { gone: pids };
    case "flip": {
      const address = random.below(view.memoryMiB * 1024) * 1024 + random.below(1024);
      await source.fault("flip", card.victim, { address, bit: random.below(8) });
      const accused = await accusedSince(source, view.lastEventId);
      if (accused === undefined) return isOverwritten(source, card, pids);
      if (accused === card.victim) return { gone: pids };
      return {
        gone: [],
        broken: `a bit flipped in the memory of ${card.victim}, and ${accused} was taken for the one that computes wrongly`,
      };
    }
  }
}

/**
 * Whether all machines are equal. While they are compared one may be lost (a starved host makes one late); what is left is neither equal nor
 * unequal, and is compared again when all are back. Errors: VERIFY_FAILED.
 */
export async function areEqual(source: DrillSource): Promise<boolean> {
  for (let turn = 0; turn < VERIFY_TURNS; turn += 1) {
    await untilWell(source, [], () => false);
    const { digests, equal } = await source.verify();
    if (Object.keys(digests).length > 1) return equal;
  }
  throw new SteadfastError("VERIFY_FAILED", { why: `one of them was lost each time, ${VERIFY_TURNS} times in a row` });
}

/** A bit that nobody found must not be there any more. The comparison that is asked for here finds it, and has its victim replaced. */
async function isOverwritten(source: DrillSource, card: Card, pids: readonly number[]): Promise<Blow> {
  if (await areEqual(source)) return { gone: [] };
  return { gone: pids, broken: `a flipped bit in the memory of ${card.victim} was not found within ${FLIP_LIMIT_MS / 1000} s` };
}

/** Who was said to compute wrongly because of a flipped bit; undefined: nobody in time. */
async function accusedSince(source: DrillSource, since: number): Promise<string | undefined> {
  const deadline = performance.now() + FLIP_LIMIT_MS;
  while (performance.now() < deadline) {
    const verdict = (await source.events(since)).find(({ code }) => VERDICTS.includes(code));
    if (verdict !== undefined) return verdict.module;
    await pause(POLL_MS);
  }
  return undefined;
}

interface ChaosRun {
  readonly faults: ChaosFault[];
  readonly broken: string[];
}

/** One fault after the other; false: the server did not come back. */
async function runChaos(options: ChaosOptions, { faults, broken }: ChaosRun, stopped: () => boolean): Promise<boolean> {
  const { source, onProgress } = options;
  const random = new SeededRandom(options.seed);
  let deck: Card[] = [];
  while (faults.length < options.faultCount && broken.length === 0 && !stopped()) {
    await pause(LEAST_PAUSE_MS + random.below(PAUSE_SPAN_MS));
    const view = await untilWell(source, [], stopped);
    if (view === undefined) return stopped();
    if (deck.length === 0) deck = shuffledDeck(view, options.kinds, random);
    const card = deck.pop();
    if (card === undefined) return false;
    const fault: ChaosFault = { ...card, atMs: performance.now(), wellAtMs: undefined };
    faults.push(fault);
    const blow = await strike(source, view, card, random);
    if (blow.broken !== undefined) broken.push(blow.broken);
    if ((await untilWell(source, blow.gone, () => false)) === undefined) return false;
    fault.wellAtMs = performance.now();
    onProgress(`${faults.length}: ${card.kind} ${card.victim}: well again after ${((fault.wellAtMs - fault.atMs) / 1000).toFixed(2)} s`);
  }
  return (await untilWell(source, [], () => false)) !== undefined;
}

function figuresOf(faults: readonly ChaosFault[], timelines: readonly Timeline[]): ChaosFigure[] {
  const keys = [...new Set(faults.map(({ kind, what }) => `${kind} ${what}`))].sort();
  return keys.map((key) => {
    const those = faults.filter(({ kind, what }) => `${kind} ${what}` === key);
    const [first] = those as [ChaosFault];
    const gaps = those.flatMap((fault) => timelines.map((each) => each.worstGap(fault.atMs, fault.wellAtMs ?? each.endMs).lengthMs));
    return {
      kind: first.kind,
      what: first.what,
      count: those.length,
      worstGapMs: Math.max(...gaps),
      worstWellMs: Math.max(...those.map((fault) => (fault.wellAtMs ?? Infinity) - fault.atMs)),
    };
  });
}

function brokenByHttp(http: LoadSummary): string[] {
  const broken: string[] = [];
  if (http.requests === 0) broken.push("no HTTP request was answered at all");
  if (http.failures > 0) broken.push(`${http.failures} HTTP requests failed (${http.errors.join("; ")})`);
  if (http.lostConnections > 0) broken.push(`${http.lostConnections} HTTP connections were lost`);
  return broken;
}

export async function runChaosUnderLoad(options: ChaosOptions): Promise<ChaosReport> {
  const made: ChaosRun = { faults: [], broken: [] };
  const { faults } = made;
  const recorder = new LoadRecorder();
  let isOver = false;
  const web = runHttpClients(options.http, options.httpClients, recorder, () => isOver);
  const drive = (stopped: () => boolean): Promise<boolean> => runChaos(options, made, () => stopped() || recorder.failures > 0);
  const plan = { ...NO_FAULTS, seed: options.seed };
  const run = await runPayments({ ...options, faults: plan, untilFaultsDone: options.seconds === 0, drive }).finally(() => {
    isOver = true;
  });
  await web;
  const http = recorder.finish();
  const equal = await areEqual(options.source);
  return {
    seed: options.seed,
    payments: run.report,
    http,
    faults: faults.length,
    figures: figuresOf(faults, [run.timeline, recorder.timeline]),
    broken: [...made.broken, ...run.report.broken, ...brokenByHttp(http), ...(equal ? [] : ["the machines are not equal at the end"])],
  };
}
