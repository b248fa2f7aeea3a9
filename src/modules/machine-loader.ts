/** Creates the machine that a CPU module runs, by the engine's name. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { SteadfastError } from "../foundation/errors.js";
import { measuredBy, sha256 } from "../image/store.js";
import type { Machine } from "../machine/machine.js";
import { createToyMachine, TOY_BEHAVIOUR } from "../machine/toy.js";
import type { ModuleConfig } from "./config.js";

/** `digest`: what its bytes must have, since that is what was admitted; undefined: any will do. */
async function readGuestFile(path: string, digest?: string): Promise<Uint8Array> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw new SteadfastError("MACHINE_FILE", { path, why: (error as Error).message });
  }
  if (digest !== undefined && createHash("sha256").update(bytes).digest("hex") !== digest)
    throw new SteadfastError("MACHINE_FILE", { path, why: "it was altered since the server was started" });
  return bytes;
}

/** Those of an image beside the machine's own; they have to give its digest. Read when the guest is powered on with it, all members alike. */
function otherBootFiles(kernelPath: string, image: string): { readonly kernel: Uint8Array; readonly initrd: Uint8Array } {
  const directory = join(dirname(dirname(kernelPath)), image);
  try {
    const kernel = readFileSync(join(directory, "kernel"));
    const initrd = readFileSync(join(directory, "initrd"));
    if (measuredBy(directory, { kernel: sha256(kernel), initrd: sha256(initrd) }).digest === image) return { kernel, initrd };
  } catch (error) {
    throw new SteadfastError("MACHINE_FILE", { path: directory, why: (error as Error).message });
  }
  throw new SteadfastError("MACHINE_FILE", { path: directory, why: "it was altered since it was installed" });
}

/** Number of the behaviour of the machines that this version makes (MachineDescription). */
export async function behaviourOf(engine: "rv64" | "toy"): Promise<number> {
  return engine === "toy" ? TOY_BEHAVIOUR : (await import("../machine/engines/rv64/index.js")).RV64_BEHAVIOUR;
}

/** What of a module's configuration makes its machine. */
type MachineSource = Pick<ModuleConfig, "machine" | "epochNs"> & { readonly network: Pick<ModuleConfig["network"], "macAddress"> };

async function loadRv64(config: MachineSource): Promise<Machine> {
  const { machine, network } = config;
  const corePath = fileURLToPath(new URL("../machine/engines/rv64/core.wasm", import.meta.url));
  const { compileCore, createRv64Machine } = await import("../machine/engines/rv64/index.js");
  const [core, kernel, initrd] = await Promise.all([
    readGuestFile(corePath),
    machine.kernelPath === "" ? new Uint8Array(0) : readGuestFile(machine.kernelPath, machine.kernelDigest),
    machine.initrdPath === "" ? new Uint8Array(0) : readGuestFile(machine.initrdPath, machine.initrdDigest),
  ]);
  return createRv64Machine({
    core: compileCore(core),
    kernel,
    initrd,
    commandLine: machine.commandLine,
    ramBytes: machine.ramBytes,
    harts: machine.harts,
    epochNs: BigInt(config.epochNs),
    imageDigest: machine.imageDigest,
    bootFilesOf: (image) => otherBootFiles(machine.kernelPath, image),
    diskBytes: machine.diskBytes ?? 0,
    agentPort: machine.agentPort ?? false,
    ...(network.macAddress === "" ? {} : { macAddress: network.macAddress }),
  });
}

export async function loadMachine(config: MachineSource): Promise<Machine> {
  const { engine, ramBytes, commandLine, imageDigest } = config.machine;
  if (engine === "toy") return createToyMachine({ ramBytes, commandLine, imageDigest, epochNs: BigInt(config.epochNs) });
  return loadRv64(config);
}
