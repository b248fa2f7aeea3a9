/** The pure lockstep core with whole servers in one process: named situations (random ones: simulator.test.ts). */
import assert from "node:assert/strict";
import { test } from "node:test";
import { utf8Encode } from "../dist/foundation/bytes.js";
import { CHECKPOINT_MOST_INPUT_BYTES, CHECKPOINT_PRESSING_FACTOR } from "../dist/lockstep/limits.js";
import type { ServerEffect } from "../dist/lockstep/server-types.js";
import { checkMachines, checkReleases, verifiedDigests } from "../dist/simulator/checker.js";
import { putLoad } from "../dist/simulator/scenario.js";
import { rehearseTakeover } from "../dist/simulator/rehearsal.js";
import { outputText } from "../dist/simulator/releases.js";
import { World } from "../dist/simulator/world.js";
import type { WorldOptions } from "../dist/simulator/world-options.js";

const PULL_MOMENTS = 60;
/** Two milliseconds apart, from the begin of a checkpoint. */
const RECORD_MOMENTS = 3;

function started(options: Partial<WorldOptions> = {}): World {
  const world = new World({ seed: 1, ...options });
  const full = (options.cpus?.length ?? 2) === 3 ? "TRIPLEX" : "DUPLEX";
  assert.ok(
    world.run(5000, () => world.redundancy === full),
    `${full} at start`,
  );
  return world;
}

/** What was released is the voted history; `isComplete`: all of it. */
function assertReleases(world: World, isComplete: boolean): void {
  checkReleases(
    world,
    world.history.replay(() => world.newMachine()),
    isComplete,
  );
}

function told(world: World): string {
  return [...world.events.map((event) => `${event.code} ${event.text}`), JSON.stringify(world.server.status())].join("\n");
}

/** All machines are in one state, that of a machine that never failed. */
function assertEqualMachines(world: World): void {
  const digests = verifiedDigests(world, 1000);
  checkMachines(
    world,
    digests,
    world.history.replay(() => world.newMachine(), world.verifiedSeq),
  );
}

test("both power on together at tick 1, echo, and agree", () => {
  const world = started();
  putLoad(world, 300);
  world.run(600);
  assertReleases(world, true);
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
  world.arbiter.delayMs = 400;
  world.restartIo();
  assert.ok(world.run(world.nowMs + 3000, () => world.server.membership.claiming !== null));
  world.kill("cpu1");
  world.kill("cpu2");
  world.revive("cpu0");
  assert.ok(
    world.run(world.nowMs + 9000, () => world.redundancy === "TRIPLEX" && world.isHealthy),
    told(world),
  );
  world.arbiter.delayMs = 1;
  world.run(world.nowMs + 200);
  assertEqualMachines(world);
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
      assertReleases(world, true);
      assert.equal(world.server.counters.outages, 0);
    });
  }
}

test("a slow arbiter delays releases but not the guest, and nothing is lost", () => {
  const world = started({ seed: 5 });
  world.arbiter.delayMs = 20;
  putLoad(world, 600);
  world.after(100, () => world.kill("cpu0"));
  world.run(1500);
  assertReleases(world, true);
});

test("duplex miscompare: the module with the worse record is isolated, and it is said that nobody judged", () => {
  const world = started({ seed: 6 });
  world.kill("cpu1");
  assert.ok(world.run(2000, () => world.redundancy === "SIMPLEX"));
  assert.ok(world.run(3000, () => world.redundancy === "DUPLEX"));
  putLoad(world, world.nowMs + 500);
  const before = world.released.length;
  world.flip("cpu1", 5000, 3);
  assert.ok(world.run(world.nowMs + 1000, () => world.events.some((event) => event.code === "MISCOMPARE_UNADJUDICATED")));
  assert.equal(world.server.status().modules["cpu1"]?.state, "SHOT");
  assert.equal(world.server.status().redundancy, "SIMPLEX");
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "DUPLEX"));
  assert.ok(world.released.length > before);
  assertReleases(world, false);
  assertEqualMachines(world);
});

for (const victim of ["cpu0", "cpu1"]) {
  test(`duplex miscompare of ${victim} right after a reintegration: judged by the image that the newcomer began with`, () => {
    const world = started({ seed: 6, hasJudge: true });
    putLoad(world, 20_000);
    world.kill("cpu1");
    assert.ok(world.run(2000, () => world.redundancy === "SIMPLEX"));
    // A checkpoint from before would do as well: it must be too old.
    world.heldOut.add("cpu1");
    assert.ok(world.run(world.nowMs + 20_000, () => world.server.checkpoints.verified === null));
    world.heldOut.delete("cpu1");
    world.revive("cpu1");
    assert.ok(world.run(world.nowMs + 5000, () => world.redundancy === "DUPLEX"));
    const { verified, completed } = world.server.checkpoints;
    assert.ok(verified !== null, "the image");
    world.flip(victim, 5000, 3);
    const found = (): boolean => world.events.some(({ code }) => code.startsWith("MISCOMPARE") || code === "MEMORY_DAMAGED");
    assert.ok(world.run(world.nowMs + 3000, found));
    const verdict = world.events.find(({ code }) => code.startsWith("MISCOMPARE"));
    assert.deepEqual([verdict?.code, verdict?.module], ["MISCOMPARE", victim], told(world));
    assert.match(verdict?.text ?? "", new RegExp(`re-execution from tick ${verified.seq} says so`));
    assert.equal(world.server.checkpoints.completed, completed, "none was compared in between");
    assert.ok(world.run(world.nowMs + 5000, () => world.redundancy === "DUPLEX"));
    assertReleases(world, false);
    assertEqualMachines(world);
  });
}

test("members that are never ready for a checkpoint are marked all the same, before the last one is too old to prove anything", () => {
  const world = started();
  const { checkpoints } = world.server;
  assert.ok(world.run(world.nowMs + 5000, () => checkpoints.verified !== null));
  const take = checkpoints.message.bind(checkpoints);
  checkpoints.message = (row, message) => {
    if (message.kind !== "checkpointPrepared") take(row, message);
  };
  const { completed } = checkpoints;
  const frames = Array.from({ length: 64 }, () => new Uint8Array(1500));
  for (let sent = 0; sent < 3 * CHECKPOINT_MOST_INPUT_BYTES * CHECKPOINT_PRESSING_FACTOR; sent += frames.length * 1500) {
    world.input({ kind: "frames", port: 0, frames });
    world.run(world.nowMs + 2);
    assert.ok(checkpoints.verified !== null, `with ${world.server.voter.keptInputBytes} bytes kept`);
  }
  assert.ok(checkpoints.completed >= completed + 2);
});

test("triplex: the odd one out is SHOT; a stopped third delays nothing", () => {
  const world = started({ seed: 7, cpus: ["cpu0", "cpu1", "cpu2"] });
  putLoad(world, 3000);
  world.run(100);
  world.flip("cpu0", 9000, 1);
  assert.ok(world.run(1500, () => world.events.some((event) => event.code === "MISCOMPARE" && event.module === "cpu0")));
  assert.ok(world.run(3000, () => world.redundancy === "TRIPLEX"));
  world.stop("cpu2");
  const before = world.released.length;
  world.run(world.nowMs + 100);
  assert.ok(world.released.length > before + 5, "outputs go on while the third is silent");
  assert.ok(world.run(world.nowMs + 1000, () => world.redundancy === "DUPLEX"));
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "TRIPLEX"));
  assertReleases(world, false);
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

test("the guest boots from the image that is named, at the next power cycle and not before, and after an outage", () => {
  const world = started({ seed: 12 });
  world.run(100);
  const images = (): (string | undefined)[] =>
    world.history.courses.flatMap((course) =>
      [...course.values()].flatMap(({ inputs }) => inputs.flatMap((input) => (input.kind === "powerOn" ? [input.image] : []))),
    );
  assert.deepEqual(images(), [undefined]);
  const image = "cd".repeat(32);
  world.input({ kind: "bootImage", image });
  world.run(world.nowMs + 100);
  assert.deepEqual(images(), [undefined]);
  world.input({ kind: "reset" });
  world.run(world.nowMs + 200);
  assert.deepEqual(images(), [undefined, image]);
  world.kill("cpu0");
  world.kill("cpu1");
  assert.ok(world.run(world.nowMs + 3000, () => world.redundancy === "DUPLEX"));
  assert.deepEqual(images().at(-1), image);
  world.input({ kind: "bootImage", image: null });
  world.input({ kind: "reset" });
  world.run(world.nowMs + 200);
  assert.equal(images().at(-1), undefined);
  assertEqualMachines(world);
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
  assertReleases(world, false);
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
  world.arbiter.records.set(2, { number: 2, cpus: ["cpu1"], activeIo: "io1", mirrors: [] });
  world.kill("cpu0");
  assert.ok(world.run(world.nowMs + 500, () => world.events.some((event) => event.code === "FENCED")));
});

const PAIRED = {
  cpus: ["cpu0", "cpu1", "cpu2", "cpu3"],
  pairs: [
    ["cpu0", "cpu1"],
    ["cpu2", "cpu3"],
  ],
  enclosures: { cpu0: "enclosure0", cpu1: "enclosure0", io0: "enclosure0", cpu2: "enclosure1", cpu3: "enclosure1", io1: "enclosure1" },
} as const;

for (const [shape, options] of [
  ["duplex", {}],
  ["triplex", { cpus: ["cpu0", "cpu1", "cpu2"], ioCount: 3 }],
  ["pair-and-spare", PAIRED],
] as const) {
  test(`${shape}: the enclosure of the active I/O module is pulled at any moment, and the guest goes on`, () => {
    for (let moment = 0; moment < PULL_MOMENTS; moment += 1) {
      const world = new World({ seed: moment + 1, ioCount: 2, diskBlocks: 8, ...options });
      assert.ok(world.run(5000, () => world.isWhole && world.isHealthy));
      putLoad(world, world.nowMs + 100);
      world.run(world.nowMs + 40 + moment * 0.37);
      for (const name of shape === "pair-and-spare" ? ["cpu0", "cpu1"] : ["cpu0"]) world.kill(name);
      world.restartIo("io0");
      assert.ok(
        world.run(world.nowMs + 5000, () => world.isWhole && world.isHealthy),
        told(world),
      );
      world.run(world.nowMs + 200);
      assert.equal(world.events.filter(({ code }) => code === "POWER_ON").length, 1, told(world));
      assertReleases(world, false);
      assertEqualMachines(world);
    }
  });
}

test("from the begin of a recording until its image is taken no other checkpoint is made, also when one is being made", () => {
  for (let moment = 0; moment < RECORD_MOMENTS; moment += 1) {
    const world = started({ commandLine: "timer=1000 work=200000" });
    putLoad(world, 6000);
    const { server } = world;
    const effects: ServerEffect[] = [];
    const emit = server.emit.bind(server);
    server.emit = (effect) => {
      effects.push(effect);
      emit(effect);
    };
    assert.ok(world.run(world.nowMs + 4000, () => server.checkpoints.completed > 0 && server.checkpoints.isUnderWay));
    world.run(world.nowMs + 2 * moment);
    world.input({ kind: "record", action: "start" });
    world.run(world.nowMs + 2000);
    const at = effects.findIndex((effect) => effect.kind === "recordingStarted");
    assert.ok(at >= 0, `moment ${moment}: it began`);
    assert.ok(!effects.slice(at).some((effect) => effect.kind === "checkpointKept"), `moment ${moment}: its checkpoint stayed as it was`);
    const { completed } = server.checkpoints;
    world.input({ kind: "record", action: "imageTaken" });
    world.run(world.nowMs + 2000, () => server.checkpoints.completed > completed);
    assert.ok(server.checkpoints.completed > completed, `moment ${moment}: afterwards there are checkpoints again`);
  }
});

test("the rehearsal of an I/O module goes through a takeover from beginning to end, the same each time", () => {
  const codes = rehearseTakeover();
  // The lost module's mirror is not waited for, and comes back afterwards.
  const course = ["POWER_ON", "MIRROR_IN_SYNC", "IO_TAKEOVER", "RESUMED", "MIRROR_IN_SYNC"];
  assert.deepEqual(
    codes.filter((code) => course.includes(code)),
    course,
  );
  assert.deepEqual(rehearseTakeover(), codes);
});
