/** The event log as it is shown: filtered, newest first, with what an event's data says in words. */
import type { Severity } from "../wire/control.js";
import { explanationOf, type Explanation } from "./explanations.js";
import type { EventView } from "./report.js";

export interface EventFilter {
  /** This severe or worse. */
  readonly severity: Severity;
  /** Empty: all modules. */
  readonly module: string;
  /** In code, title or text, in small or capital letters; empty: everything. */
  readonly words: string;
}

export const EVERYTHING: EventFilter = { severity: "info", module: "", words: "" };

const RANKS: Readonly<Record<Severity, number>> = { info: 0, warning: 1, error: 2 };

export function filterEvents(events: readonly EventView[], filter: EventFilter): EventView[] {
  const words = filter.words.trim().toLowerCase();
  const isShown = (event: EventView): boolean => {
    if (RANKS[event.severity] < RANKS[filter.severity]) return false;
    if (filter.module !== "" && event.module !== filter.module) return false;
    return words === "" || `${event.code} ${explanationOf(event.code).title} ${event.text}`.toLowerCase().includes(words);
  };
  return events.filter(isShown).reverse();
}

export interface EventDetails extends Explanation {
  /** Facts out of its data. */
  readonly facts: readonly (readonly [label: string, value: string])[];
}

const PROOFS: Readonly<Record<string, string>> = {
  "re-execution": "a third machine ran the same steps again from a verified checkpoint",
  majority: "all others agreed on something else",
  "self-check": "its own memory check found damage",
  record: "no proof: the module with the worse record of faults was isolated",
};

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function names(value: unknown): string {
  return Array.isArray(value) && value.length > 0 ? value.map(String).join(", ") : "none";
}

function proofFacts(by: unknown): [string, string][] {
  return typeof by === "string" ? [["Proof", PROOFS[by] ?? by]] : [];
}

function reportFacts(data: Readonly<Record<string, unknown>>): [string, string][] {
  const verdict = isRecord(data["verdict"]) ? data["verdict"] : {};
  const path = data["path"];
  return [
    ["Blamed", names(verdict["wrong"])],
    ["Believed", names(verdict["right"])],
    ...proofFacts(verdict["by"]),
    ["Differs in", `${String(data["what"] ?? "results")}: ${names(data["differs"])}`],
    ["Tick", String(data["seq"] ?? "unknown")],
    ["Report", typeof path === "string" ? path : "in this event only: there was no checkpoint to run it from"],
  ];
}

function miscompareFacts({ module, data = {} }: EventView): [string, string][] {
  const right = Array.isArray(data["right"]) ? names(data["right"]) : typeof data["trusted"] === "string" ? data["trusted"] : "";
  const why = data["why"];
  return [
    ["Blamed", module ?? "unknown"],
    ...(right === "" ? [] : ([["Believed", right]] as [string, string][])),
    ...proofFacts(data["by"] ?? "record"),
    ...(typeof why === "string" ? ([["No proof because", why]] as [string, string][]) : []),
    ...(data["heldMs"] === undefined ? [] : ([["The guest waited", `${String(data["heldMs"])} ms`]] as [string, string][])),
    ["Tick", String(data["seq"] ?? "unknown")],
  ];
}

/** Whatever else it carries, as it is. */
function plainFacts(data: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(data).map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
}

export function eventDetails(event: EventView): EventDetails {
  const data = event.data ?? {};
  const explanation = explanationOf(event.code);
  switch (event.code) {
    case "MISCOMPARE":
    case "MISCOMPARE_UNADJUDICATED":
      return { ...explanation, facts: miscompareFacts(event) };
    case "MISCOMPARE_REPORT":
    case "MISCOMPARE_REPORT_FAILED":
      return { ...explanation, facts: reportFacts(data) };
    default:
      return { ...explanation, facts: plainFacts(data) };
  }
}

/** What is said aloud of a new event; empty: it is not worth an interruption. */
export function announcement(event: EventView): string {
  return event.severity === "info" ? "" : `${event.severity}: ${explanationOf(event.code).title}. ${event.text}`;
}
