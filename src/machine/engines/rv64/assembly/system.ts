// ECALL and the privileged instructions. Each leaves H_PC where to go on, or raises a trap with H_PC at the instruction.
import { G_DIRECT, H_MHARTID, H_MSTATUS, H_PC, H_PRIV, H_WFI } from "../layout";
import { sbiCall } from "./board";
import { flushTlb, flushTlbAddress } from "./memory";
import * as S from "./state";
import { machineReturn, supervisorReturn } from "./trap";

function next(): void {
  S.put(H_PC, S.get(H_PC) + 4);
}

export function executeEcall(): void {
  const privilege = S.get(H_PRIV);
  if (<i64>privilege == S.PRIV_S && load<u64>(G_DIRECT) != 0) {
    // The engine is the firmware: the board answers in a0 and a1.
    next();
    sbiCall(<i32>S.get(H_MHARTID));
    return;
  }
  S.raise(S.CAUSE_ECALL_U + privilege, 0);
}

export function executeSystem(instruction: u32): void {
  if (!execute(instruction)) S.raise(S.CAUSE_ILLEGAL, instruction);
}

function execute(instruction: u32): bool {
  const privilege = <i64>S.get(H_PRIV);
  const status = S.get(H_MSTATUS);
  if (privilege == S.PRIV_U) return false;
  const isSupervisor = privilege == S.PRIV_S;
  if (instruction == 0x30200073) {
    if (isSupervisor) return false;
    machineReturn();
    return true;
  }
  if (instruction == 0x10200073) {
    if (isSupervisor && (status & S.STATUS_TSR) != 0) return false;
    supervisorReturn();
    return true;
  }
  if (instruction == 0x10500073) {
    if (isSupervisor && (status & S.STATUS_TW) != 0) return false;
    S.put(H_WFI, 1);
    next();
    return true;
  }
  if (isSupervisor && (status & S.STATUS_TVM) != 0) return false;
  if (((instruction >> 15) & 31) == 0) flushTlb(<i32>S.get(H_MHARTID));
  else flushTlbAddress(<u64>S.x((instruction >> 15) & 31));
  next();
  return true;
}
