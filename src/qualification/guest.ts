/** What the suite asks the running guest, over its console. */
import { connect } from "node:net";
import { pause } from "../bench/faults.js";
import { guestShell } from "../bench/guest-shell.js";
import { SteadfastError } from "../foundation/errors.js";
import type { ServiceFacts } from "./grading/campaign.js";
import type { SuiteServer, SuiteService } from "./suite-servers.js";

const SHELL_LIMIT_MS = 30_000;
/** A terminal takes no longer lines than 4095 characters. */
const PIECE_CHARACTERS = 1024;
const SCRIPT = "/run/steadfast/certify";
const ANSWER_LIMIT_MS = 3000;
const SERVING_LIMIT_MS = 60_000;
const SERVING_POLL_MS = 100;

export function inGuest(server: SuiteServer, command: string, limitMs = SHELL_LIMIT_MS): Promise<string> {
  return guestShell(() => server.source.console(), command, limitMs);
}

/**
 * Runs a script of any length, ended when the time is over. Errors: BENCH_FAILED if it fails or does not end in time, with the end of what
 * it printed.
 */
export async function scriptInGuest(server: SuiteServer, script: string, timeoutSeconds: number): Promise<string> {
  const text = Buffer.from(script).toString("base64");
  await inGuest(server, `rm -f ${SCRIPT}*`);
  for (let at = 0; at < text.length; at += PIECE_CHARACTERS)
    await inGuest(server, `echo ${text.slice(at, at + PIECE_CHARACTERS)} >> ${SCRIPT}.64`);
  const command = `base64 -d ${SCRIPT}.64 > ${SCRIPT} && timeout -k 1 ${timeoutSeconds} sh ${SCRIPT} < /dev/null`;
  return inGuest(server, command, timeoutSeconds * 1000 + SHELL_LIMIT_MS);
}

/** MiB that are not available any more. */
export async function usedMemoryMiB(server: SuiteServer): Promise<number> {
  const said = await inGuest(server, "cat /proc/meminfo");
  const kibibytes = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(said)?.[1] ?? Number.NaN);
  return (kibibytes("MemTotal") - kibibytes("MemAvailable")) / 1024;
}

/** By service, when the guest's init started it last, as its start script noted it. */
export type ServiceStarts = ReadonlyMap<string, string>;

export async function serviceStarts(server: SuiteServer): Promise<ServiceStarts> {
  const said = await inGuest(server, `for file in /run/steadfast/*.state; do echo "$file $(cat "$file")"; done`);
  return new Map([...said.matchAll(/\/run\/steadfast\/(\S+)\.state (\d+) \d+/g)].map(([, name = "", at = ""]) => [name, at]));
}

/** Of those that the guest's init keeps running. */
export async function serviceFacts(server: SuiteServer, services: readonly SuiteService[], before: ServiceStarts): Promise<ServiceFacts[]> {
  const now = await serviceStarts(server);
  const table = await inGuest(server, "cat /etc/inittab");
  const kept = services.filter(({ name }) => new RegExp(`^::respawn:\\S+/service ${name}\\r?$`, "m").test(table));
  return Promise.all(
    kept.map(async ({ name, ports }) => {
      const answers =
        ports.length === 0 ? undefined : (await Promise.all(ports.map((port) => accepts(server.host, port)))).every((each) => each);
      return { name, answers, isRunning: now.has(name), restarts: now.get(name) === before.get(name) ? 0 : 1 };
    }),
  );
}

/** Init says that a guest is ready before a slow service listens. Errors: QUALIFICATION_STATE, naming the ports. */
export async function untilServing(server: SuiteServer, services: readonly SuiteService[]): Promise<void> {
  const giveUpAt = performance.now() + SERVING_LIMIT_MS;
  let missing = services.flatMap((service) => service.ports);
  while (missing.length > 0) {
    const does = await Promise.all(missing.map((port) => accepts(server.host, port)));
    missing = missing.filter((_, index) => does[index] !== true);
    if (missing.length === 0) return;
    if (performance.now() > giveUpAt)
      throw new SteadfastError("QUALIFICATION_STATE", {
        server: server.name,
        what: `answer on port ${missing.join(" and ")} within ${SERVING_LIMIT_MS / 1000} s`,
      });
    await pause(SERVING_POLL_MS);
  }
}

function accepts(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const end = (does: boolean): void => {
      socket.destroy();
      resolve(does);
    };
    socket.setTimeout(ANSWER_LIMIT_MS, () => end(false));
    socket.on("connect", () => end(true));
    socket.on("error", () => end(false));
  });
}
