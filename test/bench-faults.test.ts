/** Fault injection against a fake server whose "modules" are real processes: signals arrive, and DUPLEX is waited for each time. */
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { after, test } from "node:test";
import { runFaults, type Fault, type FaultMix, type FaultPlan } from "../dist/bench/faults.js";
import type { ServerSource, ServerView } from "../dist/bench/server-view.js";

const children: ChildProcess[] = [];
const RECOVERY_MS = 250;
after(() => children.forEach((child) => child.kill("SIGKILL")));

function startProcess(): ChildProcess {
  const child = spawn("sleep", ["60"], { stdio: "ignore" });
  children.push(child);
  return child;
}

/** Replaces a killed or stopped module a little later, as management would. */
class FakeServer implements ServerSource {
  readonly name = "fake";
  readonly modules = new Map([
    ["cpu0", startProcess()],
    ["cpu1", startProcess()],
  ]);
  /** Signals seen: module and what became of its process. */
  readonly seen: string[] = [];
  private recoveredAtMs = 0;
  /** Faults that came while the server was not DUPLEX. */
  early = 0;

  read(): Promise<ServerView> {
    for (const [name, child] of this.modules) {
      const happened = child.signalCode !== null ? "kill" : stopped(child.pid ?? 0) ? "hang" : undefined;
      if (happened === undefined) continue;
      if (performance.now() < this.recoveredAtMs) this.early++;
      this.seen.push(`${happened} ${name}`);
      child.kill("SIGKILL");
      this.modules.set(name, startProcess());
      this.recoveredAtMs = performance.now() + RECOVERY_MS;
    }
    const state = performance.now() < this.recoveredAtMs ? "SIMPLEX" : "DUPLEX";
    const progress = state === "SIMPLEX" ? { progress: { phase: "copying" } } : {};
    const cpus = [...this.modules].map(([name, child]) => ({ name, kind: "cpu", pid: child.pid ?? 0, state, ...progress }));
    const others = [{ name: "io0", kind: "io", pid: process.pid, state: "SIMPLEX" }];
    const view = { redundancy: state, modules: [...others, ...cpus], counters: { lastHoldMs: 7 } };
    return Promise.resolve(view as unknown as ServerView);
  }
}

function stopped(pid: number): boolean {
  return /^State:\s+T/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
}

const plan = (mix: FaultMix, count: number): FaultPlan => ({ mix, seed: 5, pauseMinimumMs: 5, pauseMaximumMs: 30, count });

async function run(mix: FaultMix, count: number): Promise<{ server: FakeServer; faults: Fault[] }> {
  const server = new FakeServer();
  const faults: Fault[] = [];
  assert.equal(
    await runFaults(
      server,
      plan(mix, count),
      faults,
      () => false,
      () => undefined,
    ),
    true,
  );
  return { server, faults };
}

test("mixed faults hit both modules in both ways, each only in DUPLEX, and are settled", async () => {
  const { server, faults } = await run("mixed", 8);
  assert.equal(server.early, 0);
  assert.deepEqual([...server.seen].sort(), [
    "hang cpu0",
    "hang cpu0",
    "hang cpu1",
    "hang cpu1",
    "kill cpu0",
    "kill cpu0",
    "kill cpu1",
    "kill cpu1",
  ]);
  assert.deepEqual(
    faults.map((fault) => `${fault.kind} ${fault.module}`),
    server.seen,
  );
  for (const fault of faults) {
    assert.ok((fault.duplexAtMs ?? 0) >= fault.atMs + RECOVERY_MS);
    assert.equal(fault.holdMs, 7);
  }
});

test("one kind alone; none at all; and the end in between", async () => {
  const { server } = await run("kill", 3);
  assert.ok(server.seen.every((happened) => happened.startsWith("kill")));
  assert.deepEqual((await run("none", 3)).faults, []);
  const endless = new FakeServer();
  const faults: Fault[] = [];
  assert.equal(
    await runFaults(
      endless,
      plan("kill", Number.POSITIVE_INFINITY),
      faults,
      () => faults.length >= 2,
      () => undefined,
    ),
    true,
  );
  assert.equal(faults.length, 2);
});

test("a relapse kills the replacement too, and both are accounted for", async () => {
  const server = new FakeServer();
  const faults: Fault[] = [];
  // The relapse comes within 500 ms, the fake is back after half of that: some of them hit, the others come too late and must not.
  const many = plan("relapse", 12);
  assert.equal(
    await runFaults(
      server,
      many,
      faults,
      () => false,
      () => undefined,
    ),
    true,
  );
  const again = faults.filter((fault) => fault.relapseAtMs !== undefined).length;
  assert.ok(again > 0 && again < 12, String(again));
  assert.equal(server.seen.length, 12 + again);
  // A death is noticed at the next reading, which may be after the recovery: at most as many as relapses.
  assert.ok(server.early <= again);
});
