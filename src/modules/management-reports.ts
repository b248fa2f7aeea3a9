/** Makes a recording of a miscompare: what the members' last verified checkpoint was, the ticks since, and who claimed what. */
import { linkSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { MiscompareReport } from "../lockstep/miscompare-report.js";
import { controlFrame, imageFrames, RECORDING_FORMAT, type RecordingHeader } from "../recording/format.js";
import { framesOfFile, writeRecording } from "../recording/files.js";
import { checkpointDirectory, readCheckpoint } from "./checkpoint-files.js";
import type { ModuleConfig } from "./config.js";
import { behaviourOf } from "./machine-loader.js";
import type { ServerPaths } from "./management-paths.js";

/** The oldest go first: each may hold all of a guest's memory. */
const REPORTS_MAX = 8;

export async function headerFor(config: ModuleConfig, seq: number, report?: MiscompareReport): Promise<RecordingHeader> {
  const { engine, ramBytes, harts, imageDigest, commandLine, kernelPath, initrdPath, diskBytes, agentPort } = config.machine;
  return {
    kind: "recording",
    format: RECORDING_FORMAT,
    server: config.server,
    atMs: Date.now(),
    node: process.version,
    machine: {
      ...{ engine, ramBytes, harts, imageDigest, commandLine, kernelPath, initrdPath },
      behaviour: await behaviourOf(engine),
      epochNs: config.epochNs,
      macAddress: config.network.macAddress,
      ...(diskBytes !== undefined && { diskBytes }),
      ...(agentPort !== undefined && { agentPort }),
    },
    seq,
    ...(report !== undefined && { report }),
  };
}

/** Writes the report and removes what it was made of. Without a checkpoint there is nothing to run again, and no file: null. */
export async function writeMiscompareReport(
  paths: ServerPaths,
  config: ModuleConfig,
  report: MiscompareReport,
  coursePath: string,
): Promise<string | null> {
  const { checkpoint } = report;
  if (checkpoint === null || coursePath === "") return null;
  const store = borrowCheckpoint(paths, checkpoint.store);
  const header = await headerFor(config, checkpoint.seq, report);
  const path = join(paths.reportDirectory, `miscompare-${report.seq}-${header.atMs}.steadfast`);
  async function* frames(): AsyncGenerator<Uint8Array> {
    yield controlFrame(header);
    yield* imageFrames(readCheckpoint(store).pieces);
    yield* framesOfFile(coursePath);
    yield controlFrame({ kind: "recordingEnd", ticks: report.seq - header.seq });
  }
  try {
    mkdirSync(paths.reportDirectory, { recursive: true, mode: 0o700 });
    await writeRecording(path, frames());
    removeOldReports(paths.reportDirectory);
    return path;
  } finally {
    rmSync(coursePath, { force: true });
    rmSync(store, { recursive: true, force: true });
  }
}

/** The files under another name: the I/O module removes a store as soon as the next checkpoint is verified. */
function borrowCheckpoint(paths: ServerPaths, name: string): string {
  const borrowed = join(paths.runDirectory, `report-${name}`);
  mkdirSync(borrowed, { mode: 0o700 });
  for (const file of ["index", "pages"]) linkSync(join(checkpointDirectory(paths), name, file), join(borrowed, file));
  return borrowed;
}

function removeOldReports(directory: string): void {
  const reports = readdirSync(directory)
    .map((name) => join(directory, name))
    .sort((left, right) => statSync(right).mtimeMs - statSync(left).mtimeMs);
  for (const path of reports.slice(REPORTS_MAX)) rmSync(path, { force: true });
}
