/**
 * What the suite checks, in the order in which it runs, and how much of it a level asks for. What is held against the base comes first: its
 * server, which takes processors from the rest, ends then.
 */
export const LEVELS = ["quick", "full"] as const;
export type Level = (typeof LEVELS)[number];

export interface Check {
  readonly id: string;
  readonly name: string;
  /** What a pass of it proves: a sentence of the certificate. */
  readonly proves: string;
  readonly levels: readonly Level[];
}

/** Checks that the change brings itself are rows of their own, called this and their name. */
export const OWN_CHECK_PREFIX = "own:";

export const CHECKS = [
  {
    id: "hardening",
    name: "Hardening policy",
    proves: "Kernel, drivers, command line, services, programs and ports of the guest are within the policy.",
    levels: LEVELS,
  },
  {
    id: "boot-determinism",
    name: "Determinism of the boot",
    proves: "Several machines, in processes of every Node version present, compute the same at every tick from power-on to ready.",
    levels: LEVELS,
  },
  {
    id: "boot-regression",
    name: "Boot against the base",
    proves: "From power-on to ready the guest runs hardly more instructions than the base does.",
    levels: LEVELS,
  },
  {
    id: "start",
    name: "Start in lockstep",
    proves: "A server with this image becomes DUPLEX, its services answer and its machines are equal.",
    levels: LEVELS,
  },
  {
    id: "memory-regression",
    name: "Memory against the base",
    proves: "The started guest uses hardly more memory than the base does.",
    levels: LEVELS,
  },
  {
    id: "load-regression",
    name: "Load against the base",
    proves: "Rates, latencies and instructions for each request keep within the margins of the base, measured by turns.",
    levels: LEVELS,
  },
  {
    id: "reintegration",
    name: "Reintegration under load",
    proves: "Modules come back under load again and again, to equal machines, and hold the guest hardly longer than with the base.",
    levels: LEVELS,
  },
  {
    id: "workload-determinism",
    name: "Determinism under load",
    proves: "A recorded web and payment workload gives the same results on every machine, and a flipped byte is found.",
    levels: LEVELS,
  },
  {
    id: "faults",
    name: "Fault campaign",
    proves: "Kills, hangs, flipped bits, pulls and losses of enclosures under payments and web load cost nothing that was acknowledged.",
    levels: LEVELS,
  },
  {
    id: "computing-errors",
    name: "Computing errors",
    proves: "A machine that computes wrongly under payments is found by comparison, and no other one is taken for it.",
    levels: LEVELS,
  },
  {
    id: "disk-faults",
    name: "Faults of disks",
    proves: "Faults of a disk below its mirror are found and mended, and the guest sees none of them.",
    levels: LEVELS,
  },
  {
    id: "services",
    name: "Services after faults",
    proves: "After all faults every service of the image answers and has not ended by itself.",
    levels: LEVELS,
  },
  {
    id: "power-loss",
    name: "Loss of power",
    proves: "After all processes were killed at once, what was acknowledged and stored on the disk is there.",
    levels: LEVELS,
  },
] as const satisfies readonly Check[];

export type CheckId = (typeof CHECKS)[number]["id"];

/** How much a level asks for. */
export interface Amounts {
  /** Machines that boot side by side for every Node version. */
  readonly machinesPerNode: number;
  readonly recordSeconds: number;
  readonly flips: number;
  readonly faults: number;
  /** Modules made to compute wrongly. */
  readonly computingErrors: number;
  /** Of each side, the image's and the base's. */
  readonly reintegrations: number;
  readonly rounds: number;
  /** A comparison that is not clear yet is measured on, up to so many. */
  readonly mostRounds: number;
  readonly roundSeconds: number;
  readonly powerLosses: number;
}

export const AMOUNTS: Readonly<Record<Level, Amounts>> = {
  quick: {
    ...{ machinesPerNode: 1, recordSeconds: 5, flips: 4, faults: 5, computingErrors: 2, reintegrations: 2 },
    ...{ rounds: 2, mostRounds: 6, roundSeconds: 1.5, powerLosses: 1 },
  },
  full: {
    ...{ machinesPerNode: 2, recordSeconds: 30, flips: 32, faults: 40, computingErrors: 12, reintegrations: 10 },
    ...{ rounds: 9, mostRounds: 21, roundSeconds: 4, powerLosses: 3 },
  },
};

/** At least two machines are compared, whatever there is of Node. */
export const LEAST_MACHINES = 2;
/** A course shorter than this proves nothing: "thousands of ticks". */
export const LEAST_TICKS = 2000;
