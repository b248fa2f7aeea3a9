/**
 * The guest's disk, as the lockstep server has it: requests are outputs that were voted, completions are inputs. Which mirrors count
 * is a part of the configuration. Only the active I/O module has a controller (../storage); a new one begins with each takeover, and
 * has the machines repeat what they still wait for.
 */
import type { DiskRequest } from "../machine/machine.js";
import { DiskController } from "../storage/disk-controller.js";
import type { DiskEffect, DiskEvent, MirrorHeader } from "../storage/types.js";
import type { DiskStatus } from "../wire/control.js";
import type { ConfigurationRecord, TickMessage } from "../wire/messages.js";
import { START_WAIT_MS, TAKEOVER_MIRROR_WAIT_MS } from "./limits.js";
import type { ServerEvent, ServerOptions } from "./server-types.js";
import type { LockstepServer } from "./server.js";

/** An event for a controller, which gets its time here. */
type Untimed = DiskEvent extends infer E ? (E extends DiskEvent ? Omit<E, "atMs"> : never) : never;

type DiskSetup = NonNullable<ServerOptions["disk"]>;

export type MirrorEvent = Extract<ServerEvent, { kind: "mirrorUp" | "mirrorDown" | "mirrorReply" | "diskGrow" | "diskScrub" | "mirrors" }>;

export class GuestDisk {
  readonly #server: LockstepServer;
  /** What the mirrors that are there said of themselves last. */
  readonly #headers = new Map<string, MirrorHeader>();
  /** The I/O modules that should hold a mirror. */
  #mirrors: readonly string[];
  /** Those that the controller was made with. */
  #known: readonly string[] = [];
  /** They are others than the controller knows: the next configuration brings another controller. */
  #isRenewing = false;
  #controller: DiskController | null = null;
  /** Requests of earlier ticks were made to another controller, or by an earlier life of the guest. */
  #firstSeq = Infinity;
  /** As the machines have it. */
  #knownSizeBytes: number;
  /** What the controller asked for while it was stepped; it hears of nothing before that is over. */
  #isStepping = false;
  readonly #pending: Untimed[] = [];

  constructor(server: LockstepServer) {
    this.#server = server;
    this.#knownSizeBytes = server.options.disk?.sizeBytes ?? 0;
    this.#mirrors = server.options.disk?.mirrors ?? [];
  }

  /** Another redundancy: a mirror more or less. One whose module is only away stays wanted, or the logs would not tell what it lacks. */
  #want(mirrors: readonly string[]): void {
    const { disk, ioModules = [] } = this.#server.options;
    const wanted = ioModules.filter((name) => mirrors.includes(name));
    if (disk === undefined || wanted.length === 0 || wanted.join() === this.#mirrors.join()) return;
    this.#mirrors = wanted;
    if (this.#controller !== null) this.#renew();
  }

  /** A mirror comes, goes or answers; or the operator wants something. */
  hear(event: MirrorEvent): void {
    switch (event.kind) {
      case "mirrorUp":
        // One that is there already only says what it has become: the controller, which has made it so, knows.
        if (this.#headers.has(event.name)) return void this.#headers.set(event.name, event.header);
        this.#headers.set(event.name, event.header);
        return this.#stepOf(event.name, { kind: "mirrorUp", name: event.name, header: event.header });
      case "mirrorDown":
        if (this.#headers.delete(event.name)) this.#stepOf(event.name, { kind: "mirrorDown", name: event.name });
        return;
      case "mirrorReply":
        if (this.#headers.has(event.name)) this.#stepOf(event.name, { kind: "reply", name: event.name, reply: event.reply });
        return;
      case "mirrors":
        return this.#want(event.mirrors);
      case "diskGrow":
        return this.#step({ kind: "grow", sizeBytes: event.sizeBytes });
      case "diskScrub":
        return this.#step({ kind: "scrub" });
    }
  }

  /** A configuration of this module's is in force. `takesOver`: the guest and its mirrors live. */
  configured(record: ConfigurationRecord, takesOver: boolean): void {
    const { disk } = this.#server.options;
    if (disk === undefined) return;
    const isRenewed = this.#isRenewing;
    this.#isRenewing = false;
    if (this.#controller === null || isRenewed) {
      this.#begin(disk, takesOver || isRenewed ? TAKEOVER_MIRROR_WAIT_MS : START_WAIT_MS, record.mirrors);
      if (isRenewed) this.takeOver();
    }
    this.#step({ kind: "configured", number: record.number, mirrors: record.mirrors });
    // As long as a mirror that is not wanted any more is known, the mirrors are never all in sync.
    const isKnownInVain = this.#known.some((name) => !this.#mirrors.includes(name) && !record.mirrors.includes(name));
    if (isKnownInVain) this.#renew();
  }

  #renew(): void {
    this.#isRenewing = true;
    this.#server.membership.wantMirrors(null);
  }

  /** Mirrors that the record still names are known to a controller even if they are not wanted: it drops them. */
  #begin({ diskId, sizeBytes }: DiskSetup, graceMs: number, inForce: readonly string[]): void {
    const { name } = this.#server.options;
    const mirrors = [...new Set([...this.#mirrors, ...inForce])];
    this.#known = mirrors;
    const { standby } = this.#server;
    const isSilent = (mirror: string): boolean => standby.peers.isSilent(mirror);
    const isLost = (mirror: string): boolean => standby.isLost(mirror);
    const options = { diskId, sizeBytes, mirrors, local: mirrors.includes(name) ? name : "", graceMs, isSilent, isLost };
    this.#pending.length = 0;
    this.#controller = new DiskController(options, (effect) => this.#execute(effect));
    for (const [mirror, header] of this.#headers) if (mirrors.includes(mirror)) this.#step({ kind: "mirrorUp", name: mirror, header });
  }

  /** The machines live, and what they wait for of their disk is this module's to do. */
  takeOver(): void {
    if (this.#server.options.disk !== undefined) this.#server.sequencer.input({ kind: "diskRepeat" });
  }

  /** The guest is powered on: its disk has the size that it was made with, until the machines are told. */
  poweredOn(): void {
    const { disk } = this.#server.options;
    if (disk !== undefined && this.#knownSizeBytes !== disk.sizeBytes) this.#tellSize();
  }

  /** From this tick on the machines ask this controller. */
  issued(tick: TickMessage): void {
    if (!tick.inputs.some((input) => input.kind === "powerOn" || input.kind === "diskRepeat")) return;
    this.#server.sequencer.dropDiskInputs();
    this.#firstSeq = tick.seq;
    this.#step({ kind: "forget" });
  }

  /** Nobody waits for anything any more. */
  lost(): void {
    this.#firstSeq = Infinity;
    this.#step({ kind: "forget" });
  }

  request(request: DiskRequest, seq: number): void {
    if (seq >= this.#firstSeq) this.#step({ kind: "request", request });
  }

  /** To be called with every event: the controller's own time passes. */
  pump(): void {
    const wakeAtMs = this.wakeAtMs;
    if (wakeAtMs !== null && wakeAtMs <= this.#server.atMs) this.#step({ kind: "wake" });
  }

  get wakeAtMs(): number | null {
    return this.#controller?.wakeAtMs ?? null;
  }

  get status(): DiskStatus | null {
    return this.#controller?.status() ?? null;
  }

  end(): void {
    this.#controller = null;
  }

  /** Of a mirror that the controller knows. */
  #stepOf(mirror: string, event: Untimed): void {
    if (this.#controller?.knows(mirror) === true) this.#step(event);
  }

  #step(event: Untimed): void {
    this.#pending.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift())
        this.#controller?.step({ ...next, atMs: this.#server.atMs } as DiskEvent);
    } finally {
      this.#isStepping = false;
    }
  }

  #execute(effect: DiskEffect): void {
    const server = this.#server;
    switch (effect.kind) {
      case "command":
        return server.emit({ kind: "mirrorCommand", mirror: effect.mirror, command: effect.command });
      case "done":
        server.sequencer.input({ kind: "diskDone", id: effect.id, isOk: effect.isOk, bytes: effect.bytes });
        return;
      case "wantMirrors":
        return this.#isRenewing ? undefined : server.membership.wantMirrors(effect.mirrors);
      case "fenced":
        return server.fenced(`a mirror of the disk has seen configuration ${effect.seen}`);
      case "grown":
        this.#knownSizeBytes = effect.sizeBytes;
        return this.#tellSize();
      case "event":
        return server.event(effect.severity, effect.code, effect.text, effect.mirror);
    }
  }

  #tellSize(): void {
    this.#server.sequencer.input({ kind: "diskSize", bytes: this.#knownSizeBytes });
  }
}
