/**
 * When a lost module is restarted, and when it stays BROKEN (pure). Two counts, because they mean different things:
 *
 * - Faults of its own (it computed wrongly, it crashed) count within the threshold's window, whatever happened in between: a module
 *   that now and then computes wrongly must not be trusted for ever.
 * - Losses from outside (killed, hung, stopped) count only in a row, and start again at zero when the module was back in lockstep. A
 *   module that always comes back keeps its place; one that never gets there any more does not restart for ever.
 *
 * Drills and pulls by the operator never count.
 */
import { HOUR_MS } from "../foundation/durations.js";
import type { FaultThreshold } from "./management-plan.js";

/** How a module was lost. */
export type LossCause =
  /** `fault`, `pull`: by the operator. */
  | "drill"
  /** Isolated by the vote, because it computed wrongly. */
  | "miscompared"
  /** It ended by itself: a defect or a fatal error. */
  | "crashed"
  /** Ended by somebody's SIGKILL or SIGTERM. */
  | "killed"
  /** It no longer answered and was ended by us. */
  | "hung"
  /** Replaced because of what happened to others: its donor or its sequencer went away. Nothing of its own doing. */
  | "abandoned";

export interface FaultRecord {
  readonly ownFaultsAtMs: readonly number[];
  readonly lossesInARow: number;
  /** All losses but drills, for the operator. */
  readonly total: number;
}

export const NO_FAULTS: FaultRecord = { ownFaultsAtMs: [], lossesInARow: 0, total: 0 };

/** The first restart is immediate; each further loss before lockstep doubles the wait. */
const BACK_OFF_FIRST_MS = 100;
const BACK_OFF_MAX_MS = 5000;

export interface LossVerdict {
  readonly record: FaultRecord;
  readonly broken: boolean;
  readonly restartDelayMs: number;
}

export function judgeLoss(record: FaultRecord, cause: LossCause, atMs: number, threshold: FaultThreshold): LossVerdict {
  if (cause === "drill") return { record, broken: false, restartDelayMs: 0 };
  const own = cause === "miscompared" || cause === "crashed";
  const since = atMs - threshold.windowHours * HOUR_MS;
  const ownFaultsAtMs = [...record.ownFaultsAtMs, ...(own ? [atMs] : [])].filter((each) => each > since);
  const lossesInARow = record.lossesInARow + 1;
  const broken = ownFaultsAtMs.length >= threshold.count || lossesInARow >= threshold.count;
  const restartDelayMs = lossesInARow === 1 ? 0 : Math.min(BACK_OFF_MAX_MS, BACK_OFF_FIRST_MS * 2 ** (lossesInARow - 2));
  return { record: { ownFaultsAtMs, lossesInARow, total: record.total + (cause === "abandoned" ? 0 : 1) }, broken, restartDelayMs };
}

/** The module is in lockstep (again). */
export function noteLockstep(record: FaultRecord): FaultRecord {
  return record.lossesInARow === 0 ? record : { ...record, lossesInARow: 0 };
}
