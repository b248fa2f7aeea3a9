/** The pure lockstep core with whole servers in one process: named situations, then random faults under many seeds. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../dist/foundation/bytes.js";
import { SeededRandom } from "../dist/foundation/random.js";
import { putLoad } from "../dist/simulator/scenario.js";
import { World, outputText, type WorldOptions } from "../dist/simulator/world.js";

const SEEDS = Number(process.env["STEADFAST_SEEDS"] ?? 15);

function started(options: Partial<WorldOptions> = {}): World {
  const world = new World({ seed: 1, ...options });
  const full = (options.cpus?.length ?? 2) === 3 ? "TRIPLEX" : "DUPLEX";
  assert.ok(
    world.run(5000, () => world.redundancy === full),
    `${full} at start`,
  );
  return world;
}

function assertPrefixOfReference(world: World): void {
  const released = world.released.map(outputText);
  const reference = world.reference().flat().map(outputText);
  for (let index = 0; index < released.length; index += 1) {
    assert.equal(released[index], reference[index], `output ${index} of ${released.length}`);
  }
  assert.ok(released.length <= reference.length, "never released before it was computed");
}

function told(world: World): string {
  return [...world.events.map((event) => `${event.code} ${event.text}`), JSON.stringify(world.server.status())].join("\n");
}

function assertEqualMachines(world: World): void {
  world.verified.length = 0;
  world.input({ kind: "verify" });
  assert.ok(
    world.run(world.nowMs + 1000, () => world.verified.length > 0),
    "verified",
  );
  const digests = Object.values(world.verified[0] ?? {});
  assert.ok(digests.length >= 2, told(world));
  assert.equal(new Set(digests).size, 1);
}

test("both power on together at tick 1, echo, and agree", () => {
  const world = started();
  putLoad(world, 300);
  world.run(600);
  assertPrefixOfReference(world);
  assert.equal(world.released.length, world.reference().flat().length, "all is released in the end");
  assert.ok(world.released.length > 50);
  assert.equal(world.server.status().configuration, 1);
  assertEqualMachines(world);
});

test("an idle guest is not ticked but for its timer; input to it is ticked at once", () => {
  const world = started({ commandLine: "timer=1000 work=500" });
  world.run(500);
  const before = world.server.voter.issued;
  world.run(900);
  assert.ok(world.server.voter.issued - before <= 2);
  const atMs = world.nowMs;
  world.input({ kind: "console", bytes: utf8Encode("x\n") });
  assert.ok(world.run(atMs + 5, () => world.released.map(outputText).some((text) => text.includes("1: x"))));
});

test("a module that waits when an old claim wins without it is reintegrated, not made a member that computes nothing", () => {
  const world = new World({ seed: 95, cpus: ["cpu0", "cpu1", "cpu2"] });
  assert.ok(world.run(5000, () => world.redundancy === "TRIPLEX"));
  // A takeover by two is claimed while the arbiter does not answer; then all begin from nothing, and that old claim wins.
  world.heldOut.add("cpu0");
  world.kill("cpu0");
  world.run(world.nowMs + 20);
  world.arbiterDelayMs = 400;
  world.restartIo();
  assert.ok(world.run(world.nowMs + 3000, () => world.server.membership.claiming !== null));
  world.kill("cpu1");
  world.kill("cpu2");
  world.revive("cpu0");
  assert.ok(
    world.run(world.nowMs + 9000, () => world.redundancy === "TRIPLEX" && world.isHealthy),
    told(world),
  );
  world.arbiterDelayMs = 1;
  world.run(world.nowMs + 200);
  assertEqualMachines(world);
  assert.equal(Object.keys(world.verified[0] ?? {}).length, 3, told(world));
});

test("a single CPU module serves as SIMPLEX and is not safe to pull", () => {
  const world = new World({ seed: 2, cpus: ["cpu0"] });
  assert.ok(world.run(5000, () => world.redundancy === "SIMPLEX"));
  assert.equal(world.server.status().modules["cpu0"]?.safeToPull, false);
});

test("a missing module is waited for at first start, but not for ever", () => {
  const world = new World({ seed: 3 });
  world.heldOut.add("cpu1");
  world.kill("cpu1");
  assert.ok(world.run(10_000, () => world.redundancy === "SIMPLEX"));
  assert.ok(world.nowMs >= 2900, `started at ${world.nowMs}`);
  world.revive("cpu1");
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "DUPLEX"));
});

test("a module that is not expected is not waited for", () => {
  const world = new World({ seed: 3 });
  world.heldOut.add("cpu1");
  world.kill("cpu1");
  world.input({ kind: "expect", module: "cpu1", present: false });
  assert.ok(world.run(1000, () => world.redundancy === "SIMPLEX"));
});

for (const victim of ["cpu0", "cpu1"]) {
  for (const fault of ["kill", "stop"] as const) {
    test(`${fault} ${victim}: the other goes on, then DUPLEX again with equal machines`, () => {
      const world = started({ seed: 4 });
      putLoad(world, 1500);
      world.after(200, () => world[fault](victim));
      assert.ok(world.run(1500, () => world.redundancy === "SIMPLEX"));
      const lostAt = world.nowMs;
      assert.ok(lostAt < 200 + 60 + 300, `found at ${lostAt}`);
      assert.ok(world.run(3000, () => world.redundancy === "DUPLEX"));
      assertEqualMachines(world);
      world.run(1800);
      assertPrefixOfReference(world);
      assert.equal(world.released.length, world.reference().flat().length);
      assert.equal(world.server.counters.outages, 0);
    });
  }
}

test("a slow arbiter delays releases but not the guest, and nothing is lost", () => {
  const world = started({ seed: 5 });
  world.arbiterDelayMs = 20;
  putLoad(world, 600);
  world.after(100, () => world.kill("cpu0"));
  world.run(1500);
  assertPrefixOfReference(world);
  assert.equal(world.released.length, world.reference().flat().length);
});

test("duplex miscompare: the module with the worse record is isolated, and it is said that nobody judged", () => {
  const world = started({ seed: 6 });
  world.kill("cpu1");
  assert.ok(world.run(2000, () => world.redundancy === "SIMPLEX"));
  assert.ok(world.run(3000, () => world.redundancy === "DUPLEX"));
  putLoad(world, world.nowMs + 500);
  const before = world.released.length;
  world.cpus.get("cpu1")?.machine.flipBit(5000, 3);
  assert.ok(world.run(world.nowMs + 1000, () => world.events.some((event) => event.code === "MISCOMPARE_UNADJUDICATED")));
  assert.equal(world.server.status().modules["cpu1"]?.state, "SHOT");
  assert.equal(world.server.status().redundancy, "SIMPLEX");
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "DUPLEX"));
  assert.ok(world.released.length > before);
  assertPrefixOfReference(world);
  assertEqualMachines(world);
});

test("triplex: the odd one out is SHOT; a stopped third delays nothing", () => {
  const world = started({ seed: 7, cpus: ["cpu0", "cpu1", "cpu2"] });
  putLoad(world, 3000);
  world.run(100);
  world.cpus.get("cpu0")?.machine.flipBit(9000, 1);
  assert.ok(world.run(1500, () => world.events.some((event) => event.code === "MISCOMPARE" && event.module === "cpu0")));
  assert.ok(world.run(3000, () => world.redundancy === "TRIPLEX"));
  world.stop("cpu2");
  const before = world.released.length;
  world.run(world.nowMs + 100);
  assert.ok(world.released.length > before + 5, "outputs go on while the third is silent");
  assert.ok(world.run(world.nowMs + 1000, () => world.redundancy === "DUPLEX"));
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "TRIPLEX"));
  assertPrefixOfReference(world);
  assertEqualMachines(world);
});

test("both killed: an honest outage, counted; the guest starts again; then DUPLEX", () => {
  const world = started({ seed: 8 });
  world.run(100);
  world.kill("cpu0");
  world.kill("cpu1");
  assert.ok(world.run(200, () => world.server.counters.outages === 1));
  assert.equal(world.redundancy, "OUTAGE");
  assert.ok(world.run(3000, () => world.redundancy === "DUPLEX"));
  assert.equal(world.released.map(outputText).filter((text) => text === "console toy: ready\n").length, 2);
  assertEqualMachines(world);
});

test("all stopped: a stall is an outage, not for ever", () => {
  const world = started({ seed: 9 });
  putLoad(world, 20_000);
  world.run(100);
  world.stop("cpu0");
  world.stop("cpu1");
  assert.ok(world.run(8000, () => world.server.counters.outages === 1));
  assert.ok(world.nowMs > 4900);
  assert.ok(world.run(12_000, () => world.redundancy === "DUPLEX"));
});

test("the guest's reset, panic and power-off are acted on by all alike", () => {
  const world = started({ seed: 10 });
  world.run(200);
  for (const [command, code] of [
    ["R", "GUEST_RESET"],
    ["P", "GUEST_PANIC"],
  ] as const) {
    world.input({ kind: "frames", port: 0, frames: [utf8Encode(command)] });
    const ready = (): number => world.released.map(outputText).filter((text) => text === "console toy: ready\n").length;
    const before = ready();
    assert.ok(world.run(world.nowMs + 500, () => ready() === before + 1));
    assert.ok(world.events.some((event) => event.code === code));
  }
  world.input({ kind: "frames", port: 0, frames: [utf8Encode("E")] });
  assert.ok(world.run(world.nowMs + 500, () => world.released.map(outputText).some((text) => text.startsWith("console entropy "))));
  world.input({ kind: "frames", port: 0, frames: [utf8Encode("O")] });
  assert.ok(world.run(world.nowMs + 500, () => world.events.some((event) => event.code === "GUEST_POWER_OFF")));
  world.run(world.nowMs + 100);
  const issued = world.server.voter.issued;
  world.input({ kind: "frames", port: 0, frames: [utf8Encode("into the dark")] });
  world.run(world.nowMs + 1000);
  assert.ok(world.server.voter.issued - issued <= 1, "a guest that is off is not ticked");
  world.kill("cpu1");
  world.run(world.nowMs + 1000, () => world.redundancy === "SIMPLEX");
  assert.ok(
    world.run(world.nowMs + 3000, () => world.redundancy === "DUPLEX"),
    "also a guest that is off is brought back into lockstep",
  );
  world.input({ kind: "reset" });
  assert.ok(world.run(world.nowMs + 500, () => world.released.map(outputText).at(-1) === "console toy: ready\n"));
  assertPrefixOfReference(world);
});

test("an overtaken sequencer is fenced by the CPU modules", () => {
  const world = started({ seed: 11 });
  const cpu = world.cpus.get("cpu0");
  cpu?.member.step({
    kind: "ioMessage",
    io: "io0",
    message: {
      kind: "configurationNotice",
      record: { number: 99, cpus: ["cpu0", "cpu1"], activeIo: "io1", mirrors: [] },
      fullOutputs: true,
    },
  });
  world.input({ kind: "console", bytes: utf8Encode("x\n") });
  assert.ok(world.run(world.nowMs + 100, () => world.events.some((event) => event.code === "FENCED")));
  const released = world.released.length;
  world.run(world.nowMs + 200);
  assert.equal(world.released.length, released);
});

test("a claim won by another I/O module ends this one's acting", () => {
  const world = started({ seed: 12 });
  world.arbiter.set(2, { number: 2, cpus: ["cpu1"], activeIo: "io1", mirrors: [] });
  world.kill("cpu0");
  assert.ok(world.run(world.nowMs + 500, () => world.events.some((event) => event.code === "FENCED")));
});

/** Every output of the reference at least once and in order; what comes twice is a repetition of something recent. */
function assertAtLeastOnce(world: World): void {
  const reference = world.reference().flat().map(outputText);
  const seen = new Map(reference.map((output, index) => [output, index]));
  assert.equal(seen.size, reference.length, "the toy's outputs are all different");
  let next = 0;
  for (const output of world.released.map(outputText)) {
    const index = seen.get(output);
    assert.ok(index !== undefined, `${output} was computed by the reference as well`);
    assert.ok(index <= next, `output ${next} (${reference[next]}) was skipped`);
    next = index + 1;
  }
  assert.equal(next, reference.length, "all was released");
}

for (const release of ["compared", "logged"] as const) {
  test(`the I/O module dies and comes back: the guest goes on, nothing is lost (release ${release})`, () => {
    for (let seed = 1; seed <= Math.ceil(SEEDS / 2); seed += 1) {
      const world = started({ seed, release, cpus: seed % 3 === 0 ? ["cpu0", "cpu1", "cpu2"] : ["cpu0", "cpu1"] });
      putLoad(world, 2000);
      const full = seed % 3 === 0 ? "TRIPLEX" : "DUPLEX";
      let killed = 0;
      for (let count = 0; count < 3; count += 1) {
        world.run(world.nowMs + 20 + world.random.below(150));
        // Sometimes a CPU module is lost just before, or while nobody watches.
        if (seed % 4 !== 0 && world.random.chance(0.3)) {
          killed += 1;
          world.kill(world.random.pick(world.cpuNames));
        }
        if (world.random.chance(0.5)) world.run(world.nowMs + world.random.below(10));
        world.restartIo();
        if (seed % 4 !== 0 && world.random.chance(0.3)) {
          killed += 1;
          world.after(world.random.below(60), () => world.kill("cpu1"));
        }
        assert.ok(
          world.run(world.nowMs + 6000, () => world.isHealthy && world.redundancy === full),
          `seed ${seed}: ${full} again\n${told(world)}`,
        );
      }
      world.run(Math.max(world.nowMs, 2000) + 500);
      assertEqualMachines(world);
      const powerOns = world.events.filter((event) => event.code === "POWER_ON").length;
      if (powerOns === 1) assertAtLeastOnce(world);
      if (killed === 0) assert.equal(powerOns, 1, `seed ${seed}: an I/O module alone never costs the guest its life\n${told(world)}`);
    }
  });
}

function describeFaults(world: World, random: SeededRandom, untilMs: number): { log: string[] } {
  const log: string[] = [];
  const next = (): void => {
    if (world.nowMs > untilMs) return;
    const victim = random.pick(world.cpuNames);
    const fault = random.chance(0.6) ? "kill" : "stop";
    log.push(`${world.nowMs.toFixed(1)} ${fault} ${victim}`);
    world[fault](victim);
    // Sometimes in quick succession: into a reintegration, or both at once.
    world.after(random.chance(0.3) ? random.below(20) : random.chance(0.5) ? random.below(200) : random.below(900), next);
  };
  world.after(random.below(300), next);
  return { log };
}

for (const release of ["compared", "logged"] as const) {
  for (const cpus of [
    ["cpu0", "cpu1"],
    ["cpu0", "cpu1", "cpu2"],
  ]) {
    test(`random faults, ${cpus.length} CPU modules, release ${release}: ${SEEDS} seeds`, () => {
      for (let seed = 1; seed <= SEEDS; seed += 1) {
        const world = new World({ seed, cpus, release, ramBytes: 4096 * (seed % 2 === 0 ? 1200 : 16) });
        world.arbiterDelayMs = seed % 5 === 0 ? 15 : 1;
        const random = new SeededRandom(seed * 7919);
        putLoad(world, 2500);
        const { log } = describeFaults(world, random, 2500);
        try {
          world.run(2600);
          const full = cpus.length === 3 ? "TRIPLEX" : "DUPLEX";
          assert.ok(
            world.run(14_000, () => world.isHealthy && world.redundancy === full),
            `back to ${full} when faults stop`,
          );
          assertEqualMachines(world);
          // After an outage outputs that were computed but never agreed on are missing, which is what an outage is.
          if (world.server.counters.outages === 0) assertPrefixOfReference(world);
          else assertSubsequenceOfReference(world);
          assert.equal(world.server.lockstepCounters.miscompares, 0);
        } catch (error) {
          const events = world.events.map((event) => `${event.code} ${event.text}`).join("\n");
          throw new Error(
            `seed ${seed}: ${(error as Error).stack}\n${log.join("\n")}\n${events}\n${JSON.stringify(world.server.status())}`,
            { cause: error },
          );
        }
      }
    });
  }
}

function assertSubsequenceOfReference(world: World): void {
  const reference = world.reference().flat().map(outputText);
  let at = 0;
  for (const output of world.released.map(outputText)) {
    const found = reference.indexOf(output, at);
    assert.ok(found >= 0, `${output} is nowhere in the rest of the reference`);
    at = found + 1;
  }
}
