/**
 * A module's config.json: written by management (or a test), read once by the module process. The validator is strict, because a
 * wrong field here would only show as odd behaviour much later.
 */
import { readFileSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import { DISK_BLOCK_BYTES } from "../machine/machine.js";
import type { PublishedPort } from "../ports/published-port.js";
import type { ModuleKind } from "../wire/control.js";

export interface MachineConfig {
  readonly engine: "rv64" | "toy";
  /** Flat RISC-V Image; empty for the toy engine. */
  readonly kernelPath: string;
  /** Empty: none. */
  readonly initrdPath: string;
  /** SHA-256 (hex) of the bytes that may be loaded from there. Absent: any. */
  readonly kernelDigest?: string;
  readonly initrdDigest?: string;
  readonly commandLine: string;
  readonly ramBytes: number;
  readonly harts: number;
  /** Digest (hex) of kernel, initrd, command line and device layout; bound into images. */
  readonly imageDigest: string;
  /** Size of the guest's disk, whole blocks of 4 KiB. Absent or 0: it has none. */
  readonly diskBytes?: number;
  /** Whether the guest has a virtual port for its agent. Absent: no. */
  readonly agentPort?: boolean;
}

export interface NetworkConfig {
  readonly kind: "tap" | "user" | "none";
  /** TAP interface, e.g. sf-main-io0. */
  readonly device: string;
  readonly bridge: string;
  /** The guest's address, aa:bb:cc:dd:ee:ff. */
  readonly macAddress: string;
  /** What passt must know; only there if the kind is user. */
  readonly user?: UserNetworkConfig;
}

export interface UserNetworkConfig {
  readonly program: string;
  readonly guestAddress: string;
  readonly prefixLength: number;
  readonly gateway: string;
  readonly gatewayMac: string;
  readonly publish: readonly PublishedPort[];
}

export interface DiskConfig {
  readonly diskId: string;
  readonly directory: string;
  /** I/O modules in use: each holds a mirror. */
  readonly mirrors: readonly string[];
}

export interface ModuleConfig {
  readonly server: string;
  readonly name: string;
  readonly kind: ModuleKind;
  readonly enclosure: string;
  /** Every module listens on `<runDirectory>/<name>.sock`. */
  readonly runDirectory: string;
  readonly arbiterDirectory: string;
  /** Raised by management at every start of this module. */
  readonly incarnation: number;
  readonly cpuModules: readonly string[];
  /** CPU modules that may be added while the server runs. Absent: none. */
  readonly emptySlots?: readonly string[];
  /** Self-checking pairs of CPU modules. Absent or empty: each stands for itself. */
  readonly cpuPairs?: readonly (readonly [string, string])[];
  readonly ioModules: readonly string[];
  /** The CPU module that is started when two contradict each other. Absent: there is none. */
  readonly judge?: string;
  /** Enclosure of each module, so that full outputs go to the I/O module that shares one. Absent: enclosure by position. */
  readonly enclosures?: Readonly<Record<string, string>>;
  readonly release: "compared" | "logged";
  readonly lagLimitMs: number;
  /** Absent: true. */
  readonly checkpoints?: boolean;
  readonly machine: MachineConfig;
  readonly network: NetworkConfig;
  /** The guest's disk, and where the mirror is that this module holds if it is an I/O module. Absent: the guest has none. */
  readonly disk?: DiskConfig;
  /** Wall-clock ns since 1970 at guest time 0, decimal (too long for a JSON number). */
  readonly epochNs: string;
  /** Of an I/O module: digest of the image that it powers the guest on with. Absent: that of `machine`. */
  readonly bootImage?: string;
  /** Of a management module: it waits for the lead of a server that runs, instead of starting one. Absent: false. */
  readonly standby?: boolean;
}

type Check = (value: unknown) => boolean;

const text: Check = (value) => typeof value === "string" && value.length > 0;
const anyText: Check = (value) => typeof value === "string";
const count: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const positive: Check = (value) => count(value) && (value as number) > 0;
const names: Check = (value) => Array.isArray(value) && value.every((each) => moduleName(each));
const moduleName: Check = (value) => typeof value === "string" && /^[a-z][a-z0-9-]{0,31}$/.test(value);
const oneOf =
  (...allowed: string[]): Check =>
  (value) =>
    allowed.includes(value as string);
const optional =
  (check: Check): Check =>
  (value) =>
    value === undefined || check(value);
const textMap: Check = (value) => isRecord(value) && Object.values(value).every(text);

const FIELDS: Readonly<Record<string, Check>> = {
  server: text,
  name: moduleName,
  kind: oneOf("cpu", "io", "management"),
  enclosure: text,
  runDirectory: text,
  arbiterDirectory: text,
  incarnation: count,
  cpuModules: names,
  emptySlots: optional(names),
  cpuPairs: optional((value) => Array.isArray(value) && value.every((pair) => names(pair) && (pair as unknown[]).length === 2)),
  ioModules: names,
  judge: optional(moduleName),
  enclosures: optional(textMap),
  release: oneOf("compared", "logged"),
  lagLimitMs: positive,
  checkpoints: optional((value) => typeof value === "boolean"),
  machine: isRecord,
  network: isRecord,
  disk: optional((value) => isRecord(value) && anyText(value["diskId"]) && text(value["directory"]) && names(value["mirrors"])),
  bootImage: optional(text),
  standby: optional((value) => typeof value === "boolean"),
  epochNs: (value) => typeof value === "string" && /^\d{1,19}$/.test(value),
};

const MACHINE_FIELDS: Readonly<Record<string, Check>> = {
  engine: oneOf("rv64", "toy"),
  kernelPath: anyText,
  initrdPath: anyText,
  kernelDigest: optional(text),
  initrdDigest: optional(text),
  commandLine: anyText,
  ramBytes: (value) => positive(value) && (value as number) % 4096 === 0,
  harts: positive,
  imageDigest: anyText,
  diskBytes: optional((value) => count(value) && (value as number) % DISK_BLOCK_BYTES === 0),
  agentPort: optional((value) => typeof value === "boolean"),
};

const macAddress: Check = (value) => typeof value === "string" && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(value);

const NETWORK_FIELDS: Readonly<Record<string, Check>> = {
  kind: oneOf("tap", "user", "none"),
  device: anyText,
  bridge: anyText,
  macAddress: (value) => value === "" || macAddress(value),
  user: optional(isRecord),
};

const portNumber: Check = (value) => positive(value) && (value as number) < 65536;

const USER_FIELDS: Readonly<Record<string, Check>> = {
  program: text,
  guestAddress: text,
  prefixLength: positive,
  gateway: text,
  gatewayMac: macAddress,
  publish: (value) => Array.isArray(value) && value.every((each) => isRecord(each) && isPublished(each)),
};

function isPublished(port: Record<string, unknown>): boolean {
  const isKnown = port["protocol"] === "tcp" || port["protocol"] === "udp";
  return isKnown && anyText(port["hostAddress"]) && portNumber(port["hostPort"]) && portNumber(port["guestPort"]);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function checkFields(value: Record<string, unknown>, fields: Readonly<Record<string, Check>>, prefix: string, where: string): void {
  for (const [field, check] of Object.entries(fields)) {
    if (!check(value[field])) throw new SteadfastError("MODULE_CONFIG", { where, field: prefix + field });
  }
}

/** Throws a `MODULE_CONFIG` error that names the first wrong field. */
export function validateModuleConfig(value: unknown, where = "module configuration"): ModuleConfig {
  if (!isRecord(value)) throw new SteadfastError("MODULE_CONFIG", { where, field: "(all of it)" });
  checkFields(value, FIELDS, "", where);
  checkFields(value["machine"] as Record<string, unknown>, MACHINE_FIELDS, "machine.", where);
  checkFields(value["network"] as Record<string, unknown>, NETWORK_FIELDS, "network.", where);
  const { kind, user } = value["network"] as Record<string, unknown>;
  if (kind === "user") checkFields(isRecord(user) ? user : {}, USER_FIELDS, "network.user.", where);
  return value as unknown as ModuleConfig;
}

export function readModuleConfig(path: string): ModuleConfig {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new SteadfastError("MODULE_CONFIG", { where: path, field: `(the file itself: ${(error as Error).message})` });
  }
  return validateModuleConfig(value, path);
}

/** Socket path of a module. */
export function socketPath(config: Pick<ModuleConfig, "runDirectory">, module: string): string {
  return `${config.runDirectory}/${module}.sock`;
}
