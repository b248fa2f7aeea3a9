/**
 * The voter: collects the results of each tick and says when its outputs may take effect. It also keeps every tick until all
 * that need it have run it, since a newcomer in its catch-up needs both the ticks and something to be compared with.
 *
 * Every tick is voted under the configuration in force now, whichever issued it (DESIGN section 3).
 */
import { assert } from "../foundation/assert.js";
import type { MachineOutput } from "../machine/machine.js";
import { outputsDigest } from "./outputs-digest.js";
import type { ResultMessage, TickMessage } from "../wire/messages.js";

export type ReleaseMode = "compared" | "logged";

/** Self-checking pairs: two modules that compare each other's results, so that one pair alone can settle a tick. */
export type Pairs = readonly (readonly [string, string])[];

export interface Ballot {
  readonly tick: TickMessage;
  readonly inputBytes: number;
  readonly results: Map<string, ResultMessage>;
  readonly receipts: Set<string>;
  readonly payloads: Map<string, readonly MachineOutput[]>;
  /** When the tick was issued and when the first result came in, on the clock that counts waiting (server.ts). */
  readonly issuedAt: number;
  firstResultAt: number | null;
  /** What the members agreed on. */
  truth: ResultMessage | null;
  /** Who was asked for the outputs, and when (on the clock that counts waiting). */
  asked: { readonly module: string; readonly at: number } | null;
}

export type Decision =
  | { readonly kind: "wait" }
  /** The outputs of this tick take effect now. */
  | { readonly kind: "release"; readonly ballot: Ballot; readonly outputs: readonly MachineOutput[] }
  /** The members agree on this tick (after its release in mode `logged`, before or with it in mode `compared`). */
  | { readonly kind: "agreed"; readonly ballot: Ballot }
  | { readonly kind: "ask"; readonly module: string; readonly seq: number }
  | { readonly kind: "miscompare"; readonly seq: number; readonly wrong: readonly string[]; readonly tied: readonly (readonly string[])[] };

/** Marks what a former incarnation of a module said; no name of a module contains it. */
const RETIRED = "#former";

const WAIT: Decision = { kind: "wait" };

/** Equal results: the same outputs, time, instruction count and state as far as the digest sees. */
export function sameResult(left: ResultMessage, right: ResultMessage): boolean {
  return (
    left.digest === right.digest &&
    left.instructionCount === right.instructionCount &&
    left.timeNs === right.timeNs &&
    left.idleUntilNs === right.idleUntilNs &&
    left.hasOutputs === right.hasOutputs &&
    left.outputsDigest === right.outputsDigest
  );
}

/** How many equal results settle a tick without pairs: all of one or two, a majority of more. */
export function quorum(members: number): number {
  return members <= 2 ? members : Math.floor(members / 2) + 1;
}

/** The pairs of which both modules are among these. */
export function completePairs(pairs: Pairs, names: readonly string[]): Pairs {
  return pairs.filter((pair) => pair.every((name) => names.includes(name)));
}

/** How many modules at least have run a tick that took effect. */
export function leastSettlers(members: readonly string[], pairs: Pairs): number {
  if (completePairs(pairs, members).length === 0) return quorum(members.length);
  return 1 + pairs.filter((pair) => pair.some((name) => members.includes(name))).length;
}

interface Group {
  readonly result: ResultMessage;
  readonly modules: string[];
}

export class Voter {
  readonly #mode: ReleaseMode;
  readonly #pairs: Pairs;
  readonly #ballots = new Map<number, Ballot>();
  #oldest: number;
  #issued: number;
  #released: number;
  #agreed: number;
  #inputBytes = 0;

  /** `seq`: the last tick before the first one of this voter. */
  constructor(mode: ReleaseMode, seq: number, pairs: Pairs = []) {
    this.#mode = mode;
    this.#pairs = pairs;
    this.#oldest = seq + 1;
    this.#issued = seq;
    this.#released = seq;
    this.#agreed = seq;
  }

  get issued(): number {
    return this.#issued;
  }

  /** Everything up to here took effect. */
  get released(): number {
    return this.#released;
  }

  get agreed(): number {
    return this.#agreed;
  }

  get keptTicks(): number {
    return this.#ballots.size;
  }

  get keptInputBytes(): number {
    return this.#inputBytes;
  }

  ballot(seq: number): Ballot | undefined {
    return this.#ballots.get(seq);
  }

  /**
   * What a module that answered up to `seq` is measured by. After a takeover that need not be its next tick: a sequencer begins at
   * the last tick that took effect, and a module may still have to run ticks before that one.
   */
  firstAfter(seq: number): Ballot | undefined {
    return this.#ballots.get(Math.max(seq + 1, this.#oldest));
  }

  /** The tick whose outputs are waited for. */
  get firstUnreleased(): Ballot | undefined {
    return this.#ballots.get(this.#released + 1);
  }

  /** Whether a module that has run everything up to `seq` can run on from there: every later tick is kept, or there is none. */
  keepsAfter(seq: number): boolean {
    return seq === this.issued || this.ballot(seq + 1) !== undefined;
  }

  /** A kept tick for a module that runs it later: under the configuration in force, since lower ones are refused as overtaken. */
  keptTick(seq: number, configuration: number): TickMessage {
    const ballot = this.#ballots.get(seq);
    assert(ballot !== undefined, "kept ticks are without a gap");
    return { ...ballot.tick, configuration };
  }

  issue(tick: TickMessage, at: number): void {
    assert(tick.seq === this.#issued + 1, "ticks are issued in order");
    this.#issued = tick.seq;
    let inputBytes = 0;
    for (const input of tick.inputs) inputBytes += "bytes" in input && input.kind !== "diskSize" ? input.bytes.length : 64;
    this.#inputBytes += inputBytes;
    this.#ballots.set(tick.seq, {
      tick,
      inputBytes,
      results: new Map(),
      receipts: new Set(),
      payloads: new Map(),
      issuedAt: at,
      firstResultAt: null,
      truth: null,
      asked: null,
    });
  }

  /** Records a result. False: it contradicts what was agreed on. */
  result(module: string, result: ResultMessage, at: number): boolean {
    const ballot = this.#ballots.get(result.seq);
    if (ballot === undefined) return true;
    ballot.results.set(module, result);
    if (result.outputs !== null) ballot.payloads.set(module, result.outputs);
    ballot.firstResultAt ??= at;
    return ballot.truth === null || sameResult(ballot.truth, result);
  }

  receipt(module: string, seq: number): void {
    this.#ballots.get(seq)?.receipts.add(module);
  }

  payload(module: string, seq: number, outputs: readonly MachineOutput[]): void {
    this.#ballots.get(seq)?.payloads.set(module, outputs);
  }

  /** A module that is gone cannot answer what it was asked. */
  forgetModule(module: string): void {
    for (const ballot of this.#ballots.values()) if (ballot.asked?.module === module) ballot.asked = null;
  }

  /**
   * A module that has come back: what its former self said stays, under a name that cannot be asked any more and does not vote for
   * the new one.
   */
  retireModule(module: string): void {
    this.forgetModule(module);
    for (const ballot of this.#ballots.values()) {
      const result = ballot.results.get(module);
      if (result === undefined) continue;
      ballot.results.delete(module);
      ballot.results.set(module + RETIRED, result);
      const outputs = ballot.payloads.get(module);
      ballot.payloads.delete(module);
      if (outputs !== undefined) ballot.payloads.set(module + RETIRED, outputs);
    }
  }

  /** The newcomer's machine is the donor's as of `seq`: for unsettled ticks up to there, the donor's results are the newcomer's. */
  inherit(newcomer: string, donor: string, seq: number): void {
    for (let at = this.#agreed + 1; at <= seq; at += 1) {
      const ballot = this.#ballots.get(at);
      const result = ballot?.results.get(donor);
      if (ballot === undefined || result === undefined) continue;
      ballot.results.set(newcomer, result);
      const outputs = ballot.payloads.get(donor);
      if (outputs !== undefined) ballot.payloads.set(newcomer, outputs);
    }
  }

  /** Whether this module alone could answer for every unsettled tick up to `seq`, outputs included. */
  canRelease(module: string, seq: number): boolean {
    for (let at = Math.min(this.#agreed, this.#released) + 1; at <= seq; at += 1) {
      const ballot = this.#ballots.get(at);
      const result = ballot?.results.get(module);
      if (ballot === undefined || result === undefined) return false;
      if (at > this.#released && this.#outputs(ballot, result) === null) return false;
    }
    return true;
  }

  /** A module that computed wrongly: nothing that it said counts any more. */
  discardModule(module: string): void {
    this.forgetModule(module);
    for (const ballot of this.#ballots.values()) {
      ballot.results.delete(module);
      ballot.payloads.delete(module);
    }
  }

  /** What has been decided since the last call, one decision at a time until `wait`. `live`: members that can be asked. */
  decide(members: readonly string[], at: number, live = members): Decision {
    if (members.length === 0) return WAIT;
    if (this.#mode === "logged") {
      const early = this.#releaseOnReceipt(members, live, at);
      if (early.kind !== "wait") return early;
    }
    const ballot = this.#ballots.get(this.#agreed + 1);
    if (ballot === undefined || ballot.results.size === 0) return WAIT;
    if (ballot.truth === null) {
      const verdict = this.#vote(ballot, members);
      if (verdict !== null) return verdict;
    }
    const truth: ResultMessage | null = ballot.truth;
    if (truth === null) return WAIT;
    if (ballot.tick.seq > this.#released) {
      const outputs = this.#outputs(ballot, truth);
      if (!Array.isArray(outputs)) return this.#ask(ballot, truth, live, at);
      this.#released = ballot.tick.seq;
      return { kind: "release", ballot, outputs };
    }
    this.#agreed = ballot.tick.seq;
    return { kind: "agreed", ballot };
  }

  /** Sets the truth of a ballot, or says that there is none. */
  #vote(ballot: Ballot, members: readonly string[]): Decision | null {
    const groups: Group[] = [];
    let count = 0;
    for (const module of members) {
      const result = ballot.results.get(module);
      if (result === undefined) continue;
      count += 1;
      const group = groups.find((each) => sameResult(each.result, result));
      if (group === undefined) groups.push({ result, modules: [module] });
      else group.modules.push(module);
    }
    const winners = this.#winners(ballot, groups, members);
    const [winner] = winners;
    if (winner === undefined || winners.length > 1) {
      if (count < members.length) return WAIT;
      return { kind: "miscompare", seq: ballot.tick.seq, wrong: [], tied: groups.map((group) => group.modules) };
    }
    ballot.truth = winner.result;
    // Newcomers vote nothing yet, but what they computed must be the truth all the same.
    const wrong: string[] = [];
    for (const [module, result] of ballot.results) {
      if (!module.endsWith(RETIRED) && !sameResult(result, winner.result)) wrong.push(module);
    }
    return wrong.length > 0 ? { kind: "miscompare", seq: ballot.tick.seq, wrong, tied: [] } : null;
  }

  /**
   * Groups that may settle the tick: those of a complete pair that agrees with itself, or else those that are large enough. Of every
   * other pair one module must have run it too, whatever came out: else the tick would be lost with the pair's enclosure.
   */
  #winners(ballot: Ballot, groups: readonly Group[], members: readonly string[]): Group[] {
    const pairs = completePairs(this.#pairs, members);
    if (pairs.length > 0) {
      const isOutlived = this.#pairs.every(
        (pair) => !pair.some((name) => members.includes(name)) || pair.some((name) => members.includes(name) && ballot.results.has(name)),
      );
      if (!isOutlived) return [];
      return groups.filter((group) => pairs.some((pair) => pair.every((name) => group.modules.includes(name))));
    }
    const needed = quorum(members.length);
    return groups.filter((group) => group.modules.length >= needed);
  }

  #outputs(ballot: Ballot, truth: ResultMessage): readonly MachineOutput[] | null {
    if (!truth.hasOutputs) return [];
    for (const [module, outputs] of ballot.payloads) {
      const result = ballot.results.get(module);
      // What was voted is what leaves: outputs that were damaged on their way here do not.
      if (result !== undefined && sameResult(result, truth) && outputsDigest(outputs) === truth.outputsDigest) return outputs;
    }
    return null;
  }

  #ask(ballot: Ballot, truth: ResultMessage, live: readonly string[], at: number): Decision {
    for (const module of live) {
      const result = ballot.results.get(module);
      if (result === undefined || !sameResult(result, truth)) continue;
      // It voted with the others and then sent something else: its word is worth nothing.
      if (ballot.payloads.has(module)) return { kind: "miscompare", seq: ballot.tick.seq, wrong: [module], tied: [] };
    }
    if (ballot.asked !== null) return WAIT;
    for (const module of live) {
      const result = ballot.results.get(module);
      if (result === undefined || !sameResult(result, truth)) continue;
      ballot.asked = { module, at };
      return { kind: "ask", module, seq: ballot.tick.seq };
    }
    return WAIT;
  }

  /** Mode `logged`: every member has the tick, and one of them has run it. */
  #releaseOnReceipt(members: readonly string[], live: readonly string[], at: number): Decision {
    const ballot = this.firstUnreleased;
    if (ballot === undefined) return WAIT;
    for (const module of members) if (!ballot.receipts.has(module)) return WAIT;
    const first = members.map((module) => ballot.results.get(module)).find((result) => result !== undefined);
    if (first === undefined) return WAIT;
    const outputs = this.#outputs(ballot, first);
    if (outputs === null) return this.#ask(ballot, first, live, at);
    this.#released = ballot.tick.seq;
    return { kind: "release", ballot, outputs };
  }

  /** Ticks up to `seq` are no longer needed by anyone who still runs ticks; those not settled stay all the same. */
  forget(seq: number): void {
    const least = Math.min(seq, this.#released, this.#agreed);
    while (this.#oldest <= least) {
      this.#inputBytes -= this.#ballots.get(this.#oldest)?.inputBytes ?? 0;
      this.#ballots.delete(this.#oldest);
      this.#oldest += 1;
    }
  }

  /** Before the first tick: everything up to `seq` was settled by an earlier sequencer. */
  startAt(seq: number): void {
    assert(this.#ballots.size === 0, "nothing was issued yet");
    this.#issued = seq;
    this.abandon();
  }

  /** Outage: what was not released never will be. */
  abandon(): void {
    this.#ballots.clear();
    this.#inputBytes = 0;
    this.#released = this.#issued;
    this.#agreed = this.#issued;
    this.#oldest = this.#issued + 1;
  }
}
