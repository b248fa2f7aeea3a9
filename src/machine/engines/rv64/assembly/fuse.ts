// Which pairs of operations the interpreter runs with one dispatch: the most frequent neighbours of a kernel boot and a redis load,
// the first of which cannot trap.
import * as O from "./ops";

/** The operation that does `first` and then `second`, or `first` if there is none. */
export function fused(first: u32, second: u32): u32 {
  switch (first) {
    case O.OP_SLLI:
      if (second == O.OP_ADD) return O.OP_SLLI_ADD;
      if (second == O.OP_SRLI) return O.OP_SLLI_SRLI;
      return first;
    case O.OP_AUIPC:
      if (second == O.OP_LD) return O.OP_AUIPC_LD;
      if (second == O.OP_ADDI) return O.OP_AUIPC_ADDI;
      return first;
    case O.OP_ANDI:
      if (second == O.OP_BNEZ) return O.OP_ANDI_BNEZ;
      if (second == O.OP_BEQZ) return O.OP_ANDI_BEQZ;
      return first;
    case O.OP_SRL:
      if (second == O.OP_ANDI) return O.OP_SRL_ANDI;
      return first;
    case O.OP_ADD:
      if (second == O.OP_LD) return O.OP_ADD_LD;
      if (second == O.OP_LBU) return O.OP_ADD_LBU;
      return first;
    case O.OP_ADDI:
      if (second == O.OP_BNEZ) return O.OP_ADDI_BNEZ;
      if (second == O.OP_BLTU) return O.OP_ADDI_BLTU;
      if (second == O.OP_BNE) return O.OP_ADDI_BNE;
      if (second == O.OP_ADD) return O.OP_ADDI_ADD;
      if (second == O.OP_LD) return O.OP_ADDI_LD;
      return first;
    case O.OP_SRLI:
      if (second == O.OP_ANDI) return O.OP_SRLI_ANDI;
      return first;
    case O.OP_MV:
      if (second == O.OP_MV) return O.OP_MV_MV;
      return first;
    default:
      return first;
  }
}
