/** Where a benchmark's server listens, and as whom it is asked. */
import { createServer, type AddressInfo } from "node:net";
import { createToken } from "../front/token-file.js";
import { serverPaths } from "../modules/management-paths.js";
import type { BenchServer } from "./bench-server.js";

export const LOOPBACK = "127.0.0.1";

/** A port of this host that nobody has at this moment. */
export async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, LOOPBACK, resolve));
  const { port } = probe.address() as AddressInfo;
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** A token of a server of ours. */
export function newToken(server: BenchServer, name: string, role: "view" | "operate"): string {
  const { tokensFile } = serverPaths(server.options.name);
  return createToken(tokensFile, name, role, null, Date.now());
}
