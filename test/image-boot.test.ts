/**
 * Boots the images of this host in QEMU, an independent machine: services answer, a killed service comes back, power-off and panic end as
 * they should. Slow, and only as good as the images at hand: without them it is skipped aloud, or fails if STEADFAST_REQUIRE_IMAGES is set.
 */

import assert from "node:assert/strict";
import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from "node:child_process";
import { connect, createServer, type AddressInfo } from "node:net";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { findImage, type ImageRecord } from "../dist/image/index.js";

const BOOT_LIMIT_MS = 90_000;
const STEP_LIMIT_MS = 30_000;

class Guest {
  console = "";
  readonly exited: Promise<number | null>;

  private constructor(
    private readonly process: ChildProcessWithoutNullStreams,
    readonly httpPort: number,
    readonly redisPort: number,
  ) {
    process.stdout.on("data", (chunk: Buffer) => (this.console += chunk.toString("latin1")));
    process.stderr.on("data", (chunk: Buffer) => (this.console += chunk.toString("latin1")));
    this.exited = new Promise((resolve) => process.once("exit", resolve));
  }

  static async start(image: ImageRecord): Promise<Guest> {
    const [httpPort, redisPort] = [await freePort(), await freePort()];
    const address = "steadfast.address=10.0.2.15/24 steadfast.gateway=10.0.2.2 steadfast.hostname=probe";
    const machine = ["-M", "virt", "-m", String(image.memoryMiB), "-nographic", "-no-reboot"];
    const boot = ["-kernel", image.kernelPath, "-initrd", image.initrdPath, "-append", `${image.commandLine} ${address}`];
    const forward = `hostfwd=tcp:127.0.0.1:${httpPort}-:80,hostfwd=tcp:127.0.0.1:${redisPort}-:6379`;
    const network = ["-device", "virtio-net-device,netdev=n", "-netdev", `user,id=n,${forward}`];
    const devices = ["-global", "virtio-mmio.force-legacy=false", "-device", "virtio-rng-device", ...network];
    return new Guest(spawn("qemu-system-riscv64", [...machine, ...boot, ...devices]), httpPort, redisPort);
  }

  type(line: string): void {
    this.process.stdin.write(line + "\n");
  }

  async sees(pattern: RegExp, limitMs: number = STEP_LIMIT_MS): Promise<void> {
    const deadline = performance.now() + limitMs;
    while (!pattern.test(this.console)) {
      assert.ok(performance.now() < deadline && this.process.exitCode === null, `no ${String(pattern)} on the console:\n${this.console}`);
      await sleep(50);
    }
  }

  stop(): void {
    this.process.kill("SIGKILL");
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** One command to Redis, and what comes back at first. */
async function redis(port: number, command: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  try {
    socket.write(command + "\r\n");
    return await new Promise<string>((resolve, reject) => {
      socket.once("data", (data: Buffer) => resolve(data.toString().trim()));
      socket.once("error", reject);
      socket.once("close", () => resolve("closed"));
      socket.setTimeout(STEP_LIMIT_MS, () => reject(new Error("Redis does not answer")));
    });
  } finally {
    socket.destroy();
  }
}

async function serves(guest: Guest): Promise<void> {
  await guest.sees(/steadfast: ready after/, BOOT_LIMIT_MS);
  const page = await (await fetch(`http://127.0.0.1:${guest.httpPort}/`)).text();
  assert.match(page, /Welcome to nginx!/);
  assert.equal(await redis(guest.redisPort, "SET key value"), "+OK");
  assert.equal(await redis(guest.redisPort, "INCR counter"), ":1");
}

async function servesAndStops(image: ImageRecord): Promise<void> {
  const guest = await Guest.start(image);
  try {
    await serves(guest);
    assert.doesNotMatch(guest.console, /cannot load|can't|not found|No such/);
    guest.type("uname -r; id -un; hostname; ls -1d /proc/1/fd /dev/shm /dev/pts/ptmx");
    await guest.sees(new RegExp(image.kernelRelease.replaceAll(".", "\\.").replaceAll("+", "\\+")));
    await guest.sees(/root\r?\nprobe\r?\n\/dev\/pts\/ptmx\r?\n\/dev\/shm\r?\n\/proc\/1\/fd/);
    if (image.kernelKind === "hardened") {
      guest.type("pidof watchdog && echo guarded");
      await guest.sees(/\d\r?\nguarded/);
    }
    guest.type("kill -9 $(pidof redis-server)");
    await guest.sees(/service redis ended; starting it again in 0 s/);
    for (let tries = 0; (await redis(guest.redisPort, "PING").catch(() => "")) !== "+PONG"; tries++) {
      assert.ok(tries < 40, "Redis did not come back");
      await sleep(250);
    }
    guest.type("poweroff");
    await guest.sees(/reboot: Power down/);
    assert.equal(await guest.exited, 0);
  } finally {
    guest.stop();
  }
}

/** With -no-reboot QEMU ends where a machine would start anew. */
async function panicsAndRestarts(image: ImageRecord): Promise<void> {
  const guest = await Guest.start(image);
  try {
    await serves(guest);
    guest.type("echo c > /proc/sysrq-trigger");
    await guest.sees(/Kernel panic - not syncing/);
    const after = performance.now();
    assert.equal(await guest.exited, 0);
    assert.ok(performance.now() - after < 5000, "the restart after a panic took too long");
  } finally {
    guest.stop();
  }
}

for (const kernel of ["stock", "hardened"] as const) {
  const image = findImage({ kernel });
  const hasQemu = spawnSync("qemu-system-riscv64", ["--version"]).status === 0;
  const reason =
    image === undefined
      ? `no ${kernel} image here; make it with: steadfast image build --kernel ${kernel}`
      : hasQemu
        ? undefined
        : "QEMU is missing; apt-get install -y qemu-system-misc";
  const required = (process.env["STEADFAST_REQUIRE_IMAGES"] ?? "") !== "";
  const options = reason !== undefined && !required ? { skip: reason } : { timeout: 4 * BOOT_LIMIT_MS };
  test(`the ${kernel} image serves, restarts a killed service and powers off`, options, async () => {
    assert.ok(image !== undefined && hasQemu, reason);
    await servesAndStops(image);
  });
  test(`the ${kernel} image restarts at once after a kernel panic`, options, async () => {
    assert.ok(image !== undefined && hasQemu, reason);
    await panicsAndRestarts(image);
  });
}
