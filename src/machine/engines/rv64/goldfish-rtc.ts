/**
 * Goldfish real-time clock: epoch + guest time + an offset that the guest may set, in ns, and one alarm. The alarm is looked at between
 * quanta (the board asks for `deadlineNs`), which is exact while the guest idles and within a quantum otherwise.
 */
import { RTC_INTERRUPT, RTC_STATE } from "./device-layout.js";
import type { Rv64Core } from "./core.js";
import type { GuestMemory } from "./guest-memory.js";
import { G_EPOCH_NS } from "./layout.js";
import type { Plic } from "./plic.js";

const TIME_LOW = 0x00;
const TIME_HIGH = 0x04;
const ALARM_LOW = 0x08;
const ALARM_HIGH = 0x0c;
const IRQ_ENABLED = 0x10;
const CLEAR_ALARM = 0x14;
const ALARM_STATUS = 0x18;
const CLEAR_INTERRUPT = 0x1c;

// State: two u64, then words.
const OFFSET = 0; // signed ns added to the clock
const ALARM = 8;
const WORDS = 16;
const W_LATCHED_HIGH = 0; // high half of the last TIME_LOW read
const W_ARMED = 1;
const W_ENABLED = 2;
const W_PENDING = 3;
const W_ALARM_HIGH = 4;
const W_TIME_HIGH = 5;

const NO_DEADLINE = 0x7fff_ffff_ffff_ffffn;

export class GoldfishRtc {
  private readonly words: Uint32Array;

  constructor(
    private readonly memory: GuestMemory,
    private readonly core: Rv64Core,
    private readonly plic: Plic,
  ) {
    this.words = memory.words(RTC_STATE + WORDS, 8);
  }

  read(offset: number, size: number): number {
    if (size !== 4 || (offset & 3) !== 0) return this.fault();
    const words = this.words;
    switch (offset) {
      case TIME_LOW: {
        const now = this.now();
        words[W_LATCHED_HIGH] = Number(now >> 32n);
        return Number(now & 0xffff_ffffn);
      }
      case TIME_HIGH:
        return words[W_LATCHED_HIGH]!;
      case ALARM_LOW:
        return this.memory.view.getUint32(RTC_STATE + ALARM, true);
      case ALARM_HIGH:
        return this.memory.view.getUint32(RTC_STATE + ALARM + 4, true);
      case IRQ_ENABLED:
        return words[W_ENABLED]!;
      case ALARM_STATUS:
        return words[W_ARMED]!;
      default:
        return 0;
    }
  }

  write(offset: number, size: number, value: number): void {
    if (size !== 4 || (offset & 3) !== 0) {
      this.fault();
      return;
    }
    const words = this.words;
    switch (offset) {
      case TIME_HIGH:
        words[W_TIME_HIGH] = value;
        break;
      case TIME_LOW: {
        // The guest sets the clock: high half first, the low half makes it so.
        const wanted = (BigInt(words[W_TIME_HIGH]!) << 32n) | BigInt(value >>> 0);
        const clock = this.now() - this.offset();
        this.memory.view.setBigUint64(RTC_STATE + OFFSET, BigInt.asUintN(64, wanted - clock), true);
        break;
      }
      case ALARM_HIGH:
        words[W_ALARM_HIGH] = value;
        break;
      case ALARM_LOW:
        this.memory.view.setUint32(RTC_STATE + ALARM, value, true);
        this.memory.view.setUint32(RTC_STATE + ALARM + 4, words[W_ALARM_HIGH]!, true);
        words[W_ARMED] = 1;
        this.checkAlarm();
        break;
      case IRQ_ENABLED:
        words[W_ENABLED] = value & 1;
        this.update();
        break;
      case CLEAR_ALARM:
        words[W_ARMED] = 0;
        break;
      case CLEAR_INTERRUPT:
        words[W_PENDING] = 0;
        this.update();
        break;
    }
  }

  /** Raises the alarm if it is due. */
  checkAlarm(): void {
    if (this.words[W_ARMED] === 0 || this.now() < this.memory.view.getBigUint64(RTC_STATE + ALARM, true)) return;
    this.words[W_ARMED] = 0;
    this.words[W_PENDING] = 1;
    this.update();
  }

  /** Guest time of the alarm, if one is armed that could interrupt. */
  deadlineNs(): bigint {
    if (this.words[W_ARMED] === 0 || this.words[W_ENABLED] === 0) return NO_DEADLINE;
    const alarm = this.memory.view.getBigUint64(RTC_STATE + ALARM, true);
    const deadline = this.core.getTime() + (alarm - this.now());
    return deadline < NO_DEADLINE ? deadline : NO_DEADLINE;
  }

  private now(): bigint {
    return BigInt.asUintN(64, this.memory.view.getBigInt64(G_EPOCH_NS, true) + this.core.getTime() + this.offset());
  }

  private offset(): bigint {
    return this.memory.view.getBigInt64(RTC_STATE + OFFSET, true);
  }

  private update(): void {
    this.plic.setLevel(RTC_INTERRUPT, this.words[W_PENDING] !== 0 && this.words[W_ENABLED] !== 0);
  }

  private fault(): number {
    this.core.accessFault();
    return 0;
  }
}
