/**
 * `steadfast support watch`: follows a server, whichever management module leads, and tells what is worth it. A process of its own: no
 * receiver that hangs and no defect in here can hurt the server.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { DAY_MS } from "../foundation/durations.js";
import { SteadfastError } from "../foundation/errors.js";
import { LAST_EVENT, readEventFile, type LoggedEvent } from "../modules/management-events.js";
import { mirrorDirectory, readJsonFile, type ServerPlan } from "../modules/management-plan.js";
import type { ServerReport } from "../modules/management-status.js";
import { SupportPlanReader } from "../modules/support-plan-file.js";
import { Alerts, type AlertEvent, type Observation } from "../support/alerts.js";
import { ServerClient } from "./client.js";
import { makeChannels, type Channel } from "./support-channels.js";
import type { WatchConfig } from "./support-config.js";

const POLL_MS = 500;
/** Of a server that does not answer: its log is read every time. */
const ABSENT_POLL_MS = 2000;

/** Runs until `signal`. */
export async function watchServer(config: WatchConfig, signal: AbortSignal): Promise<void> {
  const client = new ServerClient(config.server);
  const dispatch = alertDispatcher(config);
  const follower = new EventFollower(client, dispatch);
  // Of the file, since a server that is down has no report.
  const supportPlan = new SupportPlanReader(client.paths.supportPlanFile);
  while (!signal.aborted) {
    const seen = await look(client, follower, supportPlan);
    dispatch(seen);
    await pause(seen.kind === "absent" ? ABSENT_POLL_MS : POLL_MS, signal);
  }
}

function say(text: string): void {
  process.stderr.write(`${new Date().toISOString()} ${text}\n`);
}

function whyOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}

function pause(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, durationMs);
    signal.addEventListener("abort", done);
  });
}

/** Carries out what the alerts' protocol wants: deliveries run on their own and come back as events. */
function alertDispatcher(config: WatchConfig): (event: AlertEvent) => void {
  const channels = new Map(makeChannels(config).map((channel) => [channel.name, channel]));
  const { simplexForSeconds, unreachableForSeconds, diskFullPercent, quietMinutes, certificateDays } = config.rules;
  const alerts = new Alerts({
    server: config.server,
    run: randomUUID(),
    channels: [...channels.keys()],
    callHome: [...config.webhooks, ...config.mail].filter((each) => each.callHome).map((each) => each.name),
    simplexForMs: simplexForSeconds * 1000,
    unreachableForMs: unreachableForSeconds * 1000,
    fullShare: diskFullPercent / 100,
    quietMs: quietMinutes * 60_000,
    certificateMs: certificateDays * DAY_MS,
  });
  const dispatch = (event: AlertEvent): void => {
    for (const effect of alerts.step(event)) {
      const { channel: name, notice } = effect;
      if (effect.kind === "dropped") {
        say(`${name} never got "${notice.text}": ${effect.why === "queue" ? "too many wait" : "it failed too often"}.`);
        continue;
      }
      const channel = channels.get(name) as Channel;
      channel.send(notice).then(
        () => dispatch({ kind: "delivered", atMs: Date.now(), channel: name, id: notice.id }),
        (error: unknown) => {
          say(`${name} did not take "${notice.text}" (attempt ${effect.attempt}): ${whyOf(error)}.`);
          dispatch({ kind: "failed", atMs: Date.now(), channel: name, id: notice.id, jitter: Math.random() });
        },
      );
    }
  };
  return dispatch;
}

/** Events as they come, across the loss of a leader and restarts of the server. */
class EventFollower {
  readonly #client: ServerClient;
  readonly #dispatch: (event: AlertEvent) => void;
  #isFollowing = false;
  /** What was logged before the watch began is over, or is in the status report. */
  #last: number | null = null;

  constructor(client: ServerClient, dispatch: (event: AlertEvent) => void) {
    this.#client = client;
    this.#dispatch = dispatch;
  }

  /** A report came: there is somebody to follow. */
  follow(report: ServerReport): void {
    if (this.#isFollowing) return;
    // Fewer events than were heard: its log was removed, and begins anew.
    if (this.#last === null) this.#last = report.lastEventId;
    else if (report.lastEventId < this.#last) this.#last = 0;
    this.#isFollowing = true;
    this.#client
      .follow(this.#last, (event) => this.#heard(event))
      .catch((error: unknown) => say(`events: ${whyOf(error)}`))
      .finally(() => (this.#isFollowing = false));
  }

  #heard({ id, atMs, code, text, module = "" }: LoggedEvent): void {
    this.#last = id;
    this.#dispatch({ kind: "logged", atMs: Math.min(atMs, Date.now()), code, text, module });
  }
}

type Seen = Extract<AlertEvent, { kind: "observed" | "absent" }>;

async function look(client: ServerClient, follower: EventFollower, supportPlan: SupportPlanReader): Promise<Seen> {
  const plan = supportPlan.standing(Date.now());
  let report: ServerReport;
  try {
    report = await client.status();
  } catch (error) {
    const code = error instanceof SteadfastError ? error.code : "";
    if (code === "SERVER_FORBIDDEN") throw error;
    // Also one that answers with nonsense: whoever watches must outlast that.
    if (code !== "SERVER_NOT_RUNNING" && code !== "SERVER_UNMANAGED") say(`status: ${whyOf(error)}`);
    return { kind: "absent", atMs: Date.now(), plan, why: code === "SERVER_NOT_RUNNING" ? whyGone(client) : "unmanaged" };
  }
  follower.follow(report);
  return { kind: "observed", atMs: Date.now(), plan, observation: await observationOf(client, report) };
}

/** One whose last event is its end was stopped, and one that never ran is not missed. */
function whyGone(client: ServerClient): "down" | "stopped" {
  const last = readEventFile(client.paths.eventsFile).at(-1);
  return last === undefined || last.code === LAST_EVENT ? "stopped" : "down";
}

async function observationOf(client: ServerClient, report: ServerReport): Promise<Observation> {
  const { redundancy, wantedRedundancy, counters, modules, disk, guest, guestServices, certification } = report;
  const mirrors = Object.entries(disk?.mirrors ?? {});
  return {
    redundancy,
    wantedRedundancy,
    isStarting: counters.outages === 0 && redundancy === "OUTAGE",
    brokenModules: modules.filter((module) => module.state === "BROKEN").map((module) => module.name),
    failedMirrors: mirrors.filter(([, mirror]) => mirror.state === "failed").map(([name]) => name),
    diskErrors: disk === null ? 0 : disk.counters.errors + disk.counters.unrepairable,
    scrubErrors: disk === null ? 0 : disk.counters.badBlocks + disk.counters.repairedBlocks + disk.counters.differingBlocks,
    isGuestHung: guest === "hung",
    certification: certification && {
      state: certification.state,
      reason: certification.reason ?? "",
      expiresAtMs: certification.expiresAt === undefined ? null : Date.parse(certification.expiresAt),
    },
    guestServicesDown: Object.keys(guestServices).filter((name) => guestServices[name] === "down"),
    fullness: await fullnessOf(client, report),
  };
}

async function fullnessOf(client: ServerClient, { modules }: ServerReport): Promise<Observation["fullness"]> {
  const { paths } = client;
  const disk = existsSync(paths.planFile) ? readJsonFile<ServerPlan>(paths.planFile)?.disk : undefined;
  const enclosures = disk === undefined ? [] : modules.filter((module) => module.kind === "io").map((module) => module.enclosure);
  const directories = [...new Set(enclosures.map((enclosure) => (disk === undefined ? "" : mirrorDirectory(paths, disk, enclosure))))];
  const found = await Promise.all(
    directories.map(async (directory) => {
      try {
        const { blocks, bavail } = await statfs(directory);
        return blocks === 0 ? [] : [{ directory, usedShare: 1 - bavail / blocks }];
      } catch {
        // A mirror that is not there is the server's to tell: its state is in the report.
        return [];
      }
    }),
  );
  return found.flat();
}
