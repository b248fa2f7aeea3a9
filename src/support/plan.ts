/**
 * What level of support and warranty a server has: chosen when it is bought, raised while the warranty runs and not after. Whoever calls
 * home asks here what may be told to the vendor, and what reaction was promised.
 */
import { DAY_MS, HOUR_MS } from "../foundation/durations.js";
import type { AlertSeverity } from "./alerts.js";

export const PLAN_LEVELS = ["standard", "enhanced", "premium"] as const;
export type PlanLevel = (typeof PLAN_LEVELS)[number];

/** Its end is worth a word this long before. */
export const WARRANTY_NOTICE_MS = 30 * DAY_MS;

export interface LevelTerms {
  /** Within this long somebody at the vendor's looks at it. */
  readonly reactionMs: number;
  readonly severities: readonly AlertSeverity[];
  /** A critical state that stays is told again, each time that the reaction is due. */
  readonly reminds: boolean;
}

export const LEVEL_TERMS: Readonly<Record<PlanLevel, LevelTerms>> = {
  standard: { reactionMs: DAY_MS, severities: ["critical"], reminds: false },
  enhanced: { reactionMs: 4 * HOUR_MS, severities: ["critical", "warning"], reminds: false },
  premium: { reactionMs: HOUR_MS, severities: ["critical", "warning"], reminds: true },
};

export interface PlanStep {
  /** ms since 1970. */
  readonly atMs: number;
  readonly level: PlanLevel;
}

export interface SupportPlan {
  readonly level: PlanLevel;
  readonly warrantyFromMs: number;
  readonly warrantyUntilMs: number;
  /** Whom the vendor named for this server: a telephone number, an address. */
  readonly contact: string;
  /** The purchase, then each upgrade. */
  readonly history: readonly PlanStep[];
}

export type WarrantyState = "upcoming" | "running" | "ended";

/** A plan as it stands at a moment: what status, console and notices show. */
export interface PlanStanding {
  readonly level: PlanLevel;
  readonly warranty: WarrantyState;
  readonly warrantyFromMs: number;
  readonly warrantyUntilMs: number;
  readonly contact: string;
  readonly reactionMs: number;
}

export function warrantyState({ warrantyFromMs, warrantyUntilMs }: SupportPlan, nowMs: number): WarrantyState {
  if (nowMs < warrantyFromMs) return "upcoming";
  return nowMs < warrantyUntilMs ? "running" : "ended";
}

export function standingOf(plan: SupportPlan, nowMs: number): PlanStanding {
  const { level, warrantyFromMs, warrantyUntilMs, contact } = plan;
  const { reactionMs } = LEVEL_TERMS[level];
  return { level, warranty: warrantyState(plan, nowMs), warrantyFromMs, warrantyUntilMs, contact, reactionMs };
}

export function purchasedPlan(terms: Omit<SupportPlan, "history">, nowMs: number): SupportPlan {
  return { ...terms, history: [{ atMs: nowMs, level: terms.level }] };
}

/** Why a plan may not be raised to a level now; null: it may. */
export function upgradeRefusal(plan: SupportPlan, level: PlanLevel, nowMs: number): "ended" | "upcoming" | "lower" | null {
  const warranty = warrantyState(plan, nowMs);
  if (warranty !== "running") return warranty;
  return PLAN_LEVELS.indexOf(level) > PLAN_LEVELS.indexOf(plan.level) ? null : "lower";
}

export function upgradedPlan(plan: SupportPlan, level: PlanLevel, nowMs: number): SupportPlan {
  return { ...plan, level, history: [...plan.history, { atMs: nowMs, level }] };
}

/** What the vendor is called for: nothing without a plan, and nothing after its warranty. */
export function callsHomeFor(standing: PlanStanding | null, severity: AlertSeverity): boolean {
  return standing?.warranty === "running" && LEVEL_TERMS[standing.level].severities.includes(severity);
}

/** How long until a critical state that stays is told again; null: never. */
export function reminderAfterMs(standing: PlanStanding | null): number | null {
  return standing?.warranty === "running" && LEVEL_TERMS[standing.level].reminds ? standing.reactionMs : null;
}
