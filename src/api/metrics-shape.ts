/** What a metric is, and the usual shapes of its samples. */
import type { ServerReport } from "../modules/management-status.js";

export const MS_PER_SECOND = 1000;

export interface Sample {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Metric {
  readonly name: string;
  readonly help: string;
  readonly type: "gauge" | "counter";
  /** Beside `server`, which all have. */
  readonly labels: readonly string[];
  /** None: there is nothing to say at this moment. */
  read(report: ServerReport, version: string): Sample[];
}

export function one(value: number): Sample[] {
  return [{ labels: {}, value }];
}

export function flag(value: boolean): number {
  return value ? 1 : 0;
}

/** A sample for each state: 1 for the one that holds. */
export function states(label: string, all: readonly string[], present: string): Sample[] {
  return all.map((state) => ({ labels: { [label]: state }, value: flag(state === present) }));
}
