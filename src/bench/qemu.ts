/** The yardstick: the same kernel and image under qemu-system-riscv64 (TCG), unprotected, on a TAP of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { SteadfastError } from "../foundation/errors.js";
import { REDIS_PORT, redisReady, type Address } from "./connection.js";
import { firstAnswer } from "./http-load.js";
import { requireTool, runTool } from "./tools.js";

export const QEMU_DEVICE = "sfbench-qemu";
const HOST_ADDRESS = "10.77.9.1";
const GUEST_ADDRESS = "10.77.9.2";
const BOOT_LIMIT_MS = 300_000;
const COMMAND_LIMIT_MS = 10_000;

export interface QemuImage {
  readonly kernelPath: string;
  readonly initrdPath: string;
  readonly commandLine: string;
  readonly memoryMiB: number;
}

async function ip(...parameters: string[]): Promise<void> {
  const result = await runTool("ip", parameters, COMMAND_LIMIT_MS);
  if (result.code !== 0) throw new SteadfastError("BENCH_FAILED", { what: `ip ${parameters.join(" ")}`, why: result.errors.trim() });
}

export class QemuGuest {
  private constructor(
    private readonly child: ChildProcess,
    readonly firstAnswerMs: number,
  ) {}

  readonly host = GUEST_ADDRESS;
  readonly http: Address = { host: GUEST_ADDRESS, port: 80 };

  static async start(image: QemuImage): Promise<QemuGuest> {
    requireTool("qemu-system-riscv64", "qemu-system-misc");
    await removeDevice();
    await ip("tuntap", "add", "dev", QEMU_DEVICE, "mode", "tap");
    await ip("addr", "add", `${HOST_ADDRESS}/24`, "dev", QEMU_DEVICE);
    await ip("link", "set", QEMU_DEVICE, "up");
    const network = `steadfast.address=${GUEST_ADDRESS}/24 steadfast.gateway=${HOST_ADDRESS} steadfast.hostname=bench-qemu`;
    const start = performance.now();
    const child = spawn(
      "qemu-system-riscv64",
      [
        ...["-M", "virt", "-m", String(image.memoryMiB), "-display", "none", "-monitor", "none", "-serial", "null", "-no-reboot"],
        ...["-kernel", image.kernelPath, "-initrd", image.initrdPath, "-append", `${image.commandLine} ${network}`],
        ...[
          "-global",
          "virtio-mmio.force-legacy=false",
          "-device",
          "virtio-net-device,netdev=n0",
          "-netdev",
          `tap,id=n0,ifname=${QEMU_DEVICE},script=no,downscript=no`,
        ],
      ],
      { stdio: "ignore" },
    );
    let ended = false;
    child.on("exit", () => (ended = true));
    child.on("error", () => (ended = true));
    const guest = new QemuGuest(
      child,
      await firstAnswer({ host: GUEST_ADDRESS, port: 80 }, HOST_ADDRESS, start, BOOT_LIMIT_MS, () => ended),
    );
    if (!Number.isNaN(guest.firstAnswerMs) && (await redisReady({ host: GUEST_ADDRESS, port: REDIS_PORT }, BOOT_LIMIT_MS))) return guest;
    await guest.stop();
    throw new SteadfastError("BENCH_FAILED", {
      what: "the guest under qemu-system-riscv64",
      why: ended ? "QEMU ended" : "no answer within the limit",
    });
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  async stop(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null && this.child.pid !== undefined) {
      const exited = new Promise((resolve) => this.child.once("exit", resolve));
      this.child.kill("SIGKILL");
      await exited;
    }
    await removeDevice();
  }
}

async function removeDevice(): Promise<void> {
  // Fails when there is none, which is what is wanted.
  await runTool("ip", ["link", "delete", QEMU_DEVICE], COMMAND_LIMIT_MS);
}
