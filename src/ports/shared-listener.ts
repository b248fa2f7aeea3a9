/**
 * A listening address that several processes share: each binds it with SO_REUSEPORT and the kernel spreads new connections over those
 * that live. Node 20 has no option for that, so the socket is made through koffi and handed over by its descriptor.
 */
import { closeSync } from "node:fs";
import { createServer, isIPv6, type Server } from "node:net";
import koffi from "koffi";
import { SteadfastError } from "../foundation/errors.js";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;
const INT_BYTES = 4;
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

const libc = koffi.load(null);
const makeSocket = libc.func("int socket(int domain, int type, int protocol)") as (
  domain: number,
  type: number,
  protocol: number,
) => number;
const setsockopt = libc.func("int setsockopt(int descriptor, int level, int option, const uint8_t *value, uint32_t length)") as (
  descriptor: number,
  level: number,
  option: number,
  value: Uint8Array,
  length: number,
) => number;
const bindTo = libc.func("int bind(int descriptor, const uint8_t *address, uint32_t length)") as (
  descriptor: number,
  address: Uint8Array,
  length: number,
) => number;
const inetPton = libc.func("int inet_pton(int family, const char *text, _Out_ uint8_t *address)") as (
  family: number,
  text: string,
  address: Uint8Array,
) => number;

export interface ListenAddress {
  /** IPv4 or IPv6. */
  readonly address: string;
  readonly port: number;
}

/** "0.0.0.0:8443", "[::]:8443" */
export function formatListen({ address, port }: ListenAddress): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function socketAddress({ address, port }: ListenAddress): Buffer {
  const isSix = isIPv6(address);
  const bytes = Buffer.alloc(isSix ? SOCKADDR_IN6_BYTES : SOCKADDR_IN_BYTES);
  bytes.writeUInt16LE(isSix ? AF_INET6 : AF_INET, 0);
  bytes.writeUInt16BE(port, 2);
  // The address lies behind the port, of IPv6 behind four more bytes.
  inetPton(isSix ? AF_INET6 : AF_INET, address, bytes.subarray(isSix ? 8 : 4));
  return bytes;
}

/** @throws SteadfastError LISTEN_TAKEN */
function boundDescriptor(listen: ListenAddress): number {
  const domain = isIPv6(listen.address) ? AF_INET6 : AF_INET;
  const failed = (): SteadfastError => new SteadfastError("LISTEN_TAKEN", { listen: formatListen(listen), why: errorName(koffi.errno()) });
  const descriptor = makeSocket(domain, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) throw failed();
  const yes = Buffer.alloc(INT_BYTES);
  yes.writeInt32LE(1);
  const address = socketAddress(listen);
  const isBound =
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, yes, INT_BYTES) === 0 &&
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEPORT, yes, INT_BYTES) === 0 &&
    bindTo(descriptor, address, address.length) === 0;
  if (isBound) return descriptor;
  const error = failed();
  closeSync(descriptor);
  throw error;
}

function errorName(errno: number): string {
  return Object.entries(koffi.os.errno).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

/** Lets a server listen there beside others of the same user. */
export async function listenShared(server: Server, listen: ListenAddress): Promise<void> {
  const fd = boundDescriptor(listen);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen({ fd }, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

/**
 * That nobody else has it: two servers that shared an address would each get half of what is meant for one.
 * @throws SteadfastError LISTEN_TAKEN
 */
export function assertListenFree({ address, port }: ListenAddress): Promise<void> {
  return new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once("error", (error: NodeJS.ErrnoException) =>
      reject(new SteadfastError("LISTEN_TAKEN", { listen: formatListen({ address, port }), why: error.code ?? error.message })),
    );
    probe.listen({ host: address, port, exclusive: true, ipv6Only: false }, () => probe.close(() => resolve()));
  });
}
