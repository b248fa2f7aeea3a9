/** Which network a server gets: what the operator asked for, else TAP devices, else, where those are not permitted, passt. */
import { accessSync, constants, readFileSync } from "node:fs";
import { InvalidArgumentError } from "commander";
import { SteadfastError } from "../foundation/errors.js";
import type { ServerPlan } from "../modules/management-plan.js";
import { hostEndText, MAX_PUBLISHED_PORTS, parsePublished, PUBLISH_RULE, type PublishedPort } from "../ports/published-port.js";
import type { ServerFile } from "./server-file.js";

export const NETWORK_KINDS = ["tap", "user", "none"] as const;
export type NetworkKind = (typeof NETWORK_KINDS)[number];

const TUN_DEVICE = "/dev/net/tun";
/** Bit of CAP_NET_ADMIN in the capability sets of /proc/PID/status. */
const CAP_NET_ADMIN = 12n;
const BRIDGE_DEFAULT = "steadfast0";
const HOST_ADDRESS_DEFAULT = "10.77.0.1/24";

export interface NetworkFlags {
  readonly network?: NetworkKind;
  readonly publish?: readonly PublishedPort[];
  readonly address?: string;
}

export interface NetworkChoice {
  readonly plan: ServerPlan["network"];
  /** Why it is not what the operator may expect, in a sentence; null: it is. */
  readonly notice: string | null;
}

/** What a published port does not outlive; shown wherever an operator looks. */
export const USER_NETWORK_LIMIT =
  "When the active I/O module is lost, open connections through published ports end; new ones work at once.";

/** For commander: collects every `--publish`. */
export function publishFlag(text: string, before: readonly PublishedPort[] = []): PublishedPort[] {
  const port = parsePublished(text);
  if (port === null) throw new InvalidArgumentError(`${PUBLISH_RULE[0]?.toUpperCase()}${PUBLISH_RULE.slice(1)}.`);
  if (before.length === MAX_PUBLISHED_PORTS) throw new InvalidArgumentError(`At most ${MAX_PUBLISHED_PORTS} ports can be published.`);
  return [...before, port];
}

export function chooseNetwork(file: ServerFile, flags: NetworkFlags): NetworkChoice {
  const asked = flags.network ?? file.network?.kind;
  const publish = flags.publish ?? (file.network?.publish ?? []).map((each) => parsePublished(each) as PublishedPort);
  if (publish.length > 0 && asked !== undefined && asked !== "user") {
    const what = `Ports are published with the network user only, and ${asked} was asked for: leave --publish (or network.publish) away, or use --network user.`;
    throw new SteadfastError("USAGE", { what });
  }
  checkTwice(publish);
  const { kind, notice } = asked === undefined ? chosenByItself(publish, tapObstacle()) : { kind: asked, notice: null };
  const plan = {
    kind,
    bridge: file.network?.bridge ?? BRIDGE_DEFAULT,
    hostAddress: file.network?.hostAddress ?? HOST_ADDRESS_DEFAULT,
    guestAddress: flags.address ?? file.network?.guestAddress ?? "",
    publish,
  };
  return { plan, notice };
}

function chosenByItself(publish: readonly PublishedPort[], why: string | null): { kind: NetworkKind; notice: string | null } {
  if (publish.length > 0)
    return { kind: "user", notice: "Since ports are published, the guest's network is `user` (passt) instead of TAP." };
  if (why === null) return { kind: "tap", notice: null };
  const notice =
    `The guest's network is \`user\` (passt), because TAP devices are not permitted here (${why}); ` +
    "the guest is reached by published ports only, such as `--publish 8080:80`.";
  return { kind: "user", notice };
}

function checkTwice(publish: readonly PublishedPort[]): void {
  const seen = new Set<string>();
  for (const port of publish) {
    const end = hostEndText(port);
    if (seen.has(end)) throw new SteadfastError("USAGE", { what: `The host's port ${end} is published twice; publish it once.` });
    seen.add(end);
  }
}

/** Null: TAP devices can be made. */
export function tapObstacle(): string | null {
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1] ?? "0";
  if (((BigInt(`0x${effective}`) >> CAP_NET_ADMIN) & 1n) === 0n) return "no CAP_NET_ADMIN; root has it";
  try {
    accessSync(TUN_DEVICE, constants.R_OK | constants.W_OK);
    return null;
  } catch {
    return `${TUN_DEVICE} is missing or closed to us`;
  }
}
