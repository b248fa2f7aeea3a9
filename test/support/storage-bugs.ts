/** Bugs to plant into a copy of the compiled storage code, to see whether the simulated disks find them. */
export interface StorageBug {
  /** What a disk with this bug does. */
  readonly name: string;
  /** In dist/storage. */
  readonly file: string;
  readonly find: string;
  readonly replace: string;
}

/** Every bug is found within this many seeds. */
export const BUG_SEEDS = 90;

export const STORAGE_BUGS: readonly StorageBug[] = [
  {
    name: "acknowledges what a lost mirror lacks before the arbiter has dropped it",
    file: "guest-requests.js",
    find: "if (awaited.length > 0 || this.#isLacking(pending))",
    replace: "if (awaited.some((name) => !pending.lostBy.has(name)))",
  },
  {
    name: "forgets the fence",
    file: "mirror-store.js",
    find: "const { highest } = this.#header;",
    replace: "const highest = configuration;",
  },
  {
    name: "reads before it has compared what was cut off",
    file: "disk-controller.js",
    find: 'operation !== "flush" && this.#work.settleFirst(offset, lengthBytes)',
    replace: "operation === null && this.#work.settleFirst(offset, lengthBytes)",
  },
  {
    name: "writes without logging the region",
    file: "mirror-store.js",
    find: "this.#log.mark(regions, (logFailure)",
    replace: "this.#log.mark([], (logFailure)",
  },
  {
    name: "does not write to the mirror that is being brought in sync",
    file: "guest-requests.js",
    find: "const rows = target === null ? this.#set.ready : [...this.#set.ready, target];",
    replace: "const rows = this.#set.ready;",
  },
  {
    name: "does not look at checksums",
    file: "mirror-blocks.js",
    find: "if (!isGood && !this.#tookFormer(first + index, this.#scratch))",
    replace: "if (false)",
  },
  {
    name: "answers a flush without one",
    file: "mirror-blocks.js",
    find: "this.#data.sync(one);",
    replace: "one(null);",
  },
  {
    name: "copies a region while it is written to",
    file: "admission.js",
    find: "if (!left.isExclusive && !right.isExclusive)",
    replace: "if (true)",
  },
];
