/** One benchmark at a time on a host: two would remove each other's servers and measure each other's load. */
import { createServer, type Server } from "node:net";
import { SteadfastError } from "../foundation/errors.js";

/** An abstract socket: the kernel frees it whenever its process ends, however that ends, so there is no stale lock to clean up. */
const LOCK_NAME = "\0steadfast-bench";

/** Resolves to what gives the lock back. */
export async function lockBenchmarks(name = LOCK_NAME): Promise<() => void> {
  const server: Server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => {
    server.once("error", () => {
      reject(new SteadfastError("BENCH_FAILED", { what: "The benchmark", why: "another one is running on this host; wait for it to end" }));
    });
    server.listen(name, resolve);
  });
  server.unref();
  return () => void server.close();
}
