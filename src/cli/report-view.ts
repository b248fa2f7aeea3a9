/** A server's report and its events as text, for `status`, `events` and the live view. */
import { MIB } from "../foundation/bytes.js";
import { BASE_CLAIM, type CertificationState } from "../certification/standing.js";
import type { LoggedEvent } from "../modules/management-events.js";
import type { ModuleReport, ServerReport } from "../modules/management-status.js";
import { HOUR_MS } from "../foundation/durations.js";
import type { PlanStanding } from "../support/plan.js";
import { publishedText } from "../ports/published-port.js";
import { upgradePhaseText } from "../view/upgrade.js";
import { USER_NETWORK_LIMIT } from "./network-choice.js";
import { dayText, duration, paint, table, type Colour } from "./output.js";

function stateColour(state: string): Colour {
  if (state === "DUPLEX" || state === "TRIPLEX") return "green";
  if (state === "SHOT" || state === "BROKEN" || state === "OUTAGE") return "red";
  return "yellow";
}

function note(module: ModuleReport): string {
  const { progress } = module;
  if (module.held) return "held out: steadfast insert " + module.name;
  if (module.state === "BROKEN") return "too many faults: steadfast clear " + module.name;
  if (module.isActive === true) return "active";
  if (progress === undefined) return "";
  const total = progress.pagesSent + progress.pagesRemaining;
  const share = total === 0 ? 0 : Math.floor((100 * progress.pagesSent) / total);
  if (progress.phase === "copying") return `copying memory from ${progress.donor}, ${share}%`;
  return progress.phase === "restoring" ? "restoring" : `catching up, ${progress.ticksBehind} ticks behind`;
}

function moduleRows(report: ServerReport): string[][] {
  const header = ["MODULE", "ENCLOSURE", "STATE", "PID", "MEMORY", "FAULTS", "SAFE TO PULL", ""].map((cell) => paint(cell, "dim"));
  const rows = report.modules.map((module) => [
    module.name,
    module.enclosure,
    paint(module.state, stateColour(module.state)),
    module.pid === 0 ? "-" : String(module.pid),
    module.rssBytes === 0 ? "-" : `${Math.round(module.rssBytes / MIB)} MiB`,
    String(module.faults),
    module.safeToPull ? "yes" : "no",
    note(module),
  ]);
  return [header, ...rows];
}

/** Apart from the modules' faults, since no module is to blame for these; nothing, as long as there are none. */
function guestFaultLines({ guestFaults, guestServices }: ServerReport): string[] {
  const { panics, hangs, restarts, serviceFailures } = guestFaults;
  const servicesDown = Object.keys(guestServices).filter((name) => guestServices[name] === "down");
  if (panics + hangs + restarts + serviceFailures === 0) return [];
  const down = servicesDown.length === 0 ? "" : `; down now: ${paint(servicesDown.join(", "), "red")}`;
  return [`the guest's own faults: panics ${panics}, hangs ${hangs}, restarts ${restarts}, services lost ${serviceFailures}${down}`];
}

/** "; agent heard 1.2 s ago", in guest time; nothing of a guest without an agent. */
function agentNote({ guestHeartbeatAgeMs }: ServerReport): string {
  return guestHeartbeatAgeMs === null ? "" : `; agent heard ${(guestHeartbeatAgeMs / 1000).toFixed(1)} s ago`;
}

function whereGuestIs(report: ServerReport): string {
  if (report.network === "none") return "no network";
  if (report.network === "tap") return report.address;
  if (report.published.length === 0) return "network user, no port published";
  return `network user, ports ${report.published.map(publishedText).join(", ")}`;
}

function safeEnclosures({ enclosures }: ServerReport): string {
  const safe = enclosures.filter((enclosure) => enclosure.safeToPull).map((enclosure) => enclosure.name);
  return safe.length === 0 ? "no enclosure" : safe.join(", ");
}

/** "disk 1024 MiB: io0 in sync, io1 resync 34%" */
function diskLines({ disk }: ServerReport): string[] {
  if (disk === null) return [];
  const { resync } = disk;
  const mirrors = Object.entries(disk.mirrors).map(([name, { state }]) => {
    const share = resync?.target === name && resync.totalBytes > 0 ? ` ${Math.floor((100 * resync.doneBytes) / resync.totalBytes)}%` : "";
    return `${name} ${state === "in sync" ? paint(state, "green") : paint(`${state}${share}`, "yellow")}`;
  });
  const { errors, badBlocks, repairedBlocks, unrepairable } = disk.counters;
  const faults =
    errors + badBlocks + unrepairable === 0 ? "" : `; bad blocks ${badBlocks}, repaired ${repairedBlocks}, I/O errors ${errors}`;
  return [`disk ${Math.round(disk.sizeBytes / MIB)} MiB: ${mirrors.join(", ")}${faults}`];
}

/** "support premium, reaction within 1 h, warranty until 2029-01-01, +49 30 000000" */
export function planLine({ level, warranty, warrantyFromMs, warrantyUntilMs, contact, reactionMs }: PlanStanding): string {
  const until = {
    upcoming: `from ${dayText(warrantyFromMs)}`,
    running: `until ${dayText(warrantyUntilMs)}`,
    ended: `ended on ${dayText(warrantyUntilMs)}`,
  };
  const parts = [
    `support ${level}`,
    `reaction within ${reactionMs / HOUR_MS} h`,
    `warranty ${until[warranty]}`,
    ...(contact === "" ? [] : [contact]),
  ];
  return warranty === "ended" ? paint(parts.join(", "), "yellow") : parts.join(", ");
}

const CERTIFICATION_COLOURS: Readonly<Record<CertificationState, Colour>> = {
  ...{ certified: "green", base: "green" },
  ...{ uncertified: "yellow", expired: "yellow", altered: "red" },
};

function certificationLines({ certification }: ServerReport): string[] {
  if (certification === null) return [];
  const { state, level, expiresAt, reason, since } = certification;
  const word = paint(state === "certified" || state === "base" ? state : state.toUpperCase(), CERTIFICATION_COLOURS[state]);
  if (state === "base") return [`certification ${word}: ${BASE_CLAIM}`];
  if (state === "certified") return [`certification ${word} at level ${level} until ${expiresAt}`];
  return [`certification ${word} since ${since}: ${reason}`];
}

/** How the server is reached from outside, and how a browser knows that it is this server; nothing: it is not. */
export function frontLines({ front }: ServerReport): string[] {
  if (front === null) return [];
  const until = dayText(front.expiresAtMs);
  return [`control API and console: https://${front.listen}/`, `  certificate until ${until}, SHA-256 ${front.fingerprint}`];
}

export function reportLines(report: ServerReport): string[] {
  const { counters } = report;
  const redundancy = paint(report.redundancy, report.redundancy === report.wantedRedundancy ? "green" : stateColour(report.redundancy));
  const kernel = report.image.kernelRelease === "" ? report.engine : `${report.image.kernelRelease} (${report.image.kernel})`;
  return [
    `${paint(report.server, "bold")}  ${redundancy}  up ${duration(report.uptimeMs)}`,
    `guest ${whereGuestIs(report)}, ${report.guest}; ${report.memoryMiB} MiB, kernel ${kernel}, image ${report.image.name}${agentNote(report)}`,
    `configuration ${report.configuration}, tick ${report.seq}, committed ${report.committed}, ${Math.round(report.mips)} MIPS, release ${report.release}`,
    `reintegrations ${counters.reintegrations} (last hold ${counters.lastHoldMs.toFixed(1)} ms), miscompares ${counters.miscompares}, ` +
      `outages ${counters.outages}, frames in ${counters.framesIn}, out ${counters.framesOut}, dropped ${counters.droppedFrames}`,
    ...certificationLines(report),
    ...(report.upgrade === null ? [] : [paint(`upgrade to ${report.upgrade.name}: ${upgradePhaseText(report.upgrade.phase)}`, "yellow")]),
    ...diskLines(report),
    ...frontLines(report),
    ...guestFaultLines(report),
    ...(report.support === null ? [] : [planLine(report.support)]),
    ...(report.network === "user" ? [USER_NETWORK_LIMIT] : []),
    "",
    ...table(moduleRows(report)),
    "",
    `safe to pull as a whole: ${safeEnclosures(report)}`,
  ];
}

export function eventLine(event: LoggedEvent): string {
  const time = new Date(event.atMs).toISOString().slice(11, 23);
  const colour: Colour = event.severity === "error" ? "red" : event.severity === "warning" ? "yellow" : "dim";
  return `${paint(time, "dim")} ${paint(event.severity.padEnd(7), colour)} ${event.code.padEnd(22)} ${event.text}`;
}

/** What stands between the server and what was asked for, in a few words. */
export function standingSentence(report: ServerReport): string {
  const modules = report.modules.filter((module) => module.kind === "cpu").map((module) => `${module.name} ${module.state}`);
  const isStarting = report.redundancy === "OUTAGE" && report.counters.outages === 0;
  return `it is ${isStarting ? "starting" : report.redundancy} (${modules.join(", ")}) and the guest is ${report.guest}`;
}
