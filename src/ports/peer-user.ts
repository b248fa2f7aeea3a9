/** Which user is at the other end of a Unix socket, as the kernel noted it when the connection was made. */
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

/** Null: it has no descriptor any more. */
export function peerUser(socket: Socket): number | null {
  const descriptor = (socket as unknown as { _handle?: { fd?: number } })._handle?.fd ?? -1;
  if (descriptor < 0) return null;
  const credentials = Buffer.alloc(UCRED_BYTES);
  if (getsockopt(descriptor, SOL_SOCKET, SO_PEERCRED, credentials, [UCRED_BYTES]) !== 0) return null;
  return credentials.readUInt32LE(UID_OFFSET);
}
