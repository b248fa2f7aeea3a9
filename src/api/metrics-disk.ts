/** Metrics of the guest's disk; none of them without a disk, or while no I/O module drives it. */
import type { DiskStatus } from "../wire/control.js";
import { mirrorStateSchema } from "./answers.js";
import { one, states, type Metric, type Sample } from "./metrics-shape.js";

/** `read` answers null: there is nothing to say at this moment. */
function disk(name: string, help: string, read: (disk: DiskStatus) => number | null): Metric {
  return {
    name: `steadfast_disk_${name}`,
    help,
    type: name.endsWith("_total") ? "counter" : "gauge",
    labels: [],
    read: (report) => {
      const value = report.disk === null ? null : read(report.disk);
      return value === null ? [] : one(value);
    },
  };
}

function mirrors(name: string, help: string, labels: readonly string[], read: (mirror: Mirror) => Sample[]): Metric {
  return {
    name: `steadfast_disk_mirror_${name}`,
    help,
    type: "gauge",
    labels: ["module", ...labels],
    read: (report) =>
      Object.entries(report.disk?.mirrors ?? {}).flatMap(([module, mirror]) =>
        read(mirror).map((sample) => ({ labels: { module, ...sample.labels }, value: sample.value })),
      ),
  };
}
type Mirror = DiskStatus["mirrors"][string];

export const DISK_METRICS: readonly Metric[] = [
  mirrors("state", "1 for the state of the mirror in this I/O module's enclosure, 0 for the others.", ["state"], ({ state }) =>
    states("state", mirrorStateSchema.options, state),
  ),
  mirrors("faults", "Faults of this mirror.", [], ({ faults }) => one(faults)),
  disk("size_bytes", "As the guest sees it.", (it) => it.sizeBytes),
  disk("unsettled_regions", "Regions that the mirrors may disagree on since the last takeover or start.", (it) => it.unsettledRegions),
  disk("resync_done_bytes", "While a mirror comes in sync: what it has gone through.", (it) => it.resync?.doneBytes ?? null),
  disk("resync_target_bytes", "While a mirror comes in sync: all that it goes through.", (it) => it.resync?.totalBytes ?? null),
  disk("resync_copied_bytes", "While a mirror comes in sync: what was different and was copied.", (it) => it.resync?.copiedBytes ?? null),
  disk("scrub_position_bytes", "How far the scrubber is on its way through; missing while it pauses.", (it) => it.scrubbedBytes),
  disk("reads_total", "Reads of the guest.", (it) => it.counters.reads),
  disk("writes_total", "Writes of the guest.", (it) => it.counters.writes),
  disk("flushes_total", "Flushes of the guest.", (it) => it.counters.flushes),
  disk("errors_total", "Requests of the guest that ended in an I/O error.", (it) => it.counters.errors),
  disk("bad_blocks_total", "Bad blocks that reads of the guest met with.", (it) => it.counters.badBlocks),
  disk("scrubbed_blocks_total", "Blocks that the scrubber looked at.", (it) => it.counters.scrubbedBlocks),
  disk("repaired_blocks_total", "Blocks that were repaired from another mirror.", (it) => it.counters.repairedBlocks),
  disk("unrepairable_blocks_total", "Blocks without a good copy.", (it) => it.counters.unrepairable),
  disk("differing_blocks_total", "Blocks with right checksums in which mirrors in sync differed.", (it) => it.counters.differingBlocks),
  disk("copied_bytes_total", "Copied from mirror to mirror.", (it) => it.counters.copiedBytes),
  disk("resyncs_total", "Times that a mirror came in sync.", (it) => it.counters.resyncs),
];
