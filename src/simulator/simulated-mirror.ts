/**
 * The mirrors of a simulated server's disk: the real store on files in memory, which outlive their I/O module, and of which a loss of
 * power takes what was not synced. Disks that fail do so below the checksums.
 */
import { NO_BYTES } from "../foundation/bytes.js";
import type { SeededRandom } from "../foundation/random.js";
import type { OwnMirror } from "../lockstep/mirror-links.js";
import { FaultyFile, noFaults, type DiskFaults } from "../storage/faulty-file.js";
import { MemoryFile } from "../storage/memory-file.js";
import { MirrorStore } from "../storage/mirror-store.js";
import type { MirrorHeader, StoreCommand, StoreReply } from "../storage/types.js";
import type { SimulatedIo } from "./simulated-io.js";
import type { Timeline } from "./timeline.js";

/** A command takes about this long. */
const COMMAND_MS = 0.05;
const RETRY_MS = 100;

/** The disk itself. */
export class MirrorDisk {
  readonly files = { data: new MemoryFile(), checksums: new MemoryFile(), log: new MemoryFile(), header: new MemoryFile() };
  readonly faults: DiskFaults = noFaults();

  /** Makes it the first mirror of a disk. */
  create(diskId: string, sizeBytes: number): void {
    const store = new MirrorStore(this.files, () => undefined);
    const command = { ticket: 0, configuration: 0, operation: { kind: "recreate", diskId, sizeBytes }, bytes: NO_BYTES } as const;
    store.open(() => store.submit(command));
  }

  losePower(random: SeededRandom): void {
    for (const file of Object.values(this.files)) file.losePower(random);
  }

  /** Its blocks rot: bits of some that were written are not what they were. */
  rot(random: SeededRandom): void {
    const { contents } = this.files.data;
    if (contents.length === 0) return;
    const at = random.below(contents.length);
    contents[at] = (contents[at] as number) ^ (1 << random.below(8));
  }
}

/** An I/O module's store on it; it lives as long as the module. */
class SimulatedMirror implements OwnMirror {
  readonly #timeline: Timeline;
  readonly #random: SeededRandom;
  readonly #io: SimulatedIo;
  readonly #store: MirrorStore;
  #listener: (reply: StoreReply) => void = () => undefined;
  #freeAtMs = 0;

  /** `io`: whose process it is; a store does nothing while that is stopped, or after its end. */
  constructor(disk: MirrorDisk, timeline: Timeline, random: SeededRandom, io: SimulatedIo) {
    this.#timeline = timeline;
    this.#random = random;
    this.#io = io;
    const later = (delayMs: number, run: () => void): void => timeline.after(delayMs, () => this.#inProcess(run));
    const { data, checksums, log, header } = disk.files;
    const faulty = { data: new FaultyFile(data, disk.faults, later), checksums: new FaultyFile(checksums, disk.faults, later) };
    this.#store = new MirrorStore({ ...faulty, log, header }, (reply) => this.#listener(reply));
  }

  /** What runs in the process: not while it is stopped, and never after its end. */
  #inProcess(run: () => void): void {
    this.#io.whenUp(run);
  }

  /** `done`: null, or why it cannot be used. */
  open(done: (failure: string | null) => void): void {
    this.#store.open((failure) => done(failure));
  }

  get header(): MirrorHeader {
    return this.#store.header;
  }

  onReply(listener: (reply: StoreReply) => void): void {
    this.#listener = listener;
  }

  submit(command: StoreCommand): void {
    this.#freeAtMs = Math.max(this.#freeAtMs, this.#timeline.nowMs) + COMMAND_MS * (0.5 + this.#random.next() / 0x1_0000_0000);
    this.#timeline.after(this.#freeAtMs - this.#timeline.nowMs, () => this.#inProcess(() => this.#store.submit(command)));
  }
}

/** Opens an I/O module's mirror, as the module does: tried again until it can be used. */
export function openMirror(io: SimulatedIo, disk: MirrorDisk, timeline: Timeline, random: SeededRandom): void {
  const mirror = new SimulatedMirror(disk, timeline, random, io);
  mirror.open((failure) => {
    if (failure === null) io.mirrors?.opened(mirror);
    else timeline.after(RETRY_MS, () => io.whenUp(() => openMirror(io, disk, timeline, random)));
  });
}
