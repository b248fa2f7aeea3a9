/** A redundancy on the command line, for all commands that take one. */
import { InvalidArgumentError } from "commander";
import { parseRedundancy, type PlannedRedundancy } from "../modules/redundancy.js";

export function redundancyFlag(text: string): PlannedRedundancy {
  const redundancy = parseRedundancy(text);
  if (redundancy === null) throw new InvalidArgumentError("It must be simplex, duplex, triplex or pair-and-spare, or 1, 2 or 3.");
  return redundancy;
}
