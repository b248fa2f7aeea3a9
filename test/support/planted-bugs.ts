/**
 * Bugs to plant into a copy of the compiled protocol, to see whether the simulator finds them: the checker itself is checked. Only such
 * that many seeds show: what one in thousands shows has a test of its own (lockstep-parts, lockstep-member).
 */
export interface PlantedBug {
  /** What a protocol with this bug does. */
  readonly name: string;
  /** In dist/lockstep. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
  /** It must be found within this many seeds, from 1 on (STEADFAST_LONG). */
  readonly seeds: number;
  /**
   * The first seed that finds it, and where every commit looks. A protocol that has changed has other histories: then the long test says
   * the new one.
   */
  readonly foundWith: number;
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: "releases what only one module has computed",
    file: "voter.js",
    find: "const needed = quorum(members.length);",
    replace: "const needed = 1;",
    seeds: 60,
    foundWith: 25,
  },
  {
    name: "lets a single module speak for its pair",
    file: "voter.js",
    find: `if (!isOutlived)
                return [];
            return groups.filter((group) => pairs.some((pair) => pair.every(`,
    replace: "return groups.filter((group) => pairs.some((pair) => pair.some(",
    seeds: 60,
    foundWith: 23,
  },
  {
    name: "skips a tick at a takeover",
    file: "resumption.js",
    find: "committed = Math.max(committed, report.end?.committed ?? 0);",
    replace: "committed = Math.max(committed, (report.end?.committed ?? 0) + 1);",
    seeds: 60,
    foundWith: 1,
  },
  {
    name: "loses the inputs of a tick that it repeats",
    file: "resumption.js",
    find: "ticks.set(seq, { ...tick, configuration: membership.number });",
    replace: "ticks.set(seq, { ...tick, inputs: [], configuration: membership.number });",
    seeds: 200,
    foundWith: 1,
  },
  {
    name: "waits for ever for a module that hangs during a takeover",
    file: "resumption.js",
    find: "this.#shootTheSilent();",
    replace: "",
    seeds: 200,
    foundWith: 48,
  },
  {
    name: "does not repeat an unanswered claim while it takes over",
    file: "server.js",
    find: 'if (this.phase === "resuming") {\n            this.#retryClaim();',
    replace: 'if (this.phase === "resuming") {',
    seeds: 600,
    foundWith: 267,
  },
  {
    name: "forgets the fence",
    file: "member.js",
    find: "if (configuration >= this.#seenConfiguration)",
    replace: "if (configuration >= 0)",
    seeds: 200,
    foundWith: 81,
  },
  {
    name: "accepts an old configuration",
    file: "member.js",
    find: "if (configuration >= this.#seenConfiguration)",
    replace: "if (configuration + 1 >= this.#seenConfiguration)",
    seeds: 200,
    foundWith: 81,
  },
  {
    name: "takes every claim for won",
    file: "membership.js",
    find: "const ours = sameRecord(winner, claimed);",
    replace: "const ours = true;",
    seeds: 200,
    foundWith: 35,
  },
  {
    name: "lets a newcomer begin one tick early",
    file: "member.js",
    find: 'kind: "imageEnd", clone, seq: this.#lastSeq,',
    replace: 'kind: "imageEnd", clone, seq: this.#lastSeq - 1,',
    seeds: 60,
    foundWith: 1,
  },
  {
    name: "lets a newcomer catch up on ticks of an overtaken configuration",
    file: "voter.js",
    find: "return { ...ballot.tick, configuration };",
    replace: "return ballot.tick;",
    seeds: 600,
    foundWith: 46,
  },
  {
    name: "never takes a silent module to be hung",
    file: "watchdog.js",
    find: "if (waitedMs - since > options.lagLimitMs + allowanceMs)",
    replace: "if (waitedMs - since > 1e9)",
    seeds: 60,
    foundWith: 28,
  },
  {
    name: "lets the guest's time stand still after the wall clock was set back",
    file: "guest-clock.js",
    find: "if (behindNs <= MOST_LEAD_NS)",
    replace: "if (behindNs <= 10n ** 30n)",
    seeds: 200,
    foundWith: 1,
  },
  {
    name: "isolates whom the third machine found right",
    file: "adjudication.js",
    find: "const wrong = names.filter((name) => !isRight(name));",
    replace: "const wrong = names.filter((name) => isRight(name));",
    seeds: 60,
    foundWith: 20,
  },
  {
    name: "runs again from a checkpoint without the ticks since",
    file: "adjudication.js",
    find: "for (let next = seq + 1; next <= pending.seq; next += 1)",
    replace: "for (let next = pending.seq; next <= pending.seq; next += 1)",
    seeds: 60,
    foundWith: 20,
  },
  {
    name: "never takes the place of an active I/O module that is silent",
    file: "standby.js",
    find: "return silentMs > limitMs ?",
    replace: "return false ?",
    seeds: 60,
    foundWith: 5,
  },
  {
    name: "goes on as the active I/O module though another one has overtaken it",
    file: "server.js",
    find: "if (!this.acts || seen <= this.membership.number)",
    replace: "if (seen !== -1)",
    seeds: 200,
    foundWith: 71,
  },
  {
    name: "leaves the place where checkpoints are written open when it is full",
    file: "member-checkpoints.js",
    find: `if (this.#kept !== null)
                this.#store.close(false);`,
    replace: "",
    seeds: 60,
    foundWith: 36,
  },
];
