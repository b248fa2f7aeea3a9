/** The support plan of a server on disk. The command line writes it; management shows it, and the watch goes by it. */
import { statSync } from "node:fs";
import { z } from "zod";
import { SteadfastError } from "../foundation/errors.js";
import { PLAN_LEVELS, standingOf, type PlanStanding, type SupportPlan } from "../support/plan.js";
import { readJsonFile, writeJsonFile } from "./management-plan.js";

export const CONTACT_LENGTH_MAX = 200;
/** One step for each level at most: a plan is only ever raised. */
const STEPS_MAX = PLAN_LEVELS.length;

const time = z.int().min(0);
const level = z.enum(PLAN_LEVELS);
const planSchema = z.strictObject({
  level,
  warrantyFromMs: time,
  warrantyUntilMs: time,
  contact: z.string().max(CONTACT_LENGTH_MAX),
  history: z
    .array(z.strictObject({ atMs: time, level }))
    .min(1)
    .max(STEPS_MAX),
});

/** Null: it has none. @throws SteadfastError PLAN_FILE: the file is not what we write */
export function readSupportPlan(path: string): SupportPlan | null {
  if (modifiedAt(path) === null) return null;
  const parsed = planSchema.safeParse(readJsonFile(path));
  if (!parsed.success) throw new SteadfastError("PLAN_FILE", { path });
  return parsed.data;
}

export function writeSupportPlan(path: string, plan: SupportPlan): void {
  writeJsonFile(path, plan);
}

function modifiedAt(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? null;
}

/** Read again only when the file has changed, since reports are made many times a second. */
export class SupportPlanReader {
  readonly #path: string;
  #modifiedAt: number | null = null;
  #plan: SupportPlan | null = null;

  constructor(path: string) {
    this.#path = path;
  }

  /** Null: no plan, or a file that `support plan` calls damaged: a report must not fail by it. */
  standing(nowMs: number): PlanStanding | null {
    const modified = modifiedAt(this.#path);
    if (modified !== this.#modifiedAt) {
      this.#modifiedAt = modified;
      try {
        this.#plan = readSupportPlan(this.#path);
      } catch (error) {
        if (!(error instanceof SteadfastError)) throw error;
        this.#plan = null;
      }
    }
    return this.#plan === null ? null : standingOf(this.#plan, nowMs);
  }
}
