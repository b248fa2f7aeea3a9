/**
 * Follows the guest's own software: off, booting, reachable (its network stack answers), ready (our init said so on the console). A
 * refused TCP connection is an answer too, so this works with any guest; it stops asking once the guest is ready.
 */
import { probeGuest, type GuestProbe } from "./guest-probe.js";
import type { GuestState } from "./management-status.js";

const PROBE_EVERY_MS = 250;
const PROBE_LIMIT_MS = 1000;
/** A guest without our init never says ready: after this long we stop asking, it stays reachable. */
const PROBES_WHEN_REACHABLE = 20;

export class GuestWatch {
  readonly #probe: GuestProbe | null;
  readonly #changed: (state: GuestState) => void;
  #state: GuestState = "off";
  #timer: NodeJS.Timeout | null = null;
  #probesLeft = 0;

  /** Nothing to probe: only the console tells. */
  constructor(probes: readonly GuestProbe[], changed: (state: GuestState) => void) {
    this.#probe = probes[0] ?? null;
    this.#changed = changed;
  }

  get state(): GuestState {
    return this.#state;
  }

  /** The guest was powered on, or is about to boot again. */
  booting(): void {
    this.#probesLeft = PROBES_WHEN_REACHABLE;
    this.#set("booting");
    this.#schedule();
  }

  ready(): void {
    this.#set("ready");
    this.close();
  }

  off(): void {
    this.#set("off");
    this.close();
  }

  close(): void {
    if (this.#timer !== null) clearTimeout(this.#timer);
    this.#timer = null;
  }

  #set(state: GuestState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.#changed(state);
  }

  #schedule(): void {
    this.close();
    if (this.#probe === null || (this.#state === "reachable" && this.#probesLeft === 0)) return;
    const probe = this.#probe;
    this.#timer = setTimeout(() => void this.#ask(probe), PROBE_EVERY_MS);
  }

  async #ask(probe: GuestProbe): Promise<void> {
    const timer = this.#timer;
    const outcome = await probeGuest(probe, PROBE_LIMIT_MS);
    if (timer === null || this.#timer !== timer || this.#state === "ready" || this.#state === "off") return;
    if (outcome !== "silent") {
      this.#probesLeft -= 1;
      this.#set("reachable");
    }
    this.#schedule();
  }
}
