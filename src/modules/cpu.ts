/**
 * The CPU module: one machine behind one socket. The pure Member decides; this moves bytes, and shares the process's time between
 * running ticks and sending pages.
 */
import type { CpuToManagement } from "../wire/control.js";
import { controlOf } from "../wire/control.js";
import { DAMAGE_EVERY_MS } from "../lockstep/limits.js";
import { Member, type MemberEffect } from "../lockstep/member.js";
import type { Message } from "../wire/messages.js";
import { checkpointDirectory, FileCheckpointStore } from "./checkpoint-files.js";
import { socketPath, type ModuleConfig } from "./config.js";
import { DrilledMachine } from "../machine/drilled.js";
import { loadMachine } from "./machine-loader.js";
import { connectPeer, listenForPeers, type Identity, type Peer, type PeerHandlers } from "./transport.js";

const STATUS_EVERY_MS = 500;

class CpuModule {
  readonly #config: ModuleConfig;
  readonly #self: Identity;
  readonly #machine: DrilledMachine;
  readonly #member: Member;
  readonly #ios = new Map<string, Peer>();
  readonly #managers = new Set<Peer>();
  #donor: Peer | null = null;
  #newcomer: { readonly clone: number; readonly peer: Peer } | null = null;
  #isScheduled = false;
  #reportedAtMs = performance.now();
  #instructions = 0;

  constructor(config: ModuleConfig, machine: DrilledMachine) {
    this.#config = config;
    this.#machine = machine;
    this.#self = { module: "cpu", name: config.name, incarnation: config.incarnation };
    this.#member = new Member(
      machine,
      (effect) => this.#execute(effect),
      () => performance.now() * 1000,
      config.release === "logged",
      new FileCheckpointStore(checkpointDirectory(config), `${config.name}-${config.incarnation}`, machine.description.ramBytes),
    );
  }

  async start(): Promise<void> {
    await listenForPeers(socketPath(this.#config, this.#config.name), this.#self, (peer) => this.#accept(peer));
    setInterval(() => this.#report(), STATUS_EVERY_MS);
    setInterval(() => this.#member.scrub(), DAMAGE_EVERY_MS);
  }

  #accept(peer: Peer): PeerHandlers | null {
    switch (peer.hello.module) {
      case "io":
        return this.#acceptIo(peer);
      case "cpu":
        return this.#acceptDonor(peer);
      case "management":
        this.#managers.add(peer);
        return {
          onMessage: (message) => this.#control(message),
          onClose: () => this.#managers.delete(peer),
        };
    }
  }

  #acceptIo(peer: Peer): PeerHandlers {
    const { name } = peer.hello;
    this.#ios.get(name)?.close("it connected again");
    this.#ios.set(name, peer);
    // After the handlers are in place: the first message leaves at once.
    queueMicrotask(() => {
      if (this.#ios.get(name) === peer) this.#member.step({ kind: "ioConnected", io: name });
    });
    return {
      onMessage: (message) => {
        this.#member.step({ kind: "ioMessage", io: name, message });
        this.#schedule();
      },
      onClose: () => {
        if (this.#ios.get(name) !== peer) return;
        this.#ios.delete(name);
        this.#member.step({ kind: "ioDisconnected", io: name });
      },
    };
  }

  #acceptDonor(peer: Peer): PeerHandlers {
    this.#donor?.close("another donor came");
    this.#donor = peer;
    return {
      onMessage: (message) => {
        if (this.#donor !== peer) return;
        this.#member.step({ kind: "donorMessage", message });
        this.#schedule();
      },
      onClose: () => {
        if (this.#donor !== peer) return;
        this.#donor = null;
        this.#member.step({ kind: "donorDisconnected" });
      },
    };
  }

  #execute(effect: MemberEffect): void {
    switch (effect.kind) {
      case "toIo":
        this.#ios.get(effect.io)?.send(effect.message);
        return;
      case "toNewcomer":
        this.#newcomer?.peer.send(effect.message);
        return;
      case "connectNewcomer":
        return this.#connectNewcomer(effect.clone, effect.socket);
      case "closeNewcomer":
        if (this.#newcomer?.clone === effect.clone) this.#newcomer.peer.close("the clone was given up");
        return;
      case "closeDonor":
        this.#donor?.close(effect.why);
    }
  }

  #connectNewcomer(clone: number, socket: string): void {
    const lost = (why: string): void => {
      this.#member.step({ kind: "newcomerDisconnected", clone, why });
      this.#schedule();
    };
    connectPeer(
      socket,
      this.#self,
      (peer) => {
        this.#newcomer = { clone, peer };
        queueMicrotask(() => {
          this.#member.step({ kind: "newcomerConnected", clone });
          this.#schedule();
        });
        return {
          onMessage: () => undefined,
          onClose: (why) => {
            if (this.#newcomer?.peer === peer) this.#newcomer = null;
            lost(why);
          },
          onDrain: () => this.#schedule(),
        };
      },
      lost,
    );
  }

  /** Ticks and slices run from the event loop's check phase, so that everything that has arrived is seen in between. */
  #schedule(): void {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    setImmediate(() => {
      this.#isScheduled = false;
      this.#turn();
    });
  }

  #turn(): void {
    const member = this.#member;
    if (member.hasWork) member.runOne();
    let sent = false;
    if (member.isSending && this.#newcomer !== null) sent = member.sendSlice(this.#newcomer.peer.bufferedBytes);
    const prepared = member.isPreparing && member.prepareSlice();
    // Without a slice sent and without a tick, the connection's drain or the next tick brings us back.
    if (member.hasWork || sent || prepared) this.#schedule();
  }

  #control(message: Message): void {
    const control = controlOf(message);
    if (control === null) return;
    if (control.kind === "shutdown") process.exit(0);
    if (control.kind === "flip") {
      const { address, bit } = control as unknown as { address: unknown; bit: unknown };
      if (Number.isSafeInteger(address) && Number.isSafeInteger(bit)) this.#machine.flipBit(address as number, bit as number);
    }
    if (control.kind === "corruptOutput") this.#machine.corruptOutput();
    if (control.kind === "skewClock") this.#machine.skewClock();
  }

  #report(): void {
    const nowMs = performance.now();
    const spent = this.#member.takeSpeed();
    const elapsedMs = Math.max(1, nowMs - this.#reportedAtMs);
    this.#reportedAtMs = nowMs;
    this.#instructions += spent.instructions;
    if (this.#managers.size === 0) return;
    const status: CpuToManagement = {
      kind: "status",
      seq: this.#member.seq,
      configuration: this.#member.configuration,
      rssBytes: process.memoryUsage.rss(),
      mips: spent.micros === 0 ? 0 : Math.round((spent.instructions / spent.micros) * 10) / 10,
      load: Math.min(1, spent.micros / 1000 / elapsedMs),
      instructions: this.#instructions,
    };
    const text = JSON.stringify(status);
    for (const peer of this.#managers) peer.send({ kind: "control", text });
  }
}

/** Runs a CPU module until the process ends. */
export async function runCpu(config: ModuleConfig): Promise<void> {
  const machine = await loadMachine(config);
  await new CpuModule(config, new DrilledMachine(machine)).start();
}
