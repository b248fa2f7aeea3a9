/** TAP port and host network for real: needs root and /dev/net/tun, and says so when it cannot run. */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { accessSync, constants } from "node:fs";
import { afterEach, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { SteadfastError } from "../dist/foundation/errors.js";
import { setUpHostNetwork, tapName, tearDownHostNetwork, type HostNetworkPlan } from "../dist/ports/network-host.js";
import { openTapPort, type TapPort } from "../dist/ports/tap.js";

const BRIDGE = "sftest0";
const OTHER = "sftest1";
const SUBNET = "10.77.201.1/24";
const GUEST_MAC = [0x52, 0x54, 0, 0x77, 201, 2];
const TAP_MODULE = fileURLToPath(new URL("../dist/ports/tap.js", import.meta.url));

function whyNot(): string | false {
  if (process.getuid?.() !== 0) return "needs root: run `sudo npm test` to include it";
  try {
    accessSync("/dev/net/tun", constants.R_OK | constants.W_OK);
    execFileSync("ip", ["-V"]);
    return false;
  } catch {
    return "needs /dev/net/tun and the ip command";
  }
}

const plan = (server: string, more: Partial<HostNetworkPlan> = {}): HostNetworkPlan => ({
  server,
  bridge: BRIDGE,
  hostAddress: SUBNET,
  guestAddress: "",
  ioModules: ["io0"],
  ...more,
});

function interfaces(): string[] {
  const links = JSON.parse(execFileSync("ip", ["-json", "link", "show"], { encoding: "utf8" })) as { ifname: string }[];
  return links.map((link) => link.ifname);
}

const ip = (...parameters: string[]): void => void execFileSync("ip", parameters, { stdio: "ignore" });

async function refused(action: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(action, (error: unknown) => {
    assert.ok(error instanceof SteadfastError, String(error));
    assert.equal(error.code, code);
    assert.ok(!/\{\w+\}|\n/.test(error.message), error.message);
    return true;
  });
}

/** Answers ARP for the guest's address, as a guest would. */
function arpReply(frame: Uint8Array): Uint8Array | null {
  const bytes = Buffer.from(frame);
  if (bytes.readUInt16BE(12) !== 0x0806 || bytes.readUInt16BE(20) !== 1) return null;
  const reply = Buffer.alloc(42);
  bytes.copy(reply, 0, 6, 12);
  reply.set(GUEST_MAC, 6);
  bytes.copy(reply, 12, 12, 20);
  reply.writeUInt16BE(2, 20);
  reply.set(GUEST_MAC, 22);
  bytes.copy(reply, 28, 38, 42);
  bytes.copy(reply, 32, 22, 32);
  return reply;
}

describe("host network", { skip: whyNot() }, () => {
  const ports: TapPort[] = [];

  afterEach(async () => {
    for (const port of ports.splice(0)) port.close();
    for (const server of ["tone", "ttwo"]) await tearDownHostNetwork(server, BRIDGE, [tapName(server, "io0")]);
    for (const name of [BRIDGE, OTHER]) if (interfaces().includes(name)) ip("link", "delete", "dev", name);
  });

  test("is made, shared by two servers that get different addresses, and removed with the last", async () => {
    const one = await setUpHostNetwork(plan("tone"));
    const two = await setUpHostNetwork(plan("ttwo"));
    assert.deepEqual([one.guestAddress, two.guestAddress], ["10.77.201.2", "10.77.201.3"]);
    assert.ok(interfaces().includes("sf-tone-io0") && interfaces().includes("sf-ttwo-io0"));
    await refused(setUpHostNetwork(plan("tthree", { guestAddress: "10.77.201.3" })), "GUEST_ADDRESS_TAKEN");
    assert.ok(!interfaces().includes("sf-tthree-io0"));
    await tearDownHostNetwork("tone", BRIDGE, Object.values(one.devices));
    assert.ok(interfaces().includes(BRIDGE), "the other server still needs the bridge");
    await tearDownHostNetwork("ttwo", BRIDGE, Object.values(two.devices));
    assert.ok(!interfaces().some((name) => name === BRIDGE || name.startsWith("sf-t")));
  });

  test("refuses what is taken with one sentence, and leaves it as it was", async () => {
    ip("tuntap", "add", "dev", BRIDGE, "mode", "tap");
    await refused(setUpHostNetwork(plan("tone")), "BRIDGE_TAKEN");
    assert.ok(interfaces().includes(BRIDGE) && !interfaces().includes("sf-tone-io0"));
    ip("link", "delete", BRIDGE);
    ip("tuntap", "add", "dev", OTHER, "mode", "tap");
    ip("address", "add", SUBNET, "dev", OTHER);
    await refused(setUpHostNetwork(plan("tone")), "HOST_ADDRESS_TAKEN");
    assert.ok(!interfaces().includes(BRIDGE));
    ip("tuntap", "add", "dev", "sf-tone-io0", "mode", "tap");
    await refused(setUpHostNetwork(plan("tone", { hostAddress: "10.77.202.1/24" })), "INTERFACE_TAKEN");
    assert.ok(interfaces().includes("sf-tone-io0"), "a stranger's interface is not ours to remove");
    ip("link", "delete", "sf-tone-io0");
    await refused(setUpHostNetwork(plan("tone", { hostAddress: "10.77.202.1/24", guestAddress: "10.77.203.2" })), "GUEST_ADDRESS_OUTSIDE");
    await refused(setUpHostNetwork(plan("tone", { hostAddress: "10.77.202.0/24" })), "ADDRESS_INVALID");
    await refused(openTapPort({ device: "a-name-that-is-too-long" }), "TAP_OPEN");
  });

  test("uses a bridge of the operator's own and leaves it there", async () => {
    ip("link", "add", BRIDGE, "type", "bridge");
    ip("link", "set", BRIDGE, "up");
    const network = await setUpHostNetwork(plan("tone"));
    await tearDownHostNetwork("tone", BRIDGE, Object.values(network.devices));
    assert.ok(interfaces().includes(BRIDGE));
  });

  test("a crashed server's leftover is taken over, a living one's is not", async () => {
    const first = await setUpHostNetwork(plan("tone"));
    const again = await setUpHostNetwork(plan("tone"));
    assert.equal(again.guestAddress, first.guestAddress);
    const port = await openTapPort({ device: "sf-tone-io0" });
    ports.push(port);
    await refused(setUpHostNetwork(plan("tone")), "INTERFACE_TAKEN");
    await refused(openTapPort({ device: "sf-tone-io0" }), "TAP_OPEN");
  });

  test("frames go both ways, in batches under load, and none is cut", async () => {
    const network = await setUpHostNetwork(plan("tone"));
    const port = await openTapPort({ device: "sf-tone-io0" });
    ports.push(port);
    const sizes = new Set<number>();
    let datagrams = 0;
    port.start((frames) => {
      for (const frame of frames) {
        const reply = arpReply(frame);
        if (reply !== null) port.send(reply);
        if (Buffer.from(frame).readUInt16BE(12) === 0x0800 && frame[23] === 17) {
          datagrams += 1;
          sizes.add(frame.length);
        }
      }
    });
    const socket = createSocket("udp4");
    const sendAndWait = async (count: number): Promise<void> => {
      const expected = datagrams + count;
      for (let each = 0; each < count; each += 1) socket.send(Buffer.alloc(each % 2 === 0 ? 100 : 1472), 9, network.guestAddress);
      const giveUpAt = Date.now() + 10_000;
      while (datagrams < expected && Date.now() < giveUpAt) await new Promise((resolve) => setTimeout(resolve, 5));
      assert.equal(datagrams, expected, `all of ${count} datagrams arrive`);
    };
    // The host keeps only a few datagrams while it asks for the guest's address, so the first one goes alone. From then on a round is
    // more than one batch and less than the device's queue of 500 holds: nothing may be lost on the way.
    await sendAndWait(1);
    for (let round = 0; round < 10; round += 1) await sendAndWait(100);
    socket.close();
    assert.deepEqual([...sizes].sort(), [142, 1514].sort());
    assert.ok(port.counters.framesOut >= 1 && port.counters.framesIn >= datagrams);
  });

  test("close ends the reading at once: the process can end", async () => {
    await setUpHostNetwork(plan("tone"));
    const script =
      `import { openTapPort } from ${JSON.stringify(TAP_MODULE)};` +
      `const port = await openTapPort({ device: "sf-tone-io0" });` +
      `port.start(() => {}); setTimeout(() => { port.close(); port.send(new Uint8Array(60)); port.close(); }, 100);`;
    const child = spawn(process.execPath, ["--input-type=module", "-e", script], { stdio: "inherit" });
    const timer = setTimeout(() => child.kill("SIGKILL"), 10_000);
    const code = await new Promise((resolve) => child.on("close", resolve));
    clearTimeout(timer);
    assert.equal(code, 0);
  });

  test("a device that is removed under an open port is reported, not fatal", async () => {
    await setUpHostNetwork(plan("tone"));
    const lost = new Promise<Error>((resolve) => {
      void openTapPort({ device: "sf-tone-io0", onLost: resolve }).then((port) => {
        ports.push(port);
        port.start(() => undefined);
        ip("link", "delete", "dev", "sf-tone-io0");
        port.send(new Uint8Array(60));
      });
    });
    assert.ok((await lost) instanceof Error);
  });
});
