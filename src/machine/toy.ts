/**
 * A tiny deterministic machine for tests and the simulator: no processor, but everything that the lockstep protocol can notice.
 * It echoes frames and console lines after some work, has a periodic timer, can burn instructions, asks for entropy, resets and
 * powers off. All state is RAM (by page, with dirty tracking) and one small record.
 *
 * A frame's first byte commands it: "B" u32: burn that many instructions before echoing; "R" reset, "P" reset as after a panic,
 * "O" power off, "E" ask for entropy; anything else is echoed after a little work. Echoes are prefixed with a counter and the
 * work register, so that a lost, doubled, reordered or wrongly computed one shows.
 *
 * Command line: `timer=MS` (period; 0 none, default 10), `work=N` (instructions of work for each request, default 2000), `disk=N`
 * (uses a disk of N blocks at every timer, see toy-disk.ts; default 0: none).
 */
import { assert } from "../foundation/assert.js";
import { NO_BYTES, concatBytes, utf8Decode, utf8Encode } from "../foundation/bytes.js";
import { Hash } from "../foundation/hash.js";
import {
  IDLE_FOREVER,
  type Capture,
  type Checkpointer,
  type ImagePiece,
  type Machine,
  type MachineDescription,
  type MachineInput,
  type MachineOutput,
  type MachineResult,
  type MachineTick,
} from "./machine.js";
import { ToyDisk } from "./toy-disk.js";

export const TOY_PAGE_BYTES = 4096;
export const TOY_BEHAVIOUR = 2;
const BOOT_WORK = 20_000;
const TIMER_WORK = 300;
/** Instructions between two stores to RAM. */
const STORE_EVERY = 128;
const WORDS_PER_PAGE = TOY_PAGE_BYTES / 4;
/** Stores go to these first pages: the rest of a larger RAM stays zero, as in a guest that has more than it uses. */
const HOT_PAGES = 48;
/** Requests beyond this wait nowhere: they are dropped, as by a full ring. */
const MAX_JOBS = 512;
/** Pages of the rotating window in each digest. */
export const TOY_SCRUB_PAGES = 2;

interface Job {
  readonly kind: "boot" | "timer" | "frame" | "console" | "entropy";
  readonly bytes: Uint8Array;
  left: number;
}

interface Registers {
  powered: boolean;
  instructions: number;
  timeNs: bigint;
  nextTimerNs: bigint;
  work: number;
  echoes: number;
  lines: number;
  scrub: number;
}

/** Pages that somebody has still to take: at first all, then those written to. */
class PageWatcher {
  readonly #waiting: Uint8Array;
  #remaining: number;
  #cursor = 0;

  constructor(pages: number) {
    this.#waiting = new Uint8Array(pages).fill(1);
    this.#remaining = pages;
  }

  get remaining(): number {
    return this.#remaining;
  }

  isWaiting(page: number): boolean {
    return this.#waiting[page] !== 0;
  }

  add(page: number): void {
    if (this.#waiting[page] !== 0) return;
    this.#waiting[page] = 1;
    this.#remaining += 1;
  }

  take(maxPages: number): number[] {
    const taken: number[] = [];
    for (let looked = 0; looked < this.#waiting.length && taken.length < maxPages; looked += 1) {
      const page = this.#cursor;
      this.#cursor = (page + 1) % this.#waiting.length;
      if (this.#waiting[page] === 0) continue;
      this.#waiting[page] = 0;
      this.#remaining -= 1;
      taken.push(page);
    }
    return taken;
  }
}

export interface ToyOptions {
  readonly ramBytes: number;
  readonly commandLine: string;
  readonly epochNs: bigint;
  readonly imageDigest: string;
}

function option(commandLine: string, name: string, fallback: number): number {
  const match = new RegExp(`(?:^|\\s)${name}=(\\d+)(?:\\s|$)`).exec(commandLine);
  return match === null ? fallback : Number(match[1]);
}

function blankRegisters(): Registers {
  return { powered: false, instructions: 0, timeNs: 0n, nextTimerNs: IDLE_FOREVER, work: 1, echoes: 0, lines: 0, scrub: 0 };
}

export class ToyMachine implements Machine {
  readonly description: MachineDescription;
  readonly #ram: Uint8Array;
  readonly #words: Uint32Array;
  readonly #hotWords: number;
  /** The pages that each watcher has still to take: one of these for a capture, one for checkpoints. */
  readonly #watchers: PageWatcher[] = [];
  readonly #pages: number;
  readonly #timerNs: bigint;
  readonly #requestWork: number;
  readonly #disk: ToyDisk | null;
  #isCaptured = false;
  #isCheckpointed = false;
  #registers = blankRegisters();
  #jobs: Job[] = [];

  constructor(options: ToyOptions) {
    assert(options.ramBytes > 0 && options.ramBytes % TOY_PAGE_BYTES === 0, "toy RAM is whole pages");
    this.description = {
      engine: "toy",
      behaviour: TOY_BEHAVIOUR,
      ramBytes: options.ramBytes,
      harts: 1,
      epochNs: options.epochNs,
      imageDigest: options.imageDigest,
    };
    this.#ram = new Uint8Array(options.ramBytes);
    this.#words = new Uint32Array(this.#ram.buffer);
    this.#pages = options.ramBytes / TOY_PAGE_BYTES;
    this.#hotWords = Math.min(this.#pages, HOT_PAGES) * WORDS_PER_PAGE;
    this.#timerNs = BigInt(option(options.commandLine, "timer", 10)) * 1_000_000n;
    this.#requestWork = option(options.commandLine, "work", 2000);
    const diskBlocks = option(options.commandLine, "disk", 0);
    this.#disk = diskBlocks === 0 ? null : new ToyDisk(diskBlocks);
  }

  run(tick: MachineTick): MachineResult {
    const registers = this.#registers;
    if (tick.nowNs > registers.timeNs) registers.timeNs = tick.nowNs;
    const outputs: MachineOutput[] = [];
    for (const input of tick.inputs) this.#input(input, outputs);
    this.#execute(tick.budget, outputs);
    const hash = new Hash();
    this.#hashState(hash, outputs);
    return {
      instructionCount: BigInt(this.#registers.instructions),
      timeNs: this.#registers.timeNs,
      idleUntilNs: this.#idleUntil(),
      outputs,
      digest: hash.value64(),
    };
  }

  #idleUntil(): bigint | null {
    const registers = this.#registers;
    if (!registers.powered) return IDLE_FOREVER;
    if (this.#jobs.length > 0 || registers.nextTimerNs <= registers.timeNs) return null;
    return registers.nextTimerNs;
  }

  #input(input: MachineInput, outputs: MachineOutput[]): void {
    const registers = this.#registers;
    if (input.kind === "powerOn") return this.#powerOn(input.entropy);
    if (!registers.powered) return;
    // Answers of the disk are not requests: none may be lost for want of room.
    if (input.kind === "diskDone") {
      const line = this.#disk?.done(input.id, input.isOk, input.bytes) ?? "";
      if (line !== "") outputs.push({ kind: "console", bytes: utf8Encode(line) });
      return;
    }
    if (input.kind === "diskRepeat") return this.#disk?.repeat(outputs);
    // Its agent echoes at once, whatever else it has to do.
    if (input.kind === "agent") return void outputs.push({ kind: "agent", bytes: input.bytes.slice() });
    if (this.#jobs.length >= MAX_JOBS) return;
    switch (input.kind) {
      case "frame": {
        const burn = input.bytes[0] === 0x42 && input.bytes.length >= 5;
        const left = burn ? new DataView(input.bytes.buffer, input.bytes.byteOffset).getUint32(1, true) : this.#requestWork;
        this.#jobs.push({ kind: "frame", bytes: input.bytes.slice(), left });
        return;
      }
      case "console":
        this.#jobs.push({ kind: "console", bytes: input.bytes.slice(), left: this.#requestWork });
        return;
      case "entropy":
        this.#jobs.push({ kind: "entropy", bytes: input.bytes.slice(), left: this.#requestWork });
        return;
      case "powerButton":
        this.#jobs.push({ kind: "frame", bytes: Uint8Array.of(0x4f), left: this.#requestWork });
        return;
      case "diskSize": // it uses as many blocks as its command line says
    }
  }

  #powerOn(entropy: Uint8Array): void {
    this.#ram.fill(0);
    this.#markAllDirty();
    this.#disk?.powerOn();
    const timeNs = this.#registers.timeNs;
    this.#registers = blankRegisters();
    this.#registers.powered = true;
    this.#registers.timeNs = timeNs;
    this.#registers.nextTimerNs = this.#timerNs === 0n ? IDLE_FOREVER : timeNs + this.#timerNs;
    this.#registers.work = Number(new Hash().bytes(entropy).value64() & 0xffffffffn) | 1;
    this.#jobs = [{ kind: "boot", bytes: NO_BYTES, left: BOOT_WORK }];
  }

  #execute(budget: number, outputs: MachineOutput[]): void {
    let left = budget;
    while (left > 0 && this.#registers.powered) {
      const registers = this.#registers;
      if (registers.nextTimerNs <= registers.timeNs) {
        registers.nextTimerNs = registers.timeNs + this.#timerNs;
        this.#jobs.push({ kind: "timer", bytes: NO_BYTES, left: TIMER_WORK });
      }
      const job = this.#jobs[0];
      if (job === undefined) return;
      const count = Math.min(left, job.left);
      this.#burn(count);
      left -= count;
      job.left -= count;
      if (job.left > 0) return;
      this.#jobs.shift();
      this.#complete(job, outputs);
    }
  }

  #burn(count: number): void {
    const registers = this.#registers;
    let work = registers.work;
    const words = this.#hotWords;
    const before = Math.floor(registers.instructions / STORE_EVERY);
    const stores = Math.floor((registers.instructions + count) / STORE_EVERY) - before;
    for (let index = 0; index < stores; index += 1) {
      work = (Math.imul(work, 1664525) + 1013904223) | 0;
      const at = (work >>> 0) % words;
      this.#words[at] = (this.#words[at] as number) ^ work;
      this.#markDirty(at >>> 10);
    }
    // What was stored flows back into what is computed, so that a flipped bit sooner or later shows in outputs.
    registers.work = work ^ (this.#words[(work >>> 0) % words] as number);
    registers.instructions += count;
    registers.timeNs += BigInt(count);
  }

  #complete(job: Job, outputs: MachineOutput[]): void {
    const registers = this.#registers;
    switch (job.kind) {
      case "boot":
        outputs.push({ kind: "console", bytes: utf8Encode("toy: ready\n") });
        return;
      case "timer":
        return this.#disk?.step(registers.work, outputs);
      case "console":
        registers.lines += 1;
        outputs.push({ kind: "console", bytes: utf8Encode(`${registers.lines}: ${utf8Decode(job.bytes)}`) });
        return;
      case "entropy":
        outputs.push({ kind: "console", bytes: utf8Encode(`entropy ${new Hash().bytes(job.bytes).hex()}\n`) });
        return;
      case "frame":
        this.#answerFrame(job.bytes, outputs);
    }
  }

  #answerFrame(bytes: Uint8Array, outputs: MachineOutput[]): void {
    const registers = this.#registers;
    switch (String.fromCharCode(bytes[0] ?? 0)) {
      case "R":
      case "P":
        outputs.push({ kind: "reset", failure: bytes[0] === 0x50 });
        return this.#stop();
      case "O":
        outputs.push({ kind: "powerOff", failure: false });
        return this.#stop();
      case "E":
        outputs.push({ kind: "entropyRequest", lengthBytes: 16 });
        return;
      default: {
        const head = new Uint8Array(8);
        const view = new DataView(head.buffer);
        registers.echoes += 1;
        view.setUint32(0, registers.echoes, true);
        view.setUint32(4, registers.work, true);
        outputs.push({ kind: "frame", port: 0, bytes: concatBytes([head, bytes]) });
      }
    }
  }

  #stop(): void {
    this.#registers.powered = false;
    this.#registers.nextTimerNs = IDLE_FOREVER;
    this.#jobs = [];
  }

  #hashState(hash: Hash, outputs: readonly MachineOutput[]): void {
    const r = this.#registers;
    hash
      .number(r.powered ? 1 : 0)
      .number(r.instructions)
      .big(r.timeNs)
      .big(r.nextTimerNs)
      .number(r.work);
    hash.number(r.echoes).number(r.lines).number(r.scrub);
    this.#disk?.hash(hash);
    for (const job of this.#jobs) hash.number(job.kind.length).number(job.left).bytes(job.bytes);
    for (const output of outputs) {
      if (output.kind === "frame" || output.kind === "console" || output.kind === "agent") hash.bytes(output.bytes);
      else if (output.kind === "entropyRequest") hash.number(output.lengthBytes);
      else if (output.kind === "disk") hash.number(output.id).number(output.offset).number(output.lengthBytes).bytes(output.bytes);
      else hash.number(output.failure ? 1 : 0);
    }
    for (let count = 0; count < TOY_SCRUB_PAGES; count += 1) {
      hash.words(this.#pageWords(this.#registers.scrub));
      this.#registers.scrub = (this.#registers.scrub + 1) % this.#pages;
    }
  }

  #pageWords(page: number): Uint32Array {
    return this.#words.subarray(page * WORDS_PER_PAGE, (page + 1) * WORDS_PER_PAGE);
  }

  #page(page: number): Uint8Array {
    return this.#ram.subarray(page * TOY_PAGE_BYTES, (page + 1) * TOY_PAGE_BYTES);
  }

  /** Registers and jobs; equal machines have equal records. */
  #stateRecord(): Uint8Array {
    const r = this.#registers;
    const numbers = [r.powered, r.instructions, r.timeNs, r.nextTimerNs, r.work, r.echoes, r.lines, r.scrub].map(String);
    const jobs = this.#jobs.map((job) => `${job.kind} ${job.left} ${Array.from(job.bytes).join(",")}`);
    const disk = this.#disk === null ? [] : [this.#disk.record()];
    return utf8Encode([this.#descriptionLine(), numbers.join(" "), ...disk, ...jobs].join("\n"));
  }

  #descriptionLine(): string {
    const d = this.description;
    return `toy ${d.behaviour} ${d.ramBytes} ${d.epochNs} ${d.imageDigest}`;
  }

  #applyState(bytes: Uint8Array): void {
    const [description, numbers, ...jobs] = utf8Decode(bytes).split("\n");
    if (description !== this.#descriptionLine()) throw new Error("the image is of a machine of another description");
    const fields = (numbers ?? "").split(" ");
    const field = (index: number): string => fields[index] ?? "";
    this.#registers = {
      powered: field(0) === "true",
      instructions: Number(field(1)),
      timeNs: BigInt(field(2)),
      nextTimerNs: BigInt(field(3)),
      work: Number(field(4)),
      echoes: Number(field(5)),
      lines: Number(field(6)),
      scrub: Number(field(7)),
    };
    if (this.#disk !== null) this.#disk.restore(jobs.shift() ?? "");
    this.#jobs = jobs.map((line) => {
      const [kind, left, content] = line.split(" ");
      return {
        kind: kind as Job["kind"],
        left: Number(left),
        bytes: content === undefined || content === "" ? new Uint8Array(0) : Uint8Array.from(content.split(","), Number),
      };
    });
  }

  fullDigest(): string {
    return new Hash().bytes(this.#stateRecord()).words(this.#words).hex().repeat(2);
  }

  #watch(): PageWatcher {
    const watcher = new PageWatcher(this.#pages);
    this.#watchers.push(watcher);
    return watcher;
  }

  #unwatch(watcher: PageWatcher): void {
    this.#watchers.splice(this.#watchers.indexOf(watcher), 1);
  }

  #pieces(watcher: PageWatcher, maxPages: number): ImagePiece[] {
    return watcher.take(maxPages).map((page) => ({ page, bytes: this.#isZero(page) ? NO_BYTES : this.#page(page) }));
  }

  capture(): Capture {
    assert(!this.#isCaptured, "one capture at a time");
    this.#isCaptured = true;
    const watcher = this.#watch();
    const end = (): void => {
      this.#unwatch(watcher);
      this.#isCaptured = false;
    };
    return {
      get remainingPages(): number {
        return watcher.remaining;
      },
      totalPages: this.#pages,
      next: (maxPages) => this.#pieces(watcher, maxPages),
      finish: () => {
        const pieces = this.#pieces(watcher, this.#pages);
        pieces.push({ page: -1, bytes: this.#stateRecord() });
        end();
        return pieces;
      },
      abort: end,
    };
  }

  checkpointer(): Checkpointer {
    assert(!this.#isCheckpointed, "one checkpointer at a time");
    this.#isCheckpointed = true;
    const watcher = this.#watch();
    const digests = new Array<string>(this.#pages).fill("");
    let cursor = 0;
    const take = (maxPages: number): ImagePiece[] => {
      const pieces = this.#pieces(watcher, maxPages);
      for (const { page } of pieces) digests[page] = this.#pageDigest(page);
      return pieces;
    };
    return {
      get remainingPages(): number {
        return watcher.remaining;
      },
      take,
      mark: () => {
        const pieces = take(this.#pages);
        const state = this.#stateRecord();
        pieces.push({ page: -1, bytes: state });
        const digest = new Hash().bytes(state).bytes(utf8Encode(digests.join())).hex().repeat(2);
        return { digest, pieces };
      },
      findDamage: (maxPages) => {
        for (let looked = 0; looked < maxPages; looked += 1) {
          const page = cursor;
          cursor = (cursor + 1) % this.#pages;
          if (!watcher.isWaiting(page) && digests[page] !== this.#pageDigest(page)) return page;
        }
        return null;
      },
      stop: () => {
        this.#unwatch(watcher);
        this.#isCheckpointed = false;
      },
    };
  }

  #pageDigest(page: number): string {
    return this.#isZero(page) ? "" : new Hash().words(this.#pageWords(page)).hex();
  }

  restore(piece: ImagePiece): void {
    if (piece.page === -1) return this.#applyState(piece.bytes);
    assert(piece.page >= 0 && piece.page < this.#pages, "a page of this machine's RAM");
    const page = this.#page(piece.page);
    if (piece.bytes.length === 0) page.fill(0);
    else page.set(piece.bytes);
    this.#markDirty(piece.page);
  }

  flipBit(address: number, bit: number): void {
    const at = address % this.#ram.length;
    this.#ram[at] = (this.#ram[at] as number) ^ (1 << (bit & 7));
  }

  #markDirty(page: number): void {
    for (const watcher of this.#watchers) watcher.add(page);
  }

  #markAllDirty(): void {
    for (let page = 0; page < this.#pages; page += 1) this.#markDirty(page);
  }

  #isZero(page: number): boolean {
    const first = page * WORDS_PER_PAGE;
    for (let at = first; at < first + WORDS_PER_PAGE; at += 1) if (this.#words[at] !== 0) return false;
    return true;
  }
}

export function createToyMachine(options: ToyOptions): Machine {
  return new ToyMachine(options);
}
