/**
 * The I/O module: executes what the pure LockstepServer decides. Sockets to the CPU modules, the arbiter, the network port, timers,
 * and the management connections.
 */
import { randomBytes } from "node:crypto";
import { FileArbiter } from "../arbiters/file.js";
import type { CourseStep } from "../lockstep/miscompare-report.js";
import { MirrorLinks } from "../lockstep/mirror-links.js";
import { ExchangeMeter } from "../lockstep/exchanges.js";
import { LockstepServer } from "../lockstep/server.js";
import type { ServerEffect, ServerEvent } from "../lockstep/server-types.js";
import { DIGEST_PATTERN } from "../certification/digest.js";
import { MAX_AGENT_BYTES } from "../machine/machine.js";
import { announcement, isFor, parseMac } from "../ports/ethernet.js";
import type { NetworkPort } from "../ports/port.js";
import { rehearseTakeover } from "../simulator/rehearsal.js";
import { DISK_DRILLS } from "../storage/faulty-file.js";
import { encodePieces } from "../wire/codec.js";
import type { EventMessage, IoToManagement } from "../wire/control.js";
import { controlOf } from "../wire/control.js";
import type { Message } from "../wire/messages.js";
import type { BlockStore } from "./block-store.js";
import { checkpointDirectory, removeOtherCheckpoints } from "./checkpoint-files.js";
import { socketPath, type ModuleConfig } from "./config.js";
import { CourseFile, writeCourse } from "./course-file.js";
import { EndingWatch } from "./ending-watch.js";
import { openPort } from "./io-port.js";
import { openMirror } from "./mirror-opening.js";
import { ManagementFeed } from "./management-feed.js";
import { PreciseTimer } from "./precise-timer.js";
import { sequenceFirst } from "./start-priority.js";
import { keepConnected, listenForPeers, type Identity, type KeptLink, type Peer, type PeerHandlers } from "./transport.js";
import { keepCompiledCode } from "./v8-flags.js";

const STATUS_EVERY_MS = 100;
/** Said even when nothing changed: management takes a sequencer that is silent for long to be hung. */
const SIGN_OF_LIFE_MS = 1000;
const MAX_CONSOLE_INPUT_BYTES = 16 * 1024;

const RECORD_ACTIONS = ["start", "imageTaken", "stop"] as const;

/** An event before it gets its time: atMs is filled in when it is handled. */
type Untimed = ServerEvent extends infer E ? (E extends ServerEvent ? Omit<E, "atMs"> : never) : never;

class IoModule {
  readonly #config: ModuleConfig;
  readonly #self: Identity;
  readonly #server: LockstepServer;
  readonly #arbiter: FileArbiter;
  readonly #port: NetworkPort | null;
  readonly #cpus = new Map<string, Peer>();
  /** Other I/O modules. */
  readonly #ios = new Map<string, Peer>();
  /** Mirrors of the guest's disk: its own, and those in the other I/O modules. */
  readonly #mirrors: MirrorLinks;
  #mirror: BlockStore | null = null;
  readonly #guestMac: Uint8Array | null;
  readonly #endings = new EndingWatch();
  readonly #exchanges = new ExchangeMeter();
  readonly #feed = new ManagementFeed();
  readonly #timer = new PreciseTimer(() => this.#dispatch({ kind: "wake" }));
  readonly #pending: Untimed[] = [];
  #isStepping = false;
  #isInPower = false;
  /** Kept up to the modules in use, and to the judge while it is wanted. */
  readonly #cpuLinks = new Map<string, KeptLink>();
  #course: CourseFile | null = null;
  #isStatusDue = false;
  #reportedSeq = -1;
  #reportedAtMs = 0;

  constructor(config: ModuleConfig, port: NetworkPort | null) {
    this.#config = config;
    this.#port = port;
    this.#self = { module: "io", name: config.name, incarnation: config.incarnation };
    this.#guestMac = config.network.macAddress === "" ? null : parseMac(config.network.macAddress);
    this.#arbiter = new FileArbiter(config.arbiterDirectory);
    this.#mirrors = new MirrorLinks(config.name, this.#ios, (event) => this.#dispatch(event));
    this.#server = new LockstepServer(
      {
        name: config.name,
        incarnation: config.incarnation,
        cpuModules: config.cpuModules,
        ioModules: config.ioModules,
        emptySlots: config.emptySlots ?? [],
        pairs: config.cpuPairs ?? [],
        ...(config.judge !== undefined && { judge: config.judge }),
        ...(config.disk !== undefined && {
          disk: { diskId: config.disk.diskId, sizeBytes: config.machine.diskBytes ?? 0, mirrors: config.disk.mirrors },
        }),
        enclosures: enclosuresOf(config),
        sockets: Object.fromEntries(slotsOf(config).map((name) => [name, socketPath(config, name)])),
        release: config.release,
        lagLimitMs: config.lagLimitMs,
        checkpoints: config.checkpoints ?? true,
        ...(config.bootImage !== undefined && { bootImage: config.bootImage }),
        anchorNs: BigInt(Math.round(performance.timeOrigin * 1000)) * 1000n - BigInt(config.epochNs),
      },
      (effect) => this.#execute(effect),
    );
  }

  async start(): Promise<void> {
    await listenForPeers(socketPath(this.#config, this.#config.name), this.#self, (peer) => this.#accept(peer));
    if (this.#config.disk !== undefined) {
      openMirror(this.#config.disk.directory, (store) => {
        this.#mirror = store;
        this.#mirrors.opened(store);
      });
    }
    this.#dispatch({ kind: "start" });
    for (const name of this.#config.cpuModules) this.#linkCpu(name);
    // One connection for each two: the later one makes it.
    const { ioModules, name: own } = this.#config;
    for (const name of ioModules.slice(0, Math.max(0, ioModules.indexOf(own)))) {
      keepConnected(socketPath(this.#config, name), this.#self, (peer) => (peer.hello.name === name ? this.#acceptIo(peer) : null));
    }
    await this.#port?.start(
      (frames) => {
        const ours = frames.filter((frame) => this.#guestMac === null || isFor(frame, this.#guestMac));
        if (ours.length === 0) return;
        this.#endings.care();
        if (this.#isInPower) for (const frame of ours) this.#exchanges.toGuest(frame, performance.now());
        this.#dispatch({ kind: "frames", port: 0, frames: ours });
      },
      (notice) => this.#tell({ kind: "event", atMs: Date.now(), module: this.#config.name, ...notice }),
    );
    setInterval(() => {
      const isDue = performance.now() - this.#reportedAtMs >= SIGN_OF_LIFE_MS;
      if (isDue || this.#server.voter.issued !== this.#reportedSeq) this.#sendStatus();
    }, STATUS_EVERY_MS);
  }

  /** Effects may cause events (a closed connection, drawn entropy): those wait until the step that caused them is done. */
  #dispatch(event: Untimed): void {
    this.#pending.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#pending.shift(); next !== undefined; next = this.#pending.shift()) {
        this.#server.step({ ...next, atMs: performance.now() } as ServerEvent);
      }
    } finally {
      this.#isStepping = false;
    }
    this.#timer.set(this.#server.wakeAtMs);
    // It acts by a configuration that it won. One that was overtaken may think so until it hears of it, or is ended.
    const isInPower = this.#server.acts && this.#server.membership.hasWon;
    if (isInPower === this.#isInPower) return;
    this.#isInPower = isInPower;
    this.#port?.setActive?.(isInPower);
    // Only whoever sequences: what a stand-by still has to compile after its start must not take its time from the others.
    if (isInPower) sequenceFirst();
  }

  #linkCpu(name: string): void {
    const link = this.#cpuLinks.get(name);
    if (link !== undefined) return link.soon();
    const accept = (peer: Peer): PeerHandlers | null => this.#acceptCpu(name, peer);
    this.#cpuLinks.set(name, keepConnected(socketPath(this.#config, name), this.#self, accept));
  }

  #unlinkCpu(name: string): void {
    this.#cpuLinks.get(name)?.close();
    this.#cpuLinks.delete(name);
  }

  #acceptCpu(name: string, peer: Peer): PeerHandlers | null {
    if (peer.hello.module !== "cpu" || peer.hello.name !== name) return null;
    this.#cpus.get(name)?.close("it connected again");
    this.#cpus.set(name, peer);
    this.#dispatch({ kind: "cpuConnected", name, incarnation: peer.hello.incarnation });
    const forget = this.#watchEnding(peer);
    return {
      onMessage: (message) => this.#dispatch({ kind: "cpuMessage", name, message }),
      onClose: (why) => {
        forget();
        if (this.#cpus.get(name) !== peer) return;
        this.#cpus.delete(name);
        this.#dispatch({ kind: "cpuDisconnected", name, why });
      },
    };
  }

  #execute(effect: ServerEffect): void {
    switch (effect.kind) {
      case "sendTick": {
        const pieces = encodePieces(effect.tick);
        for (const name of effect.to) this.#cpus.get(name)?.sendPieces(pieces);
        return;
      }
      case "send":
        (this.#cpus.get(effect.to) ?? this.#ios.get(effect.to))?.send(effect.message);
        return;
      case "announce":
        if (this.#guestMac !== null) this.#port?.send(announcement(this.#guestMac));
        return;
      case "transmit":
        this.#port?.send(effect.bytes);
        this.#exchanges.fromGuest(effect.bytes, performance.now());
        return;
      case "console":
        return this.#tell({ kind: "console", base64: Buffer.from(effect.bytes).toString("base64") });
      case "agent":
        return this.#tell({ kind: "agent", base64: Buffer.from(effect.bytes).toString("base64") });
      case "drawEntropy":
        return this.#dispatch({ kind: "entropy", purpose: effect.purpose, bytes: randomBytes(effect.lengthBytes) });
      case "mirrorCommand":
        return this.#mirrors.command(effect.mirror, effect.command);
      case "disconnect":
        this.#cpus.get(effect.name)?.close(effect.why);
        return;
      case "event": {
        const { severity, code, module, text, data } = effect;
        const event: EventMessage = {
          kind: "event",
          atMs: Date.now(),
          severity,
          code,
          text,
          ...(module && { module }),
          ...(data && { data }),
        };
        return this.#tell(event);
      }
      case "statusChanged":
        return this.#statusDue();
      case "judge":
        if (effect.wanted) this.#linkCpu(this.#config.judge ?? "");
        else this.#unlinkCpu(this.#config.judge ?? "");
        return this.#tell(effect);
      case "recordingStarted":
      case "recordStep":
      case "recordingEnded":
        return this.#record(effect);
      case "checkpointKept":
        removeOtherCheckpoints(checkpointDirectory(this.#config), effect.store).catch((error: Error) => {
          process.stderr.write(`old checkpoints cannot be removed: ${error.message}\n`);
        });
        return;
      case "report":
        return this.#tell({ kind: "report", report: effect.report, course: this.#writeCourse(effect.course) });
      case "shoot":
      case "guest":
      case "verified":
        return this.#tell(effect);
      default:
        return this.#askArbiter(effect);
    }
  }

  #record(effect: Extract<ServerEffect, { kind: "recordingStarted" | "recordStep" | "recordingEnded" }>): void {
    switch (effect.kind) {
      case "recordingStarted":
        this.#course = new CourseFile(`${this.#config.runDirectory}/course-${this.#config.name}-${this.#config.incarnation}-recording`);
        return this.#tell(effect);
      case "recordStep":
        if (this.#course?.add(effect.step) === false) this.#dispatch({ kind: "record", action: "stop" });
        return;
      case "recordingEnded": {
        const course = this.#course;
        this.#course = null;
        course?.end((why) => this.#tell({ kind: "recordingEnded", ticks: effect.ticks, course: course.path, why }));
      }
    }
  }

  /** Where the ticks are for whoever makes a file of a report; empty: there are none, or they could not be written. */
  #writeCourse(course: readonly CourseStep[]): string {
    if (course.length === 0) return "";
    const path = `${this.#config.runDirectory}/course-${this.#config.name}-${this.#config.incarnation}-${course.at(-1)?.tick.seq}`;
    try {
      writeCourse(path, course);
      return path;
    } catch (error) {
      process.stderr.write(`the ticks of a miscompare cannot be kept: ${(error as Error).message}\n`);
      return "";
    }
  }

  #askArbiter(effect: Extract<ServerEffect, { kind: "claim" | "readHighest" }>): void {
    const failed = (error: unknown): void => {
      this.#dispatch({ kind: "arbiterFailed", why: (error as Error).message });
      if (effect.kind === "readHighest") setTimeout(() => this.#askArbiter(effect), 500);
    };
    if (effect.kind === "claim") this.#arbiter.claim(effect.record).then((winner) => this.#dispatch({ kind: "claimed", winner }), failed);
    else this.#arbiter.highest().then((record) => this.#dispatch({ kind: "highest", record }), failed);
  }

  // ---- management ----

  #accept(peer: Peer): PeerHandlers | null {
    if (peer.hello.module === "management") return this.#acceptManager(peer);
    return peer.hello.module === "io" && this.#config.ioModules.includes(peer.hello.name) ? this.#acceptIo(peer) : null;
  }

  #acceptIo(peer: Peer): PeerHandlers | null {
    const { name } = peer.hello;
    this.#ios.get(name)?.close("it connected again");
    this.#ios.set(name, peer);
    this.#dispatch({ kind: "ioConnected", name, incarnation: peer.hello.incarnation });
    this.#mirrors.connected(peer);
    const forget = this.#watchEnding(peer);
    return {
      onMessage: (message) => {
        if (!this.#mirrors.message(peer, message)) this.#dispatch({ kind: "ioMessage", name, message });
      },
      onClose: () => {
        forget();
        if (this.#ios.get(name) !== peer) return;
        this.#ios.delete(name);
        this.#mirrors.disconnected(peer);
        this.#dispatch({ kind: "ioDisconnected", name });
      },
    };
  }

  /** What it sent and was not read yet is dropped, as if it had ended a moment earlier. */
  #watchEnding(peer: Peer): () => void {
    return this.#endings.watch(peer.hello.pid, () => peer.close("its process ends"));
  }

  #acceptManager(peer: Peer): PeerHandlers {
    return {
      onMessage: (message) => this.#control(message, peer),
      onClose: () => this.#feed.leave(peer),
    };
  }

  #tell(message: IoToManagement): void {
    this.#feed.tell(message);
  }

  #statusDue(): void {
    if (this.#isStatusDue) return;
    this.#isStatusDue = true;
    setImmediate(() => {
      this.#isStatusDue = false;
      this.#sendStatus();
    });
  }

  #sendStatus(): void {
    if (!this.#feed.isFollowed) return;
    const status = this.#server.status();
    this.#reportedSeq = status.seq;
    this.#reportedAtMs = performance.now();
    this.#feed.report({ ...status, counters: { ...status.counters, ...this.#exchanges.counters } });
  }

  #control(message: Message, manager: Peer): void {
    const control = controlOf(message);
    if (control === null) return;
    switch (control.kind) {
      case "follow":
        this.#feed.follow(manager);
        return this.#sendStatus();
      case "console": {
        const bytes = typeof control["base64"] === "string" ? Buffer.from(control["base64"], "base64") : Buffer.alloc(0);
        if (bytes.length > 0) this.#dispatch({ kind: "console", bytes: bytes.subarray(0, MAX_CONSOLE_INPUT_BYTES) });
        return;
      }
      case "agent": {
        const bytes = typeof control["base64"] === "string" ? Buffer.from(control["base64"], "base64") : Buffer.alloc(0);
        if (bytes.length > 0 && bytes.length <= MAX_AGENT_BYTES) this.#dispatch({ kind: "agent", bytes });
        return;
      }
      case "powerButton":
      case "reset":
      case "verify":
        return this.#dispatch({ kind: control.kind });
      case "disk":
        if (control["action"] === "scrub") return this.#dispatch({ kind: "diskScrub" });
        if (control["action"] === "grow" && typeof control["sizeBytes"] === "number")
          this.#dispatch({ kind: "diskGrow", sizeBytes: control["sizeBytes"] });
        return;
      case "bootImage": {
        const { image } = control;
        if (image === "" || (typeof image === "string" && DIGEST_PATTERN.test(image)))
          this.#dispatch({ kind: "bootImage", image: image === "" ? null : image });
        return;
      }
      case "diskDrill": {
        const drill = DISK_DRILLS.find((each) => each === control["drill"]);
        if (drill !== undefined) this.#mirror?.drill(drill);
        return;
      }
      case "record": {
        const action = RECORD_ACTIONS.find((each) => each === control["action"]);
        if (action !== undefined) this.#dispatch({ kind: "record", action });
        return;
      }
      case "expect":
        if (typeof control["module"] !== "string" || typeof control["present"] !== "boolean") return;
        if (control["present"] && slotsOf(this.#config).includes(control["module"])) this.#linkCpu(control["module"]);
        return this.#dispatch({ kind: "expect", module: control["module"], present: control["present"] });
      case "mirrors": {
        const mirrors: unknown = control["mirrors"];
        if (Array.isArray(mirrors)) this.#dispatch({ kind: "mirrors", mirrors: mirrors.map(String) });
        return;
      }
      case "shutdown":
        this.#port?.close();
        process.exit(0);
    }
  }
}

function slotsOf(config: ModuleConfig): string[] {
  return [...config.cpuModules, ...(config.emptySlots ?? [])];
}

/** Without a map in the configuration: cpu<i> and io<i> share enclosure<i>. */
function enclosuresOf(config: ModuleConfig): Readonly<Record<string, string>> {
  const byPosition = [config.cpuModules, config.ioModules].flatMap((names) => names.map((name, index) => [name, `enclosure${index}`]));
  return { ...(Object.fromEntries(byPosition) as Record<string, string>), ...config.enclosures, [config.name]: config.enclosure };
}

/** Runs an I/O module until the process ends. */
export async function runIo(config: ModuleConfig): Promise<void> {
  const port = await openPort(config.network);
  if (config.ioModules.length > 1) {
    keepCompiledCode();
    rehearseTakeover();
  }
  await new IoModule(config, port).start();
}
