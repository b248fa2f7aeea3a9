/** Keep-alive HTTP load with faults: every request must be answered by 200, no connection may be lost. */
import { faultViews, quietGapMs, type FaultView } from "./gap.js";
import { runHttpClients } from "./http-load.js";
import { LoadRecorder, type LoadSummary } from "./load.js";
import { runLoad, type LoadOptions, type ServerSide } from "./load-run.js";
import type { Timeline } from "./timeline.js";

export interface HttpReport {
  readonly seed: number;
  readonly clients: number;
  readonly seconds: number;
  readonly load: LoadSummary;
  readonly faults: readonly FaultView[];
  /** Worst gap away from all faults. */
  readonly quietGapMs: number;
  /** Null: not a server of ours. */
  readonly server: ServerSide | null;
  /** One sentence for each promise that was broken; empty: all held. */
  readonly broken: readonly string[];
}

export async function runHttpFaults(options: LoadOptions): Promise<{ readonly report: HttpReport; readonly timeline: Timeline }> {
  const recorder = new LoadRecorder();
  const outcome = await runLoad(options, recorder, (stopped) => runHttpClients(options.address, options.clients, recorder, stopped));
  const load = recorder.finish();
  const broken: string[] = [...outcome.broken];
  if (load.requests === 0) broken.push("no request was answered at all");
  if (load.failures > 0) broken.push(`${load.failures} requests failed`);
  if (load.lostConnections > 0) broken.push(`${load.lostConnections} connections were lost`);
  const { timeline } = recorder;
  const seconds = (timeline.endMs - timeline.startMs) / 1000;
  return {
    report: {
      seed: options.seed,
      clients: options.clients,
      seconds,
      load,
      faults: faultViews(timeline, outcome.faults),
      quietGapMs: quietGapMs(timeline, outcome.faults),
      server: outcome.server ?? null,
      broken,
    },
    timeline,
  };
}
