import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { cpuSeconds } from "../dist/bench/host.js";
import { findHierarchy, ProcessorShares } from "../dist/bench/processor-share.js";

const work = mkdtempSync(join(tmpdir(), "steadfast-share-"));
after(() => rmSync(work, { recursive: true, force: true }));

test("the hierarchy of groups that limit processor time is found in both versions, or none", () => {
  const second = "cgroup2 /sys/fs/cgroup cgroup2 rw,relatime 0 0\n";
  const first = "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/cpuset cgroup rw,cpuset 0 0\n";
  assert.deepEqual(findHierarchy(second + first, work), { root: "/sys/fs/cgroup/cpu,cpuacct", isUnified: false });
  assert.equal(findHierarchy(second, work), null);
  writeFileSync(join(work, "cgroup.controllers"), "cpuset io memory\n");
  assert.equal(findHierarchy(second, work), null, "cpuset is not cpu");
  writeFileSync(join(work, "cgroup.controllers"), "cpuset cpu io memory\n");
  assert.deepEqual(findHierarchy(second, work), { root: work, isUnified: true });
});

const SPIN_MS = 600;

test("a process with a share gets no more of a processor, is where it was afterwards, and no group is left", async () => {
  const hierarchy = findHierarchy(readFileSync("/proc/mounts", "utf8"));
  assert.ok(hierarchy !== null, "hosts that tests run on have control groups");
  const spinner = spawn(process.execPath, ["-e", "for (;;);"], { stdio: "ignore" });
  const pid = spinner.pid as number;
  const shares = new ProcessorShares(hierarchy);
  const use = async (): Promise<number> => {
    const [beforeS, startedMs] = [cpuSeconds(pid), performance.now()];
    await new Promise((resolve) => setTimeout(resolve, SPIN_MS));
    return ((cpuSeconds(pid) - beforeS) * 1000) / (performance.now() - startedMs);
  };
  const groups = (): string => readFileSync(`/proc/${pid}/cgroup`, "utf8");
  try {
    await once(spinner, "spawn");
    const origin = groups();
    shares.limit(`test-${pid}`, pid);
    const limited = await use();
    assert.ok(limited > 0 && limited < 0.65, `a share of ${limited}`);
    assert.notEqual(groups(), origin);
    await shares.release();
    assert.equal(groups(), origin);
    assert.equal(existsSync(join(hierarchy.root, `steadfast-test-${pid}`)), false);
    shares.limit(`test-${pid}`, pid);
  } finally {
    spinner.kill("SIGKILL");
    await once(spinner, "exit");
    await shares.release();
  }
  assert.equal(existsSync(join(hierarchy.root, `steadfast-test-${pid}`)), false, "nor of a process that has ended");
  assert.throws(() => shares.limit(`test-${pid}`, pid), /limiting process/);
});
