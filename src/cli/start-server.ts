/** Starts management for a plan, and waits for what the operator wants to see: all modules in lockstep and the guest ready. */
import { connect } from "node:net";
import { SteadfastError } from "../foundation/errors.js";
import { auditCommand } from "../modules/management-audit.js";
import { makeServerDirectories } from "../modules/management-paths.js";
import { FIRST_MANAGEMENT, readJsonFile, writeJsonFile, type ServerPlan } from "../modules/management-plan.js";
import type { MadeRecord } from "../modules/management-state.js";
import type { ServerReport } from "../modules/management-status.js";
import { spawnManagement } from "../modules/spawn-management.js";
import { ServerClient } from "./client.js";
import { parseListen } from "./listen-choice.js";

const POLL_MS = 50;
/** A guest whose init does not announce itself counts as ready when its network has answered for this long. */
const REACHABLE_IS_READY_MS = 3000;

/** Returns once management runs; throws the one error that kept it from starting, with nothing left behind. */
export async function startServer(plan: ServerPlan): Promise<ServerClient> {
  const client = new ServerClient(plan.server);
  if ((await client.statusOrNull()) !== null) throw new SteadfastError("SERVER_RUNNING", { server: plan.server });
  makeServerDirectories(client.paths);
  writeJsonFile(client.paths.planFile, plan);
  const { image, certification, redundancy } = plan;
  const details = {
    image: image.digest,
    redundancy,
    ...(certification.uncertified !== null && { uncertified: certification.uncertified }),
  };
  await audited(client, "up", details, () => spawnManagement(client.paths, plan, { standby: false, incarnation: 1 }));
  return client;
}

/**
 * Starts management again for a server that serves on without it; the guest does not notice. False: there is no such server. Returns
 * once management leads.
 */
export async function resumeManagement(client: ServerClient): Promise<boolean> {
  if (!client.hasProcesses) return false;
  const plan = readJsonFile<ServerPlan>(client.paths.planFile);
  const made = readJsonFile<MadeRecord>(client.paths.madeFile);
  if (plan === null || made === null) return false;
  const incarnation = (made.state.modules[FIRST_MANAGEMENT.name]?.incarnation ?? 0) + 1;
  await audited(client, "up", { resumed: true }, () => spawnManagement(client.paths, plan, { standby: true, incarnation }));
  return true;
}

/** There is no management yet that could note who asks. */
async function audited(client: ServerClient, what: string, details: unknown, work: () => Promise<void>): Promise<void> {
  const note = (outcome: string): void => auditCommand(client.paths.auditFile, what, details, outcome);
  try {
    await work();
    note("done");
  } catch (error) {
    note(error instanceof SteadfastError ? error.code : "INTERNAL");
    throw error;
  }
}

/** Fronts start after the modules, at low priority. */
function isListening(listen: string): Promise<boolean> {
  const to = parseListen(listen);
  if (to === null) return Promise.resolve(false);
  return new Promise((resolve) => {
    // An address that stands for all of them leads to this host.
    const socket = connect({ host: to.address, port: to.port }, () => resolve(true));
    socket.setTimeout(POLL_MS * 10, () => resolve(false));
    socket.on("error", () => resolve(false));
    socket.once("connect", () => socket.destroy());
  });
}

export interface Standing {
  readonly report: ServerReport;
  /** All modules in lockstep, and the guest ready (or its network answers, if its init says nothing). */
  readonly complete: boolean;
}

/** Waits until the server stands as wanted or the limit passed. Throws if the server ended meanwhile. */
export async function waitUntilStanding(
  client: ServerClient,
  limitMs: number,
  onReport: (report: ServerReport) => void,
): Promise<Standing> {
  const giveUpAt = Date.now() + limitMs;
  let reachableSince: number | null = null;
  for (;;) {
    const report = await client.statusOrNull();
    if (report === null) throw new SteadfastError("SERVER_ENDED", { server: client.server });
    onReport(report);
    const now = Date.now();
    reachableSince = report.guest === "reachable" ? (reachableSince ?? now) : null;
    const answered = reachableSince !== null && now - reachableSince >= REACHABLE_IS_READY_MS;
    // The toy machine and a server without network have no guest that could say more.
    const ready = report.guest === "ready" || answered || report.network === "none" || report.engine === "toy";
    const standing = report.redundancy === report.wantedRedundancy && ready;
    const complete = standing && (report.front === null || (await isListening(report.front.listen)));
    if (complete || now >= giveUpAt) return { report, complete };
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
