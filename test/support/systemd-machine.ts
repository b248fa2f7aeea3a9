/**
 * A machine that boots systemd, for tests of what happens at its boot and at its shutdown: namespaces of its own over a writable layer on
 * this host's files, so that it has all that is installed here, and nothing that it does stays. Needs root, and systemd's files.
 */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram, type Outcome } from "./real-server.js";

export const SYSTEMD = "/lib/systemd/systemd";
const BOOT_LIMIT_MS = 60_000;
const END_LIMIT_MS = 120_000;
const POLL_MS = 200;

/** What a container's manager has to lay out (systemd's "container interface"); only our own units are wanted at boot. */
const LAYOUT = `set -e
cd "$1"
mkdir -p up work root
mount -t overlay overlay -o lowerdir=/,upperdir=up,workdir=work root
cd root
mount -t proc proc proc
mount -t sysfs sysfs sys
for place in run tmp dev sys/fs/cgroup; do mount -t tmpfs tmpfs $place; done
for device in null zero full random urandom tty; do touch dev/$device; mount --bind /dev/$device dev/$device; done
mkdir dev/pts dev/shm dev/net sys/fs/cgroup/systemd sys/fs/cgroup/unified
mount -t devpts devpts dev/pts -o newinstance,ptmxmode=0666
ln -s pts/ptmx dev/ptmx
touch dev/net/tun
mount --bind /dev/net/tun dev/net/tun
if mount -t cgroup -o none,name=systemd cgroup sys/fs/cgroup/systemd; then mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
else umount sys/fs/cgroup; mount -t cgroup2 cgroup2 sys/fs/cgroup; fi
[ -e ../made ] || rm -rf etc/systemd/system/*.wants lib/systemd/system/multi-user.target.wants
touch ../made
exec chroot . env -i container=other PATH="$PATH" ${SYSTEMD} systemd.unit=multi-user.target
`;

const wait = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class SystemdMachine {
  #folder = "";
  #manager: ChildProcess | null = null;
  #init = 0;

  async boot(): Promise<void> {
    if (this.#folder === "") await this.#make();
    const own = ["--mount", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net", "--cgroup"];
    const manager = spawn("unshare", [...own, "sh", join(this.#folder, "layout"), join(this.#folder, "disk")], { stdio: "ignore" });
    this.#manager = manager;
    const giveUpAt = Date.now() + BOOT_LIMIT_MS;
    while (!(await this.#isBooted())) {
      assert.ok(manager.exitCode === null && Date.now() < giveUpAt, "systemd boots");
      await wait(POLL_MS);
    }
  }

  async #make(): Promise<void> {
    this.#folder = await mkdtemp(join(tmpdir(), "steadfast-systemd-"));
    await writeFile(join(this.#folder, "layout"), LAYOUT);
    await mkdir(join(this.#folder, "disk"));
    // Its files have to be there at the next boot, and cannot lie on another overlay.
    const mounted = await runProgram("mount", ["-t", "tmpfs", "tmpfs", join(this.#folder, "disk")]);
    assert.equal(mounted.code, 0, mounted.error);
  }

  async #isBooted(): Promise<boolean> {
    const { out } = await runProgram("pgrep", ["-P", String(this.#manager?.pid)]);
    this.#init = Number(out.trim());
    if (this.#init === 0 || !readFileSync(`/proc/${this.#init}/cmdline`, "utf8").startsWith(SYSTEMD)) return false;
    const { out: state } = await this.run("systemctl", "is-system-running");
    return ["running", "degraded"].includes(state.trim());
  }

  /** A program in it. */
  run(...command: readonly string[]): Promise<Outcome> {
    const into = ["-t", String(this.#init), "--mount", "--pid", "--ipc", "--uts", "--net", "--cgroup", "--root", "--wd=/"];
    return runProgram("nsenter", [...into, ...command]);
  }

  async must(...command: readonly string[]): Promise<string> {
    const { code, out, error } = await this.run(...command);
    assert.equal(code, 0, `${command.join(" ")}: ${out}${error}`);
    return out;
  }

  /** Shut down as an operator does it. */
  async powerOff(): Promise<void> {
    await this.run("systemctl", "poweroff");
    await this.#untilEnded();
  }

  /** Everything in it ends at once: its init is the reaper of its pid namespace. */
  async losePower(): Promise<void> {
    process.kill(this.#init, "SIGKILL");
    await this.#untilEnded();
  }

  async #untilEnded(): Promise<void> {
    const manager = this.#manager;
    const giveUpAt = Date.now() + END_LIMIT_MS;
    while (manager !== null && manager.exitCode === null && manager.signalCode === null) {
      assert.ok(Date.now() < giveUpAt, "the machine ends");
      await wait(POLL_MS);
    }
    this.#manager = null;
  }

  async remove(): Promise<void> {
    if (this.#manager !== null) await this.losePower();
    if (this.#folder === "") return;
    const unmounted = await runProgram("umount", [join(this.#folder, "disk")]);
    assert.equal(unmounted.code, 0, unmounted.error);
    await rm(this.#folder, { recursive: true });
  }
}
