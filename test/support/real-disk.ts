/** A mirrored disk on real files in this process: the controller, its stores, and an arbiter that agrees to everything. */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import { BlockStore } from "../../dist/modules/block-store.js";
import { DiskController } from "../../dist/storage/disk-controller.js";
import type { DiskFaults } from "../../dist/storage/faulty-file.js";
import type { DiskCounters, DiskEffect, DiskEvent, DiskRequest, MirrorState } from "../../dist/storage/types.js";

type Untimed = DiskEvent extends infer E ? (E extends DiskEvent ? Omit<E, "atMs"> : never) : never;

const UNTIL_LIMIT_MS = 60_000;
const NO_BYTES = new Uint8Array(0);

export class RealDisk {
  readonly #directories: Readonly<Record<string, string>>;
  readonly #controller: DiskController;
  readonly #stores = new Map<string, BlockStore>();
  readonly #waiting = new Map<number, (answer: { isOk: boolean; bytes: Uint8Array }) => void>();
  readonly #events: string[] = [];
  readonly #queue: Untimed[] = [];
  #isStepping = false;
  #isEnded = false;
  #ids = 0;
  #number = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(directories: Readonly<Record<string, string>>) {
    this.#directories = directories;
    const options = {
      diskId: "disk-a",
      sizeBytes: 0,
      mirrors: Object.keys(directories),
      local: "io0",
      graceMs: 0,
      mirrorLagMs: 600,
      retryMs: 50,
      scrubBytesPerSecond: 1024 * 1024 * 1024,
      clearEveryMs: 50,
    };
    this.#controller = new DiskController(options, (effect) => this.#execute(effect));
  }

  #execute(effect: DiskEffect): void {
    switch (effect.kind) {
      case "command":
        // As over a wire.
        return void setImmediate(() => this.#stores.get(effect.mirror)?.submit(effect.command));
      case "done":
        this.#waiting.get(effect.id)?.(effect);
        this.#waiting.delete(effect.id);
        return;
      case "wantMirrors": {
        const number = ++this.#number;
        return void setImmediate(() => this.#dispatch({ kind: "configured", number, mirrors: effect.mirrors }));
      }
      case "event":
        this.#events.push(effect.code);
        return;
      case "fenced":
      case "grown":
    }
  }

  #dispatch(event: Untimed): void {
    // An arbiter's answer may come after the end; it must not start the clock anew, or the process never exits.
    if (this.#isEnded) return;
    this.#queue.push(event);
    if (this.#isStepping) return;
    this.#isStepping = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift())
      this.#controller.step({ ...next, atMs: performance.now() } as DiskEvent);
    this.#isStepping = false;
    clearTimeout(this.#timer);
    const at = this.#controller.wakeAtMs;
    if (at !== null) this.#timer = setTimeout(() => this.#dispatch({ kind: "wake" }), Math.max(0, at - performance.now()));
  }

  begin(): void {
    this.#dispatch({ kind: "configured", number: ++this.#number, mirrors: [] });
  }

  async insert(name: string): Promise<void> {
    const store = await BlockStore.open(this.#directories[name] as string);
    this.#stores.set(name, store);
    store.onReply((reply) => this.#stores.get(name) === store && this.#dispatch({ kind: "reply", name, reply }));
    this.#dispatch({ kind: "mirrorUp", name, header: store.header });
  }

  async remove(name: string): Promise<void> {
    const store = this.#stores.get(name);
    this.#stores.delete(name);
    this.#dispatch({ kind: "mirrorDown", name });
    await store?.close();
  }

  async replaceByBlank(name: string): Promise<void> {
    await this.remove(name);
    rmSync(this.#directories[name] as string, { recursive: true });
    await this.insert(name);
  }

  async end(): Promise<void> {
    this.#isEnded = true;
    clearTimeout(this.#timer);
    for (const name of [...this.#stores.keys()]) {
      const store = this.#stores.get(name);
      this.#stores.delete(name);
      await store?.close();
    }
  }

  #request(
    operation: DiskRequest["operation"],
    offset: number,
    lengthBytes: number,
    bytes: Uint8Array = NO_BYTES,
  ): Promise<{ isOk: boolean; bytes: Uint8Array }> {
    const id = ++this.#ids;
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#dispatch({ kind: "request", request: { id, operation, offset, lengthBytes, bytes } });
    });
  }

  pattern(lengthBytes: number, value: number): Uint8Array {
    const bytes = new Uint8Array(lengthBytes);
    for (let at = 0; at < lengthBytes; at += 4) new DataView(bytes.buffer).setUint32(at, value * 65_537 + (at % 4096), true);
    return bytes;
  }

  async write(offset: number, lengthBytes: number, value: number): Promise<boolean> {
    return (await this.#request("write", offset, lengthBytes, this.pattern(lengthBytes, value))).isOk;
  }

  async flush(): Promise<boolean> {
    return (await this.#request("flush", 0, 0)).isOk;
  }

  /** Null: an I/O error. */
  async read(offset: number, lengthBytes: number): Promise<Uint8Array | null> {
    const { isOk, bytes } = await this.#request("read", offset, lengthBytes);
    return isOk ? new Uint8Array(bytes) : null;
  }

  scrub(): void {
    this.#dispatch({ kind: "scrub" });
  }

  grow(sizeBytes: number): void {
    this.#dispatch({ kind: "grow", sizeBytes });
  }

  get sizeBytes(): number {
    return this.#controller.sizeBytes;
  }

  stateOf(name: string): MirrorState | undefined {
    return this.#controller.status().mirrors[name]?.state;
  }

  get counters(): Readonly<DiskCounters> {
    return this.#controller.status().counters;
  }

  hadEvent(code: string): boolean {
    return this.#events.includes(code);
  }

  faultsOf(name: string): DiskFaults {
    return (this.#stores.get(name) as BlockStore).faults;
  }

  async until(condition: () => boolean, what: string): Promise<void> {
    const limit = performance.now() + UNTIL_LIMIT_MS;
    while (!condition()) {
      assert.ok(performance.now() < limit, `${what}; it does not: ${JSON.stringify(this.#controller.status())} ${this.#events.join()}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
}
