/**
 * The course of an active upgrade as a protocol (pure): a change that needs a start of the guest is tried on a second server, with a copy of
 * the disk, then the guest is shut down and started with it, and the way back stays open until somebody commits. As in `installation.ts`
 * the state is written down before its effect is carried out, and every effect may be carried out twice. Up to `closing` an abort leaves no
 * trace; from `recording` on the server runs the new image unless it is rolled back.
 */

export const UPGRADE_PHASES = [
  "copying",
  "booting",
  "checking",
  "tried",
  "clearing",
  "closing",
  "splitting",
  "recording",
  "starting",
  "proving",
  "uncommitted",
  "closingBack",
  "swapping",
  "recordingBack",
  "startingBack",
  "removing",
  "forgetting",
  "ended",
] as const;
export type UpgradePhase = (typeof UPGRADE_PHASES)[number];

export type UpgradeOutcome = "upgraded" | "aborted" | "rolledBack" | "failed";

export interface UpgradeState {
  readonly phase: UpgradePhase;
  /** Times in a row that the effect of this phase was tried and nobody knows what became of it. */
  readonly attempts: number;
  /** How it is going to end, as far as is known. */
  readonly outcome: UpgradeOutcome;
  /** Why it does not end `upgraded`; null: it does, or the operator wanted it so. */
  readonly why: string | null;
  /** The cutover follows at once when the trial is healthy. */
  readonly isCutOverAtOnce: boolean;
  /** The way back takes the disk as it was at the cutover. */
  readonly isFormerDisk: boolean;
}

export type UpgradeEvent =
  /** Another management module leads. */
  | { readonly kind: "resumed" }
  | { readonly kind: "done" }
  /** Carried out, and it did not work. */
  | { readonly kind: "failed"; readonly why: string }
  /** Nobody answered: it may or may not have been carried out. */
  | { readonly kind: "unanswered"; readonly why: string }
  /** The guest was started, by whomever. */
  | { readonly kind: "guestRestarted" }
  /** All of the server was started anew. `isNew`: with the new image. */
  | { readonly kind: "serverStarted"; readonly isNew: boolean }
  | { readonly kind: "cutover" }
  | { readonly kind: "abort" }
  | { readonly kind: "commit" }
  | { readonly kind: "rollback"; readonly isFormerDisk: boolean };

export type UpgradeEffect =
  /** Make the copy of the disk for the trial. */
  | "copy"
  /** Start the trial server on it, and wait until its guest is ready. */
  | "boot"
  /** See whether services and the change's own checks are well in the trial. */
  | "check"
  /** End the trial server, remove its copy, and bring back whatever was taken out for it. */
  | "remove"
  /** Have the guest shut down; done when it is off. */
  | "shutDown"
  /** Put one mirror of the disk aside as it is, while the guest is off. */
  | "split"
  /** Record the new image as the one that the server runs. */
  | "record"
  /** Start the guest from what is recorded, and wait until it is ready. */
  | "start"
  /** See whether services and the change's own checks are well in the guest. */
  | "prove"
  /** Make the mirror that was put aside the disk, while the guest is off. */
  | "swap"
  /** Record the former image again. */
  | "recordBack"
  /** Remove the mirror that was put aside. */
  | "forget"
  /** Tell the outcome, write it into the history. */
  | "end";

export interface UpgradeStep {
  readonly state: UpgradeState;
  readonly effects: readonly UpgradeEffect[];
}

export const UPGRADE_ATTEMPTS_LIMIT = 3;
const STARTED_ANEW = "the server was started anew meanwhile";

/** Null: it waits for the operator. */
const EFFECTS: Readonly<Record<UpgradePhase, UpgradeEffect | null>> = {
  copying: "copy",
  booting: "boot",
  checking: "check",
  tried: null,
  clearing: "remove",
  closing: "shutDown",
  splitting: "split",
  recording: "record",
  starting: "start",
  proving: "prove",
  uncommitted: null,
  closingBack: "shutDown",
  swapping: "swap",
  recordingBack: "recordBack",
  startingBack: "start",
  removing: "remove",
  forgetting: "forget",
  ended: "end",
};

const AFTER: Readonly<Record<UpgradePhase, UpgradePhase>> = {
  copying: "booting",
  booting: "checking",
  checking: "tried",
  tried: "clearing",
  clearing: "closing",
  closing: "splitting",
  splitting: "recording",
  recording: "starting",
  starting: "proving",
  proving: "uncommitted",
  uncommitted: "forgetting",
  closingBack: "recordingBack",
  swapping: "recordingBack",
  recordingBack: "startingBack",
  startingBack: "forgetting",
  removing: "ended",
  forgetting: "ended",
  ended: "ended",
};

/** The trial: nothing of the server itself was changed. */
const TRIAL: ReadonlySet<UpgradePhase> = new Set(["copying", "booting", "checking", "tried", "clearing"]);
/** The guest is off, or about to be, by our own doing: its power-off does not end the server. */
const GUEST_OFF: ReadonlySet<UpgradePhase> = new Set([
  "closing",
  "splitting",
  "recording",
  "starting",
  "closingBack",
  "swapping",
  "recordingBack",
  "startingBack",
]);

export function ownsPower(phase: UpgradePhase): boolean {
  return GUEST_OFF.has(phase);
}

/** An abort leaves no trace from here. */
export function isAbortable(phase: UpgradePhase): boolean {
  return TRIAL.has(phase);
}

export function beginUpgrade(isCutOverAtOnce: boolean): UpgradeStep {
  const state: UpgradeState = {
    ...{ phase: "copying", attempts: 0, outcome: "upgraded", why: null },
    ...{ isCutOverAtOnce, isFormerDisk: false },
  };
  return enter(state, "copying");
}

/** Whether the operator may ask for this now. */
export function isAllowed(phase: UpgradePhase, asked: "cutover" | "abort" | "commit" | "rollback"): boolean {
  if (asked === "abort") return isAbortable(phase);
  return phase === (asked === "cutover" ? "tried" : "uncommitted");
}

export function stepUpgrade(state: UpgradeState, event: UpgradeEvent): UpgradeStep {
  const { phase } = state;
  if (phase === "ended") return { state, effects: event.kind === "resumed" || event.kind === "serverStarted" ? ["end"] : [] };
  switch (event.kind) {
    case "resumed":
      return again(state);
    case "done":
      return done(state);
    case "failed":
      return failed(state, event.why);
    case "unanswered":
      return unanswered(state, event.why);
    case "guestRestarted":
      // It was to be off, and may run the former image again.
      return phase === "splitting" || phase === "recording" ? enter(state, "closing") : { state, effects: [] };
    case "serverStarted":
      return serverStarted(state, event.isNew);
    case "cutover":
      return isAllowed(phase, "cutover") ? enter(state, "clearing") : { state, effects: [] };
    case "abort":
      return isAllowed(phase, "abort") ? enter({ ...state, outcome: "aborted" }, "removing") : { state, effects: [] };
    case "commit":
      return isAllowed(phase, "commit") ? enter(state, "forgetting") : { state, effects: [] };
    case "rollback": {
      const back: UpgradeState = { ...state, outcome: "rolledBack", isFormerDisk: event.isFormerDisk };
      return isAllowed(phase, "rollback") ? enter(back, "closingBack") : { state, effects: [] };
    }
  }
}

function enter(state: UpgradeState, phase: UpgradePhase): UpgradeStep {
  return again({ ...state, phase, attempts: 0 });
}

function again(state: UpgradeState): UpgradeStep {
  const effect = EFFECTS[state.phase];
  return { state, effects: effect === null ? [] : [effect] };
}

function done(state: UpgradeState): UpgradeStep {
  switch (state.phase) {
    // Who waits for the operator has nothing that could be done.
    case "tried":
    case "uncommitted":
      return { state, effects: [] };
    case "checking":
      return enter(state, state.isCutOverAtOnce ? "clearing" : "tried");
    case "closingBack":
      return enter(state, state.isFormerDisk ? "swapping" : "recordingBack");
    default:
      return enter(state, AFTER[state.phase]);
  }
}

function unanswered(state: UpgradeState, why: string): UpgradeStep {
  const attempts = state.attempts + 1;
  return attempts < UPGRADE_ATTEMPTS_LIMIT ? again({ ...state, attempts }) : failed(state, why);
}

function failed(state: UpgradeState, why: string): UpgradeStep {
  switch (state.phase) {
    case "copying":
    case "booting":
    case "checking":
    case "clearing":
      return enter({ ...state, outcome: "aborted", why }, "removing");
    // What is recorded is the former image still.
    case "closing":
    case "splitting":
      return enter({ ...state, outcome: "aborted", why }, "startingBack");
    case "recording":
      return enter({ ...state, outcome: "rolledBack", why }, "recordingBack");
    case "starting":
    case "proving":
      return enter({ ...state, outcome: "rolledBack", why }, "closingBack");
    // It is ended by its next start, then.
    case "closingBack":
      return enter(state, state.isFormerDisk ? "swapping" : "recordingBack");
    // Better the former image on the present disk than no server.
    case "swapping":
      return enter({ ...state, isFormerDisk: false, why: `${because(state)}the former disk could not be taken: ${why}` }, "recordingBack");
    case "recordingBack":
    case "startingBack":
      return enter({ ...state, outcome: "failed", why: `${because(state)}and the way back failed: ${why}` }, "ended");
    // What is left there is in nobody's way.
    case "removing":
    case "forgetting":
    case "tried":
    case "uncommitted":
    case "ended":
      return enter({ ...state, why: `${because(state)}${why}` }, "ended");
  }
}

function because({ why }: UpgradeState): string {
  return why === null ? "" : `${why}; `;
}

/** What ran is gone; what is recorded runs, or is about to. */
function serverStarted(state: UpgradeState, isNew: boolean): UpgradeStep {
  switch (state.phase) {
    case "copying":
    case "booting":
    case "checking":
    case "tried":
    case "clearing":
      return enter({ ...state, outcome: "aborted", why: STARTED_ANEW }, "removing");
    case "closing":
    case "splitting":
      return enter({ ...state, outcome: "aborted", why: STARTED_ANEW }, "forgetting");
    case "recording":
    case "starting":
    case "proving":
      return isNew ? enter(state, "proving") : enter({ ...state, outcome: "rolledBack", why: STARTED_ANEW }, "forgetting");
    case "uncommitted":
      // Somebody started another image with it.
      return isNew ? { state, effects: [] } : enter({ ...state, outcome: "rolledBack", why: STARTED_ANEW }, "forgetting");
    case "closingBack":
    case "swapping":
    case "recordingBack":
    case "startingBack":
      return isNew ? enter(state, "closingBack") : enter(state, "forgetting");
    case "removing":
    case "forgetting":
    case "ended":
      return again(state);
  }
}
