/**
 * The host's side of the guest network: a bridge with the host's address on it and one TAP device per I/O module, made and removed
 * with `ip`. What we made carries our mark in its alias (`ip link show` prints it), so that any later start can tell our interfaces
 * from the operator's own, see which guest addresses are taken whatever run directory a server uses, and clean up after a crash.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { SteadfastError } from "../foundation/errors.js";

const INTERFACE_NAME_LENGTH_MAX = 15;
const BRIDGE_MARK = "steadfast bridge";
const PORT_MARK = "steadfast port";
/** One mutex per network namespace: an abstract socket ends with its process, so a crash cannot leave it locked. */
const LOCK_NAME = "\0steadfast-network";
const LOCK_WAIT_MS = 10_000;
const LOCK_RETRY_MS = 20;
const IP_LIMIT_MS = 10_000;
const NEIGHBOUR_RETRY_MS = 200;
const NEIGHBOUR_TRIES = 30;

export interface HostNetworkPlan {
  readonly server: string;
  readonly bridge: string;
  /** Host side with prefix length, e.g. 10.77.0.1/24. */
  readonly hostAddress: string;
  /** Empty: the next free one of the subnet. */
  readonly guestAddress: string;
  /** One TAP device is made for each I/O module. */
  readonly ioModules: readonly string[];
}

/** What was made and must be removed at the end. */
export interface HostNetwork {
  readonly bridge: string;
  readonly devices: Readonly<Record<string, string>>;
  readonly guestAddress: string;
  readonly prefixLength: number;
}

interface LinkInfo {
  readonly ifname: string;
  readonly ifalias?: string;
  readonly master?: string;
  readonly flags?: readonly string[];
  readonly linkinfo?: { readonly info_kind?: string };
  readonly addr_info?: readonly { readonly family: string; readonly local: string; readonly prefixlen: number }[];
}

/** Name of an I/O module's TAP device. Long server names are shortened with a hash so that two never meet. */
export function tapName(server: string, module: string): string {
  const plain = `sf-${server}-${module}`;
  if (plain.length <= INTERFACE_NAME_LENGTH_MAX) return plain;
  const hash = createHash("sha256").update(server).digest("hex");
  const room = INTERFACE_NAME_LENGTH_MAX - `sf--${module}`.length;
  const head = Math.max(0, room - 5);
  return `sf-${server.slice(0, head)}${hash.slice(0, room - head)}-${module}`;
}

/** A guest address of its own gives each server its own MAC address: the kernel's neighbour table never mixes two of them up. */
export function macAddressFor(address: string): string {
  const octets = address.split(".").map(Number);
  const hex = (value: number | undefined): string => (value ?? 0).toString(16).padStart(2, "0");
  return `52:54:00:77:${hex(octets[2])}:${hex(octets[3])}`;
}

export interface Subnet {
  readonly address: number;
  readonly prefixLength: number;
  readonly first: number;
  readonly last: number;
}

export function parseAddress(text: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  const octets = match.slice(1).map(Number);
  if (octets.some((octet) => octet > 255)) return null;
  return octets.reduce((value, octet) => value * 256 + octet, 0);
}

export function formatAddress(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

/** "10.77.0.1/24" -> the subnet's usable range. Null: not such a text, or no room for a host and a guest. */
export function parseSubnet(text: string): Subnet | null {
  const [addressText, prefixText] = text.split("/");
  const address = parseAddress(addressText ?? "");
  const prefixLength = /^\d{1,2}$/.test(prefixText ?? "") ? Number(prefixText) : NaN;
  if (address === null || !(prefixLength >= 8 && prefixLength <= 30)) return null;
  const size = 2 ** (32 - prefixLength);
  const network = Math.floor(address / size) * size;
  const subnet = { address, prefixLength, first: network + 1, last: network + size - 2 };
  return address >= subnet.first && address <= subnet.last ? subnet : null;
}

function ip(args: readonly string[]): { readonly ok: boolean; readonly output: string; readonly error: string } {
  const result = spawnSync("ip", args, { encoding: "utf8", timeout: IP_LIMIT_MS, env: { ...process.env, LC_ALL: "C" } });
  if (result.error !== undefined && (result.error as NodeJS.ErrnoException).code === "ENOENT")
    throw new SteadfastError("IP_COMMAND_MISSING");
  return { ok: result.status === 0, output: result.stdout, error: result.stderr.trim() };
}

/** Runs `ip` and turns a refusal into one sentence. */
function mustIp(args: readonly string[], what: string): void {
  const result = ip(args);
  if (result.ok) return;
  if (/operation not permitted|permission denied/i.test(result.error)) throw new SteadfastError("TAP_PERMISSION", { device: what });
  throw new SteadfastError("NETWORK_SETUP", {
    what,
    command: `ip ${args.join(" ")}`,
    why: result.error.replace(/^RTNETLINK answers: /, ""),
  });
}

function listLinks(): LinkInfo[] {
  const result = ip(["-json", "-details", "address", "show"]);
  if (!result.ok || result.output.trim() === "") return [];
  return JSON.parse(result.output) as LinkInfo[];
}

/** Runs `action` alone in this network namespace. */
async function alone<T>(action: () => T): Promise<T> {
  const giveUpAt = Date.now() + LOCK_WAIT_MS;
  for (;;) {
    const lock = await tryLock();
    if (lock !== null) {
      try {
        return action();
      } finally {
        await new Promise<void>((resolve) => lock.close(() => resolve()));
      }
    }
    if (Date.now() > giveUpAt) throw new SteadfastError("NETWORK_BUSY", { seconds: LOCK_WAIT_MS / 1000 });
    await new Promise((resolve) => setTimeout(resolve, LOCK_RETRY_MS));
  }
}

function tryLock(): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(null));
    server.listen(LOCK_NAME, () => resolve(server));
  });
}

/** The TAP devices that a server will have, by I/O module. Written down before they are made, so that a crash leaves no stranger. */
export function plannedDevices(server: string, ioModules: readonly string[]): Readonly<Record<string, string>> {
  return Object.fromEntries(ioModules.map((module) => [module, tapName(server, module)]));
}

/** Makes bridge and TAP devices and picks the guest's address. Either all of it is there afterwards, or nothing of ours. */
export function setUpHostNetwork(plan: HostNetworkPlan): Promise<HostNetwork> {
  return alone(() => {
    const subnet = parseSubnet(plan.hostAddress);
    if (subnet === null) throw new SteadfastError("ADDRESS_INVALID", { field: "network.hostAddress", value: plan.hostAddress });
    const links = listLinks();
    const guestAddress = pickGuestAddress(plan, subnet, links);
    const devices = plannedDevices(plan.server, plan.ioModules);
    for (const device of Object.values(devices)) claimDevice(device, plan.server, links);
    try {
      ensureBridge(plan, subnet, links);
      for (const device of Object.values(devices)) makeTap(device, plan, guestAddress);
    } catch (error) {
      for (const device of Object.values(devices)) removeOwnPort(device, plan.server);
      removeIdleBridge(plan.bridge);
      throw error;
    }
    return { bridge: plan.bridge, devices, guestAddress, prefixLength: subnet.prefixLength };
  });
}

/** Removes this server's devices, whoever made them (a dead predecessor too), and the bridge when its last port went. */
export function tearDownHostNetwork(server: string, bridge: string, devices: readonly string[]): Promise<void> {
  return alone(() => {
    for (const device of devices) removeOwnPort(device, server);
    removeIdleBridge(bridge);
  });
}

function portMark(server: string, guestAddress: string): string {
  return `${PORT_MARK} ${server} ${guestAddress}`;
}

/** Guest addresses of the servers whose ports are on this bridge, by server name. */
function takenAddresses(bridge: string, links: readonly LinkInfo[]): Map<string, string> {
  const taken = new Map<string, string>();
  for (const link of links) {
    if (link.master !== bridge || link.ifalias?.startsWith(`${PORT_MARK} `) !== true) continue;
    const [server, address] = link.ifalias.slice(PORT_MARK.length + 1).split(" ");
    if (server !== undefined && address !== undefined) taken.set(address, server);
  }
  return taken;
}

function pickGuestAddress(plan: HostNetworkPlan, subnet: Subnet, links: readonly LinkInfo[]): string {
  const taken = takenAddresses(plan.bridge, links);
  if (plan.guestAddress === "") {
    for (let candidate = subnet.first; candidate <= subnet.last; candidate += 1) {
      const text = formatAddress(candidate);
      const owner = taken.get(text);
      if (candidate !== subnet.address && (owner === undefined || owner === plan.server)) return text;
    }
    throw new SteadfastError("NO_FREE_ADDRESS", { bridge: plan.bridge, subnet: plan.hostAddress });
  }
  const wanted = parseAddress(plan.guestAddress);
  if (wanted === null) throw new SteadfastError("ADDRESS_INVALID", { field: "network.guestAddress", value: plan.guestAddress });
  if (wanted < subnet.first || wanted > subnet.last || wanted === subnet.address) {
    throw new SteadfastError("GUEST_ADDRESS_OUTSIDE", { address: plan.guestAddress, subnet: plan.hostAddress });
  }
  const owner = taken.get(plan.guestAddress);
  if (owner !== undefined && owner !== plan.server) {
    throw new SteadfastError("GUEST_ADDRESS_TAKEN", { address: plan.guestAddress, bridge: plan.bridge, owner });
  }
  return plan.guestAddress;
}

/** The name must be free, or a leftover of this very server, which goes away. A TAP with carrier has a living process behind it. */
function claimDevice(device: string, server: string, links: readonly LinkInfo[]): void {
  const existing = links.find((link) => link.ifname === device);
  if (existing === undefined) return;
  const ours = existing.ifalias?.startsWith(`${PORT_MARK} ${server} `) === true;
  if (!ours || existing.flags?.includes("LOWER_UP") === true) throw new SteadfastError("INTERFACE_TAKEN", { device });
  mustIp(["link", "delete", "dev", device], device);
}

function ensureBridge(plan: HostNetworkPlan, subnet: Subnet, links: readonly LinkInfo[]): void {
  const existing = links.find((link) => link.ifname === plan.bridge);
  if (existing !== undefined && existing.linkinfo?.info_kind !== "bridge")
    throw new SteadfastError("BRIDGE_TAKEN", { bridge: plan.bridge });
  const address = formatAddress(subnet.address);
  const holder = links.find((link) => link.ifname !== plan.bridge && link.addr_info?.some((info) => info.local === address) === true);
  if (holder !== undefined) throw new SteadfastError("HOST_ADDRESS_TAKEN", { address, device: holder.ifname });
  // A bridge of the operator's own is used as it is, and never changed or removed.
  if (existing !== undefined && existing.ifalias !== BRIDGE_MARK) return;
  if (existing === undefined) {
    mustIp(
      ["link", "add", "name", plan.bridge, "address", macAddressFor(address), "type", "bridge", "stp_state", "0", "forward_delay", "0"],
      plan.bridge,
    );
    mustIp(["link", "set", "dev", plan.bridge, "alias", BRIDGE_MARK], plan.bridge);
  }
  quietIpv6(plan.bridge);
  tuneNeighbours(plan.bridge);
  const present = existing?.addr_info?.some((info) => info.local === address && info.prefixlen === subnet.prefixLength) === true;
  if (!present) mustIp(["address", "replace", plan.hostAddress, "dev", plan.bridge], plan.bridge);
  mustIp(["link", "set", "dev", plan.bridge, "up"], plan.bridge);
}

function makeTap(device: string, plan: HostNetworkPlan, guestAddress: string): void {
  mustIp(["tuntap", "add", "dev", device, "mode", "tap"], device);
  mustIp(["link", "set", "dev", device, "alias", portMark(plan.server, guestAddress)], device);
  quietIpv6(device);
  mustIp(["link", "set", "dev", device, "master", plan.bridge, "up"], device);
  // Every I/O module gets every frame, so that none is lost with the active one: the bridge must not learn where the guest is.
  if (plan.ioModules.length > 1) mustIp(["link", "set", "dev", device, "type", "bridge_slave", "learning", "off"], device);
}

/** Neighbour discovery would send frames into an idle guest for nothing. */
function quietIpv6(device: string): void {
  setKernelOption(`ipv6/conf/${device}/disable_ipv6`, 1);
}

/** A booting guest is found quickly, and one that is silent for some seconds is still not given up: many quick questions. */
function tuneNeighbours(bridge: string): void {
  setKernelOption(`ipv4/neigh/${bridge}/retrans_time_ms`, NEIGHBOUR_RETRY_MS);
  setKernelOption(`ipv4/neigh/${bridge}/mcast_solicit`, NEIGHBOUR_TRIES);
}

function setKernelOption(name: string, value: number): void {
  try {
    writeFileSync(`/proc/sys/net/${name}`, String(value));
  } catch {
    // A kernel without it, or a read-only /proc, only costs a few frames or some patience.
  }
}

function removeOwnPort(device: string, server: string): void {
  const link = listLinks().find((each) => each.ifname === device);
  if (link?.ifalias?.startsWith(`${PORT_MARK} ${server} `) === true || (link !== undefined && isUnmarkedTap(link))) {
    ip(["link", "delete", "dev", device]);
  }
}

/** A TAP of our name without alias: we died between making and marking it. */
function isUnmarkedTap(link: LinkInfo): boolean {
  return link.ifalias === undefined && link.ifname.startsWith("sf-") && link.linkinfo?.info_kind === "tun";
}

function removeIdleBridge(bridge: string): void {
  const links = listLinks();
  const own = links.some((link) => link.ifname === bridge && link.ifalias === BRIDGE_MARK);
  if (own && !links.some((link) => link.master === bridge)) ip(["link", "delete", "dev", bridge]);
}
