/**
 * Entry point of a front: `node main.js CONFIG.json`. The management module that started it holds the other end of its lifeline: there it
 * hears that the front is not hung, and the front ends when that end does.
 */
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import { setPriority } from "node:os";
import { SteadfastError } from "../foundation/errors.js";
import { HEARTBEAT_EVERY_MS, LIFELINE_DESCRIPTOR, type FrontConfig } from "./config.js";
import { Front } from "./front.js";

/** Whatever happens out there, the modules come first; but not so much that nobody gets an answer from a busy host. */
const NICE = 5;

function holdLifeline(): Socket {
  const lifeline = new Socket({ fd: LIFELINE_DESCRIPTOR });
  for (const event of ["end", "close", "error"]) lifeline.on(event, () => process.exit(0));
  lifeline.resume();
  return lifeline;
}

async function main(): Promise<void> {
  const [path] = process.argv.slice(2);
  if (path === undefined) throw new SteadfastError("USAGE", { what: "usage: main.js CONFIG.json" });
  const config = JSON.parse(readFileSync(path, "utf8")) as FrontConfig;
  process.title = `steadfast ${config.server} ${config.name}`;
  process.on("SIGHUP", () => undefined);
  process.on("SIGPIPE", () => undefined);
  const lifeline = holdLifeline();
  await new Front(config).listen();
  // Only now: a front that yields while it starts does not get there at all on a busy host.
  setPriority(NICE);
  // A management module that is stopped does not read: nothing may pile up for it.
  const beat = (): void => void (lifeline.writableLength === 0 && lifeline.write("."));
  beat();
  setInterval(beat, HEARTBEAT_EVERY_MS);
}

main().catch((error: unknown) => {
  console.error(error);
  process.exit(error instanceof SteadfastError ? error.exit : 1);
});
