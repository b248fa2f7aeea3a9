/**
 * The course of an installation as a protocol (pure): what happens, and what is to be done next. The state is written down before its effect
 * is carried out, and every effect may be carried out twice: whoever takes the lead goes on with `resumed`. It ends with all of the change or
 * with nothing of it: if even the way back fails, the guest is power-cycled, and boots what is recorded.
 */

/** Before `switching` the guest's own files are untouched. */
export type Phase =
  | "staging"
  | "verifying"
  | "switching"
  | "applying"
  | "checking"
  | "committing"
  | "undoing"
  | "reverting"
  | "cleaning"
  | "cycling"
  | "ended";

export type Outcome = "installed" | "rolledBack" | "refused";

export interface InstallationState {
  readonly phase: Phase;
  /** Times in a row that the effect of this phase was tried and nobody knows what became of it. */
  readonly attempts: number;
  /** How it is going to end. */
  readonly outcome: Outcome;
  /** Why it does not end `installed`. */
  readonly why: string | null;
  /** Services may have been touched, so the way back touches them too. */
  readonly isApplied: boolean;
}

export type InstallationEvent =
  /** Another management module leads. */
  | { readonly kind: "resumed" }
  | { readonly kind: "done" }
  /** Carried out, and it did not work. */
  | { readonly kind: "failed"; readonly why: string }
  /** Nobody answered: it may or may not have been carried out. */
  | { readonly kind: "unanswered"; readonly why: string }
  /** The guest was started anew: nothing that was put into it is there any more. `isRecorded`: the new image is recorded already. */
  | { readonly kind: "guestRestarted"; readonly isRecorded: boolean };

export type InstallationEffect =
  /** Bring the files into the guest's staging directory and unpack them. */
  | "stage"
  /** There, compare their digests, and those of the files that they replace. */
  | "verify"
  /** Put them in place, one rename each; keep what was there. */
  | "switch"
  /** Do about the services what the delta says. */
  | "apply"
  /** Wait for the services to be well, then run the change's own checks. */
  | "check"
  /** Record the image as the one that the guest boots from. Once it is recorded, this cannot fail any more. */
  | "commit"
  /** Put back what was kept. */
  | "undo"
  /** Do about the services what leads back. */
  | "revert"
  /** Remove the staging directory. */
  | "clean"
  /** Start the guest anew from what is recorded. */
  | "powerCycle"
  /** Tell the outcome, write it into the history. */
  | "end";

export interface Step {
  readonly state: InstallationState;
  readonly effects: readonly InstallationEffect[];
}

export const ATTEMPTS_LIMIT = 3;
const RESTARTED = "the guest was started anew meanwhile";

const EFFECTS: Readonly<Record<Phase, InstallationEffect>> = {
  staging: "stage",
  verifying: "verify",
  switching: "switch",
  applying: "apply",
  checking: "check",
  committing: "commit",
  undoing: "undo",
  reverting: "revert",
  cleaning: "clean",
  cycling: "powerCycle",
  ended: "end",
};

const AFTER: Readonly<Record<Phase, Phase>> = {
  staging: "verifying",
  verifying: "switching",
  switching: "applying",
  applying: "checking",
  checking: "committing",
  committing: "cleaning",
  undoing: "reverting",
  reverting: "cleaning",
  cleaning: "ended",
  cycling: "ended",
  ended: "ended",
};

export function begin(): Step {
  return enter({ phase: "staging", attempts: 0, outcome: "installed", why: null, isApplied: false }, "staging");
}

export function step(state: InstallationState, event: InstallationEvent): Step {
  if (state.phase === "ended") return { state, effects: event.kind === "resumed" ? ["end"] : [] };
  switch (event.kind) {
    case "resumed":
      return { state, effects: [EFFECTS[state.phase]] };
    case "done":
      return done(state);
    case "failed":
      return failed(state, event.why);
    case "unanswered": {
      const attempts = state.attempts + 1;
      if (attempts < ATTEMPTS_LIMIT) return { state: { ...state, attempts }, effects: [EFFECTS[state.phase]] };
      return failed(state, event.why);
    }
    case "guestRestarted":
      return guestRestarted(state, event.isRecorded);
  }
}

function enter(state: InstallationState, phase: Phase): Step {
  return { state: { ...state, phase, attempts: 0, isApplied: state.isApplied || phase === "applying" }, effects: [EFFECTS[phase]] };
}

function done(state: InstallationState): Step {
  // What the services never saw they need not be told to forget.
  if (state.phase === "undoing" && !state.isApplied) return enter(state, "cleaning");
  return enter(state, AFTER[state.phase]);
}

function failed(state: InstallationState, why: string): Step {
  switch (state.phase) {
    case "staging":
    case "verifying":
      return enter({ ...state, outcome: "refused", why }, "cleaning");
    case "switching":
    case "applying":
    case "checking":
    case "committing":
      return enter({ ...state, outcome: "rolledBack", why }, "undoing");
    case "undoing":
    case "reverting":
      return enter({ ...state, why: `${state.why ?? ""}; and the way back failed: ${why}` }, "cycling");
    // Nobody takes the order now: somebody will.
    case "cycling":
      return enter(state, "cycling");
    // What is left in the staging directory is in nobody's way.
    case "cleaning":
    case "ended":
      return enter(state, "ended");
  }
}

/** The guest's memory is gone with all that was done to it; nothing is left to undo or clean. */
function guestRestarted(state: InstallationState, isRecorded: boolean): Step {
  switch (state.phase) {
    case "cleaning":
    case "ended":
      return enter(state, "ended");
    // Recorded, but the I/O modules may not have heard of it: once more, from what is recorded.
    case "committing":
      return isRecorded ? enter(state, "cycling") : enter({ ...state, outcome: "rolledBack", why: RESTARTED }, "ended");
    case "staging":
    case "verifying":
      return enter({ ...state, outcome: "refused", why: RESTARTED }, "ended");
    case "undoing":
    case "reverting":
    case "cycling":
      return enter(state, "ended");
    default:
      return enter({ ...state, outcome: "rolledBack", why: RESTARTED }, "ended");
  }
}
