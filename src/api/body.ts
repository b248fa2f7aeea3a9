/** Bodies of requests to the control API as they arrive: one JSON object of bounded size. */
import type { IncomingMessage } from "node:http";
import { SteadfastError } from "../foundation/errors.js";
import type { Body } from "./bodies.js";

export const BODY_BYTES_MAX = 64 * 1024;

/** @throws SteadfastError API_BODY: it is too long */
export async function readBytes(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  await new Promise<void>((resolve, reject) => {
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      // The rest is thrown away: whoever sends it can still read the answer, after which the connection ends.
      if (length <= BODY_BYTES_MAX) chunks.push(chunk);
      else reject(new SteadfastError("API_BODY", { limit: BODY_BYTES_MAX }));
    });
    request.once("end", resolve);
    request.once("error", reject);
    request.once("close", resolve);
  });
  return Buffer.concat(chunks);
}

/** @throws SteadfastError API_BODY: it is no JSON object, or too long; nothing at all counts as an empty one */
export async function readBody(request: IncomingMessage): Promise<Body> {
  const bytes = await readBytes(request);
  if (bytes.length === 0) return {};
  try {
    const value: unknown = JSON.parse(bytes.toString("utf8"));
    if (typeof value === "object" && value !== null && !Array.isArray(value)) return value as Body;
  } catch {
    // Falls through to the one error for all of it.
  }
  throw new SteadfastError("API_BODY", { limit: BODY_BYTES_MAX });
}
