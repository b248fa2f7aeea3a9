// A fast digest for lockstep: four lanes of 64 bits, each a multiply-and-rotate chain over every fourth word (in the manner of
// xxHash's accumulation). It detects faults; it is no defence against forgery, and need not be: both machines are ours.
import { TLB, TLB_ENTRIES, TLB_FLAG, TLB_HART, TLB_TABLE } from "../layout";

const PRIME_1: u64 = 0x9e3779b185ebca87;
const PRIME_2: u64 = 0xc2b2ae3d27d4eb4f;
const PRIME_3: u64 = 0x165667b19e3779f9;

let lane0: u64 = 0;
let lane1: u64 = 0;
let lane2: u64 = 0;
let lane3: u64 = 0;
let total: u64 = 0;

export function digestReset(): void {
  lane0 = PRIME_1 + PRIME_2;
  lane1 = PRIME_2;
  lane2 = PRIME_3;
  lane3 = ~PRIME_1;
  total = 0;
}

// @ts-ignore: decorator
@inline
function mix(lane: u64, word: u64): u64 {
  return rotl<u64>(lane + word * PRIME_2, 31) * PRIME_1;
}

/** Adds `length` bytes at a linear address; a tail of less than 32 bytes is padded with zeros (the length is mixed in too). */
export function digestUpdate(address: i32, length: i32): void {
  let at = <usize>(<u32>address);
  const end = at + (<usize>(<u32>length) & ~31);
  let a = lane0, b = lane1, c = lane2, d = lane3;
  for (; at < end; at += 32) {
    a = mix(a, load<u64>(at));
    b = mix(b, load<u64>(at, 8));
    c = mix(c, load<u64>(at, 16));
    d = mix(d, load<u64>(at, 24));
  }
  const rest = <u32>length & 31;
  for (let i: u32 = 0; i < rest; i++) a = mix(a, (<u64>load<u8>(at + i)) + 1);
  lane0 = a;
  lane1 = b;
  lane2 = c;
  lane3 = d;
  total += <u64>(<u32>length);
}

/** Adds the TLBs of `harts` harts with the cache flags masked out. */
export function digestTlb(harts: i32): void {
  const end: usize = TLB + <usize>harts * TLB_HART;
  for (let table: usize = TLB; table < end; table += TLB_TABLE) {
    for (let entry = table; entry < table + TLB_ENTRIES * 16; entry += 16) {
      const tag = load<u64>(entry);
      if (tag == ~(<u64>0)) continue;
      lane0 = mix(lane0, tag & ~(<u64>TLB_FLAG));
      lane1 = mix(lane1, <u64>load<u32>(entry, 8) + ((<u64>entry) << 32));
    }
  }
}

export function digestValue(lane: i32): i64 {
  let value = lane == 0 ? lane0 : lane == 1 ? lane1 : lane == 2 ? lane2 : lane3;
  value += total * PRIME_3 + rotl<u64>(lane0, 1) + rotl<u64>(lane1, 7) + rotl<u64>(lane2, 12) + rotl<u64>(lane3, 18);
  value = (value ^ (value >> 33)) * PRIME_2;
  value = (value ^ (value >> 29)) * PRIME_3;
  return <i64>(value ^ (value >> 32));
}
