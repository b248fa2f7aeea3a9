/** Opens the network port that an I/O module's configuration names. */
import { assert } from "../foundation/assert.js";
import type { NetworkPort } from "../ports/port.js";
import { UserPort } from "../ports/user.js";
import type { NetworkConfig } from "./config.js";

export async function openPort(network: NetworkConfig): Promise<NetworkPort | null> {
  if (network.kind === "none") return null;
  if (network.kind === "user") {
    assert(network.user !== undefined, "the configuration was checked");
    return new UserPort({ ...network.user, guestMac: network.macAddress });
  }
  // Loaded only when needed: it brings a native library.
  const { openTapPort } = await import("../ports/tap.js");
  return openTapPort({ device: network.device });
}
