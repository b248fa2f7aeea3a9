/**
 * Network port for hosts without privileges: Debian's `passt` translates between the guest's frames and ordinary sockets of the host.
 * It is a child of the I/O module and gets its end of a socket pair as a descriptor, so that it ends by itself when this process does,
 * however that ends. It also owns the host's published ports, so it runs only while this I/O module is the active one.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { announcement, parseMac } from "./ethernet.js";
import type { NetworkPort, PortNotice } from "./port.js";
import type { PublishedPort } from "./published-port.js";
import { encodeStreamFrame, StreamFrameDecoder } from "./stream-frames.js";

/** What waits for a passt that does not read; more is dropped, as by any full queue. */
const MAX_QUEUED_BYTES = 1024 * 1024;
/** A queue that has been full for so long without once getting empty: it hangs. */
const STALL_LIMIT_MS = 5000;
const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 2000;
/** One that has lived for so long has bound its ports and works. */
const STEADY_AFTER_MS = 1000;
/** The passt of the former active module may hold the ports for a moment: failures in a row before anybody hears of them. */
const QUIET_FAILURES = 5;
const MAX_COMPLAINT_CHARACTERS = 2000;
/** Its descriptor in passt: the first after the standard ones. */
const SOCKET_DESCRIPTOR = 3;
/** passt tells these at every start, whether anything is wrong or not. */
const NOT_A_COMPLAINT = /^(Failed to send \d+ bytes to syslog|Don't run as root\.)/;

export interface UserPortOptions {
  /** Path of passt. */
  readonly program: string;
  readonly guestAddress: string;
  readonly prefixLength: number;
  /** What the guest takes for its gateway, and for the peer when this host's own programs connect. */
  readonly gateway: string;
  readonly guestMac: string;
  /** The same in all I/O modules: what the guest knows of its gateway stays true after a takeover. */
  readonly gatewayMac: string;
  readonly publish: readonly PublishedPort[];
}

export interface UserPortCounters {
  framesIn: number;
  framesOut: number;
  /** Not sent: passt was not there, or did not read. */
  framesDropped: number;
  /** How often passt was started. */
  starts: number;
}

export class UserPort implements NetworkPort {
  readonly counters: UserPortCounters = { framesIn: 0, framesOut: 0, framesDropped: 0, starts: 0 };
  readonly #options: UserPortOptions;
  #onFrames: ((frames: Uint8Array[]) => void) | null = null;
  #onNotice: (notice: PortNotice) => void = () => undefined;
  #isActive = false;
  #child: ChildProcess | null = null;
  #socket: Socket | null = null;
  #complaint = "";
  #failures = 0;
  #isSteady = false;
  #isDownSaid = false;
  #restartTimer: NodeJS.Timeout | null = null;
  #steadyTimer: NodeJS.Timeout | null = null;
  #stallTimer: NodeJS.Timeout | null = null;

  constructor(options: UserPortOptions) {
    this.#options = options;
  }

  /** Of the running passt; null: there is none. */
  get pid(): number | null {
    return this.#child?.pid ?? null;
  }

  start(onFrames: (frames: Uint8Array[]) => void, onNotice?: (notice: PortNotice) => void): void {
    this.#onFrames = onFrames;
    if (onNotice !== undefined) this.#onNotice = onNotice;
    if (this.#isActive) this.#launch();
  }

  setActive(isActive: boolean): void {
    if (isActive === this.#isActive) return;
    this.#isActive = isActive;
    this.#failures = 0;
    if (isActive) this.#launch();
    else this.#end();
  }

  send(frame: Uint8Array): void {
    const socket = this.#socket;
    if (socket === null || socket.writableLength > MAX_QUEUED_BYTES) {
      this.counters.framesDropped += 1;
      if (socket !== null) this.#stallTimer ??= setTimeout(() => this.#failed("it does not read what the guest sends"), STALL_LIMIT_MS);
      return;
    }
    socket.write(encodeStreamFrame(frame));
    this.counters.framesOut += 1;
  }

  close(): void {
    this.#isActive = false;
    this.#onFrames = null;
    this.#end();
  }

  #launch(): void {
    if (this.#onFrames === null || this.#child !== null) return;
    this.counters.starts += 1;
    this.#complaint = "";
    const child = spawn(this.#options.program, passtParameters(this.#options, hasDefaultRoute()), {
      stdio: ["ignore", "ignore", "pipe", "pipe"],
      // Not ours, by which management knows its modules: passt is none.
      env: { PATH: process.env["PATH"], LC_ALL: "C" },
    });
    this.#child = child;
    const failed = (why: string): void => {
      if (this.#child === child) this.#failed(why);
    };
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      if (this.#complaint.length < MAX_COMPLAINT_CHARACTERS) this.#complaint += text;
    });
    child.once("error", (error) => failed(error.message));
    // Not at `exit`: by now everything that it had to say has been read.
    child.once("close", (code, signal) => failed(signal === null ? `it ended with exit code ${code}` : `it was ended by ${signal}`));
    const socket = child.stdio[SOCKET_DESCRIPTOR] as Socket;
    this.#socket = socket;
    const decoder = new StreamFrameDecoder();
    socket.on("data", (chunk: Uint8Array) => {
      if (this.#socket === socket) this.#received(decoder, chunk);
    });
    socket.on("drain", () => this.#clearStall());
    // The end of the process tells more than the end of the stream; a stream that fails while it lives has failed for good.
    socket.on("error", () => {
      if (this.#socket === socket) child.kill("SIGKILL");
    });
    this.#steadyTimer = setTimeout(() => this.#steady(), STEADY_AFTER_MS);
    // passt learns the guest's Ethernet address from what the guest sends, and until then nothing that it sends is for the guest.
    this.send(announcement(parseMac(this.#options.guestMac)));
  }

  #received(decoder: StreamFrameDecoder, chunk: Uint8Array): void {
    let frames: Uint8Array[];
    try {
      frames = decoder.push(chunk);
    } catch (error) {
      return this.#failed(`it sent what is no frame: ${(error as Error).message}`);
    }
    this.counters.framesIn += frames.length;
    if (frames.length > 0) this.#onFrames?.(frames);
  }

  #steady(): void {
    this.#isSteady = true;
    this.#failures = 0;
    if (!this.#isDownSaid) return;
    this.#isDownSaid = false;
    this.#onNotice({
      severity: "info",
      code: "USER_NETWORK_UP",
      text: "passt works again: the guest's network and published ports are back.",
    });
  }

  #failed(why: string): void {
    const wasSteady = this.#isSteady;
    const complaint = complaintOf(this.#complaint);
    this.#end();
    if (!this.#isActive) return;
    this.#failures += 1;
    const pauseMs = Math.min(FIRST_PAUSE_MS * 2 ** (this.#failures - 1), LONGEST_PAUSE_MS);
    this.#restartTimer = setTimeout(() => {
      this.#restartTimer = null;
      this.#launch();
    }, pauseMs);
    if (this.#isDownSaid || (this.#failures < QUIET_FAILURES && !wasSteady)) return;
    this.#isDownSaid = true;
    const text =
      `passt, which carries the guest's network and the published ports, failed: ${complaint === "" ? why : complaint}; ` +
      `its TCP connections ended, and it is started again until it works.`;
    this.#onNotice({ severity: "warning", code: "USER_NETWORK_DOWN", text });
  }

  #end(): void {
    for (const timer of [this.#restartTimer, this.#steadyTimer]) if (timer !== null) clearTimeout(timer);
    this.#restartTimer = null;
    this.#steadyTimer = null;
    this.#isSteady = false;
    this.#clearStall();
    const child = this.#child;
    this.#child = null;
    this.#socket?.destroy();
    this.#socket = null;
    child?.kill("SIGKILL");
  }

  #clearStall(): void {
    if (this.#stallTimer !== null) clearTimeout(this.#stallTimer);
    this.#stallTimer = null;
  }
}

/** The last thing that passt complained about; empty: nothing. */
function complaintOf(text: string): string {
  const lines = text.split("\n").map((line) => line.trim());
  return lines.filter((line) => line !== "" && !NOT_A_COMPLAINT.test(line)).at(-1) ?? "";
}

export function passtParameters(options: UserPortOptions, hasRoute: boolean): string[] {
  const { guestAddress, prefixLength, gateway, gatewayMac, publish } = options;
  const parameters = ["--foreground", "--quiet", "--stderr", "--fd", String(SOCKET_DESCRIPTOR), "--ipv4-only"];
  parameters.push("--address", guestAddress, "--netmask", String(prefixLength), "--gateway", gateway, "--mac-addr", gatewayMac);
  // Services that listen on this host's loopback only are not the guest's business. Answers to datagrams from this host take the same
  // way, though: passt has one option for both.
  if (!publish.some(({ protocol }) => protocol === "udp")) parameters.push("--no-map-gw");
  // passt wants an interface with a route to the world, which a host without network has not.
  if (!hasRoute) parameters.push("--interface", "lo");
  for (const { protocol, hostAddress, hostPort, guestPort } of publish) {
    parameters.push(
      protocol === "tcp" ? "--tcp-ports" : "--udp-ports",
      `${hostAddress === "" ? "" : `${hostAddress}/`}${hostPort}:${guestPort}`,
    );
  }
  return parameters;
}

/** Whether this host's IPv4 routing table leads anywhere. Columns of /proc/net/route: interface, destination, gateway, … the eighth is the mask. */
function hasDefaultRoute(): boolean {
  try {
    const rows = readFileSync("/proc/net/route", "latin1").split("\n").slice(1);
    return rows.map((row) => row.trim().split(/\s+/)).some((cells) => cells[1] === "00000000" && cells[7] === "00000000");
  } catch {
    return false;
  }
}
