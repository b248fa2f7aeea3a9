/**
 * Images of a machine: capture with pre-copy, and restore. An image is every page of RAM (an all-zero page is an empty piece), then the
 * state record: a header that binds it to a machine description, and the state regions.
 */
import { assert } from "../../../foundation/assert.js";
import { SteadfastError } from "../../../foundation/errors.js";
import type { Capture, ImagePiece, MachineDescription } from "../../machine.js";
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import {
  DEVICES,
  DEVICES_END,
  GLOBAL,
  HART0,
  HART_SIZE,
  PAGE_DIRTY,
  PAGE_FLAGS,
  RAM,
  STATE_BASE,
  STATE_END,
  TLB,
  TLB_CONTEXT,
  TLB_FLAG,
  TLB_HART,
  TLB_TABLE,
} from "./layout.js";

export const PAGE_BYTES = 4096;
export const STATE_PIECE = -1;
const EMPTY = new Uint8Array(0);
const FORMAT = 1;
const MAGIC = 0x31464453; // "SDF1"
/**
 * One pass over RAM that never ends: every page once, then those that changed since they were taken, told by a flag of its own (see
 * PAGE_FLAGS). Pieces are views into RAM.
 */
export class PageSweep {
  readonly totalPages: number;
  private readonly flags: Uint8Array;
  private readonly flagWords: Int32Array;
  private readonly ramWords: Int32Array;
  private readonly inEveryByte: number;
  /** Pages below were taken at least once; above, none. */
  private taken = 0;
  /** Where the search for changed pages goes on. */
  private search = 0;

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly flag: number,
  ) {
    this.totalPages = memory.ramBytes / PAGE_BYTES;
    this.flags = memory.bytes.subarray(PAGE_FLAGS, PAGE_FLAGS + this.totalPages);
    this.flagWords = new Int32Array(memory.buffer, PAGE_FLAGS, this.totalPages / 4);
    this.ramWords = new Int32Array(memory.buffer, RAM, memory.ramBytes / 4);
    this.inEveryByte = flag * 0x01010101;
    for (let word = 0; word < this.flagWords.length; word++) this.flagWords[word]! &= ~this.inEveryByte;
    core.rearm();
  }

  get remainingPages(): number {
    return this.totalPages - this.taken + this.changedPages();
  }

  /** Whether the page was taken and has not been written to since. */
  isClean(page: number): boolean {
    return page < this.taken && (this.flags[page]! & this.flag) === 0;
  }

  isZero(page: number): boolean {
    const words = PAGE_BYTES / 4;
    return isZero(this.ramWords, page * words, words);
  }

  next(maxPages: number): ImagePiece[] {
    const pieces: ImagePiece[] = [];
    let cleared = false;
    while (pieces.length < maxPages && this.taken < this.totalPages) {
      const page = this.taken++;
      cleared = this.clearFlag(page) || cleared;
      pieces.push(this.piece(page));
    }
    if (this.taken === this.totalPages && pieces.length < maxPages) cleared = this.takeChanged(pieces, maxPages) || cleared;
    if (cleared) this.core.rearm();
    return pieces;
  }

  private clearFlag(page: number): boolean {
    const flags = this.flags[page]!;
    if ((flags & this.flag) === 0) return false;
    this.flags[page] = flags & ~this.flag;
    return true;
  }

  /** Takes changed pages in rotation, so that a page that always changes does not keep others waiting. */
  private takeChanged(pieces: ImagePiece[], maxPages: number): boolean {
    let cleared = false;
    const words = this.flagWords.length;
    let word = this.search;
    for (let looked = 0; looked < words && pieces.length < maxPages; looked++) {
      if ((this.flagWords[word]! & this.inEveryByte) !== 0) {
        for (let page = word * 4; page < word * 4 + 4; page++) {
          if (!this.clearFlag(page)) continue;
          cleared = true;
          pieces.push(this.piece(page)); // up to three more than asked for
        }
      }
      word = word + 1 === words ? 0 : word + 1;
    }
    this.search = word;
    return cleared;
  }

  /** Changed pages among those already taken. */
  private changedPages(): number {
    const words = this.flagWords;
    const whole = this.taken >>> 2;
    let bits = 0;
    for (let word = 0; word < whole; word++) {
      const changed = words[word]! & this.inEveryByte;
      if (changed !== 0) bits += Math.imul(changed, 0x01010101) >>> 24;
    }
    let count = bits / this.flag;
    for (let page = whole * 4; page < this.taken; page++) if ((this.flags[page]! & this.flag) !== 0) count++;
    return count;
  }

  private piece(page: number): ImagePiece {
    if (this.isZero(page)) return { page, bytes: EMPTY };
    const start = RAM + page * PAGE_BYTES;
    return { page, bytes: this.memory.bytes.subarray(start, start + PAGE_BYTES) };
  }
}

function isZero(words: Int32Array, first: number, count: number): boolean {
  for (let index = first; index < first + count; index++) if (words[index] !== 0) return false;
  return true;
}

export class MachineCapture implements Capture {
  readonly totalPages: number;
  private readonly sweep: PageSweep;
  private ended = false;

  constructor(
    memory: GuestMemory,
    core: Rv64Core,
    private readonly stateRecord: () => Uint8Array,
    private readonly onEnd: () => void,
  ) {
    this.sweep = new PageSweep(memory, core, PAGE_DIRTY);
    this.totalPages = this.sweep.totalPages;
  }

  get remainingPages(): number {
    return this.ended ? 0 : this.sweep.remainingPages;
  }

  next(maxPages: number): ImagePiece[] {
    assert(!this.ended, "a capture goes on after its end");
    return this.sweep.next(maxPages);
  }

  finish(): ImagePiece[] {
    const pieces = this.next(Number.MAX_SAFE_INTEGER);
    pieces.push({ page: STATE_PIECE, bytes: this.stateRecord() });
    this.abort();
    return pieces;
  }

  abort(): void {
    if (this.ended) return;
    this.ended = true;
    this.onEnd();
  }
}

/** Regions of state that a machine of so many harts uses. */
function stateRegions(harts: number): readonly (readonly [start: number, end: number])[] {
  return [
    [GLOBAL, HART0 + harts * HART_SIZE],
    [DEVICES, DEVICES_END],
    [TLB, TLB + harts * TLB_HART],
  ];
}

function describe(description: MachineDescription): Uint8Array {
  const { engine, behaviour, ramBytes, harts, epochNs, imageDigest } = description;
  return new TextEncoder().encode(JSON.stringify([FORMAT, engine, behaviour, ramBytes, harts, String(epochNs), imageDigest]));
}

/**
 * Layout: magic u32, length of the description u32, the description, then the state regions whole. They are copied without looking for
 * zeros: this happens while the guest is held, often for the first time in a process, and a plain copy is quick even then.
 */
export function encodeState(memory: GuestMemory, description: MachineDescription): Uint8Array {
  const header = describe(description);
  const regions = stateRegions(description.harts);
  const record = new Uint8Array(regions.reduce((length, [start, end]) => length + end - start, 8 + header.length));
  const view = new DataView(record.buffer);
  view.setUint32(0, MAGIC, true);
  view.setUint32(4, header.length, true);
  record.set(header, 8);
  let at = 8 + header.length;
  for (const [start, end] of regions) {
    record.set(memory.bytes.subarray(start, end), at);
    if (start === TLB) maskFlags(view, at, end - start);
    at += end - start;
  }
  return record;
}

/** Clears the cache flags of all write entries in a copy of the TLBs; an empty entry is all ones and stays so. */
function maskFlags(view: DataView, tlb: number, length: number): void {
  for (let table = tlb + TLB_TABLE; table < tlb + length; table += TLB_CONTEXT) {
    for (let entry = table; entry < table + TLB_TABLE; entry += 16) {
      const low = view.getUint32(entry, true);
      if ((low & TLB_FLAG) === 0 || (low === 0xffff_ffff && view.getUint32(entry + 4, true) === 0xffff_ffff)) continue;
      view.setUint32(entry, low & ~TLB_FLAG, true);
    }
  }
}

function refuse(why: string): never {
  throw new SteadfastError("IMAGE_REFUSED", { why });
}

/** Writes a state record into memory. The record is checked as a whole before anything is written. */
export function decodeState(record: Uint8Array, memory: GuestMemory, description: MachineDescription): void {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  if (record.length < 8 || view.getUint32(0, true) !== MAGIC) refuse("its state record is not one");
  const headerLength = view.getUint32(4, true);
  if (headerLength > record.length - 8) refuse("its state record is cut short");
  const header = new TextDecoder().decode(record.subarray(8, 8 + headerLength));
  const expected = new TextDecoder().decode(describe(description));
  if (header !== expected) refuse(`it is of another machine (${header.slice(0, 200)} instead of ${expected})`);
  const regions = stateRegions(description.harts);
  let at = 8 + headerLength;
  if (record.length !== regions.reduce((length, [start, end]) => length + end - start, at)) refuse("its state record is cut short");
  memory.bytes.fill(0, STATE_BASE, TLB);
  memory.bytes.fill(0xff, TLB, STATE_END); // TLBs of harts that do not exist are empty
  for (const [start, end] of regions) {
    memory.bytes.set(record.subarray(at, at + end - start), start);
    at += end - start;
  }
}

/** Clears the pages of RAM that hold anything: reading an untouched page costs the host no memory, writing it does. */
export function clearRam(memory: GuestMemory): void {
  const words = new Int32Array(memory.buffer, RAM, memory.ramBytes / 4);
  const perPage = PAGE_BYTES / 4;
  for (let page = 0; page < memory.ramBytes / PAGE_BYTES; page++) {
    if (!isZero(words, page * perPage, perPage)) memory.bytes.fill(0, RAM + page * PAGE_BYTES, RAM + (page + 1) * PAGE_BYTES);
  }
}
