/** From defaults, server file and options to the plan of a server, the image included. */
import { InvalidArgumentError } from "commander";
import { existsSync } from "node:fs";
import { SteadfastError } from "../foundation/errors.js";
import { REASON_LENGTH_LIMIT } from "../certification/limits.js";
import {
  DEFAULT_RECIPE_PATH,
  findImage,
  importKernel,
  loadRecipe,
  releaseRecipe,
  type BuildOptions,
  type BuildProgress,
  type ImageRecord,
} from "../image/index.js";
import { readSource } from "../image/source.js";
import type { CertificationPlan } from "../modules/management-certification.js";
import type { PlannedRedundancy } from "../modules/redundancy.js";
import type { GuestWatchPolicy } from "../modules/guest-health.js";
import { serverPaths, type ServerPaths } from "../modules/management-paths.js";
import type { PlannedDisk, PlannedImage, ServerPlan } from "../modules/management-plan.js";
import { buildCertified, isVouchedFor } from "./base-certificate.js";
import { chooseListen, type ListenFlags } from "./listen-choice.js";
import { chooseNetwork, type NetworkChoice, type NetworkFlags } from "./network-choice.js";
import { DISK_MIB_MAX, DISK_MIB_MIN, MEMORY_MIB_MAX, MEMORY_MIB_MIN, readServerFile, type ServerFile } from "./server-file.js";
import { checkServerName, DEFAULT_SERVER_NAME } from "./server-choice.js";

export interface UpFlags extends NetworkFlags, ListenFlags {
  readonly detach?: boolean;
  readonly name?: string;
  readonly memory?: number;
  /** MiB. */
  readonly disk?: number;
  readonly release?: "compared" | "logged";
  readonly kernel?: string;
  readonly initrd?: string;
  readonly redundancy?: PlannedRedundancy;
  readonly guestWatch?: GuestWatchPolicy;
  readonly lagLimit?: number;
  /** False: --no-checkpoints. */
  readonly checkpoints: boolean;
  readonly wait: number;
  /** Why the server may run an image without a certificate. */
  readonly uncertified?: string;
  readonly attach?: boolean;
  readonly json?: boolean;
}

export interface Settings {
  readonly file: ServerFile;
  readonly listen: ReturnType<typeof chooseListen>;
  readonly name: string;
  readonly network: NetworkChoice;
}

const LAG_LIMIT_MS_DEFAULT = 250;
const FAULT_COUNT_DEFAULT = 6;
const FAULT_WINDOW_HOURS_DEFAULT = 24;
const TOY_MEMORY_MIB = 64;
const DISK_MIB_DEFAULT = 1024;

const TOY_IMAGE: PlannedImage = {
  name: "toy",
  digest: "toy",
  kernelKind: "none",
  kernelRelease: "",
  kernelPath: "",
  initrdPath: "",
  commandLine: "",
  services: [],
};

/** "256", "256M", "1G" or "1GiB". */
export function parseMemory(text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*(m|mb|mib|g|gb|gib)?$/i.exec(text.trim());
  if (match === null) throw new InvalidArgumentError("It must be a number of MiB, such as 256 or 1G.");
  const mebibytes = Number(match[1]) * (match[2]?.toLowerCase().startsWith("g") === true ? 1024 : 1);
  if (!Number.isInteger(mebibytes)) throw new InvalidArgumentError("It must be a whole number of MiB.");
  return mebibytes;
}

export function readSettings(path: string | undefined, flags: UpFlags): Settings {
  const file = path === undefined ? {} : readServerFile(path);
  const name = checkServerName(flags.name ?? file.name ?? DEFAULT_SERVER_NAME);
  const memory = flags.memory;
  if (memory !== undefined && (memory < MEMORY_MIB_MIN || memory > MEMORY_MIB_MAX)) {
    throw new SteadfastError("MEMORY_RANGE", { memory, minimum: MEMORY_MIB_MIN, maximum: MEMORY_MIB_MAX });
  }
  if (flags.disk !== undefined && (flags.disk < DISK_MIB_MIN || flags.disk > DISK_MIB_MAX)) {
    throw new SteadfastError("USAGE", { what: `--disk ${flags.disk}: it must be from ${DISK_MIB_MIN} to ${DISK_MIB_MAX} MiB.` });
  }
  if (flags.initrd !== undefined && (flags.kernel === undefined || flags.kernel === "stock" || flags.kernel === "hardened")) {
    throw new SteadfastError("USAGE", { what: "--initrd goes with --kernel PATH: give the kernel that this initial RAM disk is for." });
  }
  if (flags.uncertified !== undefined) checkReason(flags.uncertified);
  return { file, name, network: chooseNetwork(file, flags), listen: chooseListen(file, flags, serverPaths(name)) };
}

function checkReason(reason: string): void {
  const isOne = reason.trim() !== "" && reason.length <= REASON_LENGTH_LIMIT && !/\p{Cc}/u.test(reason);
  if (!isOne) throw new SteadfastError("UNCERTIFIED_REASON", { limit: REASON_LENGTH_LIMIT });
}

/** Finds the image, or makes it. Without a choice: the hardened one if it was built, else Debian's stock kernel, which is there quickly. */
export async function resolveImage(file: ServerFile, flags: UpFlags, onProgress: (progress: BuildProgress) => void): Promise<ImageRecord> {
  const recipePath = file.image?.recipe;
  const { kernel, initrdPath } = kernelChoice(file, flags);
  if (kernel === "stock" || kernel === "hardened") return foundOrBuilt({ recipePath, kernel, onProgress });
  if (kernel !== undefined) return importKernel({ kernelPath: kernel, initrdPath, onProgress });
  if (recipePath !== undefined) return foundOrBuilt({ recipePath, onProgress });
  return foundOrBuilt({ kernel: findImage({ kernel: "hardened" }) === undefined ? "stock" : "hardened", onProgress });
}

/** An image of this release's recipes that nobody vouches for is built anew; whether others may run is for the gate to say. */
async function foundOrBuilt(options: BuildOptions): Promise<ImageRecord> {
  const found = findImage(options);
  const isUsable = found !== undefined && (releaseRecipe(options) === undefined || isVouchedFor(found));
  return isUsable ? found : buildCertified(options);
}

/** What the image serves, by the recipe that it was made from; none: it came with an initial RAM disk of its own. */
function servicesOf(file: ServerFile, flags: UpFlags, image: ImageRecord): PlannedImage["services"] {
  // A changed image has its own.
  const source = image.provenance === undefined ? undefined : readSource(image.directory);
  if (source !== undefined) return source.recipe.services.map(({ name, ports }) => ({ name, ports }));
  const { initrdPath } = kernelChoice(file, flags);
  if (initrdPath !== undefined) return [];
  return loadRecipe(file.image?.recipe ?? DEFAULT_RECIPE_PATH).services.map(({ name, ports }) => ({ name, ports }));
}

/** The kernel that was asked for, and the initial RAM disk for it. */
function kernelChoice(
  file: ServerFile,
  flags: UpFlags,
): { readonly kernel?: string | undefined; readonly initrdPath?: string | undefined } {
  const kernel = flags.kernel ?? file.image?.kernel;
  if (kernel === undefined || kernel === "stock" || kernel === "hardened") return { kernel };
  return { kernel, initrdPath: flags.initrd ?? (flags.kernel === undefined ? file.image?.initrd : undefined) };
}

/** A disk that a server had once it keeps, whether it is asked for again or not: the guest's data are on it. */
function diskPlan(file: ServerFile, flags: UpFlags, paths: ServerPaths): { readonly disk?: PlannedDisk } {
  const directories = file.disk?.directories ?? [];
  const isThere = existsSync(directories[0] ?? `${paths.stateDirectory}/enclosure0/disk`);
  if (flags.disk === undefined && file.disk === undefined && !isThere) return {};
  const sizeMiB = flags.disk ?? file.disk?.sizeMiB ?? DISK_MIB_DEFAULT;
  const { format = "ext4", label = "data" } = file.disk ?? {};
  return { disk: { diskId: "", sizeBytes: sizeMiB * 1024 * 1024, format, label, directories } };
}

function certificationPlan({ certification }: ServerFile, { uncertified }: UpFlags): CertificationPlan {
  const { threshold = 1, keys = null, bases = null, policies = null } = certification ?? {};
  return { threshold, keys, bases, policies, uncertified: uncertified?.trim() ?? null };
}

export function makePlan({ file, name, network, listen }: Settings, flags: UpFlags, image: ImageRecord | null): ServerPlan {
  const extra = file.image?.commandLine ?? "";
  const planned: PlannedImage =
    image === null
      ? TOY_IMAGE
      : {
          name: image.name,
          digest: image.digest,
          kernelKind: image.kernelKind,
          kernelRelease: image.kernelRelease,
          kernelPath: image.kernelPath,
          initrdPath: image.initrdPath,
          services: servicesOf(file, flags, image),
          commandLine: extra === "" ? image.commandLine : `${image.commandLine} ${extra}`,
        };
  return {
    server: name,
    engine: file.engine ?? "rv64",
    redundancy: flags.redundancy ?? file.redundancy ?? "duplex",
    memoryMiB: flags.memory ?? file.memoryMiB ?? image?.memoryMiB ?? TOY_MEMORY_MIB,
    release: flags.release ?? file.release ?? "compared",
    lagLimitMs: flags.lagLimit ?? file.lagLimitMs ?? LAG_LIMIT_MS_DEFAULT,
    checkpoints: flags.checkpoints && (file.checkpoints ?? true),
    image: planned,
    network: network.plan,
    certification: certificationPlan(file, flags),
    guestWatch: flags.guestWatch ?? file.guestWatch ?? "restart",
    faultThreshold: {
      count: file.faultThreshold?.count ?? FAULT_COUNT_DEFAULT,
      windowHours: file.faultThreshold?.windowHours ?? FAULT_WINDOW_HOURS_DEFAULT,
    },
    ...diskPlan(file, flags, serverPaths(name)),
    ...listen,
  };
}
