/** The server's report as Prometheus metrics. `docs/reference/metrics.md` lists them, compared by a test. */
import { Counter, Gauge, Registry } from "prom-client";
import { CERTIFICATION_STATES } from "../certification/standing.js";
import type { ModuleReport, ServerReport } from "../modules/management-status.js";
import { guestStateSchema, moduleStateSchema, redundancySchema } from "./answers.js";
import { DISK_METRICS } from "./metrics-disk.js";
import { flag, one, states, MS_PER_SECOND, type Metric, type Sample } from "./metrics-shape.js";

const INSTRUCTIONS_PER_MIP = 1e6;

function each(read: (module: ModuleReport) => number | undefined): (report: ServerReport) => Sample[] {
  return ({ modules }) =>
    modules.flatMap((module) => {
      const value = read(module);
      return value === undefined ? [] : [{ labels: moduleLabels(module), value }];
    });
}

function moduleLabels({ name, kind, enclosure }: ModuleReport): Sample["labels"] {
  return { module: name, kind, enclosure };
}

function server(name: string, help: string, read: (report: ServerReport) => number): Metric {
  return { name: `steadfast_${name}`, help, type: name.endsWith("_total") ? "counter" : "gauge", labels: [], read: (it) => one(read(it)) };
}

const MODULE_LABELS = ["module", "kind", "enclosure"];

function module(name: string, help: string, read: (module: ModuleReport) => number | undefined): Metric {
  return { name: `steadfast_module_${name}`, help, type: "gauge", labels: MODULE_LABELS, read: each(read) };
}

const BUILD_LABELS = ["version", "engine", "image", "kernel", "kernel_release", "node"];

const SERVER_METRICS: readonly Metric[] = [
  {
    name: "steadfast_build_info",
    help: "Always 1; the labels say what runs.",
    type: "gauge",
    labels: BUILD_LABELS,
    read: ({ engine, image }, version) => [
      {
        labels: { version, engine, image: image.name, kernel: image.kernel, kernel_release: image.kernelRelease, node: process.version },
        value: 1,
      },
    ],
  },
  {
    name: "steadfast_redundancy",
    help: "1 for the redundancy at this moment, 0 for the others; OUTAGE: the guest runs nowhere.",
    type: "gauge",
    labels: ["redundancy"],
    read: ({ redundancy }) => states("redundancy", redundancySchema.options, redundancy),
  },
  {
    name: "steadfast_wanted_redundancy",
    help: "1 for the redundancy when all modules are well, 0 for the others.",
    type: "gauge",
    labels: ["redundancy"],
    read: ({ wantedRedundancy }) => states("redundancy", redundancySchema.options, wantedRedundancy),
  },
  {
    name: "steadfast_guest_state",
    help: "1 for how far the guest's own software is, 0 for the other states.",
    type: "gauge",
    labels: ["state"],
    read: ({ guest }) => states("state", guestStateSchema.options, guest),
  },
  {
    name: "steadfast_guest_service_up",
    help: "Whether a service of the guest answers; missing as long as it was never seen up.",
    type: "gauge",
    labels: ["service"],
    read: ({ guestServices }) =>
      Object.entries(guestServices).flatMap(([service, state]) =>
        state === "unknown" ? [] : [{ labels: { service }, value: flag(state === "up") }],
      ),
  },
  {
    name: "steadfast_certification_state",
    help: "1 for how the image stands as to certificates, 0 for the other states; missing if the engine runs no image.",
    type: "gauge",
    labels: ["state"],
    read: ({ certification }) => (certification === null ? [] : states("state", CERTIFICATION_STATES, certification.state)),
  },
  {
    name: "steadfast_certificate_expiry_timestamp_seconds",
    help: "When the certificate of the image expires, since 1970; missing without one that does.",
    type: "gauge",
    labels: [],
    read: ({ certification }) =>
      certification?.expiresAt === undefined ? [] : one(Math.floor(Date.parse(certification.expiresAt) / MS_PER_SECOND)),
  },
  server("uptime_seconds", "Since the server was started.", (it) => it.uptimeMs / MS_PER_SECOND),
  server("guest_time_seconds", "Guest time of the last committed tick, since the server's epoch.", (it) => it.guestTimeMs / MS_PER_SECOND),
  server("guest_instructions_per_second", "Guest speed over the last second in which it was busy.", (it) => it.mips * INSTRUCTIONS_PER_MIP),
  server("configuration", "Number of the configuration in force.", (it) => it.configuration),
  server("issued_tick", "The last tick issued.", (it) => it.seq),
  server("committed_tick", "The last tick whose outputs took effect.", (it) => it.committed),
  server("events_total", "Events in the log since it was begun.", (it) => it.lastEventId),
  server("ticks_total", "Ticks since the server was started.", (it) => it.counters.ticks),
  server("miscompares_total", "Ticks on which modules disagreed.", (it) => it.counters.miscompares),
  server("checkpoints_total", "Verified checkpoints.", (it) => it.counters.checkpoints),
  server("outages_total", "Times that the guest ran nowhere.", (it) => it.counters.outages),
  server("reintegrations_total", "Modules that came into lockstep again.", (it) => it.counters.reintegrations),
  server(
    "last_hold_seconds",
    "How long the last exact image held the guest; 0 before the first one.",
    (it) => it.counters.lastHoldMs / MS_PER_SECOND,
  ),
  server(
    "last_adjudication_seconds",
    "How long the last adjudication with a third machine held the guest; 0: there was none.",
    (it) => it.counters.lastAdjudicationMs / MS_PER_SECOND,
  ),
  server(
    "worst_checkpoint_hold_seconds",
    "The longest that a checkpoint held the guest.",
    (it) => it.counters.worstCheckpointHoldMs / MS_PER_SECOND,
  ),
  server("guest_received_frames_total", "Network frames to the guest.", (it) => it.counters.framesIn),
  server("guest_sent_frames_total", "Network frames from the guest.", (it) => it.counters.framesOut),
  server(
    "dropped_frames_total",
    "Frames from the network that were not taken because the input queue was full.",
    (it) => it.counters.droppedFrames,
  ),
  server("guest_requests_total", "Requests over the network that the guest answered.", (it) => it.counters.requests),
  server(
    "guest_answer_seconds_total",
    "How long the answers to those requests took to begin, all together.",
    (it) => it.counters.answerMs / MS_PER_SECOND,
  ),
  server("guest_panics_total", "Panics of the guest's kernel.", (it) => it.guestFaults.panics),
  server("guest_hangs_total", "Times that the guest's own software hung.", (it) => it.guestFaults.hangs),
  server("guest_restarts_total", "Power cycles because the guest hung.", (it) => it.guestFaults.restarts),
  server("guest_service_failures_total", "Times that a service of the guest went down.", (it) => it.guestFaults.serviceFailures),
];

const MODULE_METRICS: readonly Metric[] = [
  {
    name: "steadfast_module_state",
    help: "1 for the module's operational state, 0 for the others.",
    type: "gauge",
    labels: [...MODULE_LABELS, "state"],
    read: ({ modules }) =>
      modules.flatMap((it) =>
        states("state", moduleStateSchema.options, it.state).map(({ labels, value }) => ({
          labels: { ...moduleLabels(it), ...labels },
          value,
        })),
      ),
  },
  module("safe_to_pull", "Whether another module carries on when this one goes.", (it) => flag(it.safeToPull)),
  module("held", "Whether it is held out by `pull` until `insert`.", (it) => flag(it.held)),
  module("active", "Of I/O modules: whether this one drives the guest.", (it) =>
    it.isActive === undefined ? undefined : flag(it.isActive),
  ),
  module("incarnation", "How many times it was started.", (it) => it.incarnation),
  module("faults", "Losses since the last `clear`, without drills.", (it) => it.faults),
  module("lag_ticks", "Ticks issued whose result of this module is not in.", (it) => it.lagTicks),
  module("resident_bytes", "Memory of its process.", (it) => it.rssBytes),
  module("instructions_per_second", "Of CPU modules: guest instructions a second of run time.", (it) =>
    it.mips === undefined ? undefined : it.mips * INSTRUCTIONS_PER_MIP,
  ),
  module("load_ratio", "Of CPU modules: share of the last interval that the machine was running.", (it) => it.load),
  module("reintegration_sent_pages", "Of a module that comes back: pages it was sent.", (it) => it.progress?.pagesSent),
  module("reintegration_remaining_pages", "Of a module that comes back: pages that it still lacks.", (it) => it.progress?.pagesRemaining),
  module("reintegration_behind_ticks", "Of a module that comes back: ticks that it still has to run.", (it) => it.progress?.ticksBehind),
  {
    name: "steadfast_enclosure_safe_to_pull",
    help: "Whether every kind of module in it has another one elsewhere that carries on.",
    type: "gauge",
    labels: ["enclosure"],
    read: ({ enclosures }) => enclosures.map(({ name, safeToPull }) => ({ labels: { enclosure: name }, value: flag(safeToPull) })),
  },
];

/** All metrics, those too that have no sample at a moment. */
export const METRICS: readonly Metric[] = [...SERVER_METRICS, ...MODULE_METRICS, ...DISK_METRICS];

/**
 * @param version of the package
 * @returns text and content type; a metric without a sample at this moment is left out
 */
export async function renderMetrics(
  report: ServerReport,
  version: string,
): Promise<{ readonly text: string; readonly contentType: string }> {
  const registry = new Registry();
  registry.setDefaultLabels({ server: report.server });
  for (const { name, help, type, labels, read } of METRICS) {
    const samples = read(report, version);
    if (samples.length === 0) continue;
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    const metric = type === "counter" ? new Counter(options) : new Gauge(options);
    for (const sample of samples) metric.inc(sample.labels, sample.value);
  }
  return { text: await registry.metrics(), contentType: registry.contentType };
}
