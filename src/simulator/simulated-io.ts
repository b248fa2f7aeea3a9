/**
 * An I/O module of a simulated server: the real LockstepServer with a clock of its own. It can be held (SIGSTOP) and continue when
 * another one has long taken over.
 */
import { LockstepServer } from "../lockstep/server.js";
import { MirrorLinks, type MirrorPeer } from "../lockstep/mirror-links.js";
import type { ServerEffect, ServerEvent, ServerOptions } from "../lockstep/server-types.js";
import type { SimulatedCpu } from "./simulated-cpu.js";
import type { Timeline } from "./timeline.js";

const LEAST_WAIT_MS = 0.01;

/** An event without its time, which is put in when it is handled. */
export type TimelessEvent = { readonly kind: ServerEvent["kind"] } & Readonly<Record<string, unknown>>;

/** `before`: what comes with the event, when it is handled and not when it arrives; false: it does not count any more. */
interface Pending {
  readonly event: TimelessEvent;
  readonly before: () => boolean;
  readonly after: () => void;
}

export class SimulatedIo {
  readonly name: string;
  readonly incarnation: number;
  readonly server: LockstepServer;
  readonly connected = new Map<string, SimulatedCpu>();
  /** Other I/O modules that it is connected to. */
  readonly peers = new Map<string, SimulatedIo>();
  readonly mirrorPeers = new Map<string, MirrorPeer>();
  /** The mirrors of the guest's disk; null: it has none. */
  readonly mirrors: MirrorLinks | null;
  readonly #timeline: Timeline;
  readonly #bornMs: number;
  /** How fast its clock goes. */
  readonly #rate: number;
  #jumpedMs = 0;
  state: "up" | "held" | "ended" = "up";
  readonly #pending: Pending[] = [];
  #isStepping = false;
  #wakeToken = 0;

  constructor(options: ServerOptions, timeline: Timeline, rate: number, execute: (io: SimulatedIo, effect: ServerEffect) => void) {
    this.name = options.name;
    this.incarnation = options.incarnation;
    this.#timeline = timeline;
    this.#bornMs = timeline.nowMs;
    this.#rate = rate;
    this.mirrors = options.disk === undefined ? null : new MirrorLinks(options.name, this.mirrorPeers, (event) => this.dispatch(event));
    this.server = new LockstepServer(options, (effect) => {
      if (this.state !== "ended") execute(this, effect);
    });
  }

  /** Something that happens in its process beside the server: at once, or when it is continued. */
  whenUp(run: () => void): void {
    const only = (): boolean => {
      run();
      return false;
    };
    this.dispatch({ kind: "wake" }, only);
  }

  /** Its monotonic clock. */
  get localMs(): number {
    return (this.#timeline.nowMs - this.#bornMs) * this.#rate + this.#jumpedMs;
  }

  /** As after the host was suspended. */
  jump(ms: number): void {
    this.#jumpedMs += ms;
    this.dispatch({ kind: "wake" });
  }

  /** SIGSTOP: what comes meanwhile waits. */
  hold(): void {
    if (this.state === "up") this.state = "held";
  }

  continue(): void {
    if (this.state !== "held") return;
    this.state = "up";
    this.#handleAll();
  }

  end(): void {
    this.state = "ended";
    this.#pending.length = 0;
  }

  dispatch(event: TimelessEvent, before: () => boolean = () => true, after: () => void = () => undefined): void {
    if (this.state === "ended") return;
    this.#pending.push({ event, before, after });
    if (!this.#isStepping && this.state === "up") this.#handleAll();
  }

  #handleAll(): void {
    this.#isStepping = true;
    try {
      for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
        if (!next.before()) continue;
        // The time is put into the event itself, which nobody keeps: a copy of each takes a few percent of all the time there is.
        (next.event as { atMs?: number }).atMs = this.localMs;
        this.server.step(next.event as unknown as ServerEvent);
        this.server.check();
        next.after();
      }
    } finally {
      this.#isStepping = false;
    }
    const token = ++this.#wakeToken;
    const { wakeAtMs } = this.server;
    if (wakeAtMs === null || this.state !== "up") return;
    this.#timeline.after(Math.max((wakeAtMs - this.localMs) / this.#rate, LEAST_WAIT_MS), () => {
      if (token === this.#wakeToken) this.dispatch({ kind: "wake" });
    });
  }
}
