// The interpreter's inner loop. One big switch over decoded slots: the price of every instruction is one slot load, one
// indirect jump and its work. Written flat on purpose (the house limit of 70 lines a function does not suit a switch that is a
// table): everything rare is a call into the other files.
import { ACTIVE, H_F, H_MSTATUS, H_PC, H_X, SCRATCH, TLB_TABLE } from "../layout";
import { executeAtomic } from "./atomics";
import { decodeSlot, fetchStraddling, findCodePage, rawInstruction, straddling } from "./codepages";
import { CSR_ILLEGAL, CSR_RECHECK, executeCsr } from "./csr";
import { executeFloat } from "./floating";
import { dataTables, entryOffset, executeCache, executeTable, slowRead, slowWrite, STORE_DEVICE, STORE_FAULT } from "./memory";
import * as O from "./ops";
import * as S from "./state";
import { executeEcall, executeSystem } from "./system";

const PAGE: u64 = ~(<u64>0xfff);
/** What of an address must match the TLB tag: the page, and the low bits that a misaligned access of that size has set. */
const MASK_1: u64 = PAGE;
const MASK_2: u64 = PAGE | 1;
const MASK_4: u64 = PAGE | 3;
const MASK_8: u64 = PAGE | 7;
/** Three slots in scratch memory where an instruction that straddles two pages is executed. */
const STRADDLE_SLOT: usize = SCRATCH + 64;
/** A slot whose operation is to look up the code page of `target`: where jumps go that miss the quick look-up. */
const FAR_SLOT: usize = SCRATCH + 128;

// @ts-ignore: decorator
@inline
function reg(shifted: u64): i64 {
  return load<i64>(<usize>(<u32>shifted & 0xf8), ACTIVE + H_X);
}
// @ts-ignore: decorator
@inline
function freg(shifted: u64): u64 {
  return load<u64>(<usize>(<u32>shifted & 0xf8), ACTIVE + H_F);
}
// @ts-ignore: decorator
@inline
function setReg(ins: u64, value: i64): void {
  store<i64>(<usize>(<u32>(ins >> 13) & 0x1f8), value, ACTIVE + H_X);
}
// @ts-ignore: decorator
@inline
function setFloat(ins: u64, value: u64): void {
  store<u64>(<usize>(<u32>(ins >> 13) & 0xf8), value, ACTIVE + H_F);
  store<u64>(ACTIVE + H_MSTATUS, load<u64>(ACTIVE + H_MSTATUS) | S.STATUS_FS);
}
// @ts-ignore: decorator
@inline
function immediate(ins: u64): i64 {
  return <i64>ins >> 32;
}
/** Bytes of slot space that the instruction takes. */
// @ts-ignore: decorator
@inline
function step(ins: u64): usize {
  return <usize>(<u32>(ins >> 8) & 0x18);
}
// @ts-ignore: decorator
@inline
function nearTarget(p: usize, ins: u64): usize {
  return p + <usize>(<u32>(ins >> 32));
}
// @ts-ignore: decorator
@inline
function pcOf(bias: u64, p: usize): u64 {
  return bias + <u64>(p >> 2);
}
// @ts-ignore: decorator
@inline
function floatOn(): bool {
  return (load<u64>(ACTIVE + H_MSTATUS) & S.STATUS_FS) != 0;
}

/** The decoded page of a target whose page is in the execute table and was looked up before; 0 sends it the slow way. */
// @ts-ignore: decorator
@inline
function lookUp(table: usize, cache: usize, target: u64): usize {
  const entry = entryOffset(target);
  return load<u64>(table + entry) == (target & PAGE) ? load<u32>(cache + (entry >> 2)) : 0;
}

/** Ends the chunk with the program counter at slot `p`. */
function leave(bias: u64, p: usize, done: i64): i64 {
  S.put(H_PC, pcOf(bias, p));
  return done;
}
/** Ends the chunk at an instruction that has raised a trap (see state.ts). */
function fault(bias: u64, p: usize, done: i64): i64 {
  return leave(bias, p, done);
}
function illegal(bias: u64, p: usize, done: i64): i64 {
  const pc = pcOf(bias, p);
  S.raise(S.CAUSE_ILLEGAL, rawInstruction(pc));
  return leave(bias, p, done);
}

function mulhu(a: u64, b: u64): u64 {
  const aLow = a & 0xffffffff, aHigh = a >> 32, bLow = b & 0xffffffff, bHigh = b >> 32;
  const low = aLow * bLow;
  const middle = aHigh * bLow + (low >> 32);
  const other = aLow * bHigh + (middle & 0xffffffff);
  return aHigh * bHigh + (middle >> 32) + (other >> 32);
}
function mulh(a: i64, b: i64): i64 {
  return <i64>mulhu(<u64>a, <u64>b) - (a < 0 ? b : 0) - (b < 0 ? a : 0);
}
function mulhsu(a: i64, b: i64): i64 {
  return <i64>mulhu(<u64>a, <u64>b) - (a < 0 ? b : 0);
}
function div(a: i64, b: i64): i64 {
  if (b == 0) return -1;
  return b == -1 ? -a : a / b;
}
function rem(a: i64, b: i64): i64 {
  if (b == 0) return a;
  return b == -1 ? 0 : a % b;
}
function divw(a: i32, b: i32): i64 {
  if (b == 0) return -1;
  const quotient: i32 = b == -1 ? -a : a / b;
  return <i64>quotient;
}
function remw(a: i32, b: i32): i64 {
  if (b == 0) return <i64>a;
  return b == -1 ? 0 : <i64>(a % b);
}

/**
 * Runs the active hart from H_PC for at most `limit` instructions, without looking at interrupts. Returns how many it ran; H_PC
 * is where to go on. A trap raised by the last instruction waits in state.ts; that instruction is counted (so that a guest
 * whose trap handler traps still uses up its budget) but has not retired.
 */
export function interpret(limit: i64): i64 {
  let n: i64 = limit;
  let tables = dataTables;
  const codeTable = executeTable;
  const codeCache = executeCache;
  let target = S.get(H_PC);
  let p: usize = FAR_SLOT;
  let bias: u64 = 0;
  store<u64>(FAR_SLOT, <u64>O.OP_FAR);
  while (n > 0) {
    let ins = load<u64>(p);
    n--;
    switch (<u32>ins & 0xff) {
      case O.OP_UNDECODED:
        decodeSlot(p);
        n++;
        continue;
      case O.OP_NEXT_PAGE:
        n++;
        target = pcOf(bias, p);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR: {
        n++;
        let decoded: usize = lookUp(codeTable, codeCache, target);
        if (decoded == 0) decoded = findCodePage(target);
        if (decoded == 0) {
          S.put(H_PC, target);
          return limit - n + 1;
        }
        bias = (target & PAGE) - <u64>(decoded >> 2);
        p = decoded + ((<usize>target & 0xffe) << 2);
        continue;
      }
      case O.OP_CROSS: {
        n++;
        const pc = pcOf(bias, p);
        if (!fetchStraddling(pc)) return fault(bias, p, limit - n + 1);
        store<u64>(STRADDLE_SLOT, straddling);
        store<u64>(STRADDLE_SLOT, <u64>O.OP_NEXT_PAGE, 16);
        p = STRADDLE_SLOT;
        bias = pc - <u64>(p >> 2);
        continue;
      }
      case O.OP_ILLEGAL:
        S.raise(S.CAUSE_ILLEGAL, ins >> 32);
        return leave(bias, p, limit - n);
      case O.OP_NOP:
        break;
      case O.OP_LI:
        setReg(ins, immediate(ins));
        break;
      case O.OP_AUIPC:
        setReg(ins, <i64>pcOf(bias, p) + immediate(ins));
        break;
      case O.OP_MV:
        setReg(ins, reg(ins >> 19));
        break;
      case O.OP_ADDI:
        setReg(ins, reg(ins >> 19) + immediate(ins));
        break;
      case O.OP_SLTI:
        setReg(ins, i64(reg(ins >> 19) < immediate(ins)));
        break;
      case O.OP_SLTIU:
        setReg(ins, i64(<u64>reg(ins >> 19) < <u64>immediate(ins)));
        break;
      case O.OP_XORI:
        setReg(ins, reg(ins >> 19) ^ immediate(ins));
        break;
      case O.OP_ORI:
        setReg(ins, reg(ins >> 19) | immediate(ins));
        break;
      case O.OP_ANDI:
        setReg(ins, reg(ins >> 19) & immediate(ins));
        break;
      case O.OP_SLLI:
        setReg(ins, reg(ins >> 19) << immediate(ins));
        break;
      case O.OP_SRLI:
        setReg(ins, <i64>(<u64>reg(ins >> 19) >> <u64>immediate(ins)));
        break;
      case O.OP_SRAI:
        setReg(ins, reg(ins >> 19) >> immediate(ins));
        break;
      case O.OP_ADDIW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) + <i32>immediate(ins)));
        break;
      case O.OP_SLLIW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) << <i32>immediate(ins)));
        break;
      case O.OP_SRLIW:
        setReg(ins, <i64><i32>(<u32>reg(ins >> 19) >> <u32>immediate(ins)));
        break;
      case O.OP_SRAIW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) >> <i32>immediate(ins)));
        break;
      case O.OP_ADD:
        setReg(ins, reg(ins >> 19) + reg(ins >> 24));
        break;
      case O.OP_SUB:
        setReg(ins, reg(ins >> 19) - reg(ins >> 24));
        break;
      case O.OP_SLL:
        setReg(ins, reg(ins >> 19) << reg(ins >> 24));
        break;
      case O.OP_SLT:
        setReg(ins, i64(reg(ins >> 19) < reg(ins >> 24)));
        break;
      case O.OP_SLTU:
        setReg(ins, i64(<u64>reg(ins >> 19) < <u64>reg(ins >> 24)));
        break;
      case O.OP_XOR:
        setReg(ins, reg(ins >> 19) ^ reg(ins >> 24));
        break;
      case O.OP_SRL:
        setReg(ins, <i64>(<u64>reg(ins >> 19) >> <u64>reg(ins >> 24)));
        break;
      case O.OP_SRA:
        setReg(ins, reg(ins >> 19) >> reg(ins >> 24));
        break;
      case O.OP_OR:
        setReg(ins, reg(ins >> 19) | reg(ins >> 24));
        break;
      case O.OP_AND:
        setReg(ins, reg(ins >> 19) & reg(ins >> 24));
        break;
      case O.OP_ADDW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) + <i32>reg(ins >> 24)));
        break;
      case O.OP_SUBW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) - <i32>reg(ins >> 24)));
        break;
      case O.OP_SLLW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) << <i32>reg(ins >> 24)));
        break;
      case O.OP_SRLW:
        setReg(ins, <i64><i32>(<u32>reg(ins >> 19) >> <u32>reg(ins >> 24)));
        break;
      case O.OP_SRAW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) >> <i32>reg(ins >> 24)));
        break;
      case O.OP_MUL:
        setReg(ins, reg(ins >> 19) * reg(ins >> 24));
        break;
      case O.OP_MULW:
        setReg(ins, <i64>(<i32>reg(ins >> 19) * <i32>reg(ins >> 24)));
        break;
      case O.OP_MULH:
        setReg(ins, mulh(reg(ins >> 19), reg(ins >> 24)));
        break;
      case O.OP_MULHSU:
        setReg(ins, mulhsu(reg(ins >> 19), reg(ins >> 24)));
        break;
      case O.OP_MULHU:
        setReg(ins, <i64>mulhu(<u64>reg(ins >> 19), <u64>reg(ins >> 24)));
        break;
      case O.OP_DIV:
        setReg(ins, div(reg(ins >> 19), reg(ins >> 24)));
        break;
      case O.OP_DIVU:
        setReg(ins, reg(ins >> 24) == 0 ? -1 : <i64>(<u64>reg(ins >> 19) / <u64>reg(ins >> 24)));
        break;
      case O.OP_REM:
        setReg(ins, rem(reg(ins >> 19), reg(ins >> 24)));
        break;
      case O.OP_REMU:
        setReg(ins, reg(ins >> 24) == 0 ? reg(ins >> 19) : <i64>(<u64>reg(ins >> 19) % <u64>reg(ins >> 24)));
        break;
      case O.OP_DIVW:
        setReg(ins, divw(<i32>reg(ins >> 19), <i32>reg(ins >> 24)));
        break;
      case O.OP_DIVUW:
        setReg(ins, <u32>reg(ins >> 24) == 0 ? -1 : <i64><i32>(<u32>reg(ins >> 19) / <u32>reg(ins >> 24)));
        break;
      case O.OP_REMW:
        setReg(ins, remw(<i32>reg(ins >> 19), <i32>reg(ins >> 24)));
        break;
      case O.OP_REMUW:
        setReg(ins, <u32>reg(ins >> 24) == 0 ? <i64><i32>reg(ins >> 19) : <i64><i32>(<u32>reg(ins >> 19) % <u32>reg(ins >> 24)));
        break;
      case O.OP_LB: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_1)) {
          setReg(ins, <i64>load<i8>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 1);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<i8>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_LH: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_2)) {
          setReg(ins, <i64>load<i16>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 2);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<i16>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_LW: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_4)) {
          setReg(ins, <i64>load<i32>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 4);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<i32>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_LD:
        // Loads and stores of registers come in runs (function entry and exit, copies): stay here while they do.
        while (true) {
          const address = <u64>(reg(ins >> 19) + immediate(ins));
          const entry = tables + entryOffset(address);
          if (load<u64>(entry) == (address & MASK_8)) {
            setReg(ins, load<i64>(<usize>(load<u32>(entry, 8) + <u32>address)));
          } else {
            const host = slowRead(address, 8);
            if (host == 0) return fault(bias, p, limit - n);
            setReg(ins, load<i64>(host));
            if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
          }
          p += step(ins);
          ins = load<u64>(p);
          if ((<u32>ins & 0xff) != O.OP_LD || n == 0) break;
          n--;
        }
        continue;
      case O.OP_LBU: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_1)) {
          setReg(ins, <i64>load<u8>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 1);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<u8>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_LHU: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_2)) {
          setReg(ins, <i64>load<u16>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 2);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<u16>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_LWU: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_4)) {
          setReg(ins, <i64>load<u32>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 4);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<u32>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_SB: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + TLB_TABLE + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_1)) {
          store<u8>(<usize>(load<u32>(entry, 8) + <u32>address), <u8>reg(ins >> 24));
          break;
        }
        const done = slowWrite(address, 1, <u64>reg(ins >> 24));
        if (done == STORE_FAULT) return fault(bias, p, limit - n);
        if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_SH: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + TLB_TABLE + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_2)) {
          store<u16>(<usize>(load<u32>(entry, 8) + <u32>address), <u16>reg(ins >> 24));
          break;
        }
        const done = slowWrite(address, 2, <u64>reg(ins >> 24));
        if (done == STORE_FAULT) return fault(bias, p, limit - n);
        if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_SW: {
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + TLB_TABLE + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_4)) {
          store<u32>(<usize>(load<u32>(entry, 8) + <u32>address), <u32>reg(ins >> 24));
          break;
        }
        const done = slowWrite(address, 4, <u64>reg(ins >> 24));
        if (done == STORE_FAULT) return fault(bias, p, limit - n);
        if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_SD:
        while (true) {
          const address = <u64>(reg(ins >> 19) + immediate(ins));
          const entry = tables + TLB_TABLE + entryOffset(address);
          if (load<u64>(entry) == (address & MASK_8)) {
            store<u64>(<usize>(load<u32>(entry, 8) + <u32>address), <u64>reg(ins >> 24));
          } else {
            const done = slowWrite(address, 8, <u64>reg(ins >> 24));
            if (done == STORE_FAULT) return fault(bias, p, limit - n);
            if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
          }
          p += step(ins);
          ins = load<u64>(p);
          if ((<u32>ins & 0xff) != O.OP_SD || n == 0) break;
          n--;
        }
        continue;
      case O.OP_FLW: {
        if (!floatOn()) return illegal(bias, p, limit - n);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_4)) {
          setFloat(ins, 0xffffffff00000000 | <u64>load<u32>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 4);
        if (host == 0) return fault(bias, p, limit - n);
        setFloat(ins, 0xffffffff00000000 | <u64>load<u32>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_FLD: {
        if (!floatOn()) return illegal(bias, p, limit - n);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_8)) {
          setFloat(ins, load<u64>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 8);
        if (host == 0) return fault(bias, p, limit - n);
        setFloat(ins, load<u64>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_FSW: {
        if (!floatOn()) return illegal(bias, p, limit - n);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + TLB_TABLE + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_4)) {
          store<u32>(<usize>(load<u32>(entry, 8) + <u32>address), <u32>freg(ins >> 24));
          break;
        }
        const done = slowWrite(address, 4, <u64>freg(ins >> 24));
        if (done == STORE_FAULT) return fault(bias, p, limit - n);
        if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_FSD: {
        if (!floatOn()) return illegal(bias, p, limit - n);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + TLB_TABLE + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_8)) {
          store<u64>(<usize>(load<u32>(entry, 8) + <u32>address), <u64>freg(ins >> 24));
          break;
        }
        const done = slowWrite(address, 8, <u64>freg(ins >> 24));
        if (done == STORE_FAULT) return fault(bias, p, limit - n);
        if (done == STORE_DEVICE) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_BEQ:
        if (reg(ins >> 19) == reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BNE:
        if (reg(ins >> 19) != reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BLT:
        if (reg(ins >> 19) < reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BGE:
        if (reg(ins >> 19) >= reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BLTU:
        if (<u64>reg(ins >> 19) < <u64>reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BGEU:
        if (<u64>reg(ins >> 19) >= <u64>reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BEQZ:
        if (reg(ins >> 19) == 0) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_BNEZ:
        if (reg(ins >> 19) != 0) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      case O.OP_FAR_BEQ:
        if (!(reg(ins >> 19) == reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR_BNE:
        if (!(reg(ins >> 19) != reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR_BLT:
        if (!(reg(ins >> 19) < reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR_BGE:
        if (!(reg(ins >> 19) >= reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR_BLTU:
        if (!(<u64>reg(ins >> 19) < <u64>reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      case O.OP_FAR_BGEU:
        if (!(<u64>reg(ins >> 19) >= <u64>reg(ins >> 24))) break;
        target = pcOf(bias, p) + <u64>immediate(ins);
        p = FAR_SLOT;
        continue;
      // Fused pairs: the second instruction's slot is decoded too (fuse in codepages.ts); it runs without a dispatch of its own.
      case O.OP_SLLI_ADD: {
        setReg(ins, reg(ins >> 19) << immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19) + reg(ins >> 24));
        break;
      }
      case O.OP_AUIPC_LD: {
        setReg(ins, <i64>pcOf(bias, p) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_8)) {
          setReg(ins, load<i64>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 8);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, load<i64>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_AUIPC_ADDI: {
        setReg(ins, <i64>pcOf(bias, p) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19) + immediate(ins));
        break;
      }
      case O.OP_ANDI_BNEZ: {
        setReg(ins, reg(ins >> 19) & immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        if (reg(ins >> 19) != 0) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      }
      case O.OP_ANDI_BEQZ: {
        setReg(ins, reg(ins >> 19) & immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        if (reg(ins >> 19) == 0) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      }
      case O.OP_SRL_ANDI: {
        setReg(ins, <i64>(<u64>reg(ins >> 19) >> <u64>reg(ins >> 24)));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19) & immediate(ins));
        break;
      }
      case O.OP_ADD_LD: {
        setReg(ins, reg(ins >> 19) + reg(ins >> 24));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_8)) {
          setReg(ins, load<i64>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 8);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, load<i64>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_ADD_LBU: {
        setReg(ins, reg(ins >> 19) + reg(ins >> 24));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_1)) {
          setReg(ins, <i64>load<u8>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 1);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, <i64>load<u8>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_ADDI_BNEZ: {
        setReg(ins, reg(ins >> 19) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        if (reg(ins >> 19) != 0) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      }
      case O.OP_ADDI_BLTU: {
        setReg(ins, reg(ins >> 19) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        if (<u64>reg(ins >> 19) < <u64>reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      }
      case O.OP_ADDI_BNE: {
        setReg(ins, reg(ins >> 19) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        if (reg(ins >> 19) != reg(ins >> 24)) {
          p = nearTarget(p, ins);
          continue;
        }
        break;
      }
      case O.OP_ADDI_ADD: {
        setReg(ins, reg(ins >> 19) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19) + reg(ins >> 24));
        break;
      }
      case O.OP_ADDI_LD: {
        setReg(ins, reg(ins >> 19) + immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        const address = <u64>(reg(ins >> 19) + immediate(ins));
        const entry = tables + entryOffset(address);
        if (load<u64>(entry) == (address & MASK_8)) {
          setReg(ins, load<i64>(<usize>(load<u32>(entry, 8) + <u32>address)));
          break;
        }
        const host = slowRead(address, 8);
        if (host == 0) return fault(bias, p, limit - n);
        setReg(ins, load<i64>(host));
        if (host == SCRATCH) return leave(bias, p + step(ins), limit - n);
        break;
      }
      case O.OP_SRLI_ANDI: {
        setReg(ins, <i64>(<u64>reg(ins >> 19) >> <u64>immediate(ins)));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19) & immediate(ins));
        break;
      }
      case O.OP_SLLI_SRLI: {
        setReg(ins, reg(ins >> 19) << immediate(ins));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, <i64>(<u64>reg(ins >> 19) >> <u64>immediate(ins)));
        break;
      }
      case O.OP_MV_MV: {
        setReg(ins, reg(ins >> 19));
        p += step(ins);
        if (n == 0) continue;
        n--;
        ins = load<u64>(p);
        setReg(ins, reg(ins >> 19));
        break;
      }
      case O.OP_JUMP:
        p = nearTarget(p, ins);
        continue;
      case O.OP_JAL:
        setReg(ins, <i64>pcOf(bias, p + step(ins)));
        p = nearTarget(p, ins);
        continue;
      case O.OP_FAR_JUMP: {
        target = pcOf(bias, p) + <u64>immediate(ins);
        const decoded = lookUp(codeTable, codeCache, target);
        if (decoded != 0) {
          bias = (target & PAGE) - <u64>(decoded >> 2);
          p = decoded + ((<usize>target & 0xffe) << 2);
        } else p = FAR_SLOT;
        continue;
      }
      case O.OP_FAR_JAL: {
        setReg(ins, <i64>pcOf(bias, p + step(ins)));
        target = pcOf(bias, p) + <u64>immediate(ins);
        const decoded = lookUp(codeTable, codeCache, target);
        if (decoded != 0) {
          bias = (target & PAGE) - <u64>(decoded >> 2);
          p = decoded + ((<usize>target & 0xffe) << 2);
        } else p = FAR_SLOT;
        continue;
      }
      case O.OP_JALR: {
        const to = <u64>(reg(ins >> 19) + immediate(ins)) & ~(<u64>1);
        setReg(ins, <i64>pcOf(bias, p + step(ins)));
        target = to;
        const decoded = lookUp(codeTable, codeCache, target);
        if (decoded != 0) {
          bias = (target & PAGE) - <u64>(decoded >> 2);
          p = decoded + ((<usize>target & 0xffe) << 2);
        } else p = FAR_SLOT;
        continue;
      }
      case O.OP_JR: {
        target = <u64>(reg(ins >> 19) + immediate(ins)) & ~(<u64>1);
        const decoded = lookUp(codeTable, codeCache, target);
        if (decoded != 0) {
          bias = (target & PAGE) - <u64>(decoded >> 2);
          p = decoded + ((<usize>target & 0xffe) << 2);
        } else p = FAR_SLOT;
        continue;
      }
      case O.OP_FLOAT:
        if (!executeFloat(<u32>(ins >> 32))) return fault(bias, p, limit - n);
        break;
      case O.OP_ATOMIC:
        if (!executeAtomic(<u32>(ins >> 32))) return fault(bias, p, limit - n);
        break;
      case O.OP_CSR: {
        S.setChunkDone(limit - n - 1);
        const done = executeCsr(<u32>(ins >> 32));
        S.setChunkDone(0);
        if (done == CSR_ILLEGAL) {
          S.raise(S.CAUSE_ILLEGAL, ins >> 32);
          return leave(bias, p, limit - n);
        }
        if (done == CSR_RECHECK) return leave(bias, p + step(ins), limit - n);
        tables = dataTables;
        break;
      }
      case O.OP_ECALL:
        S.put(H_PC, pcOf(bias, p));
        executeEcall();
        return limit - n;
      case O.OP_EBREAK:
        S.raise(S.CAUSE_BREAKPOINT, pcOf(bias, p));
        return leave(bias, p, limit - n);
      case O.OP_SYSTEM:
        S.put(H_PC, pcOf(bias, p));
        executeSystem(<u32>(ins >> 32));
        return limit - n;
      default:
        unreachable();
    }
    p += step(ins);
  }
  S.put(H_PC, p == FAR_SLOT ? target : pcOf(bias, p));
  return limit - n;
}
