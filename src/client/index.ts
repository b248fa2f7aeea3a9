/**
 * `import { ControlClient } from "steadfast/client"`: programs that look after a server.
 *
 *   const client = new ControlClient({ url: "https://10.0.0.5:8443", token, fingerprint });
 *   const { redundancy } = await client.get("/status");
 *   await client.post("/modules/{name}/pull", { force: false }, { name: "cpu0" });
 *   for await (const event of client.followEvents(0)) console.log(event.text);
 */
export { ControlClient, ControlError, type GetPath, type PostPath, type ServerEvent, type Status } from "./client.js";
export type { components, operations, paths } from "./api-types.js";
export type { Target, TlsTarget, UnixTarget } from "./transport.js";
