/** The operator's view of the lockstep server. */
import type { ModuleStatus, Redundancy, ServerStatus } from "../wire/control.js";
import type { CpuRow } from "./membership.js";
import type { LockstepServer } from "./server.js";

function redundancyOf(server: LockstepServer): Redundancy {
  const members = server.isRunning ? server.membership.live.length : 0;
  if (members === 0) return "OUTAGE";
  const { pairs = [] } = server.options;
  if (pairs.length > 0) {
    const complete = server.membership.completePairs.length;
    return complete === pairs.length ? "PAIR_AND_SPARE" : complete > 0 || members > 1 ? "DUPLEX" : "SIMPLEX";
  }
  return members === 1 ? "SIMPLEX" : members === 2 ? "DUPLEX" : "TRIPLEX";
}

function cpuStatus(server: LockstepServer, row: CpuRow): ModuleStatus {
  const { membership, voter, reintegration } = server;
  const isMember = row.role === "member";
  const progress = reintegration.progress(row.name);
  const starting = server.isStarting && row.role === "absent" && row.expected && !row.miscompared;
  return {
    state: starting ? "INITIALIZING" : membership.stateOf(row),
    safeToPull: isMember ? membership.live.length > 1 && server.isRunning : true,
    lagTicks: isMember ? Math.max(0, voter.issued - row.lastSeq) : (progress?.ticksBehind ?? 0),
    ...(progress === null ? {} : { progress }),
  };
}

/** The active one has lockstep's states like any other: DUPLEX when another one could take its place at this moment. */
function ioStatus(server: LockstepServer): Record<string, ModuleStatus> {
  const { membership, options, role } = server;
  const ioPeers = server.standby.peers;
  const ready = ioPeers.names.filter((name) => ioPeers.isReady(name, membership.live));
  const together = (["SIMPLEX", "DUPLEX", "TRIPLEX"] as const)[Math.min(ready.length, 2)] ?? "SIMPLEX";
  const own: ModuleStatus = {
    state: role === "fenced" ? "OFFLINE" : role === "standby" ? "INITIALIZING" : together,
    safeToPull: ready.length > 0,
    lagTicks: 0,
  };
  const peers = ioPeers.names.map((name): [string, ModuleStatus] => {
    const state = ready.includes(name) ? together : ioPeers.fresh(name) === null ? "OFFLINE" : "INITIALIZING";
    return [name, { state, safeToPull: true, lagTicks: 0 }];
  });
  return Object.fromEntries([[options.name, own], ...peers]);
}

export function buildStatus(server: LockstepServer): ServerStatus {
  const { membership, voter, sequencer, counters, reintegration, adjudication, checkpoints } = server;
  const modules: Record<string, ModuleStatus> = {};
  for (const row of membership.rows.values()) modules[row.name] = cpuStatus(server, row);
  Object.assign(modules, ioStatus(server));
  return {
    role: server.role,
    configuration: membership.number,
    seq: voter.issued,
    committed: voter.released,
    guestTimeNs: sequencer.knownTimeNs.toString(),
    redundancy: redundancyOf(server),
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
