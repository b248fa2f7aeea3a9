/** The servers of one benchmark run: started when first needed, shared by the measurements, removed at the end. */
import { imageOf } from "./bench-image.js";
import { BenchServer, type CpuModuleCount } from "./bench-server.js";
import { QemuGuest } from "./qemu.js";
import type { OpenSource } from "./server-view.js";

export interface BenchOptions {
  readonly rounds: number;
  /** Faults of each kind. */
  readonly faultCount: number;
  /** Extra parameters for `up`. */
  readonly upParameters: readonly string[];
  readonly seed: number;
  readonly openSource: OpenSource;
  /** The user wants to stop. */
  readonly signal: AbortSignal;
  readonly onProgress: (text: string) => void;
}

/** A guest to put load on, protected or not. */
export interface Subject {
  readonly label: "duplex" | "simplex" | "qemu" | "unchecked";
  readonly host: string;
}

export const DUPLEX_NAME = "bench-duplex";
export const SIMPLEX_NAME = "bench-simplex";
const DUPLEX_SUBNET = 101;
const SIMPLEX_SUBNET = 102;
const BOOT_SUBNET = 103;
const TRIPLEX_NAME = "bench-triplex";
const TRIPLEX_SUBNET = 104;
const UNCHECKED_NAME = "bench-unchecked";
const UNCHECKED_SUBNET = 105;
const DISK_SUBNETS = { 1: 106, 2: 107 } as const;
const LISTENING_NAME = "bench-seat";
const LISTENING_SUBNET = 108;
const DISK_MIB = 256;
const SUBNETS = { 1: SIMPLEX_SUBNET, 2: DUPLEX_SUBNET, 3: TRIPLEX_SUBNET } as const;

export class BenchContext {
  private duplexServer: Promise<BenchServer> | undefined;
  private simplexServer: Promise<BenchServer> | undefined;
  private triplexServer: Promise<BenchServer> | undefined;
  private uncheckedServer: Promise<BenchServer> | undefined;
  private listeningServer: Promise<BenchServer> | undefined;
  private readonly diskServers: Promise<BenchServer>[] = [];
  private qemuGuest: Promise<QemuGuest> | undefined;

  constructor(readonly options: BenchOptions) {}

  duplex(): Promise<BenchServer> {
    this.duplexServer ??= this.start(DUPLEX_NAME, 2);
    return this.duplexServer;
  }

  simplex(): Promise<BenchServer> {
    this.simplexServer ??= this.start(SIMPLEX_NAME, 1);
    return this.simplexServer;
  }

  qemu(): Promise<QemuGuest> {
    this.qemuGuest ??= this.startQemu();
    return this.qemuGuest;
  }

  triplex(): Promise<BenchServer> {
    this.triplexServer ??= this.start(TRIPLEX_NAME, 3);
    return this.triplexServer;
  }

  /** Duplex without checkpoints and memory check. */
  unchecked(): Promise<BenchServer> {
    this.uncheckedServer ??= this.start(UNCHECKED_NAME, 2, UNCHECKED_SUBNET, ["--no-checkpoints"]);
    return this.uncheckedServer;
  }

  /** Duplex, with control API and web console at that address of this host. */
  listening(listen: string): Promise<BenchServer> {
    this.listeningServer ??= this.start(LISTENING_NAME, 2, LISTENING_SUBNET, ["--listen", listen]);
    return this.listeningServer;
  }

  /** With a disk for the guest: mirrored, or a single copy. */
  async withDisk(cpuModules: 1 | 2, mebibytes = DISK_MIB): Promise<BenchServer> {
    const started = this.start(`bench-disk${cpuModules}`, cpuModules, DISK_SUBNETS[cpuModules], ["--disk", String(mebibytes)]);
    this.diskServers.push(started);
    return started;
  }

  /** Both kinds, in the order in which rounds alternate. */
  async pair(): Promise<readonly [BenchServer, BenchServer]> {
    return [await this.duplex(), await this.simplex()];
  }

  /** A server for one measurement of its start; the caller stops it. */
  startFresh(cpuModules: 1 | 2): Promise<BenchServer> {
    return this.launch("bench-boot", cpuModules, BOOT_SUBNET);
  }

  /** A measurement that is disturbed by other servers (idle, boot) says so by ending them first. */
  async stopAll(): Promise<void> {
    const started = [this.duplexServer, this.simplexServer, this.triplexServer, this.uncheckedServer, this.listeningServer, this.qemuGuest];
    started.push(...this.diskServers.splice(0));
    this.triplexServer = undefined;
    this.uncheckedServer = undefined;
    this.listeningServer = undefined;
    this.duplexServer = undefined;
    this.simplexServer = undefined;
    this.qemuGuest = undefined;
    for (const each of started) {
      // A server that did not start has nothing to stop, and its error was told where it was awaited.
      const server = await each?.catch(() => undefined);
      await server?.stop();
    }
  }

  private async launch(name: string, cpuModules: CpuModuleCount, subnet: number, extra: readonly string[] = []): Promise<BenchServer> {
    const { openSource, signal } = this.options;
    const upParameters = [...this.options.upParameters, ...extra];
    // The measurement goes on until it notices; nothing new may be started behind the clean-up's back.
    signal.throwIfAborted();
    return BenchServer.start({ name, cpuModules, subnet, upParameters, openSource, signal });
  }

  private async startQemu(): Promise<QemuGuest> {
    this.options.onProgress("starting qemu-system-riscv64");
    const { source } = await this.duplex();
    this.options.signal.throwIfAborted();
    return QemuGuest.start(imageOf(await source.read()));
  }

  private start(
    name: string,
    cpuModules: CpuModuleCount,
    subnet: number = SUBNETS[cpuModules],
    extra: readonly string[] = [],
  ): Promise<BenchServer> {
    this.options.onProgress(`starting ${name}`);
    return this.launch(name, cpuModules, subnet, extra);
  }
}
