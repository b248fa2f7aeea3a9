/**
 * The supervisor binary interface (RISC-V SBI 2.0), answered by the engine in place of firmware: base, time, IPI, remote fence, hart state,
 * system reset, debug console, and the legacy calls that early consoles still use. No performance counters.
 */
import type { Board } from "./board.js";
import { ACTIVE, DRAM, H_MIP, H_MSTATUS, H_PC, H_PRIV, H_SATP, H_STARTED, H_STIMECMP, H_WFI, H_X, HART0, HART_SIZE } from "./layout.js";

const SUCCESS = 0n;
const FAILED = -1n;
const NOT_SUPPORTED = -2n;
const INVALID_PARAMETER = -3n;
const INVALID_ADDRESS = -5n;
const ALREADY_AVAILABLE = -6n;

const LEGACY_SET_TIMER = 0x00;
const LEGACY_PUT_CHARACTER = 0x01;
const LEGACY_GET_CHARACTER = 0x02;
const LEGACY_CLEAR_IPI = 0x03;
const LEGACY_SEND_IPI = 0x04;
const LEGACY_FENCE_I = 0x05;
const LEGACY_SFENCE = 0x06;
const LEGACY_SFENCE_ASID = 0x07;
const LEGACY_SHUTDOWN = 0x08;
const EXTENSION_BASE = 0x10;
const EXTENSION_TIME = 0x54494d45;
const EXTENSION_IPI = 0x735049;
const EXTENSION_FENCE = 0x52464e43;
const EXTENSION_HART = 0x48534d;
const EXTENSION_RESET = 0x53525354;
const EXTENSION_CONSOLE = 0x4442434e;
const EXTENSIONS: readonly number[] = [
  LEGACY_SET_TIMER,
  LEGACY_PUT_CHARACTER,
  LEGACY_GET_CHARACTER,
  LEGACY_CLEAR_IPI,
  LEGACY_SEND_IPI,
  LEGACY_FENCE_I,
  LEGACY_SFENCE,
  LEGACY_SFENCE_ASID,
  LEGACY_SHUTDOWN,
  EXTENSION_BASE,
  EXTENSION_TIME,
  EXTENSION_IPI,
  EXTENSION_FENCE,
  EXTENSION_HART,
  EXTENSION_RESET,
  EXTENSION_CONSOLE,
];

const SPECIFICATION_VERSION = 0x0200_0000n; // 2.0
/** In the range for implementations without a registered number. */
const IMPLEMENTATION_ID = 0x5354_4644n;
const IMPLEMENTATION_VERSION = 1n;

/** Bytes that one debug console call carries at most; a longer request is answered in part. */
export const CONSOLE_CALL_BYTES = 4096;
const LAST_FENCE_FUNCTION = 6;
const A0 = 10;
const A7 = 17;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const STATUS_SIE = 2n;
const MIP_SSIP = 2n;

interface Answer {
  readonly error: bigint;
  readonly value: bigint;
}
const answer = (error: bigint, value = 0n): Answer => ({ error, value });

export class Sbi {
  constructor(private readonly board: Board) {}

  /** An ecall of the running hart; its registers are at ACTIVE. */
  call(hart: number): void {
    const extension = Number(this.register(A7));
    if (extension <= LEGACY_SHUTDOWN) {
      this.setRegister(A0, this.legacy(hart, extension));
      return;
    }
    const called = Number(this.register(A7 - 1) & 0xffff_ffffn);
    const { error, value } = this.dispatch(hart, extension, called);
    this.setRegister(A0, error);
    this.setRegister(A0 + 1, value);
  }

  private dispatch(hart: number, extension: number, called: number): Answer {
    switch (extension) {
      case EXTENSION_BASE:
        return this.base(called);
      case EXTENSION_TIME:
        if (called !== 0) return answer(NOT_SUPPORTED);
        this.setTimer();
        return answer(SUCCESS);
      case EXTENSION_IPI:
        return called === 0 ? this.sendInterrupt(this.register(A0), this.register(A0 + 1)) : answer(NOT_SUPPORTED);
      case EXTENSION_FENCE:
        return called <= LAST_FENCE_FUNCTION ? this.fence(this.register(A0), this.register(A0 + 1)) : answer(NOT_SUPPORTED);
      case EXTENSION_HART:
        return this.hartState(hart, called);
      case EXTENSION_RESET:
        return called === 0 ? this.reset() : answer(NOT_SUPPORTED);
      case EXTENSION_CONSOLE:
        return this.console(called);
      default:
        return answer(NOT_SUPPORTED);
    }
  }

  private register(index: number): bigint {
    return this.board.memory.view.getBigUint64(ACTIVE + H_X + 8 * index, true);
  }

  private setRegister(index: number, value: bigint): void {
    this.board.memory.view.setBigInt64(ACTIVE + H_X + 8 * index, value, true);
  }

  private base(called: number): Answer {
    switch (called) {
      case 0:
        return answer(SUCCESS, SPECIFICATION_VERSION);
      case 1:
        return answer(SUCCESS, IMPLEMENTATION_ID);
      case 2:
        return answer(SUCCESS, IMPLEMENTATION_VERSION);
      case 3:
        return answer(SUCCESS, EXTENSIONS.includes(Number(this.register(A0))) ? 1n : 0n);
      case 4:
      case 5:
      case 6:
        return answer(SUCCESS); // vendor, architecture and implementation of the processor: zero is allowed
      default:
        return answer(NOT_SUPPORTED);
    }
  }

  private setTimer(): void {
    this.board.memory.view.setBigUint64(ACTIVE + H_STIMECMP, this.register(A0), true);
  }

  /** The harts that a mask names, or null if it names one that does not exist. */
  private select(mask: bigint, base: bigint): number[] | null {
    const harts = Array.from({ length: this.board.harts }, (_, hart) => hart);
    if (base === ALL_ONES) return harts;
    if (base >= BigInt(this.board.harts)) return mask === 0n ? [] : null;
    if ((mask << base) >> BigInt(this.board.harts) !== 0n) return null;
    return harts.filter((hart) => (((mask << base) >> BigInt(hart)) & 1n) === 1n);
  }

  private sendInterrupt(mask: bigint, base: bigint): Answer {
    const harts = this.select(mask, base);
    if (harts === null) return answer(INVALID_PARAMETER);
    for (const hart of harts) this.setSoftwareInterrupt(hart, true);
    return answer(SUCCESS);
  }

  /** SSIP is software's own bit (the guest clears it in sip), so it is set in mip and not driven as a line. */
  private setSoftwareInterrupt(hart: number, on: boolean): void {
    const address = this.board.hartRecord(hart) + H_MIP;
    const view = this.board.memory.view;
    const pending = view.getBigUint64(address, true);
    view.setBigUint64(address, on ? pending | MIP_SSIP : pending & ~MIP_SSIP, true);
  }

  /** Stores are seen by instruction fetches at once on this machine, so a remote fence.i has nothing to do beyond the others. */
  private fence(mask: bigint, base: bigint): Answer {
    const harts = this.select(mask, base);
    if (harts === null) return answer(INVALID_PARAMETER);
    for (const hart of harts) this.board.core.flushTlb(hart);
    return answer(SUCCESS);
  }

  private hartState(current: number, called: number): Answer {
    const view = this.board.memory.view;
    if (called === 1) {
      view.setBigUint64(ACTIVE + H_STARTED, 0n, true);
      return answer(FAILED); // the answer is only seen if the hart could not stop
    }
    if (called === 3) {
      // Retentive suspension is a wait for interrupt that may end at once; the other kinds would lose state.
      return answer((this.register(A0) & 0xffff_ffffn) === 0n ? SUCCESS : NOT_SUPPORTED);
    }
    const hart = this.register(A0);
    if (called !== 0 && called !== 2) return answer(NOT_SUPPORTED);
    if (hart >= BigInt(this.board.harts)) return answer(INVALID_PARAMETER);
    const index = Number(hart);
    const record = index === current ? ACTIVE : HART0 + index * HART_SIZE;
    const started = view.getUint32(record + H_STARTED, true) !== 0;
    if (called === 2) return answer(SUCCESS, started ? 0n : 1n);
    if (started) return answer(ALREADY_AVAILABLE);
    const start = this.register(A0 + 1);
    if (start < BigInt(DRAM) || start >= BigInt(DRAM + this.board.memory.ramBytes)) return answer(INVALID_ADDRESS);
    this.startHart(index, record, start, this.register(A0 + 2));
    return answer(SUCCESS);
  }

  private startHart(hart: number, record: number, start: bigint, argument: bigint): void {
    const view = this.board.memory.view;
    view.setBigUint64(record + H_X + 8 * A0, BigInt(hart), true);
    view.setBigUint64(record + H_X + 8 * (A0 + 1), argument, true);
    view.setBigUint64(record + H_PC, start, true);
    view.setBigUint64(record + H_PRIV, 1n, true);
    view.setBigUint64(record + H_SATP, 0n, true);
    view.setBigUint64(record + H_MSTATUS, view.getBigUint64(record + H_MSTATUS, true) & ~STATUS_SIE, true);
    view.setBigUint64(record + H_WFI, 0n, true);
    view.setBigUint64(record + H_STARTED, 1n, true);
    this.board.core.flushTlb(hart);
  }

  private reset(): Answer {
    const type = this.register(A0) & 0xffff_ffffn;
    const failure = (this.register(A0 + 1) & 0xffff_ffffn) === 1n;
    if (type === 0n) this.board.powerDown("powerOff", failure);
    else if (type === 1n || type === 2n) this.board.powerDown("reset", failure);
    else return answer(INVALID_PARAMETER);
    return answer(SUCCESS);
  }

  private console(called: number): Answer {
    if (called === 2) {
      this.board.outputs.consoleByte(Number(this.register(A0) & 0xffn));
      return answer(SUCCESS);
    }
    if (called > 2) return answer(NOT_SUPPORTED);
    const wanted = this.register(A0);
    const length = wanted > BigInt(CONSOLE_CALL_BYTES) ? CONSOLE_CALL_BYTES : Number(wanted);
    const low = this.register(A0 + 1);
    const address = this.board.memory.locate(Number(low & 0xffff_ffffn), Number(low >> 32n), length);
    if (address < 0 || this.register(A0 + 2) !== 0n) return answer(INVALID_PARAMETER);
    if (called === 0) {
      for (let index = 0; index < length; index++) this.board.outputs.consoleByte(this.board.memory.bytes[address + index]!);
      return answer(SUCCESS, BigInt(length));
    }
    return answer(SUCCESS, BigInt(this.readConsole(address, Number(low & 0xffff_ffffn), length)));
  }

  private readConsole(address: number, physical: number, length: number): number {
    let done = 0;
    while (done < length) {
      const value = this.board.console.takeInput();
      if (value < 0) break;
      this.board.memory.bytes[address + done++] = value;
    }
    if (done > 0) this.board.core.noteWrite(physical - DRAM, done);
    return done;
  }

  /** Legacy calls name harts by a mask in guest virtual memory; with it unread, all harts are meant, which is always correct. */
  private legacy(hart: number, extension: number): bigint {
    switch (extension) {
      case LEGACY_SET_TIMER:
        this.setTimer();
        return SUCCESS;
      case LEGACY_PUT_CHARACTER:
        this.board.outputs.consoleByte(Number(this.register(A0) & 0xffn));
        return SUCCESS;
      case LEGACY_GET_CHARACTER:
        return BigInt(this.board.console.takeInput());
      case LEGACY_CLEAR_IPI:
        this.setSoftwareInterrupt(hart, false);
        return SUCCESS;
      case LEGACY_SEND_IPI:
        this.sendInterrupt(0n, ALL_ONES);
        return SUCCESS;
      case LEGACY_SHUTDOWN:
        this.board.powerDown("powerOff", false);
        return SUCCESS;
      default:
        this.fence(0n, ALL_ONES);
        return SUCCESS;
    }
  }
}
