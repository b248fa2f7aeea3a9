/** The operator's view of the lockstep server. */
import type { ModuleStatus, Redundancy, ServerStatus } from "../wire/control.js";
import type { CpuRow } from "./membership.js";
import type { LockstepServer } from "./server.js";

/** By how many are in it together, from one on. */
const LEVELS = ["SIMPLEX", "DUPLEX", "TRIPLEX"] as const;

function levelOf(count: number): (typeof LEVELS)[number] {
  return LEVELS[Math.min(count, LEVELS.length) - 1] ?? "SIMPLEX";
}

/** As many as of the kind of module that there is least of: a server is DUPLEX when any one module may go. */
function redundancyOf(server: LockstepServer, readyIos: number): Redundancy {
  const members = server.isRunning ? server.membership.live.length : 0;
  const ios = server.standby.peers.names.length === 0 ? Infinity : 1 + readyIos;
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

/** The other I/O modules that could take the active one's place at this moment. */
function readyIosOf(server: LockstepServer): readonly string[] {
  const { peers } = server.standby;
  return peers.names.filter((name) => peers.isReady(name, server.membership.live));
}

/** The active one has lockstep's states like any other: DUPLEX when another one is ready. */
function ioStatus(server: LockstepServer, ready: readonly string[]): Record<string, ModuleStatus> {
  const { options, role } = server;
  const { peers } = server.standby;
  const together = levelOf(1 + ready.length);
  const own: ModuleStatus = {
    incarnation: options.incarnation,
    state: role === "fenced" ? "OFFLINE" : role === "standby" ? "INITIALIZING" : together,
    safeToPull: ready.length > 0,
    lagTicks: 0,
  };
  const others = peers.names.map((name): [string, ModuleStatus] => {
    const state = ready.includes(name) ? together : peers.fresh(name) === null ? "OFFLINE" : "INITIALIZING";
    return [name, { incarnation: peers.incarnationOf(name), state, safeToPull: true, lagTicks: 0 }];
  });
  return Object.fromEntries([[options.name, own], ...others]);
}

export function buildStatus(server: LockstepServer): ServerStatus {
  const { membership, voter, sequencer, counters, reintegration, adjudication, checkpoints } = server;
  const modules: Record<string, ModuleStatus> = {};
  for (const row of membership.rows.values()) modules[row.name] = cpuStatus(server, row);
  const readyIos = readyIosOf(server);
  Object.assign(modules, ioStatus(server, readyIos));
  return {
    role: server.role,
    configuration: membership.number,
    seq: voter.issued,
    committed: voter.released,
    guestTimeNs: sequencer.knownTimeNs.toString(),
    redundancy: redundancyOf(server, readyIos.length),
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
    },
    mips: Math.round(server.mips * 10) / 10,
  };
}
