/**
 * Who is there, who counts, and how that is decided. A configuration counts once it was seen to win at the arbiter; between a
 * loss and the next win nothing is released that needs the lost one.
 */
import { assert } from "../foundation/assert.js";
import type { ModuleState } from "../wire/control.js";
import type { ConfigurationRecord } from "../wire/messages.js";
import { completePairs, quorum, type Pairs } from "./voter.js";

/**
 * absent: not connected. waiting: connected, blank, not in lockstep. newcomer: being cloned or catching up. joining: caught up,
 * its configuration is being claimed. member: in the configuration in force and alive. shot: isolated until a newer incarnation comes.
 */
export type Role = "absent" | "waiting" | "newcomer" | "joining" | "member" | "shot";

export interface CpuRow {
  readonly name: string;
  role: Role;
  /** Held out modules are not expected, and not waited for. */
  expected: boolean;
  incarnation: number;
  isConnected: boolean;
  /** Incarnations up to here are not let in any more. */
  shotIncarnation: number;
  /** It was isolated after a miscompare (else for being slow or of no use). */
  miscompared: boolean;
  /** What it said when it connected; null: nothing yet. */
  reported: { readonly configuration: number; readonly seq: number; readonly blank: boolean } | null;
  faults: number;
  inLockstepSince: number;
  /** Since when it is expected in vain (waitedMs). */
  absentSince: number;
  /** The last tick whose result is in. */
  lastSeq: number;
  /** When its last result came in, on the clock that counts waiting (server.ts). */
  answeredAt: number;
}

export class Membership {
  readonly rows: ReadonlyMap<string, CpuRow>;
  readonly #io: string;
  readonly #pairs: Pairs;
  #record: ConfigurationRecord | null = null;
  #claiming: ConfigurationRecord | null = null;
  #hasWon = false;
  /** For the next claim; null: those in force are right. */
  #wantedMirrors: readonly string[] | null = null;
  /** Live members, in the order of the configuration: kept, since every result asks for it. */
  #live: readonly string[] = [];

  /** `onCall`: modules that nobody waits for until they are called. */
  constructor(io: string, cpuModules: readonly string[], onCall: readonly string[] = [], pairs: Pairs = []) {
    this.#io = io;
    this.#pairs = pairs;
    this.rows = new Map(
      [...cpuModules, ...onCall].map((name) => [
        name,
        {
          name,
          role: "absent",
          expected: !onCall.includes(name),
          incarnation: 0,
          isConnected: false,
          shotIncarnation: -1,
          miscompared: false,
          reported: null,
          faults: 0,
          inLockstepSince: 0,
          absentSince: 0,
          lastSeq: 0,
          answeredAt: 0,
        } satisfies CpuRow as CpuRow,
      ]),
    );
  }

  get record(): ConfigurationRecord | null {
    return this.#record;
  }

  get number(): number {
    return this.#record?.number ?? 0;
  }

  get isClaiming(): boolean {
    return this.#claiming !== null;
  }

  get claiming(): ConfigurationRecord | null {
    return this.#claiming;
  }

  row(name: string): CpuRow {
    const row = this.rows.get(name);
    assert(row !== undefined, `${name} is a CPU module of this server`);
    return row;
  }

  /** All whose agreement a commit needs: also those just lost, until the next configuration has won. */
  get voters(): readonly string[] {
    return this.#record?.cpus ?? [];
  }

  /** Members that are alive. */
  get live(): readonly string[] {
    return this.#live;
  }

  /** How far those have come whose pace counts: the slower of two, the middle one of three. */
  settledSeq(): number {
    const pairs = this.#pairs.length > 0 ? this.completePairs : [];
    if (pairs.length > 0) return this.#settledByPairs(pairs);
    if (this.#live.length <= 2) {
      let least = Infinity;
      for (const name of this.#live) least = Math.min(least, this.row(name).lastSeq);
      return least;
    }
    const seqs = this.#live.map((name) => this.row(name).lastSeq);
    seqs.sort((left, right) => right - left);
    return seqs[quorum(seqs.length) - 1] as number;
  }

  /** As the voter does: both of one pair, and the further one of each other. */
  #settledByPairs(complete: Pairs): number {
    const seqs = (pair: readonly string[]): number[] =>
      pair.filter((name) => this.#live.includes(name)).map((name) => this.row(name).lastSeq);
    const furthest = this.#pairs.map((pair) => Math.max(...seqs(pair))).filter((seq) => seq >= 0);
    return Math.min(Math.max(...complete.map((pair) => Math.min(...seqs(pair)))), ...furthest);
  }

  /** Pairs of which both modules are alive in the configuration. */
  get completePairs(): Pairs {
    return completePairs(this.#pairs, this.#live);
  }

  /** The other module of its pair; null: it stands for itself. */
  partnerOf(name: string): CpuRow | null {
    const partner = this.#pairs.find((pair) => pair.includes(name))?.find((each) => each !== name);
    return partner === undefined ? null : this.row(partner);
  }

  setRole(row: CpuRow, role: Role): void {
    row.role = role;
    this.#refreshLive();
  }

  #refreshLive(): void {
    this.#live = this.voters.filter((name) => this.rows.get(name)?.role === "member");
  }

  withRole(role: Role): CpuRow[] {
    return [...this.rows.values()].filter((row) => row.role === role);
  }

  /** The CPU modules of the configuration that was in force when we started. */
  lastNamed: readonly string[] = [];

  /** What is at the arbiter when we start. */
  learn(record: ConfigurationRecord | null): void {
    this.lastNamed = record?.cpus ?? [];
    this.#record = record === null ? null : { ...record, cpus: [] };
    this.#hasWon = false;
    this.#refreshLive();
  }

  /**
   * The mirrors of the guest's disk that are to count from the next configuration on; it is claimed even if the same ones do. Null: those
   * that were wanted last, or are in force.
   */
  wantMirrors(mirrors: readonly string[] | null): void {
    this.#wantedMirrors = mirrors ?? this.#wantedMirrors ?? this.#claiming?.mirrors ?? this.#record?.mirrors ?? [];
  }

  /** The next configuration to claim for these CPU modules, or null: it is in force already, or a claim is under way. */
  propose(cpus: readonly string[]): ConfigurationRecord | null {
    if (this.#claiming !== null || cpus.length === 0) return null;
    const voters = this.voters;
    const areSame = cpus.length === voters.length && cpus.every((name) => this.#live.includes(name));
    if (areSame && this.#wantedMirrors === null) return null;
    const mirrors = this.#wantedMirrors ?? this.#record?.mirrors ?? [];
    this.#wantedMirrors = null;
    this.#claiming = { number: this.number + 1, cpus: [...cpus], activeIo: this.#io, mirrors };
    return this.#claiming;
  }

  /** A configuration that this I/O module claimed came into force. */
  get hasWon(): boolean {
    return this.#hasWon;
  }

  /** The arbiter has spoken. True: ours won and is in force. */
  conclude(winner: ConfigurationRecord): boolean {
    const claimed = this.#claiming;
    // A claim that was made again is answered twice: the second answer is not about the claim that is under way by then.
    if (claimed === null || winner.number !== claimed.number) return false;
    this.#claiming = null;
    const ours = sameRecord(winner, claimed);
    this.#hasWon ||= ours;
    // A record of another's making (or of ours, before a restart) still uses up its number.
    this.#record = ours ? winner : { ...winner, cpus: [] };
    this.#refreshLive();
    return ours;
  }

  /** All is lost: the next configuration starts from nothing. */
  clear(): void {
    if (this.#record !== null) this.#record = { ...this.#record, cpus: [] };
    this.#refreshLive();
  }

  /** The one of these to trust when they contradict each other and nothing else tells: fewer faults, then longer in lockstep. */
  betterRecord(names: readonly string[]): string {
    const ordered = names
      .map((name) => this.row(name))
      .sort(
        (left, right) => left.faults - right.faults || left.inLockstepSince - right.inLockstepSince || (left.name < right.name ? -1 : 1),
      );
    const best = ordered[0];
    assert(best !== undefined, "somebody to choose from");
    return best.name;
  }

  stateOf(row: CpuRow): ModuleState {
    switch (row.role) {
      case "member":
        if (this.#pairs.length > 0) return this.completePairs.some((pair) => pair.includes(row.name)) ? "DUPLEX" : "SIMPLEX";
        return this.#live.length >= 3 ? "TRIPLEX" : this.#live.length === 2 ? "DUPLEX" : "SIMPLEX";
      case "waiting":
      case "newcomer":
      case "joining":
        return "INITIALIZING";
      case "shot":
        return row.miscompared ? "SHOT" : "OFFLINE";
      case "absent":
        return row.miscompared ? "SHOT" : "OFFLINE";
    }
  }
}

/** The CPU module in the enclosure of an I/O module, else the first of the configuration: it alone sends that one complete outputs. */
export function localMember(record: ConfigurationRecord, enclosures: Readonly<Record<string, string>>, io: string): string | null {
  return record.cpus.find((cpu) => enclosures[cpu] === enclosures[io]) ?? record.cpus[0] ?? null;
}

function sameRecord(left: ConfigurationRecord, right: ConfigurationRecord): boolean {
  return (
    left.number === right.number &&
    left.activeIo === right.activeIo &&
    left.cpus.length === right.cpus.length &&
    left.cpus.every((name, index) => name === right.cpus[index]) &&
    left.mirrors.length === right.mirrors.length &&
    left.mirrors.every((name, index) => name === right.mirrors[index])
  );
}
