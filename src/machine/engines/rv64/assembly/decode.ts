// Decoding: one instruction of 16 or 32 bits becomes one 8-byte slot.
//   bits 0-7: operation · bits 8-15: bytes of slot space to the next instruction (8 or 16) · bits 16-21: rd (32 stands for x0: a
//   register that nobody reads) · bits 22-26: rs1 · bits 27-31: rs2 · bits 32-63: immediate (branches within the page: already
//   scaled to slots; rare operations: the raw instruction)
import * as O from "./ops";

function slot(operation: u32, four: u32, rd: u32, rs1: u32, rs2: u32, immediate: i32): u64 {
  const destination = rd == 0 ? 32 : rd;
  return <u64>(operation | (2048 << four) | (destination << 16) | (rs1 << 22) | (rs2 << 27)) | ((<u64>(<u32>immediate)) << 32);
}

// @ts-ignore: decorator
@inline
function raw(operation: u32, four: u32, instruction: u32): u64 {
  return slot(operation, four, 0, 0, 0, <i32>instruction);
}

function signExtend(value: u32, bits: u32): i32 {
  return <i32>(value << (32 - bits)) >> (32 - bits);
}

/** Is the target `displacement` away from page offset `offset` in the same page? Then a slot address can be had by adding. */
// @ts-ignore: decorator
@inline
function near(offset: u32, displacement: i32): bool {
  return <u32>(<i32>offset + displacement) < 4096;
}

function jump(four: u32, rd: u32, offset: u32, displacement: i32): u64 {
  if (near(offset, displacement)) return slot(rd == 0 ? O.OP_JUMP : O.OP_JAL, four, rd, 0, 0, displacement << 2);
  return slot(rd == 0 ? O.OP_FAR_JUMP : O.OP_FAR_JAL, four, rd, 0, 0, displacement);
}

/** `condition`: 0 eq, 1 ne, 2 lt, 3 ge, 4 ltu, 5 geu. */
function branch(condition: u32, four: u32, rs1: u32, rs2: u32, offset: u32, displacement: i32): u64 {
  if (!near(offset, displacement)) return slot(O.OP_FAR_BEQ + condition, four, 0, rs1, rs2, displacement);
  if (rs2 == 0 && condition < 2) return slot(O.OP_BEQZ + condition, four, 0, rs1, 0, displacement << 2);
  return slot(O.OP_BEQ + condition, four, 0, rs1, rs2, displacement << 2);
}

function addImmediate(four: u32, rd: u32, rs1: u32, immediate: i32): u64 {
  if (rs1 == 0) return slot(O.OP_LI, four, rd, 0, 0, immediate);
  if (immediate == 0) return slot(O.OP_MV, four, rd, rs1, 0, 0);
  return slot(O.OP_ADDI, four, rd, rs1, 0, immediate);
}

/**
 * Decodes the 32-bit instruction at page offset `offset`. With an offset far outside a page no branch is near: used for instructions
 * that straddle two pages.
 */
export function decode32(i: u32, offset: u32): u64 {
  const rd = (i >> 7) & 31;
  const f3 = (i >> 12) & 7;
  const rs1 = (i >> 15) & 31;
  const rs2 = (i >> 20) & 31;
  const immediate = <i32>i >> 20;
  switch ((i >> 2) & 31) {
    case 0:
      if (f3 == 7) return raw(O.OP_ILLEGAL, 1, i);
      return slot(O.OP_LB + f3, 1, rd, rs1, 0, immediate);
    case 1:
      if (f3 != 2 && f3 != 3) return raw(O.OP_ILLEGAL, 1, i);
      return floatLoad(f3, 1, rd, rs1, immediate);
    case 3:
      return f3 <= 1 ? raw(O.OP_NOP, 1, i) : raw(O.OP_ILLEGAL, 1, i);
    case 4:
      return decodeImmediate(i, rd, f3, rs1, immediate);
    case 5:
      return slot(O.OP_AUIPC, 1, rd, 0, 0, <i32>(i & 0xfffff000));
    case 6:
      return decodeImmediateWord(i, rd, f3, rs1, immediate);
    case 8:
    case 9: {
      const displacement = ((<i32>i >> 25) << 5) | <i32>rd;
      if (((i >> 2) & 31) == 8) return f3 > 3 ? raw(O.OP_ILLEGAL, 1, i) : slot(O.OP_SB + f3, 1, 0, rs1, rs2, displacement);
      if (f3 != 2 && f3 != 3) return raw(O.OP_ILLEGAL, 1, i);
      return floatStore(f3, 1, rs1, rs2, displacement);
    }
    case 11:
      return f3 == 2 || f3 == 3 ? raw(O.OP_ATOMIC, 1, i) : raw(O.OP_ILLEGAL, 1, i);
    case 12:
      return decodeRegister(i, rd, f3, rs1, rs2);
    case 13:
      return slot(O.OP_LI, 1, rd, 0, 0, <i32>(i & 0xfffff000));
    case 14:
      return decodeRegisterWord(i, rd, f3, rs1, rs2);
    case 16:
    case 17:
    case 18:
    case 19:
    case 20:
      return raw(O.OP_FLOAT, 1, i);
    case 24: {
      if (f3 == 2 || f3 == 3) return raw(O.OP_ILLEGAL, 1, i);
      const displacement = ((<i32>i >> 31) << 12) | <i32>(((i >> 7) & 1) << 11) | <i32>(((i >> 25) & 63) << 5) | <i32>(((i >> 8) & 15) << 1);
      return branch(f3 < 2 ? f3 : f3 - 2, 1, rs1, rs2, offset, displacement);
    }
    case 25:
      if (f3 != 0) return raw(O.OP_ILLEGAL, 1, i);
      return slot(rd == 0 ? O.OP_JR : O.OP_JALR, 1, rd, rs1, 0, immediate);
    case 27: {
      const displacement = ((<i32>i >> 31) << 20) | <i32>(i & 0xff000) | <i32>(((i >> 20) & 1) << 11) | <i32>(((i >> 21) & 1023) << 1);
      return jump(1, rd, offset, displacement);
    }
    case 28:
      return decodeSystem(i, rd, f3, rs1);
    default:
      return raw(O.OP_ILLEGAL, 1, i);
  }
}

/** `rd` of a floating load names an f register: slot 0 is f0, not the bin. */
function floatLoad(f3: u32, four: u32, rd: u32, rs1: u32, immediate: i32): u64 {
  const operation = f3 == 2 ? O.OP_FLW : O.OP_FLD;
  return <u64>(operation | (2048 << four) | (rd << 16) | (rs1 << 22)) | ((<u64>(<u32>immediate)) << 32);
}

function floatStore(f3: u32, four: u32, rs1: u32, rs2: u32, immediate: i32): u64 {
  return slot(f3 == 2 ? O.OP_FSW : O.OP_FSD, four, 0, rs1, rs2, immediate);
}

function decodeImmediate(i: u32, rd: u32, f3: u32, rs1: u32, immediate: i32): u64 {
  const f6 = i >> 26;
  const shift = immediate & 63;
  switch (f3) {
    case 0:
      return rd == 0 ? raw(O.OP_NOP, 1, i) : addImmediate(1, rd, rs1, immediate);
    case 1:
      return f6 == 0 ? slot(O.OP_SLLI, 1, rd, rs1, 0, shift) : raw(O.OP_ILLEGAL, 1, i);
    case 2:
      return slot(O.OP_SLTI, 1, rd, rs1, 0, immediate);
    case 3:
      return slot(O.OP_SLTIU, 1, rd, rs1, 0, immediate);
    case 4:
      return slot(O.OP_XORI, 1, rd, rs1, 0, immediate);
    case 5:
      if (f6 == 0) return slot(O.OP_SRLI, 1, rd, rs1, 0, shift);
      return f6 == 16 ? slot(O.OP_SRAI, 1, rd, rs1, 0, shift) : raw(O.OP_ILLEGAL, 1, i);
    case 6:
      return slot(O.OP_ORI, 1, rd, rs1, 0, immediate);
    default:
      return slot(O.OP_ANDI, 1, rd, rs1, 0, immediate);
  }
}

function decodeImmediateWord(i: u32, rd: u32, f3: u32, rs1: u32, immediate: i32): u64 {
  const f7 = i >> 25;
  if (f3 == 0) return slot(O.OP_ADDIW, 1, rd, rs1, 0, immediate);
  if (f3 == 1 && f7 == 0) return slot(O.OP_SLLIW, 1, rd, rs1, 0, immediate & 31);
  if (f3 == 5 && f7 == 0) return slot(O.OP_SRLIW, 1, rd, rs1, 0, immediate & 31);
  if (f3 == 5 && f7 == 32) return slot(O.OP_SRAIW, 1, rd, rs1, 0, immediate & 31);
  return raw(O.OP_ILLEGAL, 1, i);
}

function decodeRegister(i: u32, rd: u32, f3: u32, rs1: u32, rs2: u32): u64 {
  const f7 = i >> 25;
  if (f7 == 1) return slot(O.OP_MUL + f3, 1, rd, rs1, rs2, 0);
  if (f7 == 32) {
    if (f3 == 0) return slot(O.OP_SUB, 1, rd, rs1, rs2, 0);
    return f3 == 5 ? slot(O.OP_SRA, 1, rd, rs1, rs2, 0) : raw(O.OP_ILLEGAL, 1, i);
  }
  if (f7 != 0) return raw(O.OP_ILLEGAL, 1, i);
  switch (f3) {
    case 0:
      return slot(O.OP_ADD, 1, rd, rs1, rs2, 0);
    case 1:
      return slot(O.OP_SLL, 1, rd, rs1, rs2, 0);
    case 2:
      return slot(O.OP_SLT, 1, rd, rs1, rs2, 0);
    case 3:
      return slot(O.OP_SLTU, 1, rd, rs1, rs2, 0);
    case 4:
      return slot(O.OP_XOR, 1, rd, rs1, rs2, 0);
    case 5:
      return slot(O.OP_SRL, 1, rd, rs1, rs2, 0);
    case 6:
      return slot(O.OP_OR, 1, rd, rs1, rs2, 0);
    default:
      return slot(O.OP_AND, 1, rd, rs1, rs2, 0);
  }
}

function decodeRegisterWord(i: u32, rd: u32, f3: u32, rs1: u32, rs2: u32): u64 {
  const f7 = i >> 25;
  if (f7 == 1) {
    if (f3 == 0) return slot(O.OP_MULW, 1, rd, rs1, rs2, 0);
    return f3 >= 4 ? slot(O.OP_DIVW + f3 - 4, 1, rd, rs1, rs2, 0) : raw(O.OP_ILLEGAL, 1, i);
  }
  if (f7 == 0) {
    if (f3 == 0) return slot(O.OP_ADDW, 1, rd, rs1, rs2, 0);
    if (f3 == 1) return slot(O.OP_SLLW, 1, rd, rs1, rs2, 0);
    if (f3 == 5) return slot(O.OP_SRLW, 1, rd, rs1, rs2, 0);
  } else if (f7 == 32) {
    if (f3 == 0) return slot(O.OP_SUBW, 1, rd, rs1, rs2, 0);
    if (f3 == 5) return slot(O.OP_SRAW, 1, rd, rs1, rs2, 0);
  }
  return raw(O.OP_ILLEGAL, 1, i);
}

function decodeSystem(i: u32, rd: u32, f3: u32, rs1: u32): u64 {
  if (f3 == 4) return raw(O.OP_ILLEGAL, 1, i);
  if (f3 != 0) return raw(O.OP_CSR, 1, i);
  if (i == 0x00000073) return raw(O.OP_ECALL, 1, i);
  if (i == 0x00100073) return raw(O.OP_EBREAK, 1, i);
  if (rd != 0) return raw(O.OP_ILLEGAL, 1, i);
  const isFence = i >> 25 == 9;
  const isOther = rs1 == 0 && (i == 0x30200073 || i == 0x10200073 || i == 0x10500073);
  return isFence || isOther ? raw(O.OP_SYSTEM, 1, i) : raw(O.OP_ILLEGAL, 1, i);
}

/** Decodes the 16-bit instruction at page offset `offset`. */
export function decode16(c: u32, offset: u32): u64 {
  switch (c & 3) {
    case 0:
      return decodeQuadrant0(c);
    case 1:
      return decodeQuadrant1(c, offset);
    default:
      return decodeQuadrant2(c);
  }
}

function decodeQuadrant0(c: u32): u64 {
  const f3 = c >> 13;
  const rs1 = ((c >> 7) & 7) + 8;
  const rd = ((c >> 2) & 7) + 8;
  const word = (((c >> 10) & 7) << 3) | (((c >> 6) & 1) << 2) | (((c >> 5) & 1) << 6);
  const double = (((c >> 10) & 7) << 3) | (((c >> 5) & 3) << 6);
  switch (f3) {
    case 0: {
      const immediate = (((c >> 7) & 15) << 6) | (((c >> 11) & 3) << 4) | (((c >> 5) & 1) << 3) | (((c >> 6) & 1) << 2);
      return immediate == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_ADDI, 0, rd, 2, 0, immediate);
    }
    case 1:
      return floatLoad(3, 0, rd, rs1, double);
    case 2:
      return slot(O.OP_LW, 0, rd, rs1, 0, word);
    case 3:
      return slot(O.OP_LD, 0, rd, rs1, 0, double);
    case 5:
      return floatStore(3, 0, rs1, rd, double);
    case 6:
      return slot(O.OP_SW, 0, 0, rs1, rd, word);
    case 7:
      return slot(O.OP_SD, 0, 0, rs1, rd, double);
    default:
      return raw(O.OP_ILLEGAL, 0, c);
  }
}

function decodeQuadrant1(c: u32, offset: u32): u64 {
  const rd = (c >> 7) & 31;
  const shift = (((c >> 12) & 1) << 5) | ((c >> 2) & 31);
  const immediate = signExtend(shift, 6);
  switch (c >> 13) {
    case 0:
      return rd == 0 ? raw(O.OP_NOP, 0, c) : addImmediate(0, rd, rd, immediate);
    case 1:
      return rd == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_ADDIW, 0, rd, rd, 0, immediate);
    case 2:
      return slot(O.OP_LI, 0, rd, 0, 0, immediate);
    case 3:
      return decodeUpper(c, rd, immediate);
    case 4:
      return decodeArithmetic(c, shift, immediate);
    case 5: {
      const bits =
        (((c >> 12) & 1) << 11) | (((c >> 11) & 1) << 4) | (((c >> 9) & 3) << 8) | (((c >> 8) & 1) << 10) |
        (((c >> 7) & 1) << 6) | (((c >> 6) & 1) << 7) | (((c >> 3) & 7) << 1) | (((c >> 2) & 1) << 5);
      return jump(0, 0, offset, signExtend(bits, 12));
    }
    default: {
      const bits = (((c >> 12) & 1) << 8) | (((c >> 10) & 3) << 3) | (((c >> 5) & 3) << 6) | (((c >> 3) & 3) << 1) | (((c >> 2) & 1) << 5);
      return branch((c >> 13) - 6, 0, ((c >> 7) & 7) + 8, 0, offset, signExtend(bits, 9));
    }
  }
}

function decodeUpper(c: u32, rd: u32, immediate: i32): u64 {
  if (rd == 2) {
    const bits = (((c >> 12) & 1) << 9) | (((c >> 3) & 3) << 7) | (((c >> 5) & 1) << 6) | (((c >> 2) & 1) << 5) | (((c >> 6) & 1) << 4);
    return bits == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_ADDI, 0, 2, 2, 0, signExtend(bits, 10));
  }
  return immediate == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_LI, 0, rd, 0, 0, immediate << 12);
}

function decodeArithmetic(c: u32, shift: u32, immediate: i32): u64 {
  const rd = ((c >> 7) & 7) + 8;
  const rs2 = ((c >> 2) & 7) + 8;
  switch ((c >> 10) & 3) {
    case 0:
      return slot(O.OP_SRLI, 0, rd, rd, 0, shift);
    case 1:
      return slot(O.OP_SRAI, 0, rd, rd, 0, shift);
    case 2:
      return slot(O.OP_ANDI, 0, rd, rd, 0, immediate);
    default:
      break;
  }
  switch ((((c >> 12) & 1) << 2) | ((c >> 5) & 3)) {
    case 0:
      return slot(O.OP_SUB, 0, rd, rd, rs2, 0);
    case 1:
      return slot(O.OP_XOR, 0, rd, rd, rs2, 0);
    case 2:
      return slot(O.OP_OR, 0, rd, rd, rs2, 0);
    case 3:
      return slot(O.OP_AND, 0, rd, rd, rs2, 0);
    case 4:
      return slot(O.OP_SUBW, 0, rd, rd, rs2, 0);
    case 5:
      return slot(O.OP_ADDW, 0, rd, rd, rs2, 0);
    default:
      return raw(O.OP_ILLEGAL, 0, c);
  }
}

function decodeQuadrant2(c: u32): u64 {
  const rd = (c >> 7) & 31;
  const rs2 = (c >> 2) & 31;
  const high = (c >> 12) & 1;
  const wordLoad = (((c >> 4) & 7) << 2) | (high << 5) | (((c >> 2) & 3) << 6);
  const doubleLoad = (((c >> 5) & 3) << 3) | (high << 5) | (((c >> 2) & 7) << 6);
  const doubleStore = (((c >> 10) & 7) << 3) | (((c >> 7) & 7) << 6);
  switch (c >> 13) {
    case 0:
      return slot(O.OP_SLLI, 0, rd, rd, 0, (high << 5) | rs2);
    case 1:
      return floatLoad(3, 0, rd, 2, doubleLoad);
    case 2:
      return rd == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_LW, 0, rd, 2, 0, wordLoad);
    case 3:
      return rd == 0 ? raw(O.OP_ILLEGAL, 0, c) : slot(O.OP_LD, 0, rd, 2, 0, doubleLoad);
    case 4:
      return decodeMove(c, rd, rs2, high);
    case 5:
      return floatStore(3, 0, 2, rs2, doubleStore);
    case 6:
      return slot(O.OP_SW, 0, 0, 2, rs2, (((c >> 9) & 15) << 2) | (((c >> 7) & 3) << 6));
    default:
      return slot(O.OP_SD, 0, 0, 2, rs2, doubleStore);
  }
}

function decodeMove(c: u32, rd: u32, rs2: u32, high: u32): u64 {
  if (rs2 != 0) return high == 0 ? slot(O.OP_MV, 0, rd, rs2, 0, 0) : slot(O.OP_ADD, 0, rd, rd, rs2, 0);
  if (rd == 0) return raw(high == 0 ? O.OP_ILLEGAL : O.OP_EBREAK, 0, c);
  return high == 0 ? slot(O.OP_JR, 0, 0, rd, 0, 0) : slot(O.OP_JALR, 0, 1, rd, 0, 0);
}
