/** Which management module leads, for tests that are to end it. */
import assert from "node:assert/strict";
import type { LoggedEvent } from "../../dist/modules/management-events.js";
import type { ModuleReport, ServerReport } from "../../dist/modules/management-status.js";

/** `events`: all of the server. The last that said so; before any did, the first. */
export function leadingManagement({ modules }: ServerReport, events: readonly LoggedEvent[]): ModuleReport {
  const last = events.filter((event) => event.code === "MANAGEMENT_TAKEOVER").at(-1)?.module;
  const leader = modules.find(({ kind, name }) => kind === "management" && (last === undefined || name === last));
  assert.ok(leader !== undefined, "a management module leads");
  return leader;
}
