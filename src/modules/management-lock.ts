/** Who leads a server: a lock that the kernel frees when its holder dies, however that happens. A stopped holder still has it. */
import { createHash } from "node:crypto";
import { createServer, type Server } from "node:net";

/** Held as long as this process lives. Null: somebody else has it. */
export function lockServer(runDirectory: string): Promise<Server | null> {
  const name = `\0steadfast-server-${createHash("sha256").update(runDirectory).digest("hex").slice(0, 32)}`;
  return new Promise((resolve) => {
    const server = createServer((socket) => socket.destroy());
    server.once("error", () => resolve(null));
    server.listen(name, () => resolve(server));
  });
}
