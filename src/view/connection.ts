/** How the console holds on to a server whose front may go: several listen at the same address, so it only asks again. */

const FIRST_PAUSE_MS = 100;
const PAUSE_MS_MAX = 5000;

/** Before attempt 1, 2, … after a loss. Doubled each time, and spread, so that many consoles do not come at once. `chance`: 0 to 1. */
export function reconnectPauseMs(attempt: number, chance: number): number {
  const full = Math.min(PAUSE_MS_MAX, FIRST_PAUSE_MS * 2 ** Math.min(attempt - 1, 16));
  return Math.round(full * (0.5 + chance / 2));
}

/** A stream this long without a byte is taken for dead: the front says something at least every 15 s. */
export const SILENCE_LIMIT_MS = 40_000;

/** A page out of sight for this long lets go of its streams: a browser keeps only six connections to one server. */
export const HIDDEN_LIMIT_MS = 60_000;

export type Connection =
  | { readonly kind: "connecting" }
  | { readonly kind: "connected" }
  | { readonly kind: "reconnecting"; readonly attempt: number; readonly why: string };

export function connectionText(connection: Connection): string {
  switch (connection.kind) {
    case "connecting":
      return "Connecting…";
    case "connected":
      return "Live";
    case "reconnecting":
      return `Reconnecting, attempt ${connection.attempt}: ${connection.why}. What you see is the last that was heard.`;
  }
}
