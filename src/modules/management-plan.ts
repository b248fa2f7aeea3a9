/**
 * The plan of a server: everything that `steadfast up` decided, written to the run directory for management, which makes each
 * module's configuration of it. Also the naming of modules and enclosures.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import { macAddressFor, type HostNetwork } from "../ports/network-host.js";
import type { GuestWatchPolicy } from "./guest-health.js";
import type { ManagementToIo, ModuleKind } from "../wire/control.js";
import { PASST } from "../ports/user-network.js";
import type { ListenAddress } from "../ports/shared-listener.js";
import type { PublishedPort } from "../ports/published-port.js";
import { findProgram } from "../image/command.js";
import type { FileDigests } from "../image/store.js";
import { wholeCommandLine } from "./command-line.js";
import type { ModuleConfig, NetworkConfig } from "./config.js";
import type { CertificationPlan } from "./management-certification.js";
import {
  cpuModuleCount,
  cpuPairs,
  cpuSlots,
  enclosureCount,
  ioModuleCount,
  ioSlots,
  managementSlots,
  type PlannedRedundancy,
} from "./redundancy.js";
import type { ServerPaths } from "./management-paths.js";
import { replaceFile } from "./replace-file.js";

/** The management module that `steadfast up` starts; it starts all others. */
export const FIRST_MANAGEMENT: PlannedModule = { name: "mgmt0", kind: "management", enclosure: "enclosure0" };

/** The third machine that decides when two contradict each other: started when it is needed. */
export const JUDGE: PlannedModule = { name: "judge0", kind: "cpu", enclosure: "enclosure0" };

export interface FaultThreshold {
  readonly count: number;
  readonly windowHours: number;
}

export interface PlannedImage {
  readonly name: string;
  readonly digest: string;
  readonly kernelKind: string;
  readonly kernelRelease: string;
  readonly kernelPath: string;
  readonly initrdPath: string;
  /** As a whole, but for what is the server's own (its address, its name). */
  readonly commandLine: string;
  /** Words of it that the server file adds to the image's own; absent: none. */
  readonly addedWords?: string;
  /** What was admitted at the start, and nothing else is loaded; absent: it was not looked at yet. */
  readonly files?: FileDigests;
  /** TCP ports by service; none: it is not known what the image serves. */
  readonly services: readonly { readonly name: string; readonly ports: readonly number[] }[];
}

export interface PlannedDisk {
  /** Given when it is made; empty: it is not made yet. */
  readonly diskId: string;
  /** Of a disk that is to be made; else as it is. */
  readonly sizeBytes: number;
  readonly format: "ext4" | "none";
  readonly label: string;
  /** Of its mirrors, by enclosure; those that are not named are in the state directory. */
  readonly directories: readonly string[];
}

/** How the control API is served to the outside. */
export interface PlannedFront {
  readonly listen: ListenAddress;
  readonly certificateFile: string;
  readonly keyFile: string;
  /** Made by management if it is not there. */
  readonly isSelfSigned: boolean;
  /** Of each front: event streams at one time. */
  readonly eventStreamsMax: number;
}

export interface ServerPlan {
  readonly server: string;
  readonly engine: "rv64" | "toy";
  readonly redundancy: PlannedRedundancy;
  readonly memoryMiB: number;
  readonly release: "compared" | "logged";
  readonly lagLimitMs: number;
  readonly checkpoints: boolean;
  /** What the guest boots from next, and runs by now. */
  readonly image: PlannedImage;
  /** What the machines were made with when the server was started, if changes were installed since. Absent: `image`. */
  readonly firstImage?: PlannedImage;
  readonly certification: CertificationPlan;
  readonly network: {
    readonly kind: NetworkConfig["kind"];
    readonly bridge: string;
    readonly hostAddress: string;
    /** Empty: the next free one. */
    readonly guestAddress: string;
    /** Only with the network `user`. */
    readonly publish: readonly PublishedPort[];
  };
  readonly faultThreshold: FaultThreshold;
  /** What is done about faults of the guest's own software. */
  readonly guestWatch: GuestWatchPolicy;
  /** Absent: the guest has no disk. */
  readonly disk?: PlannedDisk;
  /** Absent: it is asked over its Unix socket alone. */
  readonly front?: PlannedFront;
}

export interface PlannedModule {
  readonly name: string;
  readonly kind: ModuleKind;
  readonly enclosure: string;
}

/** Every CPU and I/O module that the server may come to have. */
export function plannedModules(plan: ServerPlan): PlannedModule[] {
  const cpus = cpuSlots(plan.redundancy).map((slot): PlannedModule => ({ ...slot, kind: "cpu" }));
  const ios = ioSlots(plan.redundancy).map((slot): PlannedModule => ({ ...slot, kind: "io" }));
  return [...cpus, ...ios];
}

/** Every management module that the server may come to have. */
export function plannedManagement(plan: ServerPlan): PlannedModule[] {
  return managementSlots(plan.redundancy).map((slot) => ({ ...slot, kind: "management" }));
}

/** CPU modules that the planned redundancy takes; the other slots stand empty. */
export function cpusInUse(plan: ServerPlan): string[] {
  return cpuSlots(plan.redundancy)
    .slice(0, cpuModuleCount(plan.redundancy))
    .map((slot) => slot.name);
}

/** I/O modules that the planned redundancy takes. */
export function iosInUse(plan: ServerPlan): string[] {
  return ioSlots(plan.redundancy)
    .slice(0, ioModuleCount(plan.redundancy))
    .map((slot) => slot.name);
}

/** One mirror of the guest's disk in each enclosure; a directory of its own is meant for a physical disk of its own. */
export function mirrorDirectory(paths: ServerPaths, disk: PlannedDisk, enclosure: string): string {
  return disk.directories[Number(enclosure.replace(/^enclosure/, ""))] ?? `${paths.stateDirectory}/${enclosure}/disk`;
}

/** Where the mirrors in use are. */
export function mirrorDirectories(plan: ServerPlan, disk: PlannedDisk, paths: ServerPaths): string[] {
  return Array.from({ length: enclosureCount(plan.redundancy) }, (_, index) => mirrorDirectory(paths, disk, `enclosure${index}`));
}

/**
 * The machines stay as they were made, and what they boot is another image from now on; with another memory they are made anew.
 * `uncertified`: why it may have no certificate; null: it has one.
 */
export function planWith(plan: ServerPlan, image: PlannedImage, uncertified: string | null, memoryMiB = plan.memoryMiB): ServerPlan {
  const { firstImage: first = plan.image, ...rest } = plan;
  const isKept = memoryMiB === plan.memoryMiB && first.digest !== image.digest;
  return { ...rest, image, memoryMiB, certification: { ...plan.certification, uncertified }, ...(isKept && { firstImage: first }) };
}

/** What an I/O module is told of it. */
export function bootImageOf({ firstImage, image }: ServerPlan): ManagementToIo {
  return { kind: "bootImage", image: firstImage === undefined ? "" : image.digest };
}

/** The mirrors of the guest's disk, for an I/O module. */
export function mirrorsOf(plan: ServerPlan): ManagementToIo {
  return { kind: "mirrors", mirrors: iosInUse(plan) };
}

/** What an I/O module is told when it connects. */
export function standingOrders(
  plan: ServerPlan,
  modules: readonly { readonly name: string; readonly presence: string }[],
): ManagementToIo[] {
  const inUse = modulesInUse(plan);
  // The judge comes and goes as the I/O module itself says.
  const expected = modules.filter(({ name }) => name !== JUDGE.name);
  return [
    ...(plan.firstImage === undefined ? [] : [bootImageOf(plan)]),
    mirrorsOf(plan),
    ...expected.map(({ name, presence }): ManagementToIo => ({
      kind: "expect",
      module: name,
      present: presence === "present" && inUse.includes(name),
    })),
  ];
}

/** Modules of all kinds that the planned redundancy takes. */
export function modulesInUse(plan: ServerPlan): string[] {
  const managers = managementSlots(plan.redundancy).slice(0, enclosureCount(plan.redundancy));
  return [...cpusInUse(plan), ...iosInUse(plan), ...managers.map((slot) => slot.name)];
}

/** What the server itself says on the kernel command line, whatever image boots. An init that does not know these words ignores them. */
function ownWords(plan: ServerPlan, network: HostNetwork | null): string {
  const words = [];
  if (network !== null) {
    words.push(`steadfast.address=${network.guestAddress}/${network.prefixLength}`);
    words.push(`steadfast.gateway=${plan.network.hostAddress.split("/")[0]}`);
  }
  words.push(`steadfast.hostname=${plan.server}`);
  return words.join(" ");
}

/** What the machines of a server are made with, as long as it runs; what they boot from the I/O module says. */
function firstImageOf({ firstImage, image }: ServerPlan): PlannedImage {
  return firstImage ?? image;
}

/** Of the guest as the machines were made. It learns its address from there. */
export function commandLineFor(plan: ServerPlan, network: HostNetwork | null): string {
  return wholeCommandLine(firstImageOf(plan).commandLine, ownWords(plan, network));
}

export interface ModuleConfigContext {
  readonly plan: ServerPlan;
  readonly paths: ServerPaths;
  readonly network: HostNetwork | null;
  readonly epochNs: bigint;
}

export function moduleConfigFor(context: ModuleConfigContext, module: PlannedModule, incarnation: number): ModuleConfig {
  const { plan, paths, network, epochNs } = context;
  const modules = plannedModules(plan);
  const commandLine = commandLineFor(plan, network);
  const inUse = cpusInUse(plan);
  const first = firstImageOf(plan);
  return {
    server: plan.server,
    name: module.name,
    kind: module.kind,
    enclosure: module.enclosure,
    runDirectory: paths.runDirectory,
    arbiterDirectory: paths.arbiterDirectory,
    incarnation,
    cpuModules: inUse,
    emptySlots: modules.filter((each) => each.kind === "cpu" && !inUse.includes(each.name)).map((each) => each.name),
    cpuPairs: cpuPairs(plan.redundancy),
    ioModules: modules.filter((each) => each.kind === "io").map((each) => each.name),
    judge: JUDGE.name,
    enclosures: Object.fromEntries(modules.map((each) => [each.name, each.enclosure])),
    release: plan.release,
    lagLimitMs: plan.lagLimitMs,
    checkpoints: plan.checkpoints,
    machine: {
      engine: plan.engine,
      kernelPath: first.kernelPath,
      initrdPath: first.initrdPath,
      ...(first.files !== undefined && { kernelDigest: first.files.kernel, initrdDigest: first.files.initrd }),
      commandLine,
      ownWords: `${first.addedWords ?? ""} ${ownWords(plan, network)}`.trim(),
      ramBytes: plan.memoryMiB * 1024 * 1024,
      harts: 1,
      agentPort: plan.engine === "rv64",
      ...(plan.disk !== undefined && { diskBytes: plan.disk.sizeBytes }),
      imageDigest: createHash("sha256").update(`${first.digest}\n${commandLine}`).digest("hex"),
    },
    ...(plan.disk !== undefined && {
      disk: {
        diskId: plan.disk.diskId,
        directory: mirrorDirectory(paths, plan.disk, module.enclosure),
        mirrors: iosInUse(plan),
      },
    }),
    network: networkConfigFor(plan, network, module.name),
    epochNs: String(epochNs),
    ...(module.kind === "management" && { standby: true }),
    ...(module.kind === "io" && plan.firstImage !== undefined && { bootImage: plan.image.digest }),
  };
}

function networkConfigFor({ network: planned }: ServerPlan, network: HostNetwork | null, module: string): NetworkConfig {
  if (network === null) return { kind: "none", device: "", bridge: "", macAddress: "" };
  const { bridge, devices, guestAddress, prefixLength } = network;
  const common = { kind: planned.kind, device: devices[module] ?? "", bridge, macAddress: macAddressFor(guestAddress) };
  if (planned.kind !== "user") return common;
  const gateway = planned.hostAddress.split("/")[0] ?? "";
  const { publish } = planned;
  const user = { program: findProgram(PASST) ?? PASST, guestAddress, prefixLength, gateway, gatewayMac: macAddressFor(gateway), publish };
  return { ...common, user };
}

/** Replaces a JSON file in one step: a reader sees the old or the new one, never half of it. */
export function writeJsonFile(path: string, value: unknown): void {
  try {
    replaceFile(path, `${JSON.stringify(value, null, 2)}\n`);
  } catch (error) {
    throw new SteadfastError("DIRECTORY_FAILED", { path, why: (error as Error).message });
  }
}

/** Null: not there, or not what we write. */
export function readJsonFile<T>(path: string): T | null {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as T;
  } catch {
    return null;
  }
}
