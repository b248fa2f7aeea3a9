/** Opens the network port that an I/O module's configuration names. */
import type { NetworkPort } from "../ports/port.js";
import type { NetworkConfig } from "./config.js";

export async function openPort(network: NetworkConfig): Promise<NetworkPort | null> {
  if (network.kind === "none") return null;
  // Loaded only when needed: it brings a native library.
  const { openTapPort } = await import("../ports/tap.js");
  return openTapPort({ device: network.device });
}
