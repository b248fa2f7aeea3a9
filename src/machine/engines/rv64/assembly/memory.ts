// Address translation (Sv39, bare), the software TLB and the slow paths of loads and stores. The TLB is guest-visible state
// (stale A and D bits): it changes only by what the guest executes, never by what is cached or captured.
import {
  CODE_MAP, DRAM, EXEC_CACHE, EXEC_CACHE_TABLE, G_RAM_BYTES, H_MENVCFG, H_MHARTID, H_MSTATUS, H_PRIV, H_SATP, H_SUPERPAGES,
  PAGE_CODE, PAGE_DIRTY, PAGE_FLAGS, PAGE_UNMARKED, RAM, SCRATCH, TLB, TLB_CONTEXT, TLB_END, TLB_ENTRIES, TLB_FLAG, TLB_HART, TLB_TABLE,
} from "../layout";
import { mmioRead, mmioWrite } from "./board";
import * as S from "./state";

export const ACCESS_READ: i32 = 0;
export const ACCESS_WRITE: i32 = 1;
export const ACCESS_EXECUTE: i32 = 2;

const PTE_V: u64 = 1;
const PTE_R: u64 = 2;
const PTE_W: u64 = 4;
const PTE_X: u64 = 8;
const PTE_U: u64 = 16;
const PTE_A: u64 = 64;
const PTE_D: u64 = 128;
const PAGE_MASK: u64 = ~(<u64>0xfff);

const CONTEXT_U: u32 = 0;
const CONTEXT_S: u32 = 1;
const CONTEXT_S_SUM: u32 = 2;
const CONTEXT_M: u32 = 3;

/** Address of the running hart's data tables (read at +0, write at +TLB_TABLE) for its effective privilege. */
export let dataTables: usize = 0;
/** Address of its execute table, and of the cache of decoded pages beside it. */
export let executeTable: usize = 0;
export let executeCache: usize = 0;

/** Recomputes the table addresses; to be called whenever privilege, mstatus or the running hart changed. */
export function updateContext(): void {
  const hart = <usize>S.get(H_MHARTID);
  const privilege = <i64>S.get(H_PRIV);
  const data = dataContext();
  const execute = privilege == S.PRIV_U ? CONTEXT_U : privilege == S.PRIV_S ? CONTEXT_S : CONTEXT_M;
  dataTables = TLB + hart * TLB_HART + data * TLB_CONTEXT;
  executeTable = TLB + hart * TLB_HART + execute * TLB_CONTEXT + 2 * TLB_TABLE;
  executeCache = EXEC_CACHE + (hart * 4 + execute) * EXEC_CACHE_TABLE;
}

function dataPrivilege(): i64 {
  const status = S.get(H_MSTATUS);
  const privilege = <i64>S.get(H_PRIV);
  return privilege == S.PRIV_M && (status & S.STATUS_MPRV) != 0 ? <i64>((status >> 11) & 3) : privilege;
}

function dataContext(): u32 {
  const privilege = dataPrivilege();
  if (privilege == S.PRIV_U) return CONTEXT_U;
  if (privilege == S.PRIV_M) return CONTEXT_M;
  return (S.get(H_MSTATUS) & S.STATUS_SUM) != 0 ? CONTEXT_S_SUM : CONTEXT_S;
}

// @ts-ignore: decorator
@inline
export function entryOffset(address: u64): usize {
  return (<usize>(<u32>(address >> 8)) & 0x1ff0);
}

/** Empties the TLB of one hart. */
export function flushTlb(hart: i32): void {
  memory.fill(TLB + <usize>hart * TLB_HART, 0xff, TLB_HART);
  if (hart == <i32>S.get(H_MHARTID)) S.put(H_SUPERPAGES, 0);
}

/** sfence.vma with an address: precise, unless a superpage of that half of the address space may cover it. */
export function flushTlbAddress(address: u64): void {
  const half: u64 = <i64>address < 0 ? 2 : 1;
  const hart = <i32>S.get(H_MHARTID);
  if ((S.get(H_SUPERPAGES) & half) != 0) {
    flushTlb(hart);
    return;
  }
  const page = address & PAGE_MASK;
  const first = TLB + <usize>hart * TLB_HART + entryOffset(address);
  for (let table: usize = 0; table < 12; table++) {
    const entry = first + table * TLB_TABLE;
    if ((load<u64>(entry) & PAGE_MASK) == page) store<u64>(entry, ~(<u64>0));
  }
}

/** Flags write entries so that the next store through each takes the slow path: all of them, or those of one RAM page. */
export function flagWriteEntries(ramPage: u32, all: bool): void {
  const target: u32 = RAM + (ramPage << 12);
  for (let table: usize = TLB + TLB_TABLE; table < <usize>TLB_END; table += TLB_CONTEXT) {
    for (let entry = table; entry < table + TLB_ENTRIES * 16; entry += 16) {
      const tag = load<u64>(entry);
      if (tag == ~(<u64>0)) continue;
      if (all || <u32>(<u32>(tag & PAGE_MASK) + load<u32>(entry, 8)) == target) store<u64>(entry, tag | TLB_FLAG);
    }
  }
}

// @ts-ignore: decorator
@inline
export function inRam(address: u64): bool {
  return address - <u64>DRAM < load<u64>(G_RAM_BYTES);
}

/** The decoded form of a page goes stale: clear its slots (the page itself keeps its place in the pool). */
export function dropCode(ramPage: u32): void {
  const decoded = load<u32>(CODE_MAP + (ramPage << 2));
  if (decoded != 0) memory.fill(decoded, 0, 2048 * 8);
  store<u8>(PAGE_FLAGS + ramPage, load<u8>(PAGE_FLAGS + ramPage) & ~PAGE_CODE);
}

/** A store of the guest, a page walk or a device has changed RAM at this offset. */
export function noteStore(ramPage: u32): void {
  const flags = load<u8>(PAGE_FLAGS + ramPage);
  if (flags & PAGE_CODE) dropCode(ramPage);
  store<u8>(PAGE_FLAGS + ramPage, (flags & ~PAGE_CODE) | PAGE_DIRTY | PAGE_UNMARKED);
}

function pageFault(access: i32): u64 {
  return access == ACCESS_READ ? S.CAUSE_LOAD_PAGE : access == ACCESS_WRITE ? S.CAUSE_STORE_PAGE : S.CAUSE_FETCH_PAGE;
}
function accessFault(access: i32): u64 {
  return access == ACCESS_READ ? S.CAUSE_LOAD_ACCESS : access == ACCESS_WRITE ? S.CAUSE_STORE_ACCESS : S.CAUSE_FETCH_ACCESS;
}

/** Set by translate: the leaf was bigger than 4 KiB. */
let leafIsSuperpage: bool = false;
const BAD: u64 = ~(<u64>0);

/** Virtual to physical, by the privilege that this kind of access has; BAD after raising a fault. */
export function translate(address: u64, access: i32): u64 {
  const privilege = access == ACCESS_EXECUTE ? <i64>S.get(H_PRIV) : dataPrivilege();
  const satp = S.get(H_SATP);
  leafIsSuperpage = false;
  // The last byte of the address space has the address that means BAD here; there is never memory, so it faults at once.
  if (privilege == S.PRIV_M || satp >> 60 == 0) return address == BAD ? fault(accessFault(access), address) : address;
  if (<u64>(<i64>(address << 25) >> 25) != address) return fault(pageFault(access), address);
  let table = (satp & 0xfffffffffff) << 12;
  for (let level: u64 = 3; level > 0; level--) {
    const shift: u64 = 12 + 9 * (level - 1);
    const place = table + (((address >> shift) & 511) << 3);
    if (!inRam(place)) return fault(accessFault(access), address);
    const host = <usize>(place - <u64>DRAM) + RAM;
    const pte = load<u64>(host);
    if ((pte & PTE_V) == 0 || (pte & (PTE_R | PTE_W)) == PTE_W || pte >> 54 != 0) break;
    const next = ((pte >> 10) & 0xfffffffffff) << 12;
    if ((pte & (PTE_R | PTE_X)) == 0) {
      if ((pte & (PTE_U | PTE_A | PTE_D)) != 0) break;
      table = next;
      continue;
    }
    const inPage = ((<u64>1) << shift) - 1;
    if ((next & inPage) != 0 || !allowed(pte, access, privilege)) break;
    if (!updateAccessed(pte, host, access)) break;
    leafIsSuperpage = level > 1;
    return next | (address & inPage);
  }
  return fault(pageFault(access), address);
}

function fault(cause: u64, address: u64): u64 {
  S.raise(cause, address);
  return BAD;
}

function allowed(pte: u64, access: i32, privilege: i64): bool {
  const status = S.get(H_MSTATUS);
  if (privilege == S.PRIV_U) {
    if ((pte & PTE_U) == 0) return false;
  } else if ((pte & PTE_U) != 0) {
    if (access == ACCESS_EXECUTE || (status & S.STATUS_SUM) == 0) return false;
  }
  if (access == ACCESS_EXECUTE) return (pte & PTE_X) != 0;
  if (access == ACCESS_WRITE) return (pte & PTE_W) != 0;
  return (pte & PTE_R) != 0 || ((status & S.STATUS_MXR) != 0 && (pte & PTE_X) != 0);
}

/** A and D: set by hardware when menvcfg.ADUE is on (Svadu), else their absence faults (Svade). */
function updateAccessed(pte: u64, host: usize, access: i32): bool {
  const wanted = access == ACCESS_WRITE ? PTE_A | PTE_D : PTE_A;
  if ((pte & wanted) == wanted) return true;
  if ((S.get(H_MENVCFG) & S.ENV_ADUE) == 0) return false;
  store<u64>(host, pte | wanted);
  const ramPage = <u32>((host - RAM) >> 12);
  noteStore(ramPage);
  return true;
}

function fillEntry(entry: usize, address: u64, physical: u64): void {
  store<u64>(entry, address & PAGE_MASK);
  store<u32>(entry, <u32>(physical - <u64>DRAM) + RAM - <u32>address, 8);
  if (leafIsSuperpage) S.put(H_SUPERPAGES, S.get(H_SUPERPAGES) | (<i64>address < 0 ? 2 : 1));
}

/**
 * A load that missed the fast path. Returns the linear address of the value; SCRATCH when it was gathered there (a device, two
 * pages), after which interrupts must be checked; 0 after raising a fault.
 */
export function slowRead(address: u64, size: u32): usize {
  if ((<u32>address & 0xfff) + size > 4096) return readAcross(address, size);
  const entry = dataTables + entryOffset(address);
  if (load<u64>(entry) == (address & PAGE_MASK)) return <usize>(load<u32>(entry, 8) + <u32>address);
  const physical = translate(address, ACCESS_READ);
  if (physical == BAD) return 0;
  if (inRam(physical)) {
    fillEntry(entry, address, physical);
    return <usize>(physical - <u64>DRAM) + RAM;
  }
  return readDevice(address, physical, size);
}

function readAcross(address: u64, size: u32): usize {
  let value: u64 = 0;
  for (let i: u32 = 0; i < size; i++) {
    const host = slowRead(address + i, 1);
    if (host == 0) return 0;
    value |= (<u64>load<u8>(host)) << (i * 8);
  }
  store<u64>(SCRATCH, value);
  return SCRATCH;
}

function readDevice(address: u64, physical: u64, size: u32): usize {
  if ((<u32>physical & (size - 1)) != 0) {
    S.raise(S.CAUSE_LOAD_MISALIGNED, address);
    return 0;
  }
  S.setDeviceFault(physical >= <u64>DRAM);
  if (!S.deviceFault) {
    const first = mmioRead(<u32>physical, size > 4 ? 4 : size);
    store<u64>(SCRATCH, <u64>(<u32>first));
    if (size == 8 && !S.deviceFault) store<u32>(SCRATCH, mmioRead(<u32>physical + 4, 4), 4);
  }
  if (!S.deviceFault) return SCRATCH;
  S.raise(S.CAUSE_LOAD_ACCESS, address);
  return 0;
}

export const STORE_FAULT: i32 = 0;
export const STORE_DONE: i32 = 1;
/** Done, by a device: interrupts must be checked. */
export const STORE_DEVICE: i32 = 2;

// @ts-ignore: decorator
@inline
function put(host: usize, size: u32, value: u64): void {
  if (size == 8) store<u64>(host, value);
  else if (size == 4) store<u32>(host, <u32>value);
  else if (size == 2) store<u16>(host, <u16>value);
  else store<u8>(host, <u8>value);
}

/** Translates for a store and gives the linear address (RAM only; tracked), SCRATCH for a device (see lastPhysical), 0 for a fault. */
export function writable(address: u64): usize {
  const entry = dataTables + TLB_TABLE + entryOffset(address);
  if ((load<u64>(entry) & ~(<u64>TLB_FLAG)) == (address & PAGE_MASK)) {
    const host = <usize>(load<u32>(entry, 8) + <u32>address);
    noteStore(<u32>((host - RAM) >> 12));
    store<u64>(entry, address & PAGE_MASK);
    return host;
  }
  const physical = translate(address, ACCESS_WRITE);
  if (physical == BAD) return 0;
  lastPhysical = physical;
  if (!inRam(physical)) return SCRATCH;
  const host = <usize>(physical - <u64>DRAM) + RAM;
  noteStore(<u32>((host - RAM) >> 12));
  fillEntry(entry, address, physical);
  return host;
}
let lastPhysical: u64 = 0;

/** A store that missed the fast path. */
export function slowWrite(address: u64, size: u32, value: u64): i32 {
  if ((<u32>address & 0xfff) + size > 4096) return writeAcross(address, size, value);
  const host = writable(address);
  if (host == 0) return STORE_FAULT;
  if (host != SCRATCH) {
    put(host, size, value);
    return STORE_DONE;
  }
  return writeDevice(address, lastPhysical, size, value);
}

/** Both pages are translated first, so that a fault leaves nothing half-written. */
function writeAcross(address: u64, size: u32, value: u64): i32 {
  const low = writable(address);
  if (low == 0) return STORE_FAULT;
  const high = writable((address & PAGE_MASK) + 4096);
  if (high == 0) return STORE_FAULT;
  if (low == SCRATCH || high == SCRATCH) {
    S.raise(S.CAUSE_STORE_MISALIGNED, address);
    return STORE_FAULT;
  }
  const inFirst: u32 = 4096 - (<u32>address & 0xfff);
  for (let i: u32 = 0; i < size; i++) {
    store<u8>(i < inFirst ? low + i : high + i - inFirst, <u8>(value >> (i * 8)));
  }
  return STORE_DONE;
}

function writeDevice(address: u64, physical: u64, size: u32, value: u64): i32 {
  if ((<u32>physical & (size - 1)) != 0) {
    S.raise(S.CAUSE_STORE_MISALIGNED, address);
    return STORE_FAULT;
  }
  S.setDeviceFault(physical >= <u64>DRAM);
  if (!S.deviceFault) mmioWrite(<u32>physical, size > 4 ? 4 : size, <i32>value);
  if (size == 8 && !S.deviceFault) mmioWrite(<u32>physical + 4, 4, <i32>(value >> 32));
  if (!S.deviceFault) return STORE_DEVICE;
  S.raise(S.CAUSE_STORE_ACCESS, address);
  return STORE_FAULT;
}

/** Translates a fetch through the execute table; returns the RAM page number, or -1 after raising a fault. */
export function fetchPage(address: u64): i32 {
  const entry = executeTable + entryOffset(address);
  if (load<u64>(entry) == (address & PAGE_MASK)) return <i32>((load<u32>(entry, 8) + <u32>(address & PAGE_MASK) - RAM) >> 12);
  const physical = translate(address, ACCESS_EXECUTE);
  if (physical == BAD) return -1;
  if (!inRam(physical)) {
    S.raise(S.CAUSE_FETCH_ACCESS, address);
    return -1;
  }
  fillEntry(entry, address, physical);
  store<u32>(executeCache + (entryOffset(address) >> 2), 0);
  return <i32>((physical - <u64>DRAM) >> 12);
}

