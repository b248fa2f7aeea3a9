/**
 * Network port over a Linux TAP device, without a compiled addon: the device is attached by an ioctl through koffi, and Node's own
 * event loop polls it. Node has no public way to watch an arbitrary descriptor, so a socket pair lends its number: the socket object
 * is made on one end, and dup2 puts the TAP under that number before the loop first looks at it. Measured against a pool-thread read
 * per frame and a reader thread, this has the shortest round trip and needs no thread to stop at close.
 */
import { constants, openSync, closeSync } from "node:fs";
import { Socket } from "node:net";
import koffi from "koffi";
import { SteadfastError } from "../foundation/errors.js";
import type { NetworkPort } from "./port.js";

const TUN_DEVICE = "/dev/net/tun";
const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
const IFREQ_BYTES = 40;
const INTERFACE_NAME_BYTES_MAX = 15;
const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** Largest frame that the TAP can hand over (MTU 65521 and Ethernet header); a read never truncates. */
const FRAME_BYTES_MAX = 65536;
/** Frames taken in one wake-up: bounds how long a flood can keep the event loop from everything else. */
const BATCH_FRAMES_MAX = 64;

/**
 * The kernel closes what a killed process had open in the order of the numbers, and a TAP takes it milliseconds (a grace period of RCU).
 * The connections by whose end others see that this process is gone must not wait for that.
 */
const LAST_DESCRIPTOR = 512;
const F_DUPFD_CLOEXEC = 1030;

const EAGAIN = 11;
const EINTR = 4;
const ENOBUFS = 105;

const libc = koffi.load(null);
const ioctl = libc.func("int ioctl(int descriptor, unsigned long request, _Inout_ uint8_t *argument)") as (
  descriptor: number,
  request: number,
  argument: Uint8Array,
) => number;
const socketpair = libc.func("int socketpair(int domain, int type, int protocol, _Out_ int *pair)") as (
  domain: number,
  type: number,
  protocol: number,
  pair: number[],
) => number;
/** The only command used here takes a number. */
const fcntl = libc.func("int fcntl(int descriptor, int command, ...)") as (
  descriptor: number,
  command: number,
  type: "int",
  argument: number,
) => number;
const dup2 = libc.func("int dup2(int from, int to)") as (from: number, to: number) => number;
const readInto = libc.func("intptr_t read(int descriptor, void *bytes, size_t length)") as (
  descriptor: number,
  bytes: Uint8Array,
  length: number,
) => number;
const writeFrom = libc.func("intptr_t write(int descriptor, const void *bytes, size_t length)") as (
  descriptor: number,
  bytes: Uint8Array,
  length: number,
) => number;

export interface TapOptions {
  /** Interface name, at most 15 characters. A persistent device made by management is joined; otherwise one is made that ends with us. */
  readonly device: string;
  /** The device went away under us (someone removed the interface). Without a handler the loss is silent, like a pulled cable. */
  readonly onLost?: (error: Error) => void;
}

export interface TapCounters {
  framesIn: number;
  framesOut: number;
  /** Not sent: the device's queue was full, or the link is down. */
  framesDropped: number;
}

export interface TapPort extends NetworkPort {
  readonly counters: Readonly<TapCounters>;
}

/** Attaches to the TAP device. The interface must be brought up by whoever made it (network-host.ts). */
export function openTapPort(options: TapOptions): Promise<TapPort> {
  try {
    return Promise.resolve(new LinuxTapPort(attach(options.device), options));
  } catch (error) {
    return Promise.reject(error as Error);
  }
}

function attach(device: string): number {
  if (device === "" || Buffer.byteLength(device) > INTERFACE_NAME_BYTES_MAX) {
    throw new SteadfastError("TAP_OPEN", { device, why: `its name must have 1 to ${INTERFACE_NAME_BYTES_MAX} characters` });
  }
  let descriptor: number;
  try {
    descriptor = openSync(TUN_DEVICE, constants.O_RDWR | constants.O_NONBLOCK);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENODEV" || code === "ENXIO") throw new SteadfastError("TUN_MISSING", { path: TUN_DEVICE });
    throw new SteadfastError("TAP_PERMISSION", { device });
  }
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(device, 0, "latin1");
  request.writeUInt16LE(IFF_TAP | IFF_NO_PI, 16);
  if (ioctl(descriptor, TUNSETIFF, request) >= 0) return descriptor;
  const errno = koffi.errno();
  closeSync(descriptor);
  if (errno === koffi.os.errno["EPERM"]) throw new SteadfastError("TAP_PERMISSION", { device });
  if (errno === koffi.os.errno["EBUSY"])
    throw new SteadfastError("TAP_OPEN", { device, why: "another process has it open; end that process" });
  throw new SteadfastError("TAP_OPEN", { device, why: `the kernel refused it (errno ${errno}); remove an interface of that name` });
}

class LinuxTapPort implements TapPort {
  readonly counters: TapCounters = { framesIn: 0, framesOut: 0, framesDropped: 0 };
  private descriptor: number;
  private socket: Socket | null = null;
  private readonly scratch = Buffer.alloc(FRAME_BYTES_MAX);

  constructor(
    descriptor: number,
    private readonly options: TapOptions,
  ) {
    this.descriptor = descriptor;
  }

  start(onFrames: (frames: Uint8Array[]) => void): void {
    if (this.descriptor < 0 || this.socket !== null) throw new Error("a TAP port starts once");
    const pair = [-1, -1];
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) !== 0) throw new Error(`socketpair: errno ${koffi.errno()}`);
    const [near, spare] = pair as [number, number];
    const lent = fcntl(near, F_DUPFD_CLOEXEC, "int", LAST_DESCRIPTOR);
    if (lent < 0) throw new Error(`fcntl: errno ${koffi.errno()}`);
    closeSync(near);
    const callback = (length: number, bytes: Uint8Array): boolean => {
      onFrames(this.drain(Buffer.from(bytes.subarray(0, length))));
      return true;
    };
    const socket = new Socket({
      fd: lent,
      readable: true,
      writable: false,
      onread: { buffer: Buffer.alloc(FRAME_BYTES_MAX), callback },
    } as object);
    // The loop registers the descriptor at its next turn, so from here on it only ever sees the TAP under this number.
    if (dup2(this.descriptor, lent) < 0) throw new Error(`dup2: errno ${koffi.errno()}`);
    closeSync(this.descriptor);
    closeSync(spare);
    this.descriptor = lent;
    this.socket = socket;
    socket.on("error", (error) => this.lost(error));
    socket.on("end", () => this.lost(new Error("the TAP device ended")));
    socket.resume();
  }

  send(frame: Uint8Array): void {
    if (this.descriptor < 0) return;
    let sent = writeFrom(this.descriptor, frame, frame.length);
    if (sent < 0 && koffi.errno() === EINTR) sent = writeFrom(this.descriptor, frame, frame.length);
    if (sent === frame.length) this.counters.framesOut += 1;
    else this.counters.framesDropped += 1;
  }

  close(): void {
    const descriptor = this.descriptor;
    if (descriptor < 0) return;
    this.descriptor = -1;
    // The socket owns the descriptor once it was started, and closes it.
    if (this.socket === null) closeSync(descriptor);
    else this.socket.destroy();
  }

  /** The frame that woke us and whatever else is queued: one callback for all of them. */
  private drain(first: Uint8Array): Uint8Array[] {
    const frames = [first];
    while (frames.length < BATCH_FRAMES_MAX && this.descriptor >= 0) {
      const length = readInto(this.descriptor, this.scratch, FRAME_BYTES_MAX);
      if (length <= 0) break;
      frames.push(Buffer.from(this.scratch.subarray(0, length)));
    }
    this.counters.framesIn += frames.length;
    return frames;
  }

  private lost(error: Error): void {
    if (this.descriptor < 0) return;
    const code = (error as NodeJS.ErrnoException).errno ?? 0;
    if (-code === EAGAIN || -code === ENOBUFS) return;
    this.close();
    this.options.onLost?.(error);
  }
}
