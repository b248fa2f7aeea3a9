/** Two CPU modules and an I/O module as real processes with the toy engine: killed and stopped under load, nothing lost or doubled. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ModuleProcesses } from "./support/module-processes.js";

/** Types numbered lines all the while; the guest echoes each with a number of its own. */
class ConsoleLoad {
  sent = 0;
  #timer: NodeJS.Timeout | null = null;
  readonly #server: ModuleProcesses;

  constructor(server: ModuleProcesses) {
    this.#server = server;
  }

  start(everyMs: number): void {
    this.#timer = setInterval(() => {
      this.sent += 1;
      this.#server.type(`line ${this.sent}\n`);
    }, everyMs);
  }

  async stopAndCheck(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer);
    const expected = Array.from({ length: this.sent }, (_, index) => `line ${index + 1}`);
    const echoed = (): string[] => this.#server.console.split("\n").flatMap((line) => /(line \d+)$/.exec(line)?.[1] ?? []);
    await this.#server.until("every line is echoed", () => echoed().length >= expected.length);
    assert.deepEqual(echoed(), expected, "each line once, in order");
  }
}

async function withServer(
  shape: ConstructorParameters<typeof ModuleProcesses>[0],
  body: (server: ModuleProcesses) => Promise<void>,
): Promise<void> {
  const server = new ModuleProcesses(shape);
  try {
    server.start();
    await body(server);
    assert.deepEqual(server.problems, []);
  } finally {
    await server.stop();
  }
}

async function assertEqualDigests(server: ModuleProcesses, modules: number): Promise<void> {
  const digests = await server.verify();
  const told = server.events.map((event) => `${event.code} ${event.text}`).join("\n");
  assert.equal(Object.keys(digests).length, modules, told);
  assert.equal(new Set(Object.values(digests)).size, 1, JSON.stringify(digests));
}

for (const signal of ["SIGKILL", "SIGSTOP"] as const) {
  test(`${signal} of either CPU module under load: nothing lost, DUPLEX again, equal digests`, async () => {
    await withServer({}, async (server) => {
      await server.redundancy("DUPLEX");
      const load = new ConsoleLoad(server);
      load.start(3);
      for (const victim of ["cpu0", "cpu1", "cpu1", "cpu0"]) {
        await new Promise((resolve) => setTimeout(resolve, 50));
        server.signal(victim, signal);
        await server.until("the loss is seen", () => server.status?.redundancy === "SIMPLEX");
        await server.redundancy("DUPLEX");
        await assertEqualDigests(server, 2);
      }
      await load.stopAndCheck();
      assert.equal(server.status?.counters.outages, 0);
      assert.equal(server.status?.counters.reintegrations, 4);
      assert.equal(server.status?.counters.miscompares, 0);
    });
  });
}

test("both CPU modules at once: an honest outage, a fresh guest, DUPLEX again", async () => {
  await withServer({}, async (server) => {
    await server.redundancy("DUPLEX");
    server.signal("cpu0", "SIGKILL");
    server.signal("cpu1", "SIGKILL");
    await server.until("the outage is counted", () => server.status?.counters.outages === 1);
    await server.redundancy("DUPLEX");
    await server.until("the guest booted again", () => server.console.split("toy: ready").length === 3);
    assert.ok(server.events.some((event) => event.code === "OUTAGE"));
    await assertEqualDigests(server, 2);
  });
});

test("a module killed in the middle of its reintegration, and its donor", async () => {
  await withServer({ ramBytes: 128 * 1024 * 1024 }, async (server) => {
    await server.redundancy("DUPLEX");
    server.signal("cpu1", "SIGKILL");
    const started = (count: number): boolean => server.events.filter((event) => event.code === "REINTEGRATION_STARTED").length >= count;
    await server.until("a reintegration starts", () => started(1));
    server.signal("cpu1", "SIGKILL");
    await server.until("another one starts", () => started(2));
    await server.redundancy("DUPLEX");
    assert.equal(server.status?.counters.outages, 0);
    server.signal("cpu0", "SIGKILL");
    await server.until("a third one starts", () => started(3));
    server.signal("cpu1", "SIGKILL");
    await server.until("the outage is counted", () => server.status?.counters.outages === 1);
    await server.redundancy("DUPLEX");
    await assertEqualDigests(server, 2);
  });
});

test("release `logged` serves and survives a kill", async () => {
  await withServer({ release: "logged" }, async (server) => {
    await server.redundancy("DUPLEX");
    const load = new ConsoleLoad(server);
    load.start(5);
    server.signal("cpu0", "SIGKILL");
    await server.redundancy("SIMPLEX");
    await server.redundancy("DUPLEX");
    await load.stopAndCheck();
    await assertEqualDigests(server, 2);
  });
});

test("the I/O module is killed and started again: the same guest goes on", async () => {
  await withServer({}, async (server) => {
    await server.redundancy("DUPLEX");
    for (let count = 1; count <= 3; count += 1) {
      server.type(`before ${count}\n`);
      await server.until("the echo", () => server.console.includes(`before ${count}\n`));
      server.signal("io0", "SIGKILL");
      const resumed = (): number => server.events.filter((event) => event.code === "RESUMED").length;
      await server.until("it takes over", () => resumed() === count);
      await server.redundancy("DUPLEX");
      server.type(`after ${count}\n`);
      await server.until("the echo", () => server.console.includes(`after ${count}\n`));
    }
    assert.equal(server.console.split("toy: ready").length, 2, "the guest was never started again");
    assert.match(server.console, /6: after 3/);
    await assertEqualDigests(server, 2);
  });
});
