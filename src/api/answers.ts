/**
 * Answers of the control API as schemas. Each is the twin of a TypeScript interface that says what the fields mean; `answers-check.ts`
 * does not compile when the two differ.
 */
import { z } from "zod";
import { CERTIFICATION_STATES } from "../certification/standing.js";
import { UPGRADE_PHASES } from "../installation/upgrade.js";
import { ROLES } from "../access/roles.js";
import { REDUNDANCIES } from "../modules/redundancy.js";
import { PLAN_LEVELS } from "../support/plan.js";

const count = z.int().min(0);
const size = z.number().min(0);

export const redundancySchema = z.enum(["OUTAGE", "SIMPLEX", "DUPLEX", "TRIPLEX", "PAIR_AND_SPARE"]);
export const moduleStateSchema = z.enum([
  "EMPTY",
  "INITIALIZING",
  "DIAGNOSTICS",
  "OFFLINE",
  "SIMPLEX",
  "DUPLEX",
  "TRIPLEX",
  "SHOT",
  "BROKEN",
]);
export const guestStateSchema = z.enum(["off", "booting", "reachable", "ready", "degraded", "hung"]);
export const mirrorStateSchema = z.enum(["absent", "waiting", "resync", "joining", "in sync", "failed"]);

export const progressSchema = z.object({
  phase: z.enum(["copying", "restoring", "catchingUp"]),
  donor: z.string(),
  pagesSent: count,
  pagesRemaining: count,
  ticksBehind: count.describe("Ticks that the newcomer still has to run."),
});

export const moduleSchema = z.object({
  name: z.string(),
  kind: z.enum(["cpu", "io", "management"]),
  enclosure: z.string(),
  pid: count.describe("0: no process."),
  state: moduleStateSchema,
  safeToPull: z.boolean(),
  held: z.boolean().describe("Held out by `pull` until `insert`."),
  isActive: z.exactOptional(z.boolean()).describe("Of I/O modules: whether this one drives the guest."),
  incarnation: count,
  faults: count.describe("Losses since the last `clear`, without drills."),
  lagTicks: count.describe("Ticks issued whose result of this module is not in."),
  rssBytes: size,
  progress: z.exactOptional(progressSchema),
  mips: z.exactOptional(size).describe("Millions of guest instructions a second of run time."),
  load: z.exactOptional(size).describe("Share of the last interval that the machine was running, 0 to 1."),
  instructions: z.exactOptional(count).describe("Guest instructions that the module's process has run."),
});

export const enclosureSchema = z.object({ name: z.string(), safeToPull: z.boolean() });

export const countersSchema = z.object({
  ticks: count,
  miscompares: count,
  lastAdjudicationMs: size,
  checkpoints: count,
  worstCheckpointHoldMs: size,
  outages: count,
  reintegrations: count,
  lastHoldMs: size.describe("How long the last exact image held the guest."),
  framesIn: count,
  framesOut: count,
  droppedFrames: count,
  requests: count.describe("To the guest that it answered, as the network shows them."),
  answerMs: size.describe("How long all those answers together took to begin."),
});

export const agentAnswerSchema = z.object({
  id: z.string(),
  status: count.describe("Exit status of a command; of other requests 0, or 1 with a sentence as output."),
  base64: z.base64().describe("What a command printed, up to 256 KiB."),
});
export const diskSchema = z.object({
  configuration: count,
  sizeBytes: size,
  mirrors: z.record(z.string(), z.object({ state: mirrorStateSchema, faults: count })),
  unsettledRegions: count,
  resync: z.nullable(z.object({ target: z.string(), isFull: z.boolean(), doneBytes: size, totalBytes: size, copiedBytes: size })),
  scrubbedBytes: z.nullable(size).describe("How far the scrubber is on its way through; null: it pauses."),
  counters: z.object({
    reads: count,
    writes: count,
    flushes: count,
    errors: count,
    badBlocks: count,
    scrubbedBlocks: count,
    repairedBlocks: count,
    unrepairable: count,
    differingBlocks: count,
    copiedBytes: size,
    resyncs: count,
  }),
});

export const supportSchema = z.object({
  level: z.enum(PLAN_LEVELS),
  warranty: z.enum(["upcoming", "running", "ended"]),
  warrantyFromMs: z.number(),
  warrantyUntilMs: z.number(),
  contact: z.string(),
  reactionMs: size.describe("Within this long somebody looks at what was called in."),
});

export const certificationSchema = z.object({
  state: z
    .enum(CERTIFICATION_STATES)
    .describe("`base`: an image of this release's own recipes; `expired`, `altered`: it became so while the server ran."),
  image: z.string(),
  certificate: z.exactOptional(z.string()).describe("Digest of what was signed."),
  level: z.exactOptional(z.enum(["base", "quick", "full"])),
  expiresAt: z.exactOptional(z.string()),
  reason: z.exactOptional(z.string()).describe("Of a server that is not certified: why."),
  since: z.string().describe("When it came to be so, ISO 8601."),
});

export const statusSchema = z.object({
  server: z.string(),
  redundancy: redundancySchema,
  wantedRedundancy: redundancySchema.describe("What `redundancy` is when all modules are well."),
  guest: guestStateSchema,
  guestServices: z.record(z.string(), z.enum(["up", "down", "unknown"])),
  guestHeartbeatAgeMs: z.number().nullable().describe("In guest time; null: its agent was not heard since the guest's start."),
  guestFaults: z.object({ panics: count, hangs: count, restarts: count, serviceFailures: count }),
  configuration: count,
  seq: count.describe("The last tick issued."),
  committed: count.describe("The last tick whose outputs took effect."),
  guestTimeMs: z.number(),
  address: z.string().describe("The guest's address; empty without one that this host can reach."),
  hostAddress: z.string(),
  network: z.enum(["tap", "user", "none"]),
  published: z.array(z.object({ protocol: z.enum(["tcp", "udp"]), hostAddress: z.string(), hostPort: count, guestPort: count })),
  bridge: z.string(),
  certification: z.nullable(certificationSchema).describe("Null: the engine runs no image, or it was not looked at yet."),
  upgrade: z
    .object({ name: z.string().describe("Of the change."), phase: z.enum(UPGRADE_PHASES) })
    .nullable()
    .describe("The active upgrade under way."),
  image: z.object({ name: z.string(), digest: z.string(), kernel: z.string(), kernelRelease: z.string() }),
  engine: z.string(),
  memoryMiB: size,
  release: z.string(),
  lagLimitMs: size,
  uptimeMs: size,
  mips: size,
  counters: countersSchema,
  disk: z.nullable(diskSchema).describe("Null: it has none, or no I/O module drives it at this moment."),
  support: z.nullable(supportSchema).describe("Support plan and warranty; null: none."),
  lastEventId: count,
  front: z
    .nullable(
      z.object({
        listen: z.string().describe("Address and port of the control API over TLS."),
        fingerprint: z.string().describe("SHA-256 of its certificate."),
        expiresAtMs: z.number().describe("When the certificate ends, ms since 1970."),
      }),
    )
    .describe("Null: it is reached over its Unix socket alone."),
  modules: z.array(moduleSchema),
  enclosures: z.array(enclosureSchema),
});

export const eventSchema = z.object({
  id: count,
  atMs: z.number().describe("Wall clock, ms since 1970."),
  severity: z.enum(["info", "warning", "error"]),
  code: z.string(),
  module: z.exactOptional(z.string()),
  text: z.string(),
  data: z.exactOptional(z.record(z.string(), z.unknown())),
  from: z.exactOptional(z.object({ incarnation: z.string(), number: count })).describe("Which message of an I/O module said it."),
});

export const eventsSchema = z.object({ events: z.array(eventSchema) });

export const verifySchema = z.object({
  seq: count,
  digests: z.record(z.string(), z.string()),
  equal: z.boolean().describe("At least two members answered and all digests agree."),
});

const ok = z.literal(true);
export const doneSchema = z.object({ ok });
export const moduleDoneSchema = z.object({ ok, module: z.string() });
export const faultDoneSchema = z.object({ ok, module: z.string(), address: z.exactOptional(count), bit: z.exactOptional(count) });
export const redundancyDoneSchema = z.object({ ok, redundancy: z.enum(REDUNDANCIES) });
export const recordingStartedSchema = z.object({ ok, seq: count.describe("The tick that the recording begins after.") });
export const recordingDoneSchema = z.object({ ok, path: z.string(), ticks: count });
export const recordingSchema = z.union([recordingStartedSchema, recordingDoneSchema]);

export const liveSchema = z.object({ live: z.literal(true), server: z.string() });
export const readySchema = z.object({ ready: z.boolean(), server: z.string(), redundancy: redundancySchema, guest: guestStateSchema });

export const whoAmISchema = z.object({ name: z.string().describe("Of the token, or `local uid N`."), role: z.enum(ROLES) });
export const consoleTicketSchema = z.object({ ticket: z.string(), expiresInSeconds: count });

export const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), exit: z.int().describe("Exit code of a command that ends by this error.") }),
});

const serviceAction = z.object({ name: z.string(), deed: z.enum(["start", "launch", "stop", "restart", "reload"]) });
const installationFacts = {
  id: z.string(),
  kind: z.enum(["install", "rollback", "upgrade"]).describe("An upgrade goes by a start of the guest, its rollback included."),
  name: z.string().describe("Of the change."),
  change: z.string().nullable().describe("Digest of the package; null of a rollback."),
  from: z.string(),
  to: z.string(),
  uncertified: z.string().nullable(),
  startedAt: z.string(),
  bytes: count.describe("Brought into the guest."),
  files: count,
  services: z.array(serviceAction),
};
const upgradeEnd = z.object({
  image: z.string(),
  memoryMiB: count,
  uncertified: z.string().nullable().describe("Why the server may run it without a certificate."),
});
const upgrade = z.object({
  id: z.string(),
  name: z.string().describe("Of the change."),
  change: z.string(),
  from: upgradeEnd,
  to: upgradeEnd,
  startedAt: z.string(),
  phase: z.enum(UPGRADE_PHASES),
  why: z.string().nullable(),
  trial: z.string().nullable().describe("Name of the server on which it is tried."),
  hasFormerDisk: z.boolean().describe("The disk as it was at the cutover is kept."),
  outageMs: z.number().nullable().describe("From the moment when the guest was asked to shut down until it was ready again."),
  allowed: z.array(z.enum(["cutover", "abort", "commit", "rollback"])).describe("What may be asked for now."),
});
export const changeBegunSchema = z.object({ ok: z.literal(true), id: z.string() });
export const changesSchema = z.object({
  running: z.string().describe("Digest of the image that the guest runs, and boots from next."),
  current: z.object({ ...installationFacts, phase: z.string(), sentBytes: count, why: z.string().nullable() }).nullable(),
  upgrade: upgrade.nullable(),
  history: z.array(
    z.object({
      ...installationFacts,
      outcome: z.enum(["installed", "rolledBack", "refused", "upgraded", "aborted", "failed"]),
      outageMs: z.number().nullable().optional().describe("Of an upgrade: of its cutover."),
      outageBackMs: z.number().nullable().optional().describe("Of its way back."),
      why: z.string().nullable(),
      endedAt: z.string(),
    }),
  ),
});
