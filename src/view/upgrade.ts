/** An active upgrade in words: for the command line and the console. */
import type { UpgradePhase } from "../installation/upgrade.js";

/** What is said of an upgrade in every report; null: none is under way. */
export interface UpgradeStanding {
  /** Of the change. */
  readonly name: string;
  readonly phase: UpgradePhase;
}

const PHASES: Readonly<Record<UpgradePhase, string>> = {
  copying: "copying the disk for the trial",
  booting: "the trial boots",
  checking: "the trial's services and checks are looked at",
  tried: "the trial is healthy",
  clearing: "the trial is ended",
  closing: "the guest shuts down",
  splitting: "a mirror of the disk is put aside",
  recording: "the new image is recorded",
  starting: "the guest starts with the change",
  proving: "the guest's services and checks are looked at",
  uncommitted: "the server runs the change, and can go back",
  closingBack: "the guest shuts down to go back",
  swapping: "the former disk is taken",
  recordingBack: "the former image is recorded",
  startingBack: "the guest starts without the change",
  removing: "the trial is removed",
  forgetting: "what was kept for the way back is removed",
  ended: "it is over",
};

export function upgradePhaseText(phase: UpgradePhase): string {
  return PHASES[phase];
}
