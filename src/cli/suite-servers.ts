/** Starts and removes the servers of a qualification: on a bridge of their own, with names and directories of their own. */
import { lstatSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SteadfastError } from "../foundation/errors.js";
import type { ServerPlan } from "../modules/management-plan.js";
import { RUN_FOLDER_PREFIX } from "../qualification/suite.js";
import type { Side, Subject, SuiteServer, SuiteServers, SuiteSource } from "../qualification/suite-servers.js";
import { ServerClient } from "./client.js";
import { stopServer } from "./down.js";
import { sourceOf } from "./drill-source.js";
import { chooseNetwork, tapObstacle } from "./network-choice.js";
import { standingSentence } from "./report-view.js";
import { makePlan } from "./settings.js";
import type { ServerFile } from "./server-file.js";
import { startServer, waitUntilStanding } from "./start-server.js";

const NAMES: Readonly<Record<Side, string>> = { changed: "certify-changed", base: "certify-base" };
const HOST_ADDRESS = "10.77.127.1/24";
const GUEST_ADDRESSES: Readonly<Record<Side, string>> = { changed: "10.77.127.2", base: "10.77.127.3" };
const BRIDGE = "sfcertify";
const DISK_MIB = 32;
const STANDING_LIMIT_MS = 180_000;
const GONE_LIMIT_MS = 10_000;
const POLL_MS = 20;
/** Why the gate lets it start: an image is certified by what comes out of this. */
const REASON = "under qualification";
/** The campaign is to go on however often it strikes the same module. */
const FAULTS_ALLOWED = 1000;

function planFor(side: Side, { image, services }: Subject): ServerPlan {
  const network = { kind: "tap", bridge: BRIDGE, hostAddress: HOST_ADDRESS, guestAddress: GUEST_ADDRESSES[side] } as const;
  const file: ServerFile = {
    ...{ name: NAMES[side], network, disk: { sizeMiB: DISK_MIB } },
    // A guest that hangs is a finding: it must not be restarted before anybody sees it.
    guestWatch: "report",
    faultThreshold: { count: FAULTS_ALLOWED, windowHours: 1 },
  };
  const settings = { file, name: NAMES[side], network: chooseNetwork(file, {}), listen: {} };
  const plan = makePlan(settings, { checkpoints: true, wait: 0, uncertified: REASON }, image);
  return { ...plan, image: { ...plan.image, services } };
}

function suiteSource(client: ServerClient): SuiteSource {
  return {
    ...sourceOf(client),
    scrub: () => client.disk("scrub"),
    // One that a failed work leaves is ended with the server.
    record: async (work) => {
      await client.startRecording();
      await work();
      return client.stopRecording();
    },
  };
}

/** Only of these names: what they stored goes with them. */
async function remove(side: Side): Promise<void> {
  const client = new ServerClient(NAMES[side]);
  try {
    await stopServer(client, 0);
  } catch (error) {
    if (!(error instanceof SteadfastError) || error.code !== "SERVER_NOT_RUNNING") throw error;
  }
  rmSync(client.paths.stateDirectory, { recursive: true, force: true });
}

async function stand(client: ServerClient, plan: ServerPlan): Promise<void> {
  await startServer(plan);
  const { report, complete } = await waitUntilStanding(client, STANDING_LIMIT_MS, () => undefined);
  if (complete) return;
  throw new SteadfastError("NOT_THERE_YET", {
    server: client.server,
    seconds: STANDING_LIMIT_MS / 1000,
    standing: standingSentence(report),
  });
}

/** All processes stopped first, so that none of them sees another one go; then killed; then everything is started on what is on the disk. */
async function losePowerAndStart(client: ServerClient, plan: ServerPlan): Promise<void> {
  const { modules } = await client.status();
  const pids = modules.map((module) => module.pid).filter((pid) => pid > 0);
  for (const pid of pids) process.kill(pid, "SIGSTOP");
  for (const pid of pids) process.kill(pid, "SIGKILL");
  const giveUpAt = Date.now() + GONE_LIMIT_MS;
  while (client.hasProcesses && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  await stopServer(client, 0);
  await stand(client, plan);
}

export class CertifyServers implements SuiteServers {
  #isClosed = false;

  /** Errors: USAGE where TAP devices are not permitted. */
  constructor() {
    const obstacle = tapObstacle();
    if (obstacle !== null)
      throw new SteadfastError("USAGE", {
        what: `A qualification needs servers with TAP devices, which are not permitted here: ${obstacle}.`,
      });
  }

  async start(side: Side, subject: Subject): Promise<SuiteServer> {
    this.#mustBeOpen();
    await remove(side);
    const plan = planFor(side, subject);
    const client = new ServerClient(plan.server);
    const from = performance.now();
    this.#mustBeOpen();
    await stand(client, plan);
    const upMs = performance.now() - from;
    const { address: host } = await client.status();
    const again = async (): Promise<void> => {
      this.#mustBeOpen();
      await losePowerAndStart(client, plan);
    };
    return { name: plan.server, host, source: suiteSource(client), upMs, losePowerAndStart: again };
  }

  stop(side: Side): Promise<void> {
    return remove(side);
  }

  /** Removes whatever there is of both, also of a run that was killed; nothing is started any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.removeLeftovers();
  }

  /** Those of a run that was killed, and its folders. Not while one runs, whoever's. */
  async removeLeftovers(): Promise<void> {
    for (const side of ["changed", "base"] as const) await remove(side);
    for (const name of readdirSync(tmpdir())) {
      if (!name.startsWith(RUN_FOLDER_PREFIX)) continue;
      const path = join(tmpdir(), name);
      // Whoever may start the servers of a qualification is root here; another user's folders are not of one.
      if (lstatSync(path, { throwIfNoEntry: false })?.uid === process.getuid?.()) rmSync(path, { recursive: true, force: true });
    }
  }

  #mustBeOpen(): void {
    if (this.#isClosed) throw new SteadfastError("USAGE", { what: "The qualification was interrupted." });
  }
}
