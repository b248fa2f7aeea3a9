/**
 * A management module that waits for the lead. The leading one keeps a connection to it and says over and over that it leads. When the
 * connection ends, the lock tells whether the leader is dead; a leader that is only silent (stopped, or in an endless loop) still has the
 * lock, and is ended first, by pid and start time.
 */
import type { Server } from "node:net";
import { controlOf, type ManagementToManagement } from "../wire/control.js";
import { socketPath, type ModuleConfig } from "./config.js";
import { lockServer } from "./management-lock.js";
import type { ServerPaths } from "./management-paths.js";
import { readJsonFile } from "./management-plan.js";
import { signalIfAlive } from "./management-process.js";
import type { MadeRecord } from "./management-state.js";
import { listenForPeers, type Listener, type Peer, type PeerHandlers } from "./transport.js";

/** How often the leader says that it leads. */
export const LEAD_EVERY_MS = 100;
const TRY_EVERY_MS = 20;
const LOOK_EVERY_MS = 200;
/**
 * So many looks without a word of the leader: it hangs. Counted in looks, not in time, so that a host that was suspended or too busy
 * for us does not make the leader look silent.
 */
const SILENT_LOOKS_LIMIT = 15;

export interface Lead {
  readonly lock: Server;
  /** It was silent and had to be ended. */
  readonly wasSilent: boolean;
}

export class Standby {
  readonly #config: ModuleConfig;
  readonly #paths: ServerPaths;
  readonly #onFollowing: () => void;
  #listener: Listener | null = null;
  #leader: Peer | null = null;
  #silentLooks = 0;
  #wasSilent = false;
  #isTrying = false;
  #lookTimer: NodeJS.Timeout | null = null;
  #resolve: ((lead: Lead) => void) | null = null;

  /** `onFollowing`: called when a leader is heard. */
  constructor(config: ModuleConfig, paths: ServerPaths, onFollowing: () => void) {
    this.#config = config;
    this.#paths = paths;
    this.#onFollowing = onFollowing;
  }

  /** Resolves when this process has the lead. */
  async waitForLead(): Promise<Lead> {
    const { name, incarnation } = this.#config;
    const self = { module: "management", name, incarnation } as const;
    this.#listener = await listenForPeers(socketPath(this.#config, name), self, (peer) => this.#accept(peer));
    return new Promise((resolve) => {
      this.#resolve = resolve;
      this.#lookTimer = setInterval(() => this.#look(), LOOK_EVERY_MS);
      void this.#try();
    });
  }

  #accept(peer: Peer): PeerHandlers | null {
    if (peer.hello.module !== "management") return null;
    this.#leader?.close("another one leads");
    this.#leader = peer;
    return {
      onMessage: (message) => {
        const kind = controlOf(message)?.kind;
        if (kind === "shutdown") process.exit(0);
        if (kind !== "lead" || this.#leader !== peer) return;
        this.#silentLooks = 0;
        this.#wasSilent = false;
        this.#onFollowing();
        peer.send({ kind: "control", text: JSON.stringify({ kind: "standby" } satisfies ManagementToManagement) });
      },
      onClose: () => {
        if (this.#leader !== peer) return;
        this.#leader = null;
        void this.#try();
      },
    };
  }

  /** While no leader is connected: perhaps there is none. */
  async #try(): Promise<void> {
    if (this.#isTrying) return;
    this.#isTrying = true;
    while (this.#leader === null) {
      const lock = await lockServer(this.#paths.runDirectory);
      if (lock !== null) return this.#lead(lock);
      await new Promise((resolve) => setTimeout(resolve, TRY_EVERY_MS));
    }
    this.#isTrying = false;
  }

  #lead(lock: Server): void {
    if (this.#lookTimer !== null) clearInterval(this.#lookTimer);
    this.#listener?.close();
    this.#resolve?.({ lock, wasSilent: this.#wasSilent });
  }

  #look(): void {
    this.#silentLooks += 1;
    if (this.#silentLooks <= SILENT_LOOKS_LIMIT) return;
    this.#silentLooks = 0;
    const leader = readJsonFile<MadeRecord>(this.#paths.madeFile)?.management;
    if (leader === undefined || leader.pid === process.pid) return;
    this.#wasSilent = true;
    signalIfAlive(leader);
  }
}
