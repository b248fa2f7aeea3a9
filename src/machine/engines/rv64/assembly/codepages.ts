// Decoded pages: one pool page holds the 2048 slots of one RAM page, filled instruction by instruction as they are first
// executed. Provably invisible to the guest: a store to a page with decoded slots always takes the slow path and clears them.
import {
  CODE_MAP, EXEC_CACHE, EXEC_CACHE_TABLE, G_RAM_BYTES, MAX_HARTS, PAGE_CODE, PAGE_FLAGS, POOL, POOL_HEADER, POOL_PAGES, POOL_STRIDE, RAM,
} from "../layout";
import { decode16, decode32 } from "./decode";
import { fused } from "./fuse";
import { entryOffset, executeCache, fetchPage, flagWriteEntries } from "./memory";
import * as O from "./ops";

let poolUsed: u32 = 0;
/** A page offset from which no displacement is near (they reach 1 MiB). */
const NOWHERE: u32 = 0x80000000;

/** Forgets every decoded page. */
export function clearCodePages(): void {
  poolUsed = 0;
  memory.fill(EXEC_CACHE, 0, 4 * MAX_HARTS * EXEC_CACHE_TABLE);
  const pages = <u32>(load<u64>(G_RAM_BYTES) >> 12);
  memory.fill(CODE_MAP, 0, pages << 2);
  for (let page: u32 = 0; page < pages; page++) {
    store<u8>(PAGE_FLAGS + page, load<u8>(PAGE_FLAGS + page) & ~PAGE_CODE);
  }
}

/** The decoded page of a RAM page (address of slot 0), made empty if there was none. */
function codePage(ramPage: u32): u32 {
  const known = load<u32>(CODE_MAP + (ramPage << 2));
  if (known != 0) return known;
  if (poolUsed == POOL_PAGES) clearCodePages();
  const header = POOL + poolUsed++ * POOL_STRIDE;
  const slots = header + POOL_HEADER;
  memory.fill(slots, 0, 2048 * 8);
  store<u32>(header, ramPage);
  store<u64>(slots, O.OP_NEXT_PAGE, 2048 * 8);
  store<u64>(slots, O.OP_NEXT_PAGE, 2049 * 8);
  store<u32>(CODE_MAP + (ramPage << 2), slots);
  return slots;
}

/** The decoded page that holds virtual `address` (slot 0), or 0 after raising a fetch fault. */
export function findCodePage(address: u64): u32 {
  const ramPage = fetchPage(address);
  if (ramPage < 0) return 0;
  const slots = codePage(<u32>ramPage);
  store<u32>(executeCache + (entryOffset(address) >> 2), slots);
  return slots;
}

/** Decodes the instruction of an empty slot, together with its neighbour if the two make a fused pair, and stores it there. */
export function decodeSlot(slotAddress: usize): void {
  const index = <u32>((slotAddress - POOL) % POOL_STRIDE) - POOL_HEADER;
  const ramPage = load<u32>(slotAddress - index - POOL_HEADER);
  const place = RAM + (ramPage << 12);
  const offset = index >> 2;
  let decoded = decodeAt(place, offset);
  const after = offset + (<u32>(decoded >> 10) & 6);
  if (after < 4096) {
    const following = slotAddress + ((after - offset) << 2);
    const neighbour = decodeAt(place, after);
    const operation = fused(<u32>decoded & 0xff, <u32>neighbour & 0xff);
    if (operation != (<u32>decoded & 0xff) && load<u64>(following) == 0) store<u64>(following, neighbour);
    decoded = (decoded & ~(<u64>0xff)) | operation;
  }
  const flags = load<u8>(PAGE_FLAGS + ramPage);
  if (!(flags & PAGE_CODE)) {
    store<u8>(PAGE_FLAGS + ramPage, flags | PAGE_CODE);
    flagWriteEntries(ramPage, false);
  }
  store<u64>(slotAddress, decoded);
}

/** One instruction of the page at linear address `place`. */
function decodeAt(place: usize, offset: u32): u64 {
  const low = <u32>load<u16>(place + offset);
  if ((low & 3) != 3) return decode16(low, offset);
  return offset == 0xffe ? O.OP_CROSS : decode32(load<u32>(place + offset), offset);
}

/** The instruction at virtual `address`, which has 4 bytes and straddles a page; sets `straddling`. False after raising a fault. */
export function fetchStraddling(address: u64): bool {
  const first = fetchPage(address);
  if (first < 0) return false;
  const second = fetchPage(address + 2);
  if (second < 0) return false;
  const low = <u32>load<u16>(RAM + ((<u32>first) << 12) + 0xffe);
  const high = <u32>load<u16>(RAM + ((<u32>second) << 12));
  straddling = decode32(low | (high << 16), NOWHERE);
  return true;
}
export let straddling: u64 = 0;

/** Raw bits of the instruction in a slot, for trap values. */
export function rawInstruction(address: u64): u32 {
  const first = fetchPage(address);
  if (first < 0) return 0;
  const low = <u32>load<u16>(RAM + ((<u32>first) << 12) + (<u32>address & 0xffe));
  if ((low & 3) != 3) return low;
  const second = fetchPage(address + 2);
  if (second < 0) return low;
  return low | ((<u32>load<u16>(RAM + ((<u32>second) << 12) + ((<u32>address + 2) & 0xffe))) << 16);
}
