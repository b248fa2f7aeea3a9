/** Simulated I/O modules with a mirror each, an arbiter and the links between them: the real controller and the real stores. */
import { SeededRandom } from "../../dist/foundation/random.js";
import { Timeline } from "../../dist/simulator/timeline.js";
import { DiskController } from "../../dist/storage/disk-controller.js";
import { FaultyFile, noFaults, type DiskFaults } from "../../dist/storage/faulty-file.js";
import { MemoryFile } from "../../dist/storage/memory-file.js";
import { MirrorStore } from "../../dist/storage/mirror-store.js";
import type { Failure, MirrorFiles, StoreFile } from "../../dist/storage/store-file.js";
import type { DiskEffect, DiskEvent, MirrorHeader, StoreCommand, StoreReply } from "../../dist/storage/types.js";
import { StorageGuest, Violation } from "./storage-guest.js";

export const DISK_BYTES = 3 * 1024 * 1024;
const DISK_ID = "disk-a";
const RESTART_MS = 20;
const TAKEOVER_MS = 15;

interface Record_ {
  readonly number: number;
  readonly active: string;
  readonly mirrors: readonly string[];
}

type Untimed = DiskEvent extends infer E ? (E extends DiskEvent ? Omit<E, "atMs"> : never) : never;

/** A file whose operations take a while, and end half done when its process does. */
class SlowFile implements StoreFile {
  readonly #file: StoreFile;
  readonly #module: SimulatedModule;

  constructor(file: StoreFile, module: SimulatedModule) {
    this.#file = file;
    this.#module = module;
  }

  #soon(run: () => void, cut: () => void): void {
    this.#module.soon(run, cut);
  }

  read(offset: number, lengthBytes: number, done: (failure: Failure, bytes: Uint8Array) => void): void {
    this.#soon(
      () => this.#file.read(offset, lengthBytes, done),
      () => undefined,
    );
  }

  write(offset: number, bytes: Uint8Array, done: (failure: Failure) => void): void {
    const kept = bytes.slice();
    this.#soon(
      () => this.#file.write(offset, kept, done),
      () => {
        const part = this.#module.world.random.below(kept.length / 8 + 1) * 8;
        if (part > 0) this.#file.write(offset, kept.subarray(0, part), () => undefined);
      },
    );
  }

  sync(done: (failure: Failure) => void): void {
    this.#soon(
      () => this.#file.sync(done),
      () => undefined,
    );
  }

  resize(sizeBytes: number, done: (failure: Failure) => void): void {
    this.#soon(
      () => this.#file.resize(sizeBytes, done),
      () => undefined,
    );
  }
}

export class SimulatedModule {
  readonly name: string;
  readonly world: StorageWorld;
  readonly disks = { data: new MemoryFile(), checksums: new MemoryFile(), log: new MemoryFile(), header: new MemoryFile() };
  readonly faults: DiskFaults = noFaults();
  /** Raised at every start: what belongs to a former life does not count. */
  life = 0;
  isAlive = false;
  isHeld = false;
  #waiting: (() => void)[] = [];
  store: MirrorStore | null = null;
  isStoreOpen = false;
  controller: DiskController | null = null;
  /** The configuration that it won, and the mirrors that its controller asked for last. */
  record: Record_ | null = null;
  wanted: readonly string[] | null = null;
  isClaiming = false;
  /** Connections to the mirrors of others, by name: raised when one breaks. */
  readonly links = new Map<string, { isUp: boolean; epoch: number; busyUntil: number }>();
  #events: Untimed[] = [];
  #isStepping = false;
  #cuts = new Set<() => void>();

  constructor(name: string, world: StorageWorld) {
    this.name = name;
    this.world = world;
  }

  /** After a while, in this life, not while it is held. `cut`: what happens instead if it dies before. */
  soon(run: () => void, cut: () => void = () => undefined, delayMs = 0.02 + this.world.random.below(20) / 100): void {
    const { life } = this;
    this.#cuts.add(cut);
    this.world.timeline.after(delayMs, () => this.inLife(life, () => this.#cuts.delete(cut) && run()));
  }

  inLife(life: number, run: () => void): void {
    if (life !== this.life || !this.isAlive) return;
    if (this.isHeld) this.#waiting.push(() => this.inLife(life, run));
    else run();
  }

  start(): void {
    this.life += 1;
    this.isAlive = true;
    this.isHeld = false;
    const later = (delayMs: number, run: () => void): void => this.soon(run, undefined, delayMs);
    const files = Object.fromEntries(
      Object.entries(this.disks).map(([kind, file]) => [
        kind,
        new SlowFile(kind === "data" || kind === "checksums" ? new FaultyFile(file, this.faults, later) : file, this),
      ]),
    ) as unknown as MirrorFiles;
    this.store = new MirrorStore(files, (reply) => this.world.replied(this, reply));
    this.isStoreOpen = false;
    this.store.open((failure) => {
      if (failure !== null) throw new Violation(`${this.name} cannot open its mirror: ${failure}`);
      this.isStoreOpen = true;
      this.world.connectAll();
    });
  }

  kill(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.isHeld = false;
    for (const cut of this.#cuts) if (this.world.random.chance(0.3)) cut();
    this.#cuts.clear();
    this.#waiting = [];
    this.store = null;
    this.endController();
    this.world.disconnect(this);
  }

  hold(): void {
    this.isHeld = this.isAlive;
  }

  continue(): void {
    if (!this.isHeld) return;
    this.isHeld = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const run of waiting) run();
  }

  endController(): void {
    this.controller = null;
    this.record = null;
    this.wanted = null;
    this.isClaiming = false;
    this.#events = [];
    this.links.clear();
  }

  dispatch(event: Untimed): void {
    if (this.controller === null) return;
    this.#events.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    try {
      for (let next = this.#events.shift(); next !== undefined && this.controller !== null; next = this.#events.shift())
        this.controller.step({ ...next, atMs: this.world.timeline.nowMs } as DiskEvent);
    } finally {
      this.#isStepping = false;
    }
    this.#setWake();
  }

  #wakes = 0;

  #setWake(): void {
    const { controller, life } = this;
    const at = controller?.wakeAtMs ?? null;
    if (at === null) return;
    const wake = ++this.#wakes;
    this.world.timeline.at(Math.max(at, this.world.timeline.nowMs + 0.1), () =>
      this.inLife(life, () => {
        if (this.controller === controller && wake === this.#wakes) this.dispatch({ kind: "wake" });
      }),
    );
  }
}

export class StorageWorld {
  readonly random: SeededRandom;
  readonly timeline = new Timeline();
  readonly modules: readonly SimulatedModule[];
  readonly records = new Map<number, Record_>();
  readonly guest: StorageGuest;
  readonly events: string[] = [];
  /** Who the guest's requests go to. */
  #active: SimulatedModule | null = null;
  #takeover = 0;
  #hasPower = true;
  trace: string[] = [];

  constructor(seed: number, mirrors: number) {
    this.random = new SeededRandom(seed);
    this.modules = Array.from({ length: mirrors }, (_, index) => new SimulatedModule(`io${index}`, this));
    this.guest = new StorageGuest(this.random, DISK_BYTES);
    for (const module of this.modules) module.start();
  }

  get active(): SimulatedModule | null {
    return this.#active;
  }

  get highest(): Record_ | null {
    return this.records.get(this.records.size) ?? null;
  }

  say(text: string): void {
    this.trace.push(`${this.timeline.nowMs.toFixed(2)} ${text}`);
    if (this.trace.length > 400) this.trace.shift();
  }

  /** The first mirror is made by hand, as `createMirror` does. */
  create(): void {
    const first = this.modules[0] as SimulatedModule;
    const make = (): void => {
      const { store } = first;
      if (store === null || !first.isStoreOpen) return this.timeline.after(1, make);
      const command = {
        ticket: 0,
        configuration: 0,
        operation: { kind: "recreate", diskId: DISK_ID, sizeBytes: DISK_BYTES },
        bytes: new Uint8Array(0),
      } as const;
      store.submit(command);
      this.timeline.after(20, () => this.takeOver(first));
    };
    make();
  }

  // ---- membership ----

  /** This module claims to be the active one. */
  takeOver(module: SimulatedModule): void {
    const attempt = ++this.#takeover;
    const { life } = module;
    const claim = (): void => {
      if (attempt !== this.#takeover) return;
      if (!module.isAlive || module.life !== life) return this.replace();
      if (module.isHeld) return this.timeline.after(5, claim);
      const highest = this.highest;
      const record = { number: (highest?.number ?? 0) + 1, active: module.name, mirrors: highest?.mirrors ?? [] };
      this.timeline.after(0.5 + this.random.below(3), () => {
        if (attempt !== this.#takeover) return;
        if (!module.isAlive || module.isHeld || module.life !== life) return claim();
        if (this.#claim(record) !== record) return this.timeline.after(0.5, claim);
        this.#begin(module, record);
      });
    };
    claim();
  }

  #claim(record: Record_): Record_ {
    const winner = this.records.get(record.number) ?? record;
    this.records.set(record.number, winner);
    return winner;
  }

  #begin(module: SimulatedModule, record: Record_): void {
    this.say(`${module.name} is active, ${record.number}: ${record.mirrors.join()}`);
    const former = this.#active;
    this.#active = module;
    module.endController();
    const options = {
      diskId: DISK_ID,
      sizeBytes: DISK_BYTES,
      mirrors: this.modules.map(({ name }) => name),
      local: module.name,
      graceMs: former === null ? 30 : this.random.pick([0, 5, 30]),
      mirrorLagMs: 25,
      mirrorWaitMs: 2000,
      scrubPauseMs: 40,
      scrubBytesPerSecond: 200 * 1024 * 1024,
      clearEveryMs: this.random.pick([5, 20, 1000]),
      retryMs: 10,
    };
    const controller: DiskController = new DiskController(options, (effect) => {
      if (module.controller === controller) this.#execute(module, effect);
    });
    module.controller = controller;
    module.record = record;
    this.connectAll();
    module.dispatch({ kind: "configured", number: record.number, mirrors: record.mirrors });
    // Whatever the guest waits for, the machines repeat.
    for (const { request } of this.guest.outstanding.values()) this.#send(request);
  }

  #execute(module: SimulatedModule, effect: DiskEffect): void {
    switch (effect.kind) {
      case "command":
        return this.#command(module, effect.mirror, effect.command);
      case "done":
        // A module that was overtaken is not listened to: the machines refuse its ticks.
        if (this.#active === module && this.guest.outstanding.has(effect.id)) this.guest.done(effect.id, effect.isOk, effect.bytes);
        return;
      case "wantMirrors":
        this.say(`${module.name} wants ${effect.mirrors.join()}: ${effect.why}`);
        module.wanted = effect.mirrors;
        return this.#claimNext(module);
      case "event":
        this.events.push(effect.code);
        return this.say(`${module.name}: ${effect.code} ${effect.text}`);
      case "fenced":
        return this.say(`${module.name} is fenced by ${effect.seen}`);
      case "grown":
        return;
    }
  }

  /** A change of other kinds, too, brings a configuration. */
  reconfigure(): void {
    const module = this.#active;
    if (module === null || module.controller === null || module.record === null) return;
    module.wanted ??= module.record.mirrors;
    this.#claimNext(module);
  }

  #claimNext(module: SimulatedModule): void {
    const { controller, record, wanted } = module;
    if (module.isClaiming || record === null || wanted === null) return;
    module.isClaiming = true;
    module.wanted = null;
    const next = { number: record.number + 1, active: module.name, mirrors: wanted };
    this.timeline.after(0.5 + this.random.below(10) / 2, () => {
      const winner = this.#claim(next);
      module.soon(() => {
        if (module.controller !== controller) return;
        module.isClaiming = false;
        if (winner !== next) {
          this.say(`${module.name} lost ${next.number}`);
          module.endController();
          // The winner may have died before it began.
          if (module === this.#active) this.replace();
          return;
        }
        module.record = next;
        this.say(`${next.number}: ${next.mirrors.join()}`);
        module.dispatch({ kind: "configured", number: next.number, mirrors: next.mirrors });
        this.#claimNext(module);
      });
    });
  }

  // ---- links ----

  connectAll(): void {
    for (const module of this.modules) {
      if (module.controller === null) continue;
      for (const other of this.modules) {
        if (!other.isAlive || !other.isStoreOpen || module.links.get(other.name)?.isUp === true) continue;
        const link = { isUp: true, epoch: (module.links.get(other.name)?.epoch ?? 0) + 1, busyUntil: 0 };
        module.links.set(other.name, link);
        const { epoch } = link;
        const { store } = other;
        const isOurs = (): boolean => module.links.get(other.name) === link && link.isUp && link.epoch === epoch;
        // The header comes with the first message of the other side.
        this.#carry(other, module, link, () => {
          if (isOurs() && store !== null) module.dispatch({ kind: "mirrorUp", name: other.name, header: store.header as MirrorHeader });
        });
      }
    }
  }

  /** Both directions of a module's connections break. */
  disconnect(gone: SimulatedModule): void {
    for (const module of this.modules) {
      const link = module.links.get(gone.name);
      if (link?.isUp !== true || module.controller === null) continue;
      link.isUp = false;
      const { controller } = module;
      module.soon(() => {
        if (module.controller === controller && module.links.get(gone.name) === link) {
          module.dispatch({ kind: "mirrorDown", name: gone.name });
          this.connectAll();
        }
      });
    }
  }

  /** In order, after a while; the sender need not live any more. */
  #carry(from: SimulatedModule, to: SimulatedModule, link: { busyUntil: number }, run: () => void): void {
    const delayMs = from === to ? 0.01 : 0.05 + this.random.below(30) / 100;
    const at = Math.max(this.timeline.nowMs + delayMs, link.busyUntil);
    link.busyUntil = at;
    const { life } = to;
    this.timeline.at(at, () => to.inLife(life, run));
  }

  #command(module: SimulatedModule, mirror: string, command: StoreCommand): void {
    const other = this.modules.find(({ name }) => name === mirror) as SimulatedModule;
    const link = module.links.get(mirror);
    if (link?.isUp !== true) return;
    const copy = { ...command, bytes: command.bytes.slice() };
    const { store } = other;
    this.#carry(module, other, link, () => {
      if (store === null || other.store !== store) return;
      this.#askers.set(copy, { module, controller: module.controller, link });
      this.#byTicket.set(`${other.name} ${copy.configuration} ${copy.ticket}`, copy);
      store.submit(copy);
    });
  }

  readonly #askers = new WeakMap<StoreCommand, { module: SimulatedModule; controller: DiskController | null; link: object }>();
  readonly #byTicket = new Map<string, StoreCommand>();

  replied(from: SimulatedModule, reply: StoreReply): void {
    const key = `${from.name} ${reply.configuration} ${reply.ticket}`;
    const command = this.#byTicket.get(key);
    const asker = command === undefined ? undefined : this.#askers.get(command);
    this.#byTicket.delete(key);
    if (asker === undefined) return;
    const link = asker.module.links.get(from.name);
    if (link === undefined || link !== asker.link) return;
    const plain = JSON.parse(JSON.stringify({ ...reply, bytes: null })) as StoreReply;
    this.#carry(from, asker.module, link, () => {
      if (asker.module.controller === asker.controller && asker.module.links.get(from.name) === link && link.isUp)
        asker.module.dispatch({ kind: "reply", name: from.name, reply: { ...plain, bytes: reply.bytes.slice() } });
    });
  }

  // ---- the guest ----

  #send(request: Parameters<StorageGuest["done"]> extends never ? never : Extract<DiskEvent, { kind: "request" }>["request"]): void {
    const module = this.#active;
    if (module === null) return;
    const { life, controller } = module;
    this.timeline.after(0.05, () =>
      module.inLife(life, () => {
        if (module.controller === controller) module.dispatch({ kind: "request", request });
      }),
    );
  }

  guestStep(): void {
    const request = this.#hasPower ? this.guest.next() : null;
    if (request !== null) this.#send(request);
  }

  resetGuest(): void {
    this.say("the guest is reset");
    this.guest.reset();
    this.#active?.dispatch({ kind: "forget" });
  }

  // ---- faults ----

  kill(module: SimulatedModule, restartMs = RESTART_MS + this.random.below(60)): void {
    if (!module.isAlive) return;
    this.say(`${module.name} is killed`);
    module.kill();
    this.timeline.after(restartMs, () => {
      if (!module.isAlive && this.#hasPower) {
        module.start();
        this.say(`${module.name} is back`);
      }
    });
    if (module === this.#active || this.#active === null) this.replace();
  }

  /** Another module, or the same one when it is back, takes the place of the active one. */
  replace(): void {
    const others = this.modules.filter((each) => each !== this.#active && each.isAlive && !each.isHeld);
    this.timeline.after(TAKEOVER_MS, () => {
      if (!this.#hasPower) return;
      const candidates = others.filter((each) => each.isAlive && each.isStoreOpen);
      const next = candidates.length > 0 ? this.random.pick(candidates) : this.modules.find((each) => each.isAlive && each.isStoreOpen);
      if (next === undefined) return this.replace();
      this.takeOver(next);
    });
  }

  losePower(): void {
    this.say("the power fails");
    this.#hasPower = false;
    this.#takeover += 1;
    this.guest.losePower();
    for (const module of this.modules) {
      module.kill();
      for (const file of Object.values(module.disks)) file.losePower(this.random);
    }
    this.#active = null;
    this.timeline.after(30, () => {
      this.#hasPower = true;
      for (const module of this.modules) module.start();
      this.say("the power is back");
      this.timeline.after(5, () => this.takeOver(this.random.pick(this.modules)));
    });
  }

  /** Everything in sync, nothing under way. */
  get isQuiet(): boolean {
    const controller = this.#active?.controller;
    if (controller === null || controller === undefined || this.guest.outstanding.size > 0 || !this.#hasPower) return false;
    const status = controller.status();
    const areInSync = Object.values(status.mirrors).every(({ state }) => state === "in sync");
    return areInSync && status.unsettledRegions === 0 && status.resync === null && this.highest?.number === status.configuration;
  }

  get hasPower(): boolean {
    return this.#hasPower;
  }
}
