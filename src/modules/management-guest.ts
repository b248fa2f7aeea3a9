/**
 * Follows the guest's own software: off, booting, reachable (its network stack answers), ready (our init said so on the console). A
 * refused TCP connection is an answer too, so this works with any guest; it stops asking once the guest is ready.
 */
import { createConnection } from "node:net";
import type { GuestState } from "./management-status.js";

const PROBE_PORT = 80;
const PROBE_EVERY_MS = 250;
const PROBE_LIMIT_MS = 1000;
/** A guest without our init never says ready: after this long we stop asking, it stays reachable. */
const PROBES_WHEN_REACHABLE = 20;

export class GuestWatch {
  readonly #address: string;
  readonly #changed: (state: GuestState) => void;
  #state: GuestState = "off";
  #timer: NodeJS.Timeout | null = null;
  #probesLeft = 0;

  /** An empty address: no network, only the console tells. */
  constructor(address: string, changed: (state: GuestState) => void) {
    this.#address = address;
    this.#changed = changed;
  }

  get state(): GuestState {
    return this.#state;
  }

  /** Goes on where another management module was. */
  resume(state: GuestState): void {
    this.#state = state;
    this.#probesLeft = PROBES_WHEN_REACHABLE;
    if (state === "booting" || state === "reachable") this.#schedule();
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
    if (this.#address === "" || (this.#state === "reachable" && this.#probesLeft === 0)) return;
    this.#timer = setTimeout(() => this.#probe(), PROBE_EVERY_MS);
  }

  #probe(): void {
    const socket = createConnection({ host: this.#address, port: PROBE_PORT });
    let settled = false;
    const settle = (answered: boolean): void => {
      if (settled) return;
      settled = true;
      socket.destroy();
      if (this.#timer === null || this.#state === "ready" || this.#state === "off") return;
      if (answered) {
        this.#probesLeft -= 1;
        this.#set("reachable");
      }
      this.#schedule();
    };
    socket.setTimeout(PROBE_LIMIT_MS, () => settle(false));
    socket.once("connect", () => settle(true));
    socket.once("error", (error: NodeJS.ErrnoException) => settle(error.code === "ECONNREFUSED" || error.code === "ECONNRESET"));
  }
}
