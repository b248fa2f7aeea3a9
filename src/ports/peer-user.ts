/** Which users are behind a Unix socket and behind this process, as the kernel noted it. */
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import koffi from "koffi";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const UCRED_BYTES = 12;
const UID_OFFSET = 4;

const libc = koffi.load(null);
const getsockopt = libc.func("int getsockopt(int descriptor, int level, int option, _Inout_ uint8_t *value, _Inout_ uint32_t *length)") as (
  descriptor: number,
  level: number,
  option: number,
  value: Uint8Array,
  length: number[],
) => number;

/** Nobody logged in: a service of the host. */
const NO_LOGIN = 0xffff_ffff;

export interface LocalUser {
  readonly uid: number;
  /** As whom they logged in before sudo or su; null: not known. */
  readonly loginUid: number | null;
}

/** When the connection was made. Null: it has no descriptor any more. */
export function peerUser(socket: Socket): LocalUser | null {
  const descriptor = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (descriptor < 0) return null;
  const credentials = Buffer.alloc(UCRED_BYTES);
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, credentials, [UCRED_BYTES]) !== 0) return null;
  return { uid: credentials.readUInt32LE(UID_OFFSET), loginUid: loginUidOf(String(credentials.readUInt32LE(0))) };
}

export function ownUser(): LocalUser {
  return { uid: process.getuid?.() ?? 0, loginUid: loginUidOf("self") };
}

/** Kernels without auditing, and containers, may not say it. */
function loginUidOf(pid: string): number | null {
  try {
    const uid = Number(readFileSync(`/proc/${pid}/loginuid`, "utf8"));
    return Number.isInteger(uid) && uid !== NO_LOGIN ? uid : null;
  } catch {
    return null;
  }
}

/** As the audit log names them: `local uid 0`, or `local uid 0 (logged in as uid 1000)`. */
export function localUserName(user: LocalUser | null): string {
  if (user === null) return "local uid unknown";
  const { uid, loginUid } = user;
  return loginUid === null || loginUid === uid ? `local uid ${uid}` : `local uid ${uid} (logged in as uid ${loginUid})`;
}
