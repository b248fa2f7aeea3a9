/** The operator's view of the lockstep server. */
import type { DiskStatus, ModuleStatus, Redundancy, ServerStatus } from "../wire/control.js";
import { NO_EXCHANGES } from "./exchanges.js";
import type { CpuRow } from "./membership.js";
import type { LockstepServer } from "./server.js";

/** By how many are in it together, from one on. */
const LEVELS = ["SIMPLEX", "DUPLEX", "TRIPLEX"] as const;

function levelOf(count: number): (typeof LEVELS)[number] {
  return LEVELS[Math.min(count, LEVELS.length) - 1] ?? "SIMPLEX";
}

/** As many as of the kind of module that there is least of: a server is DUPLEX when any one module may go. */
function redundancyOf(server: LockstepServer, ioCount: number): Redundancy {
  const members = server.isRunning ? server.membership.live.length : 0;
  const ios = server.standby.peers.names.length === 0 ? Infinity : ioCount;
  if (members === 0) return "OUTAGE";
  const { pairs = [] } = server.options;
  if (pairs.length === 0) return levelOf(Math.min(members, ios));
  const complete = server.membership.completePairs.length;
  if (ios < 2) return "SIMPLEX";
  return complete === pairs.length ? "PAIR_AND_SPARE" : complete > 0 || members > 1 ? "DUPLEX" : "SIMPLEX";
}

function cpuStatus(server: LockstepServer, row: CpuRow): ModuleStatus {
  const { membership, voter, reintegration } = server;
  const isMember = row.role === "member";
  const progress = reintegration.progress(row.name);
  const starting = server.isStarting && row.role === "absent" && row.expected && !row.miscompared;
  return {
    incarnation: row.incarnation,
    state: starting ? "INITIALIZING" : membership.stateOf(row),
    safeToPull: isMember ? membership.live.length > 1 && server.isRunning : true,
    lagTicks: isMember ? Math.max(0, voter.issued - row.lastSeq) : (progress?.ticksBehind ?? 0),
    ...(progress === null ? {} : { progress }),
  };
}

/** Whether a module's mirror of the disk counts, or there is none to count. */
function isInSync(disk: DiskStatus | null, name: string): boolean {
  return disk === null || disk.mirrors[name]?.state === "in sync";
}

/** The other I/O modules that could take the active one's place at this moment, with all that it holds. */
function readyIosOf(server: LockstepServer, disk: DiskStatus | null): readonly string[] {
  const { peers } = server.standby;
  return peers.names.filter((name) => peers.isReady(name, server.membership.live) && isInSync(disk, name));
}

/** The active one has lockstep's states like any other: DUPLEX when another one is ready, and both hold the disk. */
function ioStatus(server: LockstepServer, ready: readonly string[], disk: DiskStatus | null): Record<string, ModuleStatus> {
  const { options, role } = server;
  const { peers } = server.standby;
  const together = levelOf(ioCountOf(server, ready, disk));
  const isOnlyMirror = (name: string): boolean => {
    const all = [options.name, ...peers.names];
    return disk !== null && all.every((each) => each === name || !isInSync(disk, each));
  };
  const own: ModuleStatus = {
    incarnation: options.incarnation,
    state: role === "fenced" ? "OFFLINE" : role === "standby" ? "INITIALIZING" : together,
    safeToPull: ready.length > 0,
    lagTicks: 0,
  };
  const others = peers.names.map((name): [string, ModuleStatus] => {
    const state = ready.includes(name) ? together : peers.fresh(name) === null ? "OFFLINE" : "INITIALIZING";
    return [name, { incarnation: peers.incarnationOf(name), state, safeToPull: !isOnlyMirror(name), lagTicks: 0 }];
  });
  return Object.fromEntries([[options.name, own], ...others]);
}

/** How many I/O modules could carry the load alone: this one cannot without its own mirror in sync, however well it serves with another's. */
function ioCountOf(server: LockstepServer, ready: readonly string[], disk: DiskStatus | null): number {
  return Math.max(1, ready.length + (isInSync(disk, server.options.name) ? 1 : 0));
}

export function buildStatus(server: LockstepServer): ServerStatus {
  const { membership, voter, sequencer, counters, reintegration, adjudication, checkpoints } = server;
  const modules: Record<string, ModuleStatus> = {};
  for (const row of membership.rows.values()) modules[row.name] = cpuStatus(server, row);
  const disk = server.disk.status;
  const readyIos = readyIosOf(server, disk);
  Object.assign(modules, ioStatus(server, readyIos, disk));
  return {
    role: server.role,
    configuration: membership.number,
    seq: voter.issued,
    committed: voter.released,
    guestTimeNs: sequencer.knownTimeNs.toString(),
    redundancy: redundancyOf(server, ioCountOf(server, readyIos, disk)),
    modules,
    counters: {
      ticks: counters.ticks,
      miscompares: adjudication.miscompares,
      lastAdjudicationMs: Math.round(adjudication.lastMs),
      checkpoints: checkpoints.completed,
      worstCheckpointHoldMs: checkpoints.worstHoldMs,
      outages: counters.outages,
      reintegrations: reintegration.completed,
      lastHoldMs: reintegration.lastHoldMs,
      framesIn: sequencer.framesIn,
      framesOut: counters.framesOut,
      droppedFrames: sequencer.droppedFrames,
      // Counted where frames pass, by whoever has a port.
      ...NO_EXCHANGES,
    },
    disk,
    mips: Math.round(server.mips * 10) / 10,
  };
}
