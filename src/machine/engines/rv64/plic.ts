/**
 * Platform-level interrupt controller: 95 level-triggered sources, an M and an S context for each hart.
 * A source that is still high when its handler completes it becomes pending again, as the gateway of the specification demands.
 */
import { PLIC_SOURCES, PLIC_STATE } from "./device-layout.js";
import { INTERRUPT_MEIP, INTERRUPT_SEIP } from "./core.js";
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { MAX_HARTS } from "./layout.js";

const SOURCE_WORDS = PLIC_SOURCES / 32;
const PRIORITY = 0;
const LEVEL = PRIORITY + PLIC_SOURCES;
const PENDING = LEVEL + SOURCE_WORDS;
const CLAIMED = PENDING + SOURCE_WORDS;
const CONTEXTS = 2 * MAX_HARTS;
const ENABLE = CLAIMED + SOURCE_WORDS;
const THRESHOLD = ENABLE + CONTEXTS * SOURCE_WORDS;
const DRIVEN = THRESHOLD + CONTEXTS; // bit per context: the level that the core was last told
const WORDS = DRIVEN + 1;

const MAX_PRIORITY = 7;
const ENABLE_BASE = 0x2000;
const ENABLE_STRIDE = 0x80;
const CONTEXT_BASE = 0x200000;
const CONTEXT_STRIDE = 0x1000;

export class Plic {
  private readonly words: Uint32Array;
  private readonly contexts: number;

  constructor(
    memory: GuestMemory,
    private readonly core: Rv64Core,
    harts: number,
  ) {
    this.words = memory.words(PLIC_STATE, WORDS);
    this.contexts = 2 * harts;
  }

  setLevel(source: number, level: boolean): void {
    const word = source >>> 5;
    const bit = 1 << (source & 31);
    const words = this.words;
    const high = (words[LEVEL + word]! & bit) !== 0;
    if (high === level) return;
    if (level) {
      words[LEVEL + word]! |= bit;
      words[PENDING + word]! |= bit;
    } else {
      words[LEVEL + word]! &= ~bit;
      words[PENDING + word]! &= ~bit;
    }
    this.update();
  }

  read(offset: number, size: number): number {
    if (size !== 4 || (offset & 3) !== 0) return this.fault();
    const words = this.words;
    if (offset < PLIC_SOURCES * 4) return words[PRIORITY + (offset >>> 2)]!;
    if (offset >= 0x1000 && offset < 0x1000 + SOURCE_WORDS * 4) return words[PENDING + ((offset - 0x1000) >>> 2)]!;
    if (offset >= ENABLE_BASE && offset < ENABLE_BASE + this.contexts * ENABLE_STRIDE) {
      const word = (offset & (ENABLE_STRIDE - 1)) >>> 2;
      return word < SOURCE_WORDS ? words[this.enableWord(offset, word)]! : 0;
    }
    if (offset >= CONTEXT_BASE && offset < CONTEXT_BASE + this.contexts * CONTEXT_STRIDE) {
      const context = (offset - CONTEXT_BASE) >>> 12;
      if ((offset & 0xfff) === 0) return words[THRESHOLD + context]!;
      if ((offset & 0xfff) === 4) return this.claim(context);
    }
    return 0;
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) {
      this.fault();
      return;
    }
    const words = this.words;
    if (offset < PLIC_SOURCES * 4) {
      if (offset >= 4) words[PRIORITY + (offset >>> 2)] = value & MAX_PRIORITY;
    } else if (offset >= ENABLE_BASE && offset < ENABLE_BASE + this.contexts * ENABLE_STRIDE) {
      const word = (offset & (ENABLE_STRIDE - 1)) >>> 2;
      if (word < SOURCE_WORDS) words[this.enableWord(offset, word)] = word === 0 ? value & ~1 : value;
    } else if (offset >= CONTEXT_BASE && offset < CONTEXT_BASE + this.contexts * CONTEXT_STRIDE) {
      const context = (offset - CONTEXT_BASE) >>> 12;
      if ((offset & 0xfff) === 0) words[THRESHOLD + context] = value & MAX_PRIORITY;
      else if ((offset & 0xfff) === 4) this.complete(context, value);
    }
    this.update();
  }

  private enableWord(offset: number, word: number): number {
    return ENABLE + ((offset - ENABLE_BASE) >>> 7) * SOURCE_WORDS + word;
  }

  /** The pending, enabled source of highest priority (lowest number among equals), or 0. */
  private best(context: number, threshold: number): number {
    const words = this.words;
    let found = 0;
    let foundPriority = threshold;
    for (let word = 0; word < SOURCE_WORDS; word++) {
      let bits = words[PENDING + word]! & ~words[CLAIMED + word]! & words[ENABLE + context * SOURCE_WORDS + word]!;
      while (bits !== 0) {
        const bit = bits & -bits;
        bits ^= bit;
        const source = word * 32 + (31 - Math.clz32(bit));
        const priority = words[PRIORITY + source]!;
        if (priority > foundPriority) {
          found = source;
          foundPriority = priority;
        }
      }
    }
    return found;
  }

  /** A claim ignores the threshold, which only masks the notification. */
  private claim(context: number): number {
    const source = this.best(context, 0);
    if (source === 0) return 0;
    const bit = 1 << (source & 31);
    this.words[PENDING + (source >>> 5)]! &= ~bit;
    this.words[CLAIMED + (source >>> 5)]! |= bit;
    this.update();
    return source;
  }

  private complete(context: number, source: number): void {
    const word = source >>> 5;
    if (source >>> 0 >= PLIC_SOURCES || source === 0) return;
    const bit = 1 << (source & 31);
    const words = this.words;
    if ((words[ENABLE + context * SOURCE_WORDS + word]! & bit) === 0) return;
    words[CLAIMED + word]! &= ~bit;
    if ((words[LEVEL + word]! & bit) !== 0) words[PENDING + word]! |= bit;
  }

  private update(): void {
    const words = this.words;
    for (let context = 0; context < this.contexts; context++) {
      const bit = 1 << context;
      const level = this.best(context, words[THRESHOLD + context]!) !== 0;
      if (level === ((words[DRIVEN]! & bit) !== 0)) continue;
      words[DRIVEN]! ^= bit;
      this.core.setInterrupt(context >>> 1, (context & 1) === 0 ? INTERRUPT_MEIP : INTERRUPT_SEIP, level ? 1 : 0);
    }
  }

  private fault(): number {
    this.core.accessFault();
    return 0;
  }
}
