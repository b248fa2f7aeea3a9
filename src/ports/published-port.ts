/** Ports of the host that lead to the guest when its network is `user`: how they are written, and whether this host has them free. */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { SteadfastError } from "../foundation/errors.js";
import { parseAddress } from "./network-host.js";

export interface PublishedPort {
  readonly protocol: "tcp" | "udp";
  /** IPv4 address of the host; empty: all of them. */
  readonly hostAddress: string;
  readonly hostPort: number;
  readonly guestPort: number;
}

export const MAX_PUBLISHED_PORTS = 64;
export const PUBLISH_RULE = "it must be [ADDRESS:]HOSTPORT:GUESTPORT[/udp], such as 8080:80, 127.0.0.1:8080:80 or 5353:53/udp";

/** "8080:80", "127.0.0.1:8080:80", "5353:53/udp". Null: something else. */
export function parsePublished(text: string): PublishedPort | null {
  const match = /^(?:([\d.]+):)?(\d{1,5}):(\d{1,5})(?:\/(tcp|udp))?$/.exec(text);
  if (match === null) return null;
  const [, hostAddress = "", host, guest, protocol = "tcp"] = match;
  const hostPort = Number(host);
  const guestPort = Number(guest);
  if (hostAddress !== "" && parseAddress(hostAddress) === null) return null;
  if ([hostPort, guestPort].some((port) => port < 1 || port > 65535)) return null;
  return { protocol: protocol as PublishedPort["protocol"], hostAddress, hostPort, guestPort };
}

/** As it is given: "127.0.0.1:8080:80". */
export function formatPublished(port: PublishedPort): string {
  return `${hostEnd(port)}:${port.guestPort}${port.protocol === "udp" ? "/udp" : ""}`;
}

/** As it is shown: "127.0.0.1:8080 -> 80/tcp". */
export function publishedText(port: PublishedPort): string {
  return `${hostEnd(port)} -> ${port.guestPort}/${port.protocol}`;
}

/** The host's end alone: "127.0.0.1:8080/tcp". */
export function hostEndText(port: PublishedPort): string {
  return `${hostEnd(port)}/${port.protocol}`;
}

/** Where this host's own programs reach it. */
export function localHost(port: PublishedPort): string {
  return port.hostAddress === "" || port.hostAddress === "0.0.0.0" ? "127.0.0.1" : port.hostAddress;
}

function hostEnd(port: PublishedPort): string {
  return port.hostAddress === "" ? String(port.hostPort) : `${port.hostAddress}:${port.hostPort}`;
}

/** What held a port may have been ended just now, by whoever asks: it is tried for so long. */
const PORT_WAIT_MS = 1000;
const PORT_RETRY_MS = 50;

/** Throws if one of them is not free for us: known at the start, it is one sentence instead of a guest that nobody reaches. */
export async function checkPublishedPorts(ports: readonly PublishedPort[]): Promise<void> {
  for (const port of ports) {
    const code = await tryUntilFree(port);
    if (code === null) continue;
    const what = hostEndText(port);
    if (code === "EADDRINUSE") throw new SteadfastError("PORT_TAKEN", { port: what });
    if (code === "EACCES") throw new SteadfastError("PORT_FORBIDDEN", { port: what });
    throw new SteadfastError("PORT_UNUSABLE", { port: what, why: code });
  }
}

async function tryUntilFree(port: PublishedPort): Promise<string | null> {
  for (let leftMs = PORT_WAIT_MS; ; leftMs -= PORT_RETRY_MS) {
    const code = await (port.protocol === "tcp" ? tryTcp(port) : tryUdp(port));
    if (code !== "EADDRINUSE" || leftMs <= 0) return code;
    await new Promise((resolve) => setTimeout(resolve, PORT_RETRY_MS));
  }
}

/** Null: it was bound, and is free again. */
function tryTcp(port: PublishedPort): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen(port.hostPort, port.hostAddress || "0.0.0.0", () => server.close(() => resolve(null)));
  });
}

function tryUdp(port: PublishedPort): Promise<string | null> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    socket.bind(port.hostPort, port.hostAddress || "0.0.0.0", () => socket.close(() => resolve(null)));
  });
}
