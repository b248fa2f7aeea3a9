/** Bugs to plant into a copy of the compiled protocol, to see whether the simulator finds them: the checker itself is checked. */
export interface PlantedBug {
  readonly name: string;
  /** In dist. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** It must be found within this many seeds, counted from `from`. */
  readonly from: number;
  readonly seeds: number;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "releases what only one module has computed",
    file: "lockstep/voter.js",
    find: "const needed = quorum(members.length);",
    replace: "const needed = 1;",
    from: 1,
    seeds: 60,
  },
  {
    name: "skips a tick at a takeover",
    file: "lockstep/resumption.js",
    find: "committed = Math.max(committed, report.end?.committed ?? 0);",
    replace: "committed = Math.max(committed, (report.end?.committed ?? 0) + 1);",
    from: 1,
    seeds: 60,
  },
  {
    name: "lets a newcomer begin one tick early",
    file: "lockstep/member.js",
    find: 'kind: "imageEnd", clone, seq: this.#lastSeq,',
    replace: 'kind: "imageEnd", clone, seq: this.#lastSeq - 1,',
    from: 1,
    seeds: 60,
  },
  {
    name: "never takes a silent module to be hung",
    file: "lockstep/watchdog.js",
    find: "if (waitedMs - since > options.lagLimitMs + allowanceMs)",
    replace: "if (waitedMs - since > 1e9)",
    from: 1,
    seeds: 60,
  },
  {
    name: "waits for ever for a module that hangs during a takeover",
    file: "lockstep/resumption.js",
    find: "this.#shootTheSilent();",
    replace: "",
    from: 150,
    seeds: 60,
  },
  {
    name: "does not repeat an unanswered claim while it takes over",
    file: "lockstep/server.js",
    find: 'if (this.phase === "resuming") {\n            this.#retryClaim();',
    replace: 'if (this.phase === "resuming") {',
    from: 1,
    seeds: 60,
  },
  {
    name: "loses the inputs of a tick that it repeats",
    file: "lockstep/resumption.js",
    find: "ticks.set(seq, { ...tick, configuration: membership.number });",
    replace: "ticks.set(seq, { ...tick, inputs: [], configuration: membership.number });",
    from: 150,
    seeds: 60,
  },
];
