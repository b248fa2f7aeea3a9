/** A report in which everything that may be missing is there. */
import type { ModuleReport, ServerReport } from "../../dist/modules/management-status.js";

function sampleModule(name: string, kind: ModuleReport["kind"]): ModuleReport {
  const common = { name, kind, enclosure: "enclosure0", pid: 7, state: "DUPLEX", safeToPull: true, held: false, incarnation: 1 } as const;
  return { ...common, faults: 2, lagTicks: 3, rssBytes: 4096 };
}

export const SAMPLE_REPORT: ServerReport = {
  server: "sample",
  redundancy: "SIMPLEX",
  wantedRedundancy: "DUPLEX",
  guest: "ready",
  guestServices: { web: "up", 'odd "name" \\ of\na service': "down", new: "unknown" },
  guestHeartbeatAgeMs: 1200,
  guestFaults: { panics: 1, hangs: 0, restarts: 0, serviceFailures: 1 },
  configuration: 3,
  seq: 1000,
  committed: 998,
  guestTimeMs: 5000,
  address: "10.77.0.2",
  hostAddress: "10.77.0.1",
  network: "user",
  published: [{ protocol: "tcp", hostAddress: "", hostPort: 8080, guestPort: 80 }],
  bridge: "",
  certification: {
    ...{ state: "certified", image: "d", certificate: "c", level: "full" },
    ...{ expiresAt: "2027-01-01T00:00:00.000Z", since: "2026-01-01T00:00:00.000Z" },
  },
  upgrade: { name: "memory", phase: "uncommitted" },
  image: { name: "payments", digest: "d", kernel: "stock", kernelRelease: "6.12" },
  engine: "rv64",
  memoryMiB: 256,
  release: "compared",
  lagLimitMs: 250,
  uptimeMs: 1500,
  mips: 12.5,
  counters: {
    ticks: 1000,
    miscompares: 1,
    lastAdjudicationMs: 20,
    checkpoints: 4,
    worstCheckpointHoldMs: 5,
    outages: 0,
    reintegrations: 2,
    lastHoldMs: 7,
    framesIn: 10,
    framesOut: 11,
    droppedFrames: 0,
    requests: 5,
    answerMs: 12.5,
  },
  disk: {
    configuration: 3,
    sizeBytes: 1 << 20,
    mirrors: { io0: { state: "in sync", faults: 0 }, io1: { state: "resync", faults: 1 } },
    unsettledRegions: 0,
    resync: { target: "io1", isFull: true, doneBytes: 4096, totalBytes: 8192, copiedBytes: 4096 },
    scrubbedBytes: 4096,
    counters: {
      ...{ reads: 1, writes: 2, flushes: 3, errors: 0, badBlocks: 0, scrubbedBlocks: 5, repairedBlocks: 0, unrepairable: 0 },
      ...{ differingBlocks: 0, copiedBytes: 4096, resyncs: 1 },
    },
  },
  support: {
    ...{ level: "premium", warranty: "running", warrantyFromMs: 1_767_225_600_000, warrantyUntilMs: 1_861_920_000_000 },
    ...{ contact: "+49 30 000000", reactionMs: 3_600_000 },
  },
  lastEventId: 42,
  front: { listen: "0.0.0.0:8443", fingerprint: "AB:CD", expiresAtMs: 1_800_000_000_000 },
  modules: [
    { ...sampleModule("cpu0", "cpu"), mips: 12.5, load: 0.5 },
    {
      ...sampleModule("cpu1", "cpu"),
      state: "INITIALIZING",
      progress: { phase: "copying", donor: "cpu0", pagesSent: 5, pagesRemaining: 6, ticksBehind: 7 },
    },
    { ...sampleModule("io0", "io"), isActive: true },
    sampleModule("mgmt0", "management"),
  ],
  enclosures: [{ name: "enclosure0", safeToPull: false }],
};
