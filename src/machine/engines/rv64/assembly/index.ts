// The core's exports: the run loop over harts, timers and interrupts, and what the board needs to look after memory.
import {
  ACTIVE, G_HARTS, G_INSTRET, G_RAM_BYTES, G_TIME, G_TIME_AT, H_LINES, H_MENVCFG, H_MHARTID, H_MIE, H_MIP, H_MTIMECMP, H_PC,
  H_RESERVATION, H_STARTED, H_STIMECMP, H_WFI, H_X, HART0, HART_SIZE, TLB, TLB_END,
} from "../layout";
import { trace } from "./board";
import { clearCodePages, rawInstruction } from "./codepages";
import { instructionsNow, timerBits } from "./csr";
import { interpret } from "./interpret";
import * as M from "./memory";
import * as S from "./state";
import { enterInterrupt, enterTrap } from "./trap";

export { digestReset, digestTlb, digestUpdate, digestValue } from "./digest";

/** Instructions that one hart runs before the next has its turn. */
const SLICE: i64 = 20000;
const FOREVER: u64 = 0x7fffffffffffffff;
/** How much of a hart's record moves between its place and the ACTIVE window. */
const RECORD_BYTES: usize = 0x400;

export const RUN_BUDGET: i32 = 0;
export const RUN_IDLE: i32 = 1;
export const RUN_STOPPED: i32 = 2;

let stopWanted: bool = false;
let tracing: bool = false;
let activeHart: i32 = -1;

/** Empties TLBs and caches; for a power-on, after the records were set up. */
export function initialise(): void {
  memory.fill(TLB, 0xff, TLB_END - TLB);
  clearCodePages();
}

/** After an image was restored: TLB contents are state and stay; every cache starts empty. */
export function afterRestore(): void {
  clearCodePages();
  M.flagWriteEntries(0, true);
}

export function requestStop(): void {
  stopWanted = true;
}
export function accessFault(): void {
  S.setDeviceFault(true);
}
export function setTrace(on: i32): void {
  tracing = on != 0;
}
export function flushTlb(hart: i32): void {
  M.flushTlb(hart);
}

export function getTime(): i64 {
  return <i64>(load<u64>(G_TIME) + (instructionsNow() - load<u64>(G_TIME_AT)));
}
/** Guest time never runs backwards: takes the maximum. */
export function setTime(time: i64): void {
  const now = getTime();
  store<u64>(G_TIME, <u64>(time > now ? time : now));
  store<u64>(G_TIME_AT, instructionsNow());
}

// @ts-ignore: decorator
@inline
function hartBase(hart: i32): usize {
  return hart == activeHart ? ACTIVE : HART0 + <usize>hart * HART_SIZE;
}

function timerOf(base: usize): u64 {
  const supervisor = (load<u64>(base + H_MENVCFG) & S.ENV_STCE) != 0 && (load<u64>(base + H_MIE) & S.IRQ_STI) != 0;
  const first: u64 = supervisor ? load<u64>(base + H_STIMECMP) : FOREVER;
  const machine: u64 = (load<u64>(base + H_MIE) & S.IRQ_MTI) != 0 ? load<u64>(base + H_MTIMECMP) : FOREVER;
  const earliest = first < machine ? first : machine;
  return earliest < FOREVER ? earliest : FOREVER;
}

/** Guest time of the earliest armed timer of all harts; the largest i64 if there is none. */
export function nextTimer(): i64 {
  let earliest = FOREVER;
  for (let hart: i32 = 0; hart < <i32>load<u64>(G_HARTS); hart++) {
    const timer = timerOf(hartBase(hart));
    if (timer < earliest) earliest = timer;
  }
  return <i64>earliest;
}

/** Drives one interrupt line (a bit of mip) of a hart. */
export function setInterrupt(hart: i32, bit: i32, level: i32): void {
  const base = hartBase(hart);
  const lines = load<u64>(base + H_LINES);
  const mask: u64 = (<u64>1) << bit;
  store<u64>(base + H_LINES, level != 0 ? lines | mask : lines & ~mask);
}

/** Device writes to RAM (offset from its start): dirty bits and decoded code follow. */
export function noteWrite(offset: i32, length: i32): void {
  if (length <= 0) return;
  const last = (<u32>offset + <u32>length - 1) >> 12;
  for (let page = <u32>offset >> 12; page <= last; page++) M.noteStore(page);
}

/** Arms tracking again after the board has cleared a flag of some pages: the first store to each will be seen. */
export function rearm(): void {
  M.flagWriteEntries(0, true);
}

function activate(hart: i32): void {
  memory.copy(ACTIVE, HART0 + <usize>hart * HART_SIZE, RECORD_BYTES);
  activeHart = hart;
  S.put(H_RESERVATION, ~(<u64>0));
  M.updateContext();
}

function deactivate(): void {
  store<u64>(ACTIVE + H_X + 32 * 8, 0);
  memory.copy(HART0 + <usize>activeHart * HART_SIZE, ACTIVE, RECORD_BYTES);
  activeHart = -1;
}

function refreshTimers(): void {
  S.put(H_LINES, (S.get(H_LINES) & ~(S.IRQ_STI | S.IRQ_MTI)) | timerBits());
}

function wanted(): u64 {
  return (S.get(H_MIP) | S.get(H_LINES)) & S.get(H_MIE);
}

/** Runs the active hart for at most `budget` instructions; returns what is left (more than 0 only if it waits or was stopped). */
function runHart(budget: i64): i64 {
  let left = budget;
  while (left > 0 && !stopWanted) {
    refreshTimers();
    if (S.get(H_WFI) != 0) {
      if (wanted() == 0) return left;
      S.put(H_WFI, 0);
    }
    const bits = S.takeableInterrupts();
    if (bits != 0) enterInterrupt(bits);
    M.updateContext();
    const done = interpret(chunk(left));
    left -= done;
    store<u64>(G_INSTRET, load<u64>(G_INSTRET) + <u64>done);
    if (S.trapCause >= 0) {
      enterTrap(<u64>S.trapCause, S.trapValue);
      S.clearTrap();
    }
  }
  return left;
}

/** To the end of the budget or to the next timer, whichever is first, so that a timer fires at its exact instruction. */
function chunk(left: i64): i64 {
  if (tracing) {
    const pc = S.get(H_PC);
    const instruction = rawInstruction(pc);
    S.clearTrap();
    trace(<i32>S.get(H_MHARTID), <i32>pc, <i32>(pc >> 32), instruction);
    return 1;
  }
  const timer = timerOf(ACTIVE);
  const now = <u64>getTime();
  if (timer <= now) return left;
  return timer - now < <u64>left ? <i64>(timer - now) : left;
}

/** Runs the machine. Harts take turns in fixed slices, counted in instructions. */
export function run(budget: i64): i32 {
  const harts = <i32>load<u64>(G_HARTS);
  let left = budget;
  stopWanted = false;
  while (left > 0) {
    let ran = false;
    for (let hart: i32 = 0; hart < harts && left > 0; hart++) {
      if (load<u64>(HART0 + <usize>hart * HART_SIZE + H_STARTED) == 0) continue;
      activate(hart);
      const slice = harts == 1 || left < SLICE ? left : SLICE;
      const rest = runHart(slice);
      deactivate();
      if (rest < slice) ran = true;
      left -= slice - rest;
      if (stopWanted) return RUN_STOPPED;
    }
    if (!ran) return RUN_IDLE;
  }
  return RUN_BUDGET;
}
