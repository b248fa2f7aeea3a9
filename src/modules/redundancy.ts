/** How much redundancy a server may have, what operators call it, and which modules that takes. */
import type { Redundancy } from "../wire/control.js";

export const REDUNDANCIES = ["simplex", "duplex", "triplex", "pair-and-spare"] as const;
export type PlannedRedundancy = (typeof REDUNDANCIES)[number];

/** Those that a running server can change between; pairs are wired from the beginning. */
export const CHANGEABLE: readonly PlannedRedundancy[] = ["simplex", "duplex", "triplex"];

const MODULES: Readonly<Record<PlannedRedundancy, number>> = { simplex: 1, duplex: 2, triplex: 3, "pair-and-spare": 4 };
const MODULES_PER_PAIR = 2;

export function cpuModuleCount(redundancy: PlannedRedundancy): number {
  return MODULES[redundancy];
}

/** All CPU modules that such a server may ever come to have, with their enclosures; the first ones are in use. */
export function cpuSlots(redundancy: PlannedRedundancy): { readonly name: string; readonly enclosure: string }[] {
  const isPaired = redundancy === "pair-and-spare";
  const count = isPaired ? MODULES["pair-and-spare"] : MODULES.triplex;
  return Array.from({ length: count }, (_, index) => {
    return { name: `cpu${index}`, enclosure: `enclosure${isPaired ? Math.floor(index / MODULES_PER_PAIR) : index}` };
  });
}

/** Each has one I/O module and one management module. */
export function enclosureCount(redundancy: PlannedRedundancy): number {
  return redundancy === "pair-and-spare" ? MODULES["pair-and-spare"] / MODULES_PER_PAIR : MODULES[redundancy];
}

export function ioModuleCount(redundancy: PlannedRedundancy): number {
  return enclosureCount(redundancy);
}

/** All I/O modules that such a server may ever come to have: one in each enclosure. The first ones are in use. */
export function ioSlots(redundancy: PlannedRedundancy): { readonly name: string; readonly enclosure: string }[] {
  return oneInEach(redundancy, "io");
}

/** All management modules, likewise. */
export function managementSlots(redundancy: PlannedRedundancy): { readonly name: string; readonly enclosure: string }[] {
  return oneInEach(redundancy, "mgmt");
}

function oneInEach(redundancy: PlannedRedundancy, prefix: string): { readonly name: string; readonly enclosure: string }[] {
  const count = Math.max(enclosureCount(redundancy), CHANGEABLE.includes(redundancy) ? MODULES.triplex : 0);
  return Array.from({ length: count }, (_, index) => ({ name: `${prefix}${index}`, enclosure: `enclosure${index}` }));
}

export function cpuPairs(redundancy: PlannedRedundancy): (readonly [string, string])[] {
  if (redundancy !== "pair-and-spare") return [];
  return [
    ["cpu0", "cpu1"],
    ["cpu2", "cpu3"],
  ];
}

/** What `status` says when all is well. */
export function fullRedundancy(redundancy: PlannedRedundancy): Redundancy {
  return redundancy === "pair-and-spare" ? "PAIR_AND_SPARE" : (redundancy.toUpperCase() as Redundancy);
}

/** "duplex", "2": what an operator writes. Null: neither. */
export function parseRedundancy(text: string): PlannedRedundancy | null {
  const byNumber = CHANGEABLE.find((each) => String(MODULES[each]) === text);
  return byNumber ?? REDUNDANCIES.find((each) => each === text) ?? null;
}
