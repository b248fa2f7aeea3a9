/** What the console knows, and how each thing that it hears changes it. */
import type { Connection } from "./connection.js";
import type { EventView, ReportView, Role } from "./report.js";

/** As many as the server itself keeps for those who ask. */
export const EVENTS_MAX = 2000;

export interface ConsoleState {
  readonly connection: Connection;
  readonly report: ReportView | null;
  /** Oldest first, each id once. */
  readonly events: readonly EventView[];
}

export const INITIAL_STATE: ConsoleState = { connection: { kind: "connecting" }, report: null, events: [] };

export type Heard =
  | { readonly kind: "report"; readonly report: ReportView }
  | { readonly kind: "event"; readonly event: EventView }
  | { readonly kind: "connection"; readonly connection: Connection };

export function hear(state: ConsoleState, heard: Heard): ConsoleState {
  switch (heard.kind) {
    case "report":
      return { ...state, report: heard.report };
    case "connection":
      return { ...state, connection: heard.connection };
    case "event":
      return heard.event.id > lastEventId(state) ? { ...state, events: [...state.events, heard.event].slice(-EVENTS_MAX) } : state;
  }
}

/** Whoever reconnects asks for what is above this. */
export function lastEventId(state: ConsoleState): number {
  return state.events.at(-1)?.id ?? 0;
}

export function mayOperate(role: Role): boolean {
  return role === "operate";
}
