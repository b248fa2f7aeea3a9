/** A running server as the workloads and the qualification see it. */
import type { DrillSource } from "../bench/server-view.js";
import type { ServerClient } from "./client.js";

export const sourceOf = (client: ServerClient): DrillSource => ({
  name: client.server,
  read: () => client.status(),
  pull: (module) => client.pull(module, false),
  insert: (module) => client.insert(module),
  fault: (kind, module, details) => client.fault(kind, module, details),
  events: (since) => client.events(since),
  verify: () => client.verify(),
  console: () => client.console(),
});
